"""DuckDB over explicit lists of Parquet files, and the SQL models as views in build order.

Nothing here downloads anything: only the extensions inside the wheel are used, and loading others is switched off.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from analytics.tables import BRONZE, DIMENSION_TABLES, SILVER, TABLES
from core.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# In build order: a model reads bronze and dimension tables, `run`, and models that stand before it.
MODELS = (
    "stg_message",
    "stg_event",
    "stg_conversion",
    "fct_event",
    "fct_message",
    "fct_touch",
    "fct_attribution",
    "dim_price",
    "fct_outcome",
    "fct_suspect",
    "fct_follow_up",
)
MEMORY_LIMIT = "2GB"
END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


@cache
def model_sql(name: str) -> str:
    """The text of `analytics/sql/<name>.sql`: one SELECT whose first line says its grain."""
    return (package_files("analytics") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def connect(spill_to: Path) -> "DuckDBPyConnection":
    """An in-memory DuckDB in UTC that spills to `spill_to` and loads nothing from outside."""
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(spill_to),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,  # a name in SQL is never a Python variable
        }
    )
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def set_run(connection: "DuckDBPyConnection", settings: Settings, *, as_of: datetime, now: datetime) -> None:
    """Fill `run`, the one row every model may read.

    `as_of` cuts off what was received later; `now` is the instant up to which waiting is known.
    """
    connection.execute("CREATE TABLE run (as_of TIMESTAMPTZ, now TIMESTAMPTZ, time_zone VARCHAR, currency VARCHAR)")
    connection.execute("INSERT INTO run VALUES ($1, $2, $3, $4)", [as_of, now, settings.time_zone, settings.currency])


def view_files(connection: "DuckDBPyConnection", table: str, paths: Sequence[Path]) -> None:
    """Make `table` a view over exactly these files; without any, over no rows of the right types."""
    if paths:
        relation = connection.read_parquet([str(path) for path in paths])
    else:
        columns = ", ".join(f"NULL::{kind} AS {name}" for name, kind in TABLES[table].columns.items())
        relation = connection.sql(f"SELECT {columns} LIMIT 0")
    relation.create_view(table, replace=True)


def view_models(connection: "DuckDBPyConnection", names: Iterable[str]) -> None:
    """Make the named models views, in build order."""
    wanted = set(names)
    for name in MODELS:
        if name in wanted:
            connection.execute(f"CREATE OR REPLACE VIEW {name} AS {model_sql(name)}")


def view_lake(connection: "DuckDBPyConnection", files: dict[str, list[Path]], *, folded: bool) -> None:
    """Make every table and model visible.

    `folded`: silver comes from its files; otherwise it is computed once from bronze, for a cut in the past. A silver
    table without files is computed from what there is, which gives no rows and the right types.
    """
    for table in (*BRONZE, *DIMENSION_TABLES):
        view_files(connection, table, files.get(table, []))
    for name in MODELS:
        if name not in SILVER:
            view_models(connection, [name])
        elif folded and files.get(name):
            view_files(connection, name, files[name])
        else:
            connection.execute(f"CREATE TABLE {name} AS {model_sql(name)}")
