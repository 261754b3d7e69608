"""The consent ledger, its evidence, the state derived from it, and who must never be messaged."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId, Xid8


class Purpose(WithId):
    """What people agree to; the code's first word is its kind: marketing, transactional or service."""

    __tablename__ = "purposes"
    __table_args__ = (UniqueConstraint("code", "version"),)

    code: Mapped[str]
    version: Mapped[int]
    controller: Mapped[str]  # the brand named to the person
    description: Mapped[dict[str, Any]]  # language → plain words
    min_grade: Mapped[str]
    validity_days: Mapped[int]
    needs_consent: Mapped[bool] = mapped_column(Boolean)
    halted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))  # kill switch
    retired_at: Mapped[datetime | None]  # a newer version replaced this one


class Notice(WithId):
    """What a person was shown when asked; never changes, a new wording is a new version."""

    __tablename__ = "notices"
    __table_args__ = (UniqueConstraint("code", "version", "language"),)

    code: Mapped[str]
    version: Mapped[int]
    language: Mapped[str]
    controller: Mapped[str]
    purposes: Mapped[list[Any]]  # purpose codes covered
    text: Mapped[str]
    withdrawal_info: Mapped[str]
    content_hash: Mapped[str]
    effective_from: Mapped[datetime]
    effective_to: Mapped[datetime | None]
    invalid_at: Mapped[datetime | None]  # found defective: no consent rests on it any more
    published_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))


class ConsentEvent(Model):
    """One sealed fact of the ledger; append-only by trigger and by grants, chained by `prev` and `leaf_hash`.

    A trigger refuses a row that does not follow the head, and one whose columns are not what `core` says.
    """

    __tablename__ = "consent_events"
    __table_args__ = (Index("ix_consent_events_subject", "subject_id", text("seq DESC")),)

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    core: Mapped[str]  # RFC 8785 text, exactly what was hashed
    leaf_hash: Mapped[str]
    xid: Mapped[int] = mapped_column(Xid8, server_default=func.pg_current_xact_id(), index=True)
    event_id: Mapped[UUID] = mapped_column(unique=True)
    event_type: Mapped[str]
    subject_id: Mapped[UUID | None]
    purpose: Mapped[str]
    controller: Mapped[str]
    grade: Mapped[str | None]
    method: Mapped[str | None]
    next_state: Mapped[str | None]
    reason: Mapped[str | None]
    expires_at: Mapped[str | None]  # RFC 3339 UTC, sorts as text
    recorded_at: Mapped[str]  # RFC 3339 UTC, sorts as text
    source_event_ref: Mapped[str] = mapped_column(unique=True)


class ConsentEvidence(Model):
    """What proves an event: personal data, deleted by erasure; the ledger keeps a salted commitment to it."""

    __tablename__ = "consent_evidence"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("consent_events.event_id"), primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(index=True)
    salt: Mapped[bytes]
    payload: Mapped[str]  # RFC 8785 text


class ConsentState(Model):
    """Current permission per contact and purpose: a cache, equal to a replay of the ledger."""

    __tablename__ = "consent_state"
    __table_args__ = (Index(None, "purpose", "state"),)

    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    purpose: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    grade: Mapped[str | None]
    grant_seq: Mapped[int | None]  # the ledger event a send may rely on
    expires_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    overlays: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))  # sorted words, any one blocks
    head_seq: Mapped[int]  # latest ledger event of this contact that was folded in


class Suppression(WithId):
    """A keyed hash of an address that must never be messaged; survives erasure and re-import."""

    __tablename__ = "suppressions"
    __table_args__ = (
        Index("uq_suppressions_live", "ref", "scope", unique=True, postgresql_where=text("lifted_at IS NULL")),
    )

    ref: Mapped[str]  # HMAC-SHA-256 of the address's match key, hex
    key_version: Mapped[int]
    scope: Mapped[str]  # a purpose code, `marketing.*` or `*`
    reason: Mapped[str]
    created_seq: Mapped[int | None]
    lifted_at: Mapped[datetime | None]
    lifted_seq: Mapped[int | None]


class PendingWithdrawal(WithId):
    """A withdrawal that could not get the contact's lock in time: it blocks at once, a worker finishes it."""

    __tablename__ = "pending_withdrawals"

    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    request: Mapped[dict[str, Any]]


class ChainHead(Model):
    """The ledger's newest position: one row, locked by every append."""

    __tablename__ = "consent_chain"

    name: Mapped[str] = mapped_column(primary_key=True)
    installation_id: Mapped[UUID] = mapped_column(server_default=func.uuidv7())
    seq: Mapped[int]
    leaf_hash: Mapped[str]
    recorded_at: Mapped[datetime]


class Checkpoint(WithId):
    """A signed statement of the ledger's size and root."""

    __tablename__ = "consent_checkpoints"

    size: Mapped[int] = mapped_column(unique=True)
    root: Mapped[str]  # hex
    note: Mapped[str]  # C2SP signed note
    peaks: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))  # hex; the tree's peaks, to extend it from
