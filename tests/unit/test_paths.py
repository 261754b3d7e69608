"""Paths into other systems' JSON: what they find, and that no document makes them fail."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import paths
from core.errors import RuleViolation
from core.paths import MISSING

DOCUMENT = {
    "customer": {"first": "Ana", "last": None, "addresses": [{"country": "DE"}, {"country": "AT"}], "odd.key": 1},
    "empty": "",
    "flag": False,
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("customer.addresses[1].country", "AT"),
        ('customer["odd.key"]', 1),
        ('["customer"].first', "Ana"),
        ("=DE", "DE"),
        ("= a | b", "a | b"),
        ("customer.last | empty | customer.first", "Ana"),
        ("customer.first + customer.last", "Ana"),
        ("customer.first + customer.addresses[0].country", "Ana DE"),
        ("flag", False),
        ("customer.last", None),
        ("customer.last | nowhere", None),
        ("empty", None),
        ("customer.addresses[9].country", MISSING),
        ("customer.addresses.country", MISSING),
        ("flag.deeper[0]", MISSING),
        ("nowhere + nothing", MISSING),
    ],
)
def test_a_path_finds_what_is_there(expression: str, value: Any) -> None:
    assert paths.parse(expression, place="x").read(DOCUMENT) == value


@pytest.mark.parametrize(
    "wrong",
    ["", " ", ".a", "a.", "a..b", "a[", "a[-1]", "a[x]", "a b", "a[0]b", "a |", "+ a", "a" * 501, '["a"', "a=b"],
)
def test_what_is_no_path_is_refused_with_its_place(wrong: str) -> None:
    with pytest.raises(RuleViolation, match=r"^mapping\.name"):
        paths.parse(wrong, place="mapping.name")


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc") | st.text(), inner, max_size=4),
    max_leaves=20,
)
steps = st.lists(st.sampled_from("abc") | st.integers(0, 3), min_size=1, max_size=5)


def written(path: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f'["{step}"]' for step in path)


@given(json, st.lists(st.lists(steps, min_size=1, max_size=3), min_size=1, max_size=3))
def test_reading_never_fails_whatever_the_document(document: Any, choices: list[list[list[str | int]]]) -> None:
    expression = paths.parse(" | ".join(" + ".join(map(written, each)) for each in choices), place="x")

    value = expression.read(document)

    assert not isinstance(value, str) or value.strip()


@given(st.text(alphabet='abc.[]0"|+= ', max_size=30), json)
def test_any_text_is_a_path_or_refused(text: str, document: Any) -> None:
    try:
        expression = paths.parse(text, place="x")
    except RuleViolation:
        return
    expression.read(document)


@given(st.lists(st.sampled_from("abc") | st.text(min_size=1, max_size=9), min_size=1, max_size=6), st.integers())
def test_a_quoted_path_leads_to_what_was_put_there(names: list[str], value: int) -> None:
    names = [name for name in names if '"' not in name and "\\" not in name and name.isprintable()] or ["a"]
    document: Any = value
    for name in reversed(names):
        document = {name: [document]}

    found = paths.parse("".join(f'["{name}"][0]' for name in names), place="x").read(document)

    assert found == value
