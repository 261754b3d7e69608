"""Template creation rules, the template's life, and listing."""

from typing import Any

import pytest

from tests.sandbox.conftest import WABA, Json, Simulator, a_template

BODY_TEXT = "Hello {{1}}, enjoy {{2}} off all plants this week."


def body(text: str = BODY_TEXT, *examples: str) -> Json:
    return {"type": "BODY", "text": text} | ({"example": {"body_text": [list(examples)]}} if examples else {})


def parts(*components: Json) -> Json:
    return {"components": list(components)}


def with_body(*components: Json) -> Json:
    return parts(body(BODY_TEXT, "Ana", "20%"), *components)


def buttons(*items: Json) -> Json:
    return with_body({"type": "BUTTONS", "buttons": list(items)})


def quick(text: str = "Stop") -> Json:
    return {"type": "QUICK_REPLY", "text": text}


def url(url: str = "https://shop.test/{{1}}", **changes: Any) -> Json:
    return {"type": "URL", "text": "Shop", "url": url, "example": ["x"]} | changes


CARD = {
    "components": [
        {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::aW1h"]}},
        {"type": "BODY", "text": "Aloe pot"},
        {"type": "BUTTONS", "buttons": [quick("More like this"), url()]},
    ]
}
OTHER_CARD = {"components": [*CARD["components"][:2], {"type": "BUTTONS", "buttons": [quick("More")]}]}
OFFER = {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Ends soon", "has_expiration": True}}
COPY = {"type": "COPY_CODE", "example": "SAVE20"}
OTP = {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]}

ACCEPTED: list[tuple[str, Json]] = [
    ("static", parts(body("All plants are half price this week."))),
    ("lower case", parts({"type": "body", "text": "All plants are half price this week."})),
    ("text header", with_body({"type": "HEADER", "format": "TEXT", "text": "Spring"})),
    ("media header", with_body({"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::aW1h"]}})),
    ("footer", with_body({"type": "FOOTER", "text": "Reply STOP to opt out"})),
    ("quick quick url", buttons(quick("A"), quick("B"), url())),
    ("full url example", buttons(url(example="https://shop.test/x"))),
    ("copy code", buttons(COPY, url())),
    ("carousel", with_body({"type": "CAROUSEL", "cards": [CARD, CARD]})),
    ("limited-time offer", with_body(OFFER, {"type": "BUTTONS", "buttons": [COPY, url()]})),
    ("authentication", {"category": "AUTHENTICATION", "components": [{"type": "BODY"}, OTP]}),
]


@pytest.mark.parametrize("changes", [case[1] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
async def test_a_right_template_is_accepted(simulated: Any, changes: Json) -> None:
    async with simulated() as simulator:
        answer = await simulator.post(f"{WABA}/message_templates", a_template(**changes))

        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "APPROVED"
        stored = (await simulator.client.get(f"/v26.0/{answer.json()['id']}")).json()
        assert all(component["type"].isupper() for component in stored["components"])


REFUSED: list[tuple[str, Json, int | None]] = [
    ("no name", {"name": None}, None),
    ("capitals", {"name": "Spring"}, None),
    ("long name", {"name": "x" * 513}, None),
    ("bad language", {"language": "english"}, None),
    ("bad category", {"category": "FUN"}, None),
    ("bad format", {"parameter_format": "MIXED"}, None),
    ("no body", parts({"type": "FOOTER", "text": "x"}), 2388043),
    ("two bodies", with_body(body("Another body of this template.")), 2388043),
    ("unknown component", with_body({"type": "SIDEBAR"}), None),
    ("long body", parts(body("x" * 1025)), 2388040),
    ("leading variable", parts(body("{{1}} is a plant that you like very much.", "a")), 2388299),
    ("trailing variable", parts(body("You like this plant very much {{1}}", "a")), 2388299),
    ("adjacent variables", parts(body("You like {{1}} {{2}} very much this week, right here.", "a", "b")), 2388299),
    ("few words", parts(body("Hello {{1}} and {{2}} again.", "a", "b")), 2388293),
    ("gap", parts(body("You like {{1}} and {{3}} very much, do you not?", "a", "b")), 2388072),
    ("named in positional", parts(body("You like {{plant}} very much, do you not?", "a")), 2388072),
    ("no example", parts(body()), 2388043),
    ("one example short", parts(body(BODY_TEXT, "Ana")), 2388043),
    ("long header", with_body({"type": "HEADER", "format": "TEXT", "text": "x" * 61}), 2388040),
    ("formatted header", with_body({"type": "HEADER", "format": "TEXT", "text": "*Spring*"}), 2388047),
    ("two header variables", with_body({"type": "HEADER", "format": "TEXT", "text": "{{1}} and {{2}}",
        "example": {"header_text": ["a", "b"]}}), 2388047),
    ("media without handle", with_body({"type": "HEADER", "format": "IMAGE"}), 2388043),
    ("unknown header", with_body({"type": "HEADER", "format": "SMELL"}), 2388047),
    ("long footer", with_body({"type": "FOOTER", "text": "x" * 61}), 2388040),
    ("footer variable", with_body({"type": "FOOTER", "text": "Bye {{1}}"}), 2388073),
    ("quick url quick", buttons(quick("A"), url(), quick("B")), None),
    ("eleven buttons", buttons(*[quick(str(n)) for n in range(11)]), None),
    ("three urls", buttons(url(), url(), url()), None),
    ("two phones", buttons(*[{"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+15550001111"}] * 2), None),
    ("long phone", buttons({"type": "PHONE_NUMBER", "text": "Call", "phone_number": "1" * 21}), 2388043),
    ("long label", buttons(quick("x" * 26)), 2388040),
    ("no label", buttons({"type": "QUICK_REPLY"}), 2388043),
    ("variable inside url", buttons(url("https://{{1}}.shop.test/")), None),
    ("other variable in url", buttons(url("https://shop.test/{{2}}")), None),
    ("no url example", buttons(url(example=None)), 2388043),
    ("long url", buttons(url("https://shop.test/" + "x" * 2000)), 2388040),
    ("relative url", buttons(url("shop.test/{{1}}")), 2388043),
    ("long coupon", buttons({"type": "COPY_CODE", "example": "x" * 21}), 2388043),
    ("unknown button", buttons({"type": "LEVER", "text": "Pull"}), None),
    ("one card", with_body({"type": "CAROUSEL", "cards": [CARD]}), 2388043),
    ("unlike cards", with_body({"type": "CAROUSEL", "cards": [CARD, OTHER_CARD]}), None),
    ("offer with footer", with_body(OFFER, {"type": "FOOTER", "text": "x"}), None),
    ("offer code second", with_body(OFFER, {"type": "BUTTONS", "buttons": [url(), COPY]}), None),
    ("utility offer", {"category": "UTILITY"} | with_body(OFFER), None),
    ("authentication text", {"category": "AUTHENTICATION", "components": [{"type": "BODY", "text": "x"}, OTP]},
        2388072),
    ("short marketing ttl", {"message_send_ttl_seconds": 60}, None),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "subcode"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_a_wrong_template_is_refused(simulated: Any, changes: Json, subcode: int | None) -> None:
    given = {name: value for name, value in a_template(**changes).items() if value is not None}

    async with simulated() as simulator:
        answer = await simulator.post(f"{WABA}/message_templates", given)

        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error.get("error_subcode")) == (400, 100, subcode), answer.text
        assert await simulator.inspect("templates") == []


async def test_a_name_and_language_is_taken_once(simulator: Simulator) -> None:
    again = await simulator.post(f"{WABA}/message_templates", a_template())
    other = await simulator.post(f"{WABA}/message_templates", a_template(language="pt_BR"))

    assert again.json()["error"]["error_subcode"] == 2388024
    assert other.status_code == 200


async def test_review_takes_its_time_and_tells_by_webhook(simulated: Any) -> None:
    async with simulated(template_review_s=60) as simulator:
        template = await simulator.template()
        before = await simulator.send()
        await simulator.steer("POST", "clock", {"advance_s": 61})
        await simulator.settle()
        after = await simulator.send()

        assert (before.status_code, after.status_code) == (404, 200)
        [event] = simulator.receiver.fields("message_template_status_update")
        assert event == {
            "event": "APPROVED",
            "message_template_id": int(template),
            "message_template_name": "spring_sale",
            "message_template_language": "en_US",
            "reason": "NONE",
            "message_template_category": "MARKETING",
        }


async def test_a_name_that_asks_for_it_is_rejected_and_so_is_a_repeated_text(simulator: Simulator) -> None:
    rejected = await simulator.template(name="please_reject_me")
    repeated = await simulator.template(name="same_text_again")
    await simulator.settle()

    for template in (rejected, repeated):
        found = (await simulator.client.get(f"/v26.0/{template}?fields=status,rejected_reason")).json()
        assert (found["status"], found["rejected_reason"]) == ("REJECTED", "INVALID_FORMAT")
    events = {
        event["message_template_id"]: event
        for event in simulator.receiver.fields("message_template_status_update")
        if event["event"] == "REJECTED"
    }
    assert events[int(rejected)]["rejection_info"]["reason"] == "INVALID_FORMAT"
    assert int(repeated) in events


async def test_low_quality_pauses_for_three_hours_then_six_then_for_good(simulator: Simulator) -> None:
    template = (await simulator.inspect("templates"))[0]["id"]
    path, status = f"templates/{template}", []

    for hours in (3, 6, 0):
        paused = await simulator.steer("POST", path, {"action": "quality", "score": "RED"})
        status.append(paused["status"])
        await simulator.steer("POST", "clock", {"advance_s": hours * 3600 + 1})
        await simulator.settle()
        status.append((await simulator.inspect("templates"))[0]["status"])

    assert status == ["PAUSED", "APPROVED", "PAUSED", "APPROVED", "DISABLED", "DISABLED"]
    titles = [event["other_info"]["title"] for event in
              simulator.receiver.fields("message_template_status_update") if "other_info" in event]  # fmt: skip
    assert titles == ["FIRST_PAUSE", "UNPAUSE", "SECOND_PAUSE", "UNPAUSE", "DISABLED"]
    quality = simulator.receiver.fields("message_template_quality_update")
    assert (quality[0]["previous_quality_score"], quality[0]["new_quality_score"]) == ("UNKNOWN", "RED")


async def test_held_messages_say_nothing_until_released_or_dropped(simulator: Simulator) -> None:
    template = (await simulator.inspect("templates"))[0]["id"]
    await simulator.steer("PUT", "faults", {"hold_for_quality": {"after": 1}})

    answers = [await simulator.send(f"+49151123456{n:02}") for n in range(4)]
    await simulator.settle()
    quiet = simulator.receiver.values("statuses")
    await simulator.steer("PUT", "faults", {})
    released = await simulator.steer("POST", f"templates/{template}", {"action": "release_held"})
    await simulator.settle()

    said = [answer.json()["messages"][0]["message_status"] for answer in answers]
    assert said == ["accepted"] + ["held_for_quality_assessment"] * 3
    assert {status["id"] for status in quiet} == {answers[0].json()["messages"][0]["id"]}
    assert released["messages_touched"] == 3
    assert (await simulator.inspect("summary"))["outcomes"] == {"read": 4}


async def test_dropped_held_messages_fail_and_pause_the_template(simulator: Simulator) -> None:
    template = (await simulator.inspect("templates"))[0]["id"]
    await simulator.steer("PUT", "faults", {"hold_for_quality": {}})
    await simulator.send()

    dropped = await simulator.steer("POST", f"templates/{template}", {"action": "drop_held"})
    await simulator.settle()

    assert (dropped["status"], dropped["messages_touched"]) == ("PAUSED", 1)
    assert (await simulator.inspect("summary"))["failures_by_code"] == {"132015": 1}
    assert (await simulator.post(f"{template}/unpause")).json() == {"success": True}
    assert (await simulator.inspect("templates"))[0]["status"] == "APPROVED"


async def test_edits_are_reviewed_and_rationed(simulator: Simulator) -> None:
    template = (await simulator.inspect("templates"))[0]["id"]
    changed = {"components": a_template(**parts(body("All plants are half price this week.")))["components"]}

    first = await simulator.post(template, changed)
    second = await simulator.post(template, changed)
    category = await simulator.post(template, {"category": "UTILITY"})

    assert first.json() == {"success": True}
    assert (second.status_code, category.status_code) == (400, 400)
    stored = (await simulator.client.get(f"/v26.0/{template}")).json()
    assert stored["components"] == changed["components"]


async def test_a_changed_category_prices_the_next_message(simulator: Simulator) -> None:
    template = (await simulator.inspect("templates"))[0]["id"]

    await simulator.steer("POST", f"templates/{template}", {"action": "category", "category": "UTILITY"})
    await simulator.send()
    await simulator.settle()

    [event] = simulator.receiver.fields("template_category_update")
    assert (event["previous_category"], event["new_category"]) == ("MARKETING", "UTILITY")
    [pricing] = [s["pricing"] for s in simulator.receiver.values("statuses") if "pricing" in s]
    assert pricing == {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}


async def test_listing_pages_by_cursor_and_filters(simulator: Simulator) -> None:
    for number in range(6):
        text = f"Plants are half price in week {number}."
        await simulator.template(name=f"week_{number}", language="pt_BR", **parts(body(text)))
    path = f"/v26.0/{WABA}/message_templates?fields=name,status&limit=3"
    seen, following = [], path

    while following:
        page = (await simulator.client.get(following)).json()
        seen += [item["name"] for item in page["data"]]
        following = page["paging"].get("next")

    assert seen == ["spring_sale", *[f"week_{number}" for number in range(6)]]
    assert set(page["data"][0]) == {"id", "name", "status"}
    named = (await simulator.client.get(f"/v26.0/{WABA}/message_templates?name=week_3")).json()["data"]
    assert [item["name"] for item in named] == ["week_3"]
    none = (await simulator.client.get(f"/v26.0/{WABA}/message_templates?status=PAUSED")).json()
    assert none == {"data": []}
    bad = await simulator.client.get(f"/v26.0/{WABA}/message_templates?after=nonsense")
    assert bad.json()["error"]["code"] == 131059
    field = await simulator.client.get(f"/v26.0/{WABA}/message_templates?fields=smell")
    assert field.json()["error"]["code"] == 100


async def test_deleting_takes_one_language_or_all(simulator: Simulator) -> None:
    other = await simulator.template(language="pt_BR")
    path = f"/v26.0/{WABA}/message_templates"

    one = await simulator.client.delete(path, params={"name": "spring_sale", "hsm_id": other})
    left = [item["language"] for item in (await simulator.client.get(path)).json()["data"]]
    rest = await simulator.client.delete(path, params={"name": "spring_sale"})
    gone = await simulator.client.delete(path, params={"name": "spring_sale"})

    assert (one.json(), left, rest.json()) == ({"success": True}, ["en_US"], {"success": True})
    assert gone.status_code == 400
    assert (await simulator.send()).status_code == 404


async def test_carousels_need_every_card(simulator: Simulator) -> None:
    words = body("New arrivals for {{1}} with {{2}} off this week.", "Ana", "20%")
    await simulator.template(name="cards", **parts(words, {"type": "CAROUSEL", "cards": [CARD, CARD]}))
    head = {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://cdn.test/a.jpg"}}]}
    link = {"type": "button", "sub_type": "url", "index": "1", "parameters": [{"type": "text", "text": "aloe"}]}
    text = {"type": "body", "parameters": [{"type": "text", "text": "Ana"}, {"type": "text", "text": "20%"}]}
    cards = [{"card_index": at, "components": [head, link]} for at in range(2)]

    whole = await simulator.send(name="cards", components=[text, {"type": "carousel", "cards": cards}])
    short = await simulator.send(name="cards", components=[text, {"type": "carousel", "cards": cards[:1]}])

    assert whole.status_code == 200, whole.text
    assert short.json()["error"]["code"] == 132000


async def test_a_code_is_sent_in_body_and_button(simulator: Simulator) -> None:
    await simulator.template(name="code", category="AUTHENTICATION", components=[{"type": "BODY"}, OTP])
    code = [{"type": "text", "text": "123456"}]
    button = {"type": "button", "sub_type": "url", "index": "0", "parameters": code}

    right = await simulator.send(name="code", components=[{"type": "body", "parameters": code}, button])
    wrong = await simulator.send(name="code", components=[{"type": "body", "parameters": code}])

    assert (right.status_code, wrong.json()["error"]["code"]) == (200, 131008)
