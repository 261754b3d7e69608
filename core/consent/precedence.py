"""What an event says, and which of two counts: effective times, the person's own acts, wider and narrower scopes; pure.

A grant beats a withdrawal only as an act of the person, grade A or B, that is clearly later. Ties withdraw.
"""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from core.consent.words import EventType, Grade

PERSONS = ("data_subject", "guardian")
TOLERANCE = timedelta(seconds=120)  # clocks of different sources may disagree by this much


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
        return self.actor_type in PERSONS and self.grade <= Grade.B

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


def preference(grant: Event) -> tuple[str, int, int]:
    """Sorts the grants that stand: best grade, then the newest reaffirmation, then the first."""
    reaffirmed = grant.event_type is EventType.REAFFIRMED
    return grant.grade.value, 0 if reaffirmed else 1, -grant.subject_event_no if reaffirmed else grant.subject_event_no
