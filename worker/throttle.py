"""One pace for all workers: slots handed out by Valkey, evenly spaced, never more than the limit.

A slot is an instant at which one request may start. Instead of a bucket that can be emptied at once, every limit
keeps the instant of its next free slot (the virtual scheduling form of the generic cell rate algorithm, ITU-T
I.371), so no window of a second holds more than the limit.
"""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

MOST_AHEAD_S = 0.5  # slots are not handed out further into the future: what goes first must not wait behind bulk
MARGIN = 0.99  # of the limit; the provider's clock is not ours

# KEYS: one per limit. ARGV: how many slots are wanted, how far ahead in µs, then each limit's interval in µs.
# Returns how many slots, the first one's distance from now in µs, and the spacing in µs.
_RESERVE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wanted, ahead = tonumber(ARGV[1]), tonumber(ARGV[2])
local start, spacing = now, 0
for i, key in ipairs(KEYS) do
    local free = tonumber(redis.call('GET', key) or '0')
    if free > start then start = free end
    local interval = tonumber(ARGV[2 + i])
    if interval > spacing then spacing = interval end
end
if start - now > ahead then
    return {0, start - now, spacing}
end
for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', start + wanted * spacing), 'PX', 60000)
end
return {wanted, start - now, spacing}
"""


@dataclass(frozen=True)
class Slots:
    """`count` slots, the first `wait_s` from now, then one every `spacing_s`; with none, ask again after `wait_s`."""

    count: int
    wait_s: float
    spacing_s: float


@dataclass(frozen=True)
class Limit:
    """A name shared by everyone under the limit, and its messages per second."""

    name: str
    per_second: float


async def reserve(valkey: Redis, limits: list[Limit], wanted: int) -> Slots:
    """Take `wanted` slots under all the limits at once, or none."""
    factors = [await _factor(valkey, limit.name) for limit in limits]
    speeds = [limit.per_second * MARGIN * factor for limit, factor in zip(limits, factors, strict=True)]
    intervals = [round(1_000_000 / speed) for speed in speeds]
    keys = [f"throttle:{limit.name}" for limit in limits]
    arguments = [str(number) for number in (wanted, round(MOST_AHEAD_S * 1_000_000), *intervals)]
    answer = await cast(Awaitable[list[int]], valkey.eval(_RESERVE, len(keys), *keys, *arguments))
    count, wait, spacing = (int(part) for part in answer)
    return Slots(count, max(0, wait) / 1_000_000, spacing / 1_000_000)


# The provider refused because of its limiter: slow down, at most once a second, and win it back slowly
# (additive increase, multiplicative decrease). Stored as the factor and the instant it was set.
SLOWED = 0.7
LEAST = 0.05
WON_BACK_PER_S = 0.05

_SLOW_DOWN = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local factor, since = 1, now
local kept = redis.call('HMGET', KEYS[1], 'factor', 'since')
if kept[1] then
    factor, since = tonumber(kept[1]), tonumber(kept[2])
    if now - since < 1 then return kept[1] end
    factor = math.min(1, factor + (now - since) * tonumber(ARGV[3]))
end
factor = math.max(tonumber(ARGV[2]), factor * tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'factor', tostring(factor), 'since', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], 3600)
return tostring(factor)
"""


async def slow_down(valkey: Redis, name: str) -> None:
    """The provider's limiter refused: everyone under this limit slows down for now."""
    arguments = [str(number) for number in (SLOWED, LEAST, WON_BACK_PER_S)]
    await cast(Awaitable[str], valkey.eval(_SLOW_DOWN, 1, f"throttle:factor:{name}", *arguments))


async def _factor(valkey: Redis, name: str) -> float:
    """The share of the limit to use now: 1 unless the provider's limiter refused lately."""
    kept = await cast(Awaitable[list[bytes | None]], valkey.hmget(f"throttle:factor:{name}", ["factor", "since"]))
    if kept[0] is None or kept[1] is None:
        return 1.0
    seconds = max(0.0, time.time() - float(kept[1]))
    return min(1.0, float(kept[0]) + seconds * WON_BACK_PER_S)
