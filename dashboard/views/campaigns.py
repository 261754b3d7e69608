"""Which campaigns are there, and how far is each?"""

import streamlit as st

from core.settings import get_settings
from core.statuses import CampaignStatus
from dashboard import format, markup, session, words
from dashboard.campaign_payloads import Campaign

UNSENT = {CampaignStatus.DRAFT, CampaignStatus.IN_REVIEW}
PAGE = 20


def _number(campaign: Campaign, status: str) -> int:
    return campaign.balance.get(status, 0)


def _summary(campaign: Campaign) -> str:
    """The balance in one line, with its denominators."""
    audience = _number(campaign, "audience")
    if not audience:
        return "No recipients yet: they are fixed when the campaign is launched."
    delivered = _number(campaign, "delivered") + _number(campaign, "read")
    waiting = _number(campaign, "queued") + _number(campaign, "sending")
    parts = [f"{format.count(audience)} people", f"delivered {format.rate(delivered, audience, 'people')}"]
    parts += [f"{format.count(waiting)} waiting"] if waiting else []
    parts += [
        f"{format.count(number)} {name}"
        for name in ("failed", "skipped", "unknown")
        if (number := _number(campaign, name))
    ]
    return " · ".join(parts)


def _links(campaign: Campaign) -> None:
    address = {"campaign": campaign.id}
    if campaign.status in UNSENT | {CampaignStatus.SCHEDULED} and session.may_run_campaigns():
        st.page_link("views/review.py", label="Review", icon=":material/fact_check:", query_params=address)
    if campaign.status in UNSENT and session.may_run_campaigns():
        st.page_link("views/new_campaign.py", label="Change", icon=":material/edit:", query_params=address)
    if campaign.status not in UNSENT:
        st.page_link("views/live.py", label="Live", icon=":material/monitoring:", query_params=address)
        st.page_link("views/results.py", label="Results", icon=":material/bar_chart:", query_params=address)


def _card(campaign: Campaign, zone: str) -> None:
    with st.container(border=True, key=f"campaign_{campaign.id}"):
        head, links = st.columns([4, 1], vertical_alignment="center")
        with head:
            st.markdown(f"**{markup.markdown_text(campaign.name)}** &nbsp; `{words.campaign_status(campaign.status)}`")
            when = campaign.launched_at or campaign.send_at or campaign.created_at
            said = "Launched" if campaign.launched_at else "Scheduled for" if campaign.send_at else "Created"
            audience = markup.markdown_text(campaign.audience_name or format.DASH)
            st.caption(f"To {audience} · {said} {format.instant(when, zone)}")
            if campaign.is_late:
                st.error("It should have begun by now and has not: *Live* says why.", icon=":material/alarm:")
            if campaign.balance.get("audience"):
                st.html(markup.balance_bar(campaign.balance, height_px=12))
            st.caption(_summary(campaign))
        with links:
            _links(campaign)


st.title("Campaigns")
search, status, new = st.columns([3, 2, 1], vertical_alignment="bottom")
with search:
    query = st.text_input("Search by name", key="campaign_search", type="search") or ""
with status:
    chosen = st.selectbox(
        "Status",
        ["", *CampaignStatus],
        format_func=lambda word: words.campaign_status(word) if word else "Any status",
        key="campaign_status",
    )
with new:
    if session.may_run_campaigns():
        if st.button("New campaign", type="primary", key="new_campaign"):
            st.switch_page("views/new_campaign.py")
    else:
        st.caption("You may look, not change.")

shown = st.session_state.setdefault("campaigns_shown", PAGE)
page = session.client().campaigns(status=chosen or "", q=query.strip(), limit=shown)
for campaign in page.items:
    _card(campaign, get_settings().time_zone)
if not page.items and (query or chosen):
    st.info("No campaign matches. Try another name, or any status.")
elif not page.items:
    st.info("There is no campaign yet. Import an audience first, then press *New campaign*.")
if page.next and st.button("Show more", key="more_campaigns"):
    st.session_state["campaigns_shown"] = shown + PAGE
    st.rerun()
