"""Users, their sessions, keys for programs, and the record of what each did."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import Conflict, NotFound, RuleViolation, Unauthorized
from core.log import mask_text
from core.models import ApiKey, AuditEntry, Session, User
from core.statuses import Role

SESSION_LIFE = timedelta(hours=12)
KEY_PREFIX = "kairan_"
MIN_PASSWORD = 10

_hasher = PasswordHasher()
# Checked when the e-mail is unknown, so that an answer takes as long as for a known one.
_NOBODY = _hasher.hash(secrets.token_hex(16))


@dataclass(frozen=True)
class Actor:
    """Whoever acts: a signed-in user, a program's key, or the system itself."""

    id: UUID | None
    name: str
    role: Role
    email: str | None = None
    user_id: UUID | None = None  # null for a key
    address: str | None = None


SYSTEM = Actor(id=None, name="system", role=Role.ADMIN)


def _token_hash(token: str) -> str:
    """Tokens are 256 random bits, so a plain hash is enough to store."""
    return hashlib.sha256(token.encode()).hexdigest()


def hash_password(password: str) -> str:
    """An argon2id hash; about 50 ms of work, so call it in a thread. Raises RuleViolation when it is too short."""
    if len(password) < MIN_PASSWORD:
        raise RuleViolation(f"a password has at least {MIN_PASSWORD} characters", field="password")
    return _hasher.hash(password)


def check_password(password_hash: str | None, password: str) -> bool:
    """Whether the password is right; as slow for an unknown user as for a known one. Call it in a thread."""
    try:
        return _hasher.verify(password_hash or _NOBODY, password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


async def add_user(session: AsyncSession, *, email: str, name: str, role: Role, password_hash: str) -> User:
    """A new person; raises RuleViolation for a malformed e-mail and Conflict for a known one."""
    email = email.strip().lower()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise RuleViolation(f"{email!r} is no e-mail address", field="email")
    if await session.scalar(select(User.id).where(User.email == email)):
        raise Conflict("a user with this e-mail exists already")
    user = User(email=email, name=name.strip() or email, role=role, password_hash=password_hash)
    session.add(user)
    await session.flush()
    return user


async def list_users(session: AsyncSession) -> list[User]:
    return list(await session.scalars(select(User).order_by(User.email)))


async def user_by_email(session: AsyncSession, email: str) -> User:
    """The user; raises NotFound."""
    user = await session.scalar(select(User).where(User.email == email.strip().lower()))
    if user is None:
        raise NotFound("no user has this e-mail")
    return user


async def set_password(session: AsyncSession, email: str, password_hash: str) -> None:
    """A new password ends every session of the user."""
    user = await user_by_email(session, email)
    user.password_hash = password_hash
    await session.execute(delete(Session).where(Session.user_id == user.id))


async def disable_user(session: AsyncSession, email: str, *, now: datetime) -> None:
    """The user may not sign in any more, and every session ends."""
    user = await user_by_email(session, email)
    user.disabled_at = now
    await session.execute(delete(Session).where(Session.user_id == user.id))


async def open_session(session: AsyncSession, user: User, *, now: datetime) -> tuple[str, datetime]:
    """A fresh token and when it ends; sessions that ended are swept on the way."""
    await session.execute(delete(Session).where(Session.user_id == user.id, Session.expires_at < now))
    token = secrets.token_urlsafe(32)
    row = Session(user_id=user.id, token_hash=_token_hash(token), expires_at=now + SESSION_LIFE)
    session.add(row)
    await session.flush()
    return token, row.expires_at


async def close_session(session: AsyncSession, token: str) -> None:
    await session.execute(delete(Session).where(Session.token_hash == _token_hash(token)))


async def add_key(session: AsyncSession, *, name: str, role: Role, created_by: UUID | None) -> tuple[ApiKey, str]:
    """A key for a program and its secret, which is shown once."""
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(name=name, prefix=secret[:14], key_hash=_token_hash(secret), role=role, created_by=created_by)
    session.add(key)
    await session.flush()
    return key, secret


async def list_keys(session: AsyncSession) -> list[ApiKey]:
    return list(await session.scalars(select(ApiKey).order_by(ApiKey.created_at)))


async def revoke_key(session: AsyncSession, prefix: str, *, now: datetime) -> None:
    """Raises NotFound unless a live key starts with `prefix`."""
    live = (ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
    revoked = await session.scalars(update(ApiKey).where(*live).values(revoked_at=now).returning(ApiKey.id))
    if not revoked.all():
        raise NotFound("no live key starts like this")


async def who(session: AsyncSession, token: str, *, now: datetime, address: str | None) -> Actor:
    """Whoever holds this session token or API key; raises Unauthorized."""
    digest = _token_hash(token)
    if token.startswith(KEY_PREFIX):
        key = await session.scalar(select(ApiKey).where(ApiKey.key_hash == digest, ApiKey.revoked_at.is_(None)))
        if key is None:
            raise Unauthorized("this API key is unknown or revoked")
        return Actor(id=key.id, name=key.name, role=key.role, address=address)
    live = (Session.token_hash == digest, Session.expires_at > now, User.disabled_at.is_(None))
    user = await session.scalar(select(User).join(Session, Session.user_id == User.id).where(*live))
    if user is None:
        raise Unauthorized("this session has ended; sign in again")
    return Actor(id=user.id, name=user.name, role=user.role, email=user.email, user_id=user.id, address=address)


LOOKED_AGAIN = timedelta(hours=1)


async def note_look(session: AsyncSession, actor: Actor, action: str, object_kind: str, object_id: UUID) -> None:
    """Write down that somebody looked at something, once an hour: pages ask again with every click."""
    known = (AuditEntry.actor_id == actor.id, AuditEntry.action == action, AuditEntry.object_kind == object_kind)
    recent = select(AuditEntry.id).where(
        *known, AuditEntry.object_id == str(object_id), AuditEntry.created_at > func.now() - LOOKED_AGAIN
    )
    if await session.scalar(recent.limit(1)) is None:
        await note(session, actor, action, object_kind, object_id)


async def note(
    session: AsyncSession,
    actor: Actor,
    action: str,
    object_kind: str,
    object_id: UUID | str | None = None,
    *,
    reason: str | None = None,
    **facts: Any,
) -> None:
    """Write down who did what; `facts` hold no phone number and no message text, and a number in `reason` is masked."""
    session.add(
        AuditEntry(
            actor_id=actor.id,
            actor=actor.name,
            action=action,
            object_kind=object_kind,
            object_id=None if object_id is None else str(object_id),
            address=actor.address,
            reason=mask_text(reason) if reason else None,
            facts=facts,
        )
    )
