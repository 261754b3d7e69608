"""Slots: shared by all workers, evenly spaced, never more than the limit in any second."""

import asyncio
import random
import time
from bisect import bisect_left
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from core import live
from core.errors import TooManyRequests
from core.whatsapp.calls import CALLS_PER_HOUR, CallBudget
from worker.throttle import MOST_AHEAD_S, PAIR_BURST, PAIR_EVERY_S, Limit, Starts, count_inbound, pace, slow_down, start


async def handed_out(
    valkey: Redis, number: Limit, *others: Limit, workers: int, seconds: float, most: int, paced: bool = False
) -> list[float]:
    """The instants several workers were given to start at, or `paced`: to begin batches at, on one clock."""
    loop = asyncio.get_running_loop()
    starts: list[float] = []

    async def work(seed: int) -> None:
        draw = random.Random(seed)
        ends = loop.time() + seconds
        while loop.time() < ends:
            asked_at = loop.time()
            slots = await pace(valkey, number, draw.randint(1, most), *others)
            if slots.count and paced:
                starts.extend(between(asked_at, loop.time()) + slots.wait_s + slots.spacing_s * n for n in range(most))
            elif slots.count:
                await asyncio.sleep(slots.wait_s)
                asked_at = loop.time()
                begun = await start(valkey, number, [uuid4() for _ in range(slots.count)], within_s=0.2)
                assert begun is not None
                first = between(asked_at, loop.time()) + begun.wait_s
                starts.extend(first + begun.spacing_s * n for n in range(slots.count))
            await asyncio.sleep(min(slots.wait_s, 0.05))

    await asyncio.gather(*(work(seed) for seed in range(workers)))
    return sorted(starts)


def between(asked_at: float, answered_at: float) -> float:
    """When the clock in Valkey was read: at some instant between the two; the middle is off by half at most."""
    return (asked_at + answered_at) / 2


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
        starts = await handed_out(valkey, Limit("number", per_second), workers=workers, seconds=2.5, most=5)

    assert most_in_a_second(starts) <= per_second
    assert len(starts) >= 0.9 * per_second * (starts[-1] - starts[0])


async def test_of_several_limits_the_tightest_decides(valkey_url: str) -> None:
    async with Redis.from_url(valkey_url) as valkey:
        numbers = (Limit("wide", 1000), Limit("campaign", 50))
        starts = await handed_out(valkey, *numbers, workers=3, seconds=2.0, most=1, paced=True)

    assert most_in_a_second(starts) <= 50


async def test_slots_are_not_handed_out_far_ahead(valkey_url: str) -> None:
    async with Redis.from_url(valkey_url) as valkey:
        while (slots := await pace(valkey, Limit("number", 10), 2)).count:
            assert slots.wait_s <= MOST_AHEAD_S

    assert slots.wait_s > MOST_AHEAD_S


# Every example has a limit of its own, so that they may share the server.
VIRTUAL = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EPOCH_US = 1_800_000_000_000_000
STEPS = st.lists(st.tuples(st.integers(0, 700_000), st.integers(1, 50)), min_size=5, max_size=60)


@VIRTUAL
@given(st.sampled_from([1, 7, 80, 1000]), STEPS)
def test_no_window_of_a_second_is_overfull_whatever_is_asked_when(
    valkey_url: str, per_second: int, steps: list[tuple[int, int]]
) -> None:
    async def play() -> list[float]:
        limit, now, starts = Limit(f"number:{uuid4()}", per_second), EPOCH_US, []
        async with Redis.from_url(valkey_url) as valkey:
            for later, wanted in steps:
                now += later
                begun = await start(valkey, limit, [uuid4() for _ in range(wanted)], within_s=0.1, now_us=now)
                if begun is not None:
                    assert begun.wait_s <= 0.1
                    starts += [now / 1e6 + begun.wait_s + at * begun.spacing_s for at in range(wanted)]
        return starts

    starts = asyncio.run(play())

    assert starts == sorted(starts)
    for at, first in enumerate(starts):
        assert sum(1 for other in starts[at : at + per_second + 2] if other < first + 1 - 1e-6) <= per_second


@VIRTUAL
@given(st.sampled_from([0.1, 1.0, 7.0, 50.0]), STEPS)
def test_no_window_holds_more_of_a_campaign_than_its_own_pace(
    valkey_url: str, per_second: float, steps: list[tuple[int, int]]
) -> None:
    async def play() -> list[float]:
        number, campaign = Limit(f"number:{uuid4()}", 1000), Limit(f"campaign:{uuid4()}", per_second)
        now, begun = EPOCH_US, []
        async with Redis.from_url(valkey_url) as valkey:
            for later, wanted in steps:
                now += later
                slots = await pace(valkey, number, wanted, campaign, now_us=now)
                assert slots.wait_s <= MOST_AHEAD_S or not slots.count
                begun += [now / 1e6 + slots.wait_s + at * slots.spacing_s for at in range(slots.count)]
        return begun

    begun = asyncio.run(play())

    window_s = max(1.0, 1 / per_second)  # a pace of less than one a second is one in so many seconds
    most = max(1, round(per_second))
    for at, first in enumerate(begun):
        assert sum(1 for other in begun[at : at + most + 2] if other < first + window_s - 1e-6) <= most


@VIRTUAL
@given(st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(1, 20)), min_size=3, max_size=40))
def test_no_person_gets_more_than_the_pair_limit_in_any_window(valkey_url: str, steps: list[tuple[int, int]]) -> None:
    async def play() -> list[float]:
        limit, person, now, sent = Limit(f"number:{uuid4()}", 1000), uuid4(), EPOCH_US, []
        async with Redis.from_url(valkey_url) as valkey:
            for later, wanted in steps:
                now += later
                begun = await start(valkey, limit, [person] * wanted, within_s=0.1, now_us=now)
                assert begun is not None
                sent += [now / 1e6 for held_s in begun.held_s if not held_s]
        return sent

    sent = asyncio.run(play())

    for at, first in enumerate(sent):
        for number, last in enumerate(sent[at:], start=1):
            assert number <= PAIR_BURST + (last - first) / PAIR_EVERY_S + 1e-6
    assert len(sent) >= min(PAIR_BURST, sum(wanted for _, wanted in steps))


async def test_what_comes_in_makes_room_and_a_refusal_slows_down(valkey_url: str) -> None:
    limit = Limit(f"sender:{uuid4()}", 100)
    async with Redis.from_url(valkey_url) as valkey:
        await count_inbound(valkey, limit, 40)
        late = await start(valkey, limit, [uuid4()], within_s=1.0)
        assert late is not None and 0.3 < late.wait_s <= 0.411  # 40 intervals of 10,256 µs
        assert await start(valkey, limit, [uuid4()], within_s=0.1) is None

        await slow_down(valkey, limit.name)
        assert 0.94 < await live.share(valkey, limit.name) < 0.97  # one refusal may be a stray
        await asyncio.sleep(1.1)
        await slow_down(valkey, limit.name)
        slower = await start(valkey, limit, [uuid4()], within_s=1.0)
        assert slower is not None and slower.spacing_s > 1.3 * late.spacing_s
        assert 0.69 < await live.share(valkey, limit.name) < 0.76


async def test_a_process_that_was_held_up_starts_no_more_than_the_limit_in_any_second() -> None:
    loop = asyncio.get_running_loop()
    starts, instants = Starts(20, clock=loop.time), []

    async def one(at: float) -> None:
        await asyncio.sleep(at)
        await starts.wait()
        instants.append(loop.time())

    async def hold_up() -> None:
        await asyncio.sleep(0.9)
        time.sleep(0.4)  # noqa: ASYNC251 - as a busy machine does

    await asyncio.gather(hold_up(), *(one(number / 20 * 1.02) for number in range(60)))

    assert len(instants) == 60
    assert min(instants[at + 20] - instants[at] for at in range(40)) >= 0.999


async def test_no_hour_holds_more_management_calls_than_the_provider_allows(valkey_url: str) -> None:
    now, taken = EPOCH_US, []
    async with Redis.from_url(valkey_url) as valkey:
        await valkey.delete("throttle:management")
        budget = CallBudget(valkey)
        for _ in range(1500):
            now += 2_400_000 if random.random() < 0.9 else 60_000_000
            for _ in range(random.choice([1, 2, 8])):
                try:
                    await budget.take(now_us=now)
                    taken.append(now)
                except TooManyRequests as refused:
                    assert refused.retry_after_s >= 1
        await valkey.delete("throttle:management")

    starts = [bisect_left(taken, at - 3_600_000_000) for at in taken]
    assert max(at - first + 1 for at, first in enumerate(starts)) <= CALLS_PER_HOUR
    assert len(taken) > CALLS_PER_HOUR / 3
