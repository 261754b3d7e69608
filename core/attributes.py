"""Typed attributes: what a value must look like, and the one form it is kept in; pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core.errors import RuleViolation
from core.statuses import AttributeKind

MAX_NAME = 100
MAX_TEXT = 2000
MAX_NUMBER = 10**15
MAX_ATTRIBUTES = 200
YES = frozenset({"true", "yes", "y", "1", "ja", "oui", "si", "はい"})
NO = frozenset({"false", "no", "n", "0", "nein", "non", "いいえ"})
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Definition:
    """An attribute's kind; `choices` are the texts a choice may be."""

    kind: AttributeKind
    choices: tuple[str, ...] = ()


TEXT = Definition(AttributeKind.TEXT)


def cleaned(given: Mapping[str, Any], definitions: Mapping[str, Definition], *, place: str = "attributes") -> Any:
    """The attributes in the form they are kept in; null stays null. Raises RuleViolation with the place."""
    if len(given) > MAX_ATTRIBUTES:
        raise RuleViolation(f"{place} has more than {MAX_ATTRIBUTES} names", field=place)
    return {
        name: None if value is None else clean(name, value, definitions.get(name, TEXT), place=f"{place}.{name}")
        for name, value in given.items()
    }


def clean(name: str, value: Any, definition: Definition, *, place: str) -> Any:
    """One value: numbers as numbers, dates as YYYY-MM-DD, booleans as booleans, the rest as text."""
    if not name.strip() or len(name) > MAX_NAME or _CONTROL.search(name):
        raise RuleViolation(f"an attribute's name has 1 to {MAX_NAME} characters", field=place)
    match definition.kind:
        case AttributeKind.NUMBER:
            return _number(value, place)
        case AttributeKind.DATE:
            return _date(value, place)
        case AttributeKind.BOOLEAN:
            return _boolean(value, place)
        case AttributeKind.CHOICE:
            return _choice(value, definition.choices, place)
        case _:
            return _text(value, place)


def _text(value: Any, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise RuleViolation(f"{place} must be text", field=place)
    text = str(value).strip()
    if len(text) > MAX_TEXT or _CONTROL.search(text):
        raise RuleViolation(f"{place} has {MAX_TEXT} characters at most and no control characters", field=place)
    return text


def _number(value: Any, place: str) -> int | float:
    wrong = RuleViolation(f"{place} must be a number such as 12 or 12.5", field=place)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong
    try:
        number = float(value)
    except ValueError as bad:
        raise wrong from bad
    if not math.isfinite(number) or abs(number) > MAX_NUMBER:
        raise wrong
    return int(number) if number.is_integer() else number


def _date(value: Any, place: str) -> str:
    try:
        return date.fromisoformat(str(value).strip()[:10]).isoformat()
    except ValueError as bad:
        raise RuleViolation(f"{place} must be a date such as 2026-10-01", field=place) from bad


def _boolean(value: Any, place: str) -> bool:
    word = str(value).strip().lower()
    if word in YES or word in NO:
        return word in YES
    raise RuleViolation(f"{place} must be true or false", field=place)


def _choice(value: Any, choices: tuple[str, ...], place: str) -> str:
    found = next((each for each in choices if each.lower() == str(value).strip().lower()), None)
    if found is None:
        raise RuleViolation(f"{place} must be one of {', '.join(choices)}", field=place)
    return found


# How a kept value of each kind reads as text, in PostgreSQL's regular expressions; text and choices need none.
READS_AS = {
    AttributeKind.NUMBER: r"^\s*-?[0-9]+(\.[0-9]+)?\s*$",
    AttributeKind.DATE: r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
    AttributeKind.BOOLEAN: r"^(true|false)$",
}
