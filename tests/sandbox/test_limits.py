"""Rate limits: what they admit in every window, and the codes of what they refuse."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.limits import PAIR_BURST, PAIR_INTERVAL_S, SlidingWindow, pair_admit
from tests.sandbox.conftest import NUMBER, WABA

gaps = st.lists(st.floats(0, 0.3), min_size=1, max_size=200)


def instants(gaps: list[float]) -> list[float]:
    now, found = 1_000.0, []
    for gap in gaps:
        now += gap
        found.append(now)
    return found


@given(gaps, st.integers(1, 20))
def test_no_window_of_a_second_has_more_than_the_rate(gaps: list[float], rate: int) -> None:
    window = SlidingWindow(rate)

    admitted = [now for now in instants(gaps) if window.admit(now)]

    for first in range(len(admitted) - rate):
        assert admitted[first + rate] - admitted[first] >= 1.0


@given(gaps, st.integers(1, 20))
def test_nothing_is_refused_while_the_last_second_has_room(gaps: list[float], rate: int) -> None:
    window = SlidingWindow(rate)
    admitted: list[float] = []

    for now in instants(gaps):
        room = sum(1 for at in admitted if now - at < 1.0) < rate
        assert window.admit(now) is room
        if room:
            admitted.append(now)


@given(st.lists(st.floats(0, 40), min_size=1, max_size=300))
def test_a_pair_borrows_at_most_its_burst(gaps: list[float]) -> None:
    busy_until, admitted = 0.0, []
    for now in instants(gaps):
        booked = pair_admit(busy_until, now)
        if booked is not None:
            busy_until = booked
            admitted.append(now)

    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            span = admitted[last] - admitted[first]
            assert last - first + 1 <= PAIR_BURST + span / PAIR_INTERVAL_S + 1e-6


def test_a_burst_of_45_needs_four_and_a_half_minutes_of_silence() -> None:
    busy_until: float | None = 0.0
    for _ in range(PAIR_BURST):
        assert busy_until is not None
        busy_until = pair_admit(busy_until, 1_000.0)
    assert busy_until == pytest.approx(1_000 + 270)

    assert pair_admit(busy_until, 1_005.0) is None
    assert pair_admit(busy_until, 1_006.0) == pytest.approx(1_276)
    assert pair_admit(busy_until, 1_270.0) == pytest.approx(1_276)


async def test_the_number_refuses_what_exceeds_its_throughput(simulated: Any) -> None:
    async with simulated(throughput=5) as simulator:
        await simulator.template()
        answers = [await simulator.send(f"+4915112345{n:03}") for n in range(8)]
        await simulator.steer("POST", "clock", {"advance_s": 1.1})
        later = await simulator.send("+4915112345999")

        codes = [answer.json().get("error", {}).get("code") for answer in answers]
        assert codes == [None] * 5 + [130429] * 3
        assert later.status_code == 200


async def test_inbound_messages_use_throughput_too(simulated: Any) -> None:
    async with simulated(throughput=3) as simulator:
        await simulator.template()
        for _ in range(3):
            await simulator.steer("POST", "inbound", {"phone": "+4915112345678", "kind": "text", "text": "Hi"})

        assert (await simulator.send()).json()["error"]["code"] == 130429


async def test_the_46th_message_to_one_person_is_refused(simulated: Any) -> None:
    async with simulated(throughput=1000) as simulator:
        await simulator.template()
        answers = [await simulator.send() for _ in range(46)]
        other = await simulator.send("+4915199999999")

        codes = [answer.json().get("error", {}).get("code") for answer in answers]
        assert codes == [None] * 45 + [131056]
        assert other.status_code == 200


async def test_management_calls_have_an_hourly_budget_and_messages_do_not_use_it(simulated: Any) -> None:
    async with simulated(management_calls_per_hour=3) as simulator:
        await simulator.template()
        numbers = [await simulator.client.get(f"/v26.0/{WABA}/phone_numbers") for _ in range(3)]
        sent = await simulator.send()

        assert [answer.status_code for answer in numbers] == [200, 200, 400]
        assert numbers[2].json()["error"]["code"] == 80007
        assert sent.status_code == 200
        await simulator.steer("POST", "clock", {"advance_s": 3601})
        assert (await simulator.client.get(f"/v26.0/{NUMBER}")).status_code == 200
