"""Webhook bodies: stored raw, opt-outs in force before the answer, then folded into rows in order of arrival."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import BigInteger, LargeBinary, Text, Uuid

from core import queue
from core.clock import utc_now
from core.consent.registry import load_registry
from core.db import Sessions
from core.errors import AppError
from core.keys import Keyring
from core.models import Message, ParkedStatus, WebhookField
from core.services import account_events, breakers, consents, folding, inbound, moves
from core.services.folding import Report, array
from core.services.webhook_reading import Reader, Waiting
from core.settings import Settings
from core.whatsapp.webhooks import Parsed

log = structlog.get_logger()

LOCK_TIMEOUT = "2s"
WAITED_TOO_LONG = frozenset({"55P03", "40P01"})  # for a lock, or for somebody who waited for this one
TRIES = 3
BATCH_PARKED = 1000
PIECE = 2500  # reports folded in one transaction, where there are more of them and nothing else
STOPPED_MARKETING = 131050

Transactions = Callable[[], AbstractAsyncContextManager[AsyncSession]]

_STORE = text("INSERT INTO webhook_events (body, status) SELECT unnest(:bodies), 'waiting'").bindparams(
    array("bodies", LargeBinary())
)


async def store(session: AsyncSession, bodies: Sequence[bytes]) -> None:
    """Keep verified bodies, byte for byte."""
    await session.execute(_STORE, {"bodies": list(bodies)})


async def store_with_withdrawals(
    transactions: Transactions, body: bytes, parsed: Parsed, *, keyring: Keyring, settings: Settings, now: datetime
) -> None:
    """Keep a body that speaks for people, and record its withdrawals in the same transaction.

    A person whose row is locked for more than two seconds (a send is under way) gets a pending withdrawal instead:
    it blocks every later send at once, and a worker records it within seconds.
    """
    for attempt in range(1, TRIES + 1):
        try:
            async with transactions() as session:
                await session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                registry = await load_registry(session)
                acts = await inbound.consent_acts(session, parsed, registry=registry, now=now)
                await consents.record(session, acts, keyring=keyring, settings=settings, now=now, registry=registry)
                await store(session, [body])
                queue.ring_after_commit(session, queue.RECORD_WEBHOOKS)
            return
        except IntegrityError:  # the same stranger wrote twice in one moment: the other one made the contact
            if attempt == TRIES:
                raise
        except DBAPIError as waited:
            if getattr(waited.orig, "sqlstate", None) not in WAITED_TOO_LONG:
                raise
            break
    async with transactions() as session:
        await session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        registry = await load_registry(session)
        for act in await inbound.consent_acts(session, parsed, registry=registry, now=now):
            await consents.pend_withdrawal(session, act.contact_id, act)
        await store(session, [body])
        queue.ring_after_commit(session, queue.RECORD_WEBHOOKS)


@dataclass(frozen=True)
class Recorded:
    """What one run over the waiting bodies did."""

    bodies: int
    set_aside: int
    inbound: Counter[str] = field(default_factory=Counter)  # messages people wrote, by the number they wrote to
    stopping: list[Report] = field(default_factory=list)  # failures that concern the whole number or account


async def record_waiting(session: AsyncSession, reader: Reader, *, keyring: Keyring, settings: Settings) -> Recorded:
    """Fold the next waiting bodies in one transaction; 0 bodies when nothing waits or another worker is at it."""
    mine = await session.scalar(text("SELECT pg_try_advisory_xact_lock(hashtext('webhooks'))"))
    waiting = await reader.next(session) if mine else []
    if not waiting:
        return Recorded(0, 0)
    bad = {each.id: each.parsed.problem for each in waiting if each.parsed.problem is not None}
    good = [each for each in waiting if each.parsed.problem is None]
    try:
        async with session.begin_nested():
            await _apply(session, good, sessions=reader.sessions, keyring=keyring, settings=settings)
    except (SQLAlchemyError, AppError, ValueError) as poisoned:
        # One of them cannot be recorded: each gets a transaction of its own, so that it alone is set aside.
        log.warning("webhooks.one_by_one", bodies=len(good), error=type(poisoned).__name__)
        for each in good:
            try:
                async with session.begin_nested():
                    await _apply(session, [each], sessions=reader.sessions, keyring=keyring, settings=settings)
            except (SQLAlchemyError, AppError, ValueError) as poison:
                bad[each.id] = _sentence(poison)
    await _mark(session, [each.id for each in waiting if each.id not in bad], bad)
    news = [each.parsed for each in good if each.is_first]
    inbound = Counter(said.phone_number_id for parsed in news for said in parsed.inbound)
    stopping = [report for parsed in news for report in parsed.reports if breakers.stops_number(report.error_code)]
    return Recorded(len(waiting), len(bad), inbound, stopping)


def _sentence(poison: Exception) -> str:
    """What a person can work with: the database's own words without the statement, which holds personal data."""
    cause = poison.orig if isinstance(poison, DBAPIError) and poison.orig is not None else poison
    said = poison.message if isinstance(poison, AppError) else str(cause).partition("\n")[0]
    return f"{type(cause).__name__}: {said}"[:300]


_RECORDED = text(
    "UPDATE webhook_events SET status = 'recorded', error = NULL, recorded_at = coalesce(recorded_at, now())"
    " WHERE id = ANY(:ids)"
).bindparams(array("ids", BigInteger()))
_SET_ASIDE = text(
    "UPDATE webhook_events e SET status = 'set_aside', error = b.error"
    "  FROM unnest(:ids, :errors) AS b(id, error) WHERE e.id = b.id"
).bindparams(array("ids", BigInteger()), array("errors", Text()))


async def _mark(session: AsyncSession, done: Sequence[int], bad: dict[int, str]) -> None:
    await session.execute(_RECORDED, {"ids": list(done)})
    if bad:
        await session.execute(_SET_ASIDE, {"ids": list(bad), "errors": list(bad.values())})
        log.warning("webhooks.set_aside", webhook_ids=sorted(bad)[:20], count=len(bad))


async def _apply(
    session: AsyncSession, those: Sequence[Waiting], *, sessions: Sessions, keyring: Keyring, settings: Settings
) -> None:
    now = utc_now()
    bodies = [each.parsed for each in those]
    reports = [report for parsed in bodies for report in parsed.reports]
    stopped = [report for report in reports if report.error_code == STOPPED_MARKETING]
    # Contacts before messages, and in the order of their ids: a batch that is being sent holds its contacts while it
    # writes its messages, so the other way round the two would wait for each other for ever.
    moved = [each for parsed in bodies for each in parsed.moves]
    ending = await moves.concerned(session, moved)
    await inbound.lock_people(session, bodies, stopped, also=ending, now=now)
    holds_people = bool(stopped) or any(parsed.concerns_people for parsed in bodies)
    await _fold(session, reports, beside=None if holds_people else sessions)
    if stopped:
        await inbound.note_stopped(session, stopped, keyring=keyring, settings=settings, now=now)
    said = [each for parsed in bodies for each in parsed.inbound]
    await inbound.record(session, said, keyring=keyring, settings=settings, now=now)
    chosen = [each for parsed in bodies for each in parsed.preferences]
    await inbound.note_preferences(session, chosen, keyring=keyring, settings=settings, now=now)
    for move in moved:
        await moves.follow(session, move, keyring=keyring, settings=settings, now=now)
    for event in (each for parsed in bodies for each in parsed.account):
        await account_events.record(session, event, now=now)
    counted: Counter[tuple[str, bool]] = Counter()
    for each in those:
        if each.is_first:
            counted.update(each.parsed.fields)
    await _count_fields(session, counted)


async def _fold_beside(sessions: Sessions, reports: Sequence[Report]) -> list[Report]:
    """Fold in pieces, two at once: while the database works on one, the other is made ready; returns what is left.

    Each piece commits by itself; should the transaction that marks the bodies not follow, they are folded again and
    change nothing. That one must hold no lock of people or messages meanwhile: it waits for these, and no database
    would see that they wait for it.
    """
    left: list[Report] = []
    pieces = iter([reports[start : start + PIECE] for start in range(0, len(reports), PIECE)])

    async def fold() -> None:
        for piece in pieces:
            async with sessions.begin() as session:
                left.extend(await folding.fold(session, piece))

    for failed in await asyncio.gather(fold(), fold(), return_exceptions=True):  # both are over before anything else
        if failed is not None:
            raise failed
    return left


async def _fold(session: AsyncSession, reports: Sequence[Report], *, beside: Sessions | None) -> None:
    """Fold what is ours and park the rest. Nearly every report names one of our messages, so that is tried first."""
    named = [report for report in reports if report.message_id is not None]
    doubtful = [report for report in reports if report.message_id is None]
    if beside is not None and len(named) > PIECE:
        doubtful += await _fold_beside(beside, named)
    else:
        doubtful += await folding.fold(session, named)
    matched, unmatched = await _match(session, doubtful)
    await folding.fold(session, matched)
    await _park(session, unmatched)


_FIND = text(
    """
    SELECT r.place, coalesce(ours.id, theirs.id) AS id
      FROM unnest(:places, :ids, :wamids) AS r(place, id, wamid)
      LEFT JOIN messages ours ON ours.id = r.id
      LEFT JOIN messages theirs ON ours.id IS NULL AND theirs.wamid = r.wamid
    """
).bindparams(array("places", BigInteger()), array("ids", Uuid()), array("wamids", Text()))


async def _match(session: AsyncSession, reports: Sequence[Report]) -> tuple[list[Report], list[Report]]:
    """Reports about messages that are here, each with our id, and reports about messages that are not (yet).

    The id that travelled along decides; one that is not ours was made by somebody else, so the wamid is asked next.
    """
    names = list(dict.fromkeys((report.message_id, report.wamid) for report in reports))
    if not names:
        return [], []
    rows = await session.execute(
        _FIND,
        {
            "places": list(range(len(names))),
            "ids": [message_id for message_id, _ in names],
            "wamids": [wamid for _, wamid in names],
        },
    )
    found: dict[tuple[UUID | None, str | None], UUID] = {names[row.place]: row.id for row in rows if row.id}
    matched, unmatched = [], []
    for report in reports:
        our_id = found.get((report.message_id, report.wamid))
        if our_id is None:
            unmatched.append(report)
        elif our_id == report.message_id:
            matched.append(report)
        else:
            matched.append(msgspec.structs.replace(report, message_id=our_id))
    return matched, unmatched


async def _park(session: AsyncSession, reports: Sequence[Report]) -> None:
    values = [
        {
            "wamid": report.wamid,
            "status": report.kind,
            "phone_number_id": report.phone_number_id,
            "report": msgspec.to_builtins(report),
        }
        for report in reports
        if report.wamid
    ]
    for start in range(0, len(values), BATCH_PARKED):
        some = insert(ParkedStatus).values(values[start : start + BATCH_PARKED])
        await session.execute(some.on_conflict_do_nothing())


async def match_parked(session: AsyncSession) -> int:
    """Fold parked statuses whose message is known by now; returns how many."""
    found = list(
        await session.scalars(
            select(ParkedStatus)
            .join(Message, Message.wamid == ParkedStatus.wamid)
            .order_by(ParkedStatus.id)
            .limit(BATCH_PARKED)
            .with_for_update(of=ParkedStatus, skip_locked=True)
        )
    )
    if found:
        reports = [msgspec.convert(parked.report, Report) for parked in found]
        # Their message is found by the wamid: an id that travelled along may be somebody else's.
        await folding.fold(session, [msgspec.structs.replace(report, message_id=None) for report in reports])
        await session.execute(delete(ParkedStatus).where(ParkedStatus.id.in_([parked.id for parked in found])))
    return len(found)


async def _count_fields(session: AsyncSession, fields: Counter[tuple[str, bool]]) -> None:
    by_name: dict[str, tuple[bool, int]] = {}
    for (name, known), count in sorted(fields.items()):
        by_name[name] = (known, count + by_name.get(name, (known, 0))[1])
    if not by_name:
        return
    values = [{"name": name, "known": known, "count": count} for name, (known, count) in by_name.items()]
    put = insert(WebhookField).values(values)
    counted = {"count": WebhookField.count + put.excluded.count, "known": put.excluded.known, "last_at": func.now()}
    await session.execute(put.on_conflict_do_update(index_elements=["name"], set_=counted))
