"""The wording of automatic answers, language by language."""

import pytest

from core.consent.keywords import normalise, table
from core.services import reply_texts
from core.statuses import ReplyKind

LANGUAGES = sorted({entry.language for entry in table().stops.values() if entry.language})
BUILT_IN = reply_texts._BUILT_IN


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_stop_is_confirmed_and_a_doubt_asked_about_in_every_language_it_is_understood_in(language: str) -> None:
    spoken = reply_texts._built_in(ReplyKind.STOP_CONFIRMED, language)
    asked = reply_texts._built_in(ReplyKind.HOLD_QUESTION, language)
    told = spoken.filled(brand="Tea", what=reply_texts.scope_words(["marketing"], language, {}))

    assert "Tea" in told and "{" not in told and len(told) < 300
    assert BUILT_IN[language]["scopes"]["marketing"] in told
    assert len(set(asked.buttons)) == 2 and all(len(label) <= 20 for label in asked.buttons)
    starts = {word for word, entry in table().starts.items() if entry.language in (language, "en")}
    assert any(word in normalise(told) for word in starts), "it says which word brings them back"
