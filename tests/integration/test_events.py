"""What people did elsewhere: kept once, asked for by rules, told to the person, and gone when they are erased."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from core.clock import utc_now
from core.services import retention
from core.statuses import Role
from tests.factories import an_import, consenting, csv_of
from tests.integration.stack import Stack
from tests.integration.test_audiences import who
from tests.integration.test_erasure import WHY, contact_of
from tests.integration.test_sources import a_source, log, post

ANA, BOB = "+4917012345600", "+4917012345601"


def told(phone: str, name: str = "cart_left", *, days_ago: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "event": name,
        "phone": phone,
        "occurred_at": (utc_now() - timedelta(days=days_ago, minutes=1)).isoformat(),
        **changes,
    }


async def ana_and_bob(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(ANA, name="Ana"), consenting(BOB, name="Bob")]))


async def report(stack: Stack, *items: dict[str, Any]) -> httpx.Response:
    return await stack.client.post("/api/events", json={"items": list(items)})


async def test_events_count_once_and_rules_ask_for_them(stack: Stack) -> None:
    await ana_and_bob(stack)
    cart, visit = told(ANA, "Cart left", event_id="c-1"), told(BOB, "visit")
    old = told(BOB, "cart_left", days_ago=40)

    first = await report(stack, cart, visit, old, told("+4917099999999"), told("nonsense"))
    again = await report(stack, cart, visit, {**cart, "event_id": "c-2"})

    assert first.json() == {"recorded": 3, "duplicates": 0, "unmatched": 2}
    assert again.json() == {"recorded": 1, "duplicates": 2, "unmatched": 0}
    left = {"did": "event", "event": "cart_left"}
    assert await who(stack, left) == {"Ana", "Bob"}
    assert await who(stack, {**left, "within_days": 30}) == {"Ana"}
    assert await who(stack, {**left, "at_least": 2}) == {"Ana"}
    assert await who(stack, {"did": "event", "event": "visit", "at_most": 0}) == {"Ana"}
    known = (await stack.client.get("/api/events")).json()["items"]
    assert [(each["name"], each["events"]) for each in known] == [("cart_left", 3), ("visit", 1)]


async def test_events_are_forgotten_by_the_day_they_happened(stack: Stack) -> None:
    await ana_and_bob(stack)
    await report(stack, told(ANA, days_ago=9), told(BOB, days_ago=11), told(BOB, "visit"))
    settings = stack.settings.model_copy(update={"keep_events_days": 10})

    async with stack.sessions.begin() as session:
        first = await retention.purge(session, settings=settings, now=utc_now())
        again = await retention.purge(session, settings=settings, now=utc_now())

    assert (first, again) == ({"contact_events": 1}, {})
    assert await who(stack, {"did": "event", "event": "cart_left"}) == {"Ana"}
    assert await who(stack, {"did": "event", "event": "visit"}) == {"Bob"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"event": "¿?"}, "letters a-z"),
        ({"occurred_at": "2026-11-20T10:00:00"}, "time zone"),
        ({"occurred_at": "2099-11-20T10:00:00Z"}, "future"),
        ({"user_id": "DE.1"}, "name the person once"),
        ({"phone": None}, "name the person once"),
    ],
)
async def test_an_event_that_cannot_be_right_is_refused_and_nothing_is_kept(
    stack: Stack, changes: dict[str, Any], reason: str
) -> None:
    await ana_and_bob(stack)

    answer = await report(stack, told(BOB), {**told(ANA), **changes})

    assert answer.status_code == 422 and reason in answer.text
    assert (await stack.client.get("/api/events")).json()["items"] == []


@pytest.mark.parametrize("rule", [{"did": "event"}, {"did": "event", "event": 7}, {"did": "read", "event": "x"}])
async def test_a_rule_names_an_event_with_did_event_and_only_then(stack: Stack, rule: dict[str, Any]) -> None:
    answer = await stack.client.post("/api/audiences/preview", json={"rule": rule})

    assert answer.status_code == 422 and "rule.event" in answer.text


async def test_another_systems_events_come_by_webhook(stack: Stack) -> None:
    await ana_and_bob(stack)
    admin = await stack.sign_in(Role.ADMIN)
    mapping = {"event": "=cart_left", "occurred_at": "at", "event_id": "cart", "phone": "customer.phone"}
    source = await a_source(admin, makes="event", mapping=mapping, items="carts")
    at = "2026-11-20T10:00:00Z"
    carts = [
        {"at": at, "cart": n, "customer": {"phone": phone}} for n, phone in enumerate((ANA, BOB, "+4917099999999"))
    ]
    wrong = {"at": at, "cart": 9}

    taken = await post(stack, source, {"carts": [*carts, wrong]})
    twice = await post(stack, source, {"carts": carts}, delivery="msg_2")

    assert (taken.status_code, taken.json()["status"]) == (202, "partly")
    assert twice.json()["status"] == "applied"
    rows = await log(admin, source)
    assert [row["counts"] for row in rows] == [
        {"duplicates": 2, "unmatched": 1},
        {"rejected": 1, "recorded": 2, "unmatched": 1},
    ]
    assert "it names nobody" in rows[1]["reason"]
    assert await who(stack, {"did": "event", "event": "cart_left"}) == {"Ana", "Bob"}
    for bad in ({"event": "=x", "occurred_at": "at"}, {"occurred_at": "at", "phone": "phone"}):
        refused = await admin.post("/api/sources", json={"name": "other", "makes": "event", "mapping": bad})
        assert refused.status_code == 422, refused.text


async def test_events_are_told_to_the_person_and_go_with_them(stack: Stack) -> None:
    await ana_and_bob(stack)
    await report(stack, told(ANA), told(BOB))
    person = (await contact_of(stack, ANA))["id"]
    compliance = await stack.sign_in(Role.COMPLIANCE)

    document = (await compliance.get(f"/api/contacts/{person}/access", params=WHY)).json()
    timeline = (await stack.client.get(f"/api/contacts/{person}/timeline")).json()["items"]
    certificate = (await compliance.delete(f"/api/contacts/{person}", params=WHY)).json()
    late = await report(stack, told(ANA, "visit"), {**told(ANA, "visit"), "phone": None, "contact_id": person})

    assert [each["event"] for each in document["events"]] == ["cart_left"]
    assert any(each["kind"] == "event" and each["facts"] == {"event": "cart_left"} for each in timeline)
    assert certificate["erased"]["events"] == 1
    assert late.json() == {"recorded": 0, "duplicates": 0, "unmatched": 2}
    async with stack.sessions() as session:
        left = "SELECT count(*) FROM contact_events WHERE contact_id = :id"
        assert (await session.execute(text(left), {"id": person})).scalar_one() == 0


async def test_nothing_is_kept_of_an_erased_persons_events(stack: Stack) -> None:
    await ana_and_bob(stack)
    compliance, admin = await stack.sign_in(Role.COMPLIANCE), await stack.sign_in(Role.ADMIN)
    mapping = {"event": "=cart_left", "occurred_at": "at", "phone": "phone"}
    source = await a_source(admin, makes="event", mapping=mapping, items="carts")
    person = (await contact_of(stack, ANA))["id"]
    await compliance.delete(f"/api/contacts/{person}", params=WHY)

    await post(stack, source, {"carts": [{"at": "2026-11-20T10:00:00Z", "phone": ANA}, {"at": "soon", "phone": BOB}]})

    (row,) = await log(admin, source)
    assert (row["counts"], row["kept"]) == ({"erased": 1, "rejected": 1}, False)
