"""One pace for all workers: instants handed out by Valkey, evenly spaced, never more than the limit.

Instead of a bucket that can be emptied at once, every limit keeps the instant of its next free slot (the virtual
scheduling form of the generic cell rate algorithm, ITU-T I.371), so no window of a second holds more than the limit.

A batch asks twice. `pace` spreads the batches before anything is claimed, under all limits at once. `start` then
hands out the very instants at which the requests begin, once nothing but the requests is left to do: a batch that
was held up by a lock uses no instant that has passed, and two batches never share one.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from redis.asyncio import Redis

from core import live
from core.live import WON_BACK_PER_S
from core.models import Sender

MOST_AHEAD_S = 0.5  # nothing is handed out further into the future: what goes first must not wait behind bulk
MARGIN = 0.98  # of the limit: a request that is 20 ms early or late on its way still fits the provider's second

# One number may write to one person every 6 s; 45 at once are borrowed from the future.
# Source: developers.facebook.com/docs/whatsapp/cloud-api/overview (pair rate limits), read 2026-11.
PAIR_EVERY_S = 6.0
PAIR_BURST = 45

# The share of a limit to use now, kept as the factor and the instant it was set. The clock is Valkey's, one for all
# workers, unless the first argument names an instant in µs.
_FACTOR = """
local now = tonumber(ARGV[1])
if now == 0 then
    local clock = redis.call('TIME')
    now = clock[1] * 1000000 + clock[2]
end
local function factor_of(name, now, won_back)
    local kept = redis.call('HMGET', 'throttle:factor:' .. name, 'factor', 'since')
    if not kept[1] then return 1 end
    return math.min(1, tonumber(kept[1]) + math.max(0, now / 1000000 - tonumber(kept[2])) * won_back)
end
"""

# KEYS: one per limit. ARGV: the instant or 0, how many are wanted, how far ahead in µs, what is won back per second,
# then the name and the interval in µs of each limit. Returns how many, the first one's distance from now in µs, and
# the spacing in µs.
_PACE = (
    _FACTOR
    + """
local wanted, ahead, won_back = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local start, spacing = now, 0
for i, key in ipairs(KEYS) do
    local free = tonumber(redis.call('GET', key) or '0')
    if free > start then start = free end
    local interval = tonumber(ARGV[4 + 2 * i]) / factor_of(ARGV[3 + 2 * i], now, won_back)
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
)

# KEYS: the number's next instant, then one per message for the pair of number and person. ARGV: the instant or 0, the
# interval in µs, how long may be waited in µs, the pair's interval and burst tolerance in µs, the number's name, what
# is won back per second. Returns the wait in µs (-1: too long, nothing was taken), the spacing, then each pair's wait
# (0: it may go).
_START = (
    _FACTOR
    + """
local spacing = tonumber(ARGV[2]) / factor_of(ARGV[6], now, tonumber(ARGV[7]))
local pair, tolerance = tonumber(ARGV[4]), tonumber(ARGV[5])
local start = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
if start - now > tonumber(ARGV[3]) then return {-1, spacing} end
local answer, going = {start - now, spacing}, 0
for i = 2, #KEYS do
    local busy = math.max(now, tonumber(redis.call('GET', KEYS[i]) or '0'))
    local wait = busy - now - tolerance
    if wait > 0 then
        answer[i + 1] = wait
    else
        answer[i + 1] = 0
        going = going + 1
        redis.call('SET', KEYS[i], string.format('%.0f', busy + pair), 'PX', math.ceil((busy + pair - now) / 1000))
    end
end
redis.call('SET', KEYS[1], string.format('%.0f', start + going * spacing), 'PX', 60000)
return answer
"""
)

_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
for _, key in ipairs(KEYS) do
    local free = math.max(now, tonumber(redis.call('GET', key) or '0'))
    free = math.max(free, math.min(free + tonumber(ARGV[1]), now + 1000000))
    redis.call('SET', key, string.format('%.0f', free), 'PX', 60000)
end
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

    @property
    def interval_us(self) -> float:
        return 1_000_000 / (self.per_second * MARGIN)


def throughput(sender: Sender) -> Limit:
    """The number's own limit, shared by all that is sent from it and all that comes in."""
    return Limit(live.sender_limit(sender.id), sender.messages_per_second)


@dataclass(frozen=True)
class Start:
    """When a batch's requests begin: the first `wait_s` from now, then one every `spacing_s`.

    `held_s` says of each message how long it must not go yet, because its person got too many; 0 lets it go.
    """

    wait_s: float
    spacing_s: float
    held_s: list[float]


async def pace(valkey: Redis, limits: Sequence[Limit], wanted: int, *, now_us: int = 0) -> Slots:
    """Room for `wanted` messages under all the limits at once, or none. `now_us` replaces Valkey's clock (tests)."""
    keys = [f"throttle:pace:{limit.name}" for limit in limits]
    arguments = [str(now_us), str(wanted), str(round(MOST_AHEAD_S * 1_000_000)), str(WON_BACK_PER_S)]
    for limit in limits:
        arguments += [limit.name, f"{limit.interval_us:.1f}"]
    answer = await cast(Awaitable[list[int]], valkey.eval(_PACE, len(keys), *keys, *arguments))
    count, wait, spacing = (int(part) for part in answer)
    return Slots(count, max(0, wait) / 1_000_000, spacing / 1_000_000)


async def start(
    valkey: Redis, limit: Limit, people: Sequence[UUID], *, within_s: float, now_us: int = 0
) -> Start | None:
    """The instants at which a message to each of `people` begins; None when they would have to wait for too long.

    `now_us` replaces Valkey's clock (tests).
    """
    keys = [f"throttle:start:{limit.name}", *(f"throttle:pair:{limit.name}:{person}" for person in people)]
    arguments = [
        str(now_us),
        f"{limit.interval_us:.1f}",
        str(round(within_s * 1_000_000)),
        str(round(PAIR_EVERY_S * 1_000_000)),
        str(round(PAIR_EVERY_S * (PAIR_BURST - 1) * 1_000_000)),
        limit.name,
        str(WON_BACK_PER_S),
    ]
    answer = await cast(Awaitable[list[int]], valkey.eval(_START, len(keys), *keys, *arguments))
    wait, spacing, *held = (int(part) / 1_000_000 for part in answer)
    return None if wait < 0 else Start(wait, spacing, held)


async def count_inbound(valkey: Redis, limit: Limit, count: int) -> None:
    """What people wrote counts against the number's throughput as well: our own messages make room for it.

    For a second at most: the provider counts by the second, and what came in has come in already.
    """
    keys = [f"throttle:pace:{limit.name}", f"throttle:start:{limit.name}"]
    await cast(Awaitable[None], valkey.eval(_TAKE, len(keys), *keys, f"{count * limit.interval_us:.0f}"))


# The provider refused because of its limiter: slow down, at most once a second, and win it back slowly
# (additive increase, multiplicative decrease).
SLOWED = 0.7
LEAST = 0.05

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
