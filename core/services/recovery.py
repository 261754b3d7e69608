"""A restored database: noticed, held back, and brought to what was promised since the backup.

The ledger is held against the witness that lies outside the database (`core.witness`). Where it is shorter, or another
one, everything that needs a consent waits, withdrawals are taken as always, and a person decides: restore a newer
backup, or recover. Recovering erases again who was erased, refuses again who said stop, says so in the ledger, and
takes the ledger as it is from then on; campaigns stay paused until somebody resumes them. What else stood in the lost
records is lost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import and_, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.consent import ledger, stored
from core.consent.registry import record_system
from core.consent.state import EventType
from core.db import Sessions
from core.errors import Conflict
from core.keys import Keyring
from core.models import (
    Campaign,
    ChainHead,
    ConsentEvent,
    Contact,
    DataRequest,
    Erasure,
    LedgerFork,
    Suppression,
)
from core.queue import Ringer
from core.services import breakers, erasure, people
from core.services.people import Actor
from core.services.remembering import PAGE, append_new, mark_of, news
from core.settings import Settings
from core.statuses import CampaignStatus, RequestStatus
from core.witness import Line, Mark

log = structlog.get_logger()

MOST_AT_ONCE = 100  # people erased in one call: it ends within a request's time
PAUSED = "ledger"  # pause code of the campaigns this stops
_FORK_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('kairan.ledger_fork', 0))")
_WHAT_TO_DO = (
    "Nothing that needs a consent is sent until somebody decides; withdrawals are recorded as always."
    " Restore a newer backup if there is one; otherwise recover, on the page Ledger and audits or with"
    " kairan ledger recover."
)


_MEANWHILE = "The ledger is the one that was signed last, but it lacks people who were refused while it was away."
_AFTERWARDS = (
    "The database was restored. What was sent after the backup was made is queued in it again: compare with the"
    " provider's figures, then cancel the campaign, or resume it when nothing of it had been sent."
)


async def differs(session: AsyncSession, mark: Mark | None) -> str | None:
    """What is wrong with the database's ledger, as a sentence; None when it has the record that was signed last."""
    if mark is None:
        return None
    there = select(ConsentEvent.leaf_hash).where(ConsentEvent.seq == mark.size)
    found = (await session.scalars(there)).first()
    if found == mark.leaf_hash:
        return None
    signed = f"{mark.size:,} were signed on {mark.signed_at[:16].replace('T', ' at ')} UTC"
    if found is None:
        size = (await session.scalars(select(ChainHead.seq))).one()
        return f"The ledger has {size:,} records where {signed}: the database is a restored backup, or another one."
    return (
        f"Record {mark.size:,} of the ledger is not the one of which {signed}: the database was restored from a"
        " backup and went on, or its records were changed."
    )


async def open_fork(session: AsyncSession) -> LedgerFork | None:
    return (await session.scalars(select(LedgerFork).where(LedgerFork.closed_at.is_(None)))).first()


async def watch(session: AsyncSession, keyring: Keyring, *, now: datetime) -> LedgerFork | None:
    """Hold the ledger against the witness; the fork that is open, and with it paused campaigns, or None.

    A fork is closed again when the right database is back and refuses whom the other one refused meanwhile. Who has an
    older witness than the one that opened it does not close it.
    """
    mark = keyring.witness.latest()
    if mark is None:
        return await open_fork(session)
    if await differs(session, mark) is None and await open_fork(session) is None and not keyring.witness.has_more:
        return None
    await session.execute(_FORK_LOCK)
    mark, fork = keyring.witness.latest() or mark, await open_fork(session)  # somebody may have recovered meanwhile
    wrong = await differs(session, mark)
    if wrong is None and fork is not None and mark.size < fork.signed_size:
        return fork
    if wrong is None:
        missing = await _missing(session, keyring, mark, _MEANWHILE)
        wrong = missing.reason if missing.erase or missing.refuse else None
    if wrong is None:
        keyring.witness.has_more_now(False)
        if fork is not None:
            fork.closed_at, fork.facts = now, {"outcome": "the ledger is the one that was signed again"}
            await _leave_to_people(session)
            log.info("ledger.agrees", size=mark.size)
        return None
    if fork is None:
        size = (await session.scalars(select(ChainHead.seq))).one()
        signed_at = datetime.fromisoformat(mark.signed_at)
        fork = LedgerFork(found_size=size, signed_size=mark.size, signed_root=mark.root, signed_at=signed_at)
        fork.reason = f"{wrong} {_WHAT_TO_DO}"
        session.add(fork)
        await session.flush()
        await session.refresh(fork)
        log.error("ledger.forked", found=size, signed=mark.size)
    await _pause(session, fork, now)
    return fork


async def _pause(session: AsyncSession, fork: LedgerFork, now: datetime) -> None:
    """Pause what would otherwise stand still without a word: the gate lets none of it through."""
    sending = and_(Campaign.status == CampaignStatus.SENDING, breakers.has_open_rows())
    going = or_(Campaign.status == CampaignStatus.EXPANDING, sending)
    chosen = select(Campaign).where(going).order_by(Campaign.id)
    for campaign in await session.scalars(chosen.with_for_update()):
        campaign.status, campaign.paused_at = CampaignStatus.PAUSED, now
        campaign.pause_reason, campaign.pause_code = fork.reason, PAUSED
        log.warning("campaign.stopped", campaign_id=str(campaign.id), code=PAUSED)


async def _leave_to_people(session: AsyncSession) -> None:
    """Campaigns stay paused: what they sent after the backup was made is queued in it, and would go out twice."""
    stopped = select(Campaign).where(Campaign.pause_code == PAUSED, Campaign.status == CampaignStatus.PAUSED)
    for campaign in await session.scalars(stopped.order_by(Campaign.id).with_for_update()):
        campaign.pause_code, campaign.pause_reason = None, _AFTERWARDS


@dataclass
class Plan:
    """What recovering comes to: whom the restored database has again, and which numbers it does not refuse."""

    found_size: int
    signed_size: int
    signed_at: str
    reason: str
    erase: list[Line] = field(default_factory=list)  # the person is there again
    refuse: list[Line] = field(default_factory=list)  # the person is not, or is not to be erased: numbers alone
    waiting: list[str] = field(default_factory=list)  # why some could not be erased now
    erased: int = 0
    left: int = 0  # people still to be erased: call again
    seq: int | None = None  # of the event that says it

    @property
    def numbers(self) -> int:
        """Numbers to refuse whose people are not erased anew."""
        people = {line.contact_id for line in self.erase}
        alone = [line for line in self.refuse if line.contact_id is None or line.contact_id not in people]
        return len({(ref, line.scope) for line in alone for ref, _ in line.refs})


async def plan(session: AsyncSession, keyring: Keyring) -> Plan:
    """What is to be done; raises Conflict when the ledger is the one that was signed last and lacks nobody."""
    mark = keyring.witness.latest()
    wrong, fork = await differs(session, mark), await open_fork(session)
    if mark is None or (fork is not None and mark.size < fork.signed_size):
        raise Conflict("this process has other keys than the worker: give it the same DATA_DIR/keys")
    if wrong is None and fork is None:
        raise Conflict("the ledger is the one that was signed last: there is nothing to recover")
    return await _missing(session, keyring, mark, wrong or _MEANWHILE)


async def _missing(session: AsyncSession, keyring: Keyring, mark: Mark, reason: str) -> Plan:
    """Whom the journal names and this database does not keep to."""
    size = (await session.scalars(select(ChainHead.seq))).one()
    found = Plan(size, mark.size, mark.signed_at, reason)
    journal = keyring.witness.lines()
    while lines := list(islice(journal, PAGE)):
        await _sort(session, lines, found)
    return found


async def _sort(session: AsyncSession, lines: Sequence[Line], found: Plan) -> None:
    """Add the lines that this database does not keep to."""
    here = select(ConsentEvent.seq, ConsentEvent.leaf_hash).where(
        stored.among(ConsentEvent.seq, [line.seq for line in lines])
    )
    known = dict((await session.execute(here)).all())
    lost = [line for line in lines if known.get(line.seq) != line.leaf_hash]
    ids = [UUID(line.contact_id) for line in lost if line.contact_id]
    alive = set(
        await session.scalars(select(Contact.id).where(stored.among(Contact.id, ids), Contact.erased_at.is_(None)))
    )
    refs = [ref for line in lost for ref, _ in line.refs]
    live = {
        (row.ref, row.scope)
        for row in await session.execute(
            select(Suppression.ref, Suppression.scope).where(
                stored.among(Suppression.ref, refs), Suppression.lifted_at.is_(None)
            )
        )
    }
    lifted = {
        (row.ref, row.scope): row.at
        for row in await session.execute(
            select(Suppression.ref, Suppression.scope, func.max(Suppression.lifted_at).label("at"))
            .where(stored.among(Suppression.ref, refs), Suppression.lifted_at.is_not(None))
            .group_by(Suppression.ref, Suppression.scope)
        )
    }
    named = {line.contact_id for line in found.erase}
    for line in lost:
        if line.contact_id and line.contact_id not in named and UUID(line.contact_id) in alive:
            named.add(line.contact_id)
            found.erase.append(line)
        at = datetime.fromisoformat(line.at)
        begun_again = any(lifted.get((ref, line.scope), at) > at for ref, _ in line.refs)  # by the person, here
        if not begun_again and any((ref, line.scope) not in live for ref, _ in line.refs):
            found.refuse.append(line)


async def recover(
    sessions: Sessions,
    ringer: Ringer,
    *,
    actor: Actor,
    reason: str,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
    most: int = MOST_AT_ONCE,
) -> Plan:
    """Do what `plan` says, a person at a time, then accept the ledger as it is and let sending go on.

    At most `most` people at a time. While some are `left`, or cannot be erased yet (`waiting` says why), the ledger
    is not accepted, and calling again goes on from there.
    Raises Conflict when there is nothing to recover.
    """
    async with sessions() as session:
        found = await plan(session, keyring)
    for line in found.erase[:most]:
        try:
            async with queue.transaction(sessions, ringer) as session:
                await _erase_again(session, line, actor=actor, keyring=keyring, settings=settings, now=now)
            found.erased += 1
        except Conflict as busy:
            found.waiting.append(busy.message)
            log.info("recovery.put_off", contact_id=line.contact_id, why=busy.message)
    found.left = len(found.erase) - found.erased
    if found.left:
        return found
    async with queue.transaction(sessions, ringer) as session:
        await _accept(session, found, actor=actor, reason=reason, keyring=keyring, now=now)
    log.warning("ledger.recovered", found=found.found_size, signed=found.signed_size, erased=found.erased)
    return found


async def _erase_again(
    session: AsyncSession, line: Line, *, actor: Actor, keyring: Keyring, settings: Settings, now: datetime
) -> None:
    """Erase the person, whoever that is here: a contact that was merged goes with the one it was merged into."""
    contact = await session.get_one(Contact, UUID(str(line.contact_id)))
    while contact.merged_into is not None:
        contact = await session.get_one(Contact, contact.merged_into)
    if contact.erased_at is not None:
        return
    cause = UUID(str(line.cause))
    done = await erasure.erase(
        session,
        contact.id,
        actor=actor,
        keyring=keyring,
        settings=settings,
        now=now,
        request_id=cause,
        reason=line.reason,
    )
    erasure.remove_files(done.files)
    asked = await session.get(DataRequest, cause, with_for_update=True)
    if asked is not None and asked.status is RequestStatus.OPEN:  # it was answered before the backup was restored
        asked.status, asked.closed_at, asked.closed_by = RequestStatus.DONE, now, actor.user_id
        asked.facts = {**asked.facts, "seq": done.seq, "leaf_hash": done.leaf_hash, "erased": done.counts}
    again = {"counts": done.counts, "erased_first": line.at}
    await people.note(session, actor, "contact.erased", "contact", contact.id, reason="recovery", **again)


async def _accept(
    session: AsyncSession, found: Plan, *, actor: Actor, reason: str, keyring: Keyring, now: datetime
) -> None:
    """Refuse the numbers, seal that this was done, and take the ledger as it is now for the right one."""
    await session.execute(_FORK_LOCK)
    mark, fork = keyring.witness.latest(), await open_fork(session)
    if mark is None or (fork is None and await differs(session, mark) is None):
        raise Conflict("somebody else has just recovered it")
    size = (await session.scalars(select(ChainHead.seq))).one()
    await append_new(session, keyring, 0, size)  # it may have gone on by itself; before its head is held
    event = await record_system(
        session,
        EventType.RECOVERY,
        source_key=str(uuid4()),
        refs={
            "found_size": str(found.found_size),
            "signed_size": str(mark.size),
            "signed_root": mark.root,
            "erased": str(found.erased),
            "refused": str(found.numbers),
        },
        keyring=keyring,
        now=now,
        actor_id=actor.user_id,
    )
    found.seq = event.seq
    await _refuse_again(session, found.refuse, event)
    signed = await ledger.checkpoint(session, keyring)
    if signed is None:
        raise Conflict("the ledger is empty")
    await session.refresh(signed)
    facts: dict[str, Any] = {"erased": found.erased, "refused": found.numbers, "seq": event.seq}
    if fork is not None:
        fork.closed_at, fork.closed_by, fork.facts = now, actor.user_id, facts
    await _leave_to_people(session)
    facts |= {"found_size": found.found_size, "signed_size": mark.size}
    await people.note(session, actor, "ledger.recovered", "ledger", reason=reason, **facts)
    # Before the commit: a crash in between leaves a witness this ledger does not have, which pauses everything again.
    async for lines in news(session, size, signed.size):
        keyring.witness.append(lines)
    keyring.witness.accept(await mark_of(session, signed))
    keyring.witness.has_more_now(False)


async def _refuse_again(session: AsyncSession, lines: Iterable[Line], event: ledger.SealedEvent) -> None:
    lines = list(lines)
    await stored.suppress(
        session,
        [
            stored.Suppress(ref, version, line.scope, line.reason, event.seq)
            for line in lines
            for ref, version in line.refs
        ],
    )
    here = {UUID(line.contact_id): line for line in lines if line.contact_id}
    known = set(await session.scalars(select(Erasure.contact_id).where(stored.among(Erasure.contact_id, here))))
    session.add_all(
        Erasure(
            contact_id=contact_id,
            seq=event.seq,
            leaf_hash=event.leaf_hash,
            reason=line.reason,
            cause=line.cause,
            refs=[list(ref) for ref in line.refs],
            erased_at=datetime.fromisoformat(line.at),
        )
        for contact_id, line in here.items()
        if contact_id not in known
    )
    await session.flush()
