"""The manifest: the complete list of the lake's live files, and how far PostgreSQL has been read.

It is kept twice: in `lake_head`, where one compare-and-set makes it current, and as `manifest/<version>.json`, so that
the lake can be read without PostgreSQL and older versions stay readable until they are collected.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from core.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

LAKE = "main"


class LakeError(Exception):
    """The lake is not as it must be; the message says what to look at."""


@dataclass(frozen=True)
class File:
    """One immutable Parquet file; `path` is relative to the lake, `min` and `max` are ISO instants or null."""

    path: str
    rows: int
    bytes: int
    sha256: str
    min: str | None
    max: str | None


@dataclass(frozen=True)
class Manifest:
    """One version of the lake. `tables` maps table → partition → files; `as_of` is when PostgreSQL was read."""

    version: int = 0
    parent: int | None = None
    run_id: str = ""
    schema: int = 0
    as_of: str | None = None
    watermarks: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: dict[str, dict[str, list[File]]] = field(default_factory=dict)

    def files(self, table: str) -> list[File]:
        """Every live file of a table, in order of partition."""
        partitions = self.tables.get(table, {})
        return [file for partition in sorted(partitions) for file in partitions[partition]]

    def partition(self, table: str, partition: str) -> list[File]:
        return self.tables.get(table, {}).get(partition, [])

    def with_files(self, table: str, partition: str, files: list[File]) -> "Manifest":
        """The same lake with one partition's list of files replaced."""
        partitions = self.tables.get(table, {}) | {partition: files}
        return replace(self, tables=self.tables | {table: partitions})

    def as_of_instant(self) -> datetime:
        """When PostgreSQL was read; the beginning of time for a lake that never was."""
        return datetime.fromisoformat(self.as_of) if self.as_of else datetime(1970, 1, 1, tzinfo=UTC)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        raw = json.loads(text)
        tables = {
            table: {partition: [File(**file) for file in files] for partition, files in partitions.items()}
            for table, partitions in raw.pop("tables").items()
        }
        return cls(**raw, tables=tables)


def manifest_path(lake_dir: Path, version: int) -> Path:
    return lake_dir / "manifest" / f"{version:08d}.json"


def read_head(connection: "Connection") -> tuple[Manifest, datetime | None]:
    """The current manifest and when it was last found complete; an empty one when no refresh ever ran."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT manifest::text, updated_at FROM lake_head WHERE lake = $1", (LAKE,))
        row = cursor.fetchone()
    return (Manifest.from_json(row[0]), row[1]) if row else (Manifest(), None)


def read_head_version(connection: "Connection") -> int:
    """The current version; 0 when no refresh ever ran."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT version FROM lake_head WHERE lake = $1", (LAKE,))
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def read_version(settings: Settings, version: int) -> Manifest:
    """An older manifest from its file; raises LakeError when it was collected or never was."""
    try:
        return Manifest.from_json(manifest_path(settings.lake_dir, version).read_text())
    except FileNotFoundError as gone:
        raise LakeError(f"the lake has no version {version}: it was collected, or never was") from gone


def swap_head(connection: "Connection", manifest: Manifest) -> bool:
    """Make `manifest` current if its parent still is; False when somebody else was faster."""
    if manifest.parent:
        statement = (
            "UPDATE lake_head SET version = $1, manifest = $2::text::jsonb, updated_at = now()"
            " WHERE lake = $3 AND version = $4 RETURNING version"
        )
        values: tuple[object, ...] = (manifest.version, manifest.to_json(), LAKE, manifest.parent)
    else:
        statement = (
            "INSERT INTO lake_head (lake, version, manifest) VALUES ($3, $1, $2::text::jsonb)"
            " ON CONFLICT (lake) DO NOTHING RETURNING version"
        )
        values = (manifest.version, manifest.to_json(), LAKE)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone() is not None


def confirm_head(connection: "Connection", version: int) -> None:
    """Note that the head was found complete just now, though nothing was new."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lake_head SET updated_at = now() WHERE lake = $1 AND version = $2", (LAKE, version))


def write_manifest(lake_dir: Path, manifest: Manifest) -> None:
    """Write `manifest/<version>.json` if it is not there; a reader sees the whole file or none."""
    path = manifest_path(lake_dir, manifest.version)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("w") as handle:
        handle.write(manifest.to_json())
        handle.flush()
        os.fsync(handle.fileno())
    unfinished.replace(path)


def sha256_of(path: Path) -> str:
    """The file's hash, once its bytes are on the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
        return hashlib.file_digest(handle, "sha256").hexdigest()
