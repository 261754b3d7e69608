"""Campaigns by the API: what is refused at each step, and the same request twice."""

import asyncio
import json
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update

from core.clock import utc_now
from core.models import Audience, Campaign, Import, Template
from core.statuses import Role, TemplateStatus
from tests.factories import (
    FILLED,
    a_campaign,
    a_sender,
    a_template,
    an_audience,
    an_import,
    consenting,
    csv_of,
    launched,
)
from tests.integration.stack import Stack

PEOPLE = [f"+4917012345{number:02d}" for number in range(30)]


async def a_plan(stack: Stack, **changes: Any) -> dict[str, Any]:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    audience = await an_audience(stack)
    variant = {"label": "A", "template_id": template["id"], "parameters": FILLED}
    return {
        "name": "Spring",
        "sender_id": sender["id"],
        "audience_id": audience["id"],
        "variants": [variant],
        **changes,
    }


def with_parameter(plan: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    variant = plan["variants"][0]
    return {**plan, "variants": [{**variant, "parameters": {**FILLED, key: value}}]}


async def test_a_plan_that_cannot_work_is_refused_with_its_field(stack: Stack) -> None:
    plan = await a_plan(stack)
    variant = plan["variants"][0]
    nobody = "00000000-0000-0000-0000-000000000000"
    wrong: list[tuple[dict[str, Any], int, str | None]] = [
        ({**plan, "name": "  "}, 422, "name"),
        ({**plan, "holdout": 0.9}, 400, "holdout"),
        ({**plan, "messages_per_minute": 10**30}, 400, "messages_per_minute"),
        ({**plan, "quiet_from": "25:00", "quiet_until": "08:00"}, 400, "quiet_from"),
        ({**plan, "quiet_from": "21:00"}, 422, "quiet_from"),
        ({**plan, "purpose": "nope"}, 422, "purpose"),
        ({**plan, "purpose": "transactional"}, 422, "variants"),
        ({**plan, "audience_id": nobody}, 404, None),
        ({**plan, "sender_id": nobody}, 404, None),
        ({**plan, "variants": []}, 400, "variants"),
        ({**plan, "variants": [variant, variant]}, 422, "variants"),
        ({**plan, "variants": [{**variant, "weight": 0}]}, 400, "variants[0].weight"),
        ({**plan, "variants": [{**variant, "template_id": nobody}]}, 404, None),
        ({**plan, "variants": [{**variant, "parameters": {}}]}, 422, "parameters.body.1"),
        (with_parameter(plan, "body.9", {"text": "x"}), 422, "parameters.body.9"),
        (with_parameter(plan, "body.2", {"text": {"a": 1}}), 400, None),
        (with_parameter(plan, "body.2", {"text": "a", "link": "https://a.example"}), 422, "parameters.body.2"),
        (with_parameter(plan, "body.2", {"source": "contact.salary"}), 422, "parameters.body.2"),
        (with_parameter(plan, "body.2", {"media_id": nobody}), 422, "parameters.body.2"),
        (with_parameter(plan, "button.0", {"link": "javascript:alert(1)"}), 422, "parameters.button.0"),
        (with_parameter(plan, "button.0", {"link": "https://[::1"}), 422, "parameters.button.0"),
        (with_parameter(plan, "button.0", {"link": "https://"}), 422, "parameters.button.0"),
        (
            with_parameter(plan, "button.0", {"link": "https://a.example/\r\nset-cookie: a=b"}),
            422,
            "parameters.button.0",
        ),
    ]
    for body, status, field in wrong:
        answer = await stack.client.post("/api/campaigns", json=body)
        assert answer.status_code == status, (body, answer.text)
        assert field is None or answer.json()["errors"][0]["field"] == field, answer.text
    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Campaign)) == 0


async def test_launching_needs_the_newest_review_an_approved_template_and_the_audience_it_was_made_for(
    stack: Stack,
) -> None:
    plan = await a_plan(stack)
    await an_import(stack, csv_of([consenting(phone) for phone in PEOPLE[:5]]))
    path = f"/api/campaigns/{(await stack.client.post('/api/campaigns', json=plan)).json()['id']}"

    async def refused(action: str, status: int, **body: Any) -> str:
        answer = await stack.client.post(f"{path}/{action}", json=body)
        assert answer.status_code == status, answer.text
        return str(answer.json()["detail"])

    assert "review it first" in await refused("launch", 409, fingerprint="x")
    assert "going out" in await refused("pause", 409, reason="x")
    old = (await stack.client.post(f"{path}/review")).json()["fingerprint"]
    await stack.client.patch(path, json={**plan, "name": "Autumn"})
    assert "review it first" in await refused("launch", 409, fingerprint=old)
    fingerprint = (await stack.client.post(f"{path}/review")).json()["fingerprint"]
    assert fingerprint != old
    assert "reviewed again" in await refused("launch", 409, fingerprint=old)
    assert "past" in await refused("schedule", 422, fingerprint=fingerprint, send_at="2020-01-01T00:00:00Z")
    assert "time zone" in await refused("schedule", 422, fingerprint=fingerprint, send_at="2030-01-01T00:00:00")
    assert "time" in await refused("schedule", 400, fingerprint=fingerprint, send_at="9999-12-31T23:59:59-12:00")
    for status in (TemplateStatus.PAUSED, TemplateStatus.APPROVED):
        async with stack.sessions.begin() as session:
            await session.execute(update(Template).values(status=status))
        if status is TemplateStatus.PAUSED:
            assert "paused" in await refused("launch", 422, fingerprint=fingerprint)
    await an_import(stack, csv_of([consenting(phone) for phone in PEOPLE[5:]]))
    assert "30 people now and had 5" in await refused("launch", 409, fingerprint=fingerprint)

    fingerprint = (await stack.client.post(f"{path}/review")).json()["fingerprint"]
    send_at = (utc_now() + timedelta(hours=1)).isoformat()
    scheduled = await stack.client.post(f"{path}/schedule", json={"fingerprint": fingerprint, "send_at": send_at})
    assert (scheduled.status_code, scheduled.json()["status"]) == (200, "scheduled")
    assert (await stack.client.patch(path, json=plan)).status_code == 409
    assert (await stack.client.post(f"{path}/review")).status_code == 409
    assert (await stack.client.post(f"{path}/cancel")).json()["status"] == "cancelled"
    assert (await stack.client.post(f"{path}/cancel")).status_code == 409


async def test_a_campaign_on_a_list_reaches_the_list(stack: Stack) -> None:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(PEOPLE[0])]))
    await an_import(stack, csv_of([consenting(phone) for phone in PEOPLE[1:4]]), audience_name="VIPs")
    lists = (await stack.client.get("/api/audiences", params={"q": "vip"})).json()["items"]
    await launched(stack, await a_campaign(stack, sender, template, lists[0]))
    await stack.settle()

    sent_to = sorted(message.person.wa_id for message in stack.sandbox.store.messages)
    assert sent_to == sorted(phone.lstrip("+") for phone in PEOPLE[1:4])
    twice = await stack.client.post(
        "/api/imports",
        files={"file": ("people.csv", csv_of([consenting(PEOPLE[5])]), "text/csv")},
        data={"options": json.dumps({"audience_name": "VIPs"})},
    )
    assert twice.status_code == 409
    # What was refused leaves no upload behind.
    assert len(list((stack.settings.data_dir / "imports").iterdir())) == 2


async def test_a_key_makes_a_repeated_post_one_post(stack: Stack) -> None:
    body = {"name": "People", "kind": "static"}

    async def post(key: str, body: dict[str, Any] = body, path: str = "audiences") -> Any:
        return await stack.client.post(f"/api/{path}", json=body, headers={"idempotency-key": key})

    answers = await asyncio.gather(*(post("k1") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    other = await post("k1", {**body, "name": "Others"})
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "idempotency-key")
    assert (await post("k2")).status_code == 409  # the same name, asked for anew
    assert (await post("k" * 201)).status_code == 422
    # A refusal is not kept: the request may be put right and sent again under its key.
    assert (await post("k3", {**body, "name": "People"})).status_code == 409
    assert (await post("k3", {**body, "name": "Friends"})).status_code == 201
    # Another caller's key is another key.
    admin = await stack.sign_in(Role.ADMIN)
    mine = await admin.post("/api/audiences", json={**body, "name": "Mine"}, headers={"idempotency-key": "k1"})
    assert (mine.status_code, mine.json()["name"]) == (201, "Mine")
    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Audience)) == 3


async def test_a_file_sent_twice_under_one_key_is_one_import(stack: Stack) -> None:
    content = csv_of([consenting(phone) for phone in PEOPLE[:3]])

    async def upload(content: bytes = content) -> Any:
        # The boundary is the client's own; it is fixed here because a retry repeats its request byte for byte.
        return await stack.client.post(
            "/api/imports",
            files={"file": ("people.csv", content, "text/csv")},
            data={"options": "{}"},
            headers={"idempotency-key": "upload", "content-type": "multipart/form-data; boundary=b"},
        )

    first, second = await asyncio.gather(upload(), upload())
    assert (first.status_code, first.text) == (201, second.text)
    assert (await upload(content + b"\n")).status_code == 422
    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Import)) == 1


async def test_a_draft_is_discarded_and_what_was_launched_is_not(stack: Stack) -> None:
    plan = await a_plan(stack)
    draft = (await stack.client.post("/api/campaigns", json=plan)).json()
    await stack.client.post(f"/api/campaigns/{draft['id']}/review")

    gone = await stack.client.delete(f"/api/campaigns/{draft['id']}")

    assert gone.status_code == 204
    assert (await stack.client.get(f"/api/campaigns/{draft['id']}")).status_code == 404
    going = await launched(stack, (await stack.client.post("/api/campaigns", json=plan)).json())
    refused = await stack.client.delete(f"/api/campaigns/{going['id']}")
    assert (refused.status_code, "cancel it instead" in refused.json()["detail"]) == (409, True)


async def test_a_pause_needs_no_reason_and_the_stop_says_who_it_was_and_what_to_do(stack: Stack) -> None:
    going = await launched(stack, (await stack.client.post("/api/campaigns", json=await a_plan(stack))).json())

    paused = (await stack.client.post(f"/api/campaigns/{going['id']}/pause", json={})).json()

    (stop,) = paused["stops"]
    assert (stop["what"], stop["code"], stop["reason"]) == ("campaign", None, "Paused by Marketer")
    assert (stop["next_step"], stop["goes_on_alone"]) == ("Resume when you wish.", False)
    resumed = (await stack.client.post(f"/api/campaigns/{going['id']}/resume")).json()
    assert resumed["stops"] == []
