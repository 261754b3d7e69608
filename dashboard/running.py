"""What a running campaign asks of a person: what stands still, the first few people, messages without an answer."""

import streamlit as st

from dashboard import controls, format, markup, session
from dashboard.campaign_payloads import Campaign, Stop

LISTED = 50  # unknown messages shown at once
SETTLE_AFTER_MIN = 60


def stops(campaign: Campaign, zone: str) -> None:
    """Each thing that stands still: which, why, what to do, and one click to go on."""
    for place, stop in enumerate(campaign.stops):
        what = "The number stands still" if stop.what == "number" else "The campaign stands still"
        with st.container(border=True):
            st.error(
                f"**{what}** since {format.instant(stop.since, zone)}. "
                f"{markup.markdown_text(stop.reason.rstrip('.'))}.",
                icon=":material/pan_tool:",
            )
            with st.container(horizontal=True, vertical_alignment="center"):
                if session.may_run_campaigns():
                    _go_on(campaign, stop, place)
                st.markdown(markup.markdown_text(stop.next_step))


def _go_on(campaign: Campaign, stop: Stop, place: int) -> None:
    label = "Let the number go on" if stop.what == "number" else "Resume"
    if st.button(label, key=f"go_on_{place}", type="secondary" if stop.goes_on_alone else "primary"):
        if stop.what == "number":
            session.client().resume_sender(campaign.sender_id)
        else:
            session.client().resume(campaign.id)
        st.rerun()


def canary(campaign: Campaign) -> None:
    """How the first few people took it, and whether the rest goes out."""
    plan, found = campaign.canary, campaign.canary_slice
    if plan is None or found is None or not found.size:
        return
    st.subheader("The first few people")
    tiles = controls.cells(4, min_width=110)
    for tile, label, number in zip(
        tiles,
        ("Delivered", "Read", "Failed", "Opted out"),
        (found.delivered, found.read, found.failed, found.opted_out),
        strict=True,
    ):
        tile.metric(label, format.share(number / found.left) if found.left else format.DASH)
        tile.caption(f"{format.count(number)} / {format.count(found.left)} messaged")
    if found.left < found.size:
        st.caption(f"{format.count(found.size - found.left)} of the {format.count(found.size)} were not messaged.")
    if plan.verdict:
        st.caption("The rest was let out." if plan.verdict == "go" else "The rest was taken back.")
    elif plan.waits:
        _verdict(campaign)


def _verdict(campaign: Campaign) -> None:
    found, plan = campaign.canary_slice, campaign.canary
    rest = campaign.balance.get("queued", 0) - (found.balance.get("queued", 0) if found else 0)
    st.markdown(f"**{format.count(rest)} people wait for your verdict.**")
    if plan and plan.thresholds:
        missing = f" Not yet: {markup.markdown_text(found.shortfall)}." if found and found.shortfall else ""
        st.caption(f"They go out by themselves when the campaign's thresholds are met.{missing}")
    if not session.may_run_campaigns():
        return
    with st.container(horizontal=True):
        if st.button("Send to the rest", key="canary_go", type="primary"):
            session.client().decide_canary(campaign.id, "go")
            st.rerun()
        with st.popover("Stop here", key="canary_stop_open"):
            st.caption("The people who wait will never get this campaign. This cannot be undone.")
            if st.button("Take the rest back", key="canary_stop"):
                session.client().decide_canary(campaign.id, "stop")
                st.rerun()


def unknown(campaign: Campaign, zone: str) -> None:
    """Messages that left without an answer, why, and what can be done about them."""
    number = campaign.balance.get("unknown", 0)
    if not number or not session.may_run_campaigns():
        return
    st.subheader("Sent, but no answer came")
    st.caption(
        "They may have arrived, so they are never sent again. A receipt settles each by itself, mostly within minutes. "
        "You can leave them, or give up on the old ones: a receipt that still comes wins over that."
    )
    listed = session.client().messages(campaign.id, "unknown", LISTED)
    controls.table(
        {
            "Person": [message.name or format.DASH for message in listed],
            "Number": [message.phone_masked or format.DASH for message in listed],
            "What happened": [message.error or format.DASH for message in listed],
            "Request of": [format.instant(message.permitted_at or message.queued_at, zone) for message in listed],
        }
    )
    if number > len(listed):
        st.caption(f"The first {len(listed)} of {format.count(number)}.")
    _settle(campaign, number)


def _settle(campaign: Campaign, number: int) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        minutes = st.number_input(
            "Older than (minutes)", 5, 43_200, SETTLE_AFTER_MIN, 5, key="settle_minutes", width=200
        )
        old = session.client().settle(campaign.id, int(minutes), dry_run=True)
        with st.popover(f"Give up on {format.count(old)}", key="settle_open", disabled=not old):
            st.caption(
                f"{format.count(old)} of {format.count(number)} are older than {minutes:g} minutes. They become failed."
            )
            if st.button(f"Mark {format.count(old)} as failed", key="settle", type="primary"):
                session.client().settle(campaign.id, int(minutes), dry_run=False)
                st.rerun()
    if not old:
        st.caption(f"None of them is older than {minutes:g} minutes.")
