"""How a campaign moves: its pace, when it will be done, and why it is not moving."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.live import Live
from core.models import Campaign, Message, Sender
from core.services import allowance, campaigns, canary, senders
from core.services.standing import PACE_WINDOW_S, Standing
from core.statuses import CANARY_PRIORITY, CampaignStatus, DeliveryStatus

LATE_AFTER = timedelta(seconds=60)


@dataclass(frozen=True)
class Pace:
    """Messages accepted in the last seconds, what would be allowed, and what is left."""

    messages_per_second: float
    limit_per_second: float
    left: int

    def eta(self, now: datetime) -> datetime | None:
        """When the last row is sent at the present pace, or at the limit before anything was measured."""
        speed = self.messages_per_second or self.limit_per_second
        return now + timedelta(seconds=self.left / speed) if self.left else None


async def limit_per_second(session: AsyncSession, campaign: Campaign) -> float:
    """What the number and the campaign's own pace allow together."""
    sender = await senders.get(session, campaign.sender_id)
    limit = float(sender.messages_per_second)
    return limit if campaign.messages_per_minute is None else min(limit, campaign.messages_per_minute / 60)


async def pace(session: AsyncSession, campaign: Campaign, standing: Standing) -> Pace:
    """What it was when the messages were counted."""
    return Pace(standing.recent / PACE_WINDOW_S, await limit_per_second(session, campaign), standing.left)


@dataclass(frozen=True)
class Waiting:
    """Why a campaign is not moving, in a word, a sentence, and until when if that is known."""

    reason: str
    detail: str
    until: datetime | None = None


async def waiting(session: AsyncSession, campaign: Campaign, *, live: Live, now: datetime) -> Waiting | None:
    """None when the campaign moves or is over. `live` is what the workers say about the campaign's number."""
    sender = await senders.get(session, campaign.sender_id)
    shown = await campaigns.shown_status(session, campaign)
    if shown in (CampaignStatus.EXPANDING, CampaignStatus.SENDING) and not live.worker_alive:
        return Waiting("no_worker", "No worker is running: start one, it goes on by itself.")
    if campaign.status is CampaignStatus.SCHEDULED and campaign.send_at is not None:
        if campaign.send_at < now - LATE_AFTER:
            return Waiting("late", "It should have begun by now: is a worker running?", campaign.send_at)
        return Waiting("scheduled", "It starts at its time.", campaign.send_at)
    if campaign.status is CampaignStatus.PAUSED:
        return Waiting("paused", campaign.pause_reason or "Somebody paused it.")
    if shown is not CampaignStatus.SENDING:
        return None
    return await _waiting_rows(session, campaign, sender, live, now)


async def _waiting_rows(
    session: AsyncSession, campaign: Campaign, sender: Sender, live: Live, now: datetime
) -> Waiting | None:
    if sender.paused_at is not None:
        return Waiting("sender_paused", f"The number is paused: {sender.pause_reason or 'no reason given'}.")
    if campaign.rest_waits and await canary.slice_is_out(session, campaign.id):
        so_far = (await canary.slice_of(session, campaign.id)).sentence()
        return Waiting("canary", f"{so_far} Say whether the rest goes out.")
    queued = [Message.campaign_id == campaign.id, Message.phase == DeliveryStatus.QUEUED]
    if campaign.rest_waits:
        queued.append(Message.priority == CANARY_PRIORITY)
    due = await session.scalar(select(Message.id).where(*queued, Message.not_before <= now).limit(1))
    if due is not None:
        return await _waiting_due(session, campaign, live)
    until = await session.scalar(select(func.min(Message.not_before)).where(*queued))
    if until is None:
        return None
    return Waiting("not_before", "The remaining messages wait for the end of quiet hours or for a retry.", until)


async def _waiting_due(session: AsyncSession, campaign: Campaign, live: Live) -> Waiting | None:
    """Why messages whose time has come do not all leave at once."""
    if live.provider_down:
        return Waiting("provider_down", "The provider cannot be reached. It is tried again every few seconds.")
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
    return None
