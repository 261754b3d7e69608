"""Tracked links, hits on them, and what people bought."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, SmallInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithSequence
from core.statuses import ConversionKind


class Link(Model):
    """One message's own link: the code is random, so it tells nothing and cannot be guessed."""

    __tablename__ = "links"
    __table_args__ = (UniqueConstraint("message_id", "button_index"),)

    code: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    button_index: Mapped[int] = mapped_column(SmallInteger)
    url: Mapped[str]


class LinkHit(WithSequence):
    """A request for a tracked link, raw and classified; every one is kept, only human ones count."""

    __tablename__ = "link_hits"

    code: Mapped[str] = mapped_column(ForeignKey("links.code", ondelete="CASCADE"), index=True)
    method: Mapped[str]
    user_agent: Mapped[str | None]
    is_bot: Mapped[bool] = mapped_column(Boolean)


class Conversion(WithSequence):
    """An order or a refund reported by the shop; the same one may be reported many times."""

    __tablename__ = "conversions"
    __table_args__ = (
        UniqueConstraint("kind", "order_id", "refund_id", postgresql_nulls_not_distinct=True),
        Index(None, "contact_id"),
    )

    kind: Mapped[ConversionKind]
    order_id: Mapped[str]
    refund_id: Mapped[str | None]
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"))
    occurred_at: Mapped[datetime]
    amount_micros: Mapped[int]
    currency: Mapped[str]
