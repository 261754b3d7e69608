"""People on hold: what they wrote was unclear, so nothing goes to them until somebody has read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.acts import Act, ActorType, Method
from core.consent.canonical import timestamp
from core.consent.state import HOLD, EventType
from core.consent.upkeep import HOLD_TTL
from core.errors import Conflict, NotFound
from core.keys import Keyring
from core.models import ConsentState
from core.services import consents
from core.services.paging import MAX_PAGE, Page, decode, encode
from core.services.people import Actor
from core.settings import Settings


@dataclass(frozen=True)
class Hold:
    """One pause of one person; `decided_at` is when time itself decides, as a withdrawal."""

    id: UUID
    contact_id: UUID
    name: str | None
    language: str | None
    purpose: str
    reason: str | None
    words: str | None  # what was written; null where there was nothing, or erasure took it
    placed_at: datetime | None
    decided_at: datetime | None


# A pause of a scope shows on every purpose inside it: only the row it was placed on is listed, and those that a
# doubtful clock paused without an event of their own.
_HOLDS = text("""
    SELECT s.id, s.contact_id, c.name, c.language, s.purpose, held.reason, held.recorded_at, e.payload
      FROM consent_state s
      JOIN contacts c ON c.id = s.contact_id
      LEFT JOIN LATERAL (
           SELECT event_id, reason, recorded_at FROM consent_events
            WHERE subject_id = s.contact_id AND purpose = s.purpose AND event_type = 'HOLD_PLACED'
            ORDER BY seq DESC LIMIT 1) held ON true
      LEFT JOIN consent_evidence e ON e.event_id = held.event_id
     WHERE jsonb_exists(s.overlays, 'hold') AND s.state NOT IN ('withdrawn', 'closed')
       AND (held.event_id IS NOT NULL OR NOT EXISTS (
           SELECT FROM consent_state w WHERE w.contact_id = s.contact_id AND w.purpose IN ('marketing.*', '*')
                                         AND jsonb_exists(w.overlays, 'hold')))
       AND (CAST(:after AS uuid) IS NULL OR s.id > :after)
     ORDER BY s.id LIMIT :limit
""")


async def list_page(session: AsyncSession, *, limit: int, cursor: str | None) -> Page[Hold]:
    """The people on hold, the longest known first."""
    after = decode(cursor) if cursor is not None else None
    limit = min(limit, MAX_PAGE)
    rows: Sequence[Row[Any]] = (await session.execute(_HOLDS, {"after": after, "limit": limit + 1})).all()
    shown = [_hold(row) for row in rows[:limit]]
    return Page(shown, encode(shown[-1].id) if len(rows) > limit else None)


def _hold(row: Row[Any]) -> Hold:
    placed_at = datetime.fromisoformat(row.recorded_at) if row.recorded_at else None
    evidence = msgspec.json.decode(row.payload) if row.payload else {}
    return Hold(
        id=row.id,
        contact_id=row.contact_id,
        name=row.name,
        language=row.language,
        purpose=row.purpose,
        reason=row.reason or "doubtful_clock",
        words=evidence.get("message_text") or None,
        placed_at=placed_at,
        decided_at=placed_at + HOLD_TTL if placed_at else None,
    )


async def decide(
    session: AsyncSession,
    hold_id: UUID,
    *,
    withdraws: bool,
    reason: str,
    actor: Actor,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
) -> UUID:
    """End a pause, with or without a withdrawal; returns the contact. Raises NotFound, or Conflict when it is over."""
    row = await session.get(ConsentState, hold_id)
    if row is None:
        raise NotFound("no such hold", hold_id=str(hold_id))
    if HOLD not in row.overlays:
        raise Conflict("this person is no longer on hold: look at the list again")
    kinds = [EventType.WITHDRAWN, EventType.HOLD_RELEASED] if withdraws else [EventType.HOLD_RELEASED]
    acts = [
        Act(
            contact_id=row.contact_id,
            event_type=kind,
            purpose=row.purpose,
            source="dashboard",
            source_key=f"hold|{hold_id}|{timestamp(now)}|{kind.value}",
            occurred_at=now,
            actor=ActorType.STAFF,
            actor_id=actor.id,
            method=Method.STAFF,
            reason="reviewed_as_stop" if withdraws else "reviewed_as_no_stop",
            evidence={"operator_note": reason},
        )
        for kind in kinds
    ]
    await consents.record(session, acts, keyring=keyring, settings=settings, now=now)
    return row.contact_id
