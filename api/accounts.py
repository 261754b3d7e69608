"""Who may sign in, and which programs may call: for administrators."""

import asyncio
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from api.auth import AuthedRequest, allow
from api.idempotency import once
from api.paging import PageOut
from api.state import Db, Now
from core.models import ApiKey, User
from core.services import accounts, people
from core.statuses import Role

ADMINISTRATORS = allow()  # an admin may do everything, nobody else this
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Password = Annotated[str, Meta(min_length=people.MIN_PASSWORD, max_length=200)]


class UserIn(Struct, forbid_unknown_fields=True):
    email: Annotated[str, Meta(min_length=3, max_length=254)]
    name: Name
    role: Role
    password: Password


class UserChangeIn(Struct, forbid_unknown_fields=True):
    """What is left out stays. A new password, and being disabled, end every session of the person."""

    name: Name | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    password: Password | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class AccountOut(Struct):
    id: UUID
    email: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(user.id, user.email, user.name, user.role, user.created_at, user.disabled_at)


class UserController(Controller):
    path = "/users"
    tags = ("Administration",)
    guards = (ADMINISTRATORS,)

    @get()
    async def list_users(self, session: Db) -> PageOut[AccountOut]:
        """Everybody who may sign in, or once could."""
        return PageOut([AccountOut.of(user) for user in await people.list_users(session)], None)

    @post()
    async def add(self, data: JSONBody[UserIn], request: AuthedRequest, session: Db) -> Response[AccountOut]:
        """Let somebody sign in."""
        password_hash = await asyncio.to_thread(people.hash_password, data.password)

        async def make() -> AccountOut:
            user = await people.add_user(
                session, email=data.email, name=data.name, role=data.role, password_hash=password_hash
            )
            await session.refresh(user)
            await people.note(session, request.user, "user.added", "user", user.id, role=data.role)
            return AccountOut.of(user)

        return await once(request, session, AccountOut, make)

    @patch("/{user_id:uuid}")
    async def change(
        self, user_id: FromPath[UUID], data: JSONBody[UserChangeIn], request: AuthedRequest, session: Db, now: Now
    ) -> AccountOut:
        """Change a name, a role or a password, or let somebody sign in no more; one administrator always stays."""
        password_hash = None
        if data.password is not UNSET:
            password_hash = await asyncio.to_thread(people.hash_password, data.password)
        user, done = await accounts.change(
            session,
            user_id,
            name=None if data.name is UNSET else data.name,
            role=None if data.role is UNSET else data.role,
            disabled=None if data.disabled is UNSET else data.disabled,
            password_hash=password_hash,
            now=now,
        )
        for action, facts in done:
            await people.note(session, request.user, action, "user", user.id, **facts)
        return AccountOut.of(user)


class KeyIn(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=100, description="Which program uses it")]
    role: Role


class KeyOut(Struct):
    id: UUID
    name: str
    prefix: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls(key.id, key.name, key.prefix, key.role, key.created_at, key.revoked_at)


class NewKeyOut(KeyOut):
    """`secret` is told this once."""

    secret: str


class KeyController(Controller):
    path = "/keys"
    tags = ("Administration",)
    guards = (ADMINISTRATORS,)

    @get()
    async def list_keys(self, session: Db) -> PageOut[KeyOut]:
        """Every key: how it begins, never the whole."""
        return PageOut([KeyOut.of(key) for key in await people.list_keys(session)], None)

    @post()
    async def add(self, data: JSONBody[KeyIn], request: AuthedRequest, session: Db) -> NewKeyOut:
        """Make a key for a program. It acts with its role; the answer holds its secret, which is not kept."""
        key, secret = await people.add_key(
            session, name=data.name.strip(), role=data.role, created_by=request.user.user_id
        )
        await session.refresh(key)
        await people.note(session, request.user, "key.added", "api_key", key.id, role=data.role)
        return NewKeyOut(key.id, key.name, key.prefix, key.role, key.created_at, key.revoked_at, secret)

    @post("/{key_id:uuid}/revoke", status_code=200)
    async def revoke(self, key_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now) -> KeyOut:
        """The key opens nothing any more. Revoking it again changes nothing."""
        key = await accounts.revoke(session, key_id, now=now)
        await people.note(session, request.user, "key.revoked", "api_key", key.id)
        return KeyOut.of(key)
