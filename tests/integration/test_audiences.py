"""Audiences by rule: every leaf catches whom it says, nested audiences follow, counts are kept and not computed."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core.clock import utc_now
from core.services import audience_counts
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from tests.integration.test_webhooks import body, change, deliver, said
from worker import counting

ANA, BOB, CAI, DEE = (f"+49170123456{number:02d}" for number in range(4))
PEOPLE = {ANA: "Ana", BOB: "Bob", CAI: "Cai", DEE: "Dee"}


async def a_world(stack: Stack) -> dict[str, str]:
    """Four people: Ana and Bob got a campaign, Ana clicked and ordered, Bob stopped, Cai never agreed, Dee is new."""
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    rows = [consenting(phone, name=PEOPLE[phone]) for phone in (ANA, BOB)]
    imported = await an_import(stack, csv_of([*rows, {"phone": CAI, "name": "Cai"}]), audience_name="Listed")
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    await stack.settle()
    given = [
        {
            "phone": ANA,
            "language": "pt-BR",
            "tags": ["vip"],
            "attributes": {"points": 12, "city": "Köln", "since": "2026-01-05"},
        },
        {"phone": BOB, "attributes": {"points": "7", "member": True}, "tags": ["press"]},
        {"phone": DEE, "name": "Dee", "country": "AT"},
    ]
    await stack.client.post("/api/contacts/bulk", json={"items": given})
    async with stack.sessions() as session:
        query = (
            "SELECT l.code FROM links l JOIN messages m ON m.id = l.message_id JOIN contacts c ON c.id = m.contact_id"
            " WHERE c.name = 'Ana'"
        )
        code = (await session.execute(text(query))).scalar_one()
    for agent in ("Mozilla/5.0", "Mozilla/5.0", "curl/8"):
        await stack.client.get(f"/r/{code}", headers={"user-agent": agent})
    sale = {"kind": "order", "order_id": "o-1", "occurred_at": "2026-11-20T10:00:00Z", "phone": ANA}
    await stack.client.post("/api/conversions", json={"items": [{**sale, "amount_micros": 5, "currency": "USD"}]})
    await deliver(stack, body(change(messages=[said("STOP", BOB, timestamp=str(int(time.time())))])))
    await stack.settle()
    return {"campaign": campaign["id"], "import": imported["id"]}


async def who(stack: Stack, rule: dict[str, Any]) -> set[str]:
    answer = await stack.client.post("/api/audiences/preview", json={"rule": rule})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["size"] == len(found["sample"]) and found["cost"]["weight"] == "light"
    return {person["name"] for person in found["sample"]}


async def test_every_leaf_catches_whom_it_says(stack: Stack) -> None:
    ids = await a_world(stack)
    async with stack.sessions() as session:
        listed = str(await session.scalar(text("SELECT id FROM audiences WHERE name = 'Listed'")))
    field = lambda name, op, value=None: {"field": name, "op": op, **({} if value is None else {"value": value})}  # noqa: E731
    yesterday = (utc_now() - timedelta(days=1)).isoformat()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"all": []}, "Ana Bob Cai Dee"),
        ({"any": []}, ""),
        (field("country", "eq", "at"), "Dee"),
        (field("country", "in", ["De"]), "Ana Bob Cai"),
        (field("language", "eq", "PT-br"), "Ana"),
        ({"not": field("language", "eq", "pt-BR")}, "Bob Cai Dee"),
        (field("name", "contains", "A"), "Ana Cai"),
        (field("last_seen_at", "within_days", 30), "Bob"),
        (field("last_seen_at", "exists", False), "Ana Cai Dee"),
        (field("attributes.city", "eq", "Köln"), "Ana"),
        (field("attributes.city", "ne", "Köln"), "Bob Cai Dee"),
        (field("attributes.points", "gte", 7), "Ana Bob"),
        (field("attributes.points", "eq", 12), "Ana"),
        (field("attributes.member", "eq", "true"), "Bob"),
        (field("attributes.since", "lt", "2026-02-01"), "Ana"),
        (field("attributes.since", "within_days", 36_000), "Ana"),
        (field("attributes.city", "exists"), "Ana"),
        ({"tag": "vip"}, "Ana"),
        ({"tag": ["vip", "press"]}, "Ana Bob"),
        ({"consent": "marketing"}, "Ana"),
        ({"consent": "marketing", "state": "withdrawn"}, "Bob"),
        ({"consent": "marketing", "state": "none"}, "Cai Dee"),
        ({"did": "delivered"}, "Ana Bob"),
        ({"did": "delivered", "campaign": ids["campaign"], "within_days": 1}, "Ana Bob"),
        ({"did": "delivered", "until": yesterday}, ""),
        ({"not": {"did": "received"}}, "Cai Dee"),
        ({"did": "clicked"}, "Ana"),
        ({"did": "clicked", "at_least": 2}, "Ana"),
        ({"did": "clicked", "at_least": 3}, ""),
        ({"did": "clicked", "at_most": 0}, "Bob Cai Dee"),
        ({"did": "delivered", "at_most": 1}, "Ana Bob"),
        ({"did": "wrote", "until": yesterday}, ""),
        ({"did": "wrote"}, "Bob"),
        ({"did": "ordered", "within_days": 3650}, "Ana"),
        ({"did": "opted_out"}, "Bob"),
        ({"audience": listed}, "Ana Bob Cai"),
        ({"all": [{"audience": listed}, {"not": {"consent": "marketing"}}]}, "Bob Cai"),
        ({"import": ids["import"]}, "Ana Bob Cai"),
        ({"any": [{"tag": "press"}, {"all": [{"did": "clicked"}, {"consent": "marketing"}]}]}, "Ana Bob"),
    ]
    for rule, names in cases:
        assert await who(stack, rule) == set(names.split()), rule


async def test_a_rule_of_rules_follows_when_one_of_them_changes(stack: Stack) -> None:
    given = [{"phone": phone, "name": PEOPLE[phone], "tags": [PEOPLE[phone].lower()]} for phone in PEOPLE]
    await stack.client.post("/api/contacts/bulk", json={"items": given})
    inner = await an_audience(stack, {"tag": "ana"}, "Inner")
    middle = await an_audience(stack, {"any": [{"audience": inner["id"]}, {"tag": "bob"}]}, "Middle")
    outer = await an_audience(stack, {"not": {"audience": middle["id"]}}, "Outer")
    assert await members(stack, outer) == {"Cai", "Dee"}

    await stack.client.patch(f"/api/audiences/{inner['id']}", json={"rule": {"tag": "cai"}})

    assert await members(stack, middle) == {"Bob", "Cai"}
    assert await members(stack, outer) == {"Ana", "Dee"}
    circle = await stack.client.patch(
        f"/api/audiences/{inner['id']}", json={"rule": {"all": [{"tag": "x"}, {"audience": outer["id"]}]}}
    )
    itself = await stack.client.patch(f"/api/audiences/{inner['id']}", json={"rule": {"audience": inner["id"]}})
    for refused, place in ((circle, "rule.all[1]"), (itself, "rule")):
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, place), refused.text
        assert "contain itself" in refused.json()["detail"]
    used = await stack.client.delete(f"/api/audiences/{middle['id']}")
    assert used.status_code == 409 and "Outer" in used.json()["detail"]
    gone = await stack.client.delete(f"/api/audiences/{outer['id']}")
    assert gone.status_code == 204 and (await stack.client.get(f"/api/audiences/{outer['id']}")).status_code == 404


async def members(stack: Stack, audience: dict[str, Any]) -> set[str]:
    page = (await stack.client.get(f"/api/audiences/{audience['id']}/members")).json()
    return {person["name"] for person in page["items"]}


@pytest.mark.parametrize(
    ("leaf", "place"),
    [
        ({"field": "attributes.points", "op": "eq", "value": "many"}, ".value"),
        ({"field": "attributes.points", "op": "contains", "value": "1"}, ".op"),
        ({"field": "attributes.born", "op": "lt", "value": 5}, ".value"),
        ({"field": "attributes.tier", "op": "in", "value": ["Gold", "Bronze"]}, ".value"),
        ({"did": "danced"}, ".did"),
        ({"did": "clicked", "within_days": 0}, ".within_days"),
        ({"did": "clicked", "within_days": 3, "since": "2026-01-01T00:00:00Z"}, ".within_days"),
        ({"did": "ordered", "campaign": "0190c000-0000-7000-8000-000000000000"}, ".campaign"),
        ({"did": "clicked", "at_least": 3, "at_most": 1}, ".at_least"),
        ({"did": "clicked", "color": 1}, ""),
        ({"consent": "marketing", "state": "perhaps"}, ".state"),
        ({"tag": []}, ".tag"),
        ({"audience": "0190c000-0000-7000-8000-000000000000"}, ""),
    ],
)
async def test_a_rule_with_an_error_is_refused_and_the_place_is_named(
    stack: Stack, leaf: dict[str, Any], place: str
) -> None:
    for name, kind, choices in (("points", "number", []), ("born", "date", []), ("tier", "choice", ["Gold"])):
        await stack.client.put(f"/api/attributes/{name}", json={"kind": kind, "choices": choices})
    rule = {"any": [{"tag": "a"}, leaf]}

    made = await stack.client.post("/api/audiences", json={"name": "A", "kind": "rule", "rule": rule})
    previewed = await stack.client.post("/api/audiences/preview", json={"rule": rule})

    for refused in (made, previewed):
        assert refused.status_code == 422, refused.text
        assert refused.json()["errors"][0]["field"] == f"rule.any[1]{place}"


async def test_counts_are_kept_and_refreshed_in_the_background_only(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(ANA), {"phone": BOB}]))
    audience = await an_audience(stack)
    path = f"/api/audiences/{audience['id']}"
    assert (audience["size"], audience["counted_at"]) == (None, None)

    await stack.work()
    counted = (await stack.client.get(path)).json()
    await an_import(stack, csv_of([{"phone": CAI}]))
    unchanged = (await stack.client.get(path)).json()
    asked = await stack.client.post(f"{path}/count")
    await stack.work()
    fresh = (await stack.client.get(path)).json()

    assert (counted["size"], counted["reachable"], counted["unreachable"]) == (2, 1, {"no_consent": 1})
    assert unchanged == counted and asked.status_code == 202
    assert (fresh["size"], fresh["unreachable"]) == (3, {"no_consent": 2})
    await counting.ring_counts(stack.ctx)
    assert not stack.bells.waiting, "nothing is stale yet"
    async with stack.sessions() as session:
        later = datetime.now(UTC) + timedelta(hours=1)
        assert len(await audience_counts.stale(session, now=later, limit=5)) == 1


async def test_a_count_that_takes_too_long_says_so_and_keeps_the_old_figures(stack: Stack) -> None:
    async with stack.sessions.begin() as session:
        with pytest.raises(audience_counts.TooSlow, match="more than 0 s"):
            async with session.begin_nested(), audience_counts.room(session, at_most_ms=20):
                await session.execute(text("SELECT pg_sleep(1)"))
        assert await session.scalar(text("SHOW statement_timeout")) == "0"


async def test_the_cost_of_a_rule_is_told_without_running_it(stack: Stack) -> None:
    answer = await stack.client.post("/api/audiences/cost", json={"rule": {"did": "clicked", "within_days": 30}})

    assert answer.status_code == 200
    assert answer.json()["weight"] == "light" and answer.json()["units"] > 0
