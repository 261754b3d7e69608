"""Templates: what the provider would refuse is refused first, and filling them in leaves no hole unseen."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import template, template_rules
from core.errors import RuleViolation
from core.template import Form

BODY = {"type": "BODY", "text": "Hello {{1}}, {{2}} off.", "example": {"body_text": [["Ana", "20 %"]]}}
LINK = {"type": "URL", "text": "Shop", "url": "https://a.example/{{1}}", "example": ["r/x"]}
REPLY = {"type": "QUICK_REPLY", "text": "Stop"}


def buttons(*those: dict[str, Any]) -> list[dict[str, Any]]:
    return [BODY, {"type": "BUTTONS", "buttons": list(those)}]


def test_holes_are_found_in_reading_order() -> None:
    components = [{"type": "HEADER", "format": "IMAGE"}, *buttons(LINK, REPLY)]
    found = [(hole.key, hole.type, hole.required) for hole in template.placeholders(components)]
    assert found == [
        ("header", "image", True),
        ("body.1", "text", True),
        ("body.2", "text", True),
        ("button.0", "text", True),
        ("button.1", "payload", False),
    ]


def test_what_is_filled_in_is_what_is_shown_and_what_is_sent() -> None:
    values = {"body.1": "Ana", "body.2": "{{1}}", "button.0": "r/abc"}
    assert template.render(buttons(LINK, REPLY), values)["body"] == "Hello Ana, {{1}} off."
    sent = Form.of("t", "en", "positional", buttons(LINK, REPLY)).content(values)["template"]["components"]
    assert sent[0] == {
        "type": "body",
        "parameters": [{"type": "text", "text": "Ana"}, {"type": "text", "text": "{{1}}"}],
    }
    assert sent[1] == {
        "type": "button",
        "sub_type": "url",
        "index": "0",
        "parameters": [{"type": "text", "text": "r/abc"}],
    }


@pytest.mark.parametrize(
    "components",
    [
        [],
        [BODY, BODY],
        [{"type": "MAGIC"}],
        [{"type": "BODY", "text": ""}],
        [{"type": "BODY", "text": "x" * 1025}],
        [{"type": "BODY", "text": "{{1}} at the start", "example": {"body_text": [["x"]]}}],
        [{"type": "BODY", "text": "at the end {{1}}", "example": {"body_text": [["x"]]}}],
        [{"type": "BODY", "text": "two {{1}} {{2}} touch.", "example": {"body_text": [["x", "y"]]}}],
        [{"type": "BODY", "text": "starts at {{2}} here", "example": {"body_text": [["x", "y"]]}}],
        [{"type": "BODY", "text": "no {{1}} example"}],
        [BODY, {"type": "HEADER", "format": "TEXT", "text": "x" * 61}],
        [BODY, {"type": "HEADER", "format": "HOLOGRAM"}],
        [BODY, {"type": "FOOTER", "text": "hi {{1}}"}],
        buttons(),
        buttons(*[REPLY] * 11),
        buttons(LINK, LINK, LINK),
        buttons(REPLY, LINK, REPLY),
        buttons({**REPLY, "text": "x" * 26}),
        buttons({**LINK, "url": "javascript:alert(1)"}),
        buttons({**LINK, "url": "https://a.example/{{1}}/x"}),
        buttons({**LINK, "example": None}),
        buttons({"type": "QUICK_REPLY", "text": None}),
    ],
)
def test_a_definition_the_provider_would_refuse_is_refused(components: list[Any]) -> None:
    with pytest.raises(RuleViolation):
        template_rules.check_definition("offer", components, "positional")


@pytest.mark.parametrize("name", ["", "Offer", "an offer", "offer\n", "ü", "x" * 513])
def test_names_are_lower_case_letters_digits_and_underscores(name: str) -> None:
    with pytest.raises(RuleViolation):
        template_rules.check_definition(name, [BODY], "positional")


def test_values_the_provider_would_refuse_are_named() -> None:
    def problems(**values: str) -> list[str]:
        form = Form.of("offer", "en", "positional", [BODY])
        return list(form.problems({"body.1": "Ana", "body.2": "20 %", **values}))

    assert problems() == []
    assert problems(**{"body.1": ""}) == ["body.1 is empty"]
    assert "line break" in problems(**{"body.1": "a\nb"})[0]
    assert "longer than" in problems(**{"body.1": "x" * 1100})[0]


NAMES = ["type", "text", "format", "example", "buttons", "url", "body_text", "body_text_named_params"]
WORDS = st.sampled_from(["BODY", "{{1}}", "URL", "http://{{1}}", ""]) | st.text(max_size=5)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=12,
)
COMPONENTS = st.dictionaries(st.sampled_from(["type", "text", "format", "example", "buttons", "url"]), JUNK)


@given(st.lists(COMPONENTS | st.just(BODY), max_size=4), st.sampled_from(["positional", "named"]))
def test_any_components_pass_or_are_refused_and_what_passes_can_be_rendered(
    components: list[dict[str, Any]], parameter_format: str
) -> None:
    try:
        template_rules.check_definition("offer", components, parameter_format)
    except RuleViolation:
        return
    values = {hole.key: "x" for hole in template.placeholders(components)}
    template.render(components, values)
    form = Form.of("offer", "en", parameter_format, components)
    list(form.problems(values))
    form.content(values)
