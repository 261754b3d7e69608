"""People on hold: what they wrote was unclear, so nothing goes to them until somebody has read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.consent.acts import Act, ActorType, Method
from core.consent.canonical import timestamp
from core.consent.state import HOLD, EventType, covers
from core.consent.upkeep import HOLD_TTL, RESTRICTION
from core.errors import Conflict, RuleViolation
from core.keys import Keyring
from core.services import consents, contacts
from core.services.paging import MAX_PAGE, Page, decode, encode
from core.services.people import Actor
from core.settings import Settings


@dataclass(frozen=True)
class Hold:
    """The pause of one person; `decided_at` is when time itself decides, as a withdrawal."""

    contact_id: UUID
    name: str | None
    language: str | None
    purpose: str
    reason: str | None
    words: str | None  # what was written; null where there was nothing, or erasure took it
    placed_at: datetime | None
    decided_at: datetime | None


# A pause of a scope shows on every purpose inside it: the row it was placed on tells why; a doubtful clock pauses
# without an event of its own.
EVERYTHING = "*"
_HOLDS = text("""
    SELECT DISTINCT ON (s.contact_id) s.contact_id, c.name, c.language, s.purpose, held.reason, held.recorded_at,
           e.payload
      FROM consent_state s
      JOIN contacts c ON c.id = s.contact_id
      LEFT JOIN LATERAL (
           SELECT event_id, reason, recorded_at FROM consent_events
            WHERE subject_id = s.contact_id AND purpose = s.purpose AND event_type = 'HOLD_PLACED'
            ORDER BY seq DESC LIMIT 1) held ON true
      LEFT JOIN consent_evidence e ON e.event_id = held.event_id
     WHERE jsonb_exists(s.overlays, 'hold') AND s.state NOT IN ('withdrawn', 'closed')
       AND (CAST(:after AS uuid) IS NULL OR s.contact_id > :after)
       AND (CAST(:words AS text) IS NULL
            OR strpos(lower(c.name), lower(CAST(:words AS text))) > 0
            OR strpos(lower(CAST(e.payload AS jsonb)->>'message_text'), lower(CAST(:words AS text))) > 0
            OR EXISTS (SELECT FROM contact_addresses a
                        WHERE a.contact_id = c.id AND a.closed_at IS NULL AND a.match_key = CAST(:number AS text)))
     ORDER BY s.contact_id, held.event_id IS NULL, s.purpose LIMIT :limit
""")


async def list_page(
    session: AsyncSession, *, words: str | None, region: str, limit: int, cursor: str | None
) -> Page[Hold]:
    """The people on hold, each once, the longest known first; `words` is of a name, of what was said, or a number."""
    after = decode(cursor) if cursor is not None else None
    limit = min(limit, MAX_PAGE)
    words = (words or "").strip() or None
    asked = {"after": after, "words": words, "number": _match_key(words, region), "limit": limit + 1}
    rows: Sequence[Row[Any]] = (await session.execute(_HOLDS, asked)).all()
    shown = [_hold(row) for row in rows[:limit]]
    return Page(shown, encode(shown[-1].contact_id) if len(rows) > limit else None)


def _match_key(words: str | None, region: str) -> str | None:
    try:
        return phone.parse(words, region=region).match_key if words else None
    except RuleViolation:
        return None


def _hold(row: Row[Any]) -> Hold:
    placed_at = datetime.fromisoformat(row.recorded_at) if row.recorded_at else None
    evidence = msgspec.json.decode(row.payload) if row.payload else {}
    return Hold(
        contact_id=row.contact_id,
        name=row.name,
        language=row.language,
        purpose=row.purpose,
        reason=row.reason or "doubtful_clock",
        words=evidence.get("message_text") or None,
        placed_at=placed_at,
        decided_at=placed_at + HOLD_TTL if placed_at and row.reason != RESTRICTION else None,
    )


async def place(
    session: AsyncSession,
    contact_id: UUID,
    *,
    reason: str,
    actor: Actor,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
) -> None:
    """Send the person nothing at all until somebody lifts it: a restriction they asked for (GDPR 18).

    Raises NotFound, or Conflict when they are restricted already, or no longer a contact.
    """
    contact = await contacts.get(session, contact_id)
    if contact.erased_at is not None or contact.closed_at is not None:
        raise Conflict("nothing is sent to this contact any more, so there is nothing to hold")
    states = {row.purpose: row for row in await contacts.consent_states(session, contact_id)}
    if EVERYTHING in states and HOLD in states[EVERYTHING].overlays:
        raise Conflict("this person is on hold for everything already")
    act = Act(
        contact_id=contact_id,
        event_type=EventType.HOLD_PLACED,
        purpose=EVERYTHING,
        source="dashboard",
        source_key=f"restriction|{contact_id}|{timestamp(now)}",
        occurred_at=now,
        actor=ActorType.STAFF,
        actor_id=actor.id,
        method=Method.STAFF,
        reason=RESTRICTION,
        evidence={"operator_note": reason},
    )
    await consents.record(session, [act], keyring=keyring, settings=settings, now=now)


async def decide(
    session: AsyncSession,
    contact_id: UUID,
    *,
    withdraws: bool,
    reason: str,
    actor: Actor,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
) -> None:
    """End a person's pause, with or without a withdrawal. Raises NotFound, or Conflict when it is over."""
    await contacts.get(session, contact_id)
    held = [row.purpose for row in await contacts.consent_states(session, contact_id) if HOLD in row.overlays]
    if not held:
        raise Conflict("this person is no longer on hold: look at the list again")
    widest = [one for one in held if not any(covers(other, one) for other in held if other != one)]
    kinds = [EventType.WITHDRAWN, EventType.HOLD_RELEASED] if withdraws else [EventType.HOLD_RELEASED]
    acts = [
        Act(
            contact_id=contact_id,
            event_type=kind,
            purpose=purpose,
            source="dashboard",
            source_key=f"hold|{contact_id}|{purpose}|{timestamp(now)}|{kind.value}",
            occurred_at=now,
            actor=ActorType.STAFF,
            actor_id=actor.id,
            method=Method.STAFF,
            reason="reviewed_as_stop" if withdraws else "reviewed_as_no_stop",
            evidence={"operator_note": reason},
        )
        for purpose in widest
        for kind in kinds
    ]
    await consents.record(session, acts, keyring=keyring, settings=settings, now=now)
