"""Ending the consents that an invalidation names: some people at a time, together with their queued messages.

Each part is one transaction that also moves the cursor, so a crash resumes where it stopped and nobody gets a second
event. A notice takes a second, short pass: what was being recorded while it was asked for may not have known of it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

from sqlalchemy import Text, Uuid, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger, stored
from core.consent.acts import Act, ActorType, Method
from core.consent.state import Event, EventType, Fold, State, rests_on
from core.db import expect_many
from core.keys import Keyring
from core.models import Invalidation
from core.services import consents
from core.services.folding import array
from core.services.invalidations import GIVING, REFS, newest_record
from core.settings import Settings
from core.statuses import InvalidationKind, SkipReason, WorkStatus

PART = 200  # people of one transaction; whoever withdraws meanwhile waits for the end of it
SOURCE = "system"
# What the ledger says of it.
REASONS = {
    InvalidationKind.IMPORT: "invalid_import",
    InvalidationKind.NOTICE: "invalid_notice",
    InvalidationKind.COLLECTION_POINT: "invalid_point",
}


class Step(Enum):
    """What a part came to."""

    MORE = auto()
    WAITS = auto()  # for work that began before it was asked for
    DONE = auto()
    NOTHING = auto()  # it is done already, or another worker has it


async def end_some(
    session: AsyncSession,
    invalidation_id: UUID,
    *,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
    limit: int = PART,
) -> Step:
    """End the consents of the next people, in the caller's transaction."""
    await expect_many(session)
    job = await session.get(Invalidation, invalidation_id, with_for_update={"skip_locked": True})
    if job is None or job.finished_at is not None:
        return Step.NOTHING
    if job.status is WorkStatus.WAITING:
        await _begin(session, job)
    ids = await _following(session, job, limit)
    if ids:
        await _end(session, job, ids, keyring=keyring, settings=settings, now=now)
        return Step.MORE
    if job.waits_for is not None:
        return await _look_again(session, job)
    job.status, job.finished_at = WorkStatus.DONE, now
    return Step.DONE


async def _begin(session: AsyncSession, job: Invalidation) -> None:
    job.status, job.counts = WorkStatus.RUNNING, dict.fromkeys(("invalid", "kept", "ended", "besides", "messages"), 0)
    if job.kind is InvalidationKind.NOTICE:
        job.waits_for = list(await session.scalars(_KNEW_NOTHING))
        job.until_seq = await newest_record(session)
    job.people = await _count(session, job)


async def _look_again(session: AsyncSession, job: Invalidation) -> Step:
    """Read what was recorded since, once everything that might not have known of it has ended."""
    if set(await session.scalars(_KNEW_NOTHING)) & set(job.waits_for or ()):
        return Step.WAITS
    job.from_seq, job.until_seq, job.cursor = job.until_seq, await newest_record(session), None
    job.waits_for = None
    job.people = (job.people or 0) + await _count(session, job)
    return Step.MORE


# Whoever records consents has read the notices, and holds this lock until the transaction ends.
_KNEW_NOTHING = text("""
    SELECT DISTINCT l.virtualtransaction FROM pg_locks l JOIN pg_database d ON d.oid = l.database
     WHERE d.datname = current_database() AND l.relation = CAST('notices' AS regclass) AND l.pid <> pg_backend_pid()
""")
_MATCHING = """
    FROM consent_events
   WHERE seq > :from_seq AND seq <= :until_seq AND event_type = ANY(CAST(:giving AS text[])) AND strpos(core, :mark) > 0
"""
_COUNT = text(f"SELECT count(DISTINCT subject_id) {_MATCHING}")
_FOLLOWING = text(f"""
    SELECT DISTINCT subject_id {_MATCHING} AND (CAST(:after AS uuid) IS NULL OR subject_id > :after)
     ORDER BY subject_id LIMIT :limit
""")


def _range(job: Invalidation) -> dict[str, object]:
    return {"from_seq": job.from_seq, "until_seq": job.until_seq, "giving": GIVING, "mark": job.mark}


async def _count(session: AsyncSession, job: Invalidation) -> int:
    return int(await session.scalar(_COUNT, _range(job)) or 0)


async def _following(session: AsyncSession, job: Invalidation, limit: int) -> list[UUID]:
    """The next people something from it was recorded of, by their ids."""
    return list(await session.scalars(_FOLLOWING, {**_range(job), "after": job.cursor, "limit": limit}))


@dataclass
class _Part:
    """What becomes of some people."""

    acts: list[Act] = field(default_factory=list)
    ended: list[tuple[UUID, str, SkipReason]] = field(default_factory=list)  # contact, purpose, what messages say
    counts: Counter[str] = field(default_factory=Counter)


async def _end(
    session: AsyncSession,
    job: Invalidation,
    ids: Sequence[UUID],
    *,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
) -> None:
    await stored.lock_contacts(session, ids)
    histories = await stored.histories(session, ids)
    part = _Part()
    for contact_id in ids:
        _weigh(part, job, contact_id, [event for _, event in histories[contact_id]], now)
    await consents.record(session, part.acts, keyring=keyring, settings=settings, now=now)
    part.counts["messages"] = await _end_queued(session, part.ended, now)
    job.cursor, job.people_done = ids[-1], job.people_done + len(ids)
    job.counts = {name: count + part.counts[name] for name, count in job.counts.items()}


def _weigh(part: _Part, job: Invalidation, contact_id: UUID, history: Sequence[Event], now: datetime) -> None:
    """Try it on the person's history first: what changes nothing for them is not recorded."""
    fold, named = Fold(), {REFS[job.kind]: job.target}
    for event in history:
        fold.apply(event)
    purposes = {each.purpose for each in history if each.event_type in GIVING and rests_on(each, named)}
    fates = set()
    for purpose in sorted(purposes):
        grants, act = fold.grants(purpose), _act(job, contact_id, purpose, now)
        change = fold.apply(
            Event(
                event_id=ledger.new_event_id(),
                event_type=act.event_type,
                purpose=purpose,
                occurred_at=now,
                received_at=now,
                source=act.source,
                actor_type=act.actor.value,
                reason=act.reason,
                refs=dict(act.refs),
            )
        )
        if change.rule == "17":
            part.acts.append(act)
        if change.after is State.SUBSCRIBED:
            fates.add("kept")
        elif change.after is not change.before:
            fates.add("invalid")
            stopped = change.after is State.WITHDRAWN
            part.ended.append((contact_id, purpose, SkipReason.WITHDRAWN if stopped else SkipReason.INVALID))
            if not all(rests_on(grant, named) for grant in grants):
                fates.add("besides")
    part.counts[next((fate for fate in ("invalid", "kept") if fate in fates), "ended")] += 1
    part.counts["besides"] += "besides" in fates


def _act(job: Invalidation, contact_id: UUID, purpose: str, now: datetime) -> Act:
    return Act(
        contact_id=contact_id,
        event_type=EventType.INVALIDATED,
        purpose=purpose,
        source=SOURCE,
        source_key=f"invalidation|{job.id}|{job.from_seq}|{contact_id}|{purpose}",
        occurred_at=now,
        actor=ActorType.SYSTEM if job.created_by is None else ActorType.STAFF,
        actor_id=job.created_by,
        method=Method.STAFF,
        reason=REASONS[job.kind],
        refs={REFS[job.kind]: job.target, "invalidation": str(job.id)},
    )


# What somebody else has in hand is left: a claimed message is refused by the gate, a cancelled one is cancelled.
_UNSENT = text("""
    WITH ended AS (SELECT * FROM unnest(:contacts, :purposes, :reasons) AS e(contact_id, purpose, reason)),
    waiting AS MATERIALIZED (
        SELECT m.id, e.reason FROM messages m JOIN ended e ON e.contact_id = m.contact_id AND e.purpose = m.purpose
         WHERE m.status = 'queued' FOR UPDATE OF m SKIP LOCKED),
    moved AS (
        UPDATE messages m SET status = 'skipped', skip_reason = w.reason
          FROM waiting w WHERE m.id = w.id
     RETURNING m.id, m.queued_on, w.reason)
    INSERT INTO message_events (message_id, queued_on, kind, occurred_at, event_key, reason)
    SELECT id, queued_on, 'suppressed', :now, gen_random_uuid(), reason FROM moved
    RETURNING message_id
""").bindparams(array("contacts", Uuid()), array("purposes", Text()), array("reasons", Text()))


async def _end_queued(session: AsyncSession, ended: Sequence[tuple[UUID, str, SkipReason]], now: datetime) -> int:
    if not ended:
        return 0
    contacts, purposes, reasons = zip(*ended, strict=True)
    asked = {"contacts": list(contacts), "purposes": list(purposes), "reasons": [each.value for each in reasons]}
    return len((await session.execute(_UNSENT, {**asked, "now": now})).all())


async def open_ones(session: AsyncSession) -> list[UUID]:
    """What waits or is under way, oldest first."""
    still = select(Invalidation.id).where(Invalidation.finished_at.is_(None))
    return list(await session.scalars(still.order_by(Invalidation.id)))
