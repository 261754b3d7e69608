"""Routing rules: which conditions a message meets, and why it misses the others; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Annotated, Literal, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct, field

from core.consent.keywords import normalise
from core.errors import RuleViolation

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](?!\n)$")]
Word = Annotated[str, Meta(min_length=1, max_length=100)]
Shape = TypeVar("Shape")


class Hours(Struct, forbid_unknown_fields=True):
    """When somebody is there, in the organisation's time zone; until may be earlier than from (over midnight)."""

    days: list[Day]
    from_: Clock = field(name="from")
    until: Clock


class Conditions(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What has to be so, all of it; a rule without conditions fits every message."""

    words: Annotated[list[Word], Meta(max_length=50)] = []  # any of them
    match: Literal["contains", "equals"] = "contains"
    payloads: Annotated[list[Word], Meta(max_length=50)] = []  # of a tapped button; `menu:*` is any that starts so
    outside_hours: Hours | None = None
    first_message: bool = False  # the person never wrote to this number before
    sender_id: UUID | None = None
    languages: Annotated[list[Word], Meta(max_length=50)] = []  # of the contact, such as de


class Actions(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What then happens; at least one of them."""

    reply: Annotated[str, Meta(max_length=1000)] | None = None  # may hold {name} and {brand}
    tag: Annotated[str, Meta(min_length=1, max_length=60)] | None = None
    hand_over: bool = False  # the conversation waits for a person, marked


@dataclass(frozen=True)
class Situation:
    """A message, as rules look at it; `at` is aware."""

    text: str | None
    payload: str | None
    at: datetime
    zone: str
    is_first: bool
    sender_id: UUID | None
    language: str | None


def read(raw: object, shape: type[Shape]) -> Shape:
    """Stored conditions or actions."""
    return msgspec.convert(raw, shape)


def check(conditions: Conditions, actions: Actions) -> None:
    """Raises RuleViolation for a rule that could do nothing or never fit."""
    if not (actions.reply and actions.reply.strip()) and actions.tag is None and not actions.hand_over:
        raise RuleViolation("a rule replies, tags or hands over: choose at least one", field="actions")
    if any(not normalise(word) for word in conditions.words):
        raise RuleViolation("a word holds at least one letter or digit", field="conditions.words")
    if conditions.outside_hours is not None and not conditions.outside_hours.days:
        raise RuleViolation("choose the days on which somebody is there", field="conditions.outside_hours.days")
    hours = conditions.outside_hours
    if hours is not None and hours.from_ == hours.until:
        raise RuleViolation("the hours need a beginning and a later end", field="conditions.outside_hours.until")


def misses(conditions: Conditions, situation: Situation) -> list[str]:
    """Why a rule does not fit, a sentence per condition that is not met; empty when it fits."""
    found = []
    if conditions.words and not _says(conditions, situation.text):
        how = "equals" if conditions.match == "equals" else "contains"
        found.append(f"the text {how} none of: {', '.join(conditions.words)}")
    if conditions.payloads and not _tapped(conditions.payloads, situation.payload):
        found.append(f"no button with {', '.join(conditions.payloads)} was tapped")
    if conditions.outside_hours is not None and is_within(conditions.outside_hours, situation.at, situation.zone):
        found.append("it is within the hours")
    if conditions.first_message and not situation.is_first:
        found.append("the person has written before")
    if conditions.sender_id is not None and conditions.sender_id != situation.sender_id:
        found.append("it came to another number")
    spoken = (situation.language or "").replace("-", "_").split("_")[0].lower()
    if conditions.languages and spoken not in {each.lower() for each in conditions.languages}:
        found.append(f"the contact's language is none of: {', '.join(conditions.languages)}")
    return found


def is_within(hours: Hours, at: datetime, zone: str) -> bool:
    """Whether an instant lies within the hours, which may run over midnight and then belong to the day they began."""
    local = at.astimezone(ZoneInfo(zone))
    starts, ends = time.fromisoformat(hours.from_), time.fromisoformat(hours.until)
    today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
    if starts < ends:
        return today in hours.days and starts <= local.time() < ends
    return (today in hours.days and local.time() >= starts) or (yesterday in hours.days and local.time() < ends)


def fill(text: str, *, name: str | None, brand: str) -> str:
    """A rule's reply with the person's name and the brand in it."""
    return text.replace("{name}", name or "").replace("{brand}", brand).strip()


def _says(conditions: Conditions, text: str | None) -> bool:
    said = normalise(text or "")
    wanted = [normalise(word) for word in conditions.words]
    if conditions.match == "equals":
        return said in wanted
    return any(_holds(said, word) for word in wanted)


def _holds(said: str, word: str) -> bool:
    """Whole words where a script parts them by spaces; anywhere in the text where it does not."""
    return f" {word} " in f" {said} " or (not word.isascii() and not _is_spaced(word) and word in said)


def _is_spaced(word: str) -> bool:
    return all(ord(character) < 0x0E00 for character in word)  # Thai, kana, Han and what follows are not


def _tapped(payloads: Sequence[str], payload: str | None) -> bool:
    return payload is not None and any(
        payload.startswith(each[:-1]) if each.endswith("*") else payload == each for each in payloads
    )
