"""The doorbell: jobs are rung after the transaction that made their work has committed.

A job carries ids only, reads the row again and does nothing when the work is done. Losing every bell loses
time, never work: a sweep rings again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgpack
import structlog
from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncSession

from core.db import Sessions

log = structlog.get_logger()

EXPAND_CAMPAIGN = "expand_campaign"
SEND_MESSAGES = "send_messages"
RECORD_WEBHOOKS = "record_webhooks"
RUN_IMPORT = "run_import"
BUILD_AUDIT = "build_audit"
REFRESH_LAKE = "refresh_lake"
DELIVER_HOOKS = "deliver_hooks"
COUNT_AUDIENCE = "count_audience"
VERIFY_LEDGER = "verify_ledger"
SIGN_LEDGER = "sign_checkpoint"
FETCH_FILES = "fetch_files"
INVALIDATE_CONSENTS = "invalidate_consents"

IN_HAND_S = 9  # how long work stays with a worker that has stopped breathing

pack = msgpack.packb
unpack = msgpack.unpackb


@dataclass(frozen=True)
class Bell:
    """One job to ring: its name, its id arguments, and when."""

    job: str
    arguments: tuple[str, ...]
    at: datetime | None = None

    @property
    def key(self) -> str:
        """Who holds this in Valkey has the work in hand: it waits in the queue, or somebody is at it."""
        return ":".join(("in-hand", self.job, *self.arguments))


class Ringer(Protocol):
    """Whoever can put a bell into the queue."""

    async def ring(self, bell: Bell) -> None: ...


@asynccontextmanager
async def in_hand(pool: ArqRedis, bell: Bell) -> AsyncIterator[None]:
    """Keep others from starting the same work while the block runs; for a few seconds longer when it is killed."""

    async def renew() -> None:
        while True:
            await pool.set(bell.key, b"running", ex=IN_HAND_S)
            await asyncio.sleep(IN_HAND_S / 3)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await pool.delete(bell.key)


class Doorbell:
    """Rings through arq."""

    def __init__(self, pool: ArqRedis) -> None:
        self.pool = pool

    async def ring(self, bell: Bell) -> None:
        """Enqueue the job unless it is in hand already; a lost bell is logged and left to the sweep.

        Every job gets an id of its own: under a fixed one, the mark that a killed worker leaves behind would keep
        the work from everybody for as long as the longest job may take.
        """
        try:
            if bell.at is None and not await self.pool.set(bell.key, b"rung", nx=True, ex=IN_HAND_S):
                return
            await self.pool.enqueue_job(bell.job, *bell.arguments, _defer_until=bell.at)
        except (RedisError, OSError) as lost:
            log.warning("bell.lost", job=bell.job, error=type(lost).__name__)


def redis_settings(valkey_url: str) -> RedisSettings:
    return RedisSettings.from_dsn(valkey_url)


async def connect(valkey_url: str) -> ArqRedis:
    """A pool that enqueues with msgpack; raises redis ConnectionError when Valkey cannot be reached."""
    return await create_pool(redis_settings(valkey_url), job_serializer=pack, job_deserializer=unpack)


def ring_after_commit(session: AsyncSession, job: str, *ids: UUID | str, at: datetime | None = None) -> None:
    """Remember a bell; `transaction` rings it once the session's transaction has committed."""
    session.info.setdefault("bells", []).append(Bell(job, tuple(str(each) for each in ids), at))


@asynccontextmanager
async def transaction(sessions: Sessions, ringer: Ringer) -> AsyncIterator[AsyncSession]:
    """One transaction: committed at the end, then its bells are rung; rolled back on any exception."""
    async with sessions() as session:
        async with session.begin():
            yield session
        bells: list[Bell] = session.info.get("bells", [])
        for bell in dict.fromkeys(bells):
            await ringer.ring(bell)
