"""What is left of somebody who was erased: found by the number they state, and nothing that names them.

The keyed hash of the number, kept so that it stays refused, leads to the sealed records of whoever had it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.consent import stored
from core.errors import Conflict, NotFound
from core.keys import Keyring
from core.models import ConsentEvent, Contact, Erasure, Message, SealedRecord, Suppression
from core.services import contacts, holding, imports_erased

GONE = "the person with this number was erased: only they can begin again, by writing to you"


@dataclass(frozen=True)
class Stub:
    """One erased tenure of a number: sealed events in order, and facts of what was sent to it, newest first.

    After a database was restored and recovered there may be neither: then what is known is that they were erased.
    """

    contact_id: UUID
    erased_at: datetime
    reason: str  # erasure when it was asked for, retention when its time was over
    cause: str | None  # the request's id, or one made up; null for those erased long ago
    events: Sequence[ConsentEvent]
    messages: Sequence[Message]
    held: SealedRecord | None  # what a country's rule keeps sealed for a while


@dataclass(frozen=True)
class Standing:
    """How it stands with a number nobody has any more because its person was erased."""

    contact_id: UUID
    seq: int  # the event that says that they are gone
    erased_at: datetime


async def standing(session: AsyncSession, number: str, *, region: str, keyring: Keyring) -> Standing | None:
    """The erased person whose number this was, while nobody has it anew; None for every other number.

    Raises PhoneError, and Conflict when it is not known any more whose it was.
    """
    key = phone.parse(number, region=region).match_key
    if not await imports_erased.keys_gone(session, {key}, keyring):
        return None
    found = await _erasures(session, keyring.address_refs(key))
    if not found:  # never taken for a number nobody was erased with
        raise Conflict(GONE)
    return Standing(found[-1].contact_id, found[-1].seq, found[-1].erased_at)


async def by_number(session: AsyncSession, number: str, *, region: str, keyring: Keyring, limit: int) -> list[Stub]:
    """The erased people who had this number, in any spelling; at most `limit` messages each.

    Raises PhoneError, and NotFound when nobody with this number was erased.
    """
    refs = keyring.address_refs(phone.parse(number, region=region).match_key)
    known = {each.contact_id: each for each in await _erasures(session, refs)}
    sealed = select(Suppression.created_seq).where(stored.among(Suppression.ref, refs))
    subjects = select(ConsentEvent.subject_id).where(ConsentEvent.seq.in_(sealed))
    gone = (or_(Contact.id.in_(subjects), stored.among(Contact.id, known)), Contact.erased_at.is_not(None))
    ids = {*known, *await session.scalars(select(Contact.id).where(*gone))}
    stubs = [await _stub(session, contact_id, known.get(contact_id), limit) for contact_id in sorted(ids)]
    if not stubs:
        raise NotFound("nobody with this number was erased here")
    return stubs


async def _erasures(session: AsyncSession, refs: Sequence[str]) -> list[Erasure]:
    """Erasures of whoever had the address, oldest first; `refs` are its hashes under every key."""
    named = or_(*(Erasure.refs.contains([[ref]]) for ref in refs))
    return list(await session.scalars(select(Erasure).where(named).order_by(Erasure.id)))


async def _stub(session: AsyncSession, contact_id: UUID, erasure: Erasure | None, limit: int) -> Stub:
    sent = select(Message).where(Message.contact_id == contact_id, Message.permitted_at.is_not(None))
    newest = await session.scalars(sent.order_by(Message.id.desc()).limit(limit))
    events = await contacts.ledger_events(session, contact_id)
    held = await holding.held_of(session, contact_id)
    if erasure is not None:
        return Stub(contact_id, erasure.erased_at, erasure.reason, erasure.cause, events, list(newest), held)
    person = await contacts.get(session, contact_id)
    if person.erased_at is None:
        raise NotFound("nobody with this number was erased here")
    return Stub(contact_id, person.erased_at, "erasure", None, events, list(newest), held)
