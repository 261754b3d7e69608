"""Signing in and out."""

from datetime import datetime
from uuid import UUID

from litestar import Controller, Request, delete, get, post
from litestar.datastructures import State
from litestar.params import JSONBody
from msgspec import Struct

from api.auth import AuthedRequest, SignIn, address_of
from api.state import Db, Held, Now
from core.services import people
from core.services.people import Actor
from core.statuses import Role


class SignInIn(Struct, forbid_unknown_fields=True):
    email: str
    password: str


class UserOut(Struct):
    id: UUID | None
    email: str | None  # null for a program's key
    name: str
    role: Role


class SessionOut(Struct):
    token: str
    expires_at: datetime
    user: UserOut


class SessionController(Controller):
    path = "/session"
    tags = ("Session",)

    @post(exclude_from_auth=True)
    async def sign_in(
        self,
        data: JSONBody[SignInIn],
        request: Request[None, None, State],
        parts: Held,
        session: Db,
        now: Now,
    ) -> SessionOut:
        """Exchange e-mail and password for a token that lives twelve hours."""
        user = await SignIn(parts).check(data.email, data.password, address_of(request))
        token, expires_at = await people.open_session(session, user, now=now)
        actor = Actor(id=user.id, name=user.name, role=user.role, user_id=user.id, address=address_of(request))
        await people.note(session, actor, "session.opened", "user", user.id)
        return SessionOut(token, expires_at, UserOut(user.id, user.email, user.name, user.role))

    @get()
    async def who(self, request: AuthedRequest) -> UserOut:
        """Whoever holds the token."""
        actor = request.user
        return UserOut(actor.id, actor.email, actor.name, actor.role)

    @delete()
    async def sign_out(self, request: AuthedRequest, session: Db) -> None:
        """End the session."""
        await people.close_session(session, request.auth)
