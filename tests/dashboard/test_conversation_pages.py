"""The pages about people who write: inbox, holds, automatic answers, webhooks we send."""

from datetime import datetime
from urllib.parse import parse_qs

import httpx
from msgspec import convert

from core.settings import get_settings
from core.statuses import Role
from dashboard import answering, chat, words
from dashboard.chat_payloads import Actions, Conditions, Hours, Line
from tests.dashboard.chat_rows import CHAT, HOOK, RULE, STALE
from tests.dashboard.conftest import Visit, said


def test_the_inbox_shows_who_waits_and_the_thread_and_sends_an_answer(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.MARKETER, "inbox")
    assert "Choose a conversation" in said(at)
    labels = {button.key: button.label for button in at.button}
    assert "2 new" in labels[f"open_{CHAT}"] and "wants a person" in labels[f"open_{CHAT}"]

    at.button(key=f"open_{CHAT}").click().run()

    text = said(at)
    assert "<b>blue</b>" in text and "<b>still</b>" not in text  # the person's own marks, and nothing else
    assert "Hello Chloé, we deliver in two days." in text
    assert "2 new" not in {button.key: button.label for button in at.button}[f"open_{CHAT}"]
    at.text_area(key=f"answer_text_{CHAT}_0").set_value("To Lyon it is 5 EUR.")
    at.button(key="answer_button").click().run()
    assert not at.exception and "To Lyon it is 5 EUR." in said(at)
    assert "Some marketer" in said(at)


def test_the_inbox_leads_to_the_contact_and_back_to_all(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.MARKETER, "inbox")
    at.button(key=f"open_{CHAT}").click().run()
    link = next(each.proto for each in at.get("page_link") if each.proto.label == "Open the contact")
    contact = parse_qs(link.query_string)["contact"][0]

    at.switch_page("views/contacts.py")
    at.query_params["contact"] = contact
    at.run()

    assert not at.exception and not at.error
    assert "Messages" in [tile.label for tile in at.metric]
    at.button(key="contact_other").click().run()
    assert not at.exception and not at.metric


def test_an_empty_answer_is_asked_for_and_an_old_conversation_takes_none(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.MARKETER, "inbox")
    at.button(key=f"open_{CHAT}").click().run()
    at.button(key="answer_button").click().run()
    assert "Write something first" in at.warning[0].value

    at.button(key=f"open_{STALE}").click().run()

    assert "answer_button" not in [button.key for button in at.button]
    assert "24 hours after the last message" in said(at)
    at.button(key="close_conversation").click().run()
    assert f"open_{STALE}" not in [button.key for button in at.button]


def test_a_file_that_cannot_go_is_refused_in_words_and_nothing_typed_is_lost(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.MARKETER, "inbox")
    at.button(key=f"open_{CHAT}").click().run()

    at.text_area(key=f"answer_text_{CHAT}_0").set_value("The blue one")
    at.file_uploader(key=f"answer_file_{CHAT}_0").upload("blue.png", b"GIF89a", "image/png")
    at.button(key="answer_button").click().run()

    assert not at.exception and "its content is something else" in at.error[0].value
    assert at.text_area(key=f"answer_text_{CHAT}_0").value == "The blue one"
    assert "The blue one" not in at.get("html")[-1].proto.body


def test_pages_without_anything_say_what_to_expect(new_dashboard: Visit) -> None:
    assert "Nobody is waiting" in said(new_dashboard(Role.MARKETER, "inbox"))
    assert "Nobody is on hold" in said(new_dashboard(Role.COMPLIANCE, "holds"))
    assert "There is no rule yet" in said(new_dashboard(Role.MARKETER, "routing"))
    assert "Nobody is told anything yet" in said(new_dashboard(Role.ADMIN, "hooks"))


def test_compliance_decides_about_a_hold_with_a_reason(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.COMPLIANCE, "holds")
    assert "can I stop by the store tomorrow" in said(at).replace("\\", "")
    (key,) = [button.key for button in at.button if str(button.key).startswith("release_")]

    at.button(key=key).click().run()
    assert "Please say why" in at.warning[0].value
    at.text_input(key=f"{key}_reason").set_value("asks for the way")
    at.button(key=key).click().run()

    assert "Nobody is on hold" in said(at)
    with httpx.Client(base_url=get_settings().own_api_url) as http:
        http.headers["Authorization"] = f"Bearer {at.session_state['session_token']}"
        placed = http.post(f"/api/holds/{key.removeprefix('release_')}/place", json={"reason": "they asked for it"})
        assert placed.status_code == 200
    at.run()
    assert "Nothing is sent while they want it so" in said(at)
    assert [button.label for button in at.button if button.key == key] == ["Lift it"]
    assert not [button for button in at.button if str(button.key).startswith("withdraw_")]


def test_a_rule_is_tried_switched_off_and_a_new_one_added(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.MARKETER, "routing")
    assert "the text contains “shipping” or “delivery”" in said(at)

    at.text_input(key="try_text").set_value("How long is shipping?").run()
    assert "The rule “Shipping” fits" in said(at).replace("\\", "")
    at.text_input(key="try_text").set_value("STOP").run()
    assert "the consent ends at once" in said(at)
    at.button(key=f"switch_{RULE}").click().run()
    assert "`off`" in said(at)
    at.text_input(key="name_new").set_value("Nights")
    at.checkbox(key="outside_new").check()
    at.text_area(key="reply_new").set_value("We are back at nine.")
    at.button(key="save_new").click().run()

    assert not at.exception
    assert "it is outside Mon, Tue, Wed, Thu, Fri 09:00 to 17:00" in said(at).replace("\\", "")


def test_a_rule_that_does_nothing_is_refused_in_words(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.MARKETER, "routing")

    at.text_input(key="name_new").set_value("Nothing")
    at.button(key="save_new").click().run()

    assert "choose at least one" in at.error[0].value


def test_the_wording_of_an_answer_is_changed_and_put_back(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.COMPLIANCE, "routing")
    at.selectbox(key="kind").set_value("help").run()

    at.text_area(key="text_help_en").set_value("{brand} here. Reply STOP to end this.")
    at.button(key="save_wording").click().run()
    assert "Your own wording" in said(at)
    at.button(key="reset_wording").click().run()

    assert "Built in" in said(at)


def test_an_administrator_sees_what_was_sent_and_others_look_only(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.ADMIN, "hooks")
    assert "Nothing has been taken since" in said(at)
    at.toggle(key=f"log_{HOOK}").set_value(True).run()
    assert "answered 500" in said(at) and "evt_message_1" in said(at)
    at.text_input(key="url_new").set_value("https://127.0.0.1/")
    at.multiselect(key="events_new").set_value(["message.read"])
    at.button(key="save_new").click().run()
    assert "private networks" in at.error[0].value

    at = busy_dashboard(Role.MARKETER, "hooks")
    assert f"edit_{HOOK}" not in [button.key for button in at.button]


def test_rules_are_said_in_words() -> None:
    hours = Hours(["sat"], "22:00", "06:00")
    every = Conditions(["a"], "equals", ["menu:*"], hours, True, "x", ["de"])

    assert answering.when(Conditions()) == "anything is written"
    assert answering.when(every).count(", and ") == 5
    assert answering.then(Actions("Hi", "vip", True)) == "answer “Hi”, tag the contact vip, hand over to a person"


def test_a_bubble_escapes_and_says_what_has_no_text() -> None:
    at = "2026-11-22T12:00:00+00:00"
    line = Line("1", True, "image", datetime.fromisoformat(at))

    assert "a picture" in chat.thread([line], "UTC")
    new = Line("2", True, "hologram", datetime.fromisoformat(at))
    assert "a message of a new kind" in chat.thread([new], "UTC")


def test_a_closed_window_leaves_templates_and_the_contact_leads_to_the_chat(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.MARKETER, "inbox")
    at.query_params["conversation"] = str(STALE)
    at.run()
    assert "only a template can be sent" in said(at) and "no approved template" in said(at)
    link = next(each.proto for each in at.get("page_link") if each.proto.label == "Open the contact")

    at.switch_page("views/contacts.py")
    at.query_params["contact"] = parse_qs(link.query_string)["contact"][0]
    at.run()

    assert not at.exception and not at.error
    back = next(each.proto for each in at.get("page_link") if each.proto.label == "Open the conversation")
    assert parse_qs(back.query_string)["conversation"] == [str(STALE)]


def test_people_on_hold_are_searched(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.COMPLIANCE, "holds")
    at.text_input(key="holds_search").set_value("no such words").run()

    assert "Nobody on hold fits" in said(at)


def test_a_file_is_shown_by_what_became_of_it() -> None:
    at = datetime.fromisoformat("2026-11-22T12:00:00+00:00")

    def line(status: str, **more: object) -> Line:
        return convert(
            {"id": "1", "is_inbound": True, "kind": "image", "at": at, "file": {"status": status} | more}, Line
        )

    stored = line("stored", mime_type="image/png", bytes=3)
    assert chat.is_picture(stored)
    shown = chat.thread([stored], "UTC", {"1": chat.picture(stored, b"abc")})
    assert 'src="data:image/png;base64,YWJj"' in shown
    assert not chat.is_picture(line("stored", mime_type="image/svg+xml", bytes=3))
    assert not chat.is_picture(line("stored", mime_type="image/png", bytes=chat.LARGEST_SHOWN + 1))
    assert "not fetched" in chat.thread([line("too_large", error="larger than 25 MB")], "UTC")
    named = line("stored", mime_type="application/pdf", filename="<b>.pdf", bytes=3)
    assert "&lt;b&gt;.pdf" in chat.thread([named], "UTC")
    assert chat.file_name(line("stored", mime_type="audio/ogg")) == "image-1.ogg"


def test_what_a_person_refused_is_said_in_words() -> None:
    assert words.refusal("marketing.*", "withdrawn") == "Opted out of all marketing"
    assert words.refusal("*", "withdrawn") == "Opted out of everything"
    assert words.refusal("marketing", "meta_stop") == "Stopped marketing inside WhatsApp"
    assert words.refusal("marketing.*", "hold") == "On hold for all marketing"
