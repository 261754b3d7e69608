"""Bad input: a sentence that says what to do, the field's name, never a 500, and nothing changed."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from core.statuses import Role
from tests.factories import FILLED, NUMBER, OFFER, a_campaign, a_sender, a_template, an_audience
from tests.integration.stack import Stack
from tests.unit.test_webhook_parsing import places, put

JSON = {"content-type": "application/json"}
NOBODY = "00000000-0000-0000-0000-000000000000"
# Words of programs: none of them helps a person.
JARGON = re.compile(r"`|\bregex\b|\bstr\b|\bint\b|<class|Expected|Traceback|msgspec|asyncpg|sqlalchemy|\bNone\b|\$")


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + b"1" + closing * depth


RULE = b'{"name":"x","kind":"rule","rule":'
AGE = b'{"rule":{"field":"attributes.age","op":"gt","value":1%s}}'
TIME = b'{"rule":{"field":"created_at","op":"gt","value":"0001-01-01T00:00:00+14:00"}}'
# (path, body, status, the field named): the table of what a caller may get wrong.
WRONG: list[tuple[str, bytes, int, str | None]] = [
    ("audiences", b'{"name":"a","kind":"static","nope":1}', 400, "nope"),
    ("audiences", b'{"name":5,"kind":"static"}', 400, "name"),
    ("audiences", b'{"name":"x","kind":"statik"}', 400, "kind"),
    ("audiences", b'{"name":"x"}', 400, "kind"),
    ("audiences", b"", 400, "body"),
    ("audiences", b"  ", 400, "body"),
    ("audiences", b"[]", 400, "body"),
    ("audiences", b"null", 400, "body"),
    ("audiences", b'"x"', 400, "body"),
    ("audiences", b'{"name":', 400, "body"),
    ("audiences", b"a=b", 400, "body"),
    ("audiences", b'{"name":"\xff\xfe","kind":"static"}', 400, "body"),
    ("audiences", b'{"name":"\\ud800","kind":"static"}', 400, "body"),
    ("audiences", b'{"name":"a\\u0000b","kind":"static"}', 400, "body"),
    ("audiences", json.dumps({"name": "a" * 201, "kind": "static"}).encode(), 400, "name"),
    ("audiences", RULE + nested(b'{"not":', b"}", 5000) + b"}", 400, "body"),
    ("audiences", RULE + nested(b"[", b"]", 100_000) + b"}", 400, "body"),
    ("audiences", RULE + nested(b'{"not":', b"}", 65) + b"}", 400, "body"),
    ("audiences", RULE + nested(b'{"not":', b"}", 30) + b"}", 422, None),
    ("audiences", b'{"name":"x","kind":"static","rule":{"all":[]}}', 422, "rule"),
    ("audiences", b'{"name":"x","kind":"rule"}', 422, "rule"),
    ("audiences/preview", b'{"rule":{"field":"attributes.x","op":"gt","value":1e400}}', 400, "body"),
    ("audiences/preview", AGE % (b"0" * 30), 422, "rule.value"),
    ("audiences/preview", AGE % (b"0" * 400), 422, "rule.value"),
    ("audiences/preview", TIME, 422, "rule.value"),
    ("audiences/preview", b'{"rule":{"audience":"%s"}}' % NOBODY.encode(), 422, "rule"),
    ("audiences/preview", b'{"rule":{"all":[]},"purpose":"nope"}', 422, "purpose"),
    ("session", b'{"email":1,"password":"x"}', 400, "email"),
    ("session", b'{"email":"a\\u0000","password":"x"}', 400, "body"),
    ("conversions", b'{"items":[]}', 400, "items"),
    ("conversions", b'{"items":[{"kind":"order"}]}', 400, "items[0].order_id"),
    ("senders", json.dumps({**NUMBER, "phone_number_id": "9\n"}).encode(), 400, "phone_number_id"),
    ("senders", json.dumps({**NUMBER, "phone_number_id": "١٢٣"}).encode(), 400, "phone_number_id"),
    ("senders", json.dumps({**NUMBER, "display_number": "call me"}).encode(), 400, "display_number"),
    ("senders", json.dumps({**NUMBER, "messages_per_second": 10**30}).encode(), 400, "messages_per_second"),
    ("senders", json.dumps({**NUMBER, "messages_per_second": 1.5}).encode(), 400, "messages_per_second"),
]  # fmt: skip


async def test_what_is_wrong_is_said_in_a_sentence_that_names_the_field(stack: Stack) -> None:
    for path, body, status, field in WRONG:
        answer = await stack.client.post(f"/api/{path}", content=body, headers=JSON)

        what = (path, body[:80], answer.text[:300])
        assert answer.status_code == status, what
        assert answer.headers["content-type"] == "application/problem+json", what
        problem = answer.json()
        assert {"type", "title", "status", "detail", "code"} <= set(problem), what
        assert problem["status"] == status and problem["detail"], what
        assert not JARGON.search(problem["detail"]), what
        if field is not None:
            assert problem["errors"][0]["field"] == field, what
            assert not JARGON.search(problem["errors"][0]["message"]), what
    async with stack.sessions() as session:
        for table in ("audiences", "senders", "conversions"):
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0


QUERIES = [
    ("audiences", {"limit": "0"}, 400, "limit"),
    ("audiences", {"limit": "1000"}, 400, "limit"),
    ("audiences", {"limit": "x"}, 400, "limit"),
    ("audiences", {"limit": "1e400"}, 400, "limit"),
    ("audiences", {"cursor": "x"}, 422, "cursor"),
    ("audiences", {"cursor": ""}, 422, "cursor"),
    ("audiences", {"cursor": "é"}, 422, "cursor"),
    ("audiences", {"cursor": "AAAAAAAAAAA"}, 422, "cursor"),  # a number, and these are numbered by ids
    ("audiences", {"cursor": "__________8"}, 422, "cursor"),
    ("audiences", {"q": "x" * 201}, 400, "q"),
    ("audiences", {"q": "\0"}, 400, None),
    ("campaigns", {"status": "nope"}, 400, "status"),
    ("contacts", {"phone": "x"}, 422, None),
    ("metrics", {"names": "nope"}, 422, "names"),
    ("metrics", {"names": "sent", "by": "nope"}, 422, "names"),
    ("metrics", {"names": "sent", "since": "x"}, 400, "since"),
    ("nowhere", {}, 404, None),
    (f"contacts/{NOBODY}", {}, 404, None),
    ("contacts/not-an-id", {}, 404, None),
]


async def test_wrong_queries_and_addresses_are_explained_too(stack: Stack) -> None:
    for path, query, status, field in QUERIES:
        answer = await stack.client.get(f"/api/{path}", params=query)

        what = (path, query, answer.text[:300])
        assert answer.status_code == status, what
        assert not JARGON.search(answer.json()["detail"]), what
        if field is not None:
            assert answer.json()["errors"][0]["field"] == field, what
    assert (await stack.client.delete("/api/campaigns")).status_code == 405
    too_large = await stack.client.post("/api/audiences", content=b'"' + b"a" * (11 << 20) + b'"', headers=JSON)
    assert (too_large.status_code, too_large.json()["detail"]) == (413, "the request is too large")


async def test_pages_follow_each_other_without_gap_or_repetition(stack: Stack) -> None:
    made = [(await an_audience(stack, name=f"A{number}"))["id"] for number in range(7)]

    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        page = (
            await stack.client.get("/api/audiences", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]

    assert cursor is None
    assert seen == made[::-1]


RULES: list[tuple[Any, int]] = [
    ({}, 422),
    ([], 400),
    ({"all": {}}, 422),
    ({"all": [1]}, 422),
    ({"all": [], "any": []}, 422),
    ({"field": ["a"], "op": "eq", "value": "x"}, 422),
    ({"field": "name", "op": {"a": 1}, "value": "x"}, 422),
    ({"field": "shoe_size", "op": "eq", "value": "x"}, 422),
    ({"field": "name", "op": "resembles", "value": "x"}, 422),
    ({"field": "name", "op": "eq"}, 422),
    ({"field": "name", "op": "eq", "value": None}, 422),
    ({"field": "name", "op": "in", "value": "x"}, 422),
    ({"field": "name", "op": "in", "value": [1]}, 422),
    ({"field": "created_at", "op": "gt", "value": "yesterday"}, 422),
    ({"field": "created_at", "op": "gt", "value": "2026-01-01T00:00:00"}, 422),
    ({"field": "attributes.", "op": "exists"}, 422),
    ({"consent": {"a": 1}}, 422),
    ({"audience": "x"}, 422),
    ({"import": 5}, 422),
    ({"any": [{"field": "name", "op": "eq", "value": "x"}] * 201}, 422),
    ({"field": "name", "op": "in", "value": [str(number) for number in range(40_000)]}, 200),
    ({"field": "name", "op": "not_in", "value": []}, 200),
    ({"field": "attributes.o'brien \" \\ %", "op": "contains", "value": "%_\\'; DROP TABLE contacts"}, 200),
    ({"field": "attributes.x", "op": "eq", "value": -5}, 200),
    ({"field": "last_seen_at", "op": "exists", "value": False}, 200),
    ({"import": NOBODY}, 200),
]


async def test_rules_are_compiled_or_refused_with_the_place_named(stack: Stack) -> None:
    for rule, status in RULES:
        answer = await stack.client.post("/api/audiences/preview", json={"rule": rule})

        assert answer.status_code == status, (str(rule)[:100], answer.text[:300])
        if status == 422:
            assert answer.json()["errors"][0]["field"].startswith("rule"), answer.text


FLAWS: list[tuple[dict[str, Any], int]] = [
    ({"components": [{"type": ["BODY"]}]}, 422),
    ({"components": [{"type": "BODY", "text": 5}]}, 422),
    ({"components": [{"type": "BODY"}]}, 422),
    ({"components": [OFFER[0], OFFER[0]]}, 422),
    ({"components": [OFFER[0], {"type": "BUTTONS", "buttons": "abc"}]}, 422),
    ({"components": [OFFER[0], {"type": "BUTTONS", "buttons": None}]}, 422),
    ({"components": [OFFER[0], {"type": "BUTTONS", "buttons": [1]}]}, 422),
    ({"components": [{"type": "BODY", "text": "Hello {{1}} x", "example": ["a"]}]}, 422),
    ({"components": [{"type": "BODY", "text": "Hello {{1}} x", "example": {"body_text": []}}]}, 422),
    ({"components": [{"type": "BODY", "text": "Hello {{1}} x", "example": {"body_text": None}}]}, 422),
    ({"components": [{"type": "BODY", "text": "Hello {{1}} x", "example": {"body_text": [{"a": 1}]}}]}, 422),
    ({"name": "offer\n"}, 422),
    ({"name": "Offer"}, 422),
    ({"language": "english"}, 400),
    ({"language": "en\n"}, 400),
    ({"purpose": "transactional"}, 422),
    ({"purpose": "nope"}, 422),
    ({"parameter_format": "alphabetical"}, 422),
    ({"sender_id": NOBODY}, 404),
    ({"header_media_id": NOBODY}, 404),
]  # fmt: skip


async def test_templates_with_a_flaw_never_reach_the_provider(stack: Stack) -> None:
    sender = await a_sender(stack)
    for flaw, status in FLAWS:
        body = {"sender_id": sender["id"], "name": "offer", "language": "en", "components": OFFER, **flaw}
        answer = await stack.client.post("/api/templates", json=body)

        assert answer.status_code == status, (flaw, answer.text[:300])
        assert "provider_code" not in answer.json(), flaw
    unknown = await stack.client.post("/api/templates/sync", json={"sender_id": sender["id"], "purpose": "nope"})
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "purpose")


PNG = b"\x89PNG\r\n\x1a\n"


async def test_files_with_odd_names_and_kinds_are_taken_or_refused(stack: Stack) -> None:
    sender = await a_sender(stack)

    async def upload(name: str, content: bytes = PNG, kind: str = "image/png", **changes: Any) -> Any:
        form = {"sender_id": sender["id"], **changes}
        return await stack.client.post("/api/media", files={"file": (name, content, kind)}, data=form)

    for name, kept in [("..", "file"), ("a" * 300 + ".png", "a" * 60 + ".png"), ("../../etc/x.png", "x.png")]:
        assert (await upload(name)).json()["filename"] == kept
    assert (await upload("a.gif", kind="image/gif")).status_code == 422
    assert (await upload("a.png", b"")).status_code == 422
    assert (await upload("a.png", PNG + b"x" * (5 << 20))).status_code == 422
    assert (await upload("a.png", sender_id="x")).json()["errors"][0]["field"] == "sender_id"
    assert (await stack.client.post("/api/media", json={"a": 1})).status_code == 400
    assert (await stack.client.post("/api/imports", data={"options": "{}"})).status_code == 400


PRICES = [
    ("DE,marketing,USD,1e400,2026-01-01", "price"),
    ("DE,marketing,USD,1e999999999,2026-01-01", "price"),
    ("DE,marketing,USD,NaN,2026-01-01", "price"),
    ("DE,marketing,USD,-1,2026-01-01", "price"),
    ("DE,marketing,USD,cheap,2026-01-01", "price"),
    ("DE,marketing,DOLLARS,1,2026-01-01", "currency"),
    ("DE,spam,USD,1,2026-01-01", "category"),
    ("DE,marketing,USD,1,soon", "effective_from"),
    (",marketing,USD,1,2026-01-01", "market"),
    ("DE,marketing", "currency"),
    ("DE,marketing,USD,1,2026-01-01\nde,marketing,usd,2,2026-01-01", "already"),
]


async def test_rate_cards_are_checked_row_by_row(stack: Stack) -> None:
    header = "market,category,currency,price,effective_from\n"
    for rows, word in PRICES:
        answer = await stack.client.post("/api/rates", files={"file": ("r.csv", (header + rows).encode())})
        assert answer.status_code == 422 and word in answer.json()["detail"], (rows, answer.text)
    for content in (b"", b"a,b\n", header.encode(), b"\xff\xfe\x00", header.encode() + b"x" * 200_000):
        answer = await stack.client.post("/api/rates", files={"file": ("r.csv", content)})
        assert answer.status_code == 422, content[:50]
    good = await stack.client.post(
        "/api/rates", files={"file": ("r.csv", (header + "DE,marketing,USD,0.0625,2026-01-01").encode())}
    )
    assert good.json() == {"rows": 1}


CONSENT = {
    "action": "opt_in",
    "source_record_id": "r",
    "occurred_at": "2026-11-20T00:00:00Z",
    "phone": "+4917012345678",
    "evidence": {"form": "x"},
}
CONSENTS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"action": "shrug"}, 400, "action"),
    ({"source_record_id": ""}, 400, "source_record_id"),
    ({"occurred_at": "2026-11-20T00:00:00"}, 422, "occurred_at"),
    ({"occurred_at": "yesterday"}, 400, "occurred_at"),
    ({"phone": "12"}, 422, None),
    ({"phone": None}, 422, "phone"),
    ({"contact_id": NOBODY}, 422, "phone"),
    ({"phone": None, "contact_id": NOBODY}, 404, None),
    ({"purpose": "nope"}, 422, "purpose"),
    ({"action": "opt_out", "purpose": "marketting"}, 422, "purpose"),  # it would stop nothing
    ({"purpose": "marketing.*"}, 422, "purpose"),
    ({"method": "telepathy"}, 422, "method"),
    ({"notice_id": NOBODY}, 422, "notice_id"),
    ({"collection_point": "a\u0085b"}, 422, None),
    ({"evidence": {"a": 1}}, 400, None),
    ({"evidence": {}}, 422, "evidence"),
]


async def test_consents_are_recorded_whole_or_not_at_all(stack: Stack) -> None:
    async with stack.sessions() as session:
        before = (await session.execute(text("SELECT count(*) FROM consent_events"))).scalar_one()
    for change, status, field in CONSENTS:
        answer = await stack.client.post("/api/consents", json={**CONSENT, **change})

        assert answer.status_code == status, (change, answer.text[:300])
        if field is not None:
            assert answer.json()["errors"][0]["field"] == field, (change, answer.text)
    async with stack.sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM consent_events"))).scalar_one() == before
        assert (await session.execute(text("SELECT count(*) FROM contacts"))).scalar_one() == 0


texts = st.text(max_size=20) | st.sampled_from(
    ["", "\0", "\u202e", "9" * 400, "marketing", NOBODY, "2026-01-01T00:00:00Z"]
)
scalars = st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False) | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@pytest.fixture
async def bodies(stack: Stack) -> dict[str, Any]:
    """A body every POST of JSON accepts, with ids that exist."""
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    audience = await an_audience(stack)
    campaign = await a_campaign(stack, sender, template, audience)
    variant = {"label": "A", "weight": 1, "template_id": template["id"], "parameters": FILLED}
    plan = {
        "name": "x",
        "sender_id": sender["id"],
        "audience_id": audience["id"],
        "variants": [variant],
        "holdout": 0.1,
        "canary": {"people": 5, "thresholds": {"after_minutes": 5, "min_delivered": 0.5}},
    }
    rule = {"all": [{"field": "country", "op": "in", "value": ["DE"]}, {"not": {"consent": "marketing"}}]}
    order = {
        "kind": "order",
        "order_id": "1",
        "occurred_at": "2026-11-20T00:00:00Z",
        "amount_micros": 1,
        "currency": "USD",
    }
    return {
        "senders": {**NUMBER, "phone_number_id": "7"},
        f"senders/{sender['id']}/pause": {"reason": "because"},
        "audiences": {"name": "y", "kind": "rule", "rule": rule},
        "audiences/preview": {"rule": rule, "purpose": "marketing"},
        "templates": {"sender_id": sender["id"], "name": "t", "language": "en", "components": OFFER},
        "templates/sync": {"sender_id": sender["id"], "purpose": "marketing"},
        "campaigns": plan,
        f"campaigns/{campaign['id']}/launch": {"fingerprint": "x"},
        f"campaigns/{campaign['id']}/schedule": {"fingerprint": "x", "send_at": "2027-01-01T00:00:00Z"},
        f"campaigns/{campaign['id']}/pause": {"reason": "x"},
        f"campaigns/{campaign['id']}/canary": {"verdict": "go"},
        f"campaigns/{campaign['id']}/test": {"phone": "+4917012345678", "variant": "A"},
        "conversions": {"items": [order]},
        "consents": CONSENT,
        "session": {"email": "a@example.org", "password": "x"},
    }


async def test_no_json_whatever_breaks_any_post(stack: Stack, bodies: dict[str, Any]) -> None:
    paths = sorted(bodies)
    choices = [(path, place) for path in paths for place in places(bodies[path])]
    drawn: list[tuple[str, bytes]] = []

    @settings(max_examples=250, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(choices), anything)
    def draw(choice: tuple[str, tuple[Any, ...]], value: Any) -> None:
        path, place = choice
        drawn.append((path, json.dumps(put(bodies[path], place, value)).encode()))

    draw()
    for path, body in drawn:
        answer = await stack.client.post(f"/api/{path}", content=body, headers=JSON)
        assert answer.status_code < 500, (path, body[:500], answer.text)


async def test_compliance_asks_for_audits_in_whole_sentences(stack: Stack) -> None:
    compliance = await stack.sign_in(Role.COMPLIANCE)
    for body, field in [
        ({"reason": "why"}, "reason"),
        ({"reason": "because we must", "country": "Germany"}, "country"),
        ({"reason": "because we must", "contact_ids": ["x"]}, None),
        ({"reason": "because we must", "contact_ids": [NOBODY] * 1001}, "contact_ids"),
    ]:
        answer = await compliance.post("/api/audits", json=body)
        assert answer.status_code == 400 and not JARGON.search(answer.json()["detail"]), answer.text
        assert field is None or answer.json()["errors"][0]["field"] == field
    looked = await compliance.get(f"/api/contacts/{NOBODY}/evidence")
    assert (looked.status_code, looked.json()["errors"][0]["field"]) == (400, "reason")
