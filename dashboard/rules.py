"""Audience rules: rows of field, operator and value into the API's filter tree, and the tree as a sentence; pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dashboard import words
from dashboard.payloads import Json

FIELDS = {
    "country": "Country",
    "language": "Language",
    "time_zone": "Time zone",
    "name": "Name",
    "created_at": "First seen",
    "last_seen_at": "Last seen",
    "attributes": "Imported column",
    "consent": "Consent",
    "audience": "Audience",
}
TEXT_OPS = ("eq", "ne", "in", "not_in", "contains", "starts_with", "exists")
TIME_OPS = ("gte", "lt", "exists")
NUMBER_WORDS = {"gt": "is more than", "gte": "is at least", "lt": "is less than", "lte": "is at most"}


class Row(NamedTuple):
    """One line of the builder. `column` is the attribute's name; consent and audience rows use only `value`."""

    field: str
    op: str
    value: str
    column: str = ""


def operators(field: str) -> tuple[str, ...]:
    """What may be asked of a field, most useful first."""
    if field in ("created_at", "last_seen_at"):
        return TIME_OPS
    if field == "attributes":
        return (*TEXT_OPS, "gt", "gte", "lt", "lte")
    return () if field in ("consent", "audience") else TEXT_OPS


def operator_words(field: str, op: str) -> str:
    """An operator as it reads after this field: dates come before and after, numbers are more and less."""
    return NUMBER_WORDS[op] if field.startswith("attributes") and op in NUMBER_WORDS else words.OPERATORS.get(op, op)


def is_complete(row: Row) -> bool:
    if row.field == "attributes" and not row.column:
        return False
    if row.field == "attributes" and row.op in NUMBER_WORDS:
        return _number(row.value) is not None
    return row.op == "exists" or bool(row.value)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else number


def _value(row: Row) -> object:
    if row.op == "exists":
        return True
    if row.op in ("in", "not_in"):
        return [part.strip() for part in row.value.split(",") if part.strip()]
    if row.field == "attributes" and row.op in NUMBER_WORDS:
        return _number(row.value)
    return row.value


def leaf(row: Row) -> Json:
    if row.field in ("consent", "audience"):
        return {row.field: row.value}
    field = f"attributes.{row.column}" if row.field == "attributes" else row.field
    return {"field": field, "op": row.op, "value": _value(row)}


def tree(rows: Sequence[Row], joined_by: str) -> Json:
    """The API's filter tree of the complete rows; `joined_by` is all or any."""
    return {joined_by: [leaf(row) for row in rows if is_complete(row)]}


def sentence(rule: object, names: Mapping[str, str] | None = None) -> str:
    """A filter tree in words; `names` gives audiences' names by id. What is unknown is said, not hidden."""
    if not isinstance(rule, dict) or not rule:
        return "a rule this page cannot read"
    names = names or {}
    for word, joint in (("all", " and "), ("any", " or ")):
        parts = rule.get(word)
        if isinstance(parts, list):
            said = [f"({sentence(p, names)})" if _joins(p) else sentence(p, names) for p in parts]
            return joint.join(said) or "anything"
    if "not" in rule:
        return f"not ({sentence(rule['not'], names)})"
    return _membership(rule, names) or _condition(rule)


def _joins(part: object) -> bool:
    joined = [part.get(word) for word in ("all", "any")] if isinstance(part, dict) else []
    return any(isinstance(parts, list) and len(parts) > 1 for parts in joined)


def _membership(rule: Mapping[str, object], names: Mapping[str, str]) -> str | None:
    if "consent" in rule:
        return f"agreed to {rule['consent']}"
    if "audience" in rule:
        return f"is in the audience “{names.get(str(rule['audience']), rule['audience'])}”"
    return f"came with the import {rule['import']}" if "import" in rule else None


def _condition(rule: Mapping[str, object]) -> str:
    field, op = str(rule.get("field", "")), str(rule.get("op", ""))
    title = field.removeprefix("attributes.") if field.startswith("attributes.") else FIELDS.get(field, field).lower()
    if op == "exists":
        return f"{title} is {'known' if rule.get('value', True) else 'not known'}"
    value = rule.get("value")
    said = " or ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{title} {operator_words(field, op)} {said}"
