"""The parts a running API holds, and the transaction each request works in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from litestar.datastructures import State
from litestar.di import NamedDependency
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncSession

from core.clock import utc_now
from core.db import Sessions
from core.keys import Keyring
from core.live import WORKER_HEARTBEAT
from core.queue import Ringer, transaction
from core.services.standing import Standings
from core.settings import Settings
from core.whatsapp.client import WhatsAppClient


@dataclass(frozen=True)
class Parts:
    """Made once at start, closed at the end."""

    settings: Settings
    sessions: Sessions
    ringer: Ringer
    valkey: Redis
    whatsapp: WhatsAppClient
    keyring: Keyring
    standings: Standings = field(default_factory=Standings)


Db = NamedDependency[AsyncSession]  # the request's transaction
Held = NamedDependency[Parts]
Now = NamedDependency[datetime]  # UTC, the same throughout a request


async def provide_session(state: State) -> AsyncIterator[AsyncSession]:
    """The request's transaction: committed after the handler and before the answer, then its bells are rung."""
    parts: Parts = state.parts
    async with transaction(parts.sessions, parts.ringer) as session:
        yield session


def provide_parts(state: State) -> Parts:
    parts: Parts = state.parts
    return parts


def provide_now() -> datetime:
    return utc_now()


async def worker_alive(parts: Parts) -> bool:
    """Whether a worker's heartbeat is fresh; without Valkey no worker gets anything to do."""
    try:
        return bool(await parts.valkey.get(WORKER_HEARTBEAT))
    except (RedisError, OSError):
        return False
