"""The codes of opt-in forms: random, found again in whatever a person sends, and no word that means something."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import form_html
from core.consent import keywords
from core.form_code import code_hash, code_in, new_code
from core.services import forms, reply_texts
from core.statuses import InboundIntent

LETTERS = string.ascii_uppercase + "234567"
codes = st.text(LETTERS, min_size=20, max_size=20).map(lambda text: "-".join(re.findall(".{5}", text)))


def test_a_code_has_a_hundred_random_bits_and_is_never_a_word() -> None:
    drawn = [new_code() for _ in range(2000)]

    assert len(set(drawn)) == len(drawn)
    for code in drawn:
        assert re.fullmatch("[A-Z2-7]{5}(-[A-Z2-7]{5}){3}", code)  # 20 letters of 32: 100 bits
        assert keywords.classify(code).intent is InboundIntent.REPLY
    used = set("".join(drawn)) - {"-"}
    assert used == set(LETTERS)


@given(codes, st.sampled_from(["{}", "Hello, {} thanks", "({})", "コードは {}", "code:{}."]), st.sampled_from("-–‐－"))
def test_a_code_is_found_however_a_phone_spells_it(code: str, around: str, dash: str) -> None:
    sent = around.format(code.lower().replace("-", dash))

    assert code_in(sent) == code
    assert code_hash(code_in(sent) or "") == code_hash(code)


@given(codes)
def test_a_part_of_a_code_or_a_longer_text_is_no_code(code: str) -> None:
    assert code_in(code[:-1]) is None
    assert code_in(code[1:]) is None
    assert code_in(f"{code}AB") is None


@pytest.mark.parametrize("language", forms.LANGUAGES)
def test_what_the_page_asks_people_to_send_means_nothing_but_the_code(language: str) -> None:
    for _ in range(200):
        words = form_html.message(language, new_code())

        assert keywords.classify(words, language=language).intent is InboundIntent.REPLY
        assert code_in(words) is not None


def test_every_language_of_the_page_says_everything_and_is_answered_in_the_chat() -> None:
    assert tuple(sorted(form_html.TEXTS)) == tuple(sorted(forms.LANGUAGES)) == tuple(sorted(form_html.NAMES))
    assert len({frozenset(texts) for texts in form_html.TEXTS.values()}) == 1
    assert set(forms.LANGUAGES) <= set(reply_texts.languages())
