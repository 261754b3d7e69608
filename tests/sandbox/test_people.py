"""What people do: outcomes by behaviour, human reactions, and one fate per seed."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.app import Wiring
from sandbox.config import SandboxConfig
from sandbox.dice import Dice
from sandbox.phones import country, international, wa_id_of
from tests.sandbox.conftest import NUMBER, Json, Simulator

PHONE = "+4915112345678"


async def pinned(simulator: Simulator, pin: Json, phone: str = PHONE, **changes: Any) -> tuple[list[str], list[int]]:
    """Statuses and failure codes of a template message to a person pinned so."""
    await simulator.steer("PUT", f"people/{phone}", pin)
    answer = await simulator.send(phone, **changes)
    assert answer.status_code == 200, answer.text
    await simulator.settle(step_s=5)
    wamid = answer.json()["messages"][0]["id"]
    statuses = [status for status in simulator.receiver.values("statuses") if status["id"] == wamid]
    codes = [error["code"] for status in statuses for error in status.get("errors", [])]
    return [status["status"] for status in statuses], codes


OUTCOMES: list[tuple[Json, list[str], list[int]]] = [
    ({"reads": True}, ["sent", "delivered", "read"], []),
    ({"on_whatsapp": False}, ["failed"], [131026]),
    ({"blocked": True}, ["sent"], []),
    ({"phone_off": "never"}, ["sent"], []),
    ({"phone_off": "late"}, ["sent", "delivered", "read"], []),
    ({"read_receipts": False}, ["sent", "delivered"], []),
    ({"reads": False}, ["sent", "delivered"], []),
    ({"skips_delivered": True}, ["sent", "read"], []),
    ({"marketing_limited": True}, ["failed"], [131049]),
    ({"experiment": True}, ["failed"], [130472]),
    ({"fails": 131042}, ["failed"], [131042]),
    ({"fails_after_sent": True, "fails": 131053}, ["sent", "failed"], [131053]),
    (
        {"fails_after_sent": True, "delivered_after_failed": True, "reads": False},
        ["sent", "failed", "delivered"],
        [131000],
    ),
]


@pytest.mark.parametrize(("pin", "statuses", "codes"), OUTCOMES)
async def test_a_pinned_person_has_the_pinned_outcome(
    simulator: Simulator, pin: Json, statuses: list[str], codes: list[int]
) -> None:
    assert await pinned(simulator, pin) == (statuses, codes)


async def test_marketing_never_reaches_the_united_states_but_canada(simulator: Simulator) -> None:
    assert await pinned(simulator, {"reads": False}, "+12125550123") == (["failed"], [131049])
    assert await pinned(simulator, {"reads": False}, "+14165550123") == (["sent", "delivered"], [])


async def test_a_stop_in_the_app_blocks_marketing_until_it_is_resumed(simulator: Simulator) -> None:
    await simulator.send(PHONE)
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "stop"})
    stopped = await pinned(simulator, {})
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "resume"})
    resumed = await pinned(simulator, {})

    assert stopped == (["failed"], [131050])
    assert resumed == (["sent", "delivered", "read"], [])
    stop, resume = simulator.receiver.values("user_preferences")
    assert (stop["value"], resume["value"]) == ("stop", "resume")
    assert (stop["category"], stop["wa_id"]) == ("marketing_messages", "4915112345678")
    assert isinstance(stop["timestamp"], int)
    [change, _] = [c for c in simulator.receiver.changes() if c["field"] == "user_preferences"]
    assert change["value"]["metadata"]["phone_number_id"] == NUMBER


async def test_a_written_stop_is_only_a_message(simulator: Simulator) -> None:
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "text", "text": "STOP"})

    assert await pinned(simulator, {}) == (["sent", "delivered", "read"], [])


async def test_an_open_window_exempts_from_limit_and_experiment(simulator: Simulator) -> None:
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "text", "text": "Hi"})

    assert await pinned(simulator, {"marketing_limited": True, "experiment": True}) == (
        ["sent", "delivered", "read"],
        [],
    )


async def test_a_reader_taps_visits_writes_and_reacts(simulator: Simulator) -> None:
    await pinned(simulator, {"taps": 1, "clicks": 2, "bot_clicks": True, "replies": "BAJA", "reacts": "👍"})

    wamid = (await simulator.inspect("messages"))["items"][0]["wamid"]
    inbound = {message["type"]: message for message in simulator.receiver.values("messages")}
    assert inbound["button"]["button"] == {"payload": "stop:cmp42", "text": "Stop promotions"}
    assert inbound["button"]["context"] == {"from": "15550001111", "id": wamid}
    assert inbound["text"]["text"] == {"body": "BAJA"}
    assert inbound["reaction"]["reaction"] == {"message_id": wamid, "emoji": "👍"}
    for message in inbound.values():
        assert message["from"] == "4915112345678"
        assert message["from_user_id"].startswith("DE.")
        assert message["timestamp"].isdecimal()
    agents = Counter("bot" if "facebookexternalhit" in agent else "human" for _, agent in simulator.receiver.visits)
    assert agents == {"bot": 1, "human": 2}
    assert {path for path, _ in simulator.receiver.visits} == {"/r/Ab3xK9"}
    clicks = await simulator.inspect("clicks")
    assert {(click["status"], click["location"]) for click in clicks} == {(302, "https://shop.test/landing")}


async def test_a_tap_without_payload_gives_the_label(simulator: Simulator) -> None:
    body = {"type": "body", "parameters": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    url = {"type": "button", "sub_type": "url", "index": 0, "parameters": [{"type": "text", "text": "k1"}]}

    await pinned(simulator, {"taps": -1}, components=[body, url])

    [message] = simulator.receiver.values("messages")
    assert message["button"] == {"payload": "Stop promotions", "text": "Stop promotions"}


async def test_people_act_on_demand(simulator: Simulator) -> None:
    answer = await simulator.send(PHONE)
    wamid = answer.json()["messages"][0]["id"]
    act: Json = {"phone": PHONE}

    tapped = await simulator.steer("POST", "inbound", act | {"kind": "tap", "button": 1})
    clicked = await simulator.steer("POST", "inbound", act | {"kind": "click", "wamid": wamid})
    location = {"type": "location", "location": {"latitude": 1.5, "longitude": 2.5}}
    await simulator.steer("POST", "inbound", act | {"kind": "raw", "raw": location})
    removed = await simulator.steer("POST", "inbound", act | {"kind": "reaction", "wamid": wamid})
    await simulator.settle()

    assert clicked == {"clicks": ["http://receiver.test/r/Ab3xK9"]}
    kinds = [item["kind"] for item in await simulator.inspect("inbound")]
    assert kinds == ["button", "location", "reaction"]
    messages = {message["id"]: message for message in simulator.receiver.values("messages")}
    assert messages[tapped["wamid"]]["button"]["payload"] == "stop:cmp42"
    assert messages[removed["wamid"]]["reaction"] == {"message_id": wamid}
    wrong = await simulator.client.post("/_sandbox/inbound", json=act | {"kind": "tap", "button": 0})
    assert wrong.status_code == 400


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("http://127.0.0.1:8000/r/x", True),
        ("http://localhost/r", True),
        ("https://shop.test/r", True),
        ("https://example.com/r", False),
    ],
)
async def test_links_to_other_machines_are_not_visited(url: str, may: bool) -> None:
    sandbox = Wiring(SandboxConfig(click_hosts=("shop.test",))).sandbox()

    assert sandbox.may_visit(url) is may


async def test_the_first_thousand_free_form_messages_of_a_month_are_free(simulator: Simulator) -> None:
    number = simulator.sandbox.store.numbers[NUMBER]
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "text", "text": "Hi"})
    text = {"messaging_product": "whatsapp", "to": PHONE, "type": "text", "text": {"body": "Hello"}}

    await simulator.post(f"{NUMBER}/messages", text)
    await simulator.settle()
    number.service_delivered = 1000
    await simulator.post(f"{NUMBER}/messages", text)
    await simulator.settle()

    first, second = [s["pricing"] for s in simulator.receiver.values("statuses") if "pricing" in s]
    assert (first["type"], first["category"], first["billable"]) == ("free_customer_service", "service", False)
    assert (second["type"], second["category"], second["billable"]) == ("regular", "service", True)


async def fates(simulated: Any, seed: int, phones: Sequence[str]) -> dict[str, Any]:
    """What became of one message to each person, in whatever order they are sent."""
    async with simulated(seed=seed, profile="demo", throughput=1000) as simulator:
        await simulator.template()
        for phone in phones:
            await simulator.send(phone)
        await simulator.settle(step_s=2)
        messages = (await simulator.inspect("messages"))["items"]
        inbound = {(item["wa_id"], item["kind"]): item["text"] for item in await simulator.inspect("inbound")}
        clicks = Counter(click["wa_id"] for click in await simulator.inspect("clicks"))
        return {
            message["wa_id"]: (
                [(status["status"], status.get("code")) for status in message["statuses"]],
                sorted((kind, text) for (person, kind), text in inbound.items() if person == message["wa_id"]),
                clicks[message["wa_id"]],
            )
            for message in messages
        }


async def test_a_seed_decides_every_fate_whatever_the_order(simulated: Any) -> None:
    phones = [f"+49151123{number:05}" for number in range(150)]

    first = await fates(simulated, 7, phones)
    again = await fates(simulated, 7, phones[::-1])
    other = await fates(simulated, 8, phones)

    assert first == again
    assert first != other


async def test_the_demo_profile_has_some_of_everything(simulated: Any) -> None:
    async with simulated(profile="demo", throughput=1000) as simulator:
        await simulator.template()
        for number in range(600):
            await simulator.send(f"+49151123{number:05}")
        await simulator.settle(step_s=1)

        summary = await simulator.inspect("summary")
        outcomes = summary["outcomes"]
        assert outcomes["read"] > 300
        assert outcomes["delivered"] > 60
        assert 5 <= outcomes["failed"] <= 45
        assert {"131026"} <= set(summary["failures_by_code"])
        assert summary["clicks"]["human"] > 50
        assert summary["clicks"]["bot"] >= 1
        assert summary["inbound"]["button"] > 5
        texts = {item["text"] for item in await simulator.inspect("inbound") if item["kind"] == "text"}
        assert texts & {"STOPP", "Stop."}
        assert summary["event_failures"] == 0


@given(st.integers(), st.text(max_size=20), st.integers(0, 1000))
def test_draws_repeat_and_stay_inside_the_unit_interval(seed: int, subject: str, counter: int) -> None:
    first, second = (Dice(seed).draws(subject, "x", counter) for _ in range(2))

    values = [first.uniform() for _ in range(20)]

    assert values == [second.uniform() for _ in range(20)]
    assert all(0 < value < 1 for value in values)
    assert len(set(values)) == 20


def test_draws_are_evenly_spread() -> None:
    draws = Dice(7).draws("x", "spread")
    values = [draws.uniform() for _ in range(4000)]

    assert 0.48 < sum(values) / len(values) < 0.52
    counts = Counter(int(value * 10) for value in values)
    assert min(counts.values()) > 320


@pytest.mark.parametrize(
    ("digits", "iso"),
    [("12125550123", "US"), ("14165550123", "CA"), ("18765550123", "ZZ"), ("77012345678", "KZ"), ("79123456789", "RU"),
     ("5511988887777", "BR"), ("85212345678", "HK"), ("999", "ZZ")],
)  # fmt: skip
def test_countries_are_told_by_calling_code(digits: str, iso: str) -> None:
    assert country(digits) == iso


@given(st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True))
def test_a_full_number_is_dialled_as_given_and_its_id_is_stable(digits: str) -> None:
    assert international(f"+{digits}", "15550001111") == digits
    spaced = "+" + digits[:2] + " (" + digits[2:4] + ") " + digits[4:]
    assert international(spaced, "15550001111") == digits
    assert wa_id_of(digits).isdecimal()


async def test_people_opt_out_in_the_language_of_their_country(simulator: Simulator) -> None:
    words = {}
    for phone in ("+819012345678", "+5511987654321", "+6281234567890", "+12125550199"):
        answer = await simulator.steer("POST", "inbound", {"phone": phone, "kind": "opt_out"})
        words[phone] = answer["text"]
        await simulator.steer("PUT", f"people/{phone}", {"opts_out": True, "act_after_s": 0})
    await simulator.send("+819012345678")
    await simulator.settle(step_s=5)

    assert words["+819012345678"] == "停止"
    assert words["+5511987654321"] in ("SAIR", "Sair", "PARAR")
    assert words["+6281234567890"] == "BERHENTI"
    assert words["+12125550199"].lower().startswith("stop")
    written = [message["text"]["body"] for message in simulator.receiver.values("messages")]
    assert written.count("停止") == 2


async def test_people_block_and_let_messages_through_again(simulator: Simulator) -> None:
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "block"})
    await simulator.send(PHONE)
    await simulator.settle(step_s=5)
    blocked = [status["status"] for status in simulator.receiver.values("statuses")]
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "unblock"})
    await simulator.send(PHONE)
    await simulator.settle(step_s=5)

    assert blocked == ["sent"]
    assert "delivered" in [status["status"] for status in simulator.receiver.values("statuses")]


async def test_people_hide_their_number(simulator: Simulator) -> None:
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "hide_number"})
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "text", "text": "hi"})
    await simulator.settle()

    (message,) = simulator.receiver.values("messages")
    assert "from" not in message and message["from_user_id"].startswith("DE.")


async def test_a_person_who_changes_the_number_is_reached_at_the_new_one_only(simulator: Simulator) -> None:
    moved = {"phone": PHONE, "kind": "change_number", "new_phone": "+4915199999999"}
    answer = await simulator.steer("POST", "inbound", moved)
    await simulator.settle()

    assert answer["wa_id"] == "4915199999999"
    (message,) = simulator.receiver.values("messages")
    assert message["from"] == PHONE.lstrip("+")
    system = message["system"]
    assert (system["type"], system["wa_id"]) == ("user_changed_number", "4915199999999")
    assert system["previous_user_id"] == message["from_user_id"] != system["user_id"]
    await simulator.send(PHONE)
    await simulator.settle(step_s=5)
    assert simulator.receiver.values("statuses")[-1]["errors"][0]["code"] == 131026


async def test_people_tap_the_answers_of_a_question(simulator: Simulator) -> None:
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "text", "text": "hi"})
    replies = [{"type": "reply", "reply": {"id": f"id{n}", "title": f"Answer {n}"}} for n in range(2)]
    question = {"type": "button", "body": {"text": "Which?"}, "action": {"buttons": replies}}
    sent = await simulator.send(PHONE, type="interactive", template=None, interactive=question)
    assert sent.status_code == 200, sent.text
    await simulator.steer("POST", "inbound", {"phone": PHONE, "kind": "tap", "button": 1})
    await simulator.settle()

    tapped = simulator.receiver.values("messages")[-1]
    assert tapped["interactive"] == {"type": "button_reply", "button_reply": {"id": "id1", "title": "Answer 1"}}
    assert tapped["context"]["id"] == sent.json()["messages"][0]["id"]
    (item,) = (await simulator.inspect("messages"))["items"]
    assert (item["text"], item["choices"]) == ("Which?", ["Answer 0", "Answer 1"])
