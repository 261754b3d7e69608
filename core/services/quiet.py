"""Quiet hours that begin while a campaign is going out: who is in them waits for their end, in their own zone.

The claim refuses their rows anyway. They are put off so that the claim need not pass over all of them for every batch,
and so that the campaign can say what it waits for, and until when.
"""

from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Text

from core.models import Campaign
from core.statuses import CampaignStatus

PAGE = 10_000
_HEAD = 1000  # zones are mixed in the queue, so its head shows each that matters

_DUE = "m.sender_id = c.sender_id AND m.campaign_id = c.id AND m.phase = 'queued' AND m.not_before <= now()"
_ZONES = text(
    f"""
    SELECT DISTINCT h.time_zone
      FROM campaigns c, LATERAL (SELECT m.time_zone FROM messages m WHERE {_DUE}
                                  ORDER BY m.priority, m.not_before, m.id LIMIT {_HEAD}) h
     WHERE c.id = :campaign AND in_quiet_hours(h.time_zone, c.quiet_from, c.quiet_until)
    """  # noqa: S608 - built from constants
)
_PUT_OFF = text(
    f"""
    WITH those AS MATERIALIZED (
        SELECT m.id, after_quiet_hours(now(), m.time_zone, c.quiet_from, c.quiet_until) AS ends_at
          FROM messages m JOIN campaigns c ON {_DUE}
         WHERE c.id = :campaign AND m.time_zone = ANY(:zones)
         ORDER BY m.priority, m.not_before, m.id LIMIT {PAGE} FOR UPDATE OF m SKIP LOCKED),
    moved AS (UPDATE messages m SET not_before = t.ends_at FROM those t WHERE m.id = t.id RETURNING m.id)
    SELECT count(*) FROM moved
    """  # noqa: S608 - built from constants
).bindparams(bindparam("zones", type_=ARRAY(Text())))


async def campaigns_with_quiet_hours(session: AsyncSession) -> list[UUID]:
    """Campaigns that are going out and keep quiet hours."""
    going = (Campaign.status == CampaignStatus.SENDING, Campaign.quiet_from.is_not(None))
    return list(await session.scalars(select(Campaign.id).where(*going).order_by(Campaign.id)))


async def put_off(session: AsyncSession, campaign_id: UUID) -> int:
    """Let due messages wait for the end of the quiet hours their people are in; a page of them, returns how many."""
    zones = list(await session.scalars(_ZONES, {"campaign": campaign_id}))
    if not zones:
        return 0
    return await session.scalar(_PUT_OFF, {"campaign": campaign_id, "zones": zones}) or 0
