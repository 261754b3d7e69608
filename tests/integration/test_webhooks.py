"""Webhooks: nothing false gets in, nothing true is lost, stops are in force before the answer."""

import asyncio
import hashlib
import hmac
import itertools
import json
import socket
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker

from api.ingest import Ingest
from core.db import make_engine
from core.models import Contact, InboundMessage, Message, PendingWithdrawal, WebhookEvent, WebhookField
from core.services import webhooks
from core.whatsapp.signature import sign
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from worker import expanding, recording, sending

PEOPLE = [f"+4917012345{number:02d}" for number in range(6)]
NUMBER = {"display_phone_number": "15550001111", "phone_number_id": "200000000000002"}
AT = 1_793_500_000
numbers = itertools.count(1)


def change(field: str = "messages", **value: Any) -> dict[str, Any]:
    return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": NUMBER, **value}}


def body(*changes: Any) -> bytes:
    entry = {"id": "100000000000001", "changes": list(changes)}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def said(words: str, phone: str = PEOPLE[0], **more: Any) -> dict[str, Any]:
    message = {"id": f"wamid.IN{next(numbers)}", "timestamp": str(AT), "type": "text", "text": {"body": words}}
    return {"from": phone.lstrip("+"), **message, **more}


def status(wamid: str, word: str, at: Any = str(AT), **more: Any) -> dict[str, Any]:
    return {"id": wamid, "status": word, "timestamp": at, **more}


async def deliver(stack: Stack, content: bytes, signature: str | None = None) -> httpx.Response:
    signed = sign(stack.settings.app_secrets[0], content) if signature is None else signature
    return await stack.client.post("/webhooks/whatsapp", content=content, headers={"x-hub-signature-256": signed})


async def count(stack: Stack, table: str, where: str = "true") -> int:
    async with stack.sessions() as session:
        found = await session.execute(text(f"SELECT count(*) FROM {table} WHERE {where}"))
        return int(found.scalar_one())


async def stopped(stack: Stack, phone: str = PEOPLE[0], purpose: str = "marketing") -> bool:
    """Whether the ledger says that this number may get no marketing, as things stand this moment."""
    found = (await stack.client.get("/api/contacts", params={"phone": phone})).json()["items"]
    if not found:
        return False
    states = (await stack.client.get(f"/api/contacts/{found[0]['id']}/consents")).json()["states"]
    own = {state["purpose"]: state for state in states}
    return any(own[name]["state"] == "withdrawn" for name in (purpose, "marketing.*") if name in own)


async def a_sent_campaign(stack: Stack) -> list[tuple[str, str]]:
    """(message id, wamid) of messages the provider has accepted and will not report on: the tests do that."""
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(phone) for phone in PEOPLE]))
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    stack.bells.waiting.clear()
    await stack.parts.whatsapp.http.delete("/v26.0/100000000000001/subscribed_apps")
    await expanding.expand_campaign(stack.ctx, campaign["id"])
    await sending.send_messages(stack.ctx, sender["id"])
    stack.bells.waiting.clear()
    async with stack.sessions.begin() as session:
        await session.execute(text("DELETE FROM webhook_events"))
        rows = await session.execute(select(Message.id, Message.wamid).order_by(Message.id))
        return [(str(message_id), str(wamid)) for message_id, wamid in rows]


async def test_the_handshake_answers_only_who_knows_the_word(stack: Stack) -> None:
    async def shake(**changes: str) -> httpx.Response:
        asked = {"mode": "subscribe", "verify_token": "verify me", "challenge": "1158201444", **changes}
        return await stack.client.get("/webhooks/whatsapp", params={f"hub.{k}": v for k, v in asked.items()})

    right = await shake()
    assert (right.status_code, right.text) == (200, "1158201444")
    assert right.headers["content-type"].startswith("text/plain")
    for wrong in ({"verify_token": "x"}, {"verify_token": ""}, {"verify_token": "é"}, {"mode": "unsubscribe"}):
        assert (await shake(**wrong)).status_code == 403
    bare = await stack.client.get("/webhooks/whatsapp")
    assert bare.status_code == 400 and bare.json()["errors"][0]["field"].startswith("hub.")


async def test_what_the_provider_did_not_sign_is_not_stored(stack: Stack) -> None:
    content = body(change(messages=[said("STOP")]))
    secret = stack.settings.app_secrets[0]
    right = sign(secret, content)
    sha1 = f"sha1={hmac.new(secret.encode(), content, hashlib.sha1).hexdigest()}"
    for signature in ("", " ", "sha256=", right[7:], right.upper(), right[:-1], sha1, sign("other", content), "é"):
        header = signature.encode()
        answer = await stack.client.post(
            "/webhooks/whatsapp", content=content, headers=[(b"x-hub-signature-256", header)]
        )
        assert answer.status_code == 401, signature
    assert (await stack.client.post("/webhooks/whatsapp", content=content)).status_code == 401
    assert (await deliver(stack, content + b" ", right)).status_code == 401
    too_large = b'{"a":"' + b"x" * (4 << 20) + b'"}'
    assert (await deliver(stack, too_large)).status_code == 413
    assert await count(stack, "webhook_events") == 0 == await count(stack, "contacts")


LONG = "".join(hashlib.sha256(b"%d" % n).hexdigest() for n in range(100))  # too long for an index, however packed
DEEP = b'{"entry":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
MALFORMED = [b"", b'{"object":"whatsapp', b"null", b"[]", b'"x"', b"5", DEEP]
NO_CODES = (None, [], [None], [{"code": "x"}], [{"code": 10**30}])
ODD = [
    b'{"entry":null}',
    b'{"entry":["x"]}',
    b'{"entry":[{"id":"1"}]}',
    b'{"entry":[{"id":"\xff","changes":[]}]}',
    b'{"entry":[{"id":"1","changes":null}]}',
    b'{"entry":[{"id":"1","changes":["x"]}]}',
    body(change("brand_new_field"), {"field": None}, {"field": "messages", "value": None}, {"field": LONG}),
    body(change("account_update"), change("phone_number_quality_update"), {"field": "a\0b", "value": {}}),
    body(change("message_template_status_update", event="SHRUG", message_template_id=10**30)),
    body(change("message_template_quality_update"), change("message_template_status_update", event=5)),
    *(
        body(change(statuses=[each]))
        for each in (
            *(5, None, {}),
            *(status(wamid, "sent") for wamid in ("w" * 9000, "", "w\0")),
            *(status("w1", "sent", at) for at in (None, "soon", "", -1, 10**30, "1" * 5000, AT * 10**6)),
            *(status("w2", "failed", errors=errors) for errors in NO_CODES),
            status("w3", "teleported"),
            status("w4", "read", biz_opaque_callback_data=5, pricing="free", conversation=[]),
        )
    ),
    *(
        body(change(messages=[each]))
        for each in (
            *(None, {"id": 5}, {"id": "x" * 9000, "timestamp": str(AT)}),
            *(said("hi", phone) for phone in ("no number", "", "4" * 900, "49170\x00123")),
            *(said("hi", **{name: 5}) for name in ("text", "button", "interactive", "context", "timestamp")),
            *(said("hi", type=kind) for kind in ("hologram", "h" * 500, "reaction")),
            said("a\0b", extra={"deep": [[[["\0"]]]]}, more=10**400),
        )
    ),
    body(change(contacts=[None, {"profile": None}, {"wa_id": "4917012345600", "profile": {"name": "\0"}}])),
    body(change("user_preferences", user_preferences=[5, {"value": "stop"}, {"value": "shrug", "category": "x"}])),
]


async def test_what_is_not_understood_is_stored_and_counted_and_never_an_error(stack: Stack) -> None:
    for content in MALFORMED + ODD:
        answer = await deliver(stack, content)
        assert (answer.status_code, answer.text) == (200, "ok"), content[:100]
    await stack.work()

    assert await count(stack, "webhook_events", "status = 'waiting'") == 0
    assert await count(stack, "webhook_events", "status = 'set_aside'") == len(MALFORMED)
    async with stack.sessions() as session:
        kept = list(await session.scalars(select(WebhookEvent.body).order_by(WebhookEvent.id)))
        counted = {row.name: row.known for row in await session.scalars(select(WebhookField))}
    assert kept == MALFORMED + ODD
    assert counted["brand_new_field"] is False
    assert counted["messages/status/teleported"] is False
    assert counted["messages/hologram"] is False
    assert counted["messages/text"] is True


def a_stop(number: int, words: str = "STOP", **more: Any) -> tuple[str, bytes]:
    phone = f"+49170999999{number:02d}"
    return phone, body(change(messages=[said(words, phone, **more)]))


def a_tap(payload: str) -> dict[str, Any]:
    return {"type": "button", "text": None, "button": {"payload": payload, "text": "Stop promotions"}}


CHOICE = {"type": "button_reply", "button_reply": {"id": "optout", "title": "No more"}}
STOPS = [
    a_stop(1),
    a_stop(2, **a_tap("optout:marketing")),
    a_stop(3, **a_tap("optout:spring_sale")),  # names a purpose nobody has, and still means stop
    a_stop(4, type="interactive", text=None, interactive=CHOICE),
    *(a_stop(5 + n, timestamp=at) for n, at in enumerate(("garbage", "", None, 0, AT * 1000, "99999999999"))),
    a_stop(20, "STOP\0", context={"id": "\0"}, extra="\0"),
    (a_stop(21)[0], a_stop(21)[1].replace(b'"messages":', b'"m\\u0065ssages":')),
    (a_stop(22)[0], a_stop(22)[1].replace(b'"messages": [', b'"statuses": 5, "contacts": 5, "messages": [null, {}, ')),
]


async def test_a_stop_in_any_shape_is_in_the_ledger_before_the_answer(stack: Stack) -> None:
    for phone, content in STOPS:
        assert (await deliver(stack, content)).status_code == 200
        assert await stopped(stack, phone), (phone, content)
    before = await count(stack, "consent_events")
    await stack.work()
    assert await count(stack, "webhook_events", "status = 'recorded'") == len(STOPS)
    assert await count(stack, "consent_events") == before


async def test_a_stop_without_a_number_is_kept_for_the_user_id(stack: Stack) -> None:
    message = {
        "from_user_id": "DE.4f9aBc",
        "id": "wamid.U1",
        "timestamp": str(AT),
        "type": "text",
        "text": {"body": "stop"},
    }
    await deliver(
        stack, body(change(contacts=[{"user_id": "DE.4f9aBc", "profile": {"name": "B"}}], messages=[message]))
    )
    await stack.work()

    assert await count(stack, "contact_addresses", "kind = 'bsuid' AND value = 'DE.4f9aBc'") == 1
    assert await count(stack, "consent_state", "state = 'withdrawn'") == 1


async def test_a_stop_inside_whatsapp_ends_the_consent_and_a_resume_only_lifts_the_block(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(PEOPLE[0])]))

    async def choose(value: str, at: int) -> tuple[bool, bool]:
        """(consent withdrawn, blocked at the provider) right after the answer."""
        preference = {"wa_id": PEOPLE[0][1:], "category": "marketing_messages", "value": value, "timestamp": at}
        await deliver(stack, body(change("user_preferences", user_preferences=[preference])))
        blocked = await count(stack, "consent_state", "purpose = 'marketing' AND overlays::text LIKE '%meta_stop%'")
        return await stopped(stack), blocked > 0

    assert await choose("stop", AT - 100) == (True, True)
    assert await choose("resume", AT - 50) == (True, False)
    # The same choice repeated by the provider is the same choice.
    assert await choose("stop", AT - 100) == (True, False)
    await stack.work()
    assert await choose("resume", AT - 50) == (True, False)


async def test_a_stop_while_the_contact_is_locked_blocks_at_once_and_is_recorded_later(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(PEOPLE[0])]))
    async with stack.sessions() as holding, holding.begin():
        await holding.execute(select(Contact.id).with_for_update(read=True))  # as the send gate does
        answer = await deliver(stack, body(change(messages=[said("STOP")])))
        assert answer.status_code == 200
        assert await count(stack, "pending_withdrawals") == 1
        preview = (await stack.client.post("/api/audiences/preview", json={"rule": {"all": []}})).json()
        assert preview["reachable"] == 0
    await recording.sweep_webhooks(stack.ctx)
    await stack.work()

    assert await stopped(stack)
    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(PendingWithdrawal)) == 0
        assert await session.scalar(select(func.count()).select_from(InboundMessage)) == 1


async def test_one_body_fifty_times_at_once_is_one_fact(stack: Stack) -> None:
    ((message_id, wamid), *_) = await a_sent_campaign(stack)
    reports = [
        status(wamid, word, str(AT + n), biz_opaque_callback_data=message_id)
        for n, word in enumerate(("sent", "delivered"))
    ]
    content = body(change(statuses=reports), change(messages=[said("STOP", "+4917099999911")]))

    answers = await asyncio.gather(*(deliver(stack, content) for _ in range(50)))
    await asyncio.gather(*(recording.record_webhooks(stack.ctx) for _ in range(4)))
    await stack.work()

    assert Counter(answer.status_code for answer in answers) == {200: 50}
    assert await count(stack, "webhook_events", "status = 'recorded'") == 50
    assert await count(stack, "message_events", "kind IN ('sent', 'delivered')") == 2
    assert await count(stack, "inbound_messages") == 1
    assert (
        await count(
            stack, "contacts", "id IN (SELECT contact_id FROM contact_addresses WHERE value = '+4917099999911')"
        )
        == 1
    )
    assert await stopped(stack, "+4917099999911")


async def shown(stack: Stack) -> Counter[str]:
    async with stack.sessions() as session:
        rows = await session.execute(select(Message.status, func.count()).group_by(Message.status))
        return Counter({str(word): number for word, number in rows})


async def test_statuses_in_any_order_and_against_each_other_end_at_the_furthest(stack: Stack) -> None:
    sent = await a_sent_campaign(stack)
    # (what arrives, one body each, at the same instant; where it ends)
    orders = [
        (["read", "delivered", "sent"], "read"),
        (["failed", "sent"], "failed"),
        (["delivered", "failed"], "delivered"),
        (["failed", "delivered"], "delivered"),
        (["sent", "sent", "sent"], "sent"),
    ]
    for (message_id, wamid), (words, _) in zip(sent, orders, strict=False):
        bodies = [
            body(change(statuses=[status(wamid, word, str(AT + len(word)), biz_opaque_callback_data=message_id)]))
            for word in words
        ]
        await asyncio.gather(*(deliver(stack, each) for each in bodies))
        await asyncio.gather(*(recording.record_webhooks(stack.ctx) for _ in range(3)))
    # By wamid alone, a thousand in one body.
    thousand = [status(sent[5][1], "delivered", AT + n) for n in range(1000)]
    assert (await deliver(stack, body(change(statuses=thousand)))).status_code == 200
    await stack.work()

    expected = Counter(word for _, word in orders) + Counter(["delivered"])
    assert await shown(stack) == expected
    async with stack.sessions() as session:
        late = await session.scalar(select(Message.delivered_at).where(Message.wamid == sent[5][1]))
    assert late == datetime.fromtimestamp(AT, UTC)


async def test_a_status_that_comes_before_our_own_record_waits_for_it(stack: Stack) -> None:
    ((_, wamid), *_) = await a_sent_campaign(stack)
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE messages SET wamid = 'wamid.later' WHERE wamid = :wamid"), {"wamid": wamid})
    await deliver(stack, body(change(statuses=[status(wamid, "read")])))
    await stack.work()
    assert (await count(stack, "parked_statuses"), (await shown(stack))["read"]) == (1, 0)

    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE messages SET wamid = :wamid WHERE wamid = 'wamid.later'"), {"wamid": wamid})
    await recording.sweep_webhooks(stack.ctx)

    assert (await count(stack, "parked_statuses"), (await shown(stack))["read"]) == (0, 1)


TABLES = (
    "messages",
    "message_events",
    "inbound_messages",
    "consent_events",
    "consent_state",
    "contacts",
    "contact_addresses",
)
TABLES += ("suppressions", "parked_statuses", "templates")


async def dump(stack: Stack) -> dict[str, list[str]]:
    async with stack.sessions() as session:
        return {
            name: sorted(row[0] for row in await session.execute(text(f"SELECT t::text FROM {name} t")))
            for name in TABLES
        }


async def test_a_poisoned_body_is_set_aside_alone_and_a_replay_of_everything_changes_nothing(
    stack: Stack, own_database: str
) -> None:
    sent = await a_sent_campaign(stack)
    good = [body(change(statuses=[status(wamid, "delivered", biz_opaque_callback_data=one)])) for one, wamid in sent]
    good += [body(change(messages=[said("STOP", PEOPLE[1])])), body(change(messages=[said("thanks", PEOPLE[2])]))]
    good += [body(change(statuses=[status("wamid.nobody", "read")]))]
    for content in good[:4]:
        await deliver(stack, content)
    # Poison is what the parser lets through and the database refuses; a trigger stands in for what we cannot foresee.
    owner = make_engine(own_database, role=None)
    async with owner.begin() as session:
        await session.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN IF NEW.type = 'poison' THEN RAISE 'poisoned'; END IF; RETURN NEW; END$$"
            )
        )
        await session.execute(
            text("CREATE TRIGGER refuse BEFORE INSERT ON inbound_messages FOR EACH ROW EXECUTE FUNCTION refuse()")
        )
    await owner.dispose()
    await deliver(stack, body(change(messages=[said("hello", PEOPLE[3], type="poison")])))
    for content in good[4:]:
        await deliver(stack, content)
    await stack.work()

    assert await count(stack, "webhook_events", "status = 'set_aside'") == 1
    assert await count(stack, "webhook_events", "status = 'recorded'") == len(good)
    assert (await shown(stack))["delivered"] == len(sent)
    before = await dump(stack)
    for content in reversed(good):
        await deliver(stack, content)
    await stack.work()
    assert await dump(stack) == before


async def test_either_secret_signs_while_one_replaces_the_other(stack: Stack) -> None:
    object.__setattr__(stack.settings, "whatsapp_app_secret", "new secret, old secret")
    content = body(change("brand_new_field"))
    for secret, told in (
        ("new secret", 200),
        ("old secret", 200),
        ("older secret", 401),
        ("new secret, old secret", 401),
    ):
        assert (await deliver(stack, content, sign(secret, content))).status_code == told


async def test_without_a_database_the_provider_is_asked_to_come_again(stack: Stack, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    engine = make_engine(f"postgresql://kairan@127.0.0.1:{port}/nothing")
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    ingest = Ingest(sessions, stack.bells)
    ingest.start()
    parts, working = stack.api.state.parts, stack.api.state.ingest
    stack.api.state.parts, stack.api.state.ingest = replace(parts, sessions=sessions), ingest
    try:
        for content in (body(change(statuses=[status("w", "sent")])), body(change(messages=[said("STOP")]))):
            answer = await deliver(stack, content)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
        ready = await stack.client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["postgres"]) == (503, "away")
        assert (await stack.client.get("/health/live")).status_code == 200
    finally:
        stack.api.state.parts, stack.api.state.ingest = parts, working
        await ingest.stop()
        await engine.dispose()
    assert await count(stack, "webhook_events") == 0


async def test_thousands_of_statuses_are_folded_in_pieces_and_a_second_time_change_nothing(stack: Stack) -> None:
    sent = await a_sent_campaign(stack)
    words, instants = ("read", "delivered", "sent"), 500  # the lowest last, and every message in every piece
    said_of = [
        status(wamid, word, str(AT + at), biz_opaque_callback_data=message_id)
        for word in words
        for at in range(instants)
        for message_id, wamid in sent
    ]
    stranger = status("wamid.NOBODYS", "read", biz_opaque_callback_data="01a205a0-0000-7000-8000-000000000000")
    assert len(said_of) > 3 * webhooks.PIECE
    for start in range(0, len(said_of), 1000):
        assert (await deliver(stack, body(change(statuses=said_of[start : start + 1000])))).status_code == 200
    assert (await deliver(stack, body(change(statuses=[stranger])))).status_code == 200

    async def stands() -> list[int]:
        is_right = (
            f"status = 'read' AND read_at = to_timestamp({AT}) AND delivered_at = to_timestamp({AT})"
            f" AND sent_at = to_timestamp({AT})"
        )
        facts = "kind IN ('read', 'delivered', 'sent')"
        wanted = (("messages", is_right), ("message_events", facts), ("parked_statuses", "true"))
        return [await count(stack, table, where) for table, where in wanted]

    await recording.record_webhooks(stack.ctx)
    once = await stands()
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE webhook_events SET status = 'waiting'"))
    await recording.record_webhooks(stack.ctx)

    assert once == [len(sent), len(said_of), 1]
    assert await stands() == once
    assert await count(stack, "webhook_events", "status != 'recorded'") == 0
