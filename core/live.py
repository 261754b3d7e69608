"""What the workers say about this very moment, kept in Valkey: it is gone a little after it is over."""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from arq.constants import default_queue_name, health_check_key_suffix
from redis.asyncio import Redis
from redis.exceptions import RedisError

WORKER_HEARTBEAT = default_queue_name + health_check_key_suffix  # arq's worker writes it
PROVIDER_DOWN = "provider:down"
PROVIDER_DOWN_S = 15  # how long one failed try speaks for the provider
WON_BACK_PER_S = 0.05  # of a limit after the provider refused


@dataclass(frozen=True)
class Live:
    """The moment, as far as one number is concerned."""

    worker_alive: bool
    provider_down: bool
    share: float  # of the number's limit in use; below 1 after the provider's limiter refused


AWAY = Live(worker_alive=False, provider_down=False, share=1.0)


async def look(valkey: Redis, sender_id: UUID) -> Live:
    """What is so now; without Valkey no worker gets anything to do."""
    try:
        alive, down = await valkey.mget(WORKER_HEARTBEAT, PROVIDER_DOWN)
        return Live(bool(alive), bool(down), await share(valkey, sender_limit(sender_id)))
    except (RedisError, OSError):
        return AWAY


def sender_limit(sender_id: UUID) -> str:
    """The name of a number's own limit."""
    return f"sender:{sender_id}"


async def share(valkey: Redis, limit: str) -> float:
    """The share of a limit in use now: 1 unless the provider's limiter refused lately."""
    kept = await cast(Awaitable[list[bytes | None]], valkey.hmget(f"throttle:factor:{limit}", ["factor", "since"]))
    if kept[0] is None or kept[1] is None:
        return 1.0
    seconds = max(0.0, time.time() - float(kept[1]))
    return min(1.0, float(kept[0]) + seconds * WON_BACK_PER_S)


async def provider_answers(valkey: Redis) -> None:
    """Take back at once that it does not."""
    await valkey.delete(PROVIDER_DOWN)


async def provider_is_down(valkey: Redis) -> None:
    """Say that no connection to the provider could be made, or that nothing came back."""
    await valkey.set(PROVIDER_DOWN, b"1", ex=PROVIDER_DOWN_S)
