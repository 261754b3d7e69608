"""Somebody who was erased complains and states a number: what can still be shown, and nothing that names them.

The keyed hash of the number, kept so that it stays refused, leads to the sealed records of whoever had it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.consent import stored
from core.errors import NotFound
from core.keys import Keyring
from core.models import ConsentEvent, Contact, Message, Suppression
from core.services import contacts


@dataclass(frozen=True)
class Stub:
    """One erased tenure of a number: sealed events in order, and facts of what was sent to it, newest first."""

    contact_id: UUID
    erased_at: datetime
    events: Sequence[ConsentEvent]
    messages: Sequence[Message]


async def by_number(session: AsyncSession, number: str, *, region: str, keyring: Keyring, limit: int) -> list[Stub]:
    """The erased people who had this number, in any spelling; at most `limit` messages each.

    Raises PhoneError, and NotFound when nobody with this number was erased.
    """
    refs = keyring.address_refs(phone.parse(number, region=region).match_key)
    sealed = select(Suppression.created_seq).where(stored.among(Suppression.ref, refs))
    subjects = select(ConsentEvent.subject_id).where(ConsentEvent.seq.in_(sealed))
    gone = (Contact.id.in_(subjects), Contact.erased_at.is_not(None))
    found = []
    for person in await session.scalars(select(Contact).where(*gone).order_by(Contact.id)):
        sent = select(Message).where(Message.contact_id == person.id, Message.permitted_at.is_not(None))
        newest = await session.scalars(sent.order_by(Message.id.desc()).limit(limit))
        events = await contacts.ledger_events(session, person.id)
        if person.erased_at is not None:
            found.append(Stub(person.id, person.erased_at, events, list(newest)))
    if not found:
        raise NotFound("nobody with this number was erased here")
    return found
