"""The lake: refreshed every minute and on demand, in a process of its own.

polars and DuckDB take memory that stays taken and hold the interpreter's lock; neither may slow the sending down.
"""

import asyncio
import sys
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import exists, select

from core import queue
from core.clock import utc_now
from core.models import Campaign, Import, LakeHead
from core.queue import transaction
from core.settings import ROOT
from core.statuses import CampaignStatus, ImportStatus
from worker.parts import Parts

log = structlog.get_logger()

AT_LATEST = timedelta(minutes=5)  # the longest a refresh waits for rows that are being made
_ROWS_ARE_MADE = select(
    exists().where(Campaign.status == CampaignStatus.EXPANDING) | exists().where(Import.status == ImportStatus.RUNNING)
)


async def refresh_lake(ctx: dict[str, Any]) -> int:
    """Export the new window and rebuild what it touches; returns the lake's version, or 0 when it failed."""
    parts: Parts = ctx["parts"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "analytics",
        cwd=ROOT,
        env=parts.settings.as_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        answer, complaint = await process.communicate()
    finally:
        if process.returncode is None:  # this job was given up: its process must not go on holding the lake
            process.kill()
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        log.error("lake.failed", status=process.returncode, error=last[:500])
        return 0
    version = int(answer)
    log.info("lake.refreshed", version=version)
    return version


async def ring_refresh(ctx: dict[str, Any]) -> None:
    """The sweep: ring for a refresh when the last one is long enough ago.

    While a campaign's rows are being made or a file is being imported it waits for the last of them, a few minutes at
    most: they would be exported in pieces, each for the price of the whole, and the work would take longer.
    """
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        last = await session.scalar(select(LakeHead.updated_at))
        interval = timedelta(seconds=parts.settings.lake_interval_s)
        if last is not None and await session.scalar(_ROWS_ARE_MADE):
            interval = max(interval, AT_LATEST)
        if last is None or utc_now() - last >= interval:
            queue.ring_after_commit(session, queue.REFRESH_LAKE)
