"""What exactly would happen if I launched now?"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, markup, session, words
from dashboard.campaign_payloads import Campaign, Review

REVIEWABLE = ("draft", "in_review", "scheduled")


def _tiles(review: Review, zone: str) -> None:
    first, second, third, fourth = controls.cells(4, min_width=165)
    getting = sum(variant.recipients for variant in review.variants)
    first.metric("Will get a message", format.count(getting))
    first.caption(f"of {format.count(review.audience)} in the audience")
    second.metric("Reachable", format.share(review.reachable / review.audience) if review.audience else format.DASH)
    second.caption(f"{format.count(review.reachable)} / {format.count(review.audience)} people")
    low, high = review.cost.low_micros, review.cost.high_micros
    third.metric("Cost, at most", format.money(high, review.cost.currency))
    third.caption(f"at least {format.money(low, review.cost.currency)}")
    fourth.metric("Takes", format.duration(review.duration_s))
    fourth.caption(f"done at {format.instant(review.finishes_at, zone)}" if review.finishes_at else "")


def _problems(review: Review) -> bool:
    """Show what the review found; True when the launch would be refused."""
    for problem in review.problems:
        number = f" ({format.count(problem.count)} times)" if problem.count > 1 else ""
        said = f"{problem.message[:1].upper()}{problem.message[1:]}{number}"
        sentence = f"{markup.markdown_text(said)}."
        if problem.severity == "error":
            st.error(f"**To be fixed.** {sentence}", icon=":material/error:")
        else:
            st.warning(f"**Worth knowing.** {sentence}", icon=":material/info:")
    return any(problem.severity == "error" for problem in review.problems)


def _who(review: Review) -> None:
    st.subheader("Who will not get it, and why")
    if review.unreachable:
        controls.reasons_table(review.unreachable, whole=review.audience, noun="people")
    else:
        st.caption("Everybody in the audience can be reached.")
    if review.holdout:
        held = format.rate(review.holdout, review.audience, "people")
        st.caption(
            f"Holdout: {held} in the audience, reachable or not, get nothing on purpose: that measures what the "
            "campaign causes."
        )
    st.subheader("Cost by market")
    cost = review.cost
    controls.table(
        {
            "Country": [market.market or "Unknown" for market in cost.by_market],
            "Recipients": [format.count(market.recipients) for market in cost.by_market],
            "Price each": [format.money(market.price_micros, cost.currency) for market in cost.by_market],
            "Together": [
                format.money(market.price_micros * market.recipients, cost.currency)
                if market.price_micros is not None
                else format.DASH
                for market in cost.by_market
            ],
        }
    )
    st.caption("A range, because only delivered messages cost, and seldom all of them are.")
    if cost.unpriced:
        st.caption(f"No price is known for {format.count(cost.unpriced)} recipients; they are not in the sum.")
    if review.by_time_zone:
        st.subheader("Where they are")
        zones = sorted(review.by_time_zone.items(), key=lambda item: -item[1])
        controls.table(
            {"Time zone": [name for name, _ in zones], "Recipients": [format.count(number) for _, number in zones]}
        )


def _samples(campaign: Campaign, review: Review) -> None:
    st.subheader("What they will see")
    templates = {v.label: f"{v.template_name} ({v.template_language})" for v in campaign.variants}
    for tab, variant in zip(st.tabs([f"Variant {v.label}" for v in review.variants]), review.variants, strict=True):
        with tab:
            st.caption(f"{format.count(variant.recipients)} people get {templates.get(variant.label, 'it')}")
            if not variant.sample:
                st.caption("Nobody would get this variant, so there is nothing to show.")
                continue
            number = 0
            if len(variant.sample) > 1:
                number = st.pagination(len(variant.sample), key=f"sample_{variant.label}") - 1
            st.html(markup.bubble(variant.sample[number]))


def _test(campaign: Campaign) -> None:
    with st.expander("Send a test to a phone first"):
        with st.form("test_form", border=False):
            phone = st.text_input("Phone number", key="test_phone", type="phone", placeholder="+49 170 1234567")
            variant = st.selectbox("Variant", [v.label for v in campaign.variants], key="test_variant")
            st.caption("The number must belong to a contact who agreed to this purpose. Tests never count in reports.")
            pressed = st.form_submit_button("Send test", key="test_send")
        if pressed and phone and variant:
            session.client().send_test(campaign.id, phone, variant)
            st.success("The test is on its way.")


@st.dialog("Launch this campaign?", width="medium")
def _confirm(campaign: Campaign, review: Review, zone: str) -> None:
    with session.guard("launch"):
        getting = sum(variant.recipients for variant in review.variants)
        high = format.money(review.cost.high_micros, review.cost.currency)
        st.markdown(
            f"**{format.count(getting)} people** will get *{markup.markdown_text(campaign.name)}*. "
            f"It costs at most {high}."
        )
        when = st.segmented_control("When", ["Now", "Later"], default="Now", required=True, key="when", width="stretch")
        send_at = None
        if when == "Later":
            start = datetime.now(ZoneInfo(zone)).replace(tzinfo=None, second=0, microsecond=0) + timedelta(hours=1)
            picked = st.datetime_input(f"Start at ({zone})", start, key="send_at")
            send_at = picked.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) if picked else None
        sure = st.checkbox("I have read the sample and the numbers.", key="sure")
        if st.button("Launch" if when == "Now" else "Schedule", type="primary", key="launch", disabled=not sure):
            _launch(campaign, review, send_at)


def _launch(campaign: Campaign, review: Review, send_at: datetime | None) -> None:
    name = f"launch_{campaign.id}_{review.fingerprint}"
    client, key = session.client(), controls.once_key(name)
    if send_at is None:
        client.launch(campaign.id, review.fingerprint, key)
    else:
        client.schedule(campaign.id, review.fingerprint, send_at.isoformat(), key)
    controls.done_with(name)
    st.session_state.pop("reviews", None)
    st.switch_page("views/live.py", query_params={"campaign": campaign.id})


def _review_once(campaign: Campaign) -> Review:
    """The review of this visit; made again on demand, because every recipient is rendered for it."""
    reviews: dict[str, tuple[Review, datetime]] = st.session_state.setdefault("reviews", {})
    if campaign.id not in reviews:
        with st.spinner("Counting everybody and filling in every message"):
            reviews[campaign.id] = (session.client().review(campaign.id), datetime.now(UTC))
    review, made_at = reviews[campaign.id]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"Reviewed {format.instant(made_at, get_settings().time_zone)}")
        if st.button("Review again", key="review_again", type="tertiary"):
            del reviews[campaign.id]
            st.rerun()
    return review


st.title("Review")
campaign_id = st.query_params.get("campaign")
if not campaign_id:
    st.info("Choose a campaign to review from the list of campaigns.")
    st.page_link("views/campaigns.py", label="To the campaigns", icon=":material/arrow_back:")
    st.stop()
campaign = session.client().campaign(campaign_id)
st.markdown(
    f"**{markup.markdown_text(campaign.name)}** to *{markup.markdown_text(campaign.audience_name or '')}* "
    f"from *{markup.markdown_text(campaign.sender_name or '')}*"
)
if campaign.status not in REVIEWABLE:
    st.info(f"This campaign is already {words.campaign_status(campaign.status).lower()}: it can no longer be launched.")
    st.page_link("views/live.py", label="Watch it live", query_params={"campaign": campaign.id})
    st.stop()
review = _review_once(campaign)
zone = get_settings().time_zone
_tiles(review, zone)
blocked = _problems(review)
left, right = controls.cells(2, min_width=400)
with left:
    _who(review)
with right:
    _samples(campaign, review)
    _test(campaign)
    if st.button("Launch…", type="primary", key="open_launch", disabled=blocked or not review.reachable):
        _confirm(campaign, review, zone)
    st.caption("The launch holds for exactly this content and this audience. If either changes, it is refused.")
