"""Subscriptions to facts, and what became of each delivery: claimed, delivered, tried again, given up, replayed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import CursorResult, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from core import hooks, queue
from core.errors import Conflict, NotFound, RuleViolation
from core.keys import Keyring
from core.models import Hook, HookDelivery
from core.services.paging import Page, page
from core.settings import Settings
from core.statuses import HookStatus

log = structlog.get_logger()

MOST_HOOKS = 50
AT_ONCE = 20  # deliveries of one address in flight; one while it fails
LEASE_S = 60  # a delivery whose worker died is tried again after this
KEPT = timedelta(days=30)


async def list_all(session: AsyncSession) -> list[Hook]:
    return list(await session.scalars(select(Hook).order_by(Hook.id)))


async def get(session: AsyncSession, hook_id: UUID) -> Hook:
    """The subscription; raises NotFound."""
    hook = await session.get(Hook, hook_id, with_for_update=True)
    if hook is None:
        raise NotFound("no such webhook", hook_id=str(hook_id))
    return hook


async def add(
    session: AsyncSession,
    *,
    url: str,
    description: str,
    events: Sequence[str],
    include_phone: bool,
    settings: Settings,
    created_by: UUID | None,
) -> Hook:
    """A new subscription, told about everything from now on; raises RuleViolation or ForbiddenTarget."""
    _check(url, events, settings)
    if (await session.scalar(select(func.count()).select_from(Hook)) or 0) >= MOST_HOOKS:
        raise RuleViolation(f"there are {MOST_HOOKS} webhooks already: take some out first")
    hook = Hook(
        url=url,
        description=description.strip(),
        events=sorted(set(events)),
        include_phone=include_phone,
        created_by=created_by,
    )
    session.add(hook)
    await session.flush()
    await session.refresh(hook)
    return hook


async def change(
    session: AsyncSession,
    hook_id: UUID,
    *,
    url: str,
    description: str,
    events: Sequence[str],
    include_phone: bool,
    settings: Settings,
) -> Hook:
    _check(url, events, settings)
    hook = await get(session, hook_id)
    hook.url, hook.description, hook.include_phone = url, description.strip(), include_phone
    hook.events = sorted(set(events))
    await session.flush()
    return hook


def _check(url: str, events: Sequence[str], settings: Settings) -> None:
    hooks.check_url(url, allow_private=settings.hooks_allow_private)
    if unknown := set(events) - set(hooks.EVENT_TYPES):
        known = ", ".join(sorted(hooks.EVENT_TYPES))
        raise RuleViolation(f"there is no event type {min(unknown)!r}: use {known}", field="events")
    if not events:
        raise RuleViolation("choose at least one event type", field="events")


async def remove(session: AsyncSession, hook_id: UUID) -> None:
    """The subscription and the log of its deliveries."""
    await session.delete(await get(session, hook_id))
    await session.flush()


def secrets(hook: Hook, keyring: Keyring, now: datetime) -> list[bytes]:
    """The keys that sign now, the newest first: for a day after a rotation the old one signs too."""
    keys = [keyring.hook_secret(str(hook.id), hook.secret_version)]
    if hook.rotated_at is not None and now - hook.rotated_at < hooks.OLD_SECRET_LIVES:
        keys.append(keyring.hook_secret(str(hook.id), hook.secret_version - 1))
    return keys


async def rotate(session: AsyncSession, hook_id: UUID, *, now: datetime) -> Hook:
    """A new secret; the one before signs for another day. Raises Conflict while that is still so."""
    hook = await get(session, hook_id)
    if hook.rotated_at is not None and now - hook.rotated_at < hooks.OLD_SECRET_LIVES:
        raise Conflict("the secret was rotated less than a day ago: two are valid now, a third would break one")
    hook.secret_version, hook.rotated_at = hook.secret_version + 1, now
    await session.flush()
    return hook


async def disable(session: AsyncSession, hook_id: UUID, *, reason: str, now: datetime) -> Hook:
    """Told nothing any more; what waits stays, and is sent when it is enabled again."""
    hook = await get(session, hook_id)
    if hook.disabled_at is None:
        hook.disabled_at, hook.disabled_reason = now, reason
        log.warning("hook.disabled", hook_id=str(hook_id), reason=reason)
    await session.flush()
    return hook


async def enable(session: AsyncSession, hook_id: UUID, *, now: datetime) -> Hook:
    """On again: what waits goes at once. What happened while it was off is not told."""
    hook = await get(session, hook_id)
    hook.disabled_at, hook.disabled_reason, hook.failing_since = None, None, None
    waiting = (HookDelivery.hook_id == hook_id, HookDelivery.status == HookStatus.WAITING)
    await session.execute(update(HookDelivery).where(*waiting).values(next_at=now))
    queue.ring_after_commit(session, queue.DELIVER_HOOKS, hook_id)
    await session.flush()
    return hook


async def test(session: AsyncSession, hook_id: UUID, *, now: datetime) -> HookDelivery:
    """An event of type hook.test for this address alone; raises Conflict when it is disabled."""
    hook = await get(session, hook_id)
    if hook.disabled_at is not None:
        raise Conflict("this webhook is disabled: enable it first")
    key = uuid4().hex
    delivery = HookDelivery(
        hook_id=hook_id,
        event_id=f"evt_test_{key}",
        event_type=hooks.TEST_EVENT,
        source="test",
        source_key=f"{key}|{now.astimezone(UTC).isoformat()}",
        status=HookStatus.WAITING,
        next_at=now,
    )
    session.add(delivery)
    await session.flush()
    await session.refresh(delivery)
    queue.ring_after_commit(session, queue.DELIVER_HOOKS, hook_id)
    return delivery


async def deliveries(
    session: AsyncSession, hook_id: UUID, *, status: HookStatus | None, limit: int, cursor: str | None
) -> Page[HookDelivery]:
    """The log of one address, newest first; kept for 30 days."""
    await get(session, hook_id)
    statement = select(HookDelivery).where(HookDelivery.hook_id == hook_id)
    if status is not None:
        statement = statement.where(HookDelivery.status == status)
    return await page(session, statement, HookDelivery.id.expression, limit=limit, cursor=cursor)


async def replay(
    session: AsyncSession, hook_id: UUID, *, since: datetime, until: datetime, only_failed: bool, now: datetime
) -> int:
    """Send again what the log holds of a time; returns how many. Receivers know it again by its id."""
    if since >= until:
        raise RuleViolation("since has to lie before until", field="since")
    hook = await get(session, hook_id)
    if hook.disabled_at is not None:
        raise Conflict("this webhook is disabled: enable it first")
    theirs = [HookDelivery.hook_id == hook_id, HookDelivery.created_at >= since, HookDelivery.created_at < until]
    theirs.append(
        HookDelivery.status == HookStatus.FAILED if only_failed else HookDelivery.status != HookStatus.WAITING
    )
    return await _again(session, hook_id, theirs, now)


async def replay_one(session: AsyncSession, hook_id: UUID, delivery_id: UUID, *, now: datetime) -> None:
    """Send one delivery again; raises NotFound."""
    await get(session, hook_id)
    theirs = [HookDelivery.hook_id == hook_id, HookDelivery.id == delivery_id]
    if not await _again(session, hook_id, theirs, now):
        raise NotFound("no such delivery", delivery_id=str(delivery_id))


async def _again(session: AsyncSession, hook_id: UUID, theirs: Sequence[Any], now: datetime) -> int:
    values = {"status": HookStatus.WAITING, "next_at": now, "attempts": 0}
    done = await session.execute(
        update(HookDelivery).where(*theirs).values(values).execution_options(synchronize_session=False)
    )
    queue.ring_after_commit(session, queue.DELIVER_HOOKS, hook_id)
    assert isinstance(done, CursorResult)
    return done.rowcount


@dataclass(frozen=True)
class Claimed:
    """A delivery this worker tries now."""

    id: UUID
    hook_id: UUID
    event_id: str
    event_type: str
    source: str
    source_key: str
    attempt: int


_CLAIM = text(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM hook_deliveries WHERE hook_id = :hook AND status = 'waiting' AND next_at <= :now
         ORDER BY next_at, id
         LIMIT coalesce((SELECT CASE WHEN failing_since IS NULL THEN {AT_ONCE} ELSE 1 END
                           FROM hooks WHERE id = :hook AND disabled_at IS NULL), 0)
           FOR UPDATE SKIP LOCKED)
    UPDATE hook_deliveries d SET attempts = d.attempts + 1, next_at = :now + make_interval(secs => {LEASE_S})
      FROM due WHERE d.id = due.id
 RETURNING d.id, d.hook_id, d.event_id, d.event_type, d.source, d.source_key, d.attempts AS attempt
""")  # noqa: S608 - built from constants


async def claim(session: AsyncSession, hook_id: UUID, *, now: datetime) -> list[Claimed]:
    """What is due to an address now, at most 20, or one while it fails; the caller commits before it sends."""
    return [Claimed(**row._mapping) for row in await session.execute(_CLAIM, {"hook": hook_id, "now": now})]


async def ring_due(session: AsyncSession, *, now: datetime) -> None:
    """Ring for every address that has something due."""
    due = (HookDelivery.hook_id == Hook.id, HookDelivery.status == HookStatus.WAITING, HookDelivery.next_at <= now)
    statement = select(Hook.id).where(Hook.disabled_at.is_(None), select(1).where(*due).exists())
    for hook_id in await session.scalars(statement):
        queue.ring_after_commit(session, queue.DELIVER_HOOKS, hook_id)


@dataclass(frozen=True)
class Result:
    """What became of one attempt; `http_status` is null when no answer came."""

    delivery: Claimed
    http_status: int | None
    error: str | None  # null: it was taken
    duration_ms: int


GONE = 410


async def record(session: AsyncSession, results: Sequence[Result], *, now: datetime) -> None:
    """Write down attempts, plan the next ones, and switch off an address that wants nothing or failed for days."""
    for result in sorted(results, key=lambda each: (each.delivery.hook_id, each.delivery.id)):
        pause = hooks.pause_before(result.delivery.attempt, random.random())  # noqa: S311 - spreading, not secrecy
        taken = result.error is None
        values: dict[str, Any] = {
            "http_status": result.http_status,
            "error": result.error,
            "duration_ms": result.duration_ms,
        }
        if taken:
            values |= {"status": HookStatus.DELIVERED, "delivered_at": now}
        elif pause is None:
            values |= {"status": HookStatus.FAILED}
        else:
            values |= {"next_at": now + pause}
        await session.execute(update(HookDelivery).where(HookDelivery.id == result.delivery.id).values(values))
        await _follow(session, result, now=now)


async def _follow(session: AsyncSession, result: Result, *, now: datetime) -> None:
    """What an attempt says about its address."""
    hook_id = result.delivery.hook_id
    if result.error is None:
        recovered = (Hook.id == hook_id, Hook.failing_since.is_not(None))
        done = await session.scalars(update(Hook).where(*recovered).values(failing_since=None).returning(Hook.id))
        if done.all():  # it answers again: what waits goes at once
            waiting = (HookDelivery.hook_id == hook_id, HookDelivery.status == HookStatus.WAITING)
            late = (*waiting, HookDelivery.next_at > now + timedelta(seconds=LEASE_S))
            await session.execute(update(HookDelivery).where(*late).values(next_at=now))
        return
    since = await session.scalar(
        update(Hook)
        .where(Hook.id == hook_id)
        .values(failing_since=func.coalesce(Hook.failing_since, now))
        .returning(Hook.failing_since)
    )
    if since is None:
        return
    if result.http_status == GONE:
        await disable(session, hook_id, reason="the receiver answered 410: it wants no more", now=now)
    elif hooks.disables(since, now):
        days = hooks.DISABLE_AFTER.days
        await disable(session, hook_id, reason=f"nothing was taken for {days} days: {result.error}", now=now)


async def forget_old(session: AsyncSession, *, now: datetime) -> None:
    """The log holds 30 days."""
    over = (HookDelivery.created_at < now - KEPT, HookDelivery.status != HookStatus.WAITING)
    await session.execute(delete(HookDelivery).where(*over))
