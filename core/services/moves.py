"""People who change their number or account: a contact is one person's time with one WhatsApp account, so it ends.

What they forbade goes with them to the new account; what they allowed does not, since the new account never said so.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.consent.acts import WEBHOOK, Act, ActorType
from core.consent.state import EventType, State
from core.errors import RuleViolation
from core.keys import Keyring
from core.models import ConsentState, Contact, ContactAddress
from core.services import consents, contacts
from core.settings import Settings
from core.whatsapp.webhooks import Move

log = structlog.get_logger()

EVERYTHING = "*"


async def concerned(session: AsyncSession, moves: Sequence[Move]) -> set[UUID]:
    """The contacts that `follow` will end; their rows are to be locked together with everybody else's."""
    found = [await _owner(session, move.old_user_id, move.old_wa_id) for move in moves]
    return {contact_id for contact_id in found if contact_id is not None}


async def follow(
    session: AsyncSession, move: Move, *, keyring: Keyring, settings: Settings, now: datetime
) -> UUID | None:
    """End the old account's contact and carry its withdrawals to the new account; returns the new contact.

    A new user id for a number nobody knew, or a move that was followed before, changes nothing: None.
    """
    old_id = await _owner(session, move.old_user_id, move.old_wa_id)
    if old_id is None or await _is_the_same(session, old_id, move):
        return None
    old = await contacts.get(session, old_id)
    refused = await _withdrawn(session, old_id)
    ending = Act(
        contact_id=old_id,
        event_type=EventType.TENURE_CLOSED,
        purpose=EVERYTHING,
        source=WEBHOOK,
        source_key=move.provider_id,
        occurred_at=move.occurred_at,
        actor=ActorType.PLATFORM,
        sender_scope=move.phone_number_id or None,
        reason="account_changed",
        evidence={"webhook": move.raw.decode("utf-8", "replace")},
    )
    (ended,) = await consents.record(session, [ending], keyring=keyring, settings=settings, now=now)
    if ended.is_duplicate:  # a replay: somebody else may have the old number by now
        return None
    await _close(session, old_id, now=now)
    new = await _successor(session, move, old, now=now)
    if new is None:
        return None
    carried = [
        Act(
            contact_id=new.id,
            event_type=EventType.WITHDRAWN,
            purpose=purpose,
            source=WEBHOOK,
            source_key=f"{move.provider_id}|{purpose}",
            occurred_at=move.occurred_at,
            actor=ActorType.PLATFORM,
            reason="account_changed",
        )
        for purpose in refused
    ]
    await consents.record(session, carried, keyring=keyring, settings=settings, now=now)
    log.info("contact.moved", old=str(old_id), new=str(new.id), withdrawn=len(refused))
    return new.id


def _key(wa_id: str | None) -> str | None:
    if wa_id is None:
        return None
    try:
        return phone.parse(f"+{wa_id.lstrip('+')}", region="ZZ").match_key
    except RuleViolation:
        return None


async def _owner(session: AsyncSession, user_id: str | None, wa_id: str | None) -> UUID | None:
    keys = [key for key in (user_id, _key(wa_id)) if key]
    owners = await contacts.owners(session, keys) if keys else {}
    return next((owners[key] for key in keys if key in owners), None)


async def _is_the_same(session: AsyncSession, contact_id: UUID, move: Move) -> bool:
    """Whether the new address is the contact's own already: the webhook came again."""
    keys = [key for key in (move.new_user_id, _key(move.new_wa_id)) if key]
    owners = await contacts.owners(session, keys) if keys else {}
    return contact_id in owners.values()


async def _withdrawn(session: AsyncSession, contact_id: UUID) -> list[str]:
    refused = (ConsentState.contact_id == contact_id, ConsentState.state == State.WITHDRAWN)
    return list(await session.scalars(select(ConsentState.purpose).where(*refused).order_by(ConsentState.purpose)))


async def _close(session: AsyncSession, contact_id: UUID, *, now: datetime) -> None:
    mine = (ContactAddress.contact_id == contact_id, ContactAddress.closed_at.is_(None))
    await session.execute(update(ContactAddress).where(*mine).values(closed_at=now))
    await session.execute(update(Contact).where(Contact.id == contact_id).values(closed_at=now))


async def _successor(session: AsyncSession, move: Move, old: Contact, *, now: datetime) -> Contact | None:
    """The contact of the new account, who starts without any consent; None when no address of it is named.

    A new user id on a known number keeps the number; a new number does not keep the old user id.
    """
    wa_id = move.new_wa_id or move.old_wa_id
    try:
        return await contacts.resolve_inbound(session, wa_id=wa_id, user_id=move.new_user_id, name=old.name, now=now)
    except RuleViolation:
        return None
