"""Switchable faults."""

import asyncio
import time

import httpx
import pytest

from tests.sandbox.conftest import NUMBER, Json, Simulator


async def sends(simulator: Simulator, count: int) -> list[int]:
    """Error codes (0: accepted) of sends to as many people."""
    answers = [await simulator.send(f"+49151123456{number:02}") for number in range(count)]
    return [answer.json().get("error", {}).get("code", 0) for answer in answers]


async def test_a_dropped_answer_leaves_an_accepted_message(simulator: Simulator) -> None:
    await simulator.steer("PUT", "faults", {"drop_response": {"count": 1}})

    with pytest.raises(httpx.RemoteProtocolError):
        await simulator.send(biz_opaque_callback_data="cmp:42")
    second = await simulator.send()
    await simulator.settle()

    assert second.status_code == 200
    lost, _ = (await simulator.inspect("messages"))["items"]
    assert lost["biz_opaque_callback_data"] == "cmp:42"
    assert [status["status"] for status in lost["statuses"]] == ["sent", "delivered", "read"]


async def test_a_reset_connection_accepts_nothing(simulator: Simulator) -> None:
    await simulator.steer("PUT", "faults", {"reset_connection": {"count": 1}})

    with pytest.raises(httpx.RemoteProtocolError):
        await simulator.send()

    assert (await simulator.inspect("summary"))["accepted"] == 0


async def test_a_slow_answer_comes_late(simulator: Simulator) -> None:
    await simulator.steer("PUT", "faults", {"slow_response": {"delay_s": 0.2, "count": 1}})

    began = time.monotonic()
    slow = await simulator.send()
    between = time.monotonic()
    await simulator.send()

    assert slow.status_code == 200
    assert between - began >= 0.2
    assert time.monotonic() - between < 0.2


@pytest.mark.parametrize(("status", "code"), [(500, 131000), (502, 131000), (503, 2)])
async def test_server_errors_come_with_and_without_json(simulator: Simulator, status: int, code: int) -> None:
    await simulator.steer("PUT", "faults", {"server_error": {"status": status, "count": 1}})
    with_json = await simulator.send()
    await simulator.steer("PUT", "faults", {"server_error": {"status": status, "json": False, "count": 1}})
    without = await simulator.send()

    assert (with_json.status_code, with_json.json()["error"]["code"]) == (status, code)
    assert (without.status_code, without.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert (await simulator.inspect("summary"))["accepted"] == 0


REFUSALS: list[tuple[str, Json, int, int]] = [
    ("rate_limited", {}, 429, 130429),
    ("rate_limited", {"status": 400}, 400, 130429),
    ("token_expired", {}, 401, 190),
    ("account_locked", {}, 403, 131031),
    ("error", {"code": 131057}, 500, 131057),
    ("template_paused", {"template": "spring_sale"}, 400, 132015),
]


@pytest.mark.parametrize(("name", "fault", "http_status", "code"), REFUSALS)
async def test_refusals_can_be_forced(
    simulator: Simulator, name: str, fault: Json, http_status: int, code: int
) -> None:
    await simulator.steer("PUT", "faults", {name: fault})

    answer = await simulator.send()

    assert (answer.status_code, answer.json()["error"]["code"]) == (http_status, code)


async def test_the_portfolio_limit_fails_by_webhook(simulator: Simulator) -> None:
    await simulator.steer("PUT", "faults", {"portfolio_limit": {"after": 2}})

    assert await sends(simulator, 3) == [0, 0, 0]
    await simulator.settle()

    assert (await simulator.inspect("summary"))["failures_by_code"] == {"131048": 1}


async def test_a_fault_keeps_to_its_first_count_time_and_number(simulator: Simulator) -> None:
    await simulator.steer("PUT", "faults", {"account_locked": {"after": 2, "count": 2}})
    assert await sends(simulator, 6) == [0, 0, 131031, 131031, 0, 0]

    await simulator.steer("PUT", "faults", {"account_locked": {"for_s": 30}})
    assert await sends(simulator, 1) == [131031]
    await simulator.steer("POST", "clock", {"advance_s": 31})
    assert await sends(simulator, 1) == [0]

    await simulator.steer("PUT", "faults", {"account_locked": {"phone_number_id": "1"}})
    assert await sends(simulator, 1) == [0]
    await simulator.steer("PUT", "faults", {"account_locked": {"phone_number_id": NUMBER}})
    assert await sends(simulator, 1) == [131031]


async def test_a_fault_strikes_its_share_and_the_same_ones_again(simulator: Simulator) -> None:
    async def struck() -> list[int]:
        await simulator.steer("PUT", "faults", {"error": {"probability": 0.5}})
        return await sends(simulator, 30)

    first = await struck()
    await simulator.steer("POST", "clock", {"advance_s": 300})

    assert 5 < sum(1 for code in first if code) < 25
    assert await struck() == first
    assert (await simulator.inspect("faults"))["error"]["seen"] == 30


async def test_unknown_faults_are_refused(simulator: Simulator) -> None:
    answer = await simulator.client.put("/_sandbox/faults", json={"earthquake": {}})

    assert answer.status_code == 400
    assert await simulator.inspect("faults") == {}


async def test_concurrent_sends_lose_nothing_when_answers_drop(simulator: Simulator) -> None:
    await simulator.steer("PUT", "faults", {"drop_response": {"probability": 0.3}})

    results = await asyncio.gather(
        *(simulator.send(f"+49151123456{number:02}") for number in range(40)), return_exceptions=True
    )

    dropped = sum(1 for result in results if isinstance(result, httpx.RemoteProtocolError))
    assert 0 < dropped < 40
    assert (await simulator.inspect("summary"))["accepted"] == 40
