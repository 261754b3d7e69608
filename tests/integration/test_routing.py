"""Routing rules: the first that fits answers, tags or hands over; consent words never reach them."""

from typing import Any

import pytest
from sqlalchemy import select

from core.models import Contact
from tests.factories import a_sender
from tests.integration.stack import Stack
from tests.integration.test_keyword_answers import ANA, got, kinds, writes

DELIVERY = {
    "name": "Delivery",
    "conditions": {"words": ["delivery", "配達"]},
    "actions": {"reply": "Hello {name}, {brand} delivers in two days.", "tag": "asked-delivery"},
}
EVERYTHING = {"name": "Everything else", "actions": {"hand_over": True}}


async def a_rule(stack: Stack, **body: Any) -> dict[str, Any]:
    answer = await stack.client.post("/api/routing-rules", json=body)
    assert answer.status_code == 201, answer.text
    rule: dict[str, Any] = answer.json()
    return rule


async def conversation(stack: Stack) -> dict[str, Any]:
    (found,) = (await stack.client.get("/api/conversations")).json()["items"]
    row: dict[str, Any] = found
    return row


async def test_the_first_rule_that_fits_replies_and_tags(stack: Stack) -> None:
    await a_sender(stack)
    await stack.steer("PUT", f"people/{ANA}", {"name": "Ana"})
    await a_rule(stack, **DELIVERY)
    await a_rule(stack, **EVERYTHING)

    await writes(stack, "When is the DELIVERY?")

    assert await got(stack) == ["Hello Ana, Acme delivers in two days."]
    async with stack.sessions() as session:
        assert await session.scalar(select(Contact.tags)) == ["asked-delivery"]
    assert (await conversation(stack))["handed_over"] is False
    await writes(stack, "good morning")
    assert (await conversation(stack))["handed_over"] is True


async def test_a_rule_answers_the_same_person_once_in_its_pause(stack: Stack) -> None:
    await a_sender(stack)
    await a_rule(stack, **DELIVERY)

    for _ in range(3):
        await writes(stack, "delivery?")

    assert len(await got(stack)) == 1


async def test_consent_comes_before_any_rule(stack: Stack) -> None:
    await a_sender(stack)
    await a_rule(stack, name="All", actions={"reply": "Buy now!"})

    await writes(stack, "STOP")

    assert await kinds(stack) == ["stop_confirmed"]


async def test_order_decides_and_can_be_changed_and_a_rule_switched_off(stack: Stack) -> None:
    await a_sender(stack)
    first = await a_rule(stack, **EVERYTHING)
    second = await a_rule(stack, **DELIVERY)

    moved = (await stack.client.post(f"/api/routing-rules/{second['id']}/move", json={"place": 1})).json()["items"]
    assert [rule["id"] for rule in moved] == [second["id"], first["id"]]
    changed = await stack.client.put(f"/api/routing-rules/{second['id']}", json={**DELIVERY, "enabled": False})
    assert changed.json()["enabled"] is False
    await writes(stack, "delivery")

    assert await got(stack) == []
    assert (await stack.client.delete(f"/api/routing-rules/{first['id']}")).status_code == 204
    assert len((await stack.client.get("/api/routing-rules")).json()["items"]) == 1
    assert (await stack.client.delete(f"/api/routing-rules/{first['id']}")).status_code == 404


MONDAY_NOON = "2026-11-23T12:00:00Z"
SUNDAY_NOON = "2026-11-22T12:00:00Z"
OFFICE = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "until": "17:00"}
NIGHT = {"days": ["sat"], "from": "22:00", "until": "06:00"}
HI = {"actions": {"reply": "hi"}}
CASES = [
    ({"words": ["menu"]}, {"text": "the menu please"}, True),
    ({"words": ["menu"]}, {"text": "the menus please"}, False),
    ({"words": ["menu"], "match": "equals"}, {"text": "the menu please"}, False),
    ({"words": ["Menü"], "match": "equals"}, {"text": "MENU!"}, True),
    ({"words": ["配達"]}, {"text": "配達はいつですか"}, True),
    ({"payloads": ["menu:*"]}, {"payload": "menu:2"}, True),
    ({"payloads": ["menu:2"]}, {"payload": "menu:21"}, False),
    ({"outside_hours": OFFICE}, {"text": "hi", "at": SUNDAY_NOON}, True),
    ({"outside_hours": OFFICE}, {"text": "hi", "at": MONDAY_NOON}, False),
    ({"outside_hours": NIGHT}, {"text": "hi", "at": "2026-11-22T05:59:00Z"}, False),
    ({"outside_hours": NIGHT}, {"text": "hi", "at": "2026-11-22T06:00:00Z"}, True),
    ({"first_message": True}, {"text": "hi", "first_message": True}, True),
    ({"first_message": True}, {"text": "hi"}, False),
    ({"languages": ["pt"]}, {"text": "oi", "language": "pt_BR"}, True),
    ({"languages": ["pt"]}, {"text": "oi"}, False),
    ({}, {"text": "anything"}, True),
]


async def test_a_rehearsal_says_what_would_happen_and_does_nothing(stack: Stack) -> None:
    for conditions, message, fits in CASES:
        rule = await a_rule(stack, name="Rule", conditions=conditions, actions={"reply": "Hello"})
        found = (await stack.client.post("/api/routing-rules/rehearse", json=message)).json()
        assert (found["reply"] == "Hello") is fits, (conditions, message, found)
        assert bool(found["tried"][0]["misses"]) is not fits
        await stack.client.delete(f"/api/routing-rules/{rule['id']}")
    stop = (await stack.client.post("/api/routing-rules/rehearse", json={"text": "BAJA"})).json()
    assert (stop["intent"], stop["word"], stop["tried"]) == ("opt_out", "BAJA", [])
    assert await kinds(stack) == []
    assert (await stack.client.get("/api/conversations")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"name": "x"}, 422, "choose at least one"),
        ({"name": " ", "actions": {"hand_over": True}}, 422, "name"),
        ({"name": "x", **HI, "conditions": {"words": ["!!"]}}, 422, "letter"),
        (
            {"name": "x", **HI, "conditions": {"outside_hours": {**OFFICE, "days": []}}},
            422,
            "days",
        ),
        ({"name": "x", **HI, "conditions": {"wrods": ["a"]}}, 400, "wrods"),
        ({"name": "x", **HI, "pause_minutes": 0}, 400, "pause_minutes"),
    ],
)
async def test_a_rule_that_could_do_nothing_is_refused(
    stack: Stack, body: dict[str, Any], status: int, says: str
) -> None:
    answer = await stack.client.post("/api/routing-rules", json=body)

    assert (answer.status_code, says in answer.text) == (status, True), answer.text
