"""What the provider accepts as a template's definition; pure.

Source: developers.facebook.com/documentation/business-messaging/whatsapp/templates, read 2026-11.
"""

import re
from collections.abc import Sequence
from typing import Any

from core.errors import RuleViolation
from core.template import MAX_BODY, MEDIA_HEADERS, PLACEHOLDER, Component, example_of, names_in

NAME = re.compile(r"[a-z0-9_]{1,512}")

MAX_HEADER_TEXT = 60
MAX_FOOTER = 60
MAX_BUTTONS = 10
MAX_LABEL = 25
MAX_URL = 2000
MAX_URL_BUTTONS = 2
BUTTON_TYPES = frozenset({"QUICK_REPLY", "URL", "PHONE_NUMBER", "COPY_CODE"})


def check_definition(name: str, components: Sequence[Component], parameter_format: str) -> None:
    """Refuse (RuleViolation) what the provider would refuse, with the place and what to do."""
    if not NAME.fullmatch(name):
        raise RuleViolation("a template's name has only lower-case letters, digits and underscores", field="name")
    for component in components:
        _check_shape(component)
    by_kind: dict[str, list[Component]] = {}
    for component in components:
        by_kind.setdefault(str(component.get("type", "")).upper(), []).append(component)
    unknown = set(by_kind) - {"HEADER", "BODY", "FOOTER", "BUTTONS"}
    if unknown:
        raise RuleViolation(f"unknown component {sorted(unknown)[0]!r}", field="components")
    for kind, found in by_kind.items():
        if len(found) > 1:
            raise RuleViolation(f"a template has one {kind} at most", field="components")
    if "BODY" not in by_kind:
        raise RuleViolation("a template needs a BODY", field="components")
    _check_body(by_kind["BODY"][0], parameter_format)
    if "HEADER" in by_kind:
        _check_header(by_kind["HEADER"][0])
    if "FOOTER" in by_kind:
        footer = str(by_kind["FOOTER"][0].get("text", ""))
        if len(footer) > MAX_FOOTER or PLACEHOLDER.search(footer):
            raise RuleViolation(f"a footer has {MAX_FOOTER} characters at most and no placeholders", field="footer")
    if "BUTTONS" in by_kind:
        _check_buttons(by_kind["BUTTONS"][0].get("buttons", []))


def _check_shape(component: Component) -> None:
    """Refuse a component whose parts are of the wrong kind: texts are texts, buttons and examples lists of them."""
    kind = component.get("type")
    if not isinstance(kind, str):
        raise RuleViolation("a component's type is a text such as BODY", field="components")
    for name in ("text", "format"):
        if not isinstance(component.get(name, ""), str):
            raise RuleViolation(f"the {name} of the {kind[:20]} must be text", field="components")
    _check_example(component.get("example", {}))
    buttons = component.get("buttons", [])
    if not isinstance(buttons, list) or not all(isinstance(button, dict) for button in buttons):
        raise RuleViolation("buttons is a list of objects", field="buttons")
    for button in buttons:
        for name in ("type", "text", "url", "phone_number"):
            if not isinstance(button.get(name, ""), str):
                raise RuleViolation(f"the {name} of a button must be text", field="buttons")
        example = button.get("example", [])
        if not isinstance(example, str) and not _are_texts(example):  # a code to copy has one text
            raise RuleViolation("the example of a button is a list of texts", field="buttons")


def _check_example(example: Any) -> None:
    if not isinstance(example, dict):
        raise RuleViolation("an example is an object such as {body_text: [[…]]}", field="components")
    for name in ("header_text", "header_handle"):
        if not _are_texts(example.get(name, [])):
            raise RuleViolation(f"example.{name} is a list of texts", field="components")
    rows = example.get("body_text", [[]])
    if not isinstance(rows, list) or not rows or not all(_are_texts(row) for row in rows):
        raise RuleViolation("example.body_text is a list with one list of texts", field="components")
    for name in ("body_text_named_params", "header_text_named_params"):
        named = example.get(name, [])
        if not isinstance(named, list) or not all(isinstance(each, dict) for each in named):
            raise RuleViolation(f"example.{name} is a list of objects with param_name and example", field="components")


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _check_body(body: Component, parameter_format: str) -> None:
    text = str(body.get("text", ""))
    if not text or len(text) > MAX_BODY:
        raise RuleViolation(f"a body has 1 to {MAX_BODY} characters", field="body")
    names = names_in(text)
    if parameter_format == "positional" and names != [str(number) for number in range(1, len(names) + 1)]:
        raise RuleViolation("placeholders are numbered {{1}}, {{2}}, … in order", field="body")
    if parameter_format == "named" and any(not re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names):
        raise RuleViolation("named placeholders have lower-case letters, digits and underscores", field="body")
    if names and (text.strip().startswith("{{") or text.strip().endswith("}}")):
        raise RuleViolation("a body may not start or end with a placeholder: put a word around it", field="body")
    if re.search(r"\}\}\s*\{\{", text):
        raise RuleViolation("two placeholders need words between them", field="body")
    for name in names:
        if example_of(body, name) is None:
            raise RuleViolation(f"the placeholder {{{{{name}}}}} needs an example", field="body")


def _check_header(header: Component) -> None:
    form = str(header.get("format", "TEXT")).upper()
    if form == "TEXT":
        text = str(header.get("text", ""))
        if not text or len(text) > MAX_HEADER_TEXT or len(PLACEHOLDER.findall(text)) > 1:
            raise RuleViolation(
                f"a text header has 1 to {MAX_HEADER_TEXT} characters and one placeholder at most", field="header"
            )
    elif form not in MEDIA_HEADERS | {"LOCATION"}:
        raise RuleViolation(f"unknown header format {form!r}", field="header")


def _check_buttons(buttons: Sequence[Component]) -> None:
    kinds = [str(button.get("type", "")).upper() for button in buttons]
    if not 1 <= len(kinds) <= MAX_BUTTONS or set(kinds) - BUTTON_TYPES:
        raise RuleViolation(f"1 to {MAX_BUTTONS} buttons of {', '.join(sorted(BUTTON_TYPES))}", field="buttons")
    limits = {"URL": MAX_URL_BUTTONS, "PHONE_NUMBER": 1, "COPY_CODE": 1}
    for kind, most in limits.items():
        if kinds.count(kind) > most:
            raise RuleViolation(f"{most} {kind} button(s) at most", field="buttons")
    replies = [kind == "QUICK_REPLY" for kind in kinds]
    if sum(replies[i] != replies[i - 1] for i in range(1, len(replies))) > 1:
        raise RuleViolation("quick replies stand together: QR QR URL, not QR URL QR", field="buttons")
    for kind, button in zip(kinds, buttons, strict=True):
        if kind != "COPY_CODE" and not 1 <= len(str(button.get("text", ""))) <= MAX_LABEL:
            raise RuleViolation(f"a button's label has 1 to {MAX_LABEL} characters", field="buttons")
        url = str(button.get("url", ""))
        if kind == "URL":
            holes = PLACEHOLDER.findall(url)
            if not url.startswith(("http://", "https://")) or len(url) > MAX_URL:
                raise RuleViolation("a URL button needs an http(s) address", field="buttons")
            if holes and (holes != ["1"] or not url.endswith("{{1}}") or not button.get("example")):
                raise RuleViolation("a URL has one {{1}}, at its end, and an example", field="buttons")
