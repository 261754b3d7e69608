"""What the messages endpoint accepts and refuses."""

from typing import Any

import pytest

from tests.sandbox.conftest import (
    BODY,
    NUMBER,
    QUICK_BUTTON,
    URL_BUTTON,
    WABA,
    Json,
    Simulator,
    a_send,
    a_template,
)


def text(to: str = "+4915112345678", **changes: Any) -> Json:
    return {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "Hello"}} | changes


def body_with(*values: str) -> Json:
    return {"type": "body", "parameters": [{"type": "text", "text": value} for value in values]}


async def refusal(simulator: Simulator, body: object, *, version: str = "v26.0") -> tuple[int, int, str]:
    """HTTP status, code and details of a refused send."""
    answer = await simulator.client.post(f"/{version}/{NUMBER}/messages", json=body)
    error = answer.json()["error"]
    assert error["type"] == "OAuthException"
    assert error["fbtrace_id"]
    return answer.status_code, error["code"], error.get("error_data", {}).get("details", error["message"])


async def test_a_template_send_is_accepted_and_lives_to_be_read(simulator: Simulator) -> None:
    answer = await simulator.send(biz_opaque_callback_data="cmp:42")

    assert answer.status_code == 200
    accepted = answer.json()
    assert accepted["contacts"] == [{"input": "+4915112345678", "wa_id": "4915112345678"}]
    [message] = accepted["messages"]
    assert message["message_status"] == "accepted"
    assert message["id"].startswith("wamid.")
    await simulator.settle()
    [logged] = (await simulator.inspect("messages"))["items"]
    assert logged["wamid"] == message["id"]
    assert [status["status"] for status in logged["statuses"]] == ["sent", "delivered", "read"]
    assert (logged["template"], logged["language"]) == ("spring_sale", "en_US")
    assert (logged["biz_opaque_callback_data"], logged["phone_number_id"]) == ("cmp:42", NUMBER)


async def test_identical_sends_are_separate_messages(simulator: Simulator) -> None:
    first, second = await simulator.send(), await simulator.send()

    assert first.json()["messages"][0]["id"] != second.json()["messages"][0]["id"]
    summary = await simulator.inspect("summary")
    assert (summary["accepted"], summary["recipients_sent_more_than_once"]) == (2, 1)


@pytest.mark.parametrize(
    ("given", "wa_id"),
    [
        ("+5511988887777", "551188887777"),
        ("+551133334444", "551133334444"),
        ("+525512345678", "5215512345678"),
        ("+541123456789", "5491123456789"),
        ("+5491123456789", "5491123456789"),
        ("+49 (151) 123-45678", "4915112345678"),
        ("4915112345678", "14915112345678"),
        ("15551230000", "15551230000"),
    ],
)
async def test_the_recipient_becomes_a_whatsapp_id(simulator: Simulator, given: str, wa_id: str) -> None:
    answer = await simulator.send(given)

    assert answer.json()["contacts"] == [{"input": given, "wa_id": wa_id}]


ENVELOPE_REFUSALS: list[tuple[Json, int, int]] = [
    ({"messaging_product": None}, 400, 100),
    ({"messaging_product": "sms"}, 400, 100),
    ({"to": None}, 400, 100),
    ({"to": "not a number"}, 400, 131009),
    ({"to": "+12"}, 400, 131009),
    ({"to": "+15550001111"}, 400, 131021),
    ({"type": "carrier_pigeon"}, 400, 100),
    ({"type": "image"}, 400, 131008),
    ({"text": {"body": "also"}}, 400, 100),
    ({"recipient_type": "group"}, 400, 100),
    ({"biz_opaque_callback_data": "x" * 513}, 400, 100),
    ({"surprise": 1}, 400, 100),
    ({"template": {"name": "spring_sale"}}, 400, 131008),
    ({"template": {"name": "spring_sale", "language": "en_US"}}, 400, 100),
]


@pytest.mark.parametrize(("changes", "http_status", "code"), ENVELOPE_REFUSALS)
async def test_a_wrong_envelope_is_refused(simulator: Simulator, changes: Json, http_status: int, code: int) -> None:
    body = {name: value for name, value in (a_send("+4915112345678") | changes).items() if value is not None}

    assert (await refusal(simulator, body))[:2] == (http_status, code)
    assert (await simulator.inspect("summary"))["refused_by_code"] == {str(code): 1}


TEMPLATE_REFUSALS: list[tuple[str, Json, int, int]] = [
    ("unknown name", {"name": "winter_sale"}, 404, 132001),
    ("other language", {"language": "en"}, 404, 132001),
    ("too few", {"components": [body_with("Asha"), URL_BUTTON]}, 400, 132000),
    ("none at all", {"components": [URL_BUTTON]}, 400, 132000),
    ("too many", {"components": [body_with("a", "b", "c"), URL_BUTTON]}, 400, 132000),
    ("empty text", {"components": [body_with("", "b"), URL_BUTTON]}, 400, 131008),
    ("line break", {"components": [body_with("a\nb", "b"), URL_BUTTON]}, 400, 132018),
    ("five spaces", {"components": [body_with("a     b", "b"), URL_BUTTON]}, 400, 132018),
    ("too long", {"components": [body_with("a" * 1000, "b"), URL_BUTTON]}, 400, 132005),
    ("no url suffix", {"components": [BODY]}, 400, 131008),
    ("media in body", {"components": [{"type": "body", "parameters": [
        {"type": "image", "image": {"link": "https://x.test/a"}}, {"type": "text", "text": "b"}]}, URL_BUTTON]},
        400, 132012),
    ("named in positional", {"components": [{"type": "body", "parameters": [
        {"type": "text", "text": "a", "parameter_name": "x"}, {"type": "text", "text": "b"}]}, URL_BUTTON]},
        400, 132012),
    ("header it has not", {"components": [BODY, URL_BUTTON, {"type": "header", "parameters": [
        {"type": "text", "text": "x"}]}]}, 400, 132000),
    ("button it has not", {"components": [BODY, URL_BUTTON | {"index": "5"}]}, 400, 131009),
    ("wrong button type", {"components": [BODY, URL_BUTTON, URL_BUTTON | {"index": 1}]}, 400, 132012),
    ("payload as text", {"components": [BODY, URL_BUTTON, QUICK_BUTTON | {"parameters": [
        {"type": "text", "text": "x"}]}]}, 400, 132012),
    ("carousel it is not", {"components": [BODY, URL_BUTTON, {"type": "carousel", "cards": []}]}, 400, 132012),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "http_status", "code"), [case[1:] for case in TEMPLATE_REFUSALS], ids=[c[0] for c in TEMPLATE_REFUSALS]
)
async def test_a_send_that_does_not_fit_its_template_is_refused(
    simulator: Simulator, changes: Json, http_status: int, code: int
) -> None:
    assert (await refusal(simulator, a_send("+4915112345678", **changes)))[:2] == (http_status, code)
    assert (await simulator.inspect("summary"))["accepted"] == 0


async def test_malformed_text_has_another_code_before_v23(simulator: Simulator) -> None:
    body = a_send("+4915112345678", components=[body_with("a\tb", "c"), URL_BUTTON])

    assert (await refusal(simulator, body, version="v22.0"))[1] == 132012


@pytest.mark.parametrize(("action", "http_status", "code"), [("pause", 400, 132015), ("disable", 400, 132016)])
async def test_a_paused_or_disabled_template_is_refused(
    simulator: Simulator, action: str, http_status: int, code: int
) -> None:
    template = (await simulator.inspect("templates"))[0]["id"]
    await simulator.steer("POST", f"templates/{template}", {"action": action})

    assert (await refusal(simulator, a_send("+4915112345678")))[:2] == (http_status, code)


async def test_a_pending_template_is_unknown(simulator: Simulator) -> None:
    simulator.sandbox.store.wabas[WABA].templates["spring_sale", "en_US"].status = "PENDING"

    assert (await refusal(simulator, a_send("+4915112345678")))[:2] == (404, 132001)


NAMED = a_template(
    name="named",
    parameter_format="NAMED",
    components=[
        {
            "type": "HEADER",
            "format": "TEXT",
            "text": "Hello {{first_name}}",
            "example": {"header_text_named_params": [{"param_name": "first_name", "example": "Dana"}]},
        },
        {
            "type": "BODY",
            "text": "Your code {{code}} gives {{percent}} off until Sunday.",
            "example": {
                "body_text_named_params": [
                    {"param_name": "code", "example": "SPRING20"},
                    {"param_name": "percent", "example": "20%"},
                ]
            },
        },
    ],
)


def named(**values: str) -> list[Json]:
    return [{"type": "text", "parameter_name": name, "text": value} for name, value in values.items()]


async def test_named_parameters_come_in_any_order_but_all_of_them(simulator: Simulator) -> None:
    await simulator.template(**NAMED)
    header = {"type": "header", "parameters": named(first_name="Dana")}
    right = [header, {"type": "body", "parameters": named(percent="20%", code="X1")}]
    wrong = [header, {"type": "body", "parameters": named(percent="20%", cod="X1")}]
    long = [
        {"type": "header", "parameters": named(first_name="D" * 60)},
        {"type": "body", "parameters": named(percent="20%", code="X1")},
    ]

    assert (await simulator.send(name="named", components=right)).status_code == 200
    assert (await refusal(simulator, a_send("+4915112345678", name="named", components=wrong)))[1] == 132012
    assert (await refusal(simulator, a_send("+4915112345678", name="named", components=long)))[1] == 132005


async def test_a_media_header_needs_media_of_its_kind(simulator: Simulator) -> None:
    header = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::aW1h"]}}
    await simulator.template(name="pictured", components=[header, {"type": "BODY", "text": "New pots are here."}])

    async def send(*parameters: Json) -> tuple[int, int]:
        components = [{"type": "header", "parameters": list(parameters)}] if parameters else []
        answer = await simulator.send(name="pictured", components=components)
        return answer.status_code, answer.json().get("error", {}).get("code", 0)

    image = {"link": "https://cdn.test/pot.jpg"}
    assert await send({"type": "image", "image": image}) == (200, 0)
    assert await send() == (400, 132012)
    assert await send({"type": "video", "video": image}) == (400, 132012)
    assert await send({"type": "image", "image": {}}) == (400, 131008)
    assert await send({"type": "image", "image": {"id": "900000000000009"}}) == (400, 131009)


async def test_free_form_messages_need_an_open_window(simulator: Simulator) -> None:
    assert (await refusal(simulator, text()))[:2] == (400, 131047)

    await simulator.steer("POST", "inbound", {"phone": "+4915112345678", "kind": "text", "text": "Hi"})
    inside = await simulator.post(f"{NUMBER}/messages", text())
    await simulator.steer("POST", "clock", {"advance_s": 24 * 3600 + 1})

    assert inside.status_code == 200
    assert "message_status" not in inside.json()["messages"][0]
    assert (await refusal(simulator, text()))[:2] == (400, 131047)


async def test_the_closed_window_may_also_show_by_webhook(simulated: Any) -> None:
    async with simulated(window_error="async") as simulator:
        answer = await simulator.post(f"{NUMBER}/messages", text())
        await simulator.settle()

        assert answer.status_code == 200
        [status] = simulator.receiver.values("statuses")
        assert (status["status"], status["errors"][0]["code"]) == ("failed", 131047)


FREE_FORM: list[tuple[Json, int]] = [
    ({"type": "text", "text": {"body": "x" * 4097}}, 100),
    ({"type": "text", "text": {"body": " "}}, 131008),
    ({"type": "image", "image": {"link": "https://cdn.test/a.jpg", "caption": "x"}}, 0),
    ({"type": "image", "image": {"link": "https://cdn.test/a.jpg", "caption": "x" * 1025}}, 131009),
    ({"type": "image", "image": {"link": "https://cdn.test/a.jpg", "id": "1"}}, 131008),
    ({"type": "image", "image": {"link": "ftp://cdn.test/a.jpg"}}, 131009),
    ({"type": "audio", "audio": {"link": "https://cdn.test/a.mp3", "caption": "x"}}, 131009),
    ({"type": "document", "document": {"link": "https://cdn.test/a.pdf", "filename": "a.pdf"}}, 0),
    ({"type": "video", "video": {"link": "https://cdn.test/a.mp4"}}, 0),
    ({"type": "location", "location": {"latitude": 1.5, "longitude": 2}}, 0),
]


def interactive(kind: str, action: Json, **changes: Any) -> Json:
    return {
        "type": "interactive",
        "interactive": {"type": kind, "body": {"text": "Choose"}, "action": action} | changes,
    }


def buttons(*titles: str) -> Json:
    return {"buttons": [{"type": "reply", "reply": {"id": f"b{at}", "title": t}} for at, t in enumerate(titles)]}


def rows(count: int) -> Json:
    return {"button": "Show", "sections": [{"rows": [{"id": f"r{at}", "title": f"Row {at}"} for at in range(count)]}]}


LINK = {"name": "cta_url", "parameters": {"display_text": "Open", "url": "https://shop.test"}}
INTERACTIVE: list[tuple[Json, int]] = [
    (interactive("button", buttons("Yes", "No")), 0),
    (interactive("button", buttons("Yes", "Yes")), 131009),
    (interactive("button", buttons("1", "2", "3", "4")), 131009),
    (interactive("button", buttons("x" * 21)), 131009),
    (interactive("button", buttons("Yes"), footer={"text": "x" * 61}), 131009),
    (interactive("list", rows(10)), 0),
    (interactive("list", rows(11)), 131009),
    (interactive("list", rows(1), header={"type": "image"}), 131009),
    (interactive("cta_url", LINK), 0),
    (interactive("cta_url", {"name": "cta_url", "parameters": {}}), 131009),
    (interactive("hologram", {}), 131009),
]


@pytest.mark.parametrize(("content", "code"), FREE_FORM + INTERACTIVE)
async def test_free_form_content_is_checked(simulator: Simulator, content: Json, code: int) -> None:
    await simulator.steer("POST", "inbound", {"phone": "+4915112345678", "kind": "text", "text": "Hi"})
    body = {"messaging_product": "whatsapp", "to": "+4915112345678"} | content

    answer = await simulator.post(f"{NUMBER}/messages", body)

    assert answer.json().get("error", {}).get("code", 0) == code, answer.text


async def test_reactions_are_only_ever_sent_and_read_receipts_need_a_message(simulator: Simulator) -> None:
    inbound = await simulator.steer("POST", "inbound", {"phone": "+4915112345678", "kind": "text", "text": "Hi"})
    reaction = {"type": "reaction", "reaction": {"message_id": inbound["wamid"], "emoji": "👍"}}
    envelope = {"messaging_product": "whatsapp", "to": "+4915112345678"}
    receipt = {"messaging_product": "whatsapp", "status": "read", "message_id": inbound["wamid"]}

    reacted = await simulator.post(f"{NUMBER}/messages", envelope | reaction)
    marked = await simulator.post(f"{NUMBER}/messages", receipt | {"typing_indicator": {"type": "text"}})
    unknown = await refusal(simulator, receipt | {"message_id": "wamid.nobody"})
    await simulator.settle()

    assert reacted.status_code == 200
    assert (marked.status_code, marked.json()) == (200, {"success": True})
    assert unknown[:2] == (400, 131009)
    [logged] = (await simulator.inspect("messages"))["items"]
    assert [status["status"] for status in logged["statuses"]] == ["sent"]


@pytest.mark.parametrize("hidden", [True, False])
async def test_a_person_is_reached_by_user_id(simulator: Simulator, hidden: bool) -> None:
    await simulator.steer("PUT", "people/+34600111222", {"hidden_phone": hidden})
    await simulator.send("+34600111222")
    await simulator.settle()
    [*_, read] = simulator.receiver.values("statuses")
    user_id = read["recipient_user_id"]

    body = a_send("+34600111222", recipient=user_id)
    del body["to"]
    answer = await simulator.post(f"{NUMBER}/messages", body)

    assert ("recipient_id" not in read) is hidden
    assert user_id.startswith("ES.")
    assert answer.json()["contacts"] == [{"input": user_id, "user_id": user_id}]
    logged = (await simulator.inspect("messages"))["items"]
    assert {message["wa_id"] for message in logged} == {"34600111222"}


async def test_someone_known_by_user_id_only_has_no_phone_number_in_webhooks(simulator: Simulator) -> None:
    body = a_send("", recipient="BR.4f9a8b7c6d5e")
    del body["to"]

    answer = await simulator.post(f"{NUMBER}/messages", body)
    await simulator.settle()

    assert answer.status_code == 200
    statuses = simulator.receiver.values("statuses")
    assert [status["status"] for status in statuses] == ["sent", "delivered", "read"]
    assert {status["recipient_user_id"] for status in statuses} == {"BR.4f9a8b7c6d5e"}
    assert not any("recipient_id" in status for status in statuses)
    assert not any("wa_id" in person for person in simulator.receiver.values("contacts"))
    malformed = body | {"recipient": "4f9a"}
    assert (await refusal(simulator, malformed))[:2] == (400, 131009)
