"""The portfolio's allowance: how many people may be written to in any 24 hours, over all numbers and campaigns.

The provider counts each person once in a rolling 24 hours who gets a message outside an open conversation. We count
everyone we write to first, so that its count is never above ours.
Source: developers.facebook.com/documentation/business-messaging/whatsapp/messaging-limits, read 2026-11.

Who counts is kept in `people_reached`, written in the transaction that claims the messages, under one lock: the
budget can be neither overdrawn by two workers nor forgotten in a crash. Campaigns launched earlier come first: what
they still have to send now is reserved for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.db import Driver
from core.models import Campaign, Message, PersonReached, Sender
from core.services import messages
from core.services.messages import Claimed
from core.statuses import CampaignStatus, DeliveryStatus, MessageKind

WINDOW = timedelta(hours=24)
TIERS: dict[str, int | None] = {
    "TIER_50": 50,
    "TIER_250": 250,
    "TIER_1K": 1_000,
    "TIER_2K": 2_000,
    "TIER_10K": 10_000,
    "TIER_100K": 100_000,
    "TIER_UNLIMITED": None,
}
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('allowance'))"


@dataclass(frozen=True)
class Allowance:
    """The budget now: people per 24 hours, those that count at this moment, those promised to earlier campaigns."""

    limit: int
    used: int
    reserved: int
    frees_at: datetime | None  # when there is room for one more; null when only an earlier campaign's end can make it

    @property
    def free(self) -> int:
        """What is left for the campaign that asked."""
        return max(0, self.limit - self.used - self.reserved)


async def limit_of(session: AsyncSession) -> int | None:
    """People per 24 hours; None when there is no limit or it is not known.

    The limit belongs to the portfolio, so every number reports the same; while they differ the smallest holds.
    """
    tiers = await session.scalars(select(Sender.limit_tier).distinct())
    return min((limit for tier in tiers if tier is not None and (limit := tier_limit(tier)) is not None), default=None)


def tier_limit(tier: str) -> int | None:
    """The people of a provider's word such as TIER_2K; None for no limit, and for a word nobody knows yet."""
    return TIERS.get(tier)


_COUNTING = "FROM people_reached WHERE reached_at > now() - interval '24 hours'"
_USED = f"SELECT count(*) {_COUNTING}"
_NTH = f"SELECT reached_at {_COUNTING} ORDER BY reached_at OFFSET :before LIMIT 1"
_RESERVED = """
    SELECT count(*) FROM (
        SELECT FROM messages m JOIN campaigns c ON c.id = m.campaign_id
         WHERE m.phase = 'queued' AND m.not_before <= now() AND c.status = 'sending'
           AND c.launched_at < (SELECT launched_at FROM campaigns WHERE id = $1)
         LIMIT $2) AS earlier
"""


async def look(session: AsyncSession, campaign: Campaign | None) -> Allowance | None:
    """The budget as the campaign sees it (None: as a new campaign would); None when there is no limit."""
    limit = await limit_of(session)
    if limit is None:
        return None
    used = await session.scalar(text(_USED)) or 0
    going = (Campaign.status == CampaignStatus.SENDING, Message.phase == DeliveryStatus.QUEUED)
    earlier = select(func.count()).select_from(Message).join(Campaign, Campaign.id == Message.campaign_id).where(*going)
    if campaign is not None and campaign.launched_at is not None:
        earlier = earlier.where(Campaign.launched_at < campaign.launched_at, Message.not_before <= func.now())
    reserved = await session.scalar(earlier) or 0
    # So many have to stop counting before there is room for one more.
    before = max(0, used + reserved - limit)
    nth = await session.scalar(text(_NTH), {"before": before})
    return Allowance(limit, used, reserved, nth + WINDOW if nth else None)


async def claim(
    connection: Driver, sender_id: UUID, campaign_id: UUID | None, *, limit: int, people: int
) -> list[Claimed] | None:
    """Claim messages as `messages.claim` does, as far as the budget of `people` per 24 hours allows.

    When nothing of it is left, replies and messages to people who count already still go; None when there are none.
    Everyone claimed counts from now on; `give_back` takes back who was not written to after all.
    """
    async with connection.transaction():
        await connection.execute(_LOCK)
        free = people - await connection.fetchval(_USED)
        if campaign_id is not None and free > 0:
            free -= await connection.fetchval(_RESERVED, campaign_id, free)
        is_left = free > 0
        most = min(limit, free) if is_left else limit
        batch = await messages.claim(connection, sender_id, campaign_id, limit=most, only_free=not is_left)
        await connection.execute(_COUNT, [each.contact_id for each in batch if each.kind is not MessageKind.REPLY])
    return batch if batch or is_left else None


_COUNT = """
    INSERT INTO people_reached (contact_id, reached_at, before_at)
    SELECT DISTINCT contact_id, now(), CAST(NULL AS timestamptz) FROM unnest($1::uuid[]) AS asked (contact_id)
        ON CONFLICT (contact_id) DO UPDATE SET reached_at = excluded.reached_at, before_at = people_reached.reached_at
"""


async def give_back(session: AsyncSession, contact_ids: Sequence[UUID]) -> None:
    """These people were claimed a moment ago and got nothing: they count as before."""
    theirs = PersonReached.contact_id.in_(contact_ids)
    for person in await session.scalars(select(PersonReached).where(theirs).with_for_update()):
        if person.before_at is None:
            await session.delete(person)
        else:
            person.reached_at, person.before_at = person.before_at, None


async def forget_old(session: AsyncSession) -> None:
    """Take out who stopped counting a while ago."""
    await session.execute(text("DELETE FROM people_reached WHERE reached_at < now() - interval '48 hours'"))
