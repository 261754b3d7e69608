"""Does a template send fit its template? The checks Cloud API makes before it answers 200.

Codes: 132000 number of parameters, 132012 format, 132018 malformed text (132012 before v23.0), 132005 text too long
once filled in, 131008 a required parameter is missing. Source: Meta's "Error codes" and "Template messages" pages.
"""

import re
from collections.abc import Sequence

from sandbox.bodies import Component, Parameter
from sandbox.errors import GraphError
from sandbox.templates import Compiled

_MALFORMED = re.compile(r"[\n\r\t]| {5,}")
_BODY_LIMIT, _HEADER_LIMIT, _COUPON_LIMIT, _PAYLOAD_LIMIT = 1024, 60, 20, 256
_BUTTON_TYPES = {
    "url": "URL", "quick_reply": "QUICK_REPLY", "copy_code": "COPY_CODE", "catalog": "CATALOG", "mpm": "MPM",
    "flow": "FLOW", "voice_call": "VOICE_CALL",
}  # fmt: skip

ButtonValues = tuple[str | None, ...]


def check_send(compiled: Compiled, components: Sequence[Component], version: int) -> ButtonValues | None:
    """The dynamic values of the buttons by index (None: static), or None when no button has one.

    Raises GraphError when the parameters do not fit the template; `version` is the major Graph version.
    """
    header: list[Parameter] | None = None
    body: list[Parameter] = []
    values: list[str | None] = [None] * len(compiled.buttons)
    dynamic = offered = False
    cards = None
    for component in components:
        kind = component.type.lower()
        parameters = component.parameters or []
        if kind == "body":
            body = parameters
        elif kind == "header":
            header = parameters
        elif kind == "button":
            index = _index(component, len(compiled.buttons))
            values[index] = _button_value(compiled, component, index, parameters)
            dynamic = True
        elif kind == "limited_time_offer" and compiled.limited_time:
            offered = bool(parameters) and parameters[0].limited_time_offer is not None
        elif kind == "carousel" and compiled.cards:
            cards = component.cards or []
        else:
            raise GraphError(132012, f"{kind}: the template has no such component")
    _check_body(compiled, body, version)
    _check_header(compiled, header, version)
    _check_required(compiled, values)
    if compiled.limited_time and not offered:
        raise GraphError(131008, "limited_time_offer: expiration_time_ms is required")
    if compiled.cards:
        if cards is None or len(cards) != len(compiled.cards):
            raise GraphError(132000, f"carousel: number of cards does not match the expected {len(compiled.cards)}")
        for card, inner in zip(cards, compiled.cards, strict=True):
            check_send(inner, card.components, version)
    return tuple(values) if dynamic else None


def _texts(where: str, variables: tuple[str, ...], parameters: list[Parameter], named: bool, version: int) -> list[str]:
    """The text of every parameter, in the order of `variables`."""
    if len(parameters) != len(variables):
        raise GraphError(
            132000,
            f"{where}: number of localizable_params ({len(parameters)}) does not match the expected number of params"
            f" ({len(variables)})",
        )
    if not named:
        for parameter in parameters:
            if parameter.parameter_name is not None:
                raise GraphError(132012, f"{where}: the template is positional, parameter_name is not expected")
        return [_text(where, parameter, version) for parameter in parameters]
    by_name = {parameter.parameter_name: parameter for parameter in parameters}
    if set(by_name) != set(variables):
        raise GraphError(132012, f"{where}: parameter_name must be one each of {', '.join(variables)}")
    return [_text(where, by_name[name], version) for name in variables]


def _text(where: str, parameter: Parameter, version: int) -> str:
    text: str | None = None
    if parameter.type == "text":
        text = parameter.text
    elif parameter.type == "currency" and parameter.currency is not None:
        text = parameter.currency.fallback_value
    elif parameter.type == "date_time" and parameter.date_time is not None:
        text = parameter.date_time.fallback_value
    else:
        raise GraphError(132012, f"{where}: Format mismatch, expected TEXT, received {parameter.type.upper()}")
    if not text:
        raise GraphError(131008, f"{where}: Parameter of type text is missing text value")
    if _MALFORMED.search(text):
        raise GraphError(
            132018 if version >= 23 else 132012,
            f"{where}: Param text cannot have new-line/tab characters or more than 4 consecutive spaces",
        )
    return text


def _check_body(compiled: Compiled, parameters: list[Parameter], version: int) -> None:
    if not parameters and not compiled.body_variables:
        return
    texts = _texts("body", compiled.body_variables, parameters, compiled.named, version)
    if len(compiled.body_slots) == len(texts):
        length = compiled.body_static_length + sum(map(len, texts))
    else:  # a variable is used more than once
        by_name = dict(zip(compiled.body_variables, texts, strict=True))
        length = compiled.body_static_length + sum(len(by_name[slot]) for slot in compiled.body_slots)
    if length > _BODY_LIMIT:
        raise GraphError(132005, f"Translated text too long: {length} characters, at most {_BODY_LIMIT}")


def _check_header(compiled: Compiled, parameters: list[Parameter] | None, version: int) -> None:
    expected = compiled.header_format
    if expected is None or (expected == "TEXT" and not compiled.header_variables):
        if parameters:
            raise GraphError(132000, "header: number of localizable_params (1) does not match the expected number (0)")
        return
    if expected == "TEXT":
        texts = _texts("header", compiled.header_variables, parameters or [], compiled.named, version)
        placeholders = sum(len(name) + 4 for name in compiled.header_variables)
        if len(compiled.header_text) - placeholders + sum(map(len, texts)) > _HEADER_LIMIT:
            raise GraphError(132005, f"header: Translated text too long, at most {_HEADER_LIMIT} characters")
        return
    received = parameters[0].type.upper() if parameters else "UNKNOWN"
    if len(parameters or []) > 1 or received != expected:
        raise GraphError(132012, f"header: Format mismatch, expected {expected}, received {received}")
    assert parameters
    given = parameters[0]
    if expected in ("IMAGE", "VIDEO", "DOCUMENT", "GIF"):
        media = {"IMAGE": given.image, "VIDEO": given.video, "DOCUMENT": given.document, "GIF": given.gif}[expected]
        if media is None or (media.id is None) is (media.link is None):
            raise GraphError(131008, f"header: {expected.lower()} needs either id or link")
    elif (expected == "LOCATION" and given.location is None) or (expected == "PRODUCT" and given.product is None):
        raise GraphError(131008, f"header: {expected.lower()} is missing")


def _index(component: Component, count: int) -> int:
    try:
        index = int(component.index) if component.index is not None else -1
    except ValueError:
        index = -1
    if not 0 <= index < count:
        raise GraphError(131009, f"button: index {component.index!r} names no button of the template")
    return index


def _button_value(compiled: Compiled, component: Component, index: int, parameters: list[Parameter]) -> str:
    """The dynamic value given for the button at `index`."""
    button, sub_type = compiled.buttons[index], (component.sub_type or "").lower()
    if _BUTTON_TYPES.get(sub_type) != button.type:
        raise GraphError(132012, f"button: index {index} is of type {button.type}, received {sub_type or 'none'}")
    if len(parameters) != 1:
        raise GraphError(132000, f"button: index {index} takes one parameter, received {len(parameters)}")
    given = parameters[0]
    if button.type == "URL":
        if not button.dynamic:
            raise GraphError(132000, f"button: the URL at index {index} is static and takes no parameter")
        value, kind, limit = given.text, "text", 2000
    elif button.type == "QUICK_REPLY":
        value, kind, limit = given.payload, "payload", _PAYLOAD_LIMIT
    elif button.type == "COPY_CODE":
        value, kind, limit = given.coupon_code, "coupon_code", _COUPON_LIMIT
    elif button.type in ("CATALOG", "MPM", "FLOW"):
        value, kind, limit = "" if given.action is None else "action", "action", 10
    else:
        raise GraphError(132012, f"button: a {button.type} button takes no parameter")
    if given.type != kind:
        raise GraphError(132012, f"button: index {index} expected a parameter of type {kind}, received {given.type}")
    if not value:
        raise GraphError(131008, f"button: index {index} is missing {kind}")
    if len(value) > limit:
        raise GraphError(131009, f"button: index {index} {kind} is longer than {limit} characters")
    return value


def _check_required(compiled: Compiled, values: Sequence[str | None]) -> None:
    for index, button in enumerate(compiled.buttons):
        if values[index] is None and (button.dynamic or button.type in ("COPY_CODE", "MPM")):
            name = "Url" if button.type == "URL" else button.type.title()
            raise GraphError(131008, f"buttons: Button at index {index} of type {name} requires a parameter")
