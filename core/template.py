"""Message templates: their placeholders, filling them in, and what the provider accepts; pure.

Components are the provider's own shape (`HEADER`, `BODY`, `FOOTER`, `BUTTONS`). A parameter is named by where it
stands: `body.1` or `body.first_name`, `header`, `button.0` (the button's index).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import RuleViolation

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
NAME = re.compile(r"[a-z0-9_]{1,512}")
LINK_PREFIX = "r/"

MAX_BODY = 1024
MAX_HEADER_TEXT = 60
MAX_FOOTER = 60
MAX_BUTTONS = 10
MAX_LABEL = 25
MAX_URL = 2000
MAX_URL_BUTTONS = 2
MEDIA_HEADERS = frozenset({"IMAGE", "VIDEO", "DOCUMENT"})
BUTTON_TYPES = frozenset({"QUICK_REPLY", "URL", "PHONE_NUMBER", "COPY_CODE"})

Component = Mapping[str, Any]


@dataclass(frozen=True)
class Placeholder:
    """One hole in a template. `key` is what a campaign's parameters call it."""

    key: str
    component: str  # header, body or button
    type: str  # text, image, video, document or payload
    name: str | None = None  # the placeholder's own number or name, for text
    index: int | None = None  # the button's index
    example: str | None = None
    required: bool = True


def placeholders(components: Sequence[Component]) -> list[Placeholder]:
    """Every hole, in the order a reader meets them. A quick reply's payload is optional: its label is the default."""
    found: list[Placeholder] = []
    for component in components:
        kind = str(component.get("type", "")).upper()
        if kind == "HEADER":
            found += _header_placeholders(component)
        elif kind == "BODY":
            for name in _names(str(component.get("text", ""))):
                found.append(Placeholder(f"body.{name}", "body", "text", name, example=_example(component, name)))
        elif kind == "BUTTONS":
            for index, button in enumerate(component.get("buttons", [])):
                found += _button_placeholders(index, button)
    return found


def _header_placeholders(component: Component) -> list[Placeholder]:
    form = str(component.get("format", "TEXT")).upper()
    if form in MEDIA_HEADERS:
        return [Placeholder("header", "header", form.lower())]
    names = _names(str(component.get("text", "")))
    return [Placeholder("header", "header", "text", name, example=_example(component, name)) for name in names]


def _button_placeholders(index: int, button: Component) -> list[Placeholder]:
    kind = str(button.get("type", "")).upper()
    if kind == "URL" and PLACEHOLDER.search(str(button.get("url", ""))):
        example = (button.get("example") or [None])[0]
        return [Placeholder(f"button.{index}", "button", "text", "1", index, example)]
    if kind == "QUICK_REPLY":
        return [Placeholder(f"button.{index}", "button", "payload", index=index, required=False)]
    if kind == "COPY_CODE":
        return [Placeholder(f"button.{index}", "button", "coupon_code", index=index)]
    return []


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(PLACEHOLDER.findall(text)))


def _example(component: Component, name: str) -> str | None:
    example = component.get("example") or {}
    for key in ("body_text_named_params", "header_text_named_params"):
        for named in example.get(key, []):
            if named.get("param_name") == name:
                return str(named.get("example"))
    plain = example.get("body_text", [[]])[0] if "body_text" in example else example.get("header_text", [])
    position = int(name) - 1 if name.isdigit() else -1
    return str(plain[position]) if 0 <= position < len(plain) else None


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its holes filled; a missing value stays visible as it was written."""
    return PLACEHOLDER.sub(lambda hole: values.get(hole.group(1), hole.group()), text)


def render(components: Sequence[Component], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the person sees: `header`, `body`, `footer` and `buttons` as text; media headers as their type."""
    shown: dict[str, Any] = {"header": None, "body": "", "footer": None, "buttons": []}
    body = {key[5:]: str(value) for key, value in parameters.items() if key.startswith("body.")}
    for component in components:
        kind = str(component.get("type", "")).upper()
        if kind == "HEADER":
            form = str(component.get("format", "TEXT")).upper()
            holes = dict.fromkeys(_names(str(component.get("text", ""))), str(parameters.get("header", "")))
            shown["header"] = f"[{form.lower()}]" if form in MEDIA_HEADERS else fill(str(component["text"]), holes)
        elif kind == "BODY":
            shown["body"] = fill(str(component.get("text", "")), body)
        elif kind == "FOOTER":
            shown["footer"] = component.get("text")
        elif kind == "BUTTONS":
            shown["buttons"] = [str(button.get("text", "")) for button in component.get("buttons", [])]
    return shown


def parameter_problems(components: Sequence[Component], parameters: Mapping[str, Any]) -> Iterator[str]:
    """What the provider would refuse: empty values, line breaks, long gaps, a body that grew too long."""
    for hole in placeholders(components):
        value = parameters.get(hole.key)
        if value in (None, ""):
            if hole.required:
                yield f"{hole.key} is empty"
        elif hole.type == "text" and hole.component != "button" and re.search(r"[\n\r\t]| {5,}", str(value)):
            yield f"{hole.key} has a line break, a tab or more than four spaces in a row"
    if len(render(components, parameters)["body"]) > MAX_BODY:
        yield f"the filled-in body is longer than {MAX_BODY} characters"


def send_content(
    name: str, language: str, parameter_format: str, components: Sequence[Component], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """`type` and `template` of a send request; `parameters` are filled values, media headers a media id."""
    filled: list[dict[str, Any]] = []
    header: list[dict[str, Any]] = []
    body: list[dict[str, Any]] = []
    for hole in placeholders(components):
        value = parameters.get(hole.key)
        if value in (None, ""):
            continue
        if hole.component == "button":
            filled.append(_button_parameter(hole, str(value)))
        elif hole.type == "text":
            item = {"type": "text", "text": str(value)}
            if parameter_format == "named" and hole.name:
                item["parameter_name"] = hole.name
            (header if hole.component == "header" else body).append(item)
        else:
            header.append({"type": hole.type, hole.type: {"id": str(value)}})
    parts = [("header", header), ("body", body)]
    sections = [{"type": part, "parameters": values} for part, values in parts if values] + filled
    template: dict[str, Any] = {"name": name, "language": {"code": language}}
    if sections:
        template["components"] = sections
    return {"type": "template", "template": template}


def _button_parameter(hole: Placeholder, value: str) -> dict[str, Any]:
    kinds = {
        "text": ("url", {"type": "text", "text": value}),
        "payload": ("quick_reply", {"type": "payload", "payload": value}),
        "coupon_code": ("copy_code", {"type": "coupon_code", "coupon_code": value}),
    }
    sub_type, parameter = kinds[hole.type]
    return {"type": "button", "sub_type": sub_type, "index": str(hole.index), "parameters": [parameter]}


def check_definition(name: str, components: Sequence[Component], parameter_format: str) -> None:
    """Refuse (RuleViolation) what the provider would refuse, with the place and what to do.

    Source: developers.facebook.com/documentation/business-messaging/whatsapp/templates, read 2026-11.
    """
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
    names = _names(text)
    if parameter_format == "positional" and names != [str(number) for number in range(1, len(names) + 1)]:
        raise RuleViolation("placeholders are numbered {{1}}, {{2}}, … in order", field="body")
    if parameter_format == "named" and any(not re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names):
        raise RuleViolation("named placeholders have lower-case letters, digits and underscores", field="body")
    if names and (text.strip().startswith("{{") or text.strip().endswith("}}")):
        raise RuleViolation("a body may not start or end with a placeholder: put a word around it", field="body")
    if re.search(r"\}\}\s*\{\{", text):
        raise RuleViolation("two placeholders need words between them", field="body")
    for name in names:
        if _example(body, name) is None:
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
