"""Bring the lake up to date: one window of transactions in, touched partitions rebuilt, the head swapped.

 1 locked       one refresh at a time, by an advisory lock; the head is read
 2 extracted    the window [lo, hi) is in tmp/<run id>; nothing new: stop
 3 bronze       new rows appended as new files of their partitions; many small files merged
 4 silver       every touched partition folded anew from its bronze, conservation asserted
 5 attributed   the days of orders whose contacts have news, credited anew
 6 committed    the new manifest is the head: a compare-and-set in PostgreSQL
 7 published    manifest/<version>.json written
 8 collected    files no recent manifest names removed

Killed at any step, nothing or everything has happened: files become visible with the head, and files of a run that
never got there are removed later. Repeating a window changes nothing, because the fold is idempotent per event key.
"""

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from analytics.build import Build
from analytics.collect import collect
from analytics.extract import Extraction, extract
from analytics.manifest import LakeError, Manifest, confirm_head, read_head, swap_head, write_manifest
from analytics.postgres import connect_application
from analytics.tables import SCHEMA
from core.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

log = logging.getLogger(__name__)

LOCK = 0x6B616972616E  # "kairan": the advisory lock of the lake
TRIES = 5  # lost compare-and-sets in a row before giving up


@dataclass(frozen=True)
class RefreshResult:
    """What a refresh did. `version` is the head's, `rows` came from PostgreSQL, `partitions` were rebuilt."""

    version: int
    rows: int
    partitions: list[str]
    seconds: float
    changed: bool


def refresh(settings: Settings, *, after: Callable[[str], None] | None = None) -> RefreshResult:
    """Take in everything committed so far; waits for a refresh under way, then usually finds nothing new.

    `after` is called with the name of each step when it is done. Raises LakeError when the lake contradicts itself
    or a lock cannot be had in five minutes.
    """
    started = time.monotonic()
    note = after or _nothing
    with closing(connect_application(settings)) as connection:
        _lock(connection)
        for _ in range(TRIES):
            done = _attempt(settings, connection, note)
            if done is not None:
                return replace(done, seconds=time.monotonic() - started)
            log.warning("lake.head_moved: another refresh was faster, starting again")
    raise LakeError(f"the lake's head moved {TRIES} times while it was being refreshed")


def _attempt(settings: Settings, connection: "Connection", note: Callable[[str], None]) -> RefreshResult | None:
    """One run; None when the compare-and-set was lost."""
    head, _ = read_head(connection)
    if head.version:
        write_manifest(settings.lake_dir, head)  # a run killed after its commit left it out
    note("locked")
    run_id = uuid4().hex
    staging = settings.lake_dir / "tmp" / run_id
    try:
        window = extract(settings, head.watermarks, staging)
        note("extracted")
        with closing(Build(settings, head, run_id)) as build:
            manifest = _build(build, head, window, note)
        if manifest is None:
            confirm_head(connection, head.version)
            return RefreshResult(head.version, 0, [], 0.0, changed=False)
        if not swap_head(connection, manifest):
            return None
        note("committed")
        write_manifest(settings.lake_dir, manifest)
        note("published")
        collect(settings)
        note("collected")
        return RefreshResult(manifest.version, sum(window.rows.values()), build.rebuilt, 0.0, changed=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _build(build: Build, head: Manifest, window: Extraction, note: Callable[[str], None]) -> Manifest | None:
    """The manifest that follows `head`; None when nothing is new."""
    build.append_bronze(window)
    note("bronze")
    build.replace_dimensions(window)
    build.fold_touched()
    note("silver")
    build.attribute_touched(window)
    note("attributed")
    if build.manifest.tables == head.tables and head.version and head.schema == SCHEMA:
        return None
    return replace(
        build.manifest,
        version=head.version + 1,
        parent=head.version or None,
        run_id=build.run_id,
        schema=SCHEMA,
        as_of=window.as_of.isoformat(),
        watermarks={t: {"epoch": epoch, "hi_xid": str(window.hi)} for t, epoch in window.epochs.items()},
    )


def _lock(connection: "Connection") -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock($1)::text", (LOCK,))
        cursor.fetchone()


def _nothing(_: str) -> None:
    """No one is watching the steps."""
