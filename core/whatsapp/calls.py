"""The provider's hourly limit of management calls (templates, media, subscriptions), kept by all processes together.

5,000 calls an hour for an app on an account with a registered number; sends are not counted.
Source: developers.facebook.com/docs/graph-api/overview/rate-limiting (business use case limits), read 2026-11.
"""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.errors import TooManyRequests

CALLS_PER_HOUR = 5000
AT_ONCE = 500  # the rest is spread over the hour, so that no hour holds more than the limit
_EVERY_US = 3600 * 1_000_000 / (CALLS_PER_HOUR - AT_ONCE)

# The generic cell rate algorithm with a burst, on Valkey's clock unless ARGV names an instant in µs (0: it does not).
# Returns 0, or the wait in µs.
_TAKE = """
local now = tonumber(ARGV[1])
if now == 0 then
    local clock = redis.call('TIME')
    now = clock[1] * 1000000 + clock[2]
end
local every, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local busy = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
local wait = busy - now - every * (burst - 1)
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.0f', busy + every), 'PX', 7200000)
return 0
"""


class CallBudget:
    """What is left of the hour's management calls."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey = valkey

    async def take(self, *, now_us: int = 0) -> None:
        """Use one call; raises TooManyRequests, which says when the next is free. `now_us` replaces the clock (tests).

        Without Valkey nothing is counted: these calls are few, and the provider counts them itself.
        """
        arguments = [str(now_us), f"{_EVERY_US:.1f}", str(AT_ONCE)]
        try:
            wait_us = int(await cast(Awaitable[int], self._valkey.eval(_TAKE, 1, "throttle:management", *arguments)))
        except (RedisError, OSError):
            return
        if wait_us:
            free_at = datetime.now(UTC) + timedelta(microseconds=wait_us)
            raise TooManyRequests(
                f"the provider allows {CALLS_PER_HOUR:,} management calls an hour and they are used up;"
                f" the next is free at {free_at:%H:%M:%S} UTC",
                retry_after_s=wait_us // 1_000_000 + 1,
            )
