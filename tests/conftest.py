"""Real PostgreSQL and Valkey from wheels, started once a run; the schema comes from the migrations."""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import pytest
import redis
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from core.db import Sessions, make_engine, make_sessions

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[EmbeddedPostgres, EmbeddedValkey]]:
    """One PostgreSQL and one Valkey for the whole run."""
    with tempfile.TemporaryDirectory(prefix="kairan-tests-", ignore_cleanup_errors=True) as folder:
        postgres, valkey = EmbeddedPostgres(Path(folder), durable=False), EmbeddedValkey(Path(folder))
        postgres.start()
        valkey.start()
        yield postgres, valkey
        valkey.stop()
        postgres.stop()


def _psql(postgres: EmbeddedPostgres, *statements: str) -> None:
    target = ["-h", str(postgres.sockets), "-U", "kairan", "-d", "postgres"]
    flags = [flag for statement in statements for flag in ("-c", statement)]
    subprocess.run(
        [postgres.bin / "psql", "-q", "-v", "ON_ERROR_STOP=1", *target, *flags],
        check=True,
        capture_output=True,
    )


async def migrate(database_url: str) -> None:
    engine = make_engine(database_url, role=None)
    config = Config(toml_file=str(ROOT / "pyproject.toml"))
    config.set_main_option("script_location", str(ROOT / "migrations"))
    async with engine.begin() as connection:

        def upgrade(sync_connection: object) -> None:
            config.attributes["connection"] = sync_connection
            command.upgrade(config, "head")

        await connection.run_sync(upgrade)
    await engine.dispose()


@pytest.fixture(scope="session")
def template_database(servers: tuple[EmbeddedPostgres, EmbeddedValkey]) -> str:
    """A migrated database nothing stays connected to; others are cloned from it."""
    postgres, _ = servers
    _psql(postgres, "CREATE DATABASE template_kairan")
    asyncio.run(migrate(f"postgresql://kairan@/template_kairan?host={postgres.sockets}"))
    return "template_kairan"


@pytest.fixture
def own_database(servers: tuple[EmbeddedPostgres, EmbeddedValkey], template_database: str) -> Iterator[str]:
    """The URL of a fresh clone, for races, jobs and exports; about 85 ms. It is the same URL for every test."""
    postgres, _ = servers
    name = "test_own"
    _psql(postgres, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield f"postgresql://kairan@/{name}?host={postgres.sockets}"
    _psql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _engine(database_url: str) -> AsyncEngine:
    return make_engine(database_url, pool_size=50)


@pytest.fixture
async def own_engine(own_database: str) -> AsyncIterator[AsyncEngine]:
    """Connections to a database of the test's own. The engine is that of the run: it knows every statement by now."""
    engine = _engine(own_database)
    yield engine
    await engine.dispose()


@pytest.fixture
def own_sessions(own_engine: AsyncEngine) -> Sessions:
    """Sessions on a database of the test's own: what is committed can be seen by every connection."""
    return make_sessions(own_engine)


@pytest.fixture(scope="session")
def shared_database(servers: tuple[EmbeddedPostgres, EmbeddedValkey], template_database: str) -> str:
    postgres, _ = servers
    _psql(postgres, f"CREATE DATABASE test_shared TEMPLATE {template_database}")
    return f"postgresql://kairan@/test_shared?host={postgres.sockets}"


@pytest.fixture
async def sessions(shared_database: str) -> AsyncIterator[Sessions]:
    """Sessions inside one transaction that is rolled back at the end; commits are savepoints. About 3 ms."""
    engine = _engine(shared_database)
    async with engine.connect() as connection, connection.begin() as outer:
        yield async_sessionmaker(
            connection, expire_on_commit=False, join_transaction_mode="create_savepoint", class_=AsyncSession
        )
        await outer.rollback()
    await engine.dispose()


@pytest.fixture
def valkey_url(servers: tuple[EmbeddedPostgres, EmbeddedValkey]) -> Iterator[str]:
    """The run's Valkey, emptied after the test."""
    _, valkey = servers
    yield valkey.url
    with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
        client.flushall()
