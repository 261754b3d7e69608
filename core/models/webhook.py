"""What the provider tells us: raw verified bodies, and what people wrote."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId, WithSequence, Xid8
from core.statuses import AccountEventKind, InboundIntent, ReceivedStatus, Severity, WebhookStatus


class WebhookEvent(WithSequence):
    """One POST of the provider, byte for byte; written before it is answered with 200."""

    __tablename__ = "webhook_events"
    __table_args__ = (
        Index("ix_webhook_events_waiting", "id", postgresql_where=text("status = 'waiting'")),
        Index("ix_webhook_events_set_aside", "id", postgresql_where=text("status = 'set_aside'")),
        Index("ix_webhook_events_created_at", "created_at", postgresql_using="brin"),
    )

    # Nothing asks for these rows by transaction, and every index is paid for before the answer.
    xid: Mapped[int] = mapped_column(Xid8, server_default=func.pg_current_xact_id(), sort_order=-1)
    body: Mapped[bytes]
    status: Mapped[WebhookStatus]
    error: Mapped[str | None]
    recorded_at: Mapped[datetime | None]  # when it was first folded into rows


class ParkedStatus(WithId):
    """A status whose message is not known yet: matched again when the send's record commits.

    One that nothing matched for a day is an orphan: somebody else sends from our number, or we lost a row.
    """

    __tablename__ = "parked_statuses"
    __table_args__ = (
        UniqueConstraint("wamid", "status"),
        Index("ix_parked_statuses_young", "created_at", postgresql_where=text("alerted_at IS NULL")),
    )

    wamid: Mapped[str]
    status: Mapped[str]
    phone_number_id: Mapped[str | None]
    report: Mapped[dict[str, Any]]
    alerted_at: Mapped[datetime | None]  # when it was found to be an orphan


class WebhookField(Model):
    """How often each field and message type arrived, known to us or not, so that nothing new goes unseen."""

    __tablename__ = "webhook_fields"

    name: Mapped[str] = mapped_column(primary_key=True)  # field, or field/type
    known: Mapped[bool] = mapped_column(Boolean)
    count: Mapped[int]
    first_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AccountEvent(WithId):
    """What the provider said about a template, a number or the account, and what we did about it; each once."""

    __tablename__ = "account_events"
    __table_args__ = (Index(None, "aspect", "occurred_at"),)

    kind: Mapped[AccountEventKind]
    word: Mapped[str]  # the provider's event, decision or score, lower case
    severity: Mapped[Severity]
    account: Mapped[str]  # WABA id
    subject: Mapped[str]  # what it concerns, for people
    aspect: Mapped[str]  # of two events with the same aspect the later one holds
    occurred_at: Mapped[datetime]
    event_key: Mapped[UUID] = mapped_column(unique=True)  # same event, same key: repetition changes nothing
    value: Mapped[dict[str, Any]]
    effect: Mapped[str | None]  # what followed, in a sentence; null when nothing did


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


class ReceivedFile(WithId):
    """A picture, a voice message, a document a person sent: fetched from the provider, kept in DATA_DIR/media."""

    __tablename__ = "received_files"
    __table_args__ = (Index("ix_received_files_waiting", "next_at", postgresql_where=text("status = 'waiting'")),)

    inbound_id: Mapped[UUID] = mapped_column(ForeignKey("inbound_messages.id", ondelete="CASCADE"), unique=True)
    provider_id: Mapped[str]  # the provider forgets it after seven days
    mime_type: Mapped[str | None]
    filename: Mapped[str | None]  # what the person called a document
    status: Mapped[ReceivedStatus]
    bytes: Mapped[int | None]
    sha256: Mapped[str | None]
    path: Mapped[str | None]  # null while it is not here
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    error: Mapped[str | None]  # why it is not here
