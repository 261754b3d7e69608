"""The lake as readers see it: one version, explicit files, locked down; `refresh` makes the next version."""

import threading
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from analytics.engine import END_OF_TIME, connect, set_run, view_lake
from analytics.manifest import LakeError, Manifest, read_head, read_head_version, read_version
from analytics.postgres import connect_reader
from analytics.refresh import RefreshResult, refresh
from analytics.tables import TABLES
from core.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Lake", "LakeError", "RefreshResult", "head_version", "open_lake", "refresh"]

KEPT_CUTS = 4  # views of the past a lake keeps open


class Lake:
    """One version of the lake in an in-memory DuckDB that reads its files and nothing else.

    `as_of` is the instant up to which it knows everything; `checked_at` when it was last found complete. May be
    used from several threads: every query has its own cursor.
    """

    def __init__(
        self, settings: Settings, manifest: Manifest, *, checked_at: datetime | None, cut: datetime | None = None
    ) -> None:
        self.version = manifest.version
        self.checked_at = checked_at
        self.as_of = cut or manifest.as_of_instant()
        self._settings = settings
        self._manifest = manifest
        self._cuts: dict[datetime, Lake] = {}
        self._guard = threading.Lock()
        self._db = _open(settings, manifest, cut)

    def frame(self, sql: str, parameters: dict[str, object] | None = None) -> pl.DataFrame:
        """The rows of one query; values only through `$name` parameters."""
        cursor = self._db.cursor()
        try:
            frame: pl.DataFrame = cursor.sql(sql, params=parameters or {}).pl()
            return frame
        finally:
            cursor.close()

    def at(self, as_of: datetime | None) -> "Lake":
        """The same version cut off at `as_of` (aware): only what was received until then; null is no cut.

        Computed from bronze, so it costs a fold per query; the same cut of the same version gives the same numbers.
        """
        if as_of is None:
            return self
        if as_of.tzinfo is None:
            raise ValueError("as_of needs a time zone")
        instant = as_of.astimezone(UTC)
        with self._guard:
            if instant not in self._cuts:
                if len(self._cuts) >= KEPT_CUTS:
                    self._cuts.pop(next(iter(self._cuts)))
                self._cuts[instant] = Lake(self._settings, self._manifest, checked_at=self.checked_at, cut=instant)
            return self._cuts[instant]

    def close(self) -> None:
        for cut in self._cuts.values():
            cut.close()
        self._db.close()


def open_lake(settings: Settings, *, version: int | None = None) -> Lake:
    """The current version, or an older one that is still kept; raises LakeError when it is not.

    Without any refresh so far it is empty: every query works and finds nothing.
    """
    if version is not None:
        return Lake(settings, read_version(settings, version), checked_at=None)
    with closing(connect_reader(settings)) as connection:
        manifest, checked_at = read_head(connection)
    return Lake(settings, manifest, checked_at=checked_at)


def head_version(settings: Settings) -> int:
    """The current version, cheaply; 0 before the first refresh. What caches are keyed by."""
    with closing(connect_reader(settings)) as connection:
        return read_head_version(connection)


def _open(settings: Settings, manifest: Manifest, cut: datetime | None) -> "DuckDBPyConnection":
    lake_dir = settings.lake_dir.resolve()
    connection = connect(lake_dir / "tmp" / "spill")
    now = cut or manifest.as_of_instant()
    set_run(connection, settings, as_of=cut or END_OF_TIME, now=now)
    files = {table: [lake_dir / file.path for file in manifest.files(table)] for table in TABLES}
    view_lake(connection, files, folded=cut is None)
    connection.execute("SET allowed_directories = $folders", {"folders": [str(lake_dir)]})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
