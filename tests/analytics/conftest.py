"""Lakes of the tests' own, over databases of their own."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest

from analytics.engine import END_OF_TIME, connect, set_run
from analytics.lake import Lake, open_lake, refresh
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from core.db import Sessions, make_engine, make_sessions
from core.settings import Settings
from tests.analytics import golden
from tests.conftest import _psql


@pytest.fixture
def settings(own_database: str, tmp_path: Path) -> Settings:
    return Settings.load(data_dir=tmp_path, database_url=own_database)


@pytest.fixture
async def golden_rows(own_sessions: Sessions) -> Sessions:
    """The golden set, committed."""
    await golden.insert_all(own_sessions)
    return own_sessions


@pytest.fixture(scope="module")
async def golden_lake(
    servers: tuple[EmbeddedPostgres, EmbeddedValkey], template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lake]:
    """The golden set, refreshed once for a module that only reads."""
    postgres, _ = servers
    name = f"golden_{uuid4().hex}"
    _psql(postgres, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    url = f"postgresql://kairan@/{name}?host={postgres.sockets}"
    engine = make_engine(url)
    await golden.insert_all(make_sessions(engine))
    await engine.dispose()
    settings = Settings.load(data_dir=tmp_path_factory.mktemp("golden"), database_url=url)
    refresh(settings)
    lake = open_lake(settings)
    yield lake
    lake.close()
    _psql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class Engine:
    """A DuckDB with `run` and nothing else. Hypothesis keeps what tests were given until the process ends, DuckDB
    complains of connections that are left then: so what it keeps is this, emptied."""

    db: duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine for models over rows a test makes."""
    engine = Engine(connect(tmp_path_factory.mktemp("spill")))
    set_run(engine.db, Settings.load(database_url=""), as_of=END_OF_TIME, now=END_OF_TIME)
    yield engine
    engine.db.close()
    del engine.db
