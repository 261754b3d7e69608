"""Importing: a file in chunks, resumed where it stopped."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError

from core import queue
from core.clock import utc_now
from core.errors import RuleViolation
from core.models import Import
from core.queue import transaction
from core.services import imports
from core.services.imports import Options, Reader
from core.statuses import WorkStatus
from worker.parts import Parts

log = structlog.get_logger()

TRIES = 3  # of a chunk in which somebody else made the same contact at the same moment


async def run_import(ctx: dict[str, Any], import_id: str) -> int:
    """Work a file to its end; returns the rows done. Does nothing when another worker has it, or it is done."""
    parts: Parts = ctx["parts"]
    async with imports.turn(parts.sessions) as mine:  # one import at a time: two files may have the same people
        job = await _waiting(parts, UUID(import_id)) if mine else None
        if job is None:
            return 0
        path, options, done = Path(job.path), Options.of(job), job.rows_done
        try:
            reader = await asyncio.to_thread(_open, path, options, done)
            await _begin(parts, job.id, await asyncio.to_thread(imports.count_rows, path, options))
            while rows := await asyncio.to_thread(reader.chunk):
                await _chunk(parts, job.id, rows, reader)
                done += len(rows)
        except (RuleViolation, OSError, ValueError, ArithmeticError, DBAPIError) as broken:
            reason = _reason(broken, done)
            if reason is None:
                raise
            log.warning("import.failed", import_id=import_id, rows=done, error=type(broken).__name__)
            await _finish(parts, job.id, WorkStatus.FAILED, reason)
            return done
        await _finish(parts, job.id, WorkStatus.DONE, None)
        log.info("import.done", import_id=import_id, rows=done)
        return done


async def _waiting(parts: Parts, import_id: UUID) -> Import | None:
    async with parts.sessions() as session:
        job = await session.get(Import, import_id)
    return job if job is not None and job.status in (WorkStatus.WAITING, WorkStatus.RUNNING) else None


def _reason(broken: Exception, done: int) -> str | None:
    """Why the file cannot be imported; None when the file is not to blame, and the import goes on later."""
    if isinstance(broken, RuleViolation):
        return broken.message
    if isinstance(broken, DBAPIError) and not str(getattr(broken.orig, "sqlstate", "")).startswith("22"):
        return None
    if isinstance(broken, OSError):
        return "the uploaded file is gone" if isinstance(broken, FileNotFoundError) else None
    return f"after {done} rows a value could not be stored: look for impossible dates or strange characters"


def _open(path: Path, options: Options, done: int) -> Reader:
    return Reader(path, options, done)


async def _begin(parts: Parts, import_id: UUID, rows: int) -> None:
    async with parts.sessions.begin() as session:
        job = await imports.get(session, import_id, lock=True)
        job.status, job.rows_total = WorkStatus.RUNNING, rows


async def _chunk(parts: Parts, import_id: UUID, rows: list[imports.Row], reader: Reader) -> None:
    seen = set(reader.seen)
    for attempt in range(1, TRIES + 1):
        try:
            async with parts.sessions.begin() as session:
                job = await imports.get(session, import_id, lock=True)
                await imports.work_chunk(
                    session, job, rows, reader, keyring=parts.keyring, settings=parts.settings, now=utc_now()
                )
            return
        except IntegrityError:
            if attempt == TRIES:
                raise
            reader.seen = set(seen)


async def _finish(parts: Parts, import_id: UUID, status: WorkStatus, error: str | None) -> None:
    async with parts.sessions.begin() as session:
        job = await imports.get(session, import_id, lock=True)
        job.status, job.error, job.finished_at = status, error, utc_now()


async def ring_imports(ctx: dict[str, Any]) -> None:
    """The sweep: ring for imports that wait, or whose worker died."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        open_ones = Import.status.in_([WorkStatus.WAITING, WorkStatus.RUNNING])
        for import_id in await session.scalars(select(Import.id).where(open_ones).order_by(Import.id)):
            queue.ring_after_commit(session, queue.RUN_IMPORT, import_id)
