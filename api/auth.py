"""Who calls, and what they may do."""

import asyncio
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import Guard
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import select

from api.state import Parts
from core.clock import utc_now
from core.errors import Forbidden, TooManyRequests, Unauthorized
from core.models import User
from core.services import people
from core.services.people import Actor
from core.statuses import Role

AuthedRequest = Request[Actor, str, Any]

# Sign-ins refused within the window, per e-mail and per address; then one has to wait.
WINDOW_S = 900
MOST_PER_EMAIL = 5
MOST_PER_ADDRESS = 30


def address_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    return connection.client.host if connection.client else None


class BearerAuth(AbstractAuthenticationMiddleware):
    """`Authorization: Bearer` with a session token or an API key."""

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("sign in first: POST /api/session, or send an API key as Authorization: Bearer")
        parts: Parts = connection.app.state.parts
        async with parts.sessions() as session:
            actor = await people.who(session, token.strip(), now=utc_now(), address=address_of(connection))
        return AuthenticationResult(user=actor, auth=token.strip())


def allow(*roles: Role) -> Guard:
    """A guard for these roles; an admin may do everything."""

    def guard(connection: ASGIConnection[Any, Actor, Any, Any], _: BaseRouteHandler) -> None:
        if connection.user.role not in (Role.ADMIN, *roles):
            raise Forbidden(f"your role ({connection.user.role}) may not do this")

    return guard


EVERYBODY = allow(*Role)
MARKETING = allow(Role.MARKETER)
READ_MARKETING = allow(Role.MARKETER, Role.APPROVER, Role.ANALYST, Role.COMPLIANCE)
READ_PEOPLE = allow(Role.MARKETER, Role.APPROVER, Role.COMPLIANCE)
CONSENT = allow(Role.COMPLIANCE)
AUDIT = allow(Role.COMPLIANCE, Role.AUDITOR)
FIGURES = allow(Role.MARKETER, Role.APPROVER, Role.ANALYST, Role.COMPLIANCE)


class SignIn:
    """Checks a password, slowly enough for guessing to be hopeless."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def check(self, email: str, password: str, address: str | None) -> User:
        """The user; raises Unauthorized without saying which part was wrong, TooManyRequests after too many tries."""
        email = email.strip().lower()
        names = {f"signin:email:{email}": MOST_PER_EMAIL, f"signin:address:{address}": MOST_PER_ADDRESS}
        await self._refuse_the_hasty(names)
        async with self.parts.sessions() as session:
            user = await session.scalar(select(User).where(User.email == email, User.disabled_at.is_(None)))
        right = await asyncio.to_thread(people.check_password, user.password_hash if user else None, password)
        if user is None or not right:
            raise Unauthorized("the e-mail or the password is wrong")
        await self._take_back(f"signin:email:{email}", f"signin:address:{address}")
        return user

    async def _refuse_the_hasty(self, names: dict[str, int]) -> None:
        """Count this try before it is checked, so that many at once gain nothing."""
        valkey: Redis = self.parts.valkey
        try:
            for name, most in names.items():
                tries = await valkey.incr(name)
                await valkey.expire(name, WINDOW_S, nx=True)  # every time: a crash in between must lock nobody out
                if tries > most:
                    wait = max(1, await valkey.ttl(name))
                    raise TooManyRequests(
                        f"too many sign-ins failed; wait {-(-wait // 60)} minutes", retry_after_s=wait
                    )
        except RedisError as down:
            # Without the counter guessing would be free, so nobody signs in until it is back.
            raise TooManyRequests("signing in is not possible for a moment; try again", retry_after_s=5) from down

    async def _take_back(self, email: str, address: str) -> None:
        """A right password is no guess: people behind one address (the dashboard's) must not run out of tries."""
        await self.parts.valkey.delete(email)
        await self.parts.valkey.decr(address)
