"""Requests of people about their data, each with a clock, and who was erased."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId
from core.statuses import RequestKind, RequestStatus


class DataRequest(WithId):
    """What somebody asked for, until when it is to be answered, and what was done."""

    __tablename__ = "data_requests"
    __table_args__ = (
        CheckConstraint("(status = 'open') = (closed_at IS NULL)", name="closed"),
        Index("ix_data_requests_open", "due_at", postgresql_where=text("status = 'open'")),
    )

    kind: Mapped[RequestKind]
    status: Mapped[RequestStatus]
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"), index=True)
    received_at: Mapped[datetime]
    due_at: Mapped[datetime]
    channel: Mapped[str]  # how it came: whatsapp, email, letter, phone, in_person
    identity_proof: Mapped[str | None]  # how the person proved to be the one; not needed to object or withdraw
    note: Mapped[str | None]  # null once erased
    outcome: Mapped[str | None]  # what was done, or why it was refused; null once erased
    opened_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    closed_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    closed_at: Mapped[datetime | None]
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # counts of an erasure, never content


class Erasure(WithId):
    """One contact that was erased: what its addresses hash to, and the event that says so."""

    __tablename__ = "erasures"

    contact_id: Mapped[UUID] = mapped_column(index=True)  # of a contact that a restored database may not have
    seq: Mapped[int] = mapped_column(index=True)
    leaf_hash: Mapped[str]
    reason: Mapped[str]
    cause: Mapped[str]  # the request's id, or one made up
    refs: Mapped[list[Any]]  # [keyed hash, version of its key] per address
    erased_at: Mapped[datetime]


class SealedRecord(WithId):
    """What a country's rule wants kept of an erased person for a while, sealed to a key; nothing that runs opens it."""

    __tablename__ = "sealed_records"
    __table_args__ = (
        CheckConstraint("(sealed IS NULL) = (destroyed_at IS NOT NULL)", name="destroyed"),
        Index("ix_sealed_records_due", "until", postgresql_where=text("destroyed_at IS NULL")),
    )

    contact_id: Mapped[UUID] = mapped_column(index=True)
    country: Mapped[str]
    rule: Mapped[str]  # why it is kept
    until: Mapped[datetime]
    key: Mapped[str]  # fingerprint of the public key it is sealed to
    evidence: Mapped[int]
    addresses: Mapped[int]
    sealed: Mapped[bytes | None]  # null once destroyed
    destroyed_at: Mapped[datetime | None]
