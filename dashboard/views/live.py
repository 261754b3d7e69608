"""Is it going out, and must I stop it?"""

from collections import deque
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from core.settings import get_settings
from core.statuses import CampaignStatus
from dashboard import charts, controls, format, markup, running, session, words
from dashboard.campaign_payloads import Campaign

MOVING = frozenset({CampaignStatus.EXPANDING, CampaignStatus.SENDING})
STOPPABLE = MOVING | {CampaignStatus.SCHEDULED, CampaignStatus.PAUSED}
SAMPLES = 150  # five minutes of samples, one every two seconds

Samples = deque[tuple[datetime, float]]


def _remember(campaign: Campaign, now: datetime) -> Samples:
    """This tab's recent throughput of the campaign, with the newest sample added."""
    per_campaign: dict[str, Samples] = st.session_state.setdefault("throughput", {})
    samples = per_campaign.setdefault(campaign.id, deque(maxlen=SAMPLES))
    if campaign.throughput and campaign.throughput.messages_per_second is not None:
        samples.append((now, campaign.throughput.messages_per_second))
    return samples


def _waiting(campaign: Campaign, zone: str) -> None:
    """Why nothing moves, in one sentence, and until when; what stands still has said so already."""
    if campaign.waiting is None or (campaign.stops and campaign.waiting.reason in ("paused", "sender_paused")):
        return
    until = f" It goes on at {format.instant(campaign.waiting.until, zone)}." if campaign.waiting.until else ""
    sentence = markup.markdown_text(words.waiting(campaign.waiting.reason, campaign.waiting.detail))
    st.warning(f"**Why it is not moving.** {sentence}{until}", icon=":material/hourglass_top:")


def _actions(campaign: Campaign) -> None:
    """Pause and cancel, as far as status and role allow; what stands still has its own button to go on."""
    if not session.may_run_campaigns() or campaign.status not in STOPPABLE:
        return
    client = session.client()
    with st.container(horizontal=True):
        if campaign.status in MOVING:
            pressed = st.button(
                "Pause",
                key="pause",
                type="primary",
                help="No further message leaves until somebody resumes. Messages already sent go on reporting.",
            )
            if pressed:
                client.pause(campaign.id)
                st.rerun()
        controls.ask_reason(
            "Cancel campaign",
            key="cancel",
            act=lambda reason: client.cancel(campaign.id, reason),
            help_text="People who have not been messaged yet never will be. This cannot be undone.",
        )


def _tiles(campaign: Campaign, zone: str) -> None:
    balance = campaign.balance
    audience = balance.get("audience", 0)
    waiting = balance.get("queued", 0) + balance.get("sending", 0)
    arrived = balance.get("delivered", 0) + balance.get("read", 0)
    is_moving = campaign.status in MOVING  # one that stands still or is over has no speed
    left, second, *third, right = controls.cells(4 if is_moving else 3, min_width=165)
    left.metric("Status", words.campaign_status(campaign.status))
    second.metric("Still to send", format.count(waiting), help=f"of {format.count(audience)} people in the audience")
    if third:
        speed = campaign.throughput.messages_per_second if campaign.throughput else None
        limit = campaign.throughput.limit_per_second if campaign.throughput else None
        third[0].metric("Speed", f"{format.DASH if speed is None else f'{speed:.1f}'} / s")
        third[0].caption(
            f"{format.share((speed or 0) / limit, 0)} of the limit, {limit:g} / s" if limit else "limit not known"
        )
    right.metric("Arrived", format.share(arrived / audience) if audience else format.DASH)
    right.caption(f"{format.count(arrived)} / {format.count(audience)} people")
    if waiting:
        second.caption(
            f"done at {format.instant(campaign.eta_at, zone)}" if campaign.eta_at else "no finish time known"
        )


def _failures(campaign: Campaign) -> None:
    failed = campaign.balance.get("failed", 0)
    st.subheader("Why messages failed")
    if not campaign.failures:
        st.caption("No message has failed.")
        return
    controls.table(
        {
            "What happened": [failure.meaning for failure in campaign.failures],
            "What to do": [failure.next_step for failure in campaign.failures],
            "Messages": [format.rate(failure.count, failed, "failed") for failure in campaign.failures],
            "Code": [format.DASH if failure.code is None else str(failure.code) for failure in campaign.failures],
        }
    )


def _speed(samples: Samples, campaign: Campaign, zone: str) -> None:
    st.subheader("Speed")
    if len(samples) < 2:
        st.caption("Measuring. The line begins in a few seconds.")
        return
    local = [(at.astimezone(ZoneInfo(zone)).replace(tzinfo=None), speed) for at, speed in samples]
    limit = campaign.throughput.limit_per_second if campaign.throughput else None
    st.plotly_chart(charts.throughput(local, limit), key="throughput_chart", config=charts.config())


def _prepared(campaign: Campaign, rows: int) -> None:
    """How far the recipients' rows are."""
    expansion = campaign.expansion
    if expansion is None or not expansion.expected:
        st.caption(f"Recipients are being prepared: {format.count(rows)} so far.")
        return
    done = f"{format.count(expansion.done)} of {format.count(expansion.expected)}"
    st.progress(min(1.0, expansion.done / expansion.expected), f"Recipients are being prepared: {done}.")


def _body(campaign_id: str, zone: str) -> None:
    campaign = session.client().campaign(campaign_id)
    now = datetime.now(UTC)
    if campaign.status != st.session_state.get("live_status"):
        st.session_state["live_status"] = campaign.status  # starts and stops the two-second clock
        st.rerun()
    running.stops(campaign, zone)
    _tiles(campaign, zone)
    _waiting(campaign, zone)
    total, audience = markup.balance_total(campaign.balance), campaign.balance.get("audience", 0)
    st.html(markup.balance_bar(campaign.balance, height_px=30))
    if campaign.status == CampaignStatus.EXPANDING:
        _prepared(campaign, total)
    elif total != audience:
        st.error(f"The statuses ({format.count(total)}) do not add up to the audience ({format.count(audience)}).")
    running.canary(campaign)
    samples = _remember(campaign, now)
    if campaign.status in MOVING:
        left, right = controls.cells(2, min_width=400)
        with right:
            _speed(samples, campaign, zone)
    else:
        left = st.container()
    with left:
        st.subheader("Where everybody is")
        st.html(markup.balance_table(campaign.balance))
    _failures(campaign)
    if campaign.skipped:
        st.subheader("Why people were skipped")
        controls.reasons_table(campaign.skipped, whole=campaign.balance.get("skipped", 0), noun="skipped")
    counted_at = campaign.counted_at or now  # a large campaign is counted every few seconds only
    st.caption(f"As of {format.instant(counted_at, zone)}, read from the sending side itself, not from the reports.")


def _live(campaign_id: str, zone: str) -> None:
    with session.guard("live"):
        _body(campaign_id, zone)


st.title("Live")
zone = get_settings().time_zone
launched = [c for c in session.client().campaigns(limit=100).items if c.status not in ("draft", "in_review")]
if not launched:
    st.info("No campaign has been launched yet. When one is, you can watch it here.")
    st.stop()
picked = controls.campaign_picker(launched, key="live_campaign", prefer=MOVING | {CampaignStatus.PAUSED})
_actions(picked)
moving = st.session_state.get("live_status", picked.status) not in ("completed", "cancelled")
st.fragment(_live, run_every=2 if moving else None)(picked.id, zone)
with session.guard("unknown"):
    running.unknown(picked, zone)
