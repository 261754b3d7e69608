"""Another system's JSON as our items: which fields there are, and what each must look like."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation, Overflow
from typing import Any
from uuid import UUID

import msgspec

from core import paths, phone
from core.attributes import MAX_NAME
from core.errors import RuleViolation
from core.paths import MISSING, Expression, Path
from core.services import events
from core.services.conversions import Sale
from core.services.events import Happened
from core.shapes import CURRENCY, Country, Language, Name, Zone
from core.statuses import ConversionKind, SourceMakes

CONTACT_FIELDS = {
    "phone": "the number, in any spelling",
    "user_id": "WhatsApp's own id of the person, instead of a number",
    "name": "the name",
    "language": "such as de or pt_BR",
    "country": "two capital letters, such as DE",
    "time_zone": "such as Europe/Berlin",
    "tags": "a list, or texts parted by commas",
    "member": "true puts on the list, false takes off",
}
ORDER_FIELDS = {
    "order_id": "the shop's id of the order",
    "occurred_at": "when: ISO 8601 with its zone, or seconds or milliseconds since 1970",
    "amount": "in units of the currency, such as 12.50; never negative",
    "currency": "three capital letters, such as EUR",
    "kind": "order or refund; order when it is left out",
    "refund_id": "the shop's id of a refund",
    "phone": "whose it is: the number",
    "link_code": "whose it is: kairan_code of the link they followed",
    "contact_id": "whose it is: our id of the person",
}
EVENT_FIELDS = {
    "event": "what they did, such as cart_left; =cart_left when it is always the same",
    "occurred_at": "when: ISO 8601 with its zone, or seconds or milliseconds since 1970",
    "event_id": "the sender's id of it, so that it counts once",
    "phone": "who did it: the number",
    "user_id": "who did it: WhatsApp's own id",
    "link_code": "who did it: kairan_code of the link they followed",
    "contact_id": "who did it: our id of the person",
}
FIELDS = {
    SourceMakes.CONTACT: CONTACT_FIELDS,
    SourceMakes.ORDER: ORDER_FIELDS,
    SourceMakes.EVENT: EVENT_FIELDS,
}
NEEDED = {
    SourceMakes.CONTACT: (),
    SourceMakes.ORDER: ("order_id", "occurred_at", "amount", "currency"),
    SourceMakes.EVENT: ("event", "occurred_at"),
}
ATTRIBUTE = "attributes."
MAX_FIELDS = 100
MAX_ITEMS = 1000
MICROS = 1_000_000
_YEARS = range(2000, 2101)
_LOOKS: dict[str, tuple[Any, str]] = {
    "name": (Name, "a text of at most 200 characters"),
    "language": (Language, "a language code, such as de or pt_BR"),
    "country": (Country, "a country's two capital letters, such as DE"),
    "time_zone": (Zone, "a zone such as Europe/Berlin"),
}


@dataclass(frozen=True)
class Reading:
    """A mapping that was checked."""

    makes: SourceMakes
    fields: Mapping[str, Expression]
    items: Path | None


@dataclass(frozen=True)
class Person:
    """One person as `upserts.upsert` takes it; `member` is what the mapped field says, null when it says nothing."""

    given: dict[str, Any]
    member: bool | None
    key: str | None  # match key of the number, or the user id


Item = Person | Sale | Happened


def compiled(makes: SourceMakes, mapping: Mapping[str, str], items: str | None) -> Reading:
    """The mapping, ready to read with; raises RuleViolation naming the field."""
    known = FIELDS[makes]
    if len(mapping) > MAX_FIELDS:
        raise RuleViolation(f"a mapping has at most {MAX_FIELDS} fields", field="mapping")
    for name in mapping:
        attribute = name.removeprefix(ATTRIBUTE) if makes is SourceMakes.CONTACT and name.startswith(ATTRIBUTE) else ""
        if name not in known and not (attribute.strip() and len(attribute) <= MAX_NAME and attribute.isprintable()):
            more = " or attributes.NAME" if makes is SourceMakes.CONTACT else ""
            raise RuleViolation(f"there is no field {name!r}: use {', '.join(known)}{more}", field=f"mapping.{name}")
    for name in NEEDED[makes]:
        if name not in mapping:
            raise RuleViolation(f"map {name} too: without it there is no {makes.value}", field=f"mapping.{name}")
    if makes is SourceMakes.CONTACT and ("phone" in mapping) == ("user_id" in mapping):
        raise RuleViolation("map phone, or else user_id: it says who the person is", field="mapping.phone")
    if makes is SourceMakes.EVENT and not {"phone", "user_id", "link_code", "contact_id"} & mapping.keys():
        raise RuleViolation("map phone, user_id, link_code or contact_id: it says who did it", field="mapping.phone")
    fields = {name: paths.parse(text, place=f"mapping.{name}") for name, text in mapping.items()}
    return Reading(makes, fields, paths.parse_path(items, place="items") if items else None)


def decoded(body: bytes) -> Any:
    """The JSON; raises RuleViolation with what is wrong with it."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise RuleViolation("the body is no JSON in UTF-8") from wrong
    except RecursionError as deep:
        raise RuleViolation("the body is nested too deep") from deep
    if b"\\u0000" in body and _holds_nul(document):
        raise RuleViolation("a text in the body holds a NUL character, which cannot be kept")
    return document


def items_of(document: Any, items: Path | None) -> list[Any]:
    """What the body holds, each to be read on its own; raises RuleViolation."""
    if items is None:
        return [document]
    found = paths.walk(document, items)
    if not isinstance(found, list):
        raise RuleViolation("there is no list at the path of the items")
    if len(found) > MAX_ITEMS:
        raise RuleViolation(f"the list holds more than {MAX_ITEMS:,} items")
    return found


def read(mapping: Reading, item: Any, *, region: str) -> Item:
    """One item as ours; raises RuleViolation with the reason."""
    if not isinstance(item, dict):
        raise RuleViolation("the item is no JSON object")
    values = {name: value for name, path in mapping.fields.items() if (value := path.read(item)) is not MISSING}
    if mapping.makes is SourceMakes.CONTACT:
        return _person(values, region)
    given = {name: value for name, value in values.items() if value is not None}
    for name in NEEDED[mapping.makes]:
        if name not in given:
            raise RuleViolation(f"{name} is missing", field=name)
    return _sale(given) if mapping.makes is SourceMakes.ORDER else _happened(given)


def shown(item: Item) -> dict[str, Any]:
    """What was read, for people to look at."""
    if isinstance(item, Person):
        return item.given if item.member is None else {**item.given, "member": item.member}
    return {name: value for name, value in msgspec.to_builtins(asdict(item)).items() if value is not None}


def _person(values: Mapping[str, Any], region: str) -> Person:
    given: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith(ATTRIBUTE):
            attributes[name.removeprefix(ATTRIBUTE)] = value
        elif name == "tags":
            given[name] = _tags(value)
        elif name in ("phone", "user_id"):
            if value is not None:
                given[name] = _text(name, value)
        elif name != "member":
            given[name] = _field(name, value)
    if attributes:
        given["attributes"] = attributes
    number = given.get("phone")
    key: str | None = given.get("user_id")
    if number is not None:
        key = phone.parse(number, region=given.get("country") or region).match_key
    return Person(given, _truth("member", values.get("member")), key)


def _field(name: str, value: Any) -> str | None:
    if value is None:
        return None
    kind, look = _LOOKS[name]
    try:
        text: str = msgspec.convert(_text(name, value), kind)
    except msgspec.ValidationError as wrong:
        raise RuleViolation(f"{name} must be {look}", field=name) from wrong
    return text


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RuleViolation(f"{name}: the path leads to no text", field=name)
    return str(value).strip()


def _tags(value: Any) -> list[str]:
    texts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else None
    if value is None:
        return []
    if texts is None or not all(isinstance(each, str) for each in texts):
        raise RuleViolation("tags: the path leads to no list of texts, nor to texts parted by commas", field="tags")
    return [each.strip() for each in texts if each.strip()]


def _truth(name: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in ("true", "false", "yes", "no", "1", "0"):
        raise RuleViolation(f"{name} must be true or false", field=name)
    return word in ("true", "yes", "1")


def _sale(values: Mapping[str, Any]) -> Sale:
    currency = _text("currency", values["currency"]).upper()
    if not re.match(CURRENCY, currency):
        raise RuleViolation("currency must be three capital letters, such as EUR", field="currency")
    return Sale(
        kind=_as(ConversionKind, _text("kind", values.get("kind", "order")).lower(), "kind is order or refund"),
        order_id=_short("order_id", values["order_id"]),
        refund_id=_short("refund_id", values["refund_id"]) if "refund_id" in values else None,
        occurred_at=_instant(values["occurred_at"]),
        amount_micros=_micros(values["amount"]),
        currency=currency,
        **_whose(values),
    )


def _happened(values: Mapping[str, Any]) -> Happened:
    whose = _whose(values)
    if not whose:
        raise RuleViolation("it names nobody: phone, user_id, link_code or contact_id", field="phone")
    return Happened(
        name=events.named(_text("event", values["event"])),
        occurred_at=_instant(values["occurred_at"]),
        event_id=_short("event_id", values["event_id"]) if "event_id" in values else None,
        **whose,
    )


def _whose(values: Mapping[str, Any]) -> dict[str, Any]:
    """The surest way to name the person; the others are left aside."""
    name = next((name for name in ("contact_id", "link_code", "user_id", "phone") if name in values), None)
    if name is None:
        return {}
    text = _text(name, values[name])
    return {name: _as(UUID, text, "contact_id is no id") if name == "contact_id" else text}


def _short(name: str, value: Any) -> str:
    text = _text(name, value)
    if not 1 <= len(text) <= 200:
        raise RuleViolation(f"{name} has 1 to 200 characters", field=name)
    return text


def _instant(value: Any) -> datetime:
    """An instant with its zone; numbers above 10^11 are milliseconds."""
    wrong = RuleViolation("occurred_at must be a time with its zone, such as 2026-11-22T10:00:00+01:00")
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            at = datetime.fromtimestamp(value / 1000 if value > 10**11 else value, UTC)
        else:
            at = datetime.fromisoformat(_text("occurred_at", value))
    except (ValueError, OverflowError, OSError) as bad:
        raise wrong from bad
    if at.tzinfo is None or at.year not in _YEARS:
        raise wrong
    return at


def _micros(value: Any) -> int:
    wrong = RuleViolation("amount must be a number such as 12.50", field="amount")
    try:
        amount = Decimal(_text("amount", value)) * MICROS
    except (InvalidOperation, Overflow) as bad:
        raise wrong from bad
    if not amount.is_finite() or abs(amount) > 10**18:
        raise wrong
    return int(amount.to_integral_value())


def _as(kind: Callable[[str], Any], text: str, sentence: str) -> Any:
    try:
        return kind(text)
    except ValueError as wrong:
        raise RuleViolation(sentence) from wrong


def _holds_nul(document: Any) -> bool:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            return True
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
    return False
