"""Conversations: one thread per person and number of ours; what was said stays in the messages' own tables."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, Sequence, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId
from core.statuses import ConversationStatus

POSITIONS = Sequence("conversation_positions", metadata=Model.metadata)


class Conversation(WithId):
    """A chat, open while somebody of ours should look at it."""

    __tablename__ = "conversations"
    __table_args__ = (
        UniqueConstraint("contact_id", "sender_id"),
        Index(None, "status", "position"),
        Index("ix_conversations_assignee", "assignee_id", postgresql_where=text("assignee_id IS NOT NULL")),
    )

    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"))
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("senders.id"))
    status: Mapped[ConversationStatus]
    assignee_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    campaign_id: Mapped[UUID | None] = mapped_column(ForeignKey("campaigns.id", ondelete="SET NULL"))  # it answers
    unread: Mapped[int] = mapped_column(server_default=text("0"))
    handed_over: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))  # a rule asked for a person
    last_inbound_at: Mapped[datetime]  # the service window of this number ends 24 hours later
    position: Mapped[int] = mapped_column(POSITIONS, server_default=POSITIONS.next_value(), unique=True)  # latest last
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    closed_at: Mapped[datetime | None]


class RoutingRule(WithId):
    """What happens by itself when somebody writes; the first rule that fits decides."""

    __tablename__ = "routing_rules"

    name: Mapped[str]
    position: Mapped[int]
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    conditions: Mapped[dict[str, Any]]  # as core.routing reads them
    actions: Mapped[dict[str, Any]]
    pause_minutes: Mapped[int] = mapped_column(server_default=text("60"))  # before it answers the same person again
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
