"""One pace for all workers: instants handed out by Valkey, evenly spaced, never more than the limit.

Instead of a bucket that can be emptied at once, every limit keeps the instant of its next free slot (the virtual
scheduling form of the generic cell rate algorithm, ITU-T I.371), so no window of a second holds more than the limit.

A batch asks twice. `pace` spreads the batches before anything is claimed, under all limits at once. `start` then
hands out the very instants at which the requests begin, once nothing but the requests is left to do: a batch that
was held up by a lock uses no instant that has passed, and two batches never share one. So that no instant is lost
between the two, a number's batches are paced a little faster than it may go, while few of its requests are waiting.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from redis.asyncio import Redis

from core import live
from core.live import WON_BACK_PER_S
from core.models import Sender

MOST_AHEAD_S = 0.5  # nothing is handed out further into the future: what goes first must not wait behind bulk
MOST_QUEUED_S = 0.08  # of a number's requests that have their instants: another batch is not begun behind more
EAGER = 1.05  # times a number's limit: how fast its batches may be begun
MARGIN = 0.975  # of the limit: a request that is 25 ms early or late on its way still fits the provider's second

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

# KEYS: one per limit, then the number's next instant. ARGV: the instant or 0, how many are wanted, how far ahead in
# µs, what is won back per second, how far ahead the number's instants may be, then the name and the interval in µs of
# each limit. Returns how many, the first one's distance from now in µs, and the spacing in µs.
_PACE = (
    _FACTOR
    + """
local wanted, ahead, won_back = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local start, spacing = now, 0
for i = 1, #KEYS - 1 do
    local free = tonumber(redis.call('GET', KEYS[i]) or '0')
    if free > start then start = free end
    local interval = tonumber(ARGV[5 + 2 * i]) / factor_of(ARGV[4 + 2 * i], now, won_back)
    if interval > spacing then spacing = interval end
end
local queued = tonumber(redis.call('GET', KEYS[#KEYS]) or '0') - now - tonumber(ARGV[5])
if queued > 0 then
    return {0, queued, spacing}
end
if start - now > ahead then
    return {0, start - now, spacing}
end
for i = 1, #KEYS - 1 do
    redis.call('SET', KEYS[i], string.format('%.0f', start + wanted * spacing), 'PX', 60000)
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


async def pace(valkey: Redis, number: Limit, wanted: int, *others: Limit, now_us: int = 0) -> Slots:
    """Room for `wanted` messages from a number, also under other limits, or none.

    The others are kept exactly; of the number, `start` says when. `now_us` replaces Valkey's clock (tests).
    """
    keys = [f"throttle:pace:{limit.name}" for limit in (number, *others)] + [f"throttle:start:{number.name}"]
    ahead, queued = (str(round(seconds * 1_000_000)) for seconds in (MOST_AHEAD_S, MOST_QUEUED_S))
    arguments = [str(now_us), str(wanted), ahead, str(WON_BACK_PER_S), queued]
    arguments += [number.name, f"{number.interval_us / EAGER:.1f}"]
    for limit in others:
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
# (additive increase, multiplicative decrease). The first refusal after a quiet while is most likely one request that
# came off its instant, and costs little; a limit that really is lower refuses again a second later.
SLOWED = 0.7
STRAYED = 0.95
QUIET_S = 10.0
LEAST = 0.05

_SLOW_DOWN = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local factor, slowed = 1, tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 'factor', 'since')
if kept[1] then
    local since = tonumber(kept[2])
    if now - since < 1 then return kept[1] end
    factor = math.min(1, tonumber(kept[1]) + (now - since) * tonumber(ARGV[3]))
    if now - since < tonumber(ARGV[5]) then slowed = tonumber(ARGV[1]) end
end
factor = math.max(tonumber(ARGV[2]), factor * slowed)
redis.call('HSET', KEYS[1], 'factor', tostring(factor), 'since', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], 3600)
return tostring(factor)
"""


async def slow_down(valkey: Redis, name: str) -> None:
    """The provider's limiter refused: everyone under this limit slows down for now."""
    arguments = [str(number) for number in (SLOWED, LEAST, WON_BACK_PER_S, STRAYED, QUIET_S)]
    await cast(Awaitable[str], valkey.eval(_SLOW_DOWN, 1, f"throttle:factor:{name}", *arguments))


class Starts:
    """The requests this process really started: no second holds more than the limit, however late it got to them.

    The instants Valkey hands out are even, but a process that was held up gets to several of them at once.
    """

    def __init__(self, per_second: int, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: deque[float] = deque(maxlen=per_second)

    async def wait(self) -> None:
        """Return as soon as one more request may start, and count it."""
        while len(self._last) == self._last.maxlen and (wait_s := self._last[0] + 1.0 - self._clock()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait_s)
        self._last.append(self._clock())
