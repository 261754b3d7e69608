"""Fetching what people sent: pictures, voice messages, documents."""

import asyncio
from typing import Any
from uuid import UUID

import structlog

from core import queue
from core.clock import utc_now
from core.errors import AppError
from core.queue import transaction
from core.services import received
from core.whatsapp.downloads import download
from worker.parts import Parts

log = structlog.get_logger()


async def fetch_files(ctx: dict[str, Any]) -> int:
    """Fetch every file whose turn it is; returns how many came."""
    parts: Parts = ctx["parts"]
    came = 0
    while not parts.stopping.is_set():
        async with transaction(parts.sessions, parts.doorbell) as session:
            due = [(each.id, each.provider_id) for each in await received.claim(session, now=utc_now())]
        if not due:
            return came
        came += sum(await asyncio.gather(*(_fetch(parts, file_id, provider_id) for file_id, provider_id in due)))
    return came


async def _fetch(parts: Parts, file_id: UUID, provider_id: str) -> bool:
    """One file, written before its row says so: after a crash it is fetched again to the same place."""
    folder = received.folder(parts.settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / str(file_id)
    try:
        got = await download(parts.whatsapp, provider_id, path, most_bytes=parts.settings.media_max_mb << 20)
    except AppError as why:
        async with transaction(parts.sessions, parts.doorbell) as session:
            await received.fail(session, file_id, why, settings=parts.settings, now=utc_now())
        return False
    async with transaction(parts.sessions, parts.doorbell) as session:
        wanted = await received.keep(session, file_id, path, got)
    if wanted:
        log.info("file.fetched", file_id=str(file_id), bytes=got.bytes)
    else:
        path.unlink(missing_ok=True)
    return wanted


async def ring_files(ctx: dict[str, Any]) -> None:
    """Ring for files that wait for their next try."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        if await received.is_due(session, now=utc_now()):
            queue.ring_after_commit(session, queue.FETCH_FILES)
