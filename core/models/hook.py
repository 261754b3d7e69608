"""Webhooks we send: who wants which facts, how far each was read, and what became of every delivery."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId, WithSequence, Xid8
from core.statuses import HookStatus


class Hook(WithId):
    """One address that is told about facts. Its secret is derived from the installation's keys, so none is stored."""

    __tablename__ = "hooks"

    url: Mapped[str]
    description: Mapped[str]
    events: Mapped[list[Any]]  # event types
    include_phone: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    secret_version: Mapped[int] = mapped_column(server_default=text("1"))
    rotated_at: Mapped[datetime | None]  # the secret before it signs too, for a day
    failing_since: Mapped[datetime | None]  # first failure after the last success
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


class HookCursor(Model):
    """Up to which transaction a table of facts was turned into deliveries."""

    __tablename__ = "hook_cursors"

    source: Mapped[str] = mapped_column(primary_key=True)
    next_xid: Mapped[int] = mapped_column(Xid8)


class HookDelivery(WithId):
    """One fact for one address. It names the fact's row and holds none of its content."""

    __tablename__ = "hook_deliveries"
    __table_args__ = (
        UniqueConstraint("hook_id", "event_id"),
        Index("ix_hook_deliveries_due", "hook_id", "next_at", "id", postgresql_where=text("status = 'waiting'")),
        Index(None, "created_at"),
    )

    hook_id: Mapped[UUID] = mapped_column(ForeignKey("hooks.id", ondelete="CASCADE"))
    event_id: Mapped[str]  # the same however often it is sent
    event_type: Mapped[str]
    source: Mapped[str]
    source_key: Mapped[str]
    status: Mapped[HookStatus]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    next_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    http_status: Mapped[int | None] = mapped_column(SmallInteger)
    error: Mapped[str | None]
    duration_ms: Mapped[int | None]


class StatusChange(WithSequence):
    """A campaign or a template changed its status; written by triggers, so that no path forgets it."""

    __tablename__ = "status_changes"
    __table_args__ = (
        Index(
            "uq_status_changes_completed",
            "kind",
            "subject_id",
            unique=True,
            postgresql_where=text("after = 'completed'"),
        ),
    )

    kind: Mapped[str]  # campaign or template
    subject_id: Mapped[UUID]
    before: Mapped[str]
    after: Mapped[str]
