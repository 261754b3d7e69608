"""What people did elsewhere: a cart left, a visit, a booking, told by the shop or the CRM; rule audiences ask for it.

An event is a name, a person and an instant, and nothing more is kept of it. One about nobody we know is not kept.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.consent.stored import among
from core.errors import RuleViolation
from core.models import Contact, ContactEvent, Link, Message
from core.phone import PhoneError
from core.services import contacts
from core.services.erasure_lock import while_nobody_is_erased

CLOCK_TOLERANCE = timedelta(minutes=5)
NAME = r"^[a-z0-9][a-z0-9_.:-]{0,63}$"
MAX_ID = 200
_PLAIN = re.compile(NAME)


@dataclass(frozen=True)
class Happened:
    """One event as it was told; the person by exactly one of the four. Without an id the same person, name and instant
    is the same event."""

    name: str
    occurred_at: datetime
    event_id: str | None = None
    contact_id: UUID | None = None
    phone: str | None = None
    user_id: str | None = None
    link_code: str | None = None


@dataclass(frozen=True)
class Recorded:
    recorded: int
    duplicates: int
    unmatched: int  # of nobody we know, and not kept


@dataclass(frozen=True)
class Known:
    """A name that was heard of: by how many events, and when last."""

    name: str
    events: int
    last_at: datetime


def named(given: str) -> str:
    """The name as it is kept: small letters, blanks as underscores; raises RuleViolation."""
    name = re.sub(r"\s+", "_", given.strip().lower())
    if not _PLAIN.fullmatch(name):
        raise RuleViolation(
            "an event's name has letters a-z, digits and _ . : - only, such as cart_left", field="event"
        )
    return name


def check(event: Happened, place: str, now: datetime) -> None:
    """Raises RuleViolation, naming `place`, for an event that cannot be right."""
    if event.occurred_at.tzinfo is None:
        raise RuleViolation(f"{place}.occurred_at needs its time zone", field=f"{place}.occurred_at")
    if event.occurred_at > now + CLOCK_TOLERANCE:
        raise RuleViolation(f"{place}.occurred_at is in the future", field=f"{place}.occurred_at")
    given = (event.contact_id, event.phone, event.user_id, event.link_code)
    if sum(each is not None for each in given) != 1:
        raise RuleViolation(f"{place}: name the person once, by contact_id, phone, user_id or link_code", field=place)


async def record(session: AsyncSession, events: Sequence[Happened], *, region: str, now: datetime) -> Recorded:
    """Keep each event of a known person once; raises RuleViolation naming the item that cannot be right."""
    for at, event in enumerate(events):
        check(event, f"items[{at}]", now)
    await while_nobody_is_erased(session)
    people = await _people(session, events, region)
    values = [
        {"name": event.name, "key": _key(event, person), "contact_id": person, "occurred_at": event.occurred_at}
        for event, person in zip(events, people, strict=True)
        if person is not None
    ]
    kept = 0
    if values:
        put = insert(ContactEvent).values(values).on_conflict_do_nothing().returning(ContactEvent.id)
        kept = len((await session.scalars(put)).all())
    return Recorded(kept, len(values) - kept, len(events) - len(values))


def _key(event: Happened, person: UUID) -> str:
    if event.event_id is not None:
        return f"id:{event.event_id}"
    said = f"{person}|{event.name}|{event.occurred_at.timestamp()}"
    return "sha256:" + hashlib.sha256(said.encode()).hexdigest()


async def _people(session: AsyncSession, events: Sequence[Happened], region: str) -> list[UUID | None]:
    """Whose each event is; None for a person nobody knows, and for who was erased."""
    codes = [event.link_code for event in events if event.link_code]
    by_link = select(Link.code, Message.contact_id).join(Message, Message.id == Link.message_id)
    by_code = {row.code: row.contact_id for row in await session.execute(by_link.where(Link.code.in_(codes)))}
    keys: list[str | None] = [match_key(event, region) for event in events]
    by_key = await contacts.owners(session, [key for key in keys if key])
    found = [
        by_code.get(event.link_code) if event.link_code else by_key.get(key) if key else event.contact_id
        for event, key in zip(events, keys, strict=True)
    ]
    ids = {person for person in found if person}
    alive = set(await session.scalars(select(Contact.id).where(among(Contact.id, ids), Contact.erased_at.is_(None))))
    return [person if person in alive else None for person in found]


def match_key(event: Happened, region: str) -> str | None:
    """By what the person is known, where they are named by a number or a user id; None otherwise."""
    if event.phone is None:
        return event.user_id
    try:
        return phone.parse(event.phone, region=region).match_key
    except PhoneError:
        return "+"  # nobody's: whose number makes no sense is nobody we know


async def forget_old(session: AsyncSession, before: datetime) -> int:
    """Delete what happened before an instant, whenever it was told; how many events."""
    gone = delete(ContactEvent).where(ContactEvent.occurred_at < before).returning(ContactEvent.id).cte("gone")
    return await session.scalar(select(func.count()).select_from(gone)) or 0


async def known(session: AsyncSession) -> list[Known]:
    """Every name that was heard of, the most frequent first."""
    count = func.count()
    rows = select(ContactEvent.name, count, func.max(ContactEvent.occurred_at)).group_by(ContactEvent.name)
    return [Known(*row) for row in await session.execute(rows.order_by(count.desc(), ContactEvent.name))]
