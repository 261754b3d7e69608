"""Consent: recording what people said, for one or a thousand at once, and reading it back.

Lock order, the same for every writer: address advisory locks, contacts by id, the ledger's head last.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger, stored
from core.consent.acts import Act
from core.consent.canonical import evidence_text
from core.consent.registry import (
    Registry,
    current_notice,
    ensure_defaults,
    halt_purpose,
    list_notices,
    list_purposes,
    publish_notice,
    put_purpose,
    record_system,
)
from core.consent.state import covers
from core.consent.upkeep import due_acts, rebuild
from core.keys import Keyring
from core.models import ConsentEvent, ConsentEvidence, Contact, ContactAddress, PendingWithdrawal
from core.services.judging import NOBODY, Alike, Judged, Outcome, Person, judge
from core.settings import Settings

__all__ = [
    "NOBODY",
    "Act",
    "Outcome",
    "TrailEntry",
    "current_notice",
    "ensure_defaults",
    "finish_pending",
    "halt_purpose",
    "history",
    "list_notices",
    "list_purposes",
    "pend_withdrawal",
    "publish_notice",
    "put_purpose",
    "rebuild",
    "record",
    "record_system",
    "settle_due",
    "withdraw_unknown",
]


async def record(
    session: AsyncSession,
    acts: Sequence[Act],
    *,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
    registry: Registry | None = None,
) -> list[Outcome]:
    """Record acts in their order, each once; one outcome per act. Who has read the registry hands it on.

    Writes ledger, evidence, state and suppressions together. Raises RuleViolation for an act that can never be
    recorded, NotFound for an unknown contact, Unavailable when the clock stepped back and grants are not accepted;
    then nothing is written.
    """
    judged = await judge(session, acts, keyring=keyring, settings=settings, now=now, registry=registry)
    await seal(session, judged, keyring=keyring, now=now)
    return judged.outcomes()


async def seal(session: AsyncSession, batch: Judged, *, keyring: Keyring, now: datetime) -> None:
    """Write what was judged in this transaction: ledger, evidence, state and suppressions."""
    batch.sealed = await ledger.append(session, batch.drafts, newcomers=batch.newcomers)
    await _write(session, batch, keyring, now)


async def _write(session: AsyncSession, batch: Judged, keyring: Keyring, now: datetime) -> None:
    heads: dict[UUID, int] = {}
    folded: dict[UUID, Person] = {}
    first: list[tuple[object, ...]] = []  # rows of the cache of people who had none
    suppressed: list[stored.Suppress] = []
    lifted: dict[UUID, int] = {}
    for draft, decided, person, place in zip(batch.drafts, batch.decided, batch.people, batch.sealed, strict=True):
        if isinstance(draft, Alike):
            first.extend(draft.states(place.seq))
        else:
            person.seqs[draft.event_id] = heads[person.contact_id] = place.seq
            folded[person.contact_id] = person
        event = decided.event
        if decided.suppresses:
            reason = event.reason or event.event_type.value.lower()
            suppressed += [
                stored.Suppress(versions[0], keyring.address_version, event.purpose, reason, place.seq)
                for versions in person.refs
            ]
        if decided.change.lifted:
            covering = [known for known in person.suppressions if covers(known.scope, event.purpose)]
            lifted |= {known.id: place.seq for known in covering}
    await stored.write_evidence(session, batch.evidence)
    first += map(stored.state_values, _rows([person for person in folded.values() if person.is_blank], heads))
    await stored.add_states(session, first)
    await stored.write_states(session, _rows([person for person in folded.values() if not person.is_blank], heads))
    await stored.lift(session, lifted, now=now)
    await stored.suppress(session, suppressed)


def _rows(people: Iterable[Person], heads: Mapping[UUID, int]) -> list[stored.StateRow]:
    return [
        stored.state_row(person.contact_id, purpose, permission, person.seqs, heads[person.contact_id])
        for person in people
        for purpose, permission in person.fold.permissions().items()
    ]


async def withdraw_unknown(
    session: AsyncSession,
    act: Act,
    *,
    kind: str,
    value: str,
    match_key: str,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
    country: str | None = None,
) -> Outcome:
    """Record a withdrawal for an address, whether or not anybody has it; `act.contact_id` is ignored (`NOBODY`).

    An address nobody has gets a contact of its own, so that a later import finds the withdrawal.
    """
    lock = int.from_bytes(bytes.fromhex(keyring.address_refs(match_key)[-1])[:8], "big", signed=True)
    await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
    owner = select(ContactAddress.contact_id).where(
        ContactAddress.match_key == match_key, ContactAddress.closed_at.is_(None)
    )
    contact_id = (await session.scalars(owner)).first()
    if contact_id is None:
        contact = Contact(country=country)
        session.add(contact)
        await session.flush()
        contact_id = contact.id
        session.add(ContactAddress(contact_id=contact_id, kind=kind, value=value, match_key=match_key))
        await session.flush()
    (outcome,) = await record(
        session, [msgspec.structs.replace(act, contact_id=contact_id)], keyring=keyring, settings=settings, now=now
    )
    return outcome


async def pend_withdrawal(session: AsyncSession, contact_id: UUID, act: Act) -> None:
    """Keep a withdrawal whose contact is locked for too long: it holds all sends at once, `finish_pending` records it.

    To be committed in a transaction of its own, after the one that timed out was rolled back.
    """
    request = msgspec.to_builtins(msgspec.structs.replace(act, contact_id=contact_id, evidence={}))
    request["evidence"] = msgspec.json.decode(evidence_text(act.evidence))
    session.add(PendingWithdrawal(contact_id=contact_id, request=request))
    await session.flush()


async def finish_pending(
    session: AsyncSession, *, keyring: Keyring, settings: Settings, now: datetime, limit: int = 100
) -> int:
    """Record withdrawals that were kept aside, oldest first; returns how many. Several workers may run it."""
    query = select(PendingWithdrawal).order_by(PendingWithdrawal.id).limit(limit)
    pending = list(await session.scalars(query.with_for_update(skip_locked=True)))
    acts = [msgspec.convert(row.request, Act) for row in pending]
    received = [
        act if act.received_at is not None else msgspec.structs.replace(act, received_at=row.created_at)
        for act, row in zip(acts, pending, strict=True)
    ]
    await record(session, received, keyring=keyring, settings=settings, now=now)
    for row in pending:
        await session.delete(row)
    await session.flush()
    return len(pending)


async def settle_due(
    session: AsyncSession, *, keyring: Keyring, settings: Settings, now: datetime, limit: int = 500
) -> int:
    """Record what the clock decided: ended grants, lapsed requests, holds left unresolved; returns how many events.

    To be run every few minutes; the gate does not wait for it, it looks at the clock itself.
    """
    acts = await due_acts(session, now=now, limit=limit)
    await record(session, acts, keyring=keyring, settings=settings, now=now)
    return len(acts)


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """One event of a contact's history; `evidence` is null where there was none or erasure took it."""

    seq: int
    core: Mapping[str, object]
    evidence: Mapping[str, object] | None


async def history(session: AsyncSession, contact_id: UUID) -> list[TrailEntry]:
    """A contact's events in the ledger's order, with their evidence."""
    query = (
        select(ConsentEvent.seq, ConsentEvent.core, ConsentEvidence.payload)
        .outerjoin(ConsentEvidence, ConsentEvidence.event_id == ConsentEvent.event_id)
        .where(ConsentEvent.subject_id == contact_id)
        .order_by(ConsentEvent.seq)
    )
    return [
        TrailEntry(seq, msgspec.json.decode(core), None if payload is None else msgspec.json.decode(payload))
        for seq, core, payload in await session.execute(query)
    ]
