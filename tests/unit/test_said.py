"""Messages without text in words, for whoever answers them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.whatsapp.said import words_of

EXAMPLES = Path(__file__).parent.parent / "data" / "webhooks"


def said(name: str) -> tuple[str, dict[str, Any]]:
    whole = json.loads((EXAMPLES / f"inbound_{name}.json").read_bytes())
    (message,) = whole["entry"][0]["changes"][0]["value"]["messages"]
    return message["type"], message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("location", "Shop, Berlin (52.52, 13.405)"),
        ("contacts", "Ben · +49 170 1234599"),
        ("order", "Two please\n2 × tea-1, 4.5 EUR each"),
        ("flow_reply", "size: M"),
        ("reaction", "👍"),
        ("reaction_removed", None),
        ("unsupported", None),
        ("sticker", None),
        ("button_reply", None),
    ],
)
def test_the_examples_in_words(name: str, words: str | None) -> None:
    assert words_of(*said(name)) == words


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
KINDS = ("location", "contacts", "order", "interactive", "reaction", "hologram")
NAMES = ("name", "phones", "product_items", "nfm_reply", "response_json", "text", "latitude", "longitude")


@given(st.sampled_from(KINDS), VALUES | st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_whatever_it_holds_it_is_words_or_nothing(kind: str, value: Any) -> None:
    for each in (value, [value]):
        found = words_of(kind, {kind: each})
        assert found is None or 0 < len(found) <= 1000
