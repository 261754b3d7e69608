"""Contacts: one person's tenure of one WhatsApp account, and the addresses that reach it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId
from core.statuses import AttributeKind


class Contact(WithId):
    """A person; the row that consent writers and the send gate lock."""

    __tablename__ = "contacts"
    __table_args__ = (
        Index("ix_contacts_attributes", "attributes", postgresql_using="gin"),
        Index("ix_contacts_tags", "tags", postgresql_using="gin"),
        Index("ix_contacts_merged_into", "merged_into", postgresql_where=text("merged_into IS NOT NULL")),
        {"postgresql_with": {"fillfactor": 85}},  # every consent raises the version, beside the row
    )

    name: Mapped[str | None]
    language: Mapped[str | None]  # BCP 47
    time_zone: Mapped[str | None]  # IANA
    country: Mapped[str | None] = mapped_column(index=True)  # ISO 3166-1 alpha-2
    attributes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text()), server_default=text("'{}'"))
    import_id: Mapped[UUID | None] = mapped_column(ForeignKey("imports.id", ondelete="SET NULL"), index=True)
    consent_version: Mapped[int] = mapped_column(server_default=text("0"))  # number of this contact's ledger events
    first_seen_at: Mapped[datetime | None]  # first inbound message
    last_seen_at: Mapped[datetime | None]  # latest inbound message: opens the 24 h service window
    closed_at: Mapped[datetime | None]  # tenure ended: the account has another holder
    erased_at: Mapped[datetime | None]
    merged_into: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"))  # who goes on; this tenure is closed


class ContactAddress(WithId):
    """One address of a contact in all its equivalent forms.

    `match_key` is the form every equivalent spelling shares, so one open owner per key means that no
    spelling finds somebody else. Phone is optional: a contact may have only a business-scoped user id.
    """

    __tablename__ = "contact_addresses"
    __table_args__ = (
        Index("uq_contact_addresses_open", "match_key", unique=True, postgresql_where=text("closed_at IS NULL")),
    )

    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]  # phone, wa_id or bsuid
    value: Mapped[str]  # E.164 with +, digits, or the BSUID
    match_key: Mapped[str]
    closed_at: Mapped[datetime | None]


class AttributeDefinition(Model):
    """What kind of value an attribute of contacts has; attributes without a definition are text."""

    __tablename__ = "attribute_definitions"

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[AttributeKind]
    choices: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))  # of a choice: the texts allowed
    description: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
