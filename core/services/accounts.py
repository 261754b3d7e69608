"""Changing who may sign in: one administrator always stays, and what ends, ends at once."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import Conflict, NotFound
from core.models import ApiKey, Session, User
from core.statuses import Role

Done = list[tuple[str, dict[str, Any]]]  # what was done, as the audit log names it, with its facts


async def change(
    session: AsyncSession,
    user_id: UUID,
    *,
    name: str | None,
    role: Role | None,
    disabled: bool | None,
    password_hash: str | None,
    now: datetime,
) -> tuple[User, Done]:
    """The user as changed, and what was done; what is None stays.

    Raises NotFound, and Conflict when nobody could administer the installation afterwards.
    """
    # Every administrator is locked: of two who take each other's role at once, the second is refused.
    admins = select(User).where(User.role == Role.ADMIN, User.disabled_at.is_(None)).order_by(User.id)
    able = {user.id for user in await session.scalars(admins.with_for_update())}
    user = await session.get(User, user_id, with_for_update=True)
    if user is None:
        raise NotFound("no such user", user_id=str(user_id))
    leaves = user.id in able and (disabled is True or (role is not None and role is not Role.ADMIN))
    if leaves and able == {user.id}:
        raise Conflict("this is the only administrator: make somebody else one first")
    done: Done = []
    if name is not None and name.strip() != user.name:
        user.name = name.strip() or user.email
        done.append(("user.renamed", {}))
    if role is not None and role is not user.role:
        done.append(("user.role_changed", {"before": user.role.value, "now": role.value}))
        user.role = role
    if disabled is not None and disabled != (user.disabled_at is not None):
        user.disabled_at = now if disabled else None
        done.append(("user.disabled" if disabled else "user.enabled", {}))
    if password_hash is not None:
        user.password_hash = password_hash
        done.append(("user.password_set", {}))
    if disabled or password_hash is not None:
        await session.execute(delete(Session).where(Session.user_id == user.id))
    await session.flush()
    return user, done


async def revoke(session: AsyncSession, key_id: UUID, *, now: datetime) -> ApiKey:
    """The key, which opens nothing any more; raises NotFound."""
    key = await session.get(ApiKey, key_id, with_for_update=True)
    if key is None:
        raise NotFound("no such key", key_id=str(key_id))
    key.revoked_at = key.revoked_at or now
    return key
