"""Webhooks we send: facts become deliveries, deliveries become signed POSTs."""

import asyncio
import time
from typing import Any
from uuid import UUID

import httpx
import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from core import hooks as standard
from core import queue
from core.clock import utc_now
from core.hooks import ForbiddenTarget
from core.models import Hook
from core.queue import transaction
from core.services import hook_facts, hooks
from core.services.hooks import Claimed, Result
from worker.parts import Parts

log = structlog.get_logger()

TIMEOUT_S = 15.0
RUN_S = 50.0


async def sweep_hooks(ctx: dict[str, Any]) -> None:
    """Turn new facts into deliveries, and ring for what is due."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        await hook_facts.note_completed(session)
    async with transaction(parts.sessions, parts.doorbell) as session:
        await hook_facts.derive(session)
        await hooks.ring_due(session, now=utc_now())


async def forget_deliveries(ctx: dict[str, Any]) -> None:
    """The log of deliveries holds 30 days."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        await hooks.forget_old(session, now=utc_now())


async def deliver_hooks(ctx: dict[str, Any], hook_id: str) -> int:
    """Send one address what is due until nothing is left or the time is up; returns how many attempts were made.

    Each address has its own job, so that a slow receiver holds up nobody else.
    """
    parts: Parts = ctx["parts"]
    ends, total = asyncio.get_running_loop().time() + RUN_S, 0
    limits = httpx.Limits(max_connections=hooks.AT_ONCE)
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(limits=limits), timeout=TIMEOUT_S, follow_redirects=False
    ) as http:
        while not parts.stopping.is_set() and asyncio.get_running_loop().time() < ends:
            async with parts.sessions.begin() as session:
                claimed = await hooks.claim(session, UUID(hook_id), now=utc_now())
            if not claimed:
                return total
            async with parts.sessions() as session:
                hook = await session.get_one(Hook, UUID(hook_id))
                bodies = await _bodies(session, hook, claimed)
            results = await asyncio.gather(*(_send(parts, http, hook, each, bodies.get(each.id)) for each in claimed))
            async with parts.sessions.begin() as session:
                await hooks.record(session, results, now=utc_now())
            total += len(results)
    await parts.doorbell.ring(queue.Bell(queue.DELIVER_HOOKS, (hook_id,)))
    return total


async def _bodies(session: AsyncSession, hook: Hook, theirs: list[Claimed]) -> dict[UUID, bytes]:
    """What each delivery says; one whose fact is gone has none."""
    bodies: dict[UUID, bytes] = {}
    for source in {each.source for each in theirs}:
        mine = [each for each in theirs if each.source == source]
        facts = await hook_facts.read(
            session, source, [each.source_key for each in mine], with_phone=hook.include_phone
        )
        for each in mine:
            if (fact := facts.get(each.source_key)) is not None:
                content = {"type": each.event_type, "timestamp": fact.at, "data": fact.data}
                bodies[each.id] = msgspec.json.encode(content, order="sorted")
    return bodies


async def _send(parts: Parts, http: httpx.AsyncClient, hook: Hook, delivery: Claimed, body: bytes | None) -> Result:
    """One attempt; whatever goes wrong is its result."""
    if body is None:
        return Result(delivery, None, None, 0)  # erased in the meantime: there is nothing left to tell
    started = time.monotonic()
    status: int | None = None
    error: str | None = None
    try:
        status = await _post(parts, http, hook, delivery.event_id, body)
        if not 200 <= status < 300:
            error = f"answered {status}" + (": redirects are not followed" if 300 <= status < 400 else "")
    except ForbiddenTarget as inside:
        error = inside.message
    except httpx.TimeoutException:
        error = f"no answer within {TIMEOUT_S:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as broken:
        error = f"not reached ({type(broken).__name__})"
    if error is not None:
        log.warning("hook.failed", hook_id=str(hook.id), delivery_id=str(delivery.id), error=error)
    return Result(delivery, status, error, int((time.monotonic() - started) * 1000))


async def _post(parts: Parts, http: httpx.AsyncClient, hook: Hook, event_id: str, body: bytes) -> int:
    """POST to the address that the name stands for now, checked and then used: it cannot lead elsewhere in between."""
    url, now = httpx.URL(hook.url), utc_now()
    port = url.port or (443 if url.scheme == "https" else 80)
    address = await standard.resolve(url.host, port, allow_private=parts.settings.hooks_allow_private)
    sent_at = int(now.timestamp())
    headers = {
        "host": url.netloc.decode("ascii"),
        "content-type": "application/json",
        "user-agent": "Kairan-Webhooks/1",
        "webhook-id": event_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": standard.signature(hooks.secrets(hook, parts.keyring, now), event_id, sent_at, body),
    }
    request = http.build_request("POST", url.copy_with(host=address), content=body, headers=headers)
    request.extensions["sni_hostname"] = url.host  # the certificate is checked against the name
    response = await http.send(request, stream=True)
    await response.aclose()  # what it says does not matter, and may be endless
    return response.status_code
