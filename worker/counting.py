"""Counting: audiences' sizes, in the background, so that no page ever waits for one."""

from typing import Any
from uuid import UUID

import structlog

from core import queue
from core.clock import utc_now
from core.queue import transaction
from core.services import audience_counts
from worker.parts import Parts

log = structlog.get_logger()

AT_ONCE = 5


async def count_audience(ctx: dict[str, Any], audience_id: str) -> None:
    """Count one audience and keep the result; nothing when it is gone."""
    parts: Parts = ctx["parts"]
    async with parts.sessions.begin() as session:
        counted = await audience_counts.refresh(session, UUID(audience_id), now=utc_now())
    if counted is not None:
        log.info("audience.counted", audience_id=audience_id, ms=counted.count_ms, error=counted.count_error)


async def ring_counts(ctx: dict[str, Any]) -> None:
    """The sweep: ring for audiences whose count is old."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        for audience_id in await audience_counts.stale(session, now=utc_now(), limit=AT_ONCE):
            queue.ring_after_commit(session, queue.COUNT_AUDIENCE, audience_id)
