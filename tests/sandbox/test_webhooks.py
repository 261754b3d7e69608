"""Webhook transport: handshake, signature, batches, retries, duplicates, disorder."""

import asyncio
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from sandbox.app import Wiring, create_app
from sandbox.config import WabaConfig
from sandbox.limits import SlidingWindow
from sandbox.state import Waba
from sandbox.webhooks import Update, envelope, sign
from tests.sandbox.conftest import APP, CALLBACK, NUMBER, WABA, Receiver, Simulator, a_config, alive, simulate, until

SECRET = "test_app_secret"


def test_the_signature_is_that_of_the_public_vector() -> None:
    body = b'{"object":"whatsapp_business_account","entry":[]}'

    assert sign(SECRET, body) == "sha256=dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756"


async def test_every_post_is_signed_over_its_exact_bytes(simulator: Simulator) -> None:
    await simulator.steer("PUT", "people/+4915112345678", {"name": "Łucja さくら/Ö"})
    await simulator.send()
    await simulator.settle()

    assert simulator.receiver.posts
    for headers, body in simulator.receiver.posts:
        assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert body.isascii()
    whole = b"".join(body for _, body in simulator.receiver.posts)
    assert b"\\u0141ucja \\u3055\\u304f\\u3089/\\u00d6" in whole


async def test_slashes_may_be_escaped(simulated: Any) -> None:
    async with simulated(webhooks={"escape_slashes": True}) as simulator:
        await simulator.template()
        await simulator.steer("PUT", "people/+4915112345678", {"name": "a/b"})
        await simulator.send()
        await simulator.settle()

        assert b'"name":"a\\/b"' in b"".join(body for _, body in simulator.receiver.posts)
        assert {c["profile"]["name"] for c in simulator.receiver.values("contacts")} == {"a/b"}


async def test_statuses_have_the_documented_shape(simulator: Simulator) -> None:
    answer = await simulator.send("+5511988887777", biz_opaque_callback_data="cmp:42|rcp:1")
    await simulator.settle()

    statuses = {status["status"]: status for status in simulator.receiver.values("statuses")}
    assert set(statuses) == {"sent", "delivered", "read"}
    for status in statuses.values():
        assert status["id"] == answer.json()["messages"][0]["id"]
        assert status["recipient_id"] == "551188887777"
        assert status["recipient_user_id"].startswith("BR.")
        assert status["biz_opaque_callback_data"] == "cmp:42|rcp:1"
        assert status["timestamp"].isdecimal()
        assert len(status["timestamp"]) == 10
        assert "conversation" not in status
    [pricing] = [status["pricing"] for status in statuses.values() if "pricing" in status]
    assert pricing == {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"}
    [change, *_] = [c for c in simulator.receiver.changes() if "statuses" in c["value"]]
    assert change["field"] == "messages"
    metadata = {"display_phone_number": "15550001111", "phone_number_id": NUMBER}
    assert change["value"]["metadata"] == metadata
    [person, *_] = change["value"]["contacts"]
    assert person["wa_id"] == "551188887777"
    assert person["user_id"] == statuses["sent"]["recipient_user_id"]


async def test_a_failure_names_its_error_and_no_contact(simulator: Simulator) -> None:
    await simulator.steer("PUT", "people/+4915112345678", {"on_whatsapp": False})
    await simulator.send()
    await simulator.settle()

    [change] = [c for c in simulator.receiver.changes() if "statuses" in c["value"]]
    [status] = change["value"]["statuses"]
    assert (status["status"], status["errors"][0]["code"]) == ("failed", 131026)
    assert set(status["errors"][0]) == {"code", "title", "message", "error_data", "href"}
    assert "contacts" not in change["value"]
    assert "recipient_user_id" not in status
    assert "pricing" not in status


async def test_no_webhook_is_sent_before_the_handshake_succeeds() -> None:
    receiver = Receiver(verify_token="another")
    async with simulate(a_config(), receiver) as simulator:
        await simulator.template()
        await simulator.send()
        await simulator.settle()

        assert receiver.handshakes == 1
        assert receiver.posts == []
        health = await simulator.inspect("health")
        assert health["webhook"]["state"] == "refused"
        assert (await simulator.inspect("summary"))["webhooks"]["updates_dropped_unverified"] > 0

        receiver.verify_token = "sandbox-verify-token"
        assert (await simulator.steer("POST", "webhooks/verify", {}))["verified"]
        await simulator.send()
        await simulator.settle()
        assert len(receiver.values("statuses")) == 3


async def test_updates_wait_for_a_receiver_that_is_not_up_yet(simulated: Any) -> None:
    class Late(httpx.ASGITransport):
        up = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if not self.up:
                raise httpx.ConnectError("refused", request=request)
            return await super().handle_async_request(request)

    receiver = Receiver()
    transport = Late(receiver)
    app = create_app(Wiring(a_config(), webhook_transport=transport))
    async with alive(app):
        sandbox = app.state.sandbox
        number = sandbox.store.numbers[NUMBER]
        sandbox.say_value(number.waba, None, "account_review_update", '{"decision":"APPROVED"}')
        await asyncio.sleep(0.05)
        waiting = len(sandbox.webhooks.app_target.waiting)
        transport.up = True
        await until(lambda: bool(receiver.posts))

    assert waiting == 1
    [body] = [json.loads(body) for _, body in receiver.posts]
    assert body["entry"][0]["id"] == WABA
    assert isinstance(body["entry"][0]["time"], int)


async def test_anything_but_200_is_repeated_byte_for_byte_until_it_is_200(simulated: Any) -> None:
    receiver = Receiver(statuses=[500, 204, 404])
    async with simulated(receiver) as simulator:
        await simulator.template()
        await simulator.settle()

        assert len(receiver.posts) == 4
        assert len({receiver.posts[at][1] for at in range(4)}) == 1
        attempts = await simulator.inspect("webhooks")
        assert [(a["attempt"], a["status"]) for a in attempts] == [(1, 500), (2, 204), (3, 404), (4, 200)]
        assert {a["post_id"] for a in attempts} == {1}
        metrics = (await simulator.inspect("summary"))["webhooks"]
        assert (metrics["posts_failed"], metrics["posts_delivered"], metrics["updates_delivered"]) == (3, 1, 1)
        assert metrics["post_ms_median"] > 0


async def test_a_batch_is_lost_after_the_horizon(simulated: Any) -> None:
    receiver = Receiver(statuses=[500] * 1000)
    transport = {"retry_first_s": 0.01, "retry_cap_s": 0.02, "retry_horizon_s": 0.1}
    async with simulated(receiver, webhooks=transport) as simulator:
        await simulator.template()
        await simulator.settle()

        metrics = (await simulator.inspect("summary"))["webhooks"]
        assert (metrics["updates_lost"], metrics["updates_delivered"]) == (1, 0)
        assert 5 <= metrics["posts_failed"] <= 20


async def test_retries_are_first_immediate_and_then_ever_slower(simulated: Any) -> None:
    receiver = Receiver(statuses=[500] * 5)
    async with simulated(receiver, webhooks={"retry_first_s": 100, "retry_horizon_s": 7 * 86400}) as simulator:
        await simulator.template()
        waits = []
        for expected in range(2, 7):
            async with asyncio.timeout(5):
                while len(receiver.posts) < expected:
                    due, now = simulator.sandbox.scheduler.next_due_at(), simulator.sandbox.clock.now()
                    if due is not None and due - now > 1:
                        waits.append(due - now)
                        await simulator.steer("POST", "clock", {"advance_s": due - now})
                    await asyncio.sleep(0.002)

    assert len(waits) == 4  # the first retry did not wait
    for at, wait in enumerate(waits):
        assert 0.49 * 100 * 2**at <= wait <= 1.5 * 100 * 2**at


async def test_batches_hold_many_updates_but_no_more_than_allowed(simulated: Any) -> None:
    async with simulated(webhooks={"max_updates": 10}, throughput=1000) as simulator:
        await simulator.template()
        await simulator.settle()
        for number in range(20):
            await simulator.send(f"+49151123456{number:02}")
        await simulator.settle()

        attempts = await simulator.inspect("webhooks")
        assert sum(a["updates"] for a in attempts) == 61
        assert max(a["updates"] for a in attempts) == 10
        assert len(simulator.receiver.values("statuses")) == 60


def test_an_envelope_keeps_accounts_apart() -> None:
    accounts = [Waba(WabaConfig(id=name), SlidingWindow(1), SlidingWindow(1)) for name in ("1", "2")]
    updates = [Update(waba, None, "account_alerts", None, "{}", None, 0.0) for waba in accounts * 2]

    body = json.loads(envelope(updates, 1793500000.0, escape_slashes=False))

    assert [(entry["id"], len(entry["changes"])) for entry in body["entry"]] == [("1", 2), ("2", 2)]


async def test_posts_come_twice_and_updates_out_of_order_when_asked(simulated: Any) -> None:
    transport = {"duplicate_probability": 0.5, "disorder_probability": 0.3, "max_updates": 1}
    async with simulated(webhooks=transport, throughput=1000) as simulator:
        await simulator.template()
        for number in range(40):
            await simulator.send(f"+49151123456{number:02}")
        await simulator.settle(step_s=0.5)

        bodies = [body for _, body in simulator.receiver.posts]
        assert len(bodies) > len(set(bodies)) > 100
        order = {"sent": 0, "delivered": 1, "read": 2}
        arrived: dict[str, list[int]] = {}
        for status in simulator.receiver.values("statuses"):
            ranks = arrived.setdefault(status["id"], [])
            if order[status["status"]] not in ranks:
                ranks.append(order[status["status"]])
        assert all(sorted(ranks) == [0, 1, 2] for ranks in arrived.values())
        assert any(ranks != [0, 1, 2] for ranks in arrived.values())
        assert (await simulator.inspect("summary"))["webhooks"]["duplicates_sent"] > 5


async def test_a_status_may_overtake_the_answer_to_its_send(simulated: Any) -> None:
    async with simulated(webhooks={"early_status_probability": 1.0}) as simulator:
        await simulator.template()
        sending = asyncio.create_task(simulator.send())
        await until(lambda: bool(simulator.receiver.values("statuses")))
        answered_already = sending.done()
        answer = await sending

        assert not answered_already
        assert simulator.receiver.values("statuses")[0]["id"] == answer.json()["messages"][0]["id"]


async def test_milliseconds_are_a_switch(simulated: Any) -> None:
    async with simulated(webhooks={"millisecond_timestamps": True}) as simulator:
        await simulator.template()
        await simulator.send()
        await simulator.settle()

        assert {len(status["timestamp"]) for status in simulator.receiver.values("statuses")} == {13}


async def test_an_account_may_have_its_own_callback_once_it_is_verified(simulator: Simulator) -> None:
    override = {"override_callback_uri": CALLBACK, "verify_token": "wrong"}
    refused = await simulator.post(f"{WABA}/subscribed_apps", override)
    accepted = await simulator.post(f"{WABA}/subscribed_apps", override | {"verify_token": "sandbox-verify-token"})
    listed = await simulator.client.get(f"/v26.0/{WABA}/subscribed_apps")
    removed = await simulator.client.delete(f"/v26.0/{WABA}/subscribed_apps")
    await simulator.settle()
    before = len(simulator.receiver.posts)
    await simulator.send()
    await simulator.settle()

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, 2200)
    assert accepted.json() == removed.json() == {"success": True}
    assert listed.json()["data"][0]["override_callback_uri"] == CALLBACK
    assert len(simulator.receiver.posts) == before


async def test_the_app_and_a_number_may_set_their_callbacks(simulator: Simulator) -> None:
    token = {"verify_token": "sandbox-verify-token"}
    app = {"object": "whatsapp_business_account", "callback_url": CALLBACK}
    number = {"webhook_configuration": {"override_callback_uri": CALLBACK} | token}

    answers = [
        await simulator.post(f"{APP}/subscriptions", app | token),
        await simulator.post(NUMBER, number),
        await simulator.post(f"{APP}/subscriptions", app | {"verify_token": "wrong"}),
        await simulator.post(f"{APP}/subscriptions", {"object": "page"} | token),
    ]

    assert [answer.json().get("error", {}).get("code", 0) for answer in answers] == [0, 0, 2200, 100]
    fields = (await simulator.client.get(f"/v26.0/{NUMBER}?fields=webhook_configuration")).json()
    assert fields["webhook_configuration"] == {"application": CALLBACK}


@pytest.mark.parametrize(("signature", "right"), [("valid", True), ("wrong", False), ("missing", None)])
async def test_any_webhook_can_be_injected(simulator: Simulator, signature: str, right: bool | None) -> None:
    value = {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "SPAM"}}
    await simulator.settle()
    simulator.receiver.posts.clear()

    sent = {"field": "account_update", "value": value, "signature": signature}
    answer = await simulator.steer("POST", "webhooks", sent)
    await simulator.settle()

    [(headers, body)] = simulator.receiver.posts
    given = headers.get("x-hub-signature-256")
    assert (None if given is None else given == sign(SECRET, body)) is right
    assert simulator.receiver.fields("account_update") == [value]
    assert answer["post_id"] == (await simulator.inspect("webhooks"))[-1]["post_id"]


async def test_raw_bytes_can_be_injected(simulator: Simulator) -> None:
    await simulator.settle()
    simulator.receiver.posts.clear()

    await simulator.steer("POST", "webhooks", {"body": "{not json"})
    await simulator.settle()

    assert [body for _, body in simulator.receiver.posts] == [b"{not json"]
