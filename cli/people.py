"""`kairan users` and `kairan keys`: who may sign in, and which programs may call the API."""

import secrets
from datetime import UTC, datetime

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from cli.database import sessions
from cli.output import console, interactive, say, table
from core.errors import RuleViolation
from core.services import people
from core.services.people import Actor
from core.settings import Settings
from core.statuses import Role

OPERATOR = Actor(id=None, name="command line", role=Role.ADMIN)


async def create_user(session: AsyncSession, email: str, name: str, role: Role, password: str) -> None:
    """Add one user and write down that it happened; raises RuleViolation or Conflict."""
    user = await people.add_user(
        session, email=email, name=name, role=role, password_hash=people.hash_password(password)
    )
    await people.note(session, OPERATOR, "user.added", "user", user.id, role=role)


def _new_password(given: str | None) -> str:
    """The password of an option, of a prompt, or of chance: then it is shown once."""
    if given:
        return given
    if interactive():
        asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    made = secrets.token_urlsafe(12)
    say(f"Password: {made}")
    return made


async def add_user(settings: Settings, email: str, name: str, role: Role, password: str | None) -> None:
    chosen = _new_password(password)
    async with sessions(settings) as open_session, open_session.begin() as session:
        await create_user(session, email, name, role, chosen)
    say(f"{email} may sign in as {role}.")


async def list_users(settings: Settings) -> None:
    async with sessions(settings) as open_session, open_session.begin() as session:
        users = await people.list_users(session)
    shown = table("E-mail", "Name", "Role", "State")
    for user in users:
        shown.add_row(user.email, user.name, user.role, "disabled" if user.disabled_at else "active")
    console().print(shown)


async def disable_user(settings: Settings, email: str) -> None:
    async with sessions(settings) as open_session, open_session.begin() as session:
        await people.disable_user(session, email, now=datetime.now(UTC))
        user = await people.user_by_email(session, email)
        await people.note(session, OPERATOR, "user.disabled", "user", user.id)
    say(f"{email} may not sign in any more.")


async def set_password(settings: Settings, email: str, password: str | None) -> None:
    chosen = _new_password(password)
    async with sessions(settings) as open_session, open_session.begin() as session:
        await people.set_password(session, email, people.hash_password(chosen))
        user = await people.user_by_email(session, email)
        await people.note(session, OPERATOR, "user.password_set", "user", user.id)
    say(f"{email} has a new password and is signed out everywhere.")


async def add_key(settings: Settings, name: str, role: Role) -> None:
    if not name.strip():
        raise RuleViolation("a key needs a name that says which program uses it")
    async with sessions(settings) as open_session, open_session.begin() as session:
        key, secret = await people.add_key(session, name=name.strip(), role=role, created_by=None)
        await people.note(session, OPERATOR, "key.added", "api_key", key.id, role=role)
    say("Keep it now, it is not shown again:")
    print(secret)


async def list_keys(settings: Settings) -> None:
    async with sessions(settings) as open_session, open_session.begin() as session:
        keys = await people.list_keys(session)
    shown = table("Begins with", "Name", "Role", "State")
    for key in keys:
        shown.add_row(key.prefix, key.name, key.role, "revoked" if key.revoked_at else "active")
    console().print(shown)


async def revoke_key(settings: Settings, prefix: str) -> None:
    async with sessions(settings) as open_session, open_session.begin() as session:
        await people.revoke_key(session, prefix, now=datetime.now(UTC))
        await people.note(session, OPERATOR, "key.revoked", "api_key", prefix)
    say(f"The key {prefix}… opens nothing any more.")
