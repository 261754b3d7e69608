"""Contacts: find by any spelling of a number, look at, search."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.consent.stored import among
from core.errors import NotFound
from core.models import ConsentEvent, ConsentState, Contact, ContactAddress, Message
from core.phone import PhoneError
from core.services import tenures
from core.services.paging import Page, page

NUMBER_KINDS = ("phone", "wa_id")
_NUMBERISH = re.compile(r"[\s+()./\-\d]*(?:\d[\s()./\-]*){6,}")  # more a number than a name


async def get(session: AsyncSession, contact_id: UUID, *, lock: bool = False) -> Contact:
    """The contact; raises NotFound."""
    contact = await session.get(Contact, contact_id, with_for_update=lock)
    if contact is None:
        raise NotFound("no such contact", contact_id=str(contact_id))
    return contact


async def owners(session: AsyncSession, match_keys: Sequence[str]) -> dict[str, UUID]:
    """Who owns each match key now; keys nobody owns are absent."""
    open_ones = (among(ContactAddress.match_key, match_keys), ContactAddress.closed_at.is_(None))
    rows = await session.execute(select(ContactAddress.match_key, ContactAddress.contact_id).where(*open_ones))
    return {row.match_key: row.contact_id for row in rows}


async def find(session: AsyncSession, number: str, *, region: str) -> Contact:
    """The contact who owns this number, in any spelling; raises NotFound or PhoneError."""
    parsed = phone.parse(number, region=region)
    found = await owners(session, [parsed.match_key])
    if parsed.match_key not in found:
        raise NotFound("nobody here has this number")
    return await get(session, found[parsed.match_key])


async def addresses(session: AsyncSession, contact_ids: Sequence[UUID]) -> dict[UUID, list[ContactAddress]]:
    """The open addresses of each contact, oldest first."""
    statement = (
        select(ContactAddress)
        .where(ContactAddress.contact_id.in_(contact_ids), ContactAddress.closed_at.is_(None))
        .order_by(ContactAddress.id)
    )
    found: dict[UUID, list[ContactAddress]] = {contact_id: [] for contact_id in contact_ids}
    for address in await session.scalars(statement):
        found[address.contact_id].append(address)
    return found


def masked(addresses_of: Sequence[ContactAddress]) -> str | None:
    """The first number with all but its last digits hidden; None for a person without a number."""
    for address in addresses_of:
        if address.kind in NUMBER_KINDS:
            return phone.mask(address.value)
    return None


async def masked_numbers(session: AsyncSession, contact_ids: Sequence[UUID]) -> dict[UUID, str | None]:
    found = await addresses(session, contact_ids)
    return {contact_id: masked(rows) for contact_id, rows in found.items()}


async def names(session: AsyncSession, contact_ids: Sequence[UUID]) -> dict[UUID, str | None]:
    rows = await session.execute(select(Contact.id, Contact.name).where(Contact.id.in_(contact_ids)))
    return {row.id: row.name for row in rows}


def _readings(number: str, region: str) -> list[str]:
    """Match keys of what the number may mean: bare digits may be a country's own or begin with a country's prefix."""
    keys = [phone.parse(number, region=region).match_key]
    if not number.strip().startswith(("+", "0")):
        try:
            keys.append(phone.parse(f"+{number.strip()}", region=region).match_key)
        except PhoneError:  # then it means the first only
            return keys
    return keys


def _as_id(words: str) -> UUID | None:
    try:
        return UUID(words.strip())
    except ValueError:
        return None


async def search(
    session: AsyncSession, *, number: str | None, words: str | None, region: str, limit: int, cursor: str | None
) -> Page[Contact]:
    """Contacts by number in any spelling; `words` are a part of their name, a number, or an id."""
    statement = select(Contact)
    if words and (contact_id := _as_id(words)) is not None:
        statement, words = statement.where(Contact.id == contact_id), None
    elif words and number is None and _NUMBERISH.fullmatch(words):
        number, words = words, None
    if number is not None:
        found = await owners(session, _readings(number, region))
        statement = statement.where(Contact.id.in_(found.values()))
    if words:
        statement = statement.where(Contact.name.icontains(words, autoescape=True))
    return await page(session, statement, Contact.id.expression, limit=limit, cursor=cursor)


async def messages_of(session: AsyncSession, contact_id: UUID, *, limit: int, cursor: str | None) -> Page[Message]:
    await get(session, contact_id)
    statement = select(Message).where(Message.contact_id == contact_id)
    return await page(session, statement, Message.id.expression, limit=limit, cursor=cursor)


async def resolve_inbound(
    session: AsyncSession, *, wa_id: str | None, user_id: str | None, name: str | None, now: datetime
) -> Contact | None:
    """The contact behind an inbound message, found by user id, then by number; made when nobody is known.

    A user id seen for the first time on a known number is linked to its owner, unless that one is known by another:
    then the number has a new holder, and the old tenure ends. Who speaks under a user id whose tenure has ended speaks
    for the past (a late or repeated message). None when the message names nobody.
    """
    number = phone.parse(f"+{wa_id.lstrip('+')}", region="ZZ") if wa_id else None
    keys = [key for key in (user_id, number.match_key if number else None) if key]
    if not keys:
        return None
    found = await owners(session, keys)
    if user_id and user_id not in found and (former := await tenures.ended_with(session, user_id)) is not None:
        return await get(session, former)
    if number is not None and user_id and await _is_taken_over(session, found, number.match_key, user_id):
        await tenures.end(session, found.pop(number.match_key), now=now)
    contact_id = next((found[key] for key in keys if key in found), None)
    if contact_id is None:
        contact = Contact(
            name=name, country=number.country if number else None, time_zone=number.time_zone if number else None
        )
        session.add(contact)
        await session.flush()
        contact_id = contact.id
    if number is not None and number.match_key not in found:
        session.add(ContactAddress(contact_id=contact_id, kind="phone", value=number.e164, match_key=number.match_key))
    if user_id and user_id not in found:
        session.add(ContactAddress(contact_id=contact_id, kind="bsuid", value=user_id, match_key=user_id))
    await session.flush()
    return await get(session, contact_id)


async def _is_taken_over(session: AsyncSession, found: Mapping[str, UUID], match_key: str, user_id: str) -> bool:
    """Whether the number's owner is known by another account than the one that writes now."""
    holder = found.get(match_key)
    if holder is None or found.get(user_id) == holder:
        return False
    return await tenures.has_another_account(session, holder, user_id)


async def consent_states(session: AsyncSession, contact_id: UUID) -> list[ConsentState]:
    """What the contact allows now, by purpose."""
    statement = select(ConsentState).where(ConsentState.contact_id == contact_id).order_by(ConsentState.purpose)
    return list(await session.scalars(statement))


async def ledger_events(session: AsyncSession, contact_id: UUID) -> list[ConsentEvent]:
    """The contact's sealed events, oldest first."""
    statement = select(ConsentEvent).where(ConsentEvent.subject_id == contact_id).order_by(ConsentEvent.seq)
    return list(await session.scalars(statement))


async def find_or_make(session: AsyncSession, number: str, *, region: str) -> UUID:
    """The owner of this number in any spelling, or a new contact who has it; raises PhoneError."""
    parsed = phone.parse(number, region=region)
    found = await owners(session, [parsed.match_key])
    if parsed.match_key in found:
        return found[parsed.match_key]
    contact = Contact(country=parsed.country, time_zone=parsed.time_zone)
    session.add(contact)
    await session.flush()
    session.add(ContactAddress(contact_id=contact.id, kind="phone", value=parsed.e164, match_key=parsed.match_key))
    await session.flush()
    return contact.id
