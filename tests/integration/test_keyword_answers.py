"""What people write about consent, from the phone through webhook, ledger and gate, and the one answer they get."""

import copy
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from core.clock import utc_now
from core.consent import keywords
from core.models import ConsentState, Message, Reply
from core.services import consents, replies
from core.statuses import DeliveryStatus, ReplyKind
from tests.factories import a_sender, an_import, consenting, csv_of
from tests.integration.stack import Stack
from worker import sending

ANA = "+491701234500"
TABLE = Path(keywords.__file__).with_suffix(".json")


async def writes(stack: Stack, words: str, phone: str = ANA, **more: Any) -> None:
    """The person writes this, and everything it causes happens."""
    await stack.steer("POST", "inbound", {"phone": phone, "kind": "text", "text": words, **more})
    await stack.settle()


async def taps(stack: Stack, button: int, phone: str = ANA) -> None:
    """The person taps an answer under the last message they got."""
    await stack.steer("POST", "inbound", {"phone": phone, "kind": "tap", "button": button})
    await stack.settle()


async def a_subscriber(stack: Stack, phone: str = ANA, language: str = "en") -> dict[str, Any]:
    sender = await a_sender(stack)
    await an_import(stack, csv_of([consenting(phone, language=language)]))
    return sender


async def got(stack: Stack, phone: str = ANA) -> list[str]:
    """The texts this person's phone shows, oldest first."""
    page = (await stack.steering.get("/_sandbox/messages")).json()
    return [item["text"] for item in page["items"] if item["wa_id"] == phone.lstrip("+") and item["text"]]


async def state(stack: Stack, purpose: str = "marketing", phone: str = ANA) -> tuple[str, list[str]]:
    """The state and the overlays of a purpose, as the API tells them."""
    (contact,) = (await stack.client.get("/api/contacts", params={"phone": phone})).json()["items"]
    states = (await stack.client.get(f"/api/contacts/{contact['id']}/consents")).json()["states"]
    found = {row["purpose"]: row for row in states}
    row = found.get(purpose) or found.get(f"{purpose}.*")
    return (row["state"], row["overlays"]) if row else ("none", [])


async def kinds(stack: Stack) -> list[str]:
    async with stack.sessions() as session:
        return [kind.value for kind in await session.scalars(select(Reply.kind).order_by(Reply.created_at))]


STOPS = [
    ("ＳＴＯＰ", "en"),
    ("Stop.", "en"),
    ("S T O P", "en"),
    ("st\u200bop", "en"),
    ("CTOП", "en"),
    ("配信停止してください", "ja"),
    ("ｽﾄｯﾌﾟ", "ja"),
    ("停　止", "ja"),
    ("الغاء الإشتراك", "ar"),
    ("إِيقَاف", "ar"),
    ("रोकें", "hi"),
]


async def test_every_spelling_of_a_stop_withdraws_and_is_confirmed_in_its_language(stack: Stack) -> None:
    await a_sender(stack)
    people = {f"+4917012346{number:02d}": stop for number, stop in enumerate(STOPS)}
    await an_import(stack, csv_of([consenting(phone, language=language) for phone, (_, language) in people.items()]))

    for phone, (words, _) in people.items():
        await stack.steer("POST", "inbound", {"phone": phone, "kind": "text", "text": words})
    await stack.settle()

    starts = {"en": "Done", "ja": "Acmeからの配信", "ar": "تم", "hi": "हो गया"}
    for phone, (words, language) in people.items():
        assert (await state(stack, phone=phone))[0] == "withdrawn", words
        (answer,) = await got(stack, phone)
        assert answer.startswith(starts[language]) and "Acme" in answer, (words, answer)


async def test_an_opposite_one_letter_away_is_no_stop(stack: Stack) -> None:
    await a_subscriber(stack, language="de")

    await writes(stack, "Anmelden")

    assert (await state(stack))[0] == "subscribed"
    assert await kinds(stack) == [ReplyKind.ALREADY_IN]


async def test_an_unclear_message_pauses_and_asks_once_and_keep_lifts_the_pause(stack: Stack) -> None:
    await a_subscriber(stack)

    await writes(stack, "can I stop by the store tomorrow?")
    await writes(stack, "I'd like to stop by at noon")
    assert await state(stack) == ("subscribed", ["hold"])
    assert await got(stack) == ["Do you want Acme to stop sending you messages?"]

    await taps(stack, 1)

    assert await state(stack) == ("subscribed", [])
    assert (await got(stack))[1:] == ["Thank you. Nothing changes. You can reply STOP at any time."]


async def test_the_other_button_of_the_question_withdraws(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, "can I stop by the store tomorrow?")

    await taps(stack, 0)

    assert (await state(stack))[0] == "withdrawn"
    assert await kinds(stack) == [ReplyKind.HOLD_QUESTION, ReplyKind.STOP_CONFIRMED]


async def test_a_sentence_with_a_weak_word_has_no_effect(stack: Stack) -> None:
    await a_subscriber(stack, language="es")

    await writes(stack, "para mañana, por favor")

    assert await state(stack) == ("subscribed", [])
    assert await kinds(stack) == []


async def test_a_weak_word_of_another_language_only_pauses(stack: Stack) -> None:
    await a_subscriber(stack, language="da")

    await writes(stack, "ret")

    assert await state(stack) == ("subscribed", ["hold"])


async def test_a_pause_nobody_resolved_withdraws_after_seven_days(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, "can I stop by the store tomorrow?")
    later = utc_now() + timedelta(days=7, minutes=1)

    async with stack.sessions.begin() as session:
        parts = {"keyring": stack.parts.keyring, "settings": stack.settings}
        await consents.settle_due(session, now=later - timedelta(hours=1), **parts)
    assert await state(stack) == ("subscribed", ["hold"])
    async with stack.sessions.begin() as session:
        await consents.settle_due(session, now=later, **parts)

    assert (await state(stack))[0] == "withdrawn"
    async with stack.sessions() as session:
        reasons = set(await session.scalars(select(ConsentState.reason).where(ConsentState.state == "withdrawn")))
    assert reasons == {"ambiguous_unresolved"}


async def test_a_stop_is_confirmed_once_however_often_it_is_repeated(stack: Stack) -> None:
    await a_subscriber(stack)

    for _ in range(3):
        await writes(stack, "STOP")

    assert await kinds(stack) == [ReplyKind.STOP_CONFIRMED]
    assert await got(stack) == ["Done: Acme has stopped offers and news. To get them again, reply START."]


async def test_a_confirmation_that_is_late_is_never_sent(stack: Stack) -> None:
    sender = await a_subscriber(stack)
    await stack.client.post(f"/api/senders/{sender['id']}/pause", json={"reason": "a rest"})
    await writes(stack, "STOP")
    late = {"content": replies.text_content("Done"), "until": (utc_now() - timedelta(seconds=1)).isoformat()}
    async with stack.sessions.begin() as session:
        await session.execute(update(Message).values(parameters=late))
    await stack.client.post(f"/api/senders/{sender['id']}/resume")

    await sending.send_messages(stack.ctx, sender["id"])

    assert await got(stack) == []
    async with stack.sessions() as session:
        assert await session.scalar(select(Message.status)) is DeliveryStatus.SKIPPED
        assert await session.scalar(select(Message.skip_reason)) == "window_closed"


async def test_a_stop_that_is_recorded_after_five_minutes_gets_no_answer(stack: Stack) -> None:
    await a_subscriber(stack)
    old = {"id": "wamid.OLD", "timestamp": str(int(utc_now().timestamp()) - 301), "type": "text"}
    message = {"from": ANA.lstrip("+"), **old, "text": {"body": "STOP"}}
    value = {"metadata": {"phone_number_id": "200000000000002"}, "messages": [message]}

    await stack.steer("POST", "webhooks", {"field": "messages", "value": value})
    await stack.settle()

    assert (await state(stack))[0] == "withdrawn"
    assert await kinds(stack) == []


async def test_a_stranger_who_writes_stop_is_remembered_and_refused_on_import(stack: Stack) -> None:
    await a_sender(stack)

    await writes(stack, "STOP")
    done = await an_import(stack, csv_of([consenting(ANA)]))

    assert done["verdicts"]["refused_suppressed"] == 1
    assert (await state(stack))[0] == "withdrawn"


async def test_start_after_a_stop_shows_the_notice_and_only_agree_subscribes(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, "STOP")

    await writes(stack, "START")
    assert (await state(stack))[0] == "pending"
    assert "I agree that Acme sends me offers and news" in (await got(stack))[-1]
    await push_clock(stack, 2)
    await taps(stack, 0)

    assert (await state(stack))[0] == "subscribed"
    (contact,) = (await stack.client.get("/api/contacts", params={"phone": ANA})).json()["items"]
    states = (await stack.client.get(f"/api/contacts/{contact['id']}/consents")).json()["states"]
    assert {row["grade"] for row in states if row["purpose"] == "marketing"} == {"B"}
    assert (await got(stack))[-1].startswith("Thank you: you will get offers and news from Acme")
    assert await kinds(stack) == ["stop_confirmed", "notice_offer", "opted_in"]
    # A later stop is confirmed again: the person came back in between.
    await push_clock(stack, 2)
    await writes(stack, "STOP")
    assert ((await state(stack))[0], (await kinds(stack))[-1]) == ("withdrawn", "stop_confirmed")


async def push_clock(stack: Stack, seconds: float) -> None:
    """Let the provider's clock run: its time stamps are whole seconds, and what is said within one is unordered."""
    await stack.steer("POST", "clock", {"advance_s": seconds})


@pytest.mark.parametrize(("words", "expected"), [("yes please", "subscribed"), ("はい", "subscribed")])
async def test_a_yes_counts_as_the_answer_to_our_question_only(stack: Stack, words: str, expected: str) -> None:
    await a_sender(stack)

    await writes(stack, words)
    assert (await state(stack))[0] == "none"
    await writes(stack, "START")
    await push_clock(stack, 2)
    await writes(stack, words)

    assert (await state(stack))[0] == expected


async def test_no_thanks_is_recorded_and_leaves_the_person_out(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "START")

    await taps(stack, 1)

    assert (await state(stack))[0] == "withdrawn"
    assert await kinds(stack) == ["notice_offer", "declined"]


async def test_an_agreement_after_48_hours_is_answered_with_a_fresh_notice(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "START")
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE replies SET created_at = created_at - interval '48 hours 1 second'"))

    await taps(stack, 0)

    assert (await state(stack))[0] == "pending"
    assert await kinds(stack) == ["notice_offer", "notice_offer"]


async def test_a_tap_on_a_notice_that_was_replaced_is_answered_with_the_new_one(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "START")
    async with stack.sessions.begin() as session:
        await consents.publish_notice(
            session,
            code="default",
            language="en",
            controller="Acme",
            purposes=["marketing"],
            text="I agree to Acme's new terms.",
            withdrawal_info="Reply STOP.",
            keyring=stack.parts.keyring,
            now=utc_now(),
        )

    await taps(stack, 0)

    assert (await state(stack))[0] == "pending"
    assert "new terms" in (await got(stack))[-1]


async def test_a_stop_and_an_agreement_seconds_later_in_one_chat_end_subscribed(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, "START, please")  # no start word alone: an ordinary message
    await writes(stack, "STOP")
    await writes(stack, "START")
    await push_clock(stack, 20)

    await taps(stack, 0)

    assert (await state(stack))[0] == "subscribed"


async def test_somebody_without_a_number_is_stopped_and_answered_by_user_id(stack: Stack) -> None:
    await a_sender(stack)
    await stack.steer("PUT", f"people/{ANA}", {"hidden_phone": True})

    await writes(stack, "STOP")

    async with stack.sessions() as session:
        states = list(await session.scalars(select(ConsentState.state)))
        status = await session.scalar(select(Message.status).where(Message.kind == "reply"))
    assert states == ["withdrawn"]
    assert status in (DeliveryStatus.DELIVERED, DeliveryStatus.READ)


async def test_stop_all_ends_more_than_marketing_and_a_named_purpose_less(stack: Stack) -> None:
    await a_subscriber(stack)
    async with stack.sessions.begin() as session:
        for code in ("marketing.events", "transactional.orders"):
            await consents.put_purpose(
                session,
                code=code,
                controller="Acme",
                description={"en": f"About {code.split('.')[1]}"},
                min_grade="C",
                validity_days=730,
                needs_consent=code.startswith("m"),
                keyring=stack.parts.keyring,
                now=utc_now(),
            )

    await writes(stack, "stop events please")
    assert (await state(stack, "marketing.events"))[0] == "withdrawn"
    assert (await state(stack))[0] == "subscribed"
    assert await got(stack) == ["Done: Acme has stopped About events. To get them again, reply START."]

    await writes(stack, "STOPALL")
    assert (await state(stack))[0] == "withdrawn" == (await state(stack, "transactional.*"))[0]


async def test_help_says_who_we_are_and_how_to_stop(stack: Stack) -> None:
    await a_sender(stack)

    await writes(stack, "help")

    (answer,) = await got(stack)
    assert "Acme" in answer and "STOP" in answer


async def test_two_machines_that_answer_each_other_come_to_an_end(stack: Stack) -> None:
    await a_sender(stack)

    for _ in range(12):
        await writes(stack, "help")

    assert len(await got(stack)) == 8


async def test_who_stopped_in_the_app_and_resumed_is_offered_the_notice_when_they_write(stack: Stack) -> None:
    await a_subscriber(stack)
    for choice in ("stop", "resume"):
        await stack.steer("POST", "inbound", {"phone": ANA, "kind": choice})
        await stack.settle()
        await push_clock(stack, 2)
    assert (await state(stack), await got(stack)) == (("withdrawn", []), [])

    await writes(stack, "hello")
    await push_clock(stack, 121)
    await taps(stack, 0)

    assert await kinds(stack) == ["notice_offer", "opted_in"]
    assert (await state(stack))[0] == "subscribed"


def test_a_table_in_which_stop_and_start_share_a_word_is_no_table() -> None:
    broken = copy.deepcopy(json.loads(TABLE.read_text("utf-8")))
    broken["languages"]["de"]["start"].append("abmelden")

    with pytest.raises(ValueError, match="abmelden"):
        keywords.build(broken)


async def signs_up(stack: Stack, at: int, phone: str = ANA) -> None:
    """The person asks for messages in WhatsApp's own settings."""
    choice = {"wa_id": phone.lstrip("+"), "category": "marketing_messages", "value": "signup", "timestamp": at}
    value = {"metadata": {"phone_number_id": "200000000000002"}, "user_preferences": [choice]}
    await stack.steer("POST", "webhooks", {"field": "user_preferences", "value": value})
    await stack.settle()


async def test_a_signup_in_the_app_grants_nothing_and_is_answered_with_the_notice(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "hello")
    at = int(utc_now().timestamp())

    await signs_up(stack, at)
    await signs_up(stack, at)  # the provider may tell everything twice
    assert (await state(stack))[0] == "pending"
    assert await kinds(stack) == ["notice_offer"]
    assert "I agree that Acme sends me offers and news" in (await got(stack))[-1]
    await push_clock(stack, 2)
    await taps(stack, 0)

    assert (await state(stack))[0] == "subscribed"


async def test_a_signup_of_somebody_who_never_wrote_is_recorded_and_nobody_is_written_to(stack: Stack) -> None:
    await a_sender(stack)

    await signs_up(stack, int(utc_now().timestamp()))

    assert (await state(stack))[0] == "pending"
    assert await got(stack) == []
    async with stack.sessions() as session:
        assert await session.scalar(select(Message.status)) is DeliveryStatus.SKIPPED


async def test_a_signup_of_a_subscriber_asks_nothing(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, "hello")

    await signs_up(stack, int(utc_now().timestamp()))

    assert (await state(stack))[0] == "subscribed"
    assert await kinds(stack) == []
