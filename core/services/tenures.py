"""Tenures: when a number passes to another holder, no agreement passes along, but every stop does.

A contact is one person's tenure of one WhatsApp account. It ends when another account shows up under its number. Its
addresses are let go at once, which the send gate sees; the ledger's event follows in the same transaction.
Suppressions hang on addresses, so the next holder inherits them.
"""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.acts import WEBHOOK, Act, ActorType
from core.consent.state import EventType
from core.models import Contact, ContactAddress

log = structlog.get_logger()

_ENDED = "ended_tenures"


async def has_another_account(session: AsyncSession, contact_id: UUID, user_id: str) -> bool:
    """Whether this contact is known by another user id: then whoever writes under its number is somebody else."""
    theirs = (ContactAddress.contact_id == contact_id, ContactAddress.kind == "bsuid")
    other = (*theirs, ContactAddress.value != user_id, ContactAddress.closed_at.is_(None))
    return await session.scalar(select(ContactAddress.id).where(*other).limit(1)) is not None


async def ended_with(session: AsyncSession, user_id: str) -> UUID | None:
    """The contact that was known by this user id until its tenure ended; ids are never given to somebody else."""
    former = (ContactAddress.match_key == user_id, ContactAddress.closed_at.is_not(None))
    latest = select(ContactAddress.contact_id).where(*former).order_by(ContactAddress.closed_at.desc()).limit(1)
    return await session.scalar(latest)


async def end(session: AsyncSession, contact_id: UUID, *, now: datetime) -> None:
    """Close a tenure and let its addresses go; `acts` then says so to the ledger."""
    contact = await session.get(Contact, contact_id, with_for_update={"key_share": True})
    if contact is None or contact.closed_at is not None:
        return
    contact.closed_at = now
    open_ones = (ContactAddress.contact_id == contact_id, ContactAddress.closed_at.is_(None))
    await session.execute(update(ContactAddress).where(*open_ones).values(closed_at=now))
    await session.flush()
    session.info.setdefault(_ENDED, []).append(contact_id)
    log.info("tenure.ended", contact_id=str(contact_id))


async def acts(session: AsyncSession, *, now: datetime) -> list[Act]:
    """The ledger's events of the tenures that ended in this transaction (a savepoint may have taken one back)."""
    ended: list[UUID] = session.info.pop(_ENDED, [])
    if not ended:
        return []
    closed = (Contact.id.in_(ended), Contact.closed_at.is_not(None))
    return [
        Act(
            contact_id=contact_id,
            event_type=EventType.TENURE_CLOSED,
            purpose="*",
            source=WEBHOOK,
            source_key=f"tenure|{contact_id}",
            occurred_at=now,
            actor=ActorType.PLATFORM,
            reason="recycled",
        )
        for contact_id in await session.scalars(select(Contact.id).where(*closed).order_by(Contact.id))
    ]
