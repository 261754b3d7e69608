"""Consents made invalid in one action: all that rest on a forged import, a defective notice, a bad collection point.

From the commit of `ask` on the gate denies every one of them; a worker then ends them (`invalidating`).
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.consent import gate
from core.consent.state import POSITIVE, EventType
from core.errors import Conflict, NotFound, RuleViolation
from core.keys import Keyring
from core.log import mask_text
from core.models import Import, Invalidation, Notice, User
from core.services import imports_ending
from core.services.paging import Page, page
from core.services.people import Actor
from core.statuses import ImportStatus, InvalidationKind, WorkStatus

_BY_ID = (InvalidationKind.IMPORT, InvalidationKind.NOTICE)
_OPEN_IMPORT = (ImportStatus.WAITING, ImportStatus.RUNNING, ImportStatus.PAUSED)
GIVING = sorted(POSITIVE | {EventType.REQUESTED})  # what may rest on something
REFS = {
    InvalidationKind.IMPORT: "import_batch",
    InvalidationKind.NOTICE: "notice_id",
    InvalidationKind.COLLECTION_POINT: "collection_point",
}


@dataclass(frozen=True)
class Preview:
    """Whom it would reach, each person once: the first five add up to `people`."""

    target: str  # as consents name it
    people: int
    in_force: int  # may be messaged because of it
    waiting: int  # were asked, and have not confirmed
    expired: int
    elsewhere: int  # may be messaged because of another consent, and stay so
    ended: int  # opted out, closed, or it never had an effect: left alone
    messages: int  # queued to those in force


def mark_of(kind: InvalidationKind, target: str) -> str:
    """What stands in the canonical text of every consent that rests on it: a key with its value, as JSON."""
    return f'"{REFS[kind]}":{msgspec.json.encode(target).decode()}'


_PREVIEW = text("""
    WITH given AS MATERIALIZED (
        SELECT subject_id, purpose, array_agg(seq) AS seqs FROM consent_events
         WHERE event_type = ANY(CAST(:giving AS text[])) AND strpos(core, :mark) > 0 GROUP BY 1, 2),
    standing AS MATERIALIZED (
        SELECT g.subject_id, g.purpose, s.state, s.state = 'subscribed' AND s.grant_seq = ANY(g.seqs) AS rests
          FROM given g LEFT JOIN consent_state s ON s.contact_id = g.subject_id AND s.purpose = g.purpose),
    person AS (
        SELECT subject_id, CASE WHEN bool_or(rests) THEN 'in_force'
                                WHEN bool_or(state = 'pending') THEN 'waiting'
                                WHEN bool_or(state = 'expired') THEN 'expired'
                                WHEN bool_or(state = 'subscribed') THEN 'elsewhere' ELSE 'ended' END AS word
          FROM standing GROUP BY 1)
    SELECT count(*) AS people, count(*) FILTER (WHERE word = 'in_force') AS in_force,
           count(*) FILTER (WHERE word = 'waiting') AS waiting, count(*) FILTER (WHERE word = 'expired') AS expired,
           count(*) FILTER (WHERE word = 'elsewhere') AS elsewhere, count(*) FILTER (WHERE word = 'ended') AS ended,
           (SELECT count(*) FROM messages m JOIN standing s ON s.subject_id = m.contact_id AND s.purpose = m.purpose
             WHERE s.rests AND m.status = 'queued') AS messages
      FROM person
""")


async def preview(session: AsyncSession, kind: InvalidationKind, target: str) -> Preview:
    """What asking would come to, by the state as it is now. Raises NotFound and RuleViolation as `ask` does."""
    known = await _known(session, kind, target)
    asked = {"giving": GIVING, "mark": mark_of(kind, known)}
    return Preview(target=known, **(await session.execute(_PREVIEW, asked)).one()._mapping)


async def ask(
    session: AsyncSession,
    *,
    kind: InvalidationKind,
    target: str,
    reason: str,
    actor: Actor,
    keyring: Keyring,
    now: datetime,
) -> Invalidation:
    """Deny everything that rests on it from this commit on, and let a worker end it. An open import is ended first.

    Raises NotFound for a target there is not, RuleViolation for one that no consent can rest on, Conflict while the
    same is under way.
    """
    known = await _known(session, kind, target)
    await gate.shut(session)  # before the import's lock: whoever waits for that may hold people a batch waits for
    await _close(session, kind, known, keyring, now)
    same = (Invalidation.kind == kind, Invalidation.target == known, Invalidation.finished_at.is_(None))
    if await session.scalar(select(Invalidation.id).where(*same)):
        raise Conflict("these consents are being made invalid already: look at its progress")
    asked = Invalidation(
        kind=kind,
        target=known,
        mark=mark_of(kind, known),
        reason=mask_text(reason),
        created_by=actor.user_id,
        status=WorkStatus.WAITING,
        until_seq=(await newest_record(session)),
    )
    session.add(asked)
    await session.flush()
    await session.refresh(asked)
    queue.ring_after_commit(session, queue.INVALIDATE_CONSENTS, asked.id)
    return asked


async def newest_record(session: AsyncSession) -> int:
    """The ledger's newest record."""
    return int(await session.scalar(text("SELECT seq FROM consent_chain WHERE name = 'main'")) or 0)


async def _known(session: AsyncSession, kind: InvalidationKind, target: str) -> str:
    """The target as consents name it."""
    if kind is InvalidationKind.COLLECTION_POINT:
        point = unicodedata.normalize("NFC", target)
        there = text(
            "SELECT EXISTS (SELECT FROM consent_events"
            " WHERE event_type = ANY(CAST(:giving AS text[])) AND strpos(core, :mark) > 0)"
        )
        if not await session.scalar(there, {"giving": GIVING, "mark": mark_of(kind, point)}):
            raise NotFound("nobody agreed at a collection point with exactly this name")
        return point
    try:
        target_id = UUID(target)
    except ValueError as wrong:
        raise RuleViolation(f"name the {kind.value} by its id", field="target") from wrong
    if kind is InvalidationKind.NOTICE:
        if await session.get(Notice, target_id) is None:
            raise NotFound("no such notice", notice_id=str(target_id))
        return str(target_id)
    job = await session.get(Import, target_id)
    if job is None:
        raise NotFound("no such import", import_id=str(target_id))
    if job.dry_run:
        raise RuleViolation("this import was only checked: it brought no consent", field="target")
    return str(target_id)


async def _close(session: AsyncSession, kind: InvalidationKind, target: str, keyring: Keyring, now: datetime) -> None:
    """Let nothing more come from it: the rest of a file is left out, a notice is shown to nobody any more."""
    if kind is InvalidationKind.IMPORT:
        job = await session.get_one(Import, UUID(target), with_for_update={"key_share": True}, populate_existing=True)
        if job.status in _OPEN_IMPORT:
            await imports_ending.finish(session, job, ImportStatus.CANCELLED, keyring=keyring, now=now)
    elif kind is InvalidationKind.NOTICE:
        notice = await session.get_one(Notice, UUID(target), with_for_update=True, populate_existing=True)
        notice.invalid_at, notice.effective_to = notice.invalid_at or now, notice.effective_to or now


async def ask_once(
    session: AsyncSession,
    *,
    kind: InvalidationKind,
    target: str,
    reason: str,
    actor: Actor,
    keyring: Keyring,
    now: datetime,
) -> None:
    """Ask, unless that was done before or is under way."""
    same = (Invalidation.kind == kind, Invalidation.target == target)
    if await session.scalar(select(Invalidation.id).where(*same).limit(1)) is None:
        await ask(session, kind=kind, target=target, reason=reason, actor=actor, keyring=keyring, now=now)


async def get(session: AsyncSession, invalidation_id: UUID) -> Invalidation:
    """The invalidation; raises NotFound."""
    asked = await session.get(Invalidation, invalidation_id)
    if asked is None:
        raise NotFound("no such invalidation", invalidation_id=str(invalidation_id))
    return asked


async def list_page(session: AsyncSession, *, limit: int, cursor: str | None) -> Page[Invalidation]:
    """Newest first."""
    return await page(session, select(Invalidation), Invalidation.id.expression, limit=limit, cursor=cursor)


@dataclass(frozen=True)
class Names:
    """What targets are called, and who asked."""

    targets: dict[str, str]
    users: dict[UUID, str]


async def names_of(session: AsyncSession, found: Sequence[Invalidation]) -> Names:
    who = select(User.id, User.name).where(User.id.in_({each.created_by for each in found if each.created_by}))
    users = {row.id: row.name for row in await session.execute(who)}
    return Names(await target_names(session, [(each.kind, each.target) for each in found]), users)


async def target_names(session: AsyncSession, targets: Sequence[tuple[InvalidationKind, str]]) -> dict[str, str]:
    """What imports and notices are called, by their ids."""
    ids = {kind: [UUID(target) for each, target in targets if each is kind] for kind in _BY_ID}
    files = select(Import.id, Import.filename).where(Import.id.in_(ids[InvalidationKind.IMPORT]))
    names = {str(row.id): row.filename for row in await session.execute(files)}
    notices = await session.scalars(select(Notice).where(Notice.id.in_(ids[InvalidationKind.NOTICE])))
    return names | {str(each.id): f"{each.code}, {each.language}, version {each.version}" for each in notices}
