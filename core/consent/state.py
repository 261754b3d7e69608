"""Consent events → permission: the state machine, what beats what, and what blocks; pure.

 none ─requested─▶ pending ─confirmed─▶ subscribed ─withdrawn, objected, meta stop─▶ withdrawn
  └─granted──────────────────────────────▲  │  ├─clock─▶ expired ─granted, confirmed─▶ subscribed
 pending ─declined, stop word─▶ withdrawn   │  └─invalidated (from anywhere)─▶ invalid ─granted─▶ subscribed
 pending ─48 h─▶ none                       └─reaffirmed─▶ subscribed, later expiry
 withdrawn ─confirmed or granted by the person's own act, grade A or B, clearly later─▶ subscribed
 anything ─tenure closed, erased─▶ closed, for ever

Overlays (hold, meta_stop:<sender>, unreachable, reaffirm_due) block on top of a state. Whatever the table does not
list is recorded and changes nothing. A permission is a function of a contact's events alone: grants and unanswered
withdrawals are both remembered and compared by effective time, so late and repeated reports end in the same state.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

STATE_RULES = "1"  # version of this module's rules; part of the consent policy's hash
TOLERANCE = timedelta(seconds=120)  # clocks of different sources may disagree by this much
REQUEST_TTL = timedelta(hours=48)


class State(StrEnum):
    NONE = "none"
    PENDING = "pending"
    SUBSCRIBED = "subscribed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    INVALID = "invalid"
    CLOSED = "closed"


class EventType(StrEnum):
    """What happened, in the ledger's spelling."""

    GRANTED = "GRANTED"
    CONFIRMED = "CONFIRMED"
    REAFFIRMED = "REAFFIRMED"
    REQUESTED = "REQUESTED"
    DECLINED = "DECLINED"
    CORRECTION = "CORRECTION"
    IDENTIFIER_LINKED = "IDENTIFIER_LINKED"
    WITHDRAWN = "WITHDRAWN"
    OBJECTED = "OBJECTED"
    META_STOPPED = "META_STOPPED"
    META_RESUMED = "META_RESUMED"
    SUPPRESSED = "SUPPRESSED"  # a withdrawal the address brought along from an earlier contact
    EXPIRED = "EXPIRED"
    INVALIDATED = "INVALIDATED"
    TENURE_CLOSED = "TENURE_CLOSED"
    ERASED = "ERASED"
    HOLD_PLACED = "HOLD_PLACED"
    HOLD_RELEASED = "HOLD_RELEASED"
    UNREACHABLE_SET = "UNREACHABLE_SET"
    UNREACHABLE_CLEARED = "UNREACHABLE_CLEARED"
    REAFFIRM_DUE = "REAFFIRM_DUE"
    NOTICE_PUBLISHED = "NOTICE_PUBLISHED"
    PURPOSE_CHANGED = "PURPOSE_CHANGED"
    IMPORT_BATCH = "IMPORT_BATCH"
    EXPORT_CREATED = "EXPORT_CREATED"
    INTEGRITY_ALERT = "INTEGRITY_ALERT"  # something was sent that no decision here allowed
    RECOVERY = "RECOVERY"  # an older ledger was accepted: what stood behind its last record is lost


POSITIVE = frozenset({EventType.GRANTED, EventType.CONFIRMED, EventType.REAFFIRMED})
NEGATIVE = frozenset(
    {EventType.WITHDRAWN, EventType.OBJECTED, EventType.DECLINED, EventType.META_STOPPED, EventType.SUPPRESSED}
)
ENDING = frozenset({EventType.TENURE_CLOSED, EventType.ERASED})
# A grant is worth nothing at the gate once one of these stands above it in the ledger.
REVOKING = NEGATIVE | ENDING | {EventType.INVALIDATED, EventType.EXPIRED}
SYSTEM = frozenset(
    {EventType.NOTICE_PUBLISHED, EventType.PURPOSE_CHANGED, EventType.IMPORT_BATCH, EventType.EXPORT_CREATED}
    | {EventType.INTEGRITY_ALERT, EventType.RECOVERY}
)


class Grade(StrEnum):
    """How well a grant is proven: A best; D and E can never be sent on."""

    A = "A"  # form or staffed capture, and confirmed from the WhatsApp account itself
    B = "B"  # one affirmative act inside that account, with the notice shown
    C = "C"  # first-party capture, account not proven
    D = "D"  # third-party or back-dated
    E = "E"  # something required is missing


HOLD, UNREACHABLE, REAFFIRM_DUE, META_STOP = "hold", "unreachable", "reaffirm_due", "meta_stop"


class Event(msgspec.Struct, frozen=True, gc=False):
    """The fields of a sealed core that decide or are shown; the rest of the core is proof."""

    event_id: UUID
    event_type: EventType
    purpose: str
    occurred_at: datetime
    received_at: datetime
    source: str
    actor_type: str
    sender_scope: str = "*"
    subject_event_no: int = 0
    grade: Grade = Grade.E
    min_grade: Grade = Grade.C
    expires_at: datetime | None = None
    method: str | None = None
    reason: str | None = None
    notice_id: UUID | None = None
    language: str | None = None
    collection_point: str | None = None
    recorded_at: datetime | None = None  # null until it is sealed
    clock_flags: tuple[str, ...] = ()
    refs: dict[str, str | list[str]] = {}

    @property
    def effective_at(self) -> datetime:
        """When it counts from: the claimed time of a trusted source, never later than we heard of it."""
        if "untrusted_source" in self.clock_flags:
            return self.received_at
        return min(self.occurred_at, self.received_at)

    @property
    def stream(self) -> tuple[str, str]:
        """Events of one stream are ordered by one clock."""
        return self.source, self.sender_scope

    @property
    def is_own_act(self) -> bool:
        """A provable act of the person (or guardian): the only thing that beats a withdrawal."""
        return self.actor_type in ("data_subject", "guardian") and self.grade <= Grade.B

    def beats(self, negative: "Event") -> bool:
        """Whether this grant outlives a withdrawal: ties, and anything inside the tolerance, withdraw."""
        tolerance = timedelta(0) if self.stream == negative.stream else TOLERANCE
        return self.is_own_act and self.effective_at > negative.effective_at + tolerance


def covers(scope: str, purpose: str) -> bool:
    """`*` covers everything, `marketing.*` covers `marketing` and all below it, a code covers itself."""
    if scope in ("*", purpose):
        return True
    return scope.endswith(".*") and (purpose == scope[:-2] or purpose.startswith(scope[:-1]))


def scopes_of(purpose: str) -> tuple[str, ...]:
    """Every scope that covers a purpose: `marketing.events` → itself, `marketing.events.*`, `marketing.*`, `*`."""
    words = purpose.removesuffix(".*").split(".")
    wider = tuple(".".join(words[:length]) + ".*" for length in range(len(words), 0, -1))
    return (purpose, *(scope for scope in wider if scope != purpose), "*")


def is_scope(purpose: str) -> bool:
    return purpose == "*" or purpose.endswith(".*")


@dataclass(frozen=True, slots=True)
class Permission:
    """What the cache holds for one contact and one purpose, or one scope a withdrawal named."""

    state: State
    grade: Grade | None
    grant_id: UUID | None  # the event a send may rely on
    expires_at: datetime | None
    reason: str | None
    overlays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What one event did to the purpose or scope it names."""

    before: State
    after: State
    rule: str  # the table's row; `unlisted` changed nothing
    kept: tuple[str, ...] = ()  # purposes inside a revoking event's scope that a grant still stands for
    lifted: bool = False  # a grant that outlived every withdrawal there was


@dataclass(slots=True)
class _Track:
    """Everything that matters for one purpose or scope."""

    grants: list[Event] = field(default_factory=list)
    negatives: dict[tuple[str, str], Event] = field(default_factory=dict)  # latest per stream
    request: Event | None = None
    ended: State = State.NONE
    reason: str | None = None
    closed: bool = False
    overlays: set[str] = field(default_factory=set)
    stops: dict[str, datetime] = field(default_factory=dict)  # sender → latest stop at the provider
    resumes: dict[str, datetime] = field(default_factory=dict)

    def inherit(self, wider: "_Track") -> None:
        for negative in wider.negatives.values():
            self.remember(negative)
        self.closed |= wider.closed
        self.overlays |= wider.overlays
        self.stops |= wider.stops
        self.resumes |= wider.resumes
        if wider.ended is State.WITHDRAWN or wider.closed:
            self.ended, self.reason = wider.ended, wider.reason

    def remember(self, negative: Event) -> None:
        known = self.negatives.get(negative.stream)
        if known is None or negative.effective_at > known.effective_at:
            self.negatives[negative.stream] = negative

    @property
    def standing(self) -> Event | None:
        """The best grant no withdrawal outlives: best grade, then the newest reaffirmation, then the first."""
        if not self.grants:
            return None
        if len(self.grants) == 1 and not self.negatives:
            return self.grants[0]
        negatives = self.negatives.values()
        alive = [grant for grant in self.grants if all(grant.beats(negative) for negative in negatives)]
        return min(alive, key=_preference, default=None)

    @property
    def state(self) -> State:
        if self.closed:
            return State.CLOSED
        if self.standing is not None:
            return State.SUBSCRIBED
        if self.request is not None:
            return State.PENDING
        return self.ended

    def permission(self) -> Permission:
        state, grant = self.state, self.standing
        overlays = self.overlays | {
            f"{META_STOP}:{sender}"
            for sender, stopped_at in self.stops.items()
            if sender not in self.resumes or stopped_at >= self.resumes[sender]
        }
        if state is not State.SUBSCRIBED or grant is None:
            return Permission(state, None, None, None, self.reason, tuple(sorted(overlays)))
        return Permission(state, grant.grade, grant.event_id, grant.expires_at, None, tuple(sorted(overlays)))


_Rule = Callable[[_Track, Event], str]  # changes a track, says which row of the table decided


def _preference(grant: Event) -> tuple[str, int, int]:
    reaffirmed = grant.event_type is EventType.REAFFIRMED
    return grant.grade.value, 0 if reaffirmed else 1, -grant.subject_event_no if reaffirmed else grant.subject_event_no


class Fold:
    """A contact's permissions, one event after another in the ledger's order."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._seen: set[UUID] = set()

    def state(self, purpose: str) -> State:
        """The state of a purpose, whether or not an event has named it."""
        return self._track(purpose, keep=False).state

    def permissions(self) -> dict[str, Permission]:
        """Per purpose and per scope that any event named."""
        return {purpose: track.permission() for purpose, track in self._tracks.items()}

    def apply(self, event: Event) -> Change:
        """Take in one event; one that was seen before changes nothing."""
        if event.event_type in SYSTEM:
            raise ValueError("system events belong to no contact")
        track = self._track(event.purpose, keep=True)
        before = track.state
        if event.event_id in self._seen:
            return Change(before, before, "duplicate")
        self._seen.add(event.event_id)
        if event.event_type in POSITIVE:
            rule = _grant(track, event)
            after = track.state
            lifted = bool(track.negatives) and track.standing is not None and track.standing.event_id == event.event_id
            return Change(before, after, rule, lifted=lifted)
        inside = dict(self._inside(event.purpose))
        rules = {name: _RULES[event.event_type](each, event) for name, each in inside.items()}
        kept: tuple[str, ...] = ()
        if event.event_type in REVOKING:
            kept = tuple(sorted(name for name, each in inside.items() if each.state is State.SUBSCRIBED))
        return Change(before, track.state, rules[event.purpose], kept)

    def _track(self, purpose: str, *, keep: bool) -> _Track:
        track = self._tracks.get(purpose)
        if track is None:
            track = _Track()
            for name, wider in self._tracks.items():
                if is_scope(name) and covers(name, purpose):
                    track.inherit(wider)
            if keep:
                self._tracks[purpose] = track
        return track

    def _inside(self, scope: str) -> Iterator[tuple[str, _Track]]:
        for name, track in self._tracks.items():
            if name == scope or (is_scope(scope) and covers(scope, name)):
                yield name, track


def _grant(track: _Track, event: Event) -> str:
    """Take in a positive event; says which row of the table decided."""
    before = track.state
    rule = _refusal(track, event, before)
    if rule is not None:
        if rule == "expired_on_arrival" and before is State.NONE:
            track.ended, track.reason = State.EXPIRED, None
        return rule
    row = {
        State.PENDING: "2" if event.event_type is EventType.CONFIRMED else "5",
        State.SUBSCRIBED: "7" if event.event_type is EventType.REAFFIRMED else "6",
        State.WITHDRAWN: "13",
        State.EXPIRED: "16",
    }.get(before, "5")
    track.grants.append(event)
    if "future_clamped" in event.clock_flags:
        track.overlays.add(HOLD)
    if track.standing is event:
        track.request = None
        track.overlays.discard(REAFFIRM_DUE)
    return row


def _refusal(track: _Track, event: Event, before: State) -> str | None:
    """Why a grant does not count, or None."""
    if before is State.CLOSED:
        return "25"
    if event.grade > event.min_grade or event.grade > Grade.C:
        return "below_min_grade"
    if event.expires_at is not None and event.expires_at <= event.received_at:
        return "expired_on_arrival"
    if any(not event.beats(negative) for negative in track.negatives.values()):
        return "14"
    return _out_of_turn(track, event, before)


def _out_of_turn(track: _Track, event: Event, before: State) -> str | None:
    """A confirmation nobody asked for or that came too late, a reaffirmation of nothing or by somebody else."""
    if event.event_type is EventType.CONFIRMED:
        if track.request is not None and event.effective_at > track.request.effective_at + REQUEST_TTL:
            track.request = None
            return "3"
        return "unlisted" if before in (State.NONE, State.INVALID) else None
    is_persons = event.actor_type in ("data_subject", "guardian")
    if event.event_type is EventType.REAFFIRMED and not (before is State.SUBSCRIBED and is_persons):
        return "unlisted"
    return None


def _withdraw(track: _Track, event: Event) -> str:
    if track.closed:
        return "25"
    if event.event_type is EventType.DECLINED and track.request is None:
        return "unlisted"
    before = track.state
    late_and_doubtful = (
        "untrusted_source" in event.clock_flags
        and before is State.SUBSCRIBED
        and any(event.occurred_at < grant.effective_at for grant in track.grants)
    )
    if late_and_doubtful:
        track.overlays.add(HOLD)
    track.remember(event)
    if track.request is not None and event.effective_at >= track.request.effective_at:
        track.request = None
    if event.event_type is EventType.META_STOPPED:
        stopped_at = track.stops.get(event.sender_scope, event.effective_at)
        track.stops[event.sender_scope] = max(stopped_at, event.effective_at)
    if track.standing is not None:
        return "superseded"
    track.ended, track.reason = State.WITHDRAWN, event.reason or event.event_type.value.lower()
    if event.event_type is EventType.META_STOPPED:
        return "9"
    return "4" if before is State.PENDING else "8"


def _resume(track: _Track, event: Event) -> str:
    resumed_at = track.resumes.get(event.sender_scope, event.effective_at)
    track.resumes[event.sender_scope] = max(resumed_at, event.effective_at)
    return "10" if track.reason == "meta_stop" else "11"


def _request(track: _Track, event: Event) -> str:
    before = track.state
    if before in (State.SUBSCRIBED, State.CLOSED):
        return "6" if before is State.SUBSCRIBED else "25"
    own_route = event.actor_type == "data_subject" and (event.method or "").startswith(("wa_", "pref_centre"))
    if track.negatives and not own_route:
        return "unlisted"  # nobody else may ask a person who said no
    track.request = event
    return "12" if track.negatives else "1"


def _expire(track: _Track, event: Event) -> str:
    if track.request is not None and event.effective_at > track.request.effective_at + REQUEST_TTL:
        track.request = None
        return "3"
    had = track.standing is not None
    track.grants = [g for g in track.grants if g.expires_at is None or g.expires_at > event.effective_at]
    if not had or track.standing is not None:
        return "unlisted"
    track.ended, track.reason = State.EXPIRED, "expiry"
    return "15"


def _invalidate(track: _Track, event: Event) -> str:
    """All grants, or only those of a notice, an import or one event that `refs` names."""
    named = {key: value for key, value in event.refs.items() if key in ("notice_id", "import_batch", "grant_id")}

    def is_meant(grant: Event) -> bool:
        facts = {
            "notice_id": str(grant.notice_id),
            "import_batch": grant.refs.get("import_batch"),
            "grant_id": str(grant.event_id),
        }
        return all(facts[key] == value for key, value in named.items())

    touched = [grant for grant in track.grants if is_meant(grant)]
    track.grants = [grant for grant in track.grants if not is_meant(grant)]
    if (named and not touched) or track.closed:
        return "unlisted"
    track.request = None
    if track.standing is None:
        track.ended, track.reason = State.INVALID, event.reason or "invalidated"
    return "17"


def _close(track: _Track, event: Event) -> str:
    track.closed, track.request, track.grants = True, None, []
    track.reason = event.reason or event.event_type.value.lower()
    return "23" if event.event_type is EventType.ERASED else "22"


def _overlay(word: str, *, on: bool, row: str) -> _Rule:
    def rule(track: _Track, _: Event) -> str:
        if on:
            track.overlays.add(word)
        else:
            track.overlays.discard(word)
        return row

    return rule


def _annotate(_track: _Track, _event: Event) -> str:
    return "note"


_RULES: dict[EventType, _Rule] = {
    EventType.REQUESTED: _request,
    EventType.WITHDRAWN: _withdraw,
    EventType.OBJECTED: _withdraw,
    EventType.DECLINED: _withdraw,
    EventType.META_STOPPED: _withdraw,
    EventType.SUPPRESSED: _withdraw,
    EventType.META_RESUMED: _resume,
    EventType.EXPIRED: _expire,
    EventType.INVALIDATED: _invalidate,
    EventType.TENURE_CLOSED: _close,
    EventType.ERASED: _close,
    EventType.HOLD_PLACED: _overlay(HOLD, on=True, row="18"),
    EventType.HOLD_RELEASED: _overlay(HOLD, on=False, row="19"),
    EventType.UNREACHABLE_SET: _overlay(UNREACHABLE, on=True, row="21"),
    EventType.UNREACHABLE_CLEARED: _overlay(UNREACHABLE, on=False, row="21"),
    EventType.REAFFIRM_DUE: _overlay(REAFFIRM_DUE, on=True, row="reaffirm"),
    EventType.CORRECTION: _annotate,
    EventType.IDENTIFIER_LINKED: _annotate,
}


def replay(events: Iterable[Event]) -> dict[str, Permission]:
    """The permissions a contact's events lead to, per purpose and scope, in the ledger's order."""
    fold = Fold()
    for event in events:
        fold.apply(event)
    return fold.permissions()
