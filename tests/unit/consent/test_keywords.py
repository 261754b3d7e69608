"""What people write means what they mean; ambiguity costs a question, never a lost request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.consent.keywords import classify, classify_payload, collisions, normalise, table
from core.statuses import InboundIntent

OUT, IN, HELP, HELD, REPLY = (
    InboundIntent.OPT_OUT,
    InboundIntent.OPT_IN,
    InboundIntent.HELP,
    InboundIntent.AMBIGUOUS,
    InboundIntent.REPLY,
)


@pytest.mark.parametrize(
    ("text", "language", "intent", "tier"),
    [
        ("ＳＴＯＰ", None, OUT, "T1"),
        ("Stop.", None, OUT, "T1"),
        ("S T O P", None, OUT, "T1"),
        ("st\u200bop", None, OUT, "T1"),
        ("CTOП", None, OUT, "T1"),
        ("配信停止してください", "ja", OUT, "T2"),
        ("ｽﾄｯﾌﾟ", "ja", OUT, "T1"),
        ("停　止", "ja", OUT, "T1"),
        ("الغاء الإشتراك", "ar", OUT, "T1"),
        ("إِيقَاف", "ar", OUT, "T1"),
        ("रोकें", "hi", OUT, "T1"),
        ("Anmelden", "de", IN, "START"),
        ("can I stop by the store tomorrow?", "en", HELD, "HOLD"),
        ("para mañana, por favor", "es", REPLY, ""),
        ("ret", "da", HELD, "HOLD"),
        ("ret", "tr", OUT, "T1"),
        ("stop messages", None, OUT, "T3"),
        ("please stop sending me messages", "en", OUT, "T3"),
        ("sair da lista", "pt", OUT, "T1"),
        ("parar o tratamento", "pt", HELD, "HOLD"),
        ("don't stop", "en", HELD, "HOLD"),
        ("🛑", None, HELD, "HOLD"),
        ("Stop. Thank you", "en", OUT, "T2"),
        ("leave me alone", "en", OUT, "T4"),
        ("no quiero recibir", "es", HELD, "HOLD"),
        ("送らないで", "ja", OUT, "T1"),
        ("STOP\nSent from my phone", "en", OUT, "T1"),
        ("stooooop", "en", OUT, "T1"),
        ("stop stop stop", "en", OUT, "T2"),
        ("수신 거부", "ko", OUT, "T1"),
        ("수신거부해주세요", "ko", OUT, "T2"),
        ("หยุดครับ", "th", OUT, "T2"),
        ("İPTAL", "tr", OUT, "T1"),
        ("відписатися", "uk", OUT, "T1"),
        ("підписатися", "uk", IN, "START"),
        ("abmelden bitte", "de", OUT, "T2"),
        ("cancel my order", "en", REPLY, ""),
        ("cancel", "en", OUT, "T1"),
        ("cancel", "de", HELD, "HOLD"),
        ("START", None, IN, "START"),
        ("help", None, HELP, "HELP"),
        ("hello", None, REPLY, ""),
        ("no, thanks", "en", REPLY, ""),
        ("", None, REPLY, ""),
    ],
)
def test_a_text_is_understood(text: str, language: str | None, intent: InboundIntent, tier: str) -> None:
    found = classify(text, language=language)

    assert (found.intent, found.tier) == (intent, tier)


def test_no_word_means_two_opposite_things() -> None:
    assert collisions(table()) == set()


@pytest.mark.parametrize("opposites", [("abmelden", "anmelden"), ("відписатися", "підписатися")])
def test_opposites_one_letter_apart_stay_apart(opposites: tuple[str, str]) -> None:
    stop, start = (classify(word).intent for word in opposites)

    assert (stop, start) == (OUT, IN)


def test_every_strong_stop_word_stops_in_any_language_and_any_case() -> None:
    for text, entry in table().stops.items():
        if not entry.is_weak:
            forms = (text, entry.word, entry.word.lower())
            assert {classify(form, language="xx").intent for form in forms} == {OUT}, text


def test_weak_words_never_withdraw_elsewhere() -> None:
    weak = [entry for entry in table().stops.values() if entry.is_weak]

    assert weak
    assert {classify(entry.word, language="xx").intent for entry in weak} == {HELD}
    assert all(classify(entry.word, language=entry.language).intent is OUT for entry in weak)


@given(st.text(max_size=60))
def test_any_text_has_a_meaning_and_normalising_twice_changes_nothing_that_matters(text: str) -> None:
    assert classify(text).intent in InboundIntent
    assert "  " not in normalise(text)


@pytest.mark.parametrize(
    ("payload", "scope"), [("optout:marketing", "marketing"), ("optout", "marketing.*"), ("menu:2", None), ("", None)]
)
def test_a_button_says_what_it_stops(payload: str, scope: str | None) -> None:
    assert classify_payload(payload) == scope
