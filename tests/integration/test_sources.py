"""Webhooks from other systems over HTTP: signed in each way, applied once, kept when they cannot be read, replayed."""

import asyncio
import base64
import csv
import hashlib
import hmac
import io
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from api.source_door import AT_ONCE, IN_LINE
from core.clock import utc_now
from core.db import make_engine
from core.services import sources
from core.statuses import Role
from tests.factories import an_import, consenting, csv_of
from tests.integration.stack import Stack

EXAMPLES = Path(__file__).parent.parent / "data" / "sources"
ANA, BOB = "+351912345678", "+491707654321"
PEOPLE = {"phone": "phone", "name": "name", "attributes.tier": "tier"}
SHOP_CUSTOMER = {
    "phone": "phone | default_address.phone | addresses[0].phone",
    "name": "first_name + last_name",
    "country": "default_address.country_code",
    "tags": "tags",
    "attributes.shop_id": "id",
}
SHOP_ORDER = {
    "order_id": "id",
    "occurred_at": "created_at",
    "amount": "total_price",
    "currency": "currency",
    "phone": "customer.phone | phone",
}
CRM_CONTACT = {
    "phone": "properties.phone",
    "name": "properties.firstname + properties.lastname",
    "language": "properties.hs_language",
    "attributes.score": "properties.score",
    "member": "properties.whatsapp_list",
}


@pytest.fixture
async def admin(stack: Stack) -> httpx.AsyncClient:
    return await stack.sign_in(Role.ADMIN)


async def a_source(admin: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    wanted = {"name": "shop", "makes": "contact", "mapping": PEOPLE, **changes}
    answer = await admin.post("/api/sources", json=wanted)
    assert answer.status_code == 201, answer.text
    source: dict[str, Any] = answer.json()
    return source


def key_of(source: dict[str, Any]) -> bytes:
    secret: str = source["secret"]
    return base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()


def signed(source: dict[str, Any], body: bytes, *, delivery: str = "msg_1", at: float | None = None) -> dict[str, str]:
    """The headers the other system would send, by the source's scheme."""
    key = key_of(source)
    if source["scheme"] == "standard":
        stamp = str(int(time.time() if at is None else at))
        mac = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
        mark = "v1,AAAA v1," + base64.b64encode(mac).decode()  # while they rotate, a signature of another key beside it
        return {"webhook-id": delivery, "webhook-timestamp": stamp, "webhook-signature": mark}
    mac = hmac.new(key, body, hashlib.sha256).digest()
    known = {"hmac_hex": "sha256=" + mac.hex(), "hmac_base64": base64.b64encode(mac).decode()}
    named = {source["id_header"]: delivery} if source["id_header"] else {}
    return {source["signature_header"]: known[source["scheme"]], **named}


async def post(stack: Stack, source: dict[str, Any], document: Any, **how: Any) -> httpx.Response:
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    stranger = httpx.AsyncClient(transport=stack.client._transport, base_url=stack.client.base_url)
    return await stranger.post(f"/in/{source['id']}", content=body, headers=signed(source, body, **how))


async def person(stack: Stack, number: str) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = (await stack.client.get("/api/contacts", params={"phone": number})).json()["items"]
    return found[0] if found else None


async def log(admin: httpx.AsyncClient, source: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    answer = await admin.get(f"/api/sources/{source['id']}/deliveries", params=query)
    rows: list[dict[str, Any]] = answer.json()["items"]
    return rows


SCHEMES: list[dict[str, Any]] = [
    {"scheme": "standard"},
    {"scheme": "hmac_hex"},
    {"scheme": "hmac_hex", "signature_header": "X-Our-Signature", "id_header": "X-Delivery"},
    {"scheme": "hmac_base64", "id_header": "X-Shopify-Webhook-Id"},
]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_signed_body_takes_effect_once_in_each_scheme(
    stack: Stack, admin: httpx.AsyncClient, scheme: dict[str, Any]
) -> None:
    source = await a_source(admin, **scheme)
    body = {"phone": BOB, "name": "Bob", "tier": "gold"}

    first, again = [await post(stack, source, body) for _ in range(2)]

    assert (first.status_code, first.json()["counts"]) == (200, {"created": 1})
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    found = await person(stack, BOB)
    assert found is not None and (found["name"], found["attributes"]) == ("Bob", {"tier": "gold"})
    (row,) = await log(admin, source)
    assert (row["status"], row["kept"], row["tries"]) == ("applied", False, 1)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_wrong_signature_leaves_nothing_but_a_count(
    stack: Stack, admin: httpx.AsyncClient, scheme: dict[str, Any]
) -> None:
    source = await a_source(admin, **scheme)
    body = msgspec.json.encode({"phone": BOB})
    other = {**source, "secret": "whsec_" + base64.b64encode(b"another").decode()}
    stranger = httpx.AsyncClient(transport=stack.client._transport, base_url=stack.client.base_url)

    answers = [
        await stranger.post(f"/in/{source['id']}", content=body, headers=signed(other, body)),
        await stranger.post(f"/in/{source['id']}", content=body + b" ", headers=signed(source, body)),
        await stranger.post(f"/in/{source['id']}", content=body),
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert await person(stack, BOB) is None and await log(admin, source) == []
    assert (await admin.get(f"/api/sources/{source['id']}")).json()["refused"] == 3


@pytest.mark.parametrize("off", [-301, 302])
async def test_an_old_or_a_future_signature_is_refused(stack: Stack, admin: httpx.AsyncClient, off: int) -> None:
    source = await a_source(admin)

    late = await post(stack, source, {"phone": BOB}, at=time.time() + off)
    in_time = await post(stack, source, {"phone": BOB}, at=time.time() + (290 if off > 0 else -290))

    assert (late.status_code, in_time.status_code) == (401, 200)
    assert "five minutes" in late.json()["detail"]


async def test_a_rotated_secret_is_valid_for_another_day_and_no_secret_is_in_the_database(
    stack: Stack, admin: httpx.AsyncClient
) -> None:
    source = await a_source(admin, scheme="hmac_hex")
    theirs = "the shop's own secret"
    fresh = (await admin.post(f"/api/sources/{source['id']}/rotate", json={"secret": theirs})).json()
    assert fresh == {"secret": None}

    new = {**source, "secret": theirs}
    both = [await post(stack, one, {"phone": BOB, "name": name}) for one, name in ((source, "old"), (new, "new"))]
    too_soon = await admin.post(f"/api/sources/{source['id']}/rotate", json={})
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE inbound_sources SET rotated_at = rotated_at - interval '24 hours'"))
        dump = (await session.execute(text("SELECT s::text FROM inbound_sources s"))).scalar_one()
    after = [await post(stack, one, {"phone": BOB, "name": name}) for one, name in ((source, "o"), (new, "n"))]
    third = (await admin.post(f"/api/sources/{source['id']}/rotate", json={})).json()
    last = [
        (await post(stack, {**source, "secret": secret}, {"phone": BOB, "name": "x" + secret[:3]})).status_code
        for secret in (source["secret"], theirs, third["secret"])
    ]

    assert [answer.status_code for answer in both] == [200, 200]
    assert too_soon.status_code == 409
    assert [answer.status_code for answer in after] == [401, 200]
    assert last == [401, 200, 200]
    assert theirs not in dump and theirs.encode().hex() not in dump and source["secret"] not in dump


async def test_two_same_deliveries_at_once_take_effect_once(stack: Stack, admin: httpx.AsyncClient) -> None:
    source = await a_source(admin, makes="order", mapping=SHOP_ORDER)
    order = msgspec.json.decode((EXAMPLES / "shop_order.json").read_bytes())

    answers = await asyncio.gather(*(post(stack, source, order) for _ in range(6)))

    assert [answer.status_code for answer in answers] == [200] * 6
    assert sorted(answer.json()["duplicate"] for answer in answers) == [False, True, True, True, True, True]
    async with stack.sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM conversions"))).scalar_one() == 1


async def test_different_deliveries_that_make_the_same_person_at_once_all_take_effect(
    stack: Stack, admin: httpx.AsyncClient
) -> None:
    source = await a_source(admin)

    answers = await asyncio.gather(
        *(post(stack, source, {"phone": BOB, "name": str(n)}, delivery=f"m{n}") for n in range(6))
    )

    assert [answer.status_code for answer in answers] == [200] * 6
    counted = [next(iter(answer.json()["counts"])) for answer in answers]
    assert sorted(counted) == ["created", "updated", "updated", "updated", "updated", "updated"]


async def test_a_shops_customer_and_order_are_mapped(stack: Stack, admin: httpx.AsyncClient) -> None:
    customers = await a_source(admin, name="customers", scheme="hmac_base64", mapping=SHOP_CUSTOMER)
    orders = await a_source(admin, name="orders", scheme="hmac_base64", makes="order", mapping=SHOP_ORDER)

    first = await post(stack, customers, (EXAMPLES / "shop_customer.json").read_bytes())
    second = await post(stack, orders, (EXAMPLES / "shop_order.json").read_bytes())

    assert first.json()["counts"] == {"created": 1} and second.json()["counts"] == {"recorded": 1}, second.text
    found = await person(stack, BOB)
    assert found is not None
    assert (found["name"], found["country"], found["tags"]) == ("Bob Norman", "DE", ["loyal", "newsletter"])
    assert found["attributes"] == {"shop_id": "706405506930370084"}
    profile = (await stack.client.get(f"/api/contacts/{found['id']}/profile")).json()
    assert (profile["counts"]["orders"], profile["counts"]["revenue_micros"]) == (1, 409_940_000)
    assert profile["permissions"] == []  # no consent comes this way


async def test_a_list_of_crm_contacts_follows_their_membership_and_keeps_what_is_wrong(
    stack: Stack, admin: httpx.AsyncClient
) -> None:
    await stack.client.put("/api/attributes/score", json={"kind": "number"})
    audience = (await stack.client.post("/api/audiences", json={"name": "CRM", "kind": "static"})).json()
    source = await a_source(
        admin, mapping=CRM_CONTACT, items="results", audience_id=audience["id"], membership="mapped"
    )
    body: dict[str, Any] = msgspec.json.decode((EXAMPLES / "crm_contacts.json").read_bytes())

    answer = await post(stack, source, body, delivery="crm-1")
    body["results"][0]["properties"]["whatsapp_list"] = "false"
    await post(stack, source, {"results": body["results"][:1]}, delivery="crm-2")

    assert answer.status_code == 202
    assert answer.json()["counts"] == {"created": 2, "rejected": 1}
    assert answer.json()["reason"].startswith("item 2: ") and "call me" not in answer.text
    ana = await person(stack, ANA)
    assert ana is not None and (ana["attributes"], ana["language"]) == ({"score": 42}, "pt-pt")
    members = (await stack.client.get(f"/api/audiences/{audience['id']}/members")).json()["items"]
    assert members == []  # she was on it until the second delivery
    assert (await stack.client.delete(f"/api/audiences/{audience['id']}")).status_code == 409


async def test_membership_puts_on_the_list_and_takes_off(stack: Stack, admin: httpx.AsyncClient) -> None:
    audience = (await stack.client.post("/api/audiences", json={"name": "VIP", "kind": "static"})).json()
    joins, leaves = [
        await a_source(admin, name=way, audience_id=audience["id"], membership=way) for way in ("add", "remove")
    ]

    async def members() -> int:
        return len((await stack.client.get(f"/api/audiences/{audience['id']}/members")).json()["items"])

    await post(stack, joins, {"phone": BOB})
    on = await members()
    await post(stack, leaves, {"phone": BOB})

    assert (on, await members()) == (1, 0)


ODD = [
    (b"null", "the item is no JSON object"),
    (b"[]", "the item is no JSON object"),
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b'{"phone": []}', "phone: the path leads to no text"),
    (b'{"name": "Bob"}', "name the person by phone"),
    (b'{"phone": null}', "name the person by phone"),
    (b'{"phone": "+491707654321", "name": "a\\u0000b"}', "NUL"),
    (b'{"phone": "+491707654321", "tier": {"a": 1}}', "must be text"),
    (b'{"phone": ' + b"[" * 60_000 + b"]" * 60_000 + b"}", "nested too deep"),
]


@pytest.mark.parametrize(("body", "reason"), ODD, ids=[reason[:20] for _, reason in ODD])
async def test_odd_json_is_kept_with_the_reason_and_answered_with_a_yes(
    stack: Stack, admin: httpx.AsyncClient, body: bytes, reason: str
) -> None:
    source = await a_source(admin)

    answer = await post(stack, source, body)

    assert (answer.status_code, answer.json()["status"]) == (202, "failed")
    assert reason in answer.json()["reason"]
    (row,) = await log(admin, source, status="failed")
    kept = await admin.get(f"/api/sources/{source['id']}/deliveries/{row['id']}/body")
    assert kept.json()["body"] == body.decode() and await person(stack, BOB) is None


async def test_failed_bodies_are_replayed_once_the_mapping_was_mended(stack: Stack, admin: httpx.AsyncClient) -> None:
    wrong = {**PEOPLE, "phone": "mobile"}
    source = await a_source(admin, mapping=wrong)
    for n in range(3):
        await post(stack, source, {"phone": f"+4917076543{n:02}"}, delivery=f"m{n}")
    rows = await log(admin, source)
    useless = (await admin.post(f"/api/sources/{source['id']}/replay", json={})).json()
    tried = await admin.post(
        f"/api/sources/{source['id']}/try", json={"body": '{"phone": "+491707654300"}', "mapping": PEOPLE}
    )
    nobody = await person(stack, "+491707654300")
    await admin.put(f"/api/sources/{source['id']}", json={"name": "shop", "makes": "contact", "mapping": PEOPLE})

    one = await admin.post(f"/api/sources/{source['id']}/deliveries/{rows[0]['id']}/replay", json={})
    rest = (await admin.post(f"/api/sources/{source['id']}/replay", json={})).json()
    twice = await admin.post(f"/api/sources/{source['id']}/deliveries/{rows[0]['id']}/replay", json={})

    assert useless == {"tried": 3, "applied": 0, "next": None}
    assert tried.json()["items"][0]["verdict"] == "created" and nobody is None  # it was only tried
    assert one.json()["status"] == "applied" and rest == {"tried": 2, "applied": 2, "next": None}
    assert twice.status_code == 422
    assert {(row["status"], row["tries"], row["kept"]) for row in await log(admin, source)} == {("applied", 3, False)}


async def test_what_a_source_sent_is_saved_as_csv(stack: Stack, admin: httpx.AsyncClient) -> None:
    source = await a_source(admin)
    await post(stack, source, {"phone": BOB}, delivery="=good")
    await post(stack, source, {"mobile": BOB}, delivery="bad")
    path = f"/api/sources/{source['id']}/deliveries.csv"

    everything = list(csv.DictReader(io.StringIO((await admin.get(path)).content.decode("utf-8-sig"))))
    failed = list(
        csv.DictReader(io.StringIO((await admin.get(path, params={"status": "failed"})).content.decode("utf-8-sig")))
    )

    assert [(row["key"], row["status"], row["kept"]) for row in everything] == [
        ("bad", "failed", "yes"),
        ("'=good", "applied", "no"),
    ]
    assert [row["reason"] for row in failed] == ["name the person by phone or by user_id"]
    assert (await admin.get(f"/api/sources/{uuid4()}/deliveries.csv")).status_code == 404


async def test_of_a_partly_wrong_body_only_the_wrong_items_are_tried_again(
    stack: Stack, admin: httpx.AsyncClient
) -> None:
    source = await a_source(admin, items="people")
    people = [{"phone": BOB, "name": "Bob"}, {"mobile": ANA, "name": "Ana"}]
    await post(stack, source, {"people": people})
    bob = await person(stack, BOB)
    assert bob is not None
    await stack.client.patch(f"/api/contacts/{bob['id']}", json={"name": "Robert"})
    mended = {**PEOPLE, "phone": "phone | mobile"}
    change = {"name": "shop", "makes": "contact", "mapping": mended, "items": "people"}
    await admin.put(f"/api/sources/{source['id']}", json=change)

    done = (await admin.post(f"/api/sources/{source['id']}/replay", json={})).json()

    assert done == {"tried": 1, "applied": 1, "next": None}
    (bob, ana) = (await person(stack, BOB), await person(stack, ANA))
    assert bob is not None and ana is not None and (bob["name"], ana["name"]) == ("Robert", "Ana")
    (row,) = await log(admin, source)
    assert row["counts"] == {"created": 2}


async def test_opted_out_people_stay_so_and_erased_ones_do_not_come_back(
    stack: Stack, admin: httpx.AsyncClient
) -> None:
    await an_import(stack, csv_of([consenting(BOB), consenting(ANA)]))
    source = await a_source(admin)
    await post(stack, source, {"phone": {"note": f"call {ANA}"}}, delivery="kept")
    bob, ana = await person(stack, BOB), await person(stack, ANA)
    assert bob is not None and ana is not None
    compliance = await stack.sign_in(Role.COMPLIANCE)
    stop = {"phone": BOB, "action": "opt_out", "source_record_id": "call-1", "method": "call"}
    stop["occurred_at"] = utc_now().isoformat()
    withdrawn = await compliance.post("/api/consents", json=stop)
    assert withdrawn.is_success, withdrawn.text
    erased = await compliance.delete(f"/api/contacts/{ana['id']}", params={"reason": "she asked for it"})
    assert erased.is_success, erased.text

    both = [await post(stack, source, {"phone": each, "name": "x"}, delivery=each) for each in (BOB, ANA)]

    assert [answer.json()["counts"] for answer in both] == [{"updated": 1}, {"erased": 1}]
    upserted = await stack.client.post("/api/contacts/bulk", json={"items": [{"phone": ANA}]})
    assert upserted.json()["rows"][0]["verdict"] == "rejected"
    states = (await stack.client.get(f"/api/contacts/{bob['id']}/consents")).json()["states"]
    assert {row["state"] for row in states if row["purpose"] == "marketing"} == {"withdrawn"}
    assert await person(stack, ANA) is None
    (row,) = await log(admin, source, status="failed")
    assert not row["kept"] and "erased" in row["reason"]


async def test_a_body_above_one_megabyte_is_refused(stack: Stack, admin: httpx.AsyncClient) -> None:
    source = await a_source(admin)

    answer = await post(stack, source, {"phone": BOB, "name": "x" * (1 << 20)})

    assert answer.status_code == 413 and await log(admin, source) == []


async def test_a_source_that_is_off_or_unknown_is_not_there(stack: Stack, admin: httpx.AsyncClient) -> None:
    source = await a_source(admin)
    await admin.post(f"/api/sources/{source['id']}/disable", json={})

    off = await post(stack, source, {"phone": BOB})
    await admin.post(f"/api/sources/{source['id']}/enable", json={})
    on = await post(stack, source, {"phone": BOB})
    unknown = await post(stack, {**source, "id": "01990000-0000-7000-8000-000000000000"}, {"phone": BOB})

    assert (off.status_code, on.status_code, unknown.status_code) == (404, 200, 404)


async def test_too_many_at_once_are_asked_to_come_again(stack: Stack, admin: httpx.AsyncClient) -> None:
    source = await a_source(admin)
    async with stack.sessions() as session:
        await session.execute(text("LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE"))
        room = AT_ONCE + IN_LINE
        sent = [asyncio.create_task(post(stack, source, {"phone": BOB}, delivery=f"d{n}")) for n in range(room + 1)]
        (refused,), waiting = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)

    full = refused.result()
    assert full.status_code == 503 and "too many" in full.text
    await asyncio.gather(*waiting)
    assert (await post(stack, source, {"phone": BOB})).status_code == 200


async def test_only_an_admin_changes_sources_and_it_is_on_record(stack: Stack, admin: httpx.AsyncClient) -> None:
    source = await a_source(admin)
    where = f"/api/sources/{source['id']}"

    refused = [
        await stack.client.post("/api/sources", json={"name": "x", "makes": "contact", "mapping": PEOPLE}),
        await stack.client.post(f"{where}/rotate", json={}),
        await stack.client.post(f"{where}/try", json={"body": "{}"}),
        await stack.client.delete(where),
    ]
    listed = (await stack.client.get("/api/sources", params={"q": "SHO"})).json()["items"]
    await admin.post(f"{where}/rotate", json={})
    await admin.delete(where)

    assert [answer.status_code for answer in refused] == [403] * 4
    assert [each["name"] for each in listed] == ["shop"] and listed[0]["secret"] is None
    async with stack.sessions() as session:
        noted = text("SELECT action FROM audit_log WHERE action LIKE 'source.%' ORDER BY id")
        assert list(await session.scalars(noted)) == ["source.added", "source.rotated", "source.removed"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"mapping": {"name": "n"}}, "map phone"),
    ({"mapping": {"phone": "a..b"}}, "no path"),
    ({"membership": "add"}, "go together"),
    ({"mapping": {**PEOPLE, "member": "m"}}, "member is mapped"),
    ({"scheme": "hmac_hex", "signature_header": "Authorization"}, "no name of a header"),
    ({"region": "XX"}, "capital letters"),
    ({"secret": "not base64 at all!"}, "whsec_"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG)
async def test_a_source_that_cannot_work_is_refused_with_what_to_change(
    stack: Stack, admin: httpx.AsyncClient, changes: dict[str, Any], reason: str
) -> None:
    answer = await admin.post("/api/sources", json={"name": "x", "makes": "contact", "mapping": PEOPLE, **changes})

    assert answer.status_code == 422 and reason in answer.json()["detail"], answer.text


async def test_a_source_made_twice_with_one_key_is_one_and_its_secret_is_not_remembered(
    stack: Stack, admin: httpx.AsyncClient
) -> None:
    wanted = {"name": "once", "makes": "contact", "mapping": PEOPLE}
    first, again = [
        (await admin.post("/api/sources", json=wanted, headers={"idempotency-key": "k"})).json() for _ in range(2)
    ]

    assert first == again and first["secret"].startswith("whsec_")
    async with stack.sessions() as session:
        remembered = (await session.execute(text("SELECT body FROM idempotency_keys"))).scalar_one()
    assert first["secret"].encode() not in remembered


async def test_the_log_is_forgotten_after_its_time(stack: Stack, admin: httpx.AsyncClient) -> None:
    source = await a_source(admin)
    await post(stack, source, {"phone": None})

    async with stack.sessions.begin() as session:
        forgotten = await sources.forget_old(session, utc_now())

    assert forgotten == 1 and await log(admin, source) == []


async def test_without_a_database_the_sender_is_asked_to_come_again(stack: Stack, admin: httpx.AsyncClient) -> None:
    source = await a_source(admin)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    engine = make_engine(f"postgresql://kairan@127.0.0.1:{port}/nothing")
    parts = stack.api.state.parts
    stack.api.state.parts = replace(parts, sessions=async_sessionmaker(engine, expire_on_commit=False))
    try:
        away = await post(stack, source, {"phone": BOB})
    finally:
        stack.api.state.parts = parts
        await engine.dispose()

    assert away.status_code == 503 and (await post(stack, source, {"phone": BOB})).status_code == 200
