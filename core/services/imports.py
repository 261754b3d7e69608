"""Imports as work that is followed and steered: taken in, checked, paused, cancelled, taken back.

A file is read to its end, then recorded in chunks. Every chunk is one transaction that also moves the pointer, so a
crash resumes where it stopped and no row counts twice.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.consent import gate
from core.consent.imports import ImportOutcome
from core.db import Sessions
from core.errors import Conflict, NotFound, RuleViolation
from core.keys import Keyring
from core.models import Import, ImportRow
from core.services import audiences, imports_approval, imports_ending, invalidations
from core.services.imports_approval import Need
from core.services.imports_columns import HEADERS, Options
from core.services.imports_rows import ZONE_FIELD
from core.services.paging import Page, page
from core.services.people import Actor
from core.settings import Settings
from core.statuses import AudienceKind, ImportStatus, InvalidationKind

TAKEN_BACK_FOR = timedelta(days=7)
BRINGS_CONSENT = (ImportOutcome.ACCEPTED, ImportOutcome.EXPIRED_ON_ARRIVAL)
UNDONE = "The import was undone"
FINISHED = (ImportStatus.DONE, ImportStatus.FAILED, ImportStatus.CANCELLED)
_AT_WORK = (ImportStatus.WAITING, ImportStatus.RUNNING)


def options_of(job: Import) -> Options:
    return msgspec.convert(job.options, Options)


async def add(
    session: AsyncSession,
    *,
    import_id: UUID,
    path: Path,
    filename: str,
    sha256: str,
    options: Options,
    audience_name: str | None,
    dry_run: bool,
    created_by: UUID | None,
    attestation: dict[str, Any] | None,
) -> Import:
    """Take a file in; a worker reads it. A check makes no list yet: it waits for `confirm`.

    Without an attestation a file with opt-ins ends checked, and waits for one.
    """
    if audience_name and not dry_run:
        options = await _with_list(session, options, audience_name, created_by)
    job = Import(
        id=import_id,
        filename=filename,
        path=str(path),
        sha256=sha256,
        bytes=path.stat().st_size,
        status=ImportStatus.WAITING,
        dry_run=dry_run,
        options=options.stored(),
        audience_name=audience_name if dry_run else None,
        created_by=created_by,
        attestation=attestation,
        wanted=not dry_run,
    )
    session.add(job)
    await session.flush()
    await session.refresh(job)
    queue.ring_after_commit(session, queue.RUN_IMPORT, job.id)
    return job


async def _with_list(session: AsyncSession, options: Options, name: str, created_by: UUID | None) -> Options:
    made = await audiences.add(session, name=name, kind=AudienceKind.STATIC, rule=None, created_by=created_by)
    return msgspec.structs.replace(options, audience_id=made.id)


async def get(session: AsyncSession, import_id: UUID, *, lock: bool = False) -> Import:
    """The import; raises NotFound. The lock lets rows of chunks refer to the import meanwhile."""
    job = await session.get(Import, import_id, with_for_update={"key_share": True} if lock else None)
    if job is None:
        raise NotFound("no such import", import_id=str(import_id))
    return job


async def list_page(
    session: AsyncSession, *, status: ImportStatus | None = None, limit: int, cursor: str | None
) -> Page[Import]:
    """Newest first, all or those of one status."""
    query = select(Import) if status is None else select(Import).where(Import.status == status)
    return await page(session, query, Import.id.expression, limit=limit, cursor=cursor)


async def rows_page(
    session: AsyncSession, import_id: UUID, *, verdict: str | None, limit: int, cursor: str | None
) -> Page[ImportRow]:
    """Rows in the order of the file."""
    await get(session, import_id)
    statement = select(ImportRow).where(ImportRow.import_id == import_id)
    if verdict is not None:
        statement = statement.where(ImportRow.verdict == verdict)
    place = ImportRow.row_number.expression
    return await page(session, statement, place, limit=limit, cursor=cursor, newest_first=False)


@dataclass(frozen=True)
class Why:
    """A reason for which rows of an import were not used as they came: how many, and the first of them."""

    verdict: str
    reason: str | None
    rows: int
    first_row: int


async def reasons(session: AsyncSession, import_id: UUID, *, verdicts: Sequence[str], limit: int) -> list[Why]:
    """The most frequent reasons of rows with these verdicts, the most frequent first."""
    await get(session, import_id)
    said, rows = (ImportRow.verdict, ImportRow.reason), func.count()
    counted = select(*said, rows, func.min(ImportRow.row_number)).group_by(*said)
    wanted = counted.where(ImportRow.import_id == import_id, ImportRow.verdict.in_(verdicts))
    found = await session.execute(wanted.order_by(rows.desc(), *said).limit(limit))
    return [Why(*row) for row in found]


async def columns_of_rejects(session: AsyncSession, import_id: UUID, *, verdicts: Sequence[str]) -> list[str]:
    """Every name under which some rejected row holds something, our fields first."""
    filled = (
        ImportRow.import_id == import_id,
        ImportRow.verdict.in_(verdicts),
        func.jsonb_typeof(ImportRow.raw) == "object",
    )
    names = set(await session.scalars(select(func.jsonb_object_keys(ImportRow.raw)).where(*filled).distinct()))
    return [*(name for name in HEADERS if name in names), *sorted(names - HEADERS.keys() - {ZONE_FIELD})]


async def forget_rows(session: AsyncSession, job: Import) -> None:
    """Drop what a check said about the rows: it begins again, or they are recorded now."""
    await session.execute(delete(ImportRow).where(ImportRow.import_id == job.id))
    job.rows_read, job.rows_done, job.verdicts = 0, 0, {}


async def hold_back(session: AsyncSession, job: Import, settings: Settings, *, claimed: int | None) -> None:
    """Turn an import into a check when its consents may not be recorded yet; called once its file was read.

    What the file says of people who do not want to be written to counts at once, whatever becomes of the rest. An
    approval is of what was there to see: when there are more opt-ins than were `claimed` before, since a purpose exists
    now, it counts no more. Raises RuleViolation where a part of such a file was recorded already.
    """
    has_more = claimed is not None and (job.claims or {}).get("opt_ins", 0) > claimed
    if has_more and job.approved_at is not None:
        job.approved_by = job.approved_at = None
        job.claims = {name: said for name, said in (job.claims or {}).items() if name != imports_approval.SEEN}
    if has_more and not job.dry_run and job.rows_done and imports_approval.need(job, settings) is not None:
        raise RuleViolation("the file has more opt-ins than when its import began: upload it again")
    if job.dry_run or job.rows_done == 0:
        may_not = imports_approval.need(job, settings) is not None
        job.dry_run = job.dry_run or may_not
        has_outs = bool(job.claims and job.claims["opt_outs"])
        job.outs_recorded = job.outs_recorded or (job.wanted and may_not and has_outs)


def end_check(job: Import, settings: Settings, *, now: datetime) -> None:
    """Every row has its verdict: what was asked for by somebody who vouches waits for the second person."""
    asks_approval = job.wanted and imports_approval.need(job, settings) is Need.APPROVAL
    job.status = ImportStatus.AWAITING if asks_approval else ImportStatus.CHECKED
    job.finished_at = now


async def confirm(
    session: AsyncSession, import_id: UUID, *, attestation: dict[str, Any] | None, settings: Settings
) -> Import:
    """Import for real what was checked, once a second person agrees where there are many opt-ins.

    Raises Conflict for anything else, RuleViolation when there are opt-ins and nobody vouches for them.
    """
    job = await _in(session, import_id, (ImportStatus.CHECKED,), "only an import that was checked can be confirmed")
    job.attestation = imports_approval.vouched(job.attestation, attestation)
    lacking = imports_approval.need(job, settings)
    if lacking is Need.ATTESTATION:
        raise RuleViolation(
            f"the file has {job.claims['opt_ins'] if job.claims else 0:,} opt-ins: read the statement "
            "(GET /api/imports/statement) and say with attestation.role that you make it",
            field="attestation",
        )
    job.wanted = True
    if lacking is Need.APPROVAL and job.claims and job.claims["opt_outs"] and not job.outs_recorded:
        _again(session, job)  # its opt-outs count now
    elif lacking is Need.APPROVAL:
        job.status = ImportStatus.AWAITING
    else:
        await _record(session, job)
    return job


async def approve(session: AsyncSession, import_id: UUID, *, actor: Actor, now: datetime) -> Import:
    """The second person lets an import be recorded; raises as `imports_approval.approve` does."""
    job = await get(session, import_id, lock=True)
    await imports_approval.approve(session, job, actor=actor, now=now)
    await _record(session, job)
    return job


async def _record(session: AsyncSession, job: Import) -> None:
    """From a check to the import itself: its rows are worked once more, and written now."""
    await forget_rows(session, job)
    if job.audience_name:
        options = await _with_list(session, options_of(job), job.audience_name, job.created_by)
        job.options, job.audience_name = options.stored(), None
    job.dry_run = False
    _again(session, job)


def _again(session: AsyncSession, job: Import) -> None:
    job.status, job.finished_at = ImportStatus.WAITING, None
    queue.ring_after_commit(session, queue.RUN_IMPORT, job.id)


async def pause(session: AsyncSession, import_id: UUID) -> Import:
    """Stop after the chunk in hand; raises Conflict unless it waits or runs."""
    job = await _in(session, import_id, _AT_WORK, "only a running import can be paused")
    job.status = ImportStatus.PAUSED
    return job


async def resume(session: AsyncSession, import_id: UUID) -> Import:
    """Go on where it was paused; raises Conflict unless it is."""
    job = await _in(session, import_id, (ImportStatus.PAUSED,), "only a paused import can be resumed")
    job.status = ImportStatus.WAITING
    queue.ring_after_commit(session, queue.RUN_IMPORT, import_id)
    return job


async def cancel(session: AsyncSession, import_id: UUID, *, keyring: Keyring, now: datetime) -> Import:
    """Leave the rest of the file out; what was recorded stays. Raises Conflict when it has ended."""
    open_ones = (*_AT_WORK, ImportStatus.PAUSED, ImportStatus.CHECKED, ImportStatus.AWAITING)
    job = await _in(session, import_id, open_ones, "the import has ended already")
    await imports_ending.finish(session, job, ImportStatus.CANCELLED, keyring=keyring, now=now)
    return job


async def undo(session: AsyncSession, import_id: UUID, *, actor: Actor, keyring: Keyring, now: datetime) -> Import:
    """Take back what the import did to people, and the consents it brought; raises Conflict when it is too late.

    Opt-outs stay, and what people said themselves.
    """
    await gate.shut(session)  # as `invalidations.ask` does, before the import's lock
    job = await _in(session, import_id, FINISHED, "only an import that has ended can be undone, and once")
    if job.dry_run:
        raise Conflict("this import was only checked: there is nothing to undo")
    until = undo_until(job)
    if until is None or now > until:
        raise Conflict(f"an import can be undone for {TAKEN_BACK_FOR.days} days after its end")
    job.status, job.undone = ImportStatus.UNDOING, {}
    if any(job.verdicts.get(verdict) for verdict in BRINGS_CONSENT):
        await invalidations.ask_once(
            session,
            kind=InvalidationKind.IMPORT,
            target=str(import_id),
            reason=UNDONE,
            actor=actor,
            keyring=keyring,
            now=now,
        )
    queue.ring_after_commit(session, queue.RUN_IMPORT, import_id)
    return job


def undo_until(job: Import) -> datetime | None:
    """Until when the import can be undone; None when it cannot be."""
    if job.status not in FINISHED or job.dry_run or job.finished_at is None:
        return None
    return job.finished_at + TAKEN_BACK_FOR


async def _in(session: AsyncSession, import_id: UUID, allowed: tuple[ImportStatus, ...], otherwise: str) -> Import:
    job = await get(session, import_id, lock=True)
    if job.status not in allowed:
        raise Conflict(otherwise, status=job.status)
    return job


# Somebody who said something, or was written to, stays, without what the import said about them.
_REMOVE = text("""
    WITH part AS MATERIALIZED (
        SELECT id FROM contacts WHERE import_id = :import_id ORDER BY id LIMIT :limit FOR UPDATE),
    gone AS (
        DELETE FROM contacts c USING part
         WHERE c.id = part.id AND c.consent_version = 0 AND c.first_seen_at IS NULL AND c.erased_at IS NULL
           AND NOT EXISTS (SELECT FROM messages m WHERE m.contact_id = c.id)
           AND NOT EXISTS (SELECT FROM inbound_messages i WHERE i.contact_id = c.id)
           AND NOT EXISTS (SELECT FROM pending_withdrawals w WHERE w.contact_id = c.id)
           AND NOT EXISTS (SELECT FROM conversions o WHERE o.contact_id = c.id)
        RETURNING c.id),
    kept AS (
        UPDATE contacts c SET import_id = NULL, name = NULL, language = NULL, attributes = '{}'
          FROM part WHERE c.id = part.id AND c.id NOT IN (SELECT id FROM gone)
        RETURNING c.id)
    SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM kept) AS kept
""")

# A value that somebody has changed since stays as it is now.
_RESTORE = text("""
    WITH part AS MATERIALIZED (
        SELECT i.contact_id, i.before, i.after FROM import_changes i JOIN contacts c ON c.id = i.contact_id
         WHERE i.import_id = :import_id ORDER BY i.contact_id LIMIT :limit FOR NO KEY UPDATE OF c),
    done AS (
        DELETE FROM import_changes i USING part WHERE i.import_id = :import_id AND i.contact_id = part.contact_id)
    UPDATE contacts c
       SET name = CASE WHEN s.before ? 'name' AND c.name = s.after->>'name' THEN s.before->>'name' ELSE c.name END,
           language = CASE WHEN s.before ? 'language' AND c.language = s.after->>'language'
                           THEN s.before->>'language' ELSE c.language END,
           country = CASE WHEN s.before ? 'country' AND c.country = s.after->>'country'
                          THEN s.before->>'country' ELSE c.country END,
           time_zone = CASE WHEN s.before ? 'time_zone' AND c.time_zone = s.after->>'time_zone'
                            THEN s.before->>'time_zone' ELSE c.time_zone END,
           attributes = (
               SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM (
                   SELECT a.key, CASE WHEN s.before ? ('attributes.' || a.key)
                                       AND s.after->('attributes.' || a.key) = a.value
                                      THEN s.before->('attributes.' || a.key) ELSE a.value END AS value
                     FROM jsonb_each(c.attributes) a) each
                WHERE value <> 'null')
      FROM part s WHERE c.id = s.contact_id
""")


async def undo_some(session: AsyncSession, job: Import, *, limit: int = 2_000) -> bool:
    """Take back a part of an import that is being undone; whether there is more.

    Memberships it added end, values it changed go back to what they were unless somebody changed them since, people
    it made are removed. Who said something about consent or was written to stays, nameless; the consents it brought are
    made invalid beside this.
    """
    members = await session.execute(
        text(
            "DELETE FROM audience_members WHERE import_id = :import_id AND contact_id IN (SELECT contact_id FROM "
            "audience_members WHERE import_id = :import_id LIMIT :limit)"
        ),
        {"import_id": job.id, "limit": limit},
    )
    restored = await session.execute(_RESTORE, {"import_id": job.id, "limit": limit})
    removed = (await session.execute(_REMOVE, {"import_id": job.id, "limit": limit})).one()
    counts = {
        "memberships": _rows(members),
        "restored": _rows(restored),
        "removed": removed.gone,
        "kept": removed.kept,
    }
    job.undone = {name: (job.undone or {}).get(name, 0) + count for name, count in counts.items()}
    return any(counts.values())


def _rows(result: object) -> int:
    return int(getattr(result, "rowcount", 0))


@asynccontextmanager
async def turn(sessions: Sessions) -> AsyncIterator[bool]:
    """Whether it is this worker's turn to import; the others are told no until it ends, however it ends.

    The lock belongs to a connection without a transaction: one that idles in a transaction is closed after a
    minute, and files take longer.
    """
    async with sessions() as session:
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        mine = bool(await session.scalar(text("SELECT pg_try_advisory_lock(hashtext('imports'))")))
        try:
            yield mine
        finally:
            if mine:
                await session.execute(text("SELECT pg_advisory_unlock(hashtext('imports'))"))
