"""Webhook bodies: stored raw, opt-outs in force before the answer, then folded into rows in order of arrival."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import msgspec
import structlog
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import LargeBinary

from core import queue
from core.clock import utc_now
from core.errors import AppError
from core.keys import Keyring
from core.models import Message, ParkedStatus, WebhookEvent, WebhookField
from core.services import breakers, consents, inbound, messages, templates
from core.services.messages import Report, array
from core.settings import Settings
from core.statuses import WebhookStatus
from core.whatsapp.webhooks import Parsed, parse

log = structlog.get_logger()

LOCK_TIMEOUT = "2s"
LOCK_NOT_AVAILABLE = "55P03"
TRIES = 3
BATCH = 200
STOPPED_MARKETING = 131050

Transactions = Callable[[], AbstractAsyncContextManager[AsyncSession]]

_STORE = text("INSERT INTO webhook_events (body, status) SELECT unnest(:bodies), 'waiting'").bindparams(
    array("bodies", LargeBinary())
)


async def store(session: AsyncSession, bodies: Sequence[bytes]) -> None:
    """Keep verified bodies, byte for byte."""
    await session.execute(_STORE, {"bodies": list(bodies)})


async def store_with_withdrawals(
    transactions: Transactions, body: bytes, *, keyring: Keyring, settings: Settings
) -> None:
    """Keep a body that speaks for people, and record its withdrawals in the same transaction.

    A person whose row is locked for more than two seconds (a send is under way) gets a pending withdrawal instead:
    it blocks every later send at once, and a worker records it within seconds.
    """
    now = utc_now()
    parsed = parse(body, received_at=now)
    for attempt in range(1, TRIES + 1):
        try:
            async with transactions() as session:
                await session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                acts = await inbound.consent_acts(session, parsed, now=now)
                await consents.record(session, acts, keyring=keyring, settings=settings, now=now)
                await store(session, [body])
                queue.ring_after_commit(session, queue.RECORD_WEBHOOKS)
            return
        except IntegrityError:  # the same stranger wrote twice in one moment: the other one made the contact
            if attempt == TRIES:
                raise
        except DBAPIError as waited:
            if getattr(waited.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            break
    async with transactions() as session:
        await session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        for act in await inbound.consent_acts(session, parsed, now=now):
            await consents.pend_withdrawal(session, act.contact_id, act)
        await store(session, [body])
        queue.ring_after_commit(session, queue.RECORD_WEBHOOKS)


@dataclass(frozen=True)
class Recorded:
    """What one run over the waiting bodies did."""

    bodies: int
    set_aside: int


async def record_waiting(session: AsyncSession, *, keyring: Keyring, settings: Settings) -> Recorded:
    """Fold the next waiting bodies in one transaction; 0 bodies when nothing waits or another worker is at it."""
    mine = await session.scalar(text("SELECT pg_try_advisory_xact_lock(hashtext('webhooks'))"))
    if not mine:
        return Recorded(0, 0)
    waiting = select(WebhookEvent).where(WebhookEvent.status == WebhookStatus.WAITING)
    events = list(await session.scalars(waiting.order_by(WebhookEvent.id).limit(BATCH)))
    if not events:
        return Recorded(0, 0)
    parsed = [(event, parse(event.body, received_at=event.created_at)) for event in events]
    bad = {event.id: each.problem for event, each in parsed if each.problem is not None}
    good = [(event, each) for event, each in parsed if each.problem is None]
    try:
        async with session.begin_nested():
            await _apply(session, [each for _, each in good], keyring=keyring, settings=settings)
    except (SQLAlchemyError, AppError, ValueError) as poisoned:
        # One of them cannot be recorded: each gets a transaction of its own, so that it alone is set aside.
        log.warning("webhooks.one_by_one", bodies=len(good), error=type(poisoned).__name__)
        for event, each in good:
            try:
                async with session.begin_nested():
                    await _apply(session, [each], keyring=keyring, settings=settings)
            except (SQLAlchemyError, AppError, ValueError) as poison:
                bad[event.id] = f"{type(poison).__name__}: {poison}"[:300]
    await _mark(session, [event.id for event, _ in parsed if event.id not in bad], bad)
    return Recorded(len(events), len(bad))


async def _mark(session: AsyncSession, done: Sequence[int], bad: dict[int, str]) -> None:
    recorded = {"status": WebhookStatus.RECORDED, "recorded_at": func.now()}
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(done)).values(recorded))
    for event_id, problem in bad.items():
        aside = {"status": WebhookStatus.SET_ASIDE, "error": problem, "recorded_at": func.now()}
        await session.execute(update(WebhookEvent).where(WebhookEvent.id == event_id).values(aside))
        log.warning("webhook.set_aside", webhook_id=event_id)


async def _apply(session: AsyncSession, those: Sequence[Parsed], *, keyring: Keyring, settings: Settings) -> None:
    now = utc_now()
    reports = [report for parsed in those for report in parsed.reports]
    stopped = [report for report in reports if report.error_code == STOPPED_MARKETING]
    # Contacts before messages, and in the order of their ids: a batch that is being sent holds its contacts while it
    # writes its messages, so the other way round the two would wait for each other for ever.
    await inbound.lock_people(session, those, stopped, now=now)
    unmatched = await _unmatched(session, reports)
    await messages.fold(session, [report for report in reports if report not in unmatched])
    await _park(session, unmatched)
    if stopped:
        await inbound.note_stopped(session, stopped, keyring=keyring, settings=settings, now=now)
    said = [each for parsed in those for each in parsed.inbound]
    await inbound.record(session, said, keyring=keyring, settings=settings, now=now)
    chosen = [each for parsed in those for each in parsed.preferences]
    await inbound.note_preferences(session, chosen, keyring=keyring, settings=settings, now=now)
    for verdict in (each for parsed in those for each in parsed.templates):
        if verdict.quality is not None:
            await templates.set_quality(session, verdict.provider_id, verdict.quality)
        elif verdict.event is not None:
            changed = await templates.set_status(
                session, verdict.provider_id, event=verdict.event, reason=verdict.reason
            )
            if changed is not None:
                await breakers.follow_template(session, changed, now=now)
    await _count_fields(session, sum((parsed.fields for parsed in those), Counter()))


async def _unmatched(session: AsyncSession, reports: Sequence[Report]) -> set[Report]:
    """Reports about messages that are not here (yet)."""
    ids = {report.message_id for report in reports if report.message_id}
    known_ids = set(await session.scalars(select(Message.id).where(Message.id.in_(ids)))) if ids else set()
    wamids = {report.wamid for report in reports if report.message_id is None and report.wamid}
    known_wamids: set[str | None] = set()
    if wamids:
        known_wamids = set(await session.scalars(select(Message.wamid).where(Message.wamid.in_(wamids))))
    return {
        report
        for report in reports
        if (report.message_id not in known_ids if report.message_id else report.wamid not in known_wamids)
    }


async def _park(session: AsyncSession, reports: set[Report]) -> None:
    values = [
        {"wamid": report.wamid, "status": report.kind, "report": msgspec.to_builtins(report)}
        for report in reports
        if report.wamid
    ]
    if values:
        await session.execute(insert(ParkedStatus).values(values).on_conflict_do_nothing())


async def match_parked(session: AsyncSession) -> int:
    """Fold parked statuses whose message is known by now; returns how many."""
    found = list(
        await session.scalars(
            select(ParkedStatus)
            .join(Message, Message.wamid == ParkedStatus.wamid)
            .order_by(ParkedStatus.id)
            .limit(BATCH)
            .with_for_update(of=ParkedStatus, skip_locked=True)
        )
    )
    if found:
        await messages.fold(session, [msgspec.convert(parked.report, Report) for parked in found])
        await session.execute(delete(ParkedStatus).where(ParkedStatus.id.in_([parked.id for parked in found])))
    return len(found)


async def _count_fields(session: AsyncSession, fields: Counter[tuple[str, bool]]) -> None:
    for (name, known), count in sorted(fields.items()):
        put = insert(WebhookField).values(name=name, known=known, count=count)
        counted = {"count": WebhookField.count + count, "known": known, "last_at": func.now()}
        await session.execute(put.on_conflict_do_update(index_elements=["name"], set_=counted))
