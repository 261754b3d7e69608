"""Webhooks we send, to a receiver of our own: signed, at least once, tried again, given up, replayed."""

import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from aiohttp import web
from sqlalchemy import text

from core.clock import utc_now
from core.statuses import Role
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from tests.integration.test_keyword_answers import ANA, writes
from worker import hooks

ALL = [
    "message.accepted",
    "message.sent",
    "message.delivered",
    "message.read",
    "message.skipped",
    "inbound.received",
    "contact.opted_in",
    "contact.opted_out",
    "campaign.status_changed",
    "template.status_changed",
]


@dataclass
class Receiver:
    """A shop's server: keeps what it gets, and answers as it is told."""

    url: str = ""
    status: int = 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        moved = {"location": "http://127.0.0.1:1/"} if self.status == 302 else {}
        return web.Response(status=self.status, headers=moved)

    def told(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(body) for _, body in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    known = Receiver()
    app = web.Application()
    app.router.add_post("/hook", known.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    known.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield known
    await runner.cleanup()


@pytest.fixture
async def admin(stack: Stack) -> httpx.AsyncClient:
    object.__setattr__(stack.settings, "hooks_allow_private", True)
    return await stack.sign_in(Role.ADMIN)


async def a_hook(admin: httpx.AsyncClient, receiver: Receiver, **changes: Any) -> dict[str, Any]:
    answer = await admin.post("/api/hooks", json={"url": receiver.url, "events": ALL, **changes})
    assert answer.status_code == 201, answer.text
    hook: dict[str, Any] = answer.json()
    return hook


async def tell(stack: Stack) -> None:
    await hooks.sweep_hooks(stack.ctx)
    await stack.work()


async def log(admin: httpx.AsyncClient, hook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await admin.get(f"/api/hooks/{hook['id']}/deliveries", params=query)).json()["items"]
    return found


def signatures(secret: str, headers: dict[str, str], body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


async def test_every_fact_is_told_once_signed_and_without_a_number(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    hook = await a_hook(admin, receiver)
    secret = (await admin.get(f"/api/hooks/{hook['id']}/secret")).json()["secret"]
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(ANA), {"phone": "+4917012345699"}]))
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    await stack.settle()
    await writes(stack, "STOP")

    for _ in range(3):
        await tell(stack)

    counted = Counter(each["type"] for each in receiver.told())
    # Two messages: the campaign's, and the confirmation of the stop.
    for kind, count in (("message.read", 2), ("message.skipped", 1), ("inbound.received", 1), ("contact.opted_in", 1)):
        assert counted[kind] == count, counted
    assert counted["contact.opted_out"] == 1 and counted["template.status_changed"] >= 1
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert len(ids) == len(set(ids))
    for headers, body in receiver.got:
        assert headers["webhook-signature"] == signatures(secret, headers, body)
        assert ANA.lstrip("+").encode() not in body
    campaigns = [each["data"] for each in receiver.told() if each["type"] == "campaign.status_changed"]
    assert {"campaign_id": campaign["id"], "before": "sending", "after": "completed"} in campaigns  # in any order
    (heard,) = [each["data"] for each in receiver.told() if each["type"] == "inbound.received"]
    assert (heard["text"], heard["intent"]) == ("STOP", "opt_out")
    assert {row["status"] for row in await log(admin, hook)} == {"delivered"}


async def test_a_number_is_told_to_those_only_who_are_allowed_it(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    await a_hook(admin, receiver, events=["inbound.received"], include_phone=True)
    await a_sender(stack)

    await writes(stack, "hello")
    await tell(stack)

    assert [each["data"]["phone"] for each in receiver.told()] == [ANA]


async def test_what_is_not_taken_comes_again_with_the_same_id_and_everything_once_it_is(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    hook = await a_hook(admin, receiver, events=["inbound.received"])
    await a_sender(stack)
    receiver.status = 500
    await writes(stack, "one")
    await tell(stack)
    await writes(stack, "two")
    await tell(stack)
    assert len(receiver.got) == 2  # each was tried once: while it fails, one at a time
    assert (await admin.get("/api/hooks")).json()["items"][0]["failing_since"] is not None
    (failed, *_) = await log(admin, hook, status="waiting")
    assert (failed["http_status"], failed["error"], failed["attempts"]) == (500, "answered 500", 1)

    receiver.status = 200
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE hook_deliveries SET next_at = now()"))
    await tell(stack)

    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert Counter(ids) == {ids[0]: 2, ids[1]: 2}
    assert receiver.got[0][1] == next(body for headers, body in receiver.got[2:] if headers["webhook-id"] == ids[0])
    assert (await admin.get("/api/hooks")).json()["items"][0]["failing_since"] is None


@pytest.mark.parametrize("status", [302, 404])
async def test_redirects_are_not_followed_and_five_days_of_failure_switch_it_off(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver, status: int
) -> None:
    hook = await a_hook(admin, receiver)
    receiver.status = status
    await admin.post(f"/api/hooks/{hook['id']}/test")
    await stack.work()
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE hooks SET failing_since = now() - interval '5 days'"))
        await session.execute(text("UPDATE hook_deliveries SET next_at = now()"))

    await tell(stack)

    (shown,) = (await admin.get("/api/hooks")).json()["items"]
    assert f"answered {status}" in shown["disabled_reason"]
    tries = len(receiver.got)
    await tell(stack)
    assert len(receiver.got) == tries == 2
    receiver.status = 204
    await admin.post(f"/api/hooks/{hook['id']}/enable")
    await stack.work()
    assert [row["status"] for row in await log(admin, hook)] == ["delivered"]


async def test_the_answer_410_switches_it_off_at_once(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    hook = await a_hook(admin, receiver)
    receiver.status = 410

    await admin.post(f"/api/hooks/{hook['id']}/test")
    await stack.work()

    (shown,) = (await admin.get("/api/hooks")).json()["items"]
    assert "410" in shown["disabled_reason"]
    assert (await admin.post(f"/api/hooks/{hook['id']}/test")).status_code == 409


async def test_after_the_last_try_it_is_given_up_and_a_replay_sends_it_again(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    hook = await a_hook(admin, receiver)
    receiver.status = 500
    await admin.post(f"/api/hooks/{hook['id']}/test")
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE hook_deliveries SET attempts = 9"))
    await stack.work()
    (row,) = await log(admin, hook, status="failed")
    receiver.status = 200
    day = {"since": (utc_now() - timedelta(days=1)).isoformat(), "until": (utc_now() + timedelta(days=1)).isoformat()}

    replayed = await admin.post(f"/api/hooks/{hook['id']}/replay", json={**day, "only_failed": True})
    await stack.work()
    assert replayed.json() == {"deliveries": 1}
    again = await admin.post(f"/api/hooks/{hook['id']}/deliveries/{row['id']}/replay")
    await stack.work()

    assert again.status_code == 202
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [row["event_id"]] * 3
    backwards = {"since": day["until"], "until": day["since"]}
    assert (await admin.post(f"/api/hooks/{hook['id']}/replay", json=backwards)).status_code == 422


async def test_both_secrets_sign_for_a_day_after_a_rotation(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    hook = await a_hook(admin, receiver)
    old = (await admin.get(f"/api/hooks/{hook['id']}/secret")).json()["secret"]
    new = (await admin.post(f"/api/hooks/{hook['id']}/rotate")).json()["secret"]
    assert (await admin.post(f"/api/hooks/{hook['id']}/rotate")).status_code == 409

    await admin.post(f"/api/hooks/{hook['id']}/test")
    await stack.work()
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE hooks SET rotated_at = now() - interval '25 hours'"))
    await admin.post(f"/api/hooks/{hook['id']}/test")
    await stack.work()

    (first, first_body), (second, second_body) = receiver.got
    expected = [signatures(secret, first, first_body) for secret in (new, old)]
    assert first["webhook-signature"].split(" ") == expected
    assert second["webhook-signature"] == signatures(new, second, second_body)


async def test_a_fact_whose_transaction_ends_late_is_told_all_the_same(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    await a_hook(admin, receiver, events=["campaign.status_changed"])
    change = text("INSERT INTO status_changes (kind, subject_id, before, after) VALUES ('campaign', uuidv7(), 'a', :w)")
    async with stack.sessions() as slow, slow.begin():
        await slow.execute(change, {"w": "early"})
        async with stack.sessions.begin() as quick:
            await quick.execute(change, {"w": "late"})
        await tell(stack)
        assert receiver.told() == []  # nothing is told out of the window that is still open
    await tell(stack)

    assert sorted(each["data"]["after"] for each in receiver.told()) == ["early", "late"]


async def test_a_private_address_is_refused_at_the_door_and_on_the_way(
    stack: Stack, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    hook = await a_hook(admin, receiver, url=receiver.url.replace("127.0.0.1", "localhost"))
    object.__setattr__(stack.settings, "hooks_allow_private", False)

    refused = await admin.post("/api/hooks", json={"url": "https://169.254.169.254/latest", "events": ALL})
    await admin.post(f"/api/hooks/{hook['id']}/test")
    await stack.work()

    assert (refused.status_code, refused.json()["code"]) == (422, "forbidden_target")
    (row,) = await log(admin, hook)
    assert "private network" in row["error"] and receiver.got == []


async def test_only_an_administrator_decides_who_is_told(stack: Stack, admin: httpx.AsyncClient) -> None:
    body = {"url": "https://shop.example/hook", "events": ["message.read"]}
    assert (await stack.client.post("/api/hooks", json=body)).status_code == 403
    for wrong in ({"events": []}, {"events": ["message.eaten"]}, {"url": "nowhere!"}):
        assert (await admin.post("/api/hooks", json=body | wrong)).status_code == 422
    hook = (await admin.post("/api/hooks", json=body)).json()
    changed = await admin.put(f"/api/hooks/{hook['id']}", json={**body, "events": ["message.failed"]})
    assert changed.json()["events"] == ["message.failed"]
    assert (await stack.client.get("/api/hooks")).json()["items"][0]["id"] == hook["id"]
    assert (await admin.delete(f"/api/hooks/{hook['id']}")).status_code == 204
    assert (await admin.get("/api/hooks")).json()["items"] == []
    names = [each["name"] for each in (await stack.client.get("/api/hooks/event-types")).json()["items"]]
    assert set(ALL) <= set(names)
