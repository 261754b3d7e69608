"""A template's form as the provider's components, and components as what a person would see; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core import template
from dashboard.campaign_payloads import Shown
from dashboard.payloads import Json

BUTTONS = {"": "None", "QUICK_REPLY": "Quick reply", "URL": "Opens a page", "PHONE_NUMBER": "Calls a number"}
MOST_BUTTONS = 3
LINK_HOLE = "{{1}}"


@dataclass(frozen=True)
class Button:
    kind: str  # QUICK_REPLY, URL or PHONE_NUMBER
    text: str
    target: str = ""  # an address or a number
    is_tracked: bool = False  # the address is made for each person, so that clicks are counted


@dataclass(frozen=True)
class Form:
    """What somebody wrote; `examples` by placeholder of the body."""

    body: str
    header: str = ""
    footer: str = ""
    buttons: Sequence[Button] = ()
    examples: Mapping[str, str] = field(default_factory=dict)


def holes(body: str) -> list[str]:
    """The placeholders of a body, each once, in their order."""
    return template.names_in(body)


def components(form: Form, *, links_url: str) -> list[Json]:
    """The provider's components of a form; `links_url` is where tracked links lead through."""
    made: list[Json] = []
    if form.header.strip():
        made.append({"type": "HEADER", "format": "TEXT", "text": form.header.strip()})
    body: Json = {"type": "BODY", "text": form.body.strip()}
    named = holes(form.body)
    if named:
        body["example"] = {"body_text": [[form.examples.get(name, "") for name in named]]}
    made.append(body)
    if form.footer.strip():
        made.append({"type": "FOOTER", "text": form.footer.strip()})
    if form.buttons:
        # Quick replies stand together, or the provider refuses the template.
        ordered = sorted(form.buttons, key=lambda button: button.kind != "QUICK_REPLY")
        made.append({"type": "BUTTONS", "buttons": [_button(button, links_url) for button in ordered]})
    return made


def _button(button: Button, links_url: str) -> Json:
    made: Json = {"type": button.kind, "text": button.text.strip()}
    if button.kind == "PHONE_NUMBER":
        made["phone_number"] = button.target.strip()
    elif button.kind == "URL" and button.is_tracked:
        made |= {"url": f"{links_url}/{LINK_HOLE}", "example": ["r/abcdefabcdef"]}
    elif button.kind == "URL":
        made["url"] = button.target.strip()
    return made


def shown(parts: Sequence[Json]) -> Shown:
    """The template as a person would see it, its placeholders filled with the examples where there are any."""
    values: dict[str, str] = {}
    for hole in template.placeholders(parts):
        if hole.example:
            values[hole.key] = hole.example
    seen = template.render(parts, values)
    return Shown(body=seen["body"], header=seen["header"], footer=seen["footer"], buttons=seen["buttons"])
