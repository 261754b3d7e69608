"""Judging acts: what recording them will come to, for one or thousands at once, before anything is written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger, stored
from core.consent.acts import Act, ActorType, Method, check, clock_flags, draft, expiry
from core.consent.canonical import evidence_commitment, evidence_text, timestamp
from core.consent.registry import Registry, load_registry
from core.consent.sealed import Core
from core.consent.state import Change, Event, EventType, Fold, Grade, Permission, State
from core.db import MANY, expect_many, fetch
from core.errors import NotFound, Unavailable
from core.keys import Keyring
from core.settings import Settings

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
class Person:
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
    people: list[Person] = field(default_factory=list)
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
    if len(acts) >= MANY:
        await expect_many(session)
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


async def _new_people(session: AsyncSession, newcomers: Sequence[Newcomer], keyring: Keyring) -> dict[UUID, Person]:
    """Their addresses may have been suppressed under an earlier contact."""
    refs = {newcomer.contact_id: keyring.address_refs(newcomer.match_key) for newcomer in newcomers}
    suppressions = (
        await stored.live_suppressions(session, [ref for own in refs.values() for ref in own]) if refs else {}
    )
    return {
        newcomer.contact_id: Person(
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


async def _lock(session: AsyncSession, ids: Sequence[UUID], keyring: Keyring) -> dict[UUID, Person]:
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
        people[contact_id] = Person(
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


def _brought_along(person: Person) -> list[Act]:
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
    person: Person,
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
    person: Person,
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


def _proven(batch: Judged, person: Person, act: Act) -> tuple[UUID, str | None]:
    """An id for the event, and the commitment to its evidence, which is kept with the batch."""
    event_id = ledger.new_event_id()
    if not act.evidence:
        return event_id, None
    salt, payload = ledger.new_salt(), evidence_text(act.evidence)
    batch.evidence.append(stored.Evidence(event_id, person.contact_id, salt, payload))
    return event_id, evidence_commitment(salt, payload)


def _add(batch: Judged, person: Person, core: Core, event: Event, change: Change) -> None:
    person.events.append(event)
    batch.by_source[core.source_event_ref] = len(batch.drafts)
    batch.drafts.append(ledger.Draft(event.event_id, person.contact_id, core))
    batch.events.append(event)
    batch.changes.append(change)
    batch.people.append(person)


_CLOCK = "SELECT recorded_at > clock_timestamp() + interval '60 seconds' FROM consent_chain WHERE name = 'main'"


async def _refuse_when_the_clock_stepped_back(session: AsyncSession) -> None:
    ((is_behind,),) = await fetch(session, _CLOCK)
    if is_behind:
        raise Unavailable("the server's clock is behind the ledger: grants are not accepted until it is right")
