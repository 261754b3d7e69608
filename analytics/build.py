"""The files of one run: bronze appended, silver rebuilt where something is new, each file hashed for the manifest."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from analytics.engine import END_OF_TIME, connect, model_sql, set_run, view_files, view_models
from analytics.extract import Extraction
from analytics.manifest import File, LakeError, Manifest, sha256_of
from analytics.tables import (
    BRONZE,
    CONVERSION,
    DIMENSION_TABLES,
    EVENT,
    FCT_ATTRIBUTION,
    FCT_MESSAGE,
    FCT_TOUCH,
    MESSAGE,
    SCHEMA,
    WHOLE,
    Table,
)
from core.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

COMPACT_ABOVE = 16  # files of one bronze partition; more are merged into one
LONGEST_REACH_DAYS = 5  # the longest time a touch can earn credit for

# What makes a row of bronze the same row, when a window has to be exported again.
IDENTITY = {
    "bronze_message": ("message_id",),
    "bronze_event": ("event_key",),
    "bronze_conversion": ("kind", "order_id", "refund_id"),
}


class Build:
    """One run's work on top of a manifest; `manifest` grows with every step and nothing is visible until it is head."""

    def __init__(self, settings: Settings, head: Manifest, run_id: str) -> None:
        self.lake_dir = settings.lake_dir
        self.run_id = run_id
        self.manifest = head
        self.rebuilt: list[str] = []
        self._new: dict[str, set[str]] = {table: set() for table in BRONZE}  # partitions with new rows
        self._rebuild_all = head.schema != SCHEMA
        self._written = 0
        self._db: DuckDBPyConnection = connect(self.lake_dir / "tmp" / run_id / "spill")
        set_run(self._db, settings, as_of=END_OF_TIME, now=END_OF_TIME)

    def close(self) -> None:
        self._db.close()

    def append_bronze(self, window: Extraction) -> None:
        """Write the window's rows as new files of their partitions; rows exported before are left out."""
        for name, table in BRONZE.items():
            self._db.read_parquet([str(window.files[name])]).create_view("arrived", replace=True)
            if window.replayed:
                self._leave_out_known(table)
            assert table.partition is not None
            days = self._db.sql(f"SELECT DISTINCT {table.partition}::VARCHAR FROM arrived ORDER BY 1").fetchall()  # noqa: S608 - names from our own registry
            for (day,) in days:
                rows = self._db.sql(
                    f"SELECT {', '.join(table.columns)} FROM arrived WHERE {table.partition} = $day::DATE",  # noqa: S608
                    params={"day": day},
                )
                files = [*self.manifest.partition(name, day), self._write(table, day, rows)]
                self.manifest = self.manifest.with_files(name, day, files)
                self._new[name].add(day)
                if len(files) > COMPACT_ABOVE:
                    self._compact(table, day)

    def replace_dimensions(self, window: Extraction) -> None:
        """Put the small tables in place whole, when their rows changed."""
        for name, table in DIMENSION_TABLES.items():
            file = self._write(table, WHOLE, self._db.read_parquet([str(window.files[name])]))
            if [known.sha256 for known in self.manifest.partition(name, WHOLE)] == [file.sha256]:
                (self.lake_dir / file.path).unlink()
            else:
                self.manifest = self.manifest.with_files(name, WHOLE, [file])

    def fold_touched(self) -> None:
        """Rebuild the messages' latest state in every partition with new messages or facts."""
        touched = self._new[MESSAGE.name] | self._new[EVENT.name]
        if self._rebuild_all:
            touched |= set(self.manifest.tables.get(MESSAGE.name, {}))
        for day in sorted(touched):
            self._fold(day)
        self.rebuilt = sorted(touched)

    def _fold(self, day: str) -> None:
        view_files(self._db, MESSAGE.name, self._paths(self.manifest.partition(MESSAGE.name, day)))
        view_files(self._db, EVENT.name, self._paths(self.manifest.partition(EVENT.name, day)))
        view_models(self._db, ["stg_message", "stg_event", "fct_event"])
        folded = self._write(FCT_MESSAGE, day, self._db.sql(model_sql(FCT_MESSAGE.name)))
        view_files(self._db, FCT_MESSAGE.name, self._paths([folded]))
        self._assert_conservation(day)
        self.manifest = self.manifest.with_files(FCT_MESSAGE.name, day, [folded])
        touches = self._write(FCT_TOUCH, day, self._db.sql(model_sql(FCT_TOUCH.name)))
        self.manifest = self.manifest.with_files(FCT_TOUCH.name, day, [touches] if touches.rows else [])

    def _assert_conservation(self, day: str) -> None:
        """Every message is in exactly one of the places it can be, and the sets lie inside one another."""
        wrong = self._db.sql(model_sql("check_conservation")).fetchall()
        if wrong:
            raise LakeError(f"conservation is broken in {day}: {wrong[0]}")

    def attribute_touched(self, window: Extraction) -> None:
        """Credit anew the days of orders whose contact, refund or own row is in the window."""
        conversions = self._paths(self.manifest.files(CONVERSION.name))
        if not conversions:
            return
        view_files(self._db, "every_conversion", conversions)
        days = self._days_to_credit(window)
        if not days:
            return
        self._db.execute("CREATE TABLE credited_day AS SELECT unnest($days::DATE[]) AS day", {"days": days})
        self._db.execute(
            "CREATE VIEW bronze_conversion AS SELECT * FROM every_conversion WHERE order_id IN ("
            "SELECT order_id FROM every_conversion WHERE kind = 'order' AND converted_on IN (FROM credited_day))"
        )
        view_models(self._db, ["stg_conversion"])
        reach = timedelta(days=LONGEST_REACH_DAYS)
        self._view_touches(datetime.combine(days[0], time(), UTC) - reach, datetime.combine(days[-1], time.max, UTC))
        self._db.execute(f"CREATE TABLE credited AS {model_sql(FCT_ATTRIBUTION.name)}")
        self._assert_credit()
        for day in days:
            rows = self._db.sql("SELECT * FROM credited WHERE converted_on = $day", params={"day": day})
            file = self._write(FCT_ATTRIBUTION, day.isoformat(), rows)
            self.manifest = self.manifest.with_files(FCT_ATTRIBUTION.name, day.isoformat(), [file])

    def _days_to_credit(self, window: Extraction) -> list[date]:
        """UTC days of the orders that news can change: their contact has a new fact, or they or a refund are new.

        No touch is older than its message, so earlier orders stay as they are; a day allows for clocks that differ.
        """
        if self._rebuild_all:
            query = "SELECT DISTINCT converted_on FROM every_conversion WHERE kind = 'order' ORDER BY 1"
            return [day for (day,) in self._db.sql(query).fetchall()]
        self._db.read_parquet([str(window.files[EVENT.name])]).create_view("arrived_event", replace=True)
        self._db.read_parquet([str(window.files[CONVERSION.name])]).create_view("arrived_conversion", replace=True)
        messages = [
            file for day in sorted(self._new[EVENT.name]) for file in self.manifest.partition(MESSAGE.name, day)
        ]
        view_files(self._db, MESSAGE.name, self._paths(messages))
        return [
            day
            for (day,) in self._db.sql(
                "WITH news AS (SELECT contact_id, min(queued_at) - INTERVAL 1 DAY AS since FROM bronze_message"
                " WHERE message_id IN (SELECT message_id FROM arrived_event) GROUP BY contact_id)"
                " SELECT DISTINCT o.converted_on FROM every_conversion AS o"
                " LEFT JOIN news AS n ON n.contact_id = o.contact_id"
                " WHERE o.kind = 'order' AND (o.order_id IN (SELECT order_id FROM arrived_conversion)"
                " OR o.occurred_at >= n.since) ORDER BY 1"
            ).fetchall()
        ]

    def _view_touches(self, since: datetime, until: datetime) -> None:
        """Make `fct_touch` the files that may hold a touch in [since, until]."""
        files = [
            file
            for file in self.manifest.files(FCT_TOUCH.name)
            if file.min is not None
            and file.max is not None
            and datetime.fromisoformat(file.max) >= since
            and datetime.fromisoformat(file.min) <= until
        ]
        if files:
            view_files(self._db, FCT_TOUCH.name, self._paths(files))
            return
        for table in (MESSAGE, EVENT):  # no touch at all: the model over nothing has the right types
            view_files(self._db, table.name, [])
        view_models(self._db, ["stg_message", "stg_event", "fct_event", FCT_MESSAGE.name, FCT_TOUCH.name])

    def _assert_credit(self) -> None:
        wrong = self._db.sql(model_sql("check_credit")).fetchall()
        if wrong:
            raise LakeError(f"credit does not add up: {wrong[0]}")

    def _leave_out_known(self, table: Table) -> None:
        """Drop from `arrived` what bronze already has."""
        view_files(self._db, "known", self._paths(self.manifest.files(table.name)))
        same = " AND ".join(f"k.{column} IS NOT DISTINCT FROM a.{column}" for column in IDENTITY[table.name])
        self._db.execute(
            f"CREATE OR REPLACE TABLE unknown AS SELECT * FROM arrived AS a"  # noqa: S608 - names from our own registry
            f" WHERE NOT EXISTS (SELECT 1 FROM known AS k WHERE {same})"
        )
        self._db.table("unknown").create_view("arrived", replace=True)

    def _compact(self, table: Table, day: str) -> None:
        """Merge a partition's files into one; its rows stay the same."""
        rows = self._db.read_parquet(self._names(self.manifest.partition(table.name, day)))
        self.manifest = self.manifest.with_files(table.name, day, [self._write(table, day, rows)])

    def _write(self, table: Table, partition: str, rows: "DuckDBPyRelation") -> File:
        """Sort the rows into one new immutable file."""
        path = f"{table.folder_of(partition)}/{self.run_id}-{self._written}.parquet"
        self._written += 1
        target = self.lake_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Through a table: what the planner knows of a column would otherwise show in the file's bytes.
        self._db.execute("DROP TABLE IF EXISTS staged")
        rows.create("staged")
        self._db.table("staged").order(", ".join(table.sort)).write_parquet(str(target), compression="zstd")
        span = f"min({table.instant}), max({table.instant})" if table.instant else "NULL, NULL"
        count, low, high = self._db.read_parquet([str(target)]).aggregate(f"count(*), {span}").fetchall()[0]
        return File(
            path=path,
            rows=count,
            bytes=target.stat().st_size,
            sha256=sha256_of(target),
            min=low.isoformat() if low else None,
            max=high.isoformat() if high else None,
        )

    def _paths(self, files: Sequence[File]) -> list[Path]:
        return [self.lake_dir / file.path for file in files]

    def _names(self, files: Sequence[File]) -> list[str]:
        return [str(path) for path in self._paths(files)]
