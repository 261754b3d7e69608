"""`kairan users …` and `kairan keys …`: who may sign in, and which programs may call the API."""
# ruff: noqa: PLC0415 - what a command needs takes seconds to import, so it is imported when the command runs

import asyncio
from typing import Annotated

import typer

from core.statuses import Role

users = typer.Typer(help="Who may sign in.", rich_markup_mode=None)
keys = typer.Typer(help="Keys for programs that call the API.", rich_markup_mode=None)

Email = Annotated[str, typer.Argument(help="E-mail address, in any case.")]
RoleOption = Annotated[Role, typer.Option("--role", help="What they may do.")]
Password = Annotated[str | None, typer.Option("--password", help="Asked, or made up, when not given.")]


@users.command("add")
def add_user(
    email: Email, role: RoleOption, name: Annotated[str, typer.Option()] = "", password: Password = None
) -> None:
    """Let somebody sign in."""
    from cli import people
    from core.settings import get_settings

    asyncio.run(people.add_user(get_settings(), email, name, role, password))


@users.command("list")
def list_users() -> None:
    """Show everybody who may sign in, or once could."""
    from cli import people
    from core.settings import get_settings

    asyncio.run(people.list_users(get_settings()))


@users.command("disable")
def disable_user(email: Email) -> None:
    """Let somebody sign in no more."""
    from cli import people
    from core.settings import get_settings

    asyncio.run(people.disable_user(get_settings(), email))


@users.command("password")
def set_password(email: Email, password: Password = None) -> None:
    """Set a new password; every session of that person ends."""
    from cli import people
    from core.settings import get_settings

    asyncio.run(people.set_password(get_settings(), email, password))


@keys.command("add")
def add_key(name: Annotated[str, typer.Argument(help="Which program uses it.")], role: RoleOption) -> None:
    """Make a key and print it once."""
    from cli import people
    from core.settings import get_settings

    asyncio.run(people.add_key(get_settings(), name, role))


@keys.command("list")
def list_keys() -> None:
    """Show all keys: how they begin, never the whole."""
    from cli import people
    from core.settings import get_settings

    asyncio.run(people.list_keys(get_settings()))


@keys.command("revoke")
def revoke_key(begins_with: Annotated[str, typer.Argument(help="As kairan keys list shows it.")]) -> None:
    """Make a key useless."""
    from cli import people
    from core.settings import get_settings

    asyncio.run(people.revoke_key(get_settings(), begins_with))
