"""What is remembered of one purpose or scope, and the permission that follows from it; pure."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from core.consent.precedence import Event, preference
from core.consent.words import META_STOP, Grade, State


@dataclass(frozen=True, slots=True)
class Permission:
    """What the cache holds for one contact and one purpose, or one scope a withdrawal named."""

    state: State
    grade: Grade | None
    grant_id: UUID | None  # the event a send may rely on
    expires_at: datetime | None
    reason: str | None
    overlays: tuple[str, ...]


@dataclass(slots=True)
class Track:
    """Everything that matters for one purpose or scope."""

    grants: list[Event] = field(default_factory=list)
    lapsed: list[Event] = field(default_factory=list)  # grants whose time was over
    negatives: dict[tuple[str, str], Event] = field(default_factory=dict)  # latest per stream
    request: Event | None = None
    ended: State = State.NONE
    reason: str | None = None
    closed: bool = False
    overlays: set[str] = field(default_factory=set)
    stops: dict[str, datetime] = field(default_factory=dict)  # sender → latest stop at the provider
    resumes: dict[str, datetime] = field(default_factory=dict)

    def inherit(self, wider: "Track") -> None:
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
        """The best grant no withdrawal outlives."""
        if not self.grants:
            return None
        if len(self.grants) == 1 and not self.negatives:
            return self.grants[0]
        return min(self.alive, key=preference, default=None)

    @property
    def alive(self) -> list[Event]:
        """The grants no withdrawal outlives."""
        negatives = self.negatives.values()
        return [grant for grant in self.grants if all(grant.beats(negative) for negative in negatives)]

    def end(self, state: State, reason: str) -> None:
        """What is left once no grant stands: a withdrawal that a grant outlived until now counts again."""
        latest = max(self.negatives.values(), key=lambda negative: negative.effective_at, default=None)
        if latest is None:
            self.ended, self.reason = state, reason
        else:
            self.ended, self.reason = State.WITHDRAWN, latest.reason or latest.event_type.value.lower()

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
