"""What compliance oversees: checks of the ledger, checkpoints, drafts a second person publishes, invalid consents."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId
from core.statuses import InvalidationKind, WorkStatus


class LedgerCheck(WithId):
    """One pass over the whole ledger, its evidence and the state derived from it."""

    __tablename__ = "ledger_checks"

    size: Mapped[int]
    passed: Mapped[bool] = mapped_column(Boolean)
    findings: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))  # sentences
    took_ms: Mapped[int]


class LedgerAnchor(WithId):
    """A checkpoint somebody outside keeps: what was given, to whom or where."""

    __tablename__ = "ledger_anchors"

    size: Mapped[int]
    root: Mapped[str]
    kind: Mapped[str]  # email, timestamp, repository, paper or other
    reference: Mapped[str]  # where it can be found again
    made_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))


class LedgerFork(WithId):
    """The database was found with another ledger than the one signed last; open until somebody accepts it."""

    __tablename__ = "ledger_forks"
    __table_args__ = (
        Index("uq_ledger_forks_open", text("(closed_at IS NULL)"), unique=True, postgresql_where="closed_at IS NULL"),
    )

    found_size: Mapped[int]
    signed_size: Mapped[int]
    signed_root: Mapped[str]
    signed_at: Mapped[datetime]
    reason: Mapped[str]  # a sentence: what happened, and what to do
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # what recovering came to


class RegistryDraft(WithId):
    """A notice or purpose as one person proposed it; another one publishes it."""

    __tablename__ = "registry_drafts"
    __table_args__ = (
        CheckConstraint("kind IN ('notice', 'purpose')", name="kind"),
        CheckConstraint("status IN ('open', 'published', 'rejected')", name="status"),
        CheckConstraint("decided_by <> proposed_by OR status = 'rejected'", name="two"),
    )

    kind: Mapped[str]
    content: Mapped[dict[str, Any]]
    status: Mapped[str]
    proposed_by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[datetime | None]
    reason: Mapped[str | None]  # of a rejection
    published_id: Mapped[UUID | None]  # the notice or purpose it became


class Invalidation(WithId):
    """All consents that rest on one import, notice or collection point, made invalid in one action."""

    __tablename__ = "invalidations"
    __table_args__ = (
        Index("uq_invalidations_open", "kind", "target", unique=True, postgresql_where=text("finished_at IS NULL")),
    )

    kind: Mapped[InvalidationKind]
    target: Mapped[str]  # an id, or the collection point's exact text
    mark: Mapped[str]  # stands in the sealed text of every consent that rests on it, and of no other
    reason: Mapped[str]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    status: Mapped[WorkStatus]
    from_seq: Mapped[int] = mapped_column(server_default=text("0"))  # of the ledger: read behind this record
    until_seq: Mapped[int]  # and up to this one
    cursor: Mapped[UUID | None]  # the last contact that is done
    waits_for: Mapped[list[Any] | None]  # transactions that may not have known of it
    people: Mapped[int | None]  # found; null until they are counted
    people_done: Mapped[int] = mapped_column(server_default=text("0"))
    counts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # what became of how many
    finished_at: Mapped[datetime | None]
