"""The database and Valkey as the command line meets them: is it the right one, can it be reached, is it migrated?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from cli.embedded import EmbeddedPostgres, database_url
from cli.lock import DataDirLock, is_running
from cli.output import say
from core.db import Sessions, make_engine, make_sessions
from core.errors import SettingsError
from core.settings import ROOT, Settings

MIGRATION_LOCK = 7_286_501_140  # any number, the same for everyone who migrates
CONNECT_TIMEOUT_S = 10.0
NEEDED_POSTGRES = 18


async def check_database(url: str) -> str:
    """The server's version; raises SettingsError when it cannot be reached or is too old."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    except TimeoutError as silent:
        raise SettingsError(
            f"KAIRAN_DATABASE_URL leads to a server that does not answer within {CONNECT_TIMEOUT_S:.0f} s"
        ) from silent
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as refused:
        raise SettingsError(f"KAIRAN_DATABASE_URL leads to no database: {_without_password(refused, url)}") from refused
    try:
        version = connection.get_server_version()
    finally:
        await connection.close()
    if version.major < NEEDED_POSTGRES:
        raise SettingsError(
            f"PostgreSQL {version.major} is too old: let KAIRAN_DATABASE_URL lead to {NEEDED_POSTGRES} or newer"
        )
    return f"{version.major}.{version.minor}"


def _without_password(error: BaseException, url: str) -> str:
    """One line of an error; a driver that repeats the URL must not print its password."""
    password = urlsplit(url).password
    line = (str(error) or type(error).__name__).splitlines()[0]
    return line.replace(password, "***") if password else line


async def check_valkey(url: str) -> str:
    """The server's version; raises SettingsError when it cannot be reached."""
    try:
        client = Redis.from_url(url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S)
        async with client:
            facts = await client.info("server")
    except (RedisError, OSError, ValueError) as refused:
        raise SettingsError(f"KAIRAN_VALKEY_URL leads to no server: {_without_password(refused, url)}") from refused
    return str(facts.get("valkey_version", facts.get("redis_version", "unknown")))


def _alembic() -> Config:
    config = Config(toml_file=str(ROOT / "pyproject.toml"))
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config


def newest_revision() -> str | None:
    """The schema this program needs."""
    return ScriptDirectory.from_config(_alembic()).get_current_head()


async def present_revision(url: str) -> str | None:
    """The schema the database has; None for an empty one."""
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    try:
        has_any = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
        present: str | None = await connection.fetchval("SELECT version_num FROM alembic_version") if has_any else None
        return present
    finally:
        await connection.close()


async def migrate(url: str) -> None:
    """Bring the schema to the newest revision; several may try at once, one works and the others find it done."""

    config = _alembic()

    def upgrade(connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    engine = make_engine(url, role=None)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    except DBAPIError as refused:
        reason = _without_password(refused.orig or refused, url).rsplit(">: ", 1)[-1]  # behind the driver's class name
        raise SettingsError(f"the database could not be migrated: {reason}") from refused
    finally:
        await engine.dispose()


@asynccontextmanager
async def reachable(settings: Settings) -> AsyncIterator[str]:
    """The URL of the configured server or the running stack's; with neither, the embedded one runs for the while."""
    if settings.database_url or is_running(settings.data_dir):
        url = settings.database_url or database_url(settings.data_dir)
        await check_database(url)
        yield url
        return
    say("Kairan does not run here; starting its database for this command")
    with DataDirLock(settings.data_dir):
        postgres = EmbeddedPostgres(settings.data_dir)
        try:
            postgres.start()
            await migrate(postgres.url)
            yield postgres.url
        finally:
            postgres.stop()


@asynccontextmanager
async def sessions(settings: Settings) -> AsyncIterator[Sessions]:
    """Sessions for a command that works without the API: users and keys, before anybody can sign in.

    Raises SettingsError when the database is not at the schema of this program: only `kairan migrate` and the
    start of a stack change it.
    """
    async with reachable(settings) as url:
        if await present_revision(url) != newest_revision():
            raise SettingsError("the database has not the newest schema: run kairan migrate")
        engine = make_engine(url, pool_size=1)
        try:
            yield make_sessions(engine)
        finally:
            await engine.dispose()
