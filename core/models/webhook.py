"""What the provider tells us: raw verified bodies, and what people wrote."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId, WithSequence, Xid8
from core.statuses import InboundIntent, WebhookStatus


class WebhookEvent(WithSequence):
    """One POST of the provider, byte for byte; written before it is answered with 200."""

    __tablename__ = "webhook_events"
    __table_args__ = (Index("ix_webhook_events_waiting", "id", postgresql_where=text("status = 'waiting'")),)

    body: Mapped[bytes]
    status: Mapped[WebhookStatus]
    error: Mapped[str | None]
    recorded_at: Mapped[datetime | None]


class ParkedStatus(WithId):
    """A status whose message is not known yet: matched again when the send's record commits."""

    __tablename__ = "parked_statuses"
    __table_args__ = (UniqueConstraint("wamid", "status"),)

    wamid: Mapped[str]
    status: Mapped[str]
    report: Mapped[dict[str, Any]]


class WebhookField(Model):
    """How often each field and message type arrived, known to us or not, so that nothing new goes unseen."""

    __tablename__ = "webhook_fields"

    name: Mapped[str] = mapped_column(primary_key=True)  # field, or field/type
    known: Mapped[bool] = mapped_column(Boolean)
    count: Mapped[int]
    first_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_at: Mapped[datetime] = mapped_column(server_default=func.now())


class InboundMessage(WithId):
    """What a person wrote or tapped."""

    __tablename__ = "inbound_messages"
    __table_args__ = (Index(None, "contact_id", "occurred_at"),)

    provider_id: Mapped[str] = mapped_column(unique=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"))
    sender_id: Mapped[UUID | None] = mapped_column(ForeignKey("senders.id"))
    message_id: Mapped[UUID | None]  # the message it answers, by its context or the latest one within 72 h
    type: Mapped[str]
    intent: Mapped[InboundIntent]
    text: Mapped[str | None]  # null once erased
    payload: Mapped[dict[str, Any]]
    occurred_at: Mapped[datetime]
    xid: Mapped[int | None] = mapped_column(Xid8, server_default=func.pg_current_xact_id(), index=True)
