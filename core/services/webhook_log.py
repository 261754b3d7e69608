"""What came of the webhooks: bodies set aside, statuses of nobody's messages, what arrived, and doing it again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import structlog
from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.consent.state import EventType
from core.errors import NotFound, RuleViolation
from core.keys import Keyring
from core.models import ParkedStatus, Sender, WebhookEvent, WebhookField
from core.services import account_events, consents
from core.services.paging import Page, page
from core.statuses import WebhookStatus

log = structlog.get_logger()

ORPHAN_AFTER = timedelta(days=1)
ORPHANS_AT_ONCE = 1000
_NAMESPACE = UUID("5f2a1d2e-6f0b-4a7e-9b1c-7f3f6a2d9c40")  # any; keys of alerts are derived from it


@dataclass(frozen=True)
class Overview:
    """Counts of this moment; `oldest_waiting_at` says how far behind the recording is."""

    waiting: int
    set_aside: int
    orphans: int
    parked: int
    unknown_fields: int
    oldest_waiting_at: datetime | None
    recorded_last_hour: int


_OVERVIEW = text(
    """
    SELECT (SELECT count(*) FROM webhook_events WHERE status = 'waiting') AS waiting,
           (SELECT count(*) FROM webhook_events WHERE status = 'set_aside') AS set_aside,
           (SELECT count(*) FROM parked_statuses WHERE alerted_at IS NOT NULL) AS orphans,
           (SELECT count(*) FROM parked_statuses WHERE alerted_at IS NULL) AS parked,
           (SELECT count(*) FROM webhook_fields WHERE NOT known) AS unknown_fields,
           (SELECT created_at FROM webhook_events WHERE status = 'waiting' ORDER BY id LIMIT 1) AS oldest_waiting_at,
           (SELECT count(*) FROM webhook_events
             WHERE created_at > now() - interval '1 hour' AND status = 'recorded') AS recorded_last_hour
    """
)


async def overview(session: AsyncSession) -> Overview:
    row = (await session.execute(_OVERVIEW)).one()
    return Overview(**row._mapping)


async def set_aside(session: AsyncSession, *, words: str | None, limit: int, cursor: str | None) -> Page[WebhookEvent]:
    """Bodies that could not be recorded, newest first; `words` is a part of the reason."""
    statement = select(WebhookEvent).where(WebhookEvent.status == WebhookStatus.SET_ASIDE)
    if words:
        statement = statement.where(WebhookEvent.error.icontains(words, autoescape=True))
    return await page(session, statement, WebhookEvent.id.expression, limit=limit, cursor=cursor)


async def get(session: AsyncSession, webhook_id: int) -> WebhookEvent:
    """One body; raises NotFound."""
    found = await session.get(WebhookEvent, webhook_id) if webhook_id < 2**63 else None
    if found is None:
        raise NotFound("no such webhook")
    return found


async def fields(session: AsyncSession, *, known: bool | None, words: str | None) -> list[WebhookField]:
    """What arrived by name, what we do not know first, then the most frequent."""
    statement = select(WebhookField)
    if known is not None:
        statement = statement.where(WebhookField.known.is_(known))
    if words:
        statement = statement.where(WebhookField.name.icontains(words, autoescape=True))
    ordered = statement.order_by(WebhookField.known, WebhookField.count.desc(), WebhookField.name)
    return list(await session.scalars(ordered.limit(500)))


async def orphans(session: AsyncSession, *, words: str | None, limit: int, cursor: str | None) -> Page[ParkedStatus]:
    """Statuses nothing matched for a day, newest first; `words` is a part of the provider's message id."""
    statement = select(ParkedStatus).where(ParkedStatus.alerted_at.is_not(None))
    if words:
        statement = statement.where(ParkedStatus.wamid.icontains(words, autoescape=True))
    return await page(session, statement, ParkedStatus.id.expression, limit=limit, cursor=cursor)


async def raise_orphans(session: AsyncSession, *, keyring: Keyring, now: datetime) -> int:
    """Find statuses parked for a day and alert once for each number they came from; returns how many there are.

    The alert is a row for people and an event in the ledger, which an auditor reads.
    """
    old = (ParkedStatus.alerted_at.is_(None), ParkedStatus.created_at < now - ORPHAN_AFTER)
    first = select(ParkedStatus).where(*old).order_by(ParkedStatus.created_at).limit(ORPHANS_AT_ONCE)
    found = list(await session.scalars(first.with_for_update(skip_locked=True)))
    by_number: dict[str, list[ParkedStatus]] = defaultdict(list)
    for parked in found:
        parked.alerted_at = now
        by_number[parked.phone_number_id or "unknown number"].append(parked)
    for number, theirs in sorted(by_number.items()):
        sender = await session.scalar(select(Sender).where(Sender.phone_number_id == number).with_for_update())
        wamids = sorted({parked.wamid for parked in theirs})
        key = uuid5(_NAMESPACE, "|".join((number, *(str(parked.id) for parked in theirs))))
        await account_events.raise_orphans(session, sender, number, wamids, key=key, now=now)
        await consents.record_system(
            session,
            EventType.INTEGRITY_ALERT,
            source_key=str(key),
            refs={"alert": "orphan_send", "phone_number_id": number, "messages": str(len(wamids))},
            keyring=keyring,
            now=now,
        )
        log.error("webhooks.orphans", phone_number_id=number, messages=len(wamids))
    return len(found)


@dataclass(frozen=True)
class Replayed:
    """How many bodies were chosen; with `dry_run` they were only counted."""

    bodies: int
    dry_run: bool


async def replay(
    session: AsyncSession,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    ids: Sequence[int] = (),
    only_set_aside: bool = False,
    dry_run: bool,
    now: datetime,
) -> Replayed:
    """Let bodies be recorded once more: those that came in [since, until), or by id, or those set aside.

    Recording is idempotent, so what took effect before changes nothing. Raises RuleViolation for a range that is
    none, NotFound for ids of which no body is kept.
    """
    if since is None and until is None and not ids and not only_set_aside:
        raise RuleViolation("say which: a range of time, ids, or those set aside", field="since")
    if since is not None and until is not None and since >= until:
        raise RuleViolation("`until` is later than `since`", field="until")
    if ids:
        kept = set(await session.scalars(select(WebhookEvent.id).where(WebhookEvent.id.in_(ids))))
        if missing := [str(each) for each in ids if each not in kept]:
            raise NotFound(f"no such webhook: {', '.join(missing[:5])}")
    chosen: list[ColumnElement[bool]] = [WebhookEvent.status != WebhookStatus.WAITING]
    chosen += [WebhookEvent.created_at >= since] if since is not None else []
    chosen += [WebhookEvent.created_at < min(until or now, now)]
    chosen += [WebhookEvent.id.in_(ids)] if ids else []
    chosen += [WebhookEvent.status == WebhookStatus.SET_ASIDE] if only_set_aside else []
    if dry_run:
        count = await session.scalar(select(func.count()).select_from(WebhookEvent).where(*chosen)) or 0
        return Replayed(count, dry_run=True)
    again = update(WebhookEvent).where(*chosen).values(status=WebhookStatus.WAITING, error=None)
    moved = (await session.scalars(again.returning(WebhookEvent.id))).all()
    if moved:
        queue.ring_after_commit(session, queue.RECORD_WEBHOOKS)
        log.info("webhooks.replayed", bodies=len(moved))
    return Replayed(len(moved), dry_run=False)
