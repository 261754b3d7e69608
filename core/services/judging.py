"""Judging acts: what recording them will come to, for one or thousands at once, before anything is written."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple, Self
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger, stored
from core.consent.acts import Act, ActorType, Method, check, clock_flags, draft, expiry
from core.consent.canonical import evidence_commitment, evidence_text, timestamp
from core.consent.registry import Registry, load_registry
from core.consent.sealed import Core
from core.consent.state import NEGATIVE, Change, Event, EventType, Fold, Grade, Permission, State
from core.db import MANY, expect_many, fetch
from core.errors import NotFound, Unavailable
from core.keys import Keyring
from core.settings import Settings

NOBODY = UUID(int=0)  # contact of an act whose person is not known yet
_ELSEWHERE = frozenset({Method.WEB_FORM, Method.PAPER, Method.CALL, Method.IN_PERSON, Method.PREF_CENTRE, Method.STAFF})


class Outcome(NamedTuple):
    """What became of an act: the event that says so, and the state of the purpose or scope it named."""

    contact_id: UUID
    event_id: UUID
    seq: int
    state: State
    rule: str  # the state machine's row; `14` refused a grant, `unlisted` changed nothing
    grade: Grade | None = None
    is_duplicate: bool = False


class Newcomer(NamedTuple):
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
    suppressions: Sequence[stored.LiveSuppression]
    is_blank: bool = False  # nothing of theirs is in the ledger yet

    def asked_elsewhere(self, act: Act) -> bool:
        """Whether a request for this purpose was made by a form or staff, outside the account."""
        return any(
            event.event_type is EventType.REQUESTED and event.purpose == act.purpose and event.method in _ELSEWHERE
            for event in self.events
        )


@dataclass(frozen=True, slots=True)
class Decided:
    """What an event says, and what it did; shared by those that are alike, so it tells who and when of none."""

    event: Event
    change: Change
    suppresses: bool

    @classmethod
    def of(cls, event: Event, change: Change) -> Self:
        return cls(event, change, _suppresses(event, change))


def _suppresses(event: Event, change: Change) -> bool:
    """Withdrawals and erasures that took effect reach every contact that ever has the address.

    So does a withdrawal that counts again, since the grant that outlived it turned out invalid.
    """
    is_persons = (event.event_type in NEGATIVE and event.event_type is not EventType.SUPPRESSED) or (
        event.event_type is EventType.ERASED
        or (event.event_type is EventType.INVALIDATED and change.after is State.WITHDRAWN)
    )
    return is_persons and not change.kept and change.rule not in ("superseded", "unlisted", "25")


class Exemplar:
    """The first of many acts that differ in nothing but who, when and the proof: what it came to, all come to."""

    def __init__(self, core: Core, decided: Decided, permissions: Mapping[str, Permission]) -> None:
        self.core, self.decided, self.permissions = core, decided, permissions

    @cached_property
    def kind(self) -> ledger.Kind:
        return ledger.Kind(self.core)

    @cached_property
    def states(self) -> list[tuple[tuple[object, ...], bool]]:
        """Rows of the cache, but for whose they are; and whether one relies on the event."""
        return [
            (
                stored.state_values(stored.StateRow(NOBODY, purpose, permission, None, 0)),
                permission.grant_id is not None,
            )
            for purpose, permission in self.permissions.items()
        ]


class Alike(ledger.Twin, gc=False):
    """An event that came to what its exemplar came to."""

    like: Exemplar
    ends_at: datetime | None  # when it is a grant

    def states(self, seq: int) -> Iterator[tuple[object, ...]]:
        """Rows of the cache, when the event has that place."""
        for (_, purpose, state, grade, _, _, reason, overlays, _), is_ground in self.like.states:
            ground = (seq, self.ends_at) if is_ground else (None, None)
            yield self.contact_id, purpose, state, grade, *ground, reason, overlays, seq


@dataclass(slots=True)
class Judged:
    """Acts that were judged and wait to be sealed: what will be written, in the ledger's order."""

    acts: Sequence[Act]
    source_refs: Sequence[str]  # one per act
    known: Mapping[str, stored.Recorded]  # source reference → what it was recorded as before
    newcomers: frozenset[UUID]
    unused: Iterator[tuple[UUID, bytes]]  # an id and a salt for every event there may be
    drafts: list[ledger.Draft | Alike] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)  # one per draft
    people: list[Person] = field(default_factory=list)  # one per draft
    evidence: list[stored.Evidence] = field(default_factory=list)
    by_source: dict[str, int] = field(default_factory=dict)  # source reference → position
    exemplars: dict[tuple[object, ...], Exemplar] = field(default_factory=dict)
    sealed: Sequence[ledger.SealedEvent] = ()  # one per draft, once they are

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
        decided = self.decided[position]
        return Outcome(
            self.people[position].contact_id,
            self.drafts[position].event_id,
            self.sealed[position].seq if self.sealed else 0,
            decided.change.after,
            decided.change.rule,
            decided.event.grade if act.is_grant else None,
            is_duplicate,
        )


_ALIKE = attrgetter(
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
        return Judged([], [], {}, made, iter(()))
    if len(acts) >= MANY:
        await expect_many(session)
    registry = registry or await load_registry(session)
    kinds: set[int] = set()
    for act in acts:
        if act.kind is None or act.kind not in kinds:
            check(act, registry.purposes, registry.notices)
            kinds.update(() if act.kind is None else (act.kind,))
    named = dict.fromkeys(act.contact_id for act in acts)
    people = await _lock(session, [each for each in named if each not in made], keyring)
    people |= await _new_people(session, [each for each in newcomers if each.contact_id in named], keyring)
    if any(act.is_grant for act in acts):
        await _refuse_when_the_clock_stepped_back(session)
    brought = [act for person in people.values() if person.suppressions for act in _brought_along(person)]
    source_refs = [keyring.source_ref(act.source, act.source_key) for act in [*brought, *acts]]
    known = await stored.known_events(session, source_refs)
    unused = zip(ledger.new_event_ids(len(source_refs)), ledger.new_salts(len(source_refs)), strict=True)
    batch = Judged(acts, source_refs[len(brought) :], known, made, unused)
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
    refs = [keyring.address_refs(newcomer.match_key) for newcomer in newcomers]
    live = await stored.live_suppressions(session, [ref for own in refs for ref in own]) if refs else {}
    people = {}
    for newcomer, own in zip(newcomers, refs, strict=True):
        suppressions = [known for ref in own for known in live.get(ref, ())] if live else ()
        people[newcomer.contact_id] = Person(
            newcomer.contact_id, newcomer.country, Fold(), {}, [], [own], suppressions, is_blank=True
        )
    return people


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
) -> Core:
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
    person.events.append(event)
    _add(batch, person, ledger.Draft(event_id, person.contact_id, core), source_ref, Decided.of(event, change))
    return core


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
        *((act.kind,) if act.kind is not None else _likeness(act)),
        *(act.jurisdiction or jurisdiction, received_at, *flags, expires_at is not None and expires_at <= received_at),
    )
    like = batch.exemplars.get(likeness)
    if like is None:
        common = {"source_ref": source_ref, "jurisdiction": jurisdiction}
        core = _draft(batch, person, act, **common, registry=registry, now=now)
        batch.exemplars[likeness] = Exemplar(core, batch.decided[-1], person.fold.permissions())
        return
    event_id, commitment = _proven(batch, person, act)
    alike = Alike(
        kind=like.kind,
        event_id=event_id,
        contact_id=person.contact_id,
        evidence_commit=commitment,
        expires_at=None if expires_at is None else timestamp(expires_at),
        occurred_at=timestamp(act.occurred_at),
        source_event_ref=source_ref,
        like=like,
        ends_at=expires_at,
    )
    _add(batch, person, alike, source_ref, like.decided)


def _likeness(act: Act) -> tuple[object, ...]:
    return *_ALIKE(act), act.confirmed_at is None, *act.evidence, None, *act.refs.items(), None


def _proven(batch: Judged, person: Person, act: Act) -> tuple[UUID, str | None]:
    """An id for the event, and the commitment to its evidence, which is kept with the batch."""
    event_id, salt = next(batch.unused)
    if not act.evidence:
        return event_id, None
    payload = evidence_text(act.evidence)
    batch.evidence.append(stored.Evidence(event_id, person.contact_id, salt, payload))
    return event_id, evidence_commitment(salt, payload)


def _add(batch: Judged, person: Person, made: ledger.Draft | Alike, source_ref: str, decided: Decided) -> None:
    batch.by_source[source_ref] = len(batch.drafts)
    batch.drafts.append(made)
    batch.decided.append(decided)
    batch.people.append(person)


_CLOCK = "SELECT recorded_at > clock_timestamp() + interval '60 seconds' FROM consent_chain WHERE name = 'main'"


async def _refuse_when_the_clock_stepped_back(session: AsyncSession) -> None:
    ((is_behind,),) = await fetch(session, _CLOCK)
    if is_behind:
        raise Unavailable("the server's clock is behind the ledger: grants are not accepted until it is right")
