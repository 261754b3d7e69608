"""Comparisons of a rule with a contact's fields and attributes, as SQLAlchemy predicates; pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Numeric, Text, any_, case, cast, false, func, literal, not_, or_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.attributes import READS_AS, Definition, clean
from core.errors import RuleViolation
from core.models import Contact
from core.statuses import AttributeKind

MAX_NUMBER = 10**15  # of an attribute compared as a number
MAX_DAYS = 36_500

# Codes are compared in one case: countries are kept in capitals, languages as people wrote them.
TEXT_FIELDS: dict[str, ColumnElement[Any]] = {
    "name": Contact.name.expression,
    "country": Contact.country.expression,
    "language": func.lower(Contact.language),
    "time_zone": Contact.time_zone.expression,
}
_CASES: dict[str, Callable[[str], str]] = {"country": str.upper, "language": str.lower}
TIME_FIELDS: dict[str, ColumnElement[Any]] = {
    "created_at": Contact.created_at.expression,
    "last_seen_at": Contact.last_seen_at.expression,
}
ATTRIBUTE = "attributes."
ORDERED = frozenset({"gt", "gte", "lt", "lte"})
RELATIVE = frozenset({"within_days", "before_days"})


def comparison(rule: Mapping[str, Any], place: str, definitions: Mapping[str, Definition]) -> ColumnElement[bool]:
    """`{"field", "op", "value"}` as a predicate; raises RuleViolation naming the place."""
    field, op, value = rule["field"], rule["op"], rule.get("value")
    if not isinstance(field, str) or not isinstance(op, str):
        raise RuleViolation(f"{place}.field and {place}.op must be texts", field=place)
    if field in TEXT_FIELDS:
        return _on_text(TEXT_FIELDS[field], op, _in_case(field, value), place)
    if field in TIME_FIELDS:
        return _on_time(TIME_FIELDS[field], op, value, place)
    if field.startswith(ATTRIBUTE) and len(field) > len(ATTRIBUTE):
        name = field[len(ATTRIBUTE) :]
        return _on_attribute(name, op, value, place, definitions.get(name))
    known = [*TEXT_FIELDS, *TIME_FIELDS, "attributes.NAME"]
    raise RuleViolation(f"{place}.field {field!r} is unknown; use one of {', '.join(known)}", field=f"{place}.field")


def _in_case(field: str, value: Any) -> Any:
    change = _CASES.get(field)
    if change is None:
        return value
    if isinstance(value, list):
        return [change(each) if isinstance(each, str) else each for each in value]
    return change(value) if isinstance(value, str) else value


def _on_text(column: ColumnElement[Any], op: str, value: Any, place: str) -> ColumnElement[bool]:
    if op == "exists":
        return column.is_not(None) if value is not False else column.is_(None)
    if op in ("in", "not_in"):
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise RuleViolation(f"{place}.value must be a list of texts", field=f"{place}.value")
        found = column == any_(literal(value, ARRAY(Text())))  # one parameter, however long the list
        return found if op == "in" else or_(not_(found), column.is_(None))
    if not isinstance(value, str):
        raise RuleViolation(f"{place}.value must be text", field=f"{place}.value")
    makers: dict[str, Callable[[], ColumnElement[bool]]] = {
        "eq": lambda: column == value,
        "ne": lambda: column.is_distinct_from(value),
        "contains": lambda: column.icontains(value, autoescape=True),
        "starts_with": lambda: column.istartswith(value, autoescape=True),
    }
    if op not in makers:
        raise RuleViolation(f"{place}.op {op!r} does not fit a text field", field=f"{place}.op")
    return makers[op]()


def _on_time(column: ColumnElement[Any], op: str, value: Any, place: str) -> ColumnElement[bool]:
    if op == "exists":
        return column.is_not(None) if value is not False else column.is_(None)
    if op in RELATIVE:
        since = func.now() - literal(days(value, f"{place}.value"))
        return column >= since if op == "within_days" else column < since
    return _ordered(column, op, instant(value, f"{place}.value"), place)


def days(value: Any, place: str) -> timedelta:
    """A whole number of days; raises RuleViolation."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_DAYS:
        raise RuleViolation(f"{place} must be a whole number of days, 1 or more", field=place)
    return timedelta(days=value)


def instant(value: Any, place: str) -> datetime:
    """An instant with its zone, in UTC; raises RuleViolation."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError as wrong:
        raise RuleViolation(f"{place} must be a time such as 2026-10-01T00:00:00Z", field=place) from wrong
    if found.tzinfo is None:
        raise RuleViolation(f"{place} needs a zone, such as a Z at its end", field=place)
    try:
        return found.astimezone(UTC)
    except OverflowError as beyond:
        raise RuleViolation(f"{place} is out of range", field=place) from beyond


def _ordered(column: ColumnElement[Any], op: str, value: Any, place: str) -> ColumnElement[bool]:
    makers: dict[str, Callable[[], ColumnElement[bool]]] = {
        "eq": lambda: column == value,
        "ne": lambda: column.is_distinct_from(value),
        "gt": lambda: column > value,
        "gte": lambda: column >= value,
        "lt": lambda: column < value,
        "lte": lambda: column <= value,
    }
    if op not in makers:
        raise RuleViolation(f"{place}.op {op!r} is unknown", field=f"{place}.op")
    return makers[op]()


def _on_attribute(name: str, op: str, value: Any, place: str, definition: Definition | None) -> ColumnElement[bool]:
    document = cast(Contact.attributes, JSONB)
    if op == "exists":
        present: ColumnElement[bool] = document.has_key(name)
        return present if value is not False else not_(present)
    if definition is not None and definition.kind is not AttributeKind.TEXT:
        value = _of_kind(name, op, value, definition, place)
    if isinstance(value, str) and (op in ORDERED or op in RELATIVE):
        return _on_date(document[name].astext, op, value, place)
    if op in RELATIVE:
        return _on_date(document[name].astext, op, value, place)
    if op in ORDERED or (isinstance(value, int | float) and not isinstance(value, bool)):
        return _on_number(document, name, op, value, place)
    if isinstance(value, bool):
        value = "true" if value else "false"
    if op == "eq" and isinstance(value, str):
        return _equal(document, name, value)
    return func.coalesce(_on_text(document[name].astext, op, value, place), op in ("ne", "not_in"))


def _of_kind(name: str, op: str, value: Any, definition: Definition, place: str) -> Any:
    """The value as the attribute's kind keeps it; raises RuleViolation for a value or an operator of another kind."""
    kind, where = definition.kind, f"{place}.value"
    fitting = {
        AttributeKind.NUMBER: {"eq", "ne", *ORDERED},
        AttributeKind.DATE: {"eq", "ne", *ORDERED, *RELATIVE},
        AttributeKind.BOOLEAN: {"eq", "ne"},
        AttributeKind.CHOICE: {"eq", "ne", "in", "not_in"},
    }
    if op not in fitting[kind]:
        known = ", ".join(sorted({*fitting[kind], "exists"}))
        raise RuleViolation(f"{place}.op {op!r} does not fit {name}, a {kind}: use {known}", field=f"{place}.op")
    if op in RELATIVE:
        return value
    if isinstance(value, list):
        return [clean(name, each, definition, place=where) for each in value]
    if kind is AttributeKind.NUMBER and not isinstance(value, int | float):
        raise RuleViolation(f"{where} must be a number: {name} is one", field=where)
    return clean(name, value, definition, place=where)


def _equal(document: ColumnElement[Any], name: str, value: str) -> ColumnElement[bool]:
    """Equality by containment, which the index on attributes answers; a value may be kept as text or as itself."""
    forms: list[ColumnElement[bool]] = [document.contains(literal({name: value}, JSONB))]
    if value in ("true", "false"):
        forms.append(document.contains(literal({name: value == "true"}, JSONB)))
    return or_(*forms)


def _on_number(document: ColumnElement[Any], name: str, op: str, value: Any, place: str) -> ColumnElement[bool]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RuleViolation(f"{place}.value must be a number for {op}", field=f"{place}.value")
    if not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise RuleViolation(f"{place}.value is too large", field=f"{place}.value")
    as_text = document.op("->>")(name)
    # A value that is no number never compares: it is not an error of the rule.
    number = case(
        (func.jsonb_typeof(document.op("->")(name)) == "number", cast(as_text, Numeric)),
        else_=cast(func.substring(as_text, r"^\s*-?[0-9]+(?:\.[0-9]+)?\s*$"), Numeric),
    )
    return func.coalesce(_ordered(number, op, value, place), false())


def _on_date(as_text: ColumnElement[Any], op: str, value: Any, place: str) -> ColumnElement[bool]:
    """Dates are kept as YYYY-MM-DD, so they compare as text; what is no date never compares."""
    day = case((as_text.regexp_match(READS_AS[AttributeKind.DATE]), as_text), else_=None)
    if op in RELATIVE:
        limit = func.to_char(func.now() - literal(days(value, f"{place}.value")), "YYYY-MM-DD")
        return func.coalesce(day >= limit if op == "within_days" else day < limit, false())
    try:
        wanted = date.fromisoformat(value).isoformat()
    except ValueError as wrong:
        sentence = f"{place}.value must be a number for {op}, or a date such as 2026-10-01"
        raise RuleViolation(sentence, field=f"{place}.value") from wrong
    return func.coalesce(_ordered(day, op, wanted, place), false())
