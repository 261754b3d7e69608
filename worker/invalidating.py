"""Making consents invalid: people by people, resumed where it stopped."""

from typing import Any
from uuid import UUID

import structlog

from core import queue
from core.clock import utc_now
from core.queue import transaction
from core.services import invalidating
from core.services.invalidating import Step
from worker.parts import Parts

log = structlog.get_logger()


async def invalidate_consents(ctx: dict[str, Any], invalidation_id: str) -> int:
    """End the consents an invalidation names; returns in how many parts. Does nothing when it is done."""
    parts: Parts = ctx["parts"]
    done = 0
    while not parts.stopping.is_set():
        async with parts.sessions.begin() as session:
            step = await invalidating.end_some(
                session, UUID(invalidation_id), keyring=parts.keyring, settings=parts.settings, now=utc_now()
            )
        if step is Step.DONE:
            log.info("invalidation.done", invalidation_id=invalidation_id)
        if step is not Step.MORE:  # what waits is rung for again by the sweep
            break
        done += 1
    return done


async def ring_invalidations(ctx: dict[str, Any]) -> None:
    """The sweep: ring for what waits, or whose worker died."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        for invalidation_id in await invalidating.open_ones(session):
            queue.ring_after_commit(session, queue.INVALIDATE_CONSENTS, invalidation_id)
