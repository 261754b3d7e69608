"""The lake: refreshed in a thread, every minute and on demand."""

import asyncio
from typing import Any

import structlog

from worker.parts import Parts

log = structlog.get_logger()


async def refresh_lake(ctx: dict[str, Any]) -> int:
    """Export the new window and rebuild what it touches; returns the lake's version."""
    from analytics.refresh import refresh  # noqa: PLC0415 - polars and DuckDB load only in the worker that uses them

    parts: Parts = ctx["parts"]
    result = await asyncio.to_thread(refresh, parts.settings)
    if result.changed:
        log.info("lake.refreshed", version=result.version, seconds=round(result.seconds, 2))
    return result.version
