"""Answers to people who wrote to us: why each exists, and the wording of the automatic ones."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId
from core.statuses import ReplyKind


class Reply(WithId):
    """Why an answer exists, and who of us sent it; the message itself holds what is said and how far it got.

    A template that a person sends out of a conversation has one too, of kind `person`.
    """

    __tablename__ = "replies"
    __table_args__ = (
        # An inbound message is answered once in each way, however often its webhook is recorded.
        Index("uq_replies_inbound", "inbound_id", "kind", unique=True, postgresql_where=text("inbound_id IS NOT NULL")),
        Index(None, "contact_id", "created_at"),
        Index("ix_replies_media", "media_id", postgresql_where=text("media_id IS NOT NULL")),
    )

    message_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), unique=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"))
    kind: Mapped[ReplyKind]
    inbound_id: Mapped[UUID | None] = mapped_column(ForeignKey("inbound_messages.id", ondelete="SET NULL"))
    rule_id: Mapped[UUID | None]  # the routing rule that answered
    user_id: Mapped[UUID | None]  # the person who wrote it
    media_id: Mapped[UUID | None] = mapped_column(ForeignKey("media.id"))  # the file it brought


class ReplyText(WithId):
    """The organisation's own wording of an automatic answer in one language; without it the built-in one holds."""

    __tablename__ = "reply_texts"
    __table_args__ = (UniqueConstraint("kind", "language"),)

    kind: Mapped[ReplyKind]
    language: Mapped[str]  # BCP 47's first part, such as pt
    body: Mapped[str]
    buttons: Mapped[list[Any]]  # labels, in the order the built-in wording has them
