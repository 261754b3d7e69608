"""Message templates: what the provider approved, per language, in immutable versions; and uploaded media."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId
from core.statuses import Category, TemplateStatus


class Template(WithId):
    __tablename__ = "templates"
    __table_args__ = (UniqueConstraint("waba_id", "name", "language"),)

    waba_id: Mapped[str]
    name: Mapped[str]
    language: Mapped[str]  # the provider's code, such as en or pt_BR
    purpose: Mapped[str]  # every template is bound to one purpose
    category: Mapped[Category]
    status: Mapped[TemplateStatus]
    status_reason: Mapped[str | None]
    quality: Mapped[str | None]
    provider_id: Mapped[str | None] = mapped_column(unique=True)
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))


class TemplateVersion(WithId):
    """The content of a template; never changes."""

    __tablename__ = "template_versions"
    __table_args__ = (UniqueConstraint("template_id", "version"),)

    template_id: Mapped[UUID] = mapped_column(ForeignKey("templates.id", ondelete="CASCADE"))
    version: Mapped[int]
    parameter_format: Mapped[str]  # positional or named
    components: Mapped[list[Any]]


class Media(WithId):
    """A file uploaded to the provider for sending; ids there live 30 days."""

    __tablename__ = "media"

    sender_id: Mapped[UUID] = mapped_column(ForeignKey("senders.id"))
    provider_id: Mapped[str]
    filename: Mapped[str]  # empty once our copy is gone
    mime_type: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]
    path: Mapped[str | None]  # our copy under DATA_DIR/media; null once its time is over or the person was erased
    expires_at: Mapped[datetime]
