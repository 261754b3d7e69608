"""Importing: a file read to its end, then recorded in chunks, resumed where it stopped; and taking an import back."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from core import queue
from core.clock import utc_now
from core.consent.registry import load_registry
from core.errors import RuleViolation
from core.models import Import
from core.queue import transaction
from core.services import attributes, imports, imports_approval, imports_ending
from core.services.imports_columns import Options
from core.services.imports_reading import Reading, read
from core.services.imports_recording import CHUNK, Check, Desk
from core.statuses import ImportStatus
from worker.chunks import Chunk, Recorder
from worker.parts import Parts

log = structlog.get_logger()

LOOK_S = 0.5  # while a file is read: how often its progress is written down
GIVE_WAY = "500ms"  # below the second after which PostgreSQL ends one of two that wait for each other
IN_THE_WAY = frozenset({"55P03", "40P01"})  # the lock was not to be had in time, or two waited for each other


async def run_import(ctx: dict[str, Any], import_id: str) -> int:
    """Work a file to its end; returns the rows done. Does nothing when another worker has it, or it is done."""
    parts: Parts = ctx["parts"]
    async with imports.turn(parts.sessions) as mine:  # one import at a time: two files may have the same people
        job = await _waiting(parts, UUID(import_id)) if mine else None
        if job is None:
            return 0
        if job.status is ImportStatus.UNDOING:
            return await _undo(parts, job.id)
        try:
            done = await _work(parts, job)
        except (RuleViolation, OSError, ValueError, ArithmeticError, DBAPIError) as broken:
            done = await _done(parts, job.id)
            reason = _reason(broken, done)
            if reason is None:
                raise
            log.warning("import.failed", import_id=import_id, rows=done, error=type(broken).__name__)
            await _finish(parts, job.id, ImportStatus.FAILED, reason)
        return done


async def _waiting(parts: Parts, import_id: UUID) -> Import | None:
    open_ones = (ImportStatus.WAITING, ImportStatus.RUNNING, ImportStatus.UNDOING)
    async with parts.sessions() as session:
        job = await session.get(Import, import_id)
    return job if job is not None and job.status in open_ones else None


def _reason(broken: Exception, done: int) -> str | None:
    """Why the file cannot be imported; None when the file is not to blame, and the import goes on later."""
    if isinstance(broken, RuleViolation):
        return broken.message
    if isinstance(broken, DBAPIError) and not str(getattr(broken.orig, "sqlstate", "")).startswith("22"):
        return None
    if isinstance(broken, OSError):
        return "the uploaded file is gone" if isinstance(broken, FileNotFoundError) else None
    return f"after {done} rows a value could not be stored: look for impossible dates or strange characters"


async def _work(parts: Parts, job: Import) -> int:
    # A check that was interrupted begins again: it remembers whom the file opts out.
    if not await _begin(parts, job.id, again=job.dry_run):
        return job.rows_done
    done = 0 if job.dry_run else job.rows_done
    options = imports.options_of(job)
    with await _read(parts, job, options) as reading:
        job = await _note(parts, job.id, reading)
        check = Check(records_outs=job.outs_recorded) if job.dry_run else None
        desk = Desk(options, parts.keyring, parts.settings, check, job.outs_recorded)
        chunks = reading.chunks(CHUNK, done=done)
        recorder = Recorder(parts, job, desk)
        async with aclosing(_ahead(chunks)) as following:
            going_on = await recorder.record_all(following)
        done += recorder.rows
        if not going_on:
            return done
        if job.dry_run:
            await _checked(parts, job.id, reading)
    if not job.dry_run:
        await _finish(parts, job.id, ImportStatus.DONE, None)
    log.info("import.done", import_id=str(job.id), rows=done, checked_only=job.dry_run)
    return done


async def _ahead(chunks: Iterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    """The chunks, each decoded in a thread while the one before it is recorded."""
    following = asyncio.create_task(asyncio.to_thread(next, chunks, None))
    try:
        while chunk := await following:
            following = asyncio.create_task(asyncio.to_thread(next, chunks, None))
            yield chunk
    finally:
        await asyncio.wait({following})  # a thread cannot be stopped, and the file is closed next


async def _read(parts: Parts, job: Import, options: Options) -> Reading:
    async with parts.sessions() as session:
        purposes = frozenset((await load_registry(session)).purposes)
        kinds = await attributes.definitions(session)
    so_far = 0

    def heard(rows: int) -> None:
        nonlocal so_far
        so_far = rows

    # However late a file is read again, it says the same: what was in the future when it came is no consent later.
    facts: dict[str, Any] = {"purposes": purposes, "kinds": kinds, "now": job.created_at, "progress": heard}
    reading = asyncio.create_task(asyncio.to_thread(_read_unchanged, Path(job.path), job.sha256, options, facts))
    while not (await asyncio.wait({reading}, timeout=LOOK_S))[0]:
        async with parts.sessions.begin() as session:
            (await imports.get(session, job.id, lock=True)).rows_read = so_far
    return await reading


def _read_unchanged(path: Path, sha256: str, options: Options, facts: dict[str, Any]) -> Reading:
    """Read what was uploaded, and nothing that was put in its place: that was neither vouched for nor approved."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise RuleViolation("the uploaded file was changed on the server: upload it again")
    return read(path, options, **facts)


async def _begin(parts: Parts, import_id: UUID, *, again: bool) -> bool:
    """Whether it may begin: a pause or an end may have come first."""
    async with parts.sessions.begin() as session:
        job = await imports.get(session, import_id, lock=True)
        if job.status not in (ImportStatus.WAITING, ImportStatus.RUNNING):
            return False
        if again:
            await imports.forget_rows(session, job)
        job.status = ImportStatus.RUNNING
        return True


async def _note(parts: Parts, import_id: UUID, reading: Reading) -> Import:
    """Write down what the file holds; the import as it goes on, which may be a check only."""
    async with parts.sessions.begin() as session:
        job = await imports.get(session, import_id, lock=True)
        job.rows_total = job.rows_read = reading.rows
        claimed = None if job.claims is None else job.claims["opt_ins"]
        seen = {name: many for name, many in (job.claims or {}).items() if name == imports_approval.SEEN}
        job.notes, job.claims = (
            dict(sorted(reading.notes.items())),
            {
                **reading.claims.shown(),
                **seen,
                **await imports_approval.besides(session, job),
            },
        )
        await imports.hold_back(session, job, parts.settings, claimed=claimed)
    return job


async def _checked(parts: Parts, import_id: UUID, reading: Reading) -> None:
    """End a check, with a sample of its opt-ins kept for whoever may have to look at their proof."""
    async with parts.sessions() as session:
        numbers = await imports_approval.draw(session, await imports.get(session, import_id))
    rows = await asyncio.to_thread(reading.pick, numbers)
    async with parts.sessions.begin() as session:
        job = await imports.get(session, import_id, lock=True)
        if job.status is ImportStatus.RUNNING:
            await imports_approval.keep(session, job, rows)
            imports.end_check(job, parts.settings, now=utc_now())


async def _done(parts: Parts, import_id: UUID) -> int:
    async with parts.sessions() as session:
        return (await imports.get(session, import_id)).rows_done


async def _finish(parts: Parts, import_id: UUID, status: ImportStatus, error: str | None) -> None:
    async with parts.sessions.begin() as session:
        job = await imports.get(session, import_id, lock=True)
        if job.status is ImportStatus.RUNNING:  # whoever cancelled it meanwhile is right
            await imports_ending.finish(session, job, status, error=error, keyring=parts.keyring, now=utc_now())


async def _undo(parts: Parts, import_id: UUID) -> int:
    """Take an import back, some people at a time; returns how many steps it took.

    Deleting people locks what belongs to them before themselves, the other way round than everybody else does: so it
    is the one that gives way, before the database would choose between it and somebody's withdrawal.
    """
    steps = 0
    while True:
        try:
            async with parts.sessions.begin() as session:
                await session.execute(text(f"SET LOCAL lock_timeout = '{GIVE_WAY}'"))
                job = await imports.get(session, import_id, lock=True)
                if not await imports.undo_some(session, job):
                    job.status = ImportStatus.UNDONE
                    log.info("import.undone", import_id=str(import_id), **(job.undone or {}))
                    return steps
            steps += 1
        except DBAPIError as busy:
            if getattr(busy.orig, "sqlstate", None) not in IN_THE_WAY:
                raise
            await asyncio.sleep(LOOK_S)


async def ring_imports(ctx: dict[str, Any]) -> None:
    """The sweep: ring for imports that wait, or whose worker died."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        open_ones = Import.status.in_([ImportStatus.WAITING, ImportStatus.RUNNING, ImportStatus.UNDOING])
        for import_id in await session.scalars(select(Import.id).where(open_ones).order_by(Import.id)):
            queue.ring_after_commit(session, queue.RUN_IMPORT, import_id)
