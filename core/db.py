"""Engine and session factory; one request or job step is one transaction, opened at the edge."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import msgspec
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

Sessions = async_sessionmaker[AsyncSession]
Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

APP_ROLE = "kairan_app"  # may not change what is append-only
READER_ROLE = "kairan_reader"  # may only read, and no secrets


def async_url(database_url: str) -> str:
    """The same URL with the driver named, as SQLAlchemy wants it."""
    return f"postgresql+asyncpg{database_url[len(urlsplit(database_url).scheme) :]}"


def make_engine(database_url: str, *, role: str | None = APP_ROLE, pool_size: int = 10) -> AsyncEngine:
    """An engine whose connections act as `role`, so that grants hold even when the login owns the tables.

    Isolation is READ COMMITTED (the send gate depends on it); an abandoned transaction ends after 60 s.
    """
    server_settings = {"application_name": "kairan", "idle_in_transaction_session_timeout": "60000"}
    if role is not None:
        server_settings["role"] = role
    engine = create_async_engine(
        async_url(database_url),
        pool_size=pool_size,
        max_overflow=0,  # one beyond the pool would be made and thrown away each time
        hide_parameters=True,  # values are personal data, and errors are logged
        isolation_level="READ COMMITTED",
        connect_args={"server_settings": server_settings},
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
    event.listen(engine.sync_engine, "checkout", _check_open)
    return engine


def _check_open(connection: Any, record: object, proxy: object) -> None:
    """Refuse a pooled connection the server has closed, so that the pool makes another.

    The driver hears of it as soon as the socket ends, so nothing needs to be asked as with `pool_pre_ping`, which
    costs three round trips each time.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server closed this connection")


def make_sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def driver(sessions: Sessions) -> AsyncIterator[Driver]:
    """A pooled connection as the driver gives it, outside any transaction: each statement commits by itself.

    For the few statements of the sending loop only, where a session's own cost per statement would be most of it.
    """
    async with sessions() as session:
        pooled = await (await session.connection()).get_raw_connection()
        connection: Driver | None = pooled.driver_connection
        if connection is None:
            raise DisconnectionError("the connection was lost")
        yield connection


async def fetch(session: AsyncSession, statement: str, *values: object) -> list[asyncpg.Record]:
    """Run a statement with `$1`… in the session's transaction; its rows.

    A session's own execute costs three times as much of this process's time: this is for what is recorded a thousand
    times a second. Raises what execute would: IntegrityError, or another DBAPIError.
    """
    connection = await _inside(session)
    with _as_the_session_says("a statement"):
        rows: list[asyncpg.Record] = await connection.fetch(statement, *values)
    return rows


MANY = 500  # values of one statement from which on its plan matters more than the time to make it


_FOR_MANY = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('work_mem', '64MB', true)"


async def expect_many(session: AsyncSession) -> None:
    """Make the database ready for thousands of values at once, for the rest of this transaction.

    Every statement is planned for the tables as they are now: a plan kept from when a table was small reads all of it
    for each value, until the server analyses it again. And what a statement's triggers look at stays in memory: the
    events of a chunk are 7 MB, which would go through a file.
    """
    await session.execute(text(_FOR_MANY))


async def copy_rows(session: AsyncSession, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Put rows into a table by COPY, in the session's transaction; JSON as text.

    Raises what the same INSERT would: IntegrityError, or another DBAPIError.
    """
    connection = await _inside(session)
    with _as_the_session_says(f"COPY {table}"):
        await connection.copy_records_to_table(table, records=rows, columns=list(columns))


async def _inside(session: AsyncSession) -> Driver:
    """The driver's connection of a session, in its transaction, with everything the session holds back written."""
    if session.new or session.dirty or session.deleted:
        await session.flush()
    pooled = await (await session.connection()).get_raw_connection()
    connection: Driver | None = pooled.driver_connection
    if connection is None:
        raise DisconnectionError("the connection was lost")
    if not connection.is_in_transaction():  # SQLAlchemy begins one with the first statement it sends itself
        await session.execute(text("SELECT 1"))
    return connection


@contextmanager
def _as_the_session_says(what: str) -> Iterator[None]:
    """The driver's errors as SQLAlchemy's."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as broken:
        raise IntegrityError(what, None, broken, hide_parameters=True) from broken
    except asyncpg.InterfaceError as broken:
        raise OperationalError(what, None, broken, hide_parameters=True) from broken
    except asyncpg.PostgresError as broken:
        raise DBAPIError(what, None, broken, hide_parameters=True) from broken
