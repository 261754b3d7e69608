"""Webhooks from other systems: who may send which, how they are read, and what became of each."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId
from core.statuses import Membership, SourceMakes, SourceScheme, TakenStatus


class InboundSource(WithId):
    """Another system that posts to us. Its secret is derived from our keys, or its own one sealed with them."""

    __tablename__ = "inbound_sources"

    name: Mapped[str] = mapped_column(unique=True)
    scheme: Mapped[SourceScheme]
    signature_header: Mapped[str | None]  # null for Standard Webhooks, which names its own
    id_header: Mapped[str | None]  # null: deliveries are told apart by their bodies
    makes: Mapped[SourceMakes]
    mapping: Mapped[dict[str, Any]]  # our field → path in their JSON
    items: Mapped[str | None]  # path of the list in their JSON; null: the body is one item
    region: Mapped[str | None]  # of numbers without a country's prefix; null: the installation's
    audience_id: Mapped[UUID | None] = mapped_column(ForeignKey("audiences.id"))
    membership: Mapped[Membership | None]
    secret_version: Mapped[int] = mapped_column(server_default=text("1"))
    sealed_secret: Mapped[bytes | None]
    sealed_before: Mapped[bytes | None]  # the one before, for a day after a rotation
    rotated_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


class InboundDelivery(WithId):
    """One POST of another system. Its body is kept only while something in it did not take effect."""

    __tablename__ = "inbound_deliveries"
    __table_args__ = (
        UniqueConstraint("source_id", "key"),
        Index(None, "source_id", "id"),
        Index(None, "created_at"),
        Index("ix_inbound_deliveries_kept", "id", postgresql_where=text("body IS NOT NULL")),
    )

    source_id: Mapped[UUID] = mapped_column(ForeignKey("inbound_sources.id", ondelete="CASCADE"))
    key: Mapped[str]  # the sender's id of it, or the body's SHA-256
    status: Mapped[TakenStatus]
    body: Mapped[bytes | None]
    reason: Mapped[str | None]
    counts: Mapped[dict[str, Any]]  # verdict → items
    rejected: Mapped[list[Any]]  # {index, reason} of items that did not take effect
    tries: Mapped[int] = mapped_column(server_default=text("1"))
    tried_at: Mapped[datetime]
