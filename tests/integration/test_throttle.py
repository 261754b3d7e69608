"""Slots: shared by all workers, evenly spaced, never more than the limit in any second."""

import asyncio
import random

import pytest
from redis.asyncio import Redis

from worker.throttle import MOST_AHEAD_S, Limit, pace


async def handed_out(valkey: Redis, limits: list[Limit], *, workers: int, seconds: float, most: int) -> list[float]:
    """The instants of all slots several workers were given, in seconds on one clock."""
    loop = asyncio.get_running_loop()
    starts: list[float] = []

    async def work(seed: int) -> None:
        draw = random.Random(seed)
        ends = loop.time() + seconds
        while loop.time() < ends:
            asked_at = loop.time()
            slots = await pace(valkey, limits, draw.randint(1, most))
            answered_at = loop.time()
            if slots.count:
                # The clock was read in Valkey at some instant between the two; the middle is off by half at most.
                base = (asked_at + answered_at) / 2 + slots.wait_s
                starts.extend(base + at * slots.spacing_s for at in range(slots.count))
            await asyncio.sleep(slots.wait_s if slots.count else min(slots.wait_s, 0.05))

    await asyncio.gather(*(work(seed) for seed in range(workers)))
    return sorted(starts)


def most_in_a_second(instants: list[float], *, tolerance_s: float = 0.02) -> int:
    """The fullest window of one second, less the tolerance of measuring."""
    return max(
        sum(1 for other in instants[at : at + 2000] if other < start + 1 - tolerance_s)
        for at, start in enumerate(instants)
    )


@pytest.mark.parametrize(("per_second", "workers"), [(80, 4), (400, 3)])
async def test_no_second_holds_more_than_the_limit_however_many_workers_ask(
    valkey_url: str, per_second: int, workers: int
) -> None:
    async with Redis.from_url(valkey_url) as valkey:
        starts = await handed_out(valkey, [Limit("number", per_second)], workers=workers, seconds=2.5, most=20)

    assert most_in_a_second(starts) <= per_second
    assert len(starts) >= 0.9 * per_second * (starts[-1] - starts[0])


async def test_of_several_limits_the_tightest_decides(valkey_url: str) -> None:
    limits = [Limit("number", 1000), Limit("campaign", 50)]
    async with Redis.from_url(valkey_url) as valkey:
        starts = await handed_out(valkey, limits, workers=3, seconds=2.0, most=5)

    assert most_in_a_second(starts) <= 50


async def test_slots_are_not_handed_out_far_ahead(valkey_url: str) -> None:
    async with Redis.from_url(valkey_url) as valkey:
        while (slots := await pace(valkey, [Limit("number", 10)], 2)).count:
            assert slots.wait_s <= MOST_AHEAD_S

    assert slots.wait_s > MOST_AHEAD_S
