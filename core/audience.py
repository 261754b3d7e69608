"""Filter tree → SQLAlchemy predicate over contacts; pure.

{"all": [rule, …]} | {"any": [rule, …]} | {"not": rule}
{"field": "country", "op": "in", "value": ["BR", "DE"]}     fields of the contact, or attributes.NAME
{"consent": "marketing"}                                    subscribed for the purpose, as far as the cache knows
{"audience": id} | {"import": id}                           members of another audience, rows of an import
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Numeric,
    Text,
    and_,
    any_,
    cast,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.consent.state import State
from core.errors import RuleViolation
from core.models import AudienceMember, ConsentState, Contact, ImportRow

Rule = Mapping[str, Any]
MAX_DEPTH = 10
MAX_RULES = 200
MAX_NUMBER = 10**15  # of an attribute compared as a number

TEXT_FIELDS: dict[str, ColumnElement[Any]] = {
    "name": Contact.name.expression,
    "country": Contact.country.expression,
    "language": Contact.language.expression,
    "time_zone": Contact.time_zone.expression,
}
TIME_FIELDS: dict[str, ColumnElement[Any]] = {
    "created_at": Contact.created_at.expression,
    "last_seen_at": Contact.last_seen_at.expression,
}
ATTRIBUTE = "attributes."
ORDERED = frozenset({"gt", "gte", "lt", "lte"})


def compile_rule(rule: Rule) -> ColumnElement[bool]:
    """The rule as a predicate on `contacts`, living people only; raises RuleViolation naming the place."""
    counter = [0]
    return and_(Contact.erased_at.is_(None), Contact.closed_at.is_(None), _compile(rule, "rule", 0, counter))


def _compile(rule: Any, place: str, depth: int, counter: list[int]) -> ColumnElement[bool]:
    counter[0] += 1
    if not isinstance(rule, Mapping):
        raise RuleViolation(f"{place} must be an object", field=place)
    if depth > MAX_DEPTH or counter[0] > MAX_RULES:
        raise RuleViolation(f"{place} is nested too deeply or too long", field=place)
    keys = set(rule)
    if keys in ({"all"}, {"any"}):
        word = next(iter(keys))
        parts = rule[word]
        if not isinstance(parts, list):
            raise RuleViolation(f"{place}.{word} must be a list", field=f"{place}.{word}")
        compiled = [_compile(part, f"{place}.{word}[{at}]", depth + 1, counter) for at, part in enumerate(parts)]
        return and_(true(), *compiled) if word == "all" else or_(false(), *compiled)
    if keys == {"not"}:
        return not_(_compile(rule["not"], f"{place}.not", depth + 1, counter))
    if keys == {"consent"}:
        if not isinstance(rule["consent"], str):
            raise RuleViolation(f"{place}.consent must name a purpose", field=f"{place}.consent")
        return _subscribed(rule["consent"])
    if keys == {"audience"}:
        member = AudienceMember.audience_id == _id(rule["audience"], place)
        return exists(select(1).where(member, AudienceMember.contact_id == Contact.id))
    if keys == {"import"}:
        row = ImportRow.import_id == _id(rule["import"], place)
        return Contact.id.in_(select(ImportRow.contact_id).where(row, ImportRow.contact_id.is_not(None)))
    if {"field", "op"} <= keys <= {"field", "op", "value"}:
        return _comparison(rule, place)
    raise RuleViolation(f"{place} has unknown keys {sorted(keys)}", field=place)


def _subscribed(purpose: str) -> ColumnElement[bool]:
    state = and_(
        ConsentState.contact_id == Contact.id,
        ConsentState.purpose == purpose,
        ConsentState.state == State.SUBSCRIBED,
        or_(ConsentState.expires_at.is_(None), ConsentState.expires_at > func.now()),
    )
    return exists(select(1).where(state))


def _comparison(rule: Rule, place: str) -> ColumnElement[bool]:
    field, op, value = rule["field"], rule["op"], rule.get("value")
    if not isinstance(field, str) or not isinstance(op, str):
        raise RuleViolation(f"{place}.field and {place}.op must be texts", field=place)
    if field in TEXT_FIELDS:
        return _on_text(TEXT_FIELDS[field], op, value, place)
    if field in TIME_FIELDS:
        return _on_time(TIME_FIELDS[field], op, value, place)
    if field.startswith(ATTRIBUTE) and len(field) > len(ATTRIBUTE):
        return _on_attribute(field[len(ATTRIBUTE) :], op, value, place)
    known = [*TEXT_FIELDS, *TIME_FIELDS, "attributes.NAME"]
    raise RuleViolation(f"{place}.field {field!r} is unknown; use one of {', '.join(known)}", field=f"{place}.field")


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
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError as wrong:
        raise RuleViolation(
            f"{place}.value must be a time such as 2026-10-01T00:00:00Z", field=f"{place}.value"
        ) from wrong
    if instant.tzinfo is None:
        raise RuleViolation(f"{place}.value needs a zone, such as a Z at its end", field=f"{place}.value")
    try:
        utc = instant.astimezone(UTC)
    except OverflowError as beyond:
        raise RuleViolation(f"{place}.value is out of range", field=f"{place}.value") from beyond
    return _ordered(column, op, utc, place)


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


def _on_attribute(name: str, op: str, value: Any, place: str) -> ColumnElement[bool]:
    document = cast(Contact.attributes, JSONB)
    if op == "exists":
        present: ColumnElement[bool] = document.has_key(name)
        return present if value is not False else not_(present)
    if op in ORDERED or (isinstance(value, int | float) and not isinstance(value, bool)):
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise RuleViolation(f"{place}.value must be a number for {op}", field=f"{place}.value")
        if not -MAX_NUMBER <= value <= MAX_NUMBER:
            raise RuleViolation(f"{place}.value is too large", field=f"{place}.value")
        as_text = document[name].astext
        # A value that is no number never compares: it is not an error of the rule.
        number = cast(func.substring(as_text, r"^\s*-?[0-9]+(?:\.[0-9]+)?\s*$"), Numeric)
        return func.coalesce(_ordered(number, op, value, place), false())
    if isinstance(value, bool):
        value = "true" if value else "false"
    return func.coalesce(_on_text(document[name].astext, op, value, place), op in ("ne", "not_in"))


def _id(value: Any, place: str) -> UUID:
    try:
        return UUID(str(value))
    except ValueError as wrong:
        raise RuleViolation(f"{place} must name an id", field=place) from wrong


def references(rule: Any) -> set[UUID]:
    """Audiences a rule refers to, to refuse circles."""
    if isinstance(rule, list):
        return set().union(*(references(part) for part in rule))
    if isinstance(rule, Mapping):
        own = {UUID(str(rule["audience"]))} if set(rule) == {"audience"} else set()
        return own.union(*(references(part) for part in rule.values()))
    return set()
