"""People who use the product: users, their sessions, keys for programs, and the record of what they did."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId
from core.statuses import Role


class User(WithId):
    """A person who signs in."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(unique=True)  # stored lower case
    name: Mapped[str]
    role: Mapped[Role]
    password_hash: Mapped[str]
    disabled_at: Mapped[datetime | None]


class Session(WithId):
    """A signed-in browser; only the token's hash is stored."""

    __tablename__ = "sessions"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime]


class ApiKey(WithId):
    """A program's key: acts with a role, only the hash is stored."""

    __tablename__ = "api_keys"

    name: Mapped[str]
    prefix: Mapped[str]  # the first characters, to tell keys apart
    key_hash: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    revoked_at: Mapped[datetime | None]


class AuditEntry(WithId):
    """Who did what to which object; append-only, no message text and no phone number."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "created_at"), Index(None, "object_kind", "object_id"))

    actor_id: Mapped[UUID | None]
    actor: Mapped[str]  # the user's or key's name at the time, or "system"
    action: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[str | None]
    address: Mapped[str | None]  # network address of the request
    reason: Mapped[str | None]
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class IdempotencyKey(WithId):
    """The answer a POST got, so that repeating it answers the same and does nothing."""

    __tablename__ = "idempotency_keys"

    scope: Mapped[str] = mapped_column(unique=True)  # hash of who, path and key
    request_hash: Mapped[str]
    status: Mapped[int]
    body: Mapped[bytes]
