"""Consent: recording what people said, for one or a thousand at once, and reading it back.

Lock order, the same for every writer: address advisory locks, contacts by id, the ledger's head last.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger, stored
from core.consent.acts import Act, ActorType, Method, check, clock_flags, draft, expiry
from core.consent.canonical import evidence_commitment, evidence_text, timestamp
from core.consent.registry import (
    Registry,
    current_notice,
    ensure_defaults,
    halt_purpose,
    list_notices,
    list_purposes,
    load_registry,
    publish_notice,
    put_purpose,
    record_system,
)
from core.consent.sealed import Core
from core.consent.state import NEGATIVE, Change, Event, EventType, Fold, Grade, Permission, State, covers
from core.consent.upkeep import due_acts, rebuild
from core.db import fetch
from core.errors import NotFound, Unavailable
from core.keys import Keyring
from core.models import ConsentEvent, ConsentEvidence, Contact, ContactAddress, PendingWithdrawal
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

NOBODY = UUID(int=0)  # contact of an act whose person is not known yet
_ELSEWHERE = frozenset({Method.WEB_FORM, Method.PAPER, Method.CALL, Method.IN_PERSON, Method.PREF_CENTRE, Method.STAFF})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an act: the event that says so, and the state of the purpose or scope it named."""

    contact_id: UUID
    event_id: UUID
    seq: int
    state: State
    rule: str  # the state machine's row; `14` refused a grant, `unlisted` changed nothing
    grade: Grade | None = None
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A contact that is being made in the same transaction: nobody else can see it, and it has no history."""

    contact_id: UUID
    country: str | None
    match_key: str


@dataclass(slots=True)
class _Person:
    """One contact while a batch is recorded."""

    contact_id: UUID
    country: str | None
    fold: Fold
    seqs: dict[UUID, int]  # event → place, of what is in the ledger already
    events: list[Event]
    refs: list[list[str]]
    suppressions: list[stored.LiveSuppression]
    is_blank: bool = False  # nothing of theirs is in the ledger yet
    permissions: Mapping[str, Permission] | None = None  # where it is known without folding

    def asked_elsewhere(self, act: Act) -> bool:
        """Whether a request for this purpose was made by a form or staff, outside the account."""
        return any(
            event.event_type is EventType.REQUESTED and event.purpose == act.purpose and event.method in _ELSEWHERE
            for event in self.events
        )


@dataclass(frozen=True, slots=True)
class _Exemplar:
    """The first of many acts that differ in nothing but who, when and the proof: what it came to, all come to."""

    core: Core
    event: Event
    change: Change
    permissions: Mapping[str, Permission]


@dataclass(slots=True)
class Judged:
    """Acts that were judged and wait to be sealed: what will be written, in the ledger's order."""

    acts: Sequence[Act]
    source_refs: Sequence[str]  # one per act
    known: Mapping[str, stored.Recorded]  # source reference → what it was recorded as before
    newcomers: frozenset[UUID]
    drafts: list[ledger.Draft] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    people: list[_Person] = field(default_factory=list)
    evidence: list[stored.Evidence] = field(default_factory=list)
    by_source: dict[str, int] = field(default_factory=dict)  # source reference → position
    exemplars: dict[tuple[object, ...], _Exemplar] = field(default_factory=dict)

    def events_of(self) -> Counter[UUID]:
        """Contact → events this batch adds."""
        return Counter(person.contact_id for person in self.people)

    def outcomes(self) -> list[Outcome]:
        """One per act; where nothing was sealed yet, `seq` is 0."""
        outcomes = []
        repeated = set(self.known)
        for act, source_ref in zip(self.acts, self.source_refs, strict=True):
            outcomes.append(self._outcome(act, source_ref, is_duplicate=source_ref in repeated))
            repeated.add(source_ref)
        return outcomes

    def _outcome(self, act: Act, source_ref: str, *, is_duplicate: bool) -> Outcome:
        if (first := self.known.get(source_ref)) is not None:
            contact_id = first.contact_id or act.contact_id
            state = State(first.next_state or State.NONE)
            return Outcome(contact_id, first.event_id, first.seq, state, "duplicate", is_duplicate=True)
        position = self.by_source[source_ref]
        event, change = self.events[position], self.changes[position]
        return Outcome(
            self.people[position].contact_id,
            event.event_id,
            self.drafts[position].core.seq,
            change.after,
            change.rule,
            event.grade if act.is_grant else None,
            is_duplicate,
        )


_LIKENESS = attrgetter(
    *("event_type", "purpose", "source", "actor", "actor_id", "method", "collection_point", "notice_id", "language"),
    *("lawful_basis", "consent_kind", "sender_scope", "reason", "declared_import", "weakest_grade"),
)


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


async def judge(
    session: AsyncSession,
    acts: Sequence[Act],
    *,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
    newcomers: Sequence[Newcomer] = (),
    registry: Registry | None = None,
) -> Judged:
    """What recording the acts will come to; locks the known contacts and writes nothing. Raises as `record` does.

    Newcomers need not be stored yet; whoever seals stores them first, each with its number of events.
    """
    made = frozenset(newcomer.contact_id for newcomer in newcomers)
    if not acts:
        return Judged([], [], {}, made)
    registry = registry or await load_registry(session)
    for act in acts:
        check(act, registry.purposes, registry.notices)
    named = dict.fromkeys(act.contact_id for act in acts)
    people = await _lock(session, [each for each in named if each not in made], keyring)
    people |= await _new_people(session, [each for each in newcomers if each.contact_id in named], keyring)
    if any(act.is_grant for act in acts):
        await _refuse_when_the_clock_stepped_back(session)
    brought = [act for person in people.values() for act in _brought_along(person)]
    source_refs = [keyring.source_ref(act.source, act.source_key) for act in [*brought, *acts]]
    known = await stored.known_events(session, source_refs)
    batch = Judged(acts, source_refs[len(brought) :], known, made)
    said = Counter(act.contact_id for act in acts)
    for act, source_ref in zip([*brought, *acts], source_refs, strict=True):
        if source_ref not in known and source_ref not in batch.by_source:
            person = people[act.contact_id]
            jurisdiction = person.country or settings.country
            alone = person.is_blank and said[act.contact_id] == 1 and not person.suppressions
            put = _draft_like_others if alone else _draft
            put(batch, person, act, source_ref=source_ref, registry=registry, jurisdiction=jurisdiction, now=now)
    return batch


async def seal(session: AsyncSession, batch: Judged, *, keyring: Keyring, now: datetime) -> None:
    """Write what was judged in this transaction: ledger, evidence, state and suppressions."""
    sealed = await ledger.append(session, batch.drafts, newcomers=batch.newcomers)
    await _write(session, batch, sealed, keyring, now)


async def _new_people(session: AsyncSession, newcomers: Sequence[Newcomer], keyring: Keyring) -> dict[UUID, _Person]:
    """Their addresses may have been suppressed under an earlier contact."""
    refs = {newcomer.contact_id: keyring.address_refs(newcomer.match_key) for newcomer in newcomers}
    suppressions = (
        await stored.live_suppressions(session, [ref for own in refs.values() for ref in own]) if refs else {}
    )
    return {
        newcomer.contact_id: _Person(
            newcomer.contact_id,
            newcomer.country,
            Fold(),
            {},
            [],
            [refs[newcomer.contact_id]],
            [known for ref in refs[newcomer.contact_id] for known in suppressions.get(ref, ())],
            is_blank=True,
        )
        for newcomer in newcomers
    }


async def _lock(session: AsyncSession, ids: Sequence[UUID], keyring: Keyring) -> dict[UUID, _Person]:
    if not ids:
        return {}
    countries = await stored.lock_contacts(session, ids)
    for contact_id in ids:
        if contact_id not in countries:
            raise NotFound("no such contact", contact_id=str(contact_id))
    histories = await stored.histories(session, countries)
    refs = await stored.address_refs(session, countries, keyring)
    every_ref = [ref for addresses in refs.values() for versions in addresses for ref in versions]
    suppressions = await stored.live_suppressions(session, every_ref) if every_ref else {}
    people = {}
    for contact_id, country in countries.items():
        history, fold = histories.get(contact_id, []), Fold()
        for _, event in history:
            fold.apply(event)
        own = [ref for versions in refs.get(contact_id, []) for ref in versions]
        people[contact_id] = _Person(
            contact_id,
            country,
            fold,
            {event.event_id: seq for seq, event in history},
            [event for _, event in history],
            refs.get(contact_id, []),
            [suppression for ref in own for suppression in suppressions.get(ref, ())],
            is_blank=not history,
        )
    return people


def _brought_along(person: _Person) -> list[Act]:
    """What an address was suppressed for under an earlier contact becomes part of this contact's history."""
    own = set(person.seqs.values())
    return [
        Act(
            contact_id=person.contact_id,
            event_type=EventType.SUPPRESSED,
            purpose=suppression.scope,
            source="suppression",
            source_key=f"{suppression.id}|{person.contact_id}",
            occurred_at=suppression.created_at,
            actor=ActorType.SYSTEM,
            reason=suppression.reason,
        )
        for suppression in person.suppressions
        if suppression.created_seq not in own
    ]


def _draft(
    batch: Judged,
    person: _Person,
    act: Act,
    *,
    source_ref: str,
    registry: Registry,
    jurisdiction: str,
    now: datetime,
) -> None:
    event_id, commitment = _proven(batch, person, act)
    core, event = draft(
        act,
        event_id=event_id,
        number=len(person.events) + 1,
        received_at=act.received_at or now,
        source_ref=source_ref,
        purpose=registry.purposes.get(act.purpose),
        notice=None if act.notice_id is None else registry.notices.get(act.notice_id),
        jurisdiction=jurisdiction,
        asked_elsewhere=person.asked_elsewhere(act),
        commitment=commitment,
    )
    change = person.fold.apply(event)
    core.prev_state, core.next_state, core.rule_id = change.before.value, change.after.value, change.rule
    if change.kept:
        core.kept = list(change.kept)
    _add(batch, person, core, event, change)


def _draft_like_others(
    batch: Judged,
    person: _Person,
    act: Act,
    *,
    source_ref: str,
    registry: Registry,
    jurisdiction: str,
    now: datetime,
) -> None:
    """The only act of somebody without a history: in a file, thousands are alike but for who, when and the proof."""
    received_at = act.received_at or now
    flags, expires_at = clock_flags(act, received_at), None
    if act.is_grant and (purpose := registry.purposes.get(act.purpose)) is not None:
        expires_at = expiry(act, received_at, purpose)
    likeness = (
        *(*_LIKENESS(act), act.jurisdiction or jurisdiction, act.confirmed_at is None),
        *(*act.evidence, None, *act.refs.items(), None, received_at, *flags),
        expires_at is not None and expires_at <= received_at,
    )
    like = batch.exemplars.get(likeness)
    if like is None:
        common = {"source_ref": source_ref, "jurisdiction": jurisdiction}
        _draft(batch, person, act, **common, registry=registry, now=now)
        core, event, change = batch.drafts[-1].core, batch.events[-1], batch.changes[-1]
        batch.exemplars[likeness] = _Exemplar(core, event, change, person.fold.permissions())
        return
    event_id, commitment = _proven(batch, person, act)
    core = copy(like.core)
    core.event_id, core.subject_id, core.source_event_ref = str(event_id), str(person.contact_id), source_ref
    core.occurred_at = timestamp(act.occurred_at)
    if commitment is not None:
        core.evidence_commit = commitment
    if expires_at is not None:
        core.expires_at = timestamp(expires_at)
    event = msgspec.structs.replace(like.event, event_id=event_id, occurred_at=act.occurred_at, expires_at=expires_at)
    person.permissions = {
        purpose: known
        if known.grant_id is None
        else Permission(known.state, known.grade, event_id, expires_at, known.reason, known.overlays)
        for purpose, known in like.permissions.items()
    }
    _add(batch, person, core, event, like.change)


def _proven(batch: Judged, person: _Person, act: Act) -> tuple[UUID, str | None]:
    """An id for the event, and the commitment to its evidence, which is kept with the batch."""
    event_id = ledger.new_event_id()
    if not act.evidence:
        return event_id, None
    salt, payload = ledger.new_salt(), evidence_text(act.evidence)
    batch.evidence.append(stored.Evidence(event_id, person.contact_id, salt, payload))
    return event_id, evidence_commitment(salt, payload)


def _add(batch: Judged, person: _Person, core: Core, event: Event, change: Change) -> None:
    person.events.append(event)
    batch.by_source[core.source_event_ref] = len(batch.drafts)
    batch.drafts.append(ledger.Draft(event.event_id, person.contact_id, core))
    batch.events.append(event)
    batch.changes.append(change)
    batch.people.append(person)


async def _write(
    session: AsyncSession, batch: Judged, sealed: Sequence[ledger.SealedEvent], keyring: Keyring, now: datetime
) -> None:
    heads: dict[UUID, int] = {}
    suppressed: list[stored.Suppress] = []
    lifted: dict[UUID, int] = {}
    for event, change, person, place in zip(batch.events, batch.changes, batch.people, sealed, strict=True):
        person.seqs[event.event_id] = place.seq
        heads[person.contact_id] = place.seq
        if _suppresses(event, change):
            reason = event.reason or event.event_type.value.lower()
            suppressed += [
                stored.Suppress(versions[0], keyring.address_version, event.purpose, reason, place.seq)
                for versions in person.refs
            ]
        if change.lifted:
            covering = [known for known in person.suppressions if covers(known.scope, event.purpose)]
            lifted |= {known.id: place.seq for known in covering}
    await stored.write_evidence(session, batch.evidence)
    people = {person.contact_id: person for person in batch.people}.values()
    await stored.add_states(session, _rows([person for person in people if person.is_blank], heads))
    await stored.write_states(session, _rows([person for person in people if not person.is_blank], heads))
    await stored.lift(session, lifted, now=now)
    await stored.suppress(session, suppressed)


def _suppresses(event: Event, change: Change) -> bool:
    """Withdrawals and erasures that took effect reach every contact that ever has the address."""
    is_persons = (event.event_type in NEGATIVE and event.event_type is not EventType.SUPPRESSED) or (
        event.event_type is EventType.ERASED
    )
    return is_persons and not change.kept and change.rule not in ("superseded", "unlisted", "25")


def _rows(people: Iterable[_Person], heads: Mapping[UUID, int]) -> list[stored.StateRow]:
    return [
        stored.state_row(person.contact_id, purpose, permission, person.seqs, heads[person.contact_id])
        for person in people
        for purpose, permission in (person.permissions or person.fold.permissions()).items()
    ]


_CLOCK = "SELECT recorded_at > clock_timestamp() + interval '60 seconds' FROM consent_chain WHERE name = 'main'"


async def _refuse_when_the_clock_stepped_back(session: AsyncSession) -> None:
    ((is_behind,),) = await fetch(session, _CLOCK)
    if is_behind:
        raise Unavailable("the server's clock is behind the ledger: grants are not accepted until it is right")


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
        session, [replace(act, contact_id=contact_id)], keyring=keyring, settings=settings, now=now
    )
    return outcome


async def pend_withdrawal(session: AsyncSession, contact_id: UUID, act: Act) -> None:
    """Keep a withdrawal whose contact is locked for too long: it holds all sends at once, `finish_pending` records it.

    To be committed in a transaction of its own, after the one that timed out was rolled back.
    """
    request = msgspec.to_builtins(replace(act, contact_id=contact_id, evidence={}))
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
        act if act.received_at is not None else replace(act, received_at=row.created_at)
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
