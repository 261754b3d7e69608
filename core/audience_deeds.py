"""What people did or got, as SQLAlchemy predicates over contacts; pure.

{"did": WORD, "within_days": 30 | "since": instant, "until": instant, "campaign": id, "at_least": 1, "at_most": 3}

{"did": "event", "event": "cart_left", …}     what another system told of them

WORD: received (a message reached WhatsApp), delivered, read, failed, clicked, replied, opted_out, wrote, ordered.
`opted_out` is a stop within three days of a message. At least once unless `at_least` or `at_most` say otherwise;
`at_most` 0 is never. Clicks of programs do not count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, literal, select

from core.audience_fields import days, instant
from core.errors import RuleViolation
from core.models import Contact, ContactAction, ContactEvent, Conversion, InboundMessage, Message
from core.statuses import ConversionKind, EventKind

EVENT = "event"
KEYS = frozenset({"did", EVENT, "within_days", "since", "until", "campaign", "at_least", "at_most"})
MAX_COUNT = 10_000


@dataclass(frozen=True)
class _Source:
    """Where a deed is written: who, when, and in which campaign if it has one."""

    contact: ColumnElement[Any]
    at: ColumnElement[Any]
    campaign: ColumnElement[Any] | None
    only: ColumnElement[bool] | None = None


def _message(at: Any) -> _Source:
    return _Source(Message.contact_id.expression, at.expression, Message.campaign_id.expression)


def _action(kind: EventKind) -> _Source:
    action = ContactAction
    return _Source(
        action.contact_id.expression,
        action.occurred_at.expression,
        action.campaign_id.expression,
        action.kind == kind.value,
    )


DEEDS: dict[str, _Source] = {
    "received": _message(Message.accepted_at),
    "delivered": _message(Message.delivered_at),
    "read": _message(Message.read_at),
    "failed": _message(Message.failed_at),
    "clicked": _action(EventKind.CLICK),
    "replied": _action(EventKind.REPLY),
    "opted_out": _action(EventKind.OPT_OUT),
    "wrote": _Source(InboundMessage.contact_id.expression, InboundMessage.occurred_at.expression, None),
    "ordered": _Source(
        Conversion.contact_id.expression,
        Conversion.occurred_at.expression,
        None,
        Conversion.kind == ConversionKind.ORDER,
    ),
    EVENT: _Source(ContactEvent.contact_id.expression, ContactEvent.occurred_at.expression, None),
}


def deed(rule: Mapping[str, Any], place: str) -> ColumnElement[bool]:
    """The deed as a predicate; raises RuleViolation naming the place."""
    word = rule["did"]
    if not isinstance(word, str) or word not in DEEDS:
        raise RuleViolation(f"{place}.did must be one of {', '.join(DEEDS)}", field=f"{place}.did")
    source = DEEDS[word]
    where = [source.contact == Contact.id, *_window(source.at, rule, place)]
    if source.only is not None:
        where.append(source.only)
    if (word == EVENT) != isinstance(rule.get(EVENT), str):
        raise RuleViolation(f"{place}.event names what was told, with did: event only", field=f"{place}.event")
    if word == EVENT:
        where.append(ContactEvent.name == rule[EVENT])
    if "campaign" in rule:
        if source.campaign is None:
            raise RuleViolation(f"{place}.campaign does not fit {word}", field=f"{place}.campaign")
        where.append(source.campaign == _campaign(rule["campaign"], f"{place}.campaign"))
    least = _count(rule, "at_least", place)
    most = _count(rule, "at_most", place)
    if least is not None and most is not None and least > most:
        raise RuleViolation(f"{place}.at_least is more than at_most", field=f"{place}.at_least")
    if most is None and least in (None, 1):
        return exists(select(1).where(*where))
    if most == 0:
        return ~exists(select(1).where(*where))
    times = select(func.count()).where(*where).correlate(Contact).scalar_subquery()
    bounds = [times >= least] if least is not None else []
    bounds += [times <= most] if most is not None else []
    if least is None:  # at most so often, and at least once: who never did is not meant
        bounds.append(exists(select(1).where(*where)))
    return and_(*bounds)


def _window(at: ColumnElement[Any], rule: Mapping[str, Any], place: str) -> list[ColumnElement[bool]]:
    if "within_days" in rule and ("since" in rule or "until" in rule):
        raise RuleViolation(f"{place} has within_days or since and until, not both", field=f"{place}.within_days")
    if "within_days" in rule:
        return [at >= func.now() - literal(days(rule["within_days"], f"{place}.within_days"))]
    bounds: list[ColumnElement[bool]] = [at.is_not(None)]
    if "since" in rule:
        bounds.append(at >= instant(rule["since"], f"{place}.since"))
    if "until" in rule:
        bounds.append(at < instant(rule["until"], f"{place}.until"))
    return bounds


def _count(rule: Mapping[str, Any], name: str, place: str) -> int | None:
    value = rule.get(name)
    if value is None:
        return None
    lowest = 1 if name == "at_least" else 0
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= MAX_COUNT:
        raise RuleViolation(f"{place}.{name} must be a whole number from {lowest}", field=f"{place}.{name}")
    return value


def _campaign(value: Any, place: str) -> UUID:
    try:
        return UUID(str(value))
    except ValueError as wrong:
        raise RuleViolation(f"{place} must name a campaign by its id", field=place) from wrong
