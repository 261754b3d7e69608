"""Contacts as they are worked with: found, edited with types checked, merged, upserted, and told as one timeline."""

from datetime import datetime
from typing import Any

import pytest

from core.statuses import Role
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from tests.integration.test_erasure import NAME, PHONE, WHY, a_life, contact_of

MEX = "+5215512345678"


async def upsert(stack: Stack, *items: dict[str, Any], **headers: str) -> Any:
    return await stack.client.post("/api/contacts/bulk", json={"items": list(items)}, headers=headers)


async def consents_of(stack: Stack, contact_id: str) -> dict[str, str]:
    answer = (await stack.client.get(f"/api/contacts/{contact_id}/consents")).json()
    return {state["purpose"]: state["state"] for state in answer["states"]}


async def test_contacts_are_found_by_name_by_id_and_by_any_spelling_of_the_number(stack: Stack) -> None:
    made = (await upsert(stack, {"phone": MEX, "name": "Lucía"})).json()["rows"][0]["contact_id"]

    for words in ("lucí", made, "+52 55 1234 5678", "5215512345678", "+521 (55) 1234-5678"):
        found = (await stack.client.get("/api/contacts", params={"q": words})).json()["items"]
        assert [each["id"] for each in found] == [made], words
    assert (await stack.client.get("/api/contacts", params={"q": "Lucian"})).json()["items"] == []


async def test_an_upsert_gives_every_item_a_verdict_and_again_changes_nothing(stack: Stack) -> None:
    await stack.client.put("/api/attributes/points", json={"kind": "number"})
    items = [
        {"phone": "0170 1234567", "name": "Ana", "attributes": {"points": "12", "city": "Köln"}, "tags": ["vip", "b"]},
        {"user_id": "DE.12345", "name": "Nobody's number"},
        {"phone": "12", "name": "Bad"},
        {"phone": "+4917012345678", "attributes": {"points": "many"}},
        {"name": "Nobody"},
        {"phone": "+49 170 1234567", "name": "Ana Maria"},
    ]

    first = (await upsert(stack, *items)).json()
    again = (await upsert(stack, *items[1:])).json()

    assert [row["verdict"] for row in first["rows"]] == [
        "created",
        "created",
        "rejected",
        "rejected",
        "rejected",
        "updated",
    ]
    assert first["rows"][0]["contact_id"] == first["rows"][5]["contact_id"]
    assert "number" in first["rows"][3]["reason"] and first["rejected"] == 3
    assert [row["verdict"] for row in again["rows"]] == ["unchanged", "rejected", "rejected", "rejected", "unchanged"]
    ana = await contact_of(stack, "+491701234567")
    assert (ana["name"], ana["attributes"], ana["tags"]) == (
        "Ana Maria",
        {"points": 12, "city": "Köln"},
        ["b", "vip"],
    )
    assert (await stack.client.get("/api/contacts", params={"q": "+4917012345678"})).json()["items"] == []


async def test_an_upsert_repeated_under_its_key_is_answered_alike_and_ten_thousand_fit(stack: Stack) -> None:
    items = [{"phone": f"+49170{number:07}", "name": f"P{number}"} for number in range(10_000)]

    first = await upsert(stack, *items, **{"idempotency-key": "crm-1"})
    again = await upsert(stack, *items, **{"idempotency-key": "crm-1"})
    more = await upsert(stack, *items, items[0])

    assert first.json()["created"] == 10_000 and again.json() == first.json()
    assert more.status_code == 400


@pytest.mark.parametrize(
    ("kind", "choices", "good", "bad"),
    [
        ("number", [], {"12.50": 12.5, "-3": -3}, ["twelve", True, "1e400"]),
        ("date", [], {"2026-02-28": "2026-02-28", "2026-02-28T10:00:00Z": "2026-02-28"}, ["2026-02-30", 5]),
        ("boolean", [], {"yes": True, "0": False}, ["perhaps"]),
        ("choice", ["Gold", "Silver"], {"gold": "Gold"}, ["bronze"]),
        ("text", [], {"x": "x"}, [{"a": 1}, ["a"]]),
    ],
)
async def test_an_attribute_takes_values_of_its_kind_only(
    stack: Stack, kind: str, choices: list[str], good: dict[str, Any], bad: list[Any]
) -> None:
    person = (await upsert(stack, {"phone": PHONE, "attributes": {"a": "old words"}})).json()["rows"][0]["contact_id"]
    defined = await stack.client.put("/api/attributes/a", json={"kind": kind, "choices": choices})
    assert defined.json()["misfits"] == (0 if kind == "text" else 1)

    for given, kept in good.items():
        answer = await stack.client.patch(f"/api/contacts/{person}", json={"attributes": {"a": given}})
        assert answer.json()["attributes"] == {"a": kept}, answer.text
    for given in bad:
        answer = await stack.client.patch(f"/api/contacts/{person}", json={"name": "x", "attributes": {"a": given}})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "attributes.a"), answer.text
    left = await contact_of(stack, PHONE)
    assert left["name"] is None, "a refused edit changes nothing"
    gone = await stack.client.patch(f"/api/contacts/{person}", json={"attributes": {"a": None}, "country": "AT"})
    assert (gone.json()["attributes"], gone.json()["country"]) == ({}, "AT")


async def test_merging_takes_the_stricter_permission_and_keeps_both_histories(stack: Stack) -> None:
    one, two = "+4917012345601", "+4917012345602"
    rows = [consenting(one, name="Ana", city="Bonn"), consenting(two, name="A. Gomez", shoe="38")]
    await an_import(stack, csv_of(rows), audience_name="Regulars")
    keep, other = [(await contact_of(stack, phone))["id"] for phone in (one, two)]
    stop = {"action": "opt_out", "source_record_id": "s", "occurred_at": "2026-11-01T00:00:00Z", "contact_id": other}
    await stack.client.post("/api/consents", json=stop)
    assert await consents_of(stack, keep) == {"marketing": "subscribed"}

    merged = await stack.client.post(f"/api/contacts/{keep}/merge", json={"other_id": other, "reason": "same person"})

    assert merged.status_code == 200, merged.text
    assert merged.json()["attributes"] == {"city": "Bonn", "shoe": "38"} and merged.json()["name"] == "Ana"
    assert (await contact_of(stack, two))["id"] == keep
    assert (await consents_of(stack, keep))["marketing"] == "withdrawn"
    assert set((await consents_of(stack, other)).values()) == {"closed"}
    timeline = (await stack.client.get(f"/api/contacts/{keep}/timeline", params={"limit": 200})).json()["items"]
    granted = [each for each in timeline if each["facts"].get("event_type") == "GRANTED"]
    assert len(granted) == 2 and [each["kind"] for each in timeline].count("import") == 2
    again = await stack.client.post(f"/api/contacts/{keep}/merge", json={"other_id": other, "reason": "same person"})
    itself = await stack.client.post(f"/api/contacts/{keep}/merge", json={"other_id": keep, "reason": "same person"})
    edited = await stack.client.patch(f"/api/contacts/{other}", json={"name": "x"})
    assert [again.status_code, itself.status_code, edited.status_code] == [409, 422, 409]

    compliance = await stack.sign_in(Role.COMPLIANCE)
    await compliance.delete(f"/api/contacts/{keep}", params=WHY)
    for contact_id in (keep, other):
        left = (await stack.client.get(f"/api/contacts/{contact_id}")).json()
        assert (left["name"], left["attributes"], left["erased_at"] is None) == (None, {}, False)


async def test_a_grant_of_one_is_not_the_others(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting("+4917012345601")]))
    other = (await contact_of(stack, "+4917012345601"))["id"]
    keep = (await upsert(stack, {"phone": "+4917012345602"})).json()["rows"][0]["contact_id"]

    await stack.client.post(f"/api/contacts/{keep}/merge", json={"other_id": other, "reason": "same person"})

    assert await consents_of(stack, keep) == {}


async def test_a_timeline_tells_everything_once_in_order_page_by_page(stack: Stack) -> None:
    person = await a_life(stack)
    whole = (await stack.client.get(f"/api/contacts/{person}/timeline", params={"limit": 200})).json()
    assert whole["next"] is None
    kinds = {each["kind"] for each in whole["items"]}
    assert {"created", "import", "consent", "queued", "accepted", "delivered", "click", "inbound", "order"} <= kinds
    instants = [datetime.fromisoformat(each["at"]) for each in whole["items"]]
    assert instants == sorted(instants, reverse=True)

    paged: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await stack.client.get(f"/api/contacts/{person}/timeline", params=query)).json()
        paged += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert paged == whole["items"]
    profile = (await stack.client.get(f"/api/contacts/{person}/profile")).json()
    assert profile["contact"]["name"] == NAME and profile["counts"]["orders"] == profile["counts"]["clicks"] == 1
    assert [each["name"] for each in profile["lists"]] == ["Regulars"]
    bad = await stack.client.get(f"/api/contacts/{person}/timeline", params={"cursor": "nonsense"})
    assert bad.status_code == 422


async def test_a_merged_persons_waiting_message_is_not_sent(stack: Stack) -> None:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting("+4917012345601"), consenting("+4917012345602")]))
    keep, other = [(await contact_of(stack, f"+491701234560{n}"))["id"] for n in (1, 2)]
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    await stack.client.post(f"/api/contacts/{keep}/merge", json={"other_id": other, "reason": "same person"})

    await stack.settle()

    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert found["balance"]["delivered"] + found["balance"]["read"] == 1
