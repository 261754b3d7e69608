"""Opt-in forms people fill in on the web, and what they ticked until they confirm it from WhatsApp."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId


class OptInForm(WithId):
    """A public page that offers purposes, each under the notice in force, and leads to one of our numbers."""

    __tablename__ = "opt_in_forms"

    slug: Mapped[str] = mapped_column(unique=True)  # of the address; printed on posters, so it never changes
    name: Mapped[str]  # what colleagues call it
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("senders.id"))
    offers: Mapped[list[Any]]  # {"purpose": code, "notice": code}, in the order shown
    languages: Mapped[list[Any]]  # BCP 47's first part; the first one is the fallback
    origins: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))  # sites that may show it in a frame
    asks_number: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    is_active: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))


class OptInRequest(WithId):
    """A filled-in form: worth nothing until its code arrives from a WhatsApp account, within its time and once."""

    __tablename__ = "opt_in_requests"
    __table_args__ = (
        Index("ix_opt_in_requests_form_id", "form_id", "created_at"),
        Index("ix_opt_in_requests_contact_id", "contact_id", postgresql_where=text("contact_id IS NOT NULL")),
    )

    form_id: Mapped[UUID] = mapped_column(ForeignKey("opt_in_forms.id"))
    code_hash: Mapped[str] = mapped_column(unique=True)  # SHA-256, hex; the code itself is nowhere
    language: Mapped[str]
    ticked: Mapped[list[Any]]  # {"purpose": code, "notice_id": id, "label": as shown}
    number_ref: Mapped[str | None]  # keyed hash of the number that was typed; null when none was
    evidence: Mapped[dict[str, Any]]  # moves into the ledger's evidence when the code is used
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id", ondelete="SET NULL"))  # who used it
    refusals: Mapped[int] = mapped_column(server_default=text("0"))  # times the code came and did not count
    refused_because: Mapped[str | None]  # the last of them
