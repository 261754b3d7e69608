"""Template definitions: what creation accepts, and the compiled form that sends are checked against.

Rules follow Meta's pages "Template components", "Template management" and the marketing template pages
(https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview). Refusals carry code
100 and, where Meta names one, an `error_subcode` of the 2388xxx family.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.errors import GraphError

Component = dict[str, object]

MISSING_FIELD, TOO_LONG, COUNT_LIMIT, LANGUAGE_EXISTS = 2388043, 2388040, 2388019, 2388024
HEADER_FORMAT, BODY_FORMAT, FOOTER_FORMAT, TOO_MANY_VARIABLES, EDGE_VARIABLE = (
    2388047,
    2388072,
    2388073,
    2388293,
    2388299,
)

_NAME = re.compile(r"[a-z0-9_]{1,512}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?")
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")
_NAMED = re.compile(r"[a-z][a-z0-9_]*")
_WORD = re.compile(r"\w+")
_MEDIA = frozenset({"IMAGE", "VIDEO", "DOCUMENT", "GIF"})
_HEADERS = _MEDIA | {"TEXT", "LOCATION", "PRODUCT"}
_MOST_OF_TYPE = {
    "QUICK_REPLY": 10, "URL": 2, "PHONE_NUMBER": 1, "COPY_CODE": 1, "CATALOG": 1, "MPM": 1, "FLOW": 1, "VOICE_CALL": 1,
    "REQUEST_CONTACT_INFO": 1, "OTP": 1, "SPM": 1,
}  # fmt: skip
CATEGORIES = ("AUTHENTICATION", "MARKETING", "UTILITY")
_COUPON_LIMIT = 20


@dataclass(slots=True, frozen=True)
class Button:
    """A button as sends see it; `url` ends before the suffix when `dynamic`."""

    type: str
    text: str
    url: str = ""
    dynamic: bool = False


@dataclass(slots=True)
class Compiled:
    """What a send must match. Variables are names in order of first appearance ("1", "2", … when positional)."""

    named: bool = False
    header_format: str | None = None
    header_text: str = ""
    header_variables: tuple[str, ...] = ()
    body_text: str = ""
    body_variables: tuple[str, ...] = ()
    body_slots: tuple[str, ...] = ()
    body_static_length: int = 0
    footer: str = ""
    buttons: tuple[Button, ...] = ()
    limited_time: bool = False
    otp: bool = False
    cards: "list[Compiled]" = field(default_factory=list)


def _refuse(details: str, subcode: int | None = None, title: str = "Invalid parameter") -> GraphError:
    return GraphError(
        100, message="Invalid parameter", subcode=subcode, user_title=title, user_message=details, transient=False
    )


def check_name(name: object, language: object, category: object) -> tuple[str, str, str]:
    """The validated name, language and upper-case category of a new template; raises GraphError 100."""
    for value, key in ((name, "name"), (language, "language"), (category, "category")):
        if not value:
            raise GraphError(100, message=f"(#100) The parameter {key} is required.")
        if not isinstance(value, str):
            raise GraphError(100, message=f"(#100) Param {key} must be a string.")
    name, language, category = str(name), str(language), str(category).upper()
    if not _NAME.fullmatch(name):
        raise _refuse("A template name has lower-case letters, digits and underscores, at most 512.")
    if not _LANGUAGE.fullmatch(language):
        raise GraphError(100, message=f"(#100) Param language is not a supported language code - got {language!r}.")
    if category not in CATEGORIES:
        raise GraphError(100, message=f"(#100) Param category must be one of {{{', '.join(CATEGORIES)}}}.")
    return name, language, category


def compile_template(components: object, parameter_format: str, category: str) -> Compiled:
    """Validate the components of a new template and compile them; raises GraphError 100 with the rule broken."""
    if parameter_format not in ("POSITIONAL", "NAMED"):
        raise GraphError(100, message="(#100) Param parameter_format must be one of {POSITIONAL, NAMED}.")
    compiled = Compiled(named=parameter_format == "NAMED")
    parts = _by_type(components)
    if "BODY" not in parts:
        raise _refuse("A template has exactly one BODY component.", MISSING_FIELD)
    if category == "AUTHENTICATION":
        _authentication(compiled, parts)
        return compiled
    compiled.limited_time = "LIMITED_TIME_OFFER" in parts
    if compiled.limited_time:
        _limited_time_offer(parts, category)
    if "HEADER" in parts:
        _header(compiled, parts["HEADER"])
    _body(compiled, parts["BODY"], limit=600 if compiled.limited_time else 1024)
    if "FOOTER" in parts:
        compiled.footer = _text_of(parts["FOOTER"], "FOOTER", 60, FOOTER_FORMAT)
        if _PLACEHOLDER.search(compiled.footer):
            raise _refuse("A footer has no variables.", FOOTER_FORMAT)
    if "BUTTONS" in parts:
        compiled.buttons = _buttons(parts["BUTTONS"], most=10)
    if "CAROUSEL" in parts:
        _carousel(compiled, parts["CAROUSEL"])
    return compiled


def _by_type(components: object) -> dict[str, Component]:
    if not isinstance(components, list) or not components:
        raise GraphError(100, message="(#100) The parameter components is required.")
    known = ("HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER")
    parts: dict[str, Component] = {}
    for at, component in enumerate(components):
        kind = str(component.get("type", "")).upper() if isinstance(component, dict) else ""
        if kind not in known:
            raise GraphError(
                100, message=f"(#100) Param components[{at}]['type'] must be one of {{{', '.join(known)}}}."
            )
        if kind in parts:
            raise _refuse(f"Only one {kind} component is allowed.", MISSING_FIELD)
        parts[kind] = component
    return parts


def _text_of(component: Component, what: str, limit: int, subcode: int) -> str:
    text = component.get("text")
    if not isinstance(text, str) or not text.strip():
        raise _refuse(f"{what} needs a text.", MISSING_FIELD)
    if len(text) > limit:
        raise _refuse(f"{what} is longer than {limit} characters.", TOO_LONG, "Message template field is too long")
    static = _PLACEHOLDER.sub("", text)
    if what == "HEADER" and ("\n" in static or any(mark in static for mark in "*_~`")):
        raise _refuse("A text header has no line breaks and no formatting.", subcode)
    return text


def _variables(text: str, named: bool, subcode: int) -> tuple[str, ...]:
    """Variable names in order of appearance, repeats included."""
    slots = tuple(match.strip() for match in _PLACEHOLDER.findall(text))
    if named:
        if any(not _NAMED.fullmatch(slot) for slot in slots):
            raise _refuse("Named variables have lower-case letters, digits and underscores.", subcode)
        return slots
    if any(not slot.isdecimal() for slot in slots):
        raise _refuse("Positional variables are whole numbers, like {{1}}.", subcode)
    distinct = sorted({int(slot) for slot in slots})
    if distinct != list(range(1, len(distinct) + 1)):
        raise _refuse("Positional variables are numbered from {{1}} without gaps.", subcode)
    return slots


def _distinct(slots: Sequence[str], named: bool) -> tuple[str, ...]:
    found = dict.fromkeys(slots)
    return tuple(found) if named else tuple(sorted(found, key=int))


def _examples(component: Component, key: str, named: bool) -> list[object]:
    example = component.get("example")
    found = example.get(f"{key}_named_params" if named else key) if isinstance(example, Mapping) else None
    return found if isinstance(found, list) else []


def _check_examples(component: Component, key: str, variables: tuple[str, ...], named: bool) -> None:
    if not variables:
        return
    given = _examples(component, key, named)
    if named:
        names = {item.get("param_name") for item in given if isinstance(item, dict) and item.get("example")}
        complete = names >= set(variables)
    else:
        rows = given[0] if given and isinstance(given[0], list) else given
        complete = isinstance(rows, list) and len(rows) == len(variables) and all(rows)
    if not complete:
        raise _refuse(f"Every variable needs an example ({key}).", MISSING_FIELD)


def _header(compiled: Compiled, component: Component) -> None:
    kind = str(component.get("format", "")).upper()
    if kind not in _HEADERS:
        raise _refuse(f"A header's format is one of {', '.join(sorted(_HEADERS))}.", HEADER_FORMAT)
    compiled.header_format = kind
    if kind == "TEXT":
        text = _text_of(component, "HEADER", 60, HEADER_FORMAT)
        slots = _variables(text, compiled.named, HEADER_FORMAT)
        if len(slots) > 1:
            raise _refuse("A header has at most one variable.", HEADER_FORMAT)
        compiled.header_text, compiled.header_variables = text, slots
        _check_examples(component, "header_text", slots, compiled.named)
    elif kind in _MEDIA:
        handles = _examples(component, "header_handle", named=False)
        if not handles or not all(isinstance(handle, str) and handle.startswith("4:") for handle in handles):
            raise _refuse("A media header needs example.header_handle from a resumable upload.", MISSING_FIELD)


def _body(compiled: Compiled, component: Component, limit: int) -> None:
    text = _text_of(component, "BODY", limit, BODY_FORMAT)
    slots = _variables(text, compiled.named, BODY_FORMAT)
    if text.strip().startswith("{{") or text.strip().endswith("}}"):
        raise _refuse(
            "A body does not start or end with a variable.", EDGE_VARIABLE, "Leading or trailing params not allowed"
        )
    if re.search(r"\}\}\s*\{\{", text):
        raise _refuse("Two variables may not be adjacent.", EDGE_VARIABLE)
    static = _PLACEHOLDER.sub("", text)
    if slots and len(_WORD.findall(static)) < 2 * len(slots) + 1:
        raise _refuse(
            "Too many variables for the length of the text.", TOO_MANY_VARIABLES, "Parameters words ratio exceeds limit"
        )
    compiled.body_text, compiled.body_slots = text, slots
    compiled.body_variables = _distinct(slots, compiled.named)
    compiled.body_static_length = len(static)
    _check_examples(component, "body_text", compiled.body_variables, compiled.named)


def _buttons(component: Component, most: int) -> tuple[Button, ...]:
    given = component.get("buttons")
    if not isinstance(given, list) or not given:
        raise _refuse("BUTTONS needs a list of buttons.", MISSING_FIELD)
    if len(given) > most:
        raise _refuse(f"At most {most} buttons are allowed.")
    buttons = tuple(_button(item) for item in given)
    kinds = [button.type for button in buttons]
    for kind in set(kinds):
        if kinds.count(kind) > _MOST_OF_TYPE[kind]:
            raise _refuse(f"At most {_MOST_OF_TYPE[kind]} {kind} buttons are allowed.")
    quick = [at for at, kind in enumerate(kinds) if kind == "QUICK_REPLY"]
    if quick and (quick[-1] - quick[0] + 1 != len(quick) or (quick[0] != 0 and quick[-1] != len(kinds) - 1)):
        raise _refuse("Quick replies stand together, before or after the other buttons.")
    return buttons


def _button(item: object) -> Button:
    kind = str(item.get("type", "")).upper() if isinstance(item, dict) else ""
    if not isinstance(item, dict) or kind not in _MOST_OF_TYPE:
        raise GraphError(100, message=f"(#100) A button's type must be one of {{{', '.join(_MOST_OF_TYPE)}}}.")
    text = item.get("text")
    if kind == "COPY_CODE":
        example = item.get("example")
        example = example[0] if isinstance(example, list) and example else example
        if not isinstance(example, str) or not 1 <= len(example) <= _COUPON_LIMIT:
            raise _refuse(f"A copy code button needs an example of at most {_COUPON_LIMIT} characters.", MISSING_FIELD)
        return Button(kind, "Copy offer code")
    if not isinstance(text, str) or not text.strip():
        raise _refuse("A button needs a text.", MISSING_FIELD)
    if len(text) > 25:
        raise _refuse("A button's text is at most 25 characters.", TOO_LONG)
    if kind == "PHONE_NUMBER":
        phone = item.get("phone_number")
        if not isinstance(phone, str) or not 1 <= len(phone) <= 20:
            raise _refuse("A phone button needs a phone_number of at most 20 characters.", MISSING_FIELD)
    if kind == "FLOW" and not any(item.get(key) for key in ("flow_id", "flow_name", "flow_json")):
        raise _refuse("A flow button needs flow_id, flow_name or flow_json.", MISSING_FIELD)
    return _url_button(item, text) if kind == "URL" else Button(kind, text)


def _url_button(item: Component, text: str) -> Button:
    url = item.get("url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise _refuse("A URL button needs an absolute url.", MISSING_FIELD)
    if len(url) > 2000:
        raise _refuse("A button's URL is at most 2000 characters.", TOO_LONG)
    slots = _PLACEHOLDER.findall(url)
    if not slots:
        return Button("URL", text, url)
    if slots != ["1"] or not url.endswith("{{1}}"):
        raise _refuse("A button's URL has at most one variable, {{1}}, at its end.")
    example = item.get("example")
    if not example or not (isinstance(example, str) or (isinstance(example, list) and isinstance(example[0], str))):
        raise _refuse("A URL with a variable needs an example.", MISSING_FIELD)
    return Button("URL", text, url.removesuffix("{{1}}"), dynamic=True)


def _limited_time_offer(parts: Mapping[str, Component], category: str) -> None:
    if category != "MARKETING" or "FOOTER" in parts:
        raise _refuse("A limited-time offer is a marketing template without footer.")
    offer = parts["LIMITED_TIME_OFFER"].get("limited_time_offer")
    text = offer.get("text") if isinstance(offer, dict) else None
    if not isinstance(text, str) or not 1 <= len(text) <= 16:
        raise _refuse("A limited-time offer needs a text of at most 16 characters.", MISSING_FIELD)
    if "HEADER" in parts and str(parts["HEADER"].get("format", "")).upper() not in ("IMAGE", "VIDEO"):
        raise _refuse("A limited-time offer has an image or video header.", HEADER_FORMAT)
    buttons = parts.get("BUTTONS", {}).get("buttons")
    kinds = (
        [str(item.get("type", "")).upper() for item in buttons if isinstance(item, dict)]
        if isinstance(buttons, list)
        else []
    )
    if "COPY_CODE" in kinds and kinds[0] != "COPY_CODE":
        raise _refuse("In a limited-time offer the copy code button comes first.")


def _carousel(compiled: Compiled, component: Component) -> None:
    cards = component.get("cards")
    if not isinstance(cards, list) or not 2 <= len(cards) <= 10:
        raise _refuse("A carousel has 2 to 10 cards.", MISSING_FIELD)
    for card in cards:
        parts = _by_type(card.get("components") if isinstance(card, dict) else None)
        inner = Compiled(named=compiled.named)
        if str(parts.get("HEADER", {}).get("format", "")).upper() not in ("IMAGE", "VIDEO", "PRODUCT"):
            raise _refuse("A card has an image, video or product header.", HEADER_FORMAT)
        _header(inner, parts["HEADER"])
        if "BODY" in parts:
            _body(inner, parts["BODY"], limit=160)
        inner.buttons = _buttons(parts.get("BUTTONS", {}), most=2)
        compiled.cards.append(inner)
    shapes = {
        (card.header_format, tuple(b.type for b in card.buttons), bool(card.body_text)) for card in compiled.cards
    }
    if len(shapes) > 1:
        raise _refuse("All cards of a carousel have the same components.")


def _authentication(compiled: Compiled, parts: Mapping[str, Component]) -> None:
    """An authentication template: Meta's own text, a code, and an OTP button."""
    if "HEADER" in parts or "CAROUSEL" in parts or parts["BODY"].get("text") is not None:
        raise _refuse("An authentication template's text is fixed.", BODY_FORMAT)
    minutes = parts.get("FOOTER", {}).get("code_expiration_minutes")
    if minutes is not None and not (isinstance(minutes, int) and 1 <= minutes <= 90):
        raise _refuse("code_expiration_minutes is between 1 and 90.", FOOTER_FORMAT)
    buttons = parts.get("BUTTONS", {}).get("buttons")
    if not isinstance(buttons, list) or len(buttons) != 1 or not isinstance(buttons[0], dict):
        raise _refuse("An authentication template has one OTP button.", MISSING_FIELD)
    if buttons[0].get("type", "").upper() != "OTP" or buttons[0].get("otp_type") not in (
        "COPY_CODE",
        "ONE_TAP",
        "ZERO_TAP",
    ):
        raise _refuse("An OTP button's otp_type is COPY_CODE, ONE_TAP or ZERO_TAP.", MISSING_FIELD)
    compiled.otp = True
    compiled.body_text = "{{1}} is your verification code."
    compiled.body_variables = compiled.body_slots = ("1",)
    compiled.body_static_length = len(" is your verification code.")
    compiled.buttons = (Button("URL", "Copy code", "https://www.whatsapp.com/otp/code/?code=", dynamic=True),)
