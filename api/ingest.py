"""Webhook bodies into the database: many requests share one commit, each is answered after its own is durable."""

import asyncio
from dataclasses import dataclass, field

import structlog

from core import queue
from core.db import Sessions
from core.errors import Unavailable
from core.queue import Ringer, transaction
from core.services import webhooks

log = structlog.get_logger()

MOST_WAITING = 2000  # beyond it the provider is asked to come again, which it does for days
MOST_TOGETHER = 500


@dataclass
class _Body:
    body: bytes
    stored: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Ingest:
    """One task that commits what has arrived since its last commit."""

    def __init__(self, sessions: Sessions, ringer: Ringer) -> None:
        self.sessions = sessions
        self.ringer = ringer
        self.arrived: asyncio.Queue[_Body] = asyncio.Queue(MOST_WAITING)
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Commit what has arrived, then end."""
        if self.task is not None:
            await self.arrived.join()
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def put(self, body: bytes) -> None:
        """Return once the body is committed; raises Unavailable when it cannot be, and then nothing was stored."""
        item = _Body(body)
        try:
            self.arrived.put_nowait(item)
        except asyncio.QueueFull as full:
            raise Unavailable("too many webhooks are waiting; send it again") from full
        await item.stored

    async def _run(self) -> None:
        while True:
            batch = [await self.arrived.get()]
            while len(batch) < MOST_TOGETHER and not self.arrived.empty():
                batch.append(self.arrived.get_nowait())
            try:
                await self._store(batch)
            finally:
                for _ in batch:
                    self.arrived.task_done()

    async def _store(self, batch: list[_Body]) -> None:
        try:
            async with transaction(self.sessions, self.ringer) as session:
                await webhooks.store(session, [item.body for item in batch])
                queue.ring_after_commit(session, queue.RECORD_WEBHOOKS)
        except Exception as failed:  # this task serves every webhook, so it must outlive what nobody foresaw
            log.error("webhooks.not_stored", bodies=len(batch), error=type(failed).__name__)
            for item in batch:
                if not item.stored.done():
                    item.stored.set_exception(Unavailable("the webhook could not be stored; send it again"))
            return
        for item in batch:
            if not item.stored.done():  # the caller may have gone
                item.stored.set_result(None)
