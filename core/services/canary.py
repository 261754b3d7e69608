"""Canary: a few people first, then a verdict whether the rest goes out.

The slice is drawn when everybody has a row: it gets a priority of its own, and `campaigns.rest_waits` keeps the claim
from taking any other row until a person, or the campaign's own thresholds, said go. Both live in PostgreSQL, so a
crash at any point lets nothing more out.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.errors import Conflict, RuleViolation
from core.models import Campaign, Message, MessageEvent
from core.services.filling import BASIS
from core.statuses import CANARY_PRIORITY, CampaignStatus, CanaryVerdict, DeliveryStatus, EventKind

log = structlog.get_logger()

MOST_SHARE = 0.5
_UNSENT = (DeliveryStatus.QUEUED, DeliveryStatus.SENDING)
_ARRIVED = (DeliveryStatus.DELIVERED, DeliveryStatus.READ)
_NEVER_LEFT = (DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.SKIPPED, DeliveryStatus.CANCELLED)


@dataclass(frozen=True)
class Thresholds:
    """When the rest may go without a person: shares of the messages of the slice that left, after a time."""

    after_minutes: int
    min_delivered: float
    max_failed: float
    max_opt_out: float


@dataclass(frozen=True)
class CanaryPlan:
    """The slice: so many people, or a share of those who get a message; and who decides."""

    people: int | None
    share: float | None
    thresholds: Thresholds | None


def apply(campaign: Campaign, plan: CanaryPlan | None) -> None:
    """Write the plan into the campaign; raises RuleViolation naming the field."""
    if plan is None:
        campaign.canary_people = campaign.canary_bp = campaign.canary_thresholds = None
        return
    if (plan.people is None) == (plan.share is None):
        raise RuleViolation("a canary is a number of people or a share of them: give one of the two", field="canary")
    if plan.share is not None and not 1 / BASIS <= plan.share <= MOST_SHARE:
        raise RuleViolation(f"a canary's share is between 0.0001 and {MOST_SHARE}", field="canary.share")
    if plan.people is not None and plan.people < 1:
        raise RuleViolation("a canary has at least 1 person", field="canary.people")
    campaign.canary_people = plan.people
    campaign.canary_bp = round(plan.share * BASIS) if plan.share is not None else None
    campaign.canary_thresholds = vars(plan.thresholds) if plan.thresholds else None


def plan_of(campaign: Campaign) -> CanaryPlan | None:
    """The campaign's plan for a slice; None when it has none."""
    if campaign.canary_people is None and campaign.canary_bp is None:
        return None
    share = campaign.canary_bp / BASIS if campaign.canary_bp is not None else None
    told = campaign.canary_thresholds
    return CanaryPlan(campaign.canary_people, share, Thresholds(**told) if told else None)


async def draw_slice(session: AsyncSession, campaign: Campaign) -> None:
    """Put the slice first and hold the rest back; called when everybody has a row and before any is sent.

    Who is in it follows from the random part of the rows' ids. A slice of everybody holds nothing back.
    """
    plan = plan_of(campaign)
    if plan is None or campaign.canary_verdict is not None:
        return
    queued = (Message.campaign_id == campaign.id, Message.phase == DeliveryStatus.QUEUED)
    total = await session.scalar(select(func.count()).select_from(Message).where(*queued)) or 0
    wanted = plan.people if plan.people is not None else -(-total * (campaign.canary_bp or 0) // BASIS)
    if wanted >= total:
        return
    drawn = select(Message.id).where(*queued).order_by(func.uuid_hash_extended(Message.id, 0)).limit(wanted)
    await session.execute(update(Message).where(Message.id.in_(drawn)).values(priority=CANARY_PRIORITY))
    campaign.rest_waits = True


def _of_slice(campaign_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return Message.campaign_id == campaign_id, Message.priority == CANARY_PRIORITY


@dataclass(frozen=True)
class Slice:
    """How the slice stands: people, and what became of them. Shares are of the messages that left."""

    size: int
    balance: dict[str, int]
    opted_out: int
    last_left_at: datetime | None

    @property
    def unsent(self) -> int:
        return sum(self.balance.get(status, 0) for status in _UNSENT)

    @property
    def left(self) -> int:
        return self.size - sum(self.balance.get(status, 0) for status in _NEVER_LEFT)

    @property
    def delivered(self) -> int:
        return sum(self.balance.get(status, 0) for status in _ARRIVED)

    def sentence(self) -> str:
        """The slice in words."""
        read, failed = self.balance.get(DeliveryStatus.READ, 0), self.balance.get(DeliveryStatus.FAILED, 0)
        return (
            f"Of the first {self.size:,} people, {self.left:,} were messaged: {self.delivered:,} delivered, "
            f"{read:,} read, {failed:,} failed, {self.opted_out:,} opted out."
        )


async def slice_of(session: AsyncSession, campaign_id: UUID) -> Slice:
    """The slice as it stands."""
    those = _of_slice(campaign_id)
    rows = await session.execute(
        select(Message.status, func.count(), func.max(Message.permitted_at)).where(*those).group_by(Message.status)
    )
    balance, instants = {}, []
    for status, count, permitted_at in rows:
        balance[str(status)] = count
        instants += [permitted_at] if permitted_at else []
    out = select(func.count(MessageEvent.message_id.distinct())).join(Message, Message.id == MessageEvent.message_id)
    opted_out = await session.scalar(out.where(*those, MessageEvent.kind == EventKind.OPT_OUT)) or 0
    return Slice(sum(balance.values()), balance, opted_out, max(instants, default=None))


def shortfall(found: Slice, thresholds: Thresholds, now: datetime) -> str | None:
    """What keeps the thresholds from saying go, in words; None when they say go."""
    if found.unsent or found.last_left_at is None:
        return "the slice has not been sent yet"
    if now < found.last_left_at + timedelta(minutes=thresholds.after_minutes):
        return f"{thresholds.after_minutes} minutes have to pass after its last message"
    if not found.left:
        return "nobody of the slice was messaged"
    counts = (found.delivered, found.balance.get(DeliveryStatus.FAILED, 0), found.opted_out)
    delivered, failed, opted_out = (count / found.left for count in counts)
    if delivered < thresholds.min_delivered:
        return f"{delivered:.1%} were delivered, at least {thresholds.min_delivered:.1%} were asked for"
    if failed > thresholds.max_failed:
        return f"{failed:.1%} failed, at most {thresholds.max_failed:.1%} are allowed"
    if opted_out > thresholds.max_opt_out:
        return f"{opted_out:.1%} opted out, at most {thresholds.max_opt_out:.1%} are allowed"
    return None


def waits(campaign: Campaign) -> bool:
    """Whether the rest is held back now."""
    return campaign.rest_waits and campaign.status in (CampaignStatus.SENDING, CampaignStatus.PAUSED)


async def decide(
    session: AsyncSession, campaign: Campaign, verdict: CanaryVerdict, *, by: UUID | None, now: datetime
) -> None:
    """Let the rest go, or note that it must not; the caller, who holds the campaign, then cancels it.

    `by` is null when the thresholds decided. Raises Conflict when nothing waits for a verdict.
    """
    if not waits(campaign):
        raise Conflict("the campaign does not wait for a verdict", status=campaign.status)
    campaign.canary_verdict, campaign.canary_decided_at, campaign.canary_decided_by = verdict, now, by
    if verdict is CanaryVerdict.GO:
        campaign.rest_waits = False
        queue.ring_after_commit(session, queue.SEND_MESSAGES, campaign.sender_id)


async def judge(session: AsyncSession, *, now: datetime) -> int:
    """Say go where a campaign's own thresholds are met; returns how often. What they do not meet waits for a person."""
    asked = (Campaign.status == CampaignStatus.SENDING, Campaign.rest_waits, Campaign.canary_thresholds.is_not(None))
    going = 0
    for campaign in await session.scalars(select(Campaign).where(*asked).order_by(Campaign.id).with_for_update()):
        plan = plan_of(campaign)
        if plan is None or plan.thresholds is None:
            continue
        if shortfall(await slice_of(session, campaign.id), plan.thresholds, now) is None:
            await decide(session, campaign, CanaryVerdict.GO, by=None, now=now)
            log.info("campaign.canary_passed", campaign_id=str(campaign.id))
            going += 1
    return going


async def slice_is_out(session: AsyncSession, campaign_id: UUID) -> bool:
    """Whether no message of the slice is still to be sent."""
    unsent = select(Message.id).where(*_of_slice(campaign_id), Message.phase.in_(_UNSENT)).limit(1)
    return await session.scalar(unsent) is None


def may_be_sent(priority: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a campaign lets a message of this priority out: any, or the slice's while the rest waits."""
    return or_(Campaign.rest_waits.is_(False), priority <= CANARY_PRIORITY)
