"""How a campaign moves: its pace, when it will be done, and why it is not moving."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger
from core.live import Live
from core.models import Campaign, Message, Sender
from core.services import allowance, campaigns, canary, senders
from core.services.standing import PACE_WINDOW_S, Standing
from core.statuses import CANARY_PRIORITY, CampaignStatus, DeliveryStatus
from core.whatsapp.errors import explain

LATE_AFTER = timedelta(seconds=60)
SLOW_PER_MINUTE = 12  # a pace at which nothing may be seen to move for some seconds


@dataclass(frozen=True)
class Pace:
    """Messages accepted in the last seconds, what would be allowed, what is left, and when the last of it is due."""

    messages_per_second: float
    limit_per_second: float
    left: int
    last_due_at: datetime | None


def eta(campaign: Campaign, pace: Pace, why: "Waiting | None", now: datetime) -> datetime | None:
    """When the last row is sent at the present pace, or at the limit before anything was measured.

    None when nothing is left, and when nobody can know: it stands still until somebody or something lets it go on.
    """
    is_going = campaign.status is CampaignStatus.SENDING and not campaign.rest_waits
    if not is_going or not pace.left or (why is not None and why.reason in _NOBODY_KNOWS):
        return None
    speed = pace.messages_per_second or pace.limit_per_second
    last_due_at = pace.last_due_at or now
    return max(last_due_at, now + timedelta(seconds=pace.left / speed))


_NOBODY_KNOWS = frozenset(
    {"no_worker", "sender_paused", "provider_down", "portfolio_allowance", "canary", "ledger_unsigned"}
)


async def limit_per_second(session: AsyncSession, campaign: Campaign) -> float:
    """What the number and the campaign's own pace allow together."""
    sender = await senders.get(session, campaign.sender_id)
    limit = float(sender.messages_per_second)
    return limit if campaign.messages_per_minute is None else min(limit, campaign.messages_per_minute / 60)


def pace(campaign: Campaign, standing: Standing, limit_per_second: float) -> Pace:
    """What it was when the messages were counted, over the last seconds or since it began or was let go on."""
    now = standing.counted_at
    begun = max((at for at in (campaign.expanded_at, campaign.resumed_at) if at is not None), default=now)
    measured_s = min(PACE_WINDOW_S, max(1.0, (now - begun).total_seconds()))
    return Pace(standing.recent / measured_s, limit_per_second, standing.left, standing.last_due_at)


@dataclass(frozen=True)
class Waiting:
    """Why a campaign is not moving, in a word, a sentence, and until when if that is known."""

    reason: str
    detail: str
    until: datetime | None = None


_START_ONE = "No worker is running: start one, it goes on by itself."


def is_late(campaign: Campaign, now: datetime) -> bool:
    """Whether a scheduled campaign has not begun although its time has passed."""
    if campaign.status is not CampaignStatus.SCHEDULED or campaign.send_at is None:
        return False
    return campaign.send_at < now - LATE_AFTER


async def any_late(session: AsyncSession, now: datetime) -> bool:
    """Whether any scheduled campaign has not begun although its time has passed."""
    late = (Campaign.status == CampaignStatus.SCHEDULED, Campaign.send_at < now - LATE_AFTER)
    return await session.scalar(select(Campaign.id).where(*late).limit(1)) is not None


async def waiting(session: AsyncSession, campaign: Campaign, *, live: Live, now: datetime) -> Waiting | None:
    """None when the campaign moves or is over. `live` is what the workers say about the campaign's number."""
    if campaign.status is CampaignStatus.SCHEDULED and campaign.send_at is not None:
        return _waiting_time(campaign, campaign.send_at, live, now)
    sender = await senders.get(session, campaign.sender_id)
    shown = await campaigns.shown_status(session, campaign)
    if shown in (CampaignStatus.EXPANDING, CampaignStatus.SENDING) and not live.worker_alive:
        return Waiting("no_worker", _START_ONE)
    if campaign.status is CampaignStatus.PAUSED:
        return Waiting("paused", campaign.pause_reason or "Somebody paused it.")
    if shown is not CampaignStatus.SENDING:
        return None
    return await _waiting_rows(session, campaign, sender, live, now)


def _waiting_time(campaign: Campaign, send_at: datetime, live: Live, now: datetime) -> Waiting:
    """What a scheduled campaign waits for: its time, or somebody who begins it."""
    if send_at > now:
        return Waiting("scheduled", "It starts at its time.", send_at)
    help_ = "Look into the worker's log." if live.worker_alive else _START_ONE
    if is_late(campaign, now):
        return Waiting("late", f"It should have begun at {send_at:%H:%M:%S} UTC and has not. {help_}")
    return Waiting("scheduled", "It is about to start.") if live.worker_alive else Waiting("no_worker", _START_ONE)


async def _waiting_rows(
    session: AsyncSession, campaign: Campaign, sender: Sender, live: Live, now: datetime
) -> Waiting | None:
    if sender.paused_at is not None:
        why = (sender.pause_reason or "no reason given").rstrip(".")
        return Waiting("sender_paused", f"The number is paused: {why}.")
    if await ledger.unsigned_since(session, before=now - ledger.UNSIGNED_HALT) is not None:
        return Waiting("ledger_unsigned", _UNSIGNED)
    if campaign.rest_waits and await canary.slice_is_out(session, campaign.id):
        so_far = (await canary.slice_of(session, campaign.id)).sentence()
        return Waiting("canary", f"{so_far} Say whether the rest goes out.")
    queued = [
        Message.sender_id == campaign.sender_id,
        Message.campaign_id == campaign.id,
        Message.phase == DeliveryStatus.QUEUED,
    ]
    if campaign.rest_waits:
        queued.append(Message.priority == CANARY_PRIORITY)
    in_order = (Message.priority, Message.not_before, Message.id)
    head = (
        select(Message.time_zone).where(*queued, Message.not_before <= now).order_by(*in_order).limit(HEAD).subquery()
    )
    quiet_hours = (head.c.time_zone, campaign.quiet_from, campaign.quiet_until)
    due, ends_at = (
        await session.execute(
            select(
                func.count(case((~func.in_quiet_hours(*quiet_hours), 1))),
                func.min(func.after_quiet_hours(now, *quiet_hours)),
            )
        )
    ).one()
    if due:
        return await _waiting_due(session, campaign, live)
    if ends_at is not None:
        return Waiting("quiet_hours", _QUIET, ends_at)
    return await _waiting_later(session, campaign, queued, now)


_UNSIGNED = "The ledger of consents was not signed for an hour: look into the worker's log, and at DATA_DIR/keys."
HEAD = 1000  # of the due messages, looked at to say what they wait for
_QUIET = "It is quiet hours where the people live who are left."


async def _waiting_later(
    session: AsyncSession, campaign: Campaign, queued: Sequence[ColumnElement[bool]], now: datetime
) -> Waiting | None:
    """What the first of the messages that are not due waits for."""
    first = select(Message).where(*queued).order_by(Message.not_before).limit(1)
    message = await session.scalar(first)
    if message is None:
        return None
    is_quiet = select(func.in_quiet_hours(message.time_zone, campaign.quiet_from, campaign.quiet_until, now))
    if await session.scalar(is_quiet):
        return Waiting("quiet_hours", _QUIET, message.not_before)
    if message.error_code is None:
        return Waiting("not_before", "The remaining messages were put back for a moment.", message.not_before)
    said = explain(message.error_code).meaning
    said = said[0].lower() + said[1:]
    return Waiting(
        "retry", f"The remaining messages are tried again: {said} ({message.error_code}).", message.not_before
    )


async def _waiting_due(session: AsyncSession, campaign: Campaign, live: Live) -> Waiting | None:
    """Why messages whose time has come do not all leave at once."""
    if live.provider_down:
        return Waiting(
            "provider_down", "The provider cannot be reached or does not answer. It is tried again every few seconds."
        )
    budget = await allowance.look(session, campaign)
    if budget is not None and not budget.free:
        promised = f" and {budget.reserved:,} are promised to earlier campaigns" if budget.reserved else ""
        detail = f"{budget.used:,} of {budget.limit:,} people in 24 hours have been written to{promised}."
        return Waiting("portfolio_allowance", detail, budget.frees_at)
    if live.share < 1:
        detail = (
            f"The provider's limiter refused: the number goes at {live.share:.0%} of its speed and speeds up again."
        )
        return Waiting("throttled", detail)
    if campaign.messages_per_minute is not None and campaign.messages_per_minute <= SLOW_PER_MINUTE:
        return Waiting("pace", f"It goes out at its own pace of {campaign.messages_per_minute} a minute.")
    return None
