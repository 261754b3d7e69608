"""The doorbell: jobs are rung after the transaction that made their work has committed.

A job carries ids only, reads the row again and does nothing when the work is done. Losing every bell loses
time, never work: a sweep rings again.
"""

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

pack = msgpack.packb
unpack = msgpack.unpackb


@dataclass(frozen=True)
class Bell:
    """One job to ring: its name, its id arguments, and when."""

    job: str
    arguments: tuple[str, ...]
    at: datetime | None = None

    @property
    def job_id(self) -> str:
        """The same work rung twice is one job while it waits."""
        return ":".join((self.job, *self.arguments))


class Ringer(Protocol):
    """Whoever can put a bell into the queue."""

    async def ring(self, bell: Bell) -> None: ...


class Doorbell:
    """Rings through arq."""

    def __init__(self, pool: ArqRedis) -> None:
        self.pool = pool

    async def ring(self, bell: Bell) -> None:
        """Enqueue the job unless the same one waits already; a lost bell is logged and left to the sweep."""
        try:
            await self.pool.enqueue_job(bell.job, *bell.arguments, _job_id=bell.job_id, _defer_until=bell.at)
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
