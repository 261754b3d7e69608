"""What time does to consent, and the proof that the cache is what the ledger says."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import stored
from core.consent.acts import Act, ActorType
from core.consent.canonical import timestamp
from core.consent.state import REQUEST_TTL, EventType, Permission, State, replay
from core.models import ConsentState, Contact

HOLD_TTL = timedelta(days=7)  # an ambiguous reply nobody resolved becomes a withdrawal
RESTRICTION = "restriction"  # a hold the person asked for: it stands until somebody lifts it
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild looked at, and whose rows were not what the ledger says."""

    contacts: int
    rows: int
    repaired: tuple[UUID, ...]


async def rebuild(session: AsyncSession) -> Rebuilt:
    """Replay the whole ledger and put right every row of the cache that differs from it.

    Differences are looked for without locks; a contact that has one is locked and compared again before it is
    repaired, so nobody's send waits for the scan.
    """
    contacts = rows = 0
    repaired: list[UUID] = []
    after = UUID(int=0)
    while True:
        page = select(Contact.id).where(Contact.id > after).order_by(Contact.id).limit(_PAGE)
        ids = list(await session.scalars(page))
        if not ids:
            return Rebuilt(contacts, rows, tuple(repaired))
        expected, suspects = await _compare(session, ids)
        if suspects:
            await stored.lock_contacts(session, suspects)
            right, wrong = await _compare(session, suspects)
            await _repair(session, right, wrong)
            repaired += wrong
        contacts += len(ids)
        rows += len(expected)
        after = ids[-1]


async def _compare(session: AsyncSession, ids: list[UUID]) -> tuple[list[stored.StateRow], list[UUID]]:
    """The rows the ledger leads to, and the contacts whose cached rows are others."""
    expected: list[stored.StateRow] = []
    for contact_id, history in (await stored.histories(session, ids)).items():
        seqs = {event.event_id: seq for seq, event in history}
        head = history[-1][0]
        for purpose, permission in replay(event for _, event in history).items():
            expected.append(stored.state_row(contact_id, purpose, permission, seqs, head))
    cached = {
        stored.StateRow(
            row.contact_id,
            row.purpose,
            Permission(State(row.state), row.grade, None, row.expires_at, row.reason, tuple(row.overlays)),
            row.grant_seq,
            row.head_seq,
        )
        for row in (await session.execute(select(*_CACHED).where(stored.among(ConsentState.contact_id, ids)))).all()
    }
    differing = {stored.without_grant_id(row) for row in expected} ^ cached
    return expected, sorted({row.contact_id for row in differing})


_CACHED = (
    ConsentState.contact_id,
    ConsentState.purpose,
    ConsentState.state,
    ConsentState.grade,
    ConsentState.grant_seq,
    ConsentState.expires_at,
    ConsentState.reason,
    ConsentState.overlays,
    ConsentState.head_seq,
)


async def _repair(session: AsyncSession, rows: list[stored.StateRow], wrong: list[UUID]) -> None:
    right = [row for row in rows if row.contact_id in set(wrong)]
    named = [(row.contact_id, row.purpose) for row in right]
    surplus = delete(ConsentState).where(
        stored.among(ConsentState.contact_id, wrong),
        tuple_(ConsentState.contact_id, ConsentState.purpose).not_in(named),
    )
    await session.execute(surplus)
    await stored.write_states(session, right)


_DUE = text("""
    SELECT contact_id, purpose, state AS what, CAST(grant_seq AS text) AS about
      FROM consent_state WHERE state = 'subscribed' AND expires_at <= :now
    UNION ALL
    SELECT s.contact_id, s.purpose, s.state, CAST(asked.event_id AS text)
      FROM consent_state s
     CROSS JOIN LATERAL (
           SELECT event_id, recorded_at FROM consent_events
            WHERE subject_id = s.contact_id AND purpose = s.purpose AND event_type = 'REQUESTED'
            ORDER BY seq DESC LIMIT 1) asked
     WHERE s.state = 'pending' AND asked.recorded_at <= :lapsed
    UNION ALL
    SELECT s.contact_id, s.purpose, 'hold', CAST(held.event_id AS text)
      FROM consent_state s
     CROSS JOIN LATERAL (
           SELECT event_id, recorded_at, reason FROM consent_events
            WHERE subject_id = s.contact_id AND purpose = s.purpose AND event_type = 'HOLD_PLACED'
            ORDER BY seq DESC LIMIT 1) held
     WHERE jsonb_exists(s.overlays, 'hold') AND held.recorded_at <= :unresolved
       AND held.reason IS DISTINCT FROM :restriction
     LIMIT :limit
""")


async def due_acts(session: AsyncSession, *, now: datetime, limit: int) -> list[Act]:
    """What the clock has decided since: grants that ended, requests that lapsed, holds nobody resolved in 7 days."""
    instants = {"now": now, "lapsed": timestamp(now - REQUEST_TTL), "unresolved": timestamp(now - HOLD_TTL)}
    acts: list[Act] = []
    for row in await session.execute(_DUE, {**instants, "limit": limit, "restriction": RESTRICTION}):
        for event_type, reason in _DECIDED[row.what]:
            acts.append(
                Act(
                    contact_id=row.contact_id,
                    event_type=event_type,
                    purpose=row.purpose,
                    source="system",
                    source_key=f"{event_type.value}|{row.contact_id}|{row.purpose}|{row.about}",
                    occurred_at=now,
                    actor=ActorType.SYSTEM,
                    reason=reason,
                )
            )
    return acts


_DECIDED = {
    "subscribed": [(EventType.EXPIRED, "expiry")],
    "pending": [(EventType.EXPIRED, "request_lapsed")],
    "hold": [(EventType.WITHDRAWN, "ambiguous_unresolved"), (EventType.HOLD_RELEASED, "ambiguous_unresolved")],
}
