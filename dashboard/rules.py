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
    "attributes": "Attribute",
    "tag": "Tag",
    "consent": "Consent",
    "did": "What they did",
    "audience": "Audience",
    "import": "Import",
}
TEXT_OPS = ("eq", "ne", "in", "not_in", "contains", "starts_with", "exists")
TIME_OPS = ("within_days", "before_days", "gte", "lt", "exists")
RELATIVE = ("within_days", "before_days")
CODES = ("country", "language", "time_zone")
# What a person may have done, and how it reads after "who"; `core.audience_deeds` says what each means.
DEEDS = {
    "received": "were sent a message",
    "delivered": "got a message",
    "read": "read a message",
    "clicked": "clicked a link",
    "replied": "replied to a message",
    "wrote": "wrote to us",
    "ordered": "ordered",
    "event": "did something another system told",
    "opted_out": "opted out after a message",
    "failed": "could not be reached",
}
WITH_CAMPAIGN = frozenset({"received", "delivered", "read", "clicked", "replied", "opted_out", "failed"})
STATES = {
    "subscribed": "agreed to",
    "withdrawn": "opted out of",
    "pending": "have not confirmed yet",
    "expired": "let expire their consent to",
    "none": "never said anything about",
}
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
    if field in ("consent", "audience", "import", "tag", "did"):
        return ()
    return ("in", "not_in", "exists") if field in CODES else TEXT_OPS


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
    return _membership(rule, names) or _deed(rule, names) or _condition(rule)


def _joins(part: object) -> bool:
    joined = [part.get(word) for word in ("all", "any")] if isinstance(part, dict) else []
    return any(isinstance(parts, list) and len(parts) > 1 for parts in joined)


def _membership(rule: Mapping[str, object], names: Mapping[str, str]) -> str | None:
    if "consent" in rule:
        state = str(rule.get("state", "subscribed"))
        return f"{STATES.get(state, f'consent is {state} for')} {rule['consent']}"
    if "tag" in rule:
        tags = rule["tag"] if isinstance(rule["tag"], list) else [rule["tag"]]
        return f"has the tag {' or '.join(map(str, tags))}"
    if "audience" in rule:
        return f"is in the audience “{names.get(str(rule['audience']), rule['audience'])}”"
    if "import" not in rule:
        return None
    return f"came with the import “{names.get(str(rule['import']), rule['import'])}”"


def _deed(rule: Mapping[str, object], names: Mapping[str, str]) -> str | None:
    if "did" not in rule:
        return None
    said = DEEDS.get(str(rule["did"]), str(rule["did"]))
    if rule["did"] == "event":
        said = f"did “{rule.get('event', '')}”"
    least, most = rule.get("at_least"), rule.get("at_most")
    if most == 0:
        said = f"never {said}"
    elif least not in (None, 1):
        said += f" at least {least} times"
    if most not in (None, 0):
        said += f" at most {most} times"
    if "campaign" in rule:
        said += f" of the campaign “{names.get(str(rule['campaign']), rule['campaign'])}”"
    if "within_days" in rule:
        said += f" in the last {rule['within_days']} days"
    said += f" since {str(rule['since'])[:10]}" if "since" in rule else ""
    return said + (f" until {str(rule['until'])[:10]}" if "until" in rule else "")


def _condition(rule: Mapping[str, object]) -> str:
    field, op = str(rule.get("field", "")), str(rule.get("op", ""))
    title = field.removeprefix("attributes.") if field.startswith("attributes.") else FIELDS.get(field, field).lower()
    if op == "exists":
        return f"{title} is {'known' if rule.get('value', True) else 'not known'}"
    value = rule.get("value")
    if op in RELATIVE:
        return f"{title} {'in the last' if op == 'within_days' else 'more than'} {value} days" + (
            "" if op == "within_days" else " ago"
        )
    said = " or ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{title} {operator_words(field, op)} {said}"
