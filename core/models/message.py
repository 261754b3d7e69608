"""Messages: one campaign's message to one contact, and the append-only facts about it."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Computed, Date, ForeignKey, Index, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId, WithSequence, Xid8
from core.statuses import (
    OUT,
    WITH_PROVIDER,
    Category,
    DeliveryStatus,
    EventKind,
    MessageKind,
    RateCategory,
    SkipReason,
)

_WORDS = ", ".join(f"'{status}'" for status in WITH_PROVIDER)
PHASE_SQL = f"CASE WHEN status IN ({_WORDS}) THEN '{OUT}' ELSE status END"


class Message(WithId):
    """One message to one contact, and how far it got. The phone number is looked up when it is sent.

    The foreign keys are declared and not enforced: triggers keep the same rule for all rows of a statement together.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("campaign_id", "contact_id"),  # nobody gets a campaign twice
        Index(
            "ix_messages_queued",
            "sender_id",
            "campaign_id",
            "priority",
            "not_before",
            "id",
            postgresql_where=text("phase = 'queued'"),
        ),
        Index("ix_messages_lease", "lease_until", postgresql_where=text("phase = 'sending'")),
        Index("ix_messages_campaign_phase", "campaign_id", "phase", "id"),
        Index("ix_messages_contact", "contact_id", "queued_at"),
        # The provider's id belongs to one message. Rows without one are not in the index.
        Index("uq_messages_wamid", "wamid", unique=True, postgresql_where=text("wamid IS NOT NULL")),
        Index("ix_messages_canary", "campaign_id", "phase", postgresql_where=text("priority = 4")),
        # Room on each page, so that permits and the provider's reports are written beside the row and touch no index.
        {"postgresql_with": {"fillfactor": 50}},
    )

    kind: Mapped[MessageKind]
    priority: Mapped[int] = mapped_column(SmallInteger)
    campaign_id: Mapped[UUID | None] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    variant_id: Mapped[UUID | None] = mapped_column(ForeignKey("campaign_variants.id"))
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"))
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("senders.id"))
    template_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("template_versions.id"))
    purpose: Mapped[str]
    category: Mapped[Category]
    parameters: Mapped[dict[str, Any] | None]  # frozen at expansion; null once erased
    country: Mapped[str | None]
    time_zone: Mapped[str]
    holdout: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    queued_on: Mapped[date] = mapped_column(Date)  # UTC day of queued_at: the lake's partition, never changes
    created_xid: Mapped[int] = mapped_column(Xid8, server_default=func.pg_current_xact_id(), index=True)

    status: Mapped[DeliveryStatus]
    phase: Mapped[str] = mapped_column(Computed(PHASE_SQL, persisted=True))  # see `phase_of`; what indexes use
    skip_reason: Mapped[SkipReason | None]
    not_before: Mapped[datetime] = mapped_column(server_default=func.now())
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_until: Mapped[datetime | None]
    permit_seq: Mapped[int | None]  # ledger event the send relied on
    permit_head_seq: Mapped[int | None]  # the contact's newest ledger event when the gate allowed it
    permitted_at: Mapped[datetime | None]
    wamid: Mapped[str | None]  # the provider's id
    error_code: Mapped[int | None]
    error: Mapped[str | None]
    accepted_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    pricing_type: Mapped[str | None]
    cost_micros: Mapped[int | None]


class MessageEvent(WithSequence):
    """A fact about a message; the lake is built from these."""

    __tablename__ = "message_events"
    __table_args__ = (UniqueConstraint("message_id", "event_key"),)

    message_id: Mapped[UUID]
    queued_on: Mapped[date] = mapped_column(Date)  # the message's, so that a fact finds its partition
    kind: Mapped[EventKind]
    occurred_at: Mapped[datetime]
    event_key: Mapped[UUID]  # same fact of the same message, same key: repetition changes nothing
    error_code: Mapped[int | None]
    reason: Mapped[str | None]  # why suppressed, what kind of reply
    button_index: Mapped[int | None] = mapped_column(SmallInteger)
    is_bot: Mapped[bool | None] = mapped_column(Boolean)
    pricing_type: Mapped[str | None]
    billable: Mapped[bool | None] = mapped_column(Boolean)
    cost_micros: Mapped[int | None]
    attempt: Mapped[int | None] = mapped_column(SmallInteger)


class PersonReached(Model):
    """Someone who counts against the portfolio's allowance of people per 24 hours."""

    __tablename__ = "people_reached"

    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    reached_at: Mapped[datetime] = mapped_column(index=True)
    before_at: Mapped[datetime | None]  # the time before, should the last one come to nothing


class Rate(WithId):
    """A price per delivered message: effective-dated, imported, never built in."""

    __tablename__ = "rates"
    __table_args__ = (UniqueConstraint("market", "category", "currency", "effective_from"),)

    market: Mapped[str]  # ISO country: regions are spelled out when a card is imported
    category: Mapped[RateCategory]
    currency: Mapped[str]
    price_micros: Mapped[int]
    effective_from: Mapped[date] = mapped_column(Date)
    source: Mapped[str]
