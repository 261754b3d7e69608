"""Audiences: static lists of contacts, or rules evaluated when they are used."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId
from core.statuses import AudienceKind


class Audience(WithId):
    """Counts are of the last time somebody counted: `reachable` and `unreachable` for marketing."""

    __tablename__ = "audiences"

    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[AudienceKind]
    rule: Mapped[dict[str, Any] | None]  # a filter tree; null for a static list
    expanded_rule: Mapped[dict[str, Any] | None]  # the rule with those of other rule audiences put in their place
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    size: Mapped[int | None]
    reachable: Mapped[int | None]
    unreachable: Mapped[dict[str, Any] | None]  # reason → people
    counted_at: Mapped[datetime | None]
    count_ms: Mapped[int | None]
    count_error: Mapped[str | None]


class AudienceMember(Model):
    __tablename__ = "audience_members"

    audience_id: Mapped[UUID] = mapped_column(ForeignKey("audiences.id", ondelete="CASCADE"), primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(
        ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    import_id: Mapped[UUID | None] = mapped_column(ForeignKey("imports.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ContactAction(Model):
    """What a person did about a message, by person; written by a trigger of `message_events`."""

    __tablename__ = "contact_actions"
    __table_args__ = (
        Index("ix_contact_actions_kind", "kind", "occurred_at", "contact_id"),
        Index("ix_contact_actions_contact", "contact_id", "kind", "occurred_at"),
    )

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    contact_id: Mapped[UUID]
    kind: Mapped[str]  # click, reply or opt_out
    occurred_at: Mapped[datetime]
    campaign_id: Mapped[UUID | None]
    button_index: Mapped[int | None] = mapped_column(SmallInteger)


class ContactEvent(WithId):
    """Something a person did elsewhere, as another system told: what, who and when, and nothing more."""

    __tablename__ = "contact_events"
    __table_args__ = (
        UniqueConstraint("name", "key"),
        Index("ix_contact_events_name", "name", "occurred_at", "contact_id"),
        Index("ix_contact_events_contact", "contact_id", "name", "occurred_at"),
    )

    name: Mapped[str]
    key: Mapped[str]  # the sender's id of it, or a hash of what it says
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"))
    occurred_at: Mapped[datetime]
