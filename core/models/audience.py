"""Audiences: static lists of contacts, or rules evaluated when they are used."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId
from core.statuses import AudienceKind


class Audience(WithId):
    __tablename__ = "audiences"

    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[AudienceKind]
    rule: Mapped[dict[str, Any] | None]  # a filter tree; null for a static list
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))


class AudienceMember(Model):
    __tablename__ = "audience_members"

    audience_id: Mapped[UUID] = mapped_column(ForeignKey("audiences.id", ondelete="CASCADE"), primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(
        ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    import_id: Mapped[UUID | None] = mapped_column(ForeignKey("imports.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
