"""Message templates: their placeholders, and filling them in; pure.

Components are the provider's own shape (`HEADER`, `BODY`, `FOOTER`, `BUTTONS`). A parameter is named by where it
stands: `body.1` or `body.first_name`, `header`, `button.0` (the button's index).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
UNPRINTABLE = re.compile(r"[\n\r\t]| {5,}")
LINK_PREFIX = "r/"

MAX_BODY = 1024
MEDIA_HEADERS = frozenset({"IMAGE", "VIDEO", "DOCUMENT"})
MEDIA_TYPES = frozenset(kind.lower() for kind in MEDIA_HEADERS)

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
            for name in names_in(str(component.get("text", ""))):
                found.append(Placeholder(f"body.{name}", "body", "text", name, example=example_of(component, name)))
        elif kind == "BUTTONS":
            for index, button in enumerate(component.get("buttons", [])):
                found += _button_placeholders(index, button)
    return found


def _header_placeholders(component: Component) -> list[Placeholder]:
    form = str(component.get("format", "TEXT")).upper()
    if form in MEDIA_HEADERS:
        return [Placeholder("header", "header", form.lower())]
    names = names_in(str(component.get("text", "")))
    return [Placeholder("header", "header", "text", name, example=example_of(component, name)) for name in names]


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


def names_in(text: str) -> list[str]:
    return list(dict.fromkeys(PLACEHOLDER.findall(text)))


def example_of(component: Component, name: str) -> str | None:
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
            holes = dict.fromkeys(names_in(str(component.get("text", ""))), str(parameters.get("header", "")))
            shown["header"] = f"[{form.lower()}]" if form in MEDIA_HEADERS else fill(str(component["text"]), holes)
        elif kind == "BODY":
            shown["body"] = fill(str(component.get("text", "")), body)
        elif kind == "FOOTER":
            shown["footer"] = component.get("text")
        elif kind == "BUTTONS":
            shown["buttons"] = [str(button.get("text", "")) for button in component.get("buttons", [])]
    return shown


@dataclass(frozen=True)
class Form:
    """A template version made ready to be filled in for many people; as immutable as the version is."""

    name: str
    language: str
    parameter_format: str
    components: Sequence[Component]
    holes: tuple[Placeholder, ...]
    bodies: tuple[str, ...]

    @classmethod
    def of(cls, name: str, language: str, parameter_format: str, components: Sequence[Component]) -> Self:
        bodies = tuple(str(each.get("text", "")) for each in components if str(each.get("type", "")).upper() == "BODY")
        return cls(name, language, parameter_format, components, tuple(placeholders(components)), bodies)

    @property
    def media_hole(self) -> Placeholder | None:
        """The header that is an image, a video or a document."""
        return next((hole for hole in self.holes if hole.type in MEDIA_TYPES), None)

    def problems(self, parameters: Mapping[str, Any]) -> Iterator[str]:
        """What the provider would refuse: empty values, line breaks, long gaps, a body that grew too long."""
        for hole in self.holes:
            value = parameters.get(hole.key)
            if value in (None, ""):
                if hole.required:
                    yield f"{hole.key} is empty"
            elif hole.type == "text" and hole.component != "button" and UNPRINTABLE.search(str(value)):
                yield f"{hole.key} has a line break, a tab or more than four spaces in a row"
        longest = sum(map(len, self.bodies)) + sum(len(str(value)) for value in parameters.values())
        if longest > MAX_BODY and len(render(self.components, parameters)["body"]) > MAX_BODY:
            yield f"the filled-in body is longer than {MAX_BODY} characters"

    def content(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """`type` and `template` of a send request; `parameters` are filled values, media headers a media id."""
        filled: list[dict[str, Any]] = []
        header: list[dict[str, Any]] = []
        body: list[dict[str, Any]] = []
        for hole in self.holes:
            value = parameters.get(hole.key)
            if value in (None, ""):
                continue
            if hole.component == "button":
                filled.append(_button_parameter(hole, str(value)))
            elif hole.type == "text":
                item = {"type": "text", "text": str(value)}
                if self.parameter_format == "named" and hole.name:
                    item["parameter_name"] = hole.name
                (header if hole.component == "header" else body).append(item)
            else:
                header.append({"type": hole.type, hole.type: {"id": str(value)}})
        parts = [("header", header), ("body", body)]
        sections = [{"type": part, "parameters": values} for part, values in parts if values] + filled
        template: dict[str, Any] = {"name": self.name, "language": {"code": self.language}}
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
