"""Consent events → permission: the state machine; pure.

 none ─requested─▶ pending ─confirmed─▶ subscribed ─withdrawn, objected, meta stop─▶ withdrawn
  └─granted──────────────────────────────▲  │  ├─clock─▶ expired ─granted, confirmed─▶ subscribed
 pending ─declined, stop word─▶ withdrawn   │  └─invalidated (from anywhere)─▶ invalid ─granted─▶ subscribed
 pending ─48 h─▶ none                       └─reaffirmed─▶ subscribed, later expiry
 invalidated leaves withdrawn and closed alone; a withdrawal that only an invalid grant outlived counts again
 withdrawn ─confirmed or granted by the person's own act, grade A or B, clearly later─▶ subscribed
 anything ─tenure closed, erased─▶ closed, for ever

Overlays (hold, meta_stop:<sender>, unreachable, reaffirm_due) block on top of a state. Whatever the table does not
list is recorded and changes nothing. A permission is a function of a contact's events alone: grants and unanswered
withdrawals are both remembered and compared by effective time, so late and repeated reports end in the same state.

The words are in `words`, what beats what in `precedence`, what is remembered in `tracks`, the table in `rules`;
whoever uses them finds all of it here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from core.consent.precedence import TOLERANCE, Event, covers, is_scope, scopes_of
from core.consent.rules import REQUEST_TTL, RULES, grant, rests_on
from core.consent.tracks import Permission, Track
from core.consent.words import (
    ENDING,
    HOLD,
    META_STOP,
    NEGATIVE,
    POSITIVE,
    REAFFIRM_DUE,
    REVOKING,
    SYSTEM,
    UNREACHABLE,
    EventType,
    Grade,
    State,
)

__all__ = [
    "ENDING",
    "HOLD",
    "META_STOP",
    "NEGATIVE",
    "POSITIVE",
    "REAFFIRM_DUE",
    "REQUEST_TTL",
    "REVOKING",
    "STATE_RULES",
    "SYSTEM",
    "TOLERANCE",
    "UNREACHABLE",
    "Change",
    "Event",
    "EventType",
    "Fold",
    "Grade",
    "Permission",
    "State",
    "covers",
    "is_scope",
    "replay",
    "rests_on",
    "scopes_of",
]

STATE_RULES = "2"  # version of these rules; part of the consent policy's hash


@dataclass(frozen=True, slots=True)
class Change:
    """What one event did to the purpose or scope it names."""

    before: State
    after: State
    rule: str  # the table's row; `unlisted` changed nothing
    kept: tuple[str, ...] = ()  # purposes inside a revoking event's scope that a grant still stands for
    lifted: bool = False  # a grant that outlived every withdrawal there was


class Fold:
    """A contact's permissions, one event after another in the ledger's order."""

    __slots__ = ("_seen", "_tracks")

    def __init__(self) -> None:
        self._tracks: dict[str, Track] = {}
        self._seen: set[UUID] = set()

    def state(self, purpose: str) -> State:
        """The state of a purpose, whether or not an event has named it."""
        return self._track(purpose, keep=False).state

    def grants(self, purpose: str) -> list[Event]:
        """The grants of a purpose that no withdrawal outlives: the one in force, and those behind it."""
        return self._track(purpose, keep=False).alive

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
            rule = grant(track, event)
            after = track.state
            lifted = bool(track.negatives) and track.standing is not None and track.standing.event_id == event.event_id
            return Change(before, after, rule, lifted=lifted)
        inside = dict(self._inside(event.purpose))
        rules = {name: RULES[event.event_type](each, event) for name, each in inside.items()}
        kept: tuple[str, ...] = ()
        if event.event_type in REVOKING:
            kept = tuple(sorted(name for name, each in inside.items() if each.state is State.SUBSCRIBED))
        return Change(before, track.state, rules[event.purpose], kept)

    def _track(self, purpose: str, *, keep: bool) -> Track:
        track = self._tracks.get(purpose)
        if track is None:
            track = Track()
            for name, wider in self._tracks.items():
                if is_scope(name) and covers(name, purpose):
                    track.inherit(wider)
            if keep:
                self._tracks[purpose] = track
        return track

    def _inside(self, scope: str) -> Iterator[tuple[str, Track]]:
        for name, track in self._tracks.items():
            if name == scope or (is_scope(scope) and covers(scope, name)):
                yield name, track


def replay(events: Iterable[Event]) -> dict[str, Permission]:
    """The permissions a contact's events lead to, per purpose and scope, in the ledger's order."""
    fold = Fold()
    for event in events:
        fold.apply(event)
    return fold.permissions()
