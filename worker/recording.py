"""Recording: what webhooks said, folded into rows."""

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import select

from core import queue
from core.clock import utc_now
from core.consent import ledger
from core.models import Sender
from core.queue import transaction
from core.services import breakers, consents, integrity, recovery, remembering, webhook_log, webhooks
from core.services.webhook_reading import Reader
from worker.parts import Parts
from worker.throttle import count_inbound, throughput

log = structlog.get_logger()


async def record_webhooks(ctx: dict[str, Any]) -> int:
    """Record every waiting body, in order of arrival; returns how many."""
    parts: Parts = ctx["parts"]
    total, reader = 0, Reader(parts.sessions)
    try:
        while not parts.stopping.is_set():
            async with transaction(parts.sessions, parts.doorbell) as session:
                done = await webhooks.record_waiting(session, reader, keyring=parts.keyring, settings=parts.settings)
            if done.inbound:
                await _make_room(parts, done.inbound)
            if done.stopping:  # numbers are locked before messages, so not in the transaction above
                async with transaction(parts.sessions, parts.doorbell) as session:
                    await breakers.trip_reported(session, done.stopping, now=utc_now())
            total += done.bodies
            if not done.bodies:
                break
    finally:
        await reader.close()
    return total


async def _make_room(parts: Parts, inbound: Mapping[str, int]) -> None:
    """What people write counts against a number's throughput like what is sent from it."""
    async with parts.sessions() as session:
        theirs = list(await session.scalars(select(Sender).where(Sender.phone_number_id.in_(inbound))))
    for sender in theirs:
        await count_inbound(parts.valkey, throughput(sender), inbound[sender.phone_number_id])


async def sweep_webhooks(ctx: dict[str, Any]) -> None:
    """Ring for waiting bodies, match parked statuses, finish pending withdrawals, let time-outs of consent happen."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        await webhooks.match_parked(session)
        queue.ring_after_commit(session, queue.RECORD_WEBHOOKS)
    async with transaction(parts.sessions, parts.doorbell) as session:
        await consents.finish_pending(session, keyring=parts.keyring, settings=parts.settings, now=utc_now())


async def raise_orphans(ctx: dict[str, Any]) -> None:
    """Alert when statuses came of messages that nobody here has sent."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        await webhook_log.raise_orphans(session, keyring=parts.keyring, now=utc_now())


async def settle_consents(ctx: dict[str, Any]) -> None:
    """Let time do its part: grants expire, requests lapse, holds nobody answered become withdrawals."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        settled = await consents.settle_due(session, keyring=parts.keyring, settings=parts.settings, now=utc_now())
    if settled:
        log.info("consents.settled", count=settled)


async def sign_checkpoint(ctx: dict[str, Any]) -> None:
    """Sign the ledger's size and root when it has grown, and remember that and who is to be refused outside.

    A ledger that is not the one signed last is not signed: first somebody has to look at it.
    """
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        fork = await recovery.watch(session, parts.keyring, now=utc_now())
        if fork is not None:
            return
        signed = await ledger.checkpoint(session, parts.keyring)
    if signed is not None:
        async with parts.sessions() as session:  # what was committed only: the witness must never be ahead
            await remembering.remember(session, parts.keyring, signed.size)
        log.info("ledger.signed", size=signed.size)


async def watch_ledger(ctx: dict[str, Any]) -> None:
    """Hold the ledger against what was signed last; a restored backup pauses what needs a consent.

    Many events are signed at once, a few with the clock.
    """
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        fork = await recovery.watch(session, parts.keyring, now=utc_now())
        if fork is not None:
            await remembering.remember_meanwhile(session, parts.keyring, fork)
        elif await ledger.unsigned(session) >= ledger.SIGNED_EVERY:
            queue.ring_after_commit(session, queue.SIGN_LEDGER)


async def verify_ledger(ctx: dict[str, Any]) -> bool:
    """Check the whole ledger and keep what was found; whether it is what it was."""
    parts: Parts = ctx["parts"]
    async with parts.sessions.begin() as session:
        check = await integrity.verify(session, parts.keyring)
    if check.passed:
        log.info("ledger.verified", size=check.size, ms=check.took_ms)
    else:
        log.error("ledger.damaged", size=check.size, findings=check.findings[:5])
    return check.passed
