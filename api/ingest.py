"""Webhook bodies into the database: many requests share one commit, each is answered after its own is durable.

Everything that waits is bounded in number, bytes and time: beyond it the provider is asked to come again, which it
does for days. So a slow database costs time, and never memory or a body that was answered with 200.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from api.turns import Turns
from core import queue
from core.db import Sessions
from core.errors import Unavailable
from core.queue import Bell, Ringer
from core.services import webhooks

log = structlog.get_logger()

MOST_WAITING = 2000
MOST_WAITING_BYTES = 64 << 20
MOST_TOGETHER = 1000
# Company is waited for before each commit: a commit costs about a millisecond of processor time whatever it carries,
# and the provider's own latency is a hundred times this.
GATHER_S = 0.01
MOST_TOGETHER_BYTES = 16 << 20
ANSWER_WITHIN_S = 8.0  # the provider gives up at some point; better a clear no than a late yes
MOST_SPEAKING = 8  # bodies with withdrawals that are recorded at the same moment; each holds a connection
MOST_SPEAKING_WAITING = 400


@dataclass
class _Body:
    body: bytes
    stored: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Ingest:
    """One task that commits what has arrived since its last commit, and one that rings for it."""

    def __init__(self, sessions: Sessions, ringer: Ringer, *, patience_s: float = ANSWER_WITHIN_S) -> None:
        """A commit is given up after `patience_s`, and with it whatever waits at that moment."""
        self.sessions = sessions
        self.patience_s = patience_s
        self.ringer = ringer
        self.waiting: list[_Body] = []
        self.waiting_bytes = 0
        self.arrived = asyncio.Event()
        self.committed = asyncio.Event()
        self.speaking = Turns(MOST_SPEAKING, MOST_SPEAKING_WAITING)
        self.stopping = False
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.tasks = [asyncio.create_task(self._commit_all()), asyncio.create_task(self._ring())]

    async def stop(self) -> None:
        """Commit what has arrived, then end."""
        self.stopping = True
        self.arrived.set()
        if self.tasks:
            committing, ringing = self.tasks
            await committing
            ringing.cancel()
            with suppress(asyncio.CancelledError):
                await ringing

    async def put(self, body: bytes) -> None:
        """Return once the body is committed; raises Unavailable when it is not, or not in time."""
        if len(self.waiting) >= MOST_WAITING or self.waiting_bytes + len(body) > MOST_WAITING_BYTES or self.stopping:
            raise Unavailable("too many webhooks are waiting; send it again")
        item = _Body(body)
        self.waiting.append(item)
        self.waiting_bytes += len(body)
        self.arrived.set()
        await item.stored

    async def _commit_all(self) -> None:
        while not self.stopping or self.waiting:
            await self.arrived.wait()
            self.arrived.clear()
            while self.waiting:
                if len(self.waiting) < MOST_TOGETHER and not self.stopping:
                    await asyncio.sleep(GATHER_S)
                await self._store(self._next())

    def _next(self) -> list[_Body]:
        size = count = 0
        for item in self.waiting[:MOST_TOGETHER]:
            size += len(item.body)
            if count and size > MOST_TOGETHER_BYTES:
                break
            count += 1
        batch, self.waiting = self.waiting[:count], self.waiting[count:]
        self.waiting_bytes -= sum(len(item.body) for item in batch)
        return batch

    async def _store(self, batch: list[_Body]) -> None:
        try:
            async with asyncio.timeout(self.patience_s), self.sessions.begin() as session:
                await webhooks.store(session, [item.body for item in batch])
        except Exception as failed:  # this task serves every webhook, so it must outlive what nobody foresaw
            late, self.waiting, self.waiting_bytes = self.waiting, [], 0  # they have waited as long: no second time-out
            log.error("webhooks.not_stored", bodies=len(batch) + len(late), error=type(failed).__name__)
            for item in (*batch, *late):
                if not item.stored.done():
                    item.stored.set_exception(Unavailable("the webhook could not be stored; send it again"))
            return
        self.committed.set()
        for item in batch:
            if not item.stored.done():  # the caller may have gone
                item.stored.set_result(None)

    async def _ring(self) -> None:
        """Ring after commits, beside the answers: a queue that hangs holds up nobody, and the sweep rings again."""
        while True:
            await self.committed.wait()
            self.committed.clear()
            await self.ringer.ring(Bell(queue.RECORD_WEBHOOKS, ()))
