"""People from another system, many at once: made or changed, a verdict for each, and again changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.attributes import Definition
from core.consent.stored import among
from core.db import MANY, expect_many
from core.errors import Conflict, RuleViolation
from core.keys import Keyring
from core.models import Contact, ContactAddress
from core.phone import Phone
from core.services import imports_erased, profiles

MOST = 10_000
Given = Mapping[str, Any]


class Verdict(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


@dataclass
class Row:
    """What became of one item; `reason` says why it was rejected."""

    verdict: Verdict
    contact_id: UUID | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Person:
    """One item with its address understood."""

    at: int
    given: Given
    kind: str
    value: str
    key: str
    number: Phone | None


async def upsert(
    session: AsyncSession,
    items: Sequence[Given],
    definitions: Mapping[str, Definition],
    *,
    region: str,
    keyring: Keyring,
) -> list[Row]:
    """One row per item, in their order; a rejected item changes nothing and stops no other. Nobody who was erased
    comes back this way.

    Each item names its person by `phone` or `user_id`. The last of several items of one person counts.
    Raises Conflict when somebody else makes one of the people at this moment.
    """
    if len(items) >= MANY:
        await expect_many(session)
    verdicts: list[Row | None] = [None] * len(items)
    good: list[_Person] = []
    for at, given in enumerate(items):
        try:
            good.append(_person(at, given, region))
        except RuleViolation as wrong:
            verdicts[at] = Row(Verdict.REJECTED, reason=wrong.message)
    gone = await imports_erased.keys_gone(session, {person.key for person in good}, keyring)
    for person in good:
        if person.key in gone:
            verdicts[person.at] = Row(Verdict.REJECTED, reason=imports_erased.WHY)
    good = [person for person in good if person.key not in gone]
    owners = await _owners(session, [person.key for person in good])
    fresh: dict[str, Contact] = {}
    for person in good:
        known = owners.get(person.key) or fresh.get(person.key)
        contact = known or Contact(attributes={}, tags=[])
        if known is None and person.number is not None:
            contact.country, contact.time_zone = person.number.country, person.number.time_zone
        try:
            changed = profiles.change(contact, person.given, definitions)
        except RuleViolation as wrong:
            verdicts[person.at] = Row(Verdict.REJECTED, reason=wrong.message)
            continue
        if known is None:
            fresh[person.key] = contact
            verdicts[person.at] = Row(Verdict.CREATED)
        else:
            verdicts[person.at] = Row(Verdict.UPDATED if changed else Verdict.UNCHANGED)
    await _write(session, fresh, good)
    for person in good:
        row = verdicts[person.at]
        owner = owners.get(person.key) or fresh.get(person.key)
        if row is not None and row.verdict is not Verdict.REJECTED and owner is not None:
            row.contact_id = owner.id
    return [row for row in verdicts if row is not None]


def _person(at: int, given: Given, region: str) -> _Person:
    number, user_id = given.get("phone"), given.get("user_id")
    if (number is None) == (user_id is None):
        raise RuleViolation("name the person by phone or by user_id")
    if user_id is not None:
        if not user_id.strip() or user_id.startswith("+") or len(user_id) > 200 or not user_id.isprintable():
            raise RuleViolation("this is no user id")
        return _Person(at, given, "bsuid", user_id.strip(), user_id.strip(), None)
    parsed = phone.parse(str(number), region=given.get("country") or region)
    return _Person(at, given, "phone", parsed.e164, parsed.match_key, parsed)


async def _owners(session: AsyncSession, keys: Sequence[str]) -> dict[str, Contact]:
    """Who owns each key now; locked, in the order of their ids."""
    owned = select(ContactAddress.match_key, ContactAddress.contact_id).where(
        among(ContactAddress.match_key, keys), ContactAddress.closed_at.is_(None)
    )
    ids: dict[str, UUID] = dict((await session.execute(owned)).all())
    people = select(Contact).where(among(Contact.id, ids.values())).order_by(Contact.id)
    found = {contact.id: contact for contact in await session.scalars(people.with_for_update(key_share=True))}
    return {key: found[contact_id] for key, contact_id in ids.items()}


async def _write(session: AsyncSession, fresh: Mapping[str, Contact], good: Sequence[_Person]) -> None:
    try:
        async with session.begin_nested():
            session.add_all(fresh.values())
            await session.flush()
            addresses = {
                person.key: {
                    "contact_id": fresh[person.key].id,
                    "kind": person.kind,
                    "value": person.value,
                    "match_key": person.key,
                }
                for person in good
                if person.key in fresh
            }
            if addresses:
                await session.execute(insert(ContactAddress), list(addresses.values()))
    except IntegrityError as raced:
        raise Conflict("somebody else is adding one of these people at this moment: repeat the call") from raced
