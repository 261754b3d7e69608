"""Two contacts who turn out to be one person: one goes on, the other is closed, and the stricter permission counts.

Both histories stay where they were written: the sealed events of each under its own id, messages and orders too. What
one of them refused, both have refused; what only one agreed to is not agreed to by the other.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import stored
from core.consent.acts import Act, ActorType, Method
from core.consent.state import HOLD, META_STOP, EventType, State
from core.errors import Conflict, NotFound, RuleViolation
from core.keys import Keyring
from core.models import AudienceMember, ConsentState, Contact, ContactAddress
from core.services import consents, profiles
from core.services.people import Actor
from core.settings import Settings

REASON = "merged"


async def merge(
    session: AsyncSession,
    keep_id: UUID,
    other_id: UUID,
    *,
    actor: Actor,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
) -> Contact:
    """`other` becomes a part of `keep`; returns the one that goes on. There is no way back.

    Raises NotFound, RuleViolation for a contact with itself, Conflict when one is erased or closed.
    """
    if keep_id == other_id:
        raise RuleViolation("a contact cannot be merged with itself", field="other_id")
    locked = await stored.lock_contacts(session, [keep_id, other_id])
    for contact_id in (keep_id, other_id):
        if contact_id not in locked:
            raise NotFound("no such contact", contact_id=str(contact_id))
    keep = await session.get_one(Contact, keep_id, populate_existing=True)
    other = await session.get_one(Contact, other_id, populate_existing=True)
    if any(each.erased_at or each.closed_at for each in (keep, other)):
        raise Conflict("one of them is closed: only living contacts are merged")
    stricter = [act for row in await _states(session, other_id) for act in _carried(row, keep_id, other_id, actor, now)]
    await _move(session, keep, other, now)
    ending = _act(other_id, EventType.TENURE_CLOSED, "*", f"{other_id}|{keep_id}", actor, now)
    await consents.record(session, [*stricter, ending], keyring=keyring, settings=settings, now=now)
    await session.refresh(keep)
    return keep


async def _states(session: AsyncSession, contact_id: UUID) -> list[ConsentState]:
    return list(await session.scalars(select(ConsentState).where(ConsentState.contact_id == contact_id)))


def _carried(row: ConsentState, keep_id: UUID, other_id: UUID, actor: Actor, now: datetime) -> list[Act]:
    """What a permission of the other takes from the one who goes on."""
    key = f"{other_id}|{keep_id}"
    taken = {State.WITHDRAWN: EventType.WITHDRAWN, State.INVALID: EventType.INVALIDATED}
    acts = []
    if event_type := taken.get(State(row.state)):
        acts.append(_act(keep_id, event_type, row.purpose, key, actor, now))
    for overlay in row.overlays:
        if overlay == HOLD:
            acts.append(_act(keep_id, EventType.HOLD_PLACED, row.purpose, key, actor, now))
        elif overlay.startswith(META_STOP):
            sender = overlay.partition(":")[2] or None
            acts.append(_act(keep_id, EventType.META_STOPPED, row.purpose, f"{key}|{sender}", actor, now, sender))
    return acts


def _act(
    contact_id: UUID,
    event_type: EventType,
    purpose: str,
    key: str,
    actor: Actor,
    now: datetime,
    sender: str | None = None,
) -> Act:
    return Act(
        contact_id=contact_id,
        event_type=event_type,
        purpose=purpose,
        source="system",
        source_key=f"{event_type.value}|{purpose}|{key}",
        occurred_at=now,
        actor=ActorType.SYSTEM if actor.user_id is None else ActorType.STAFF,
        actor_id=actor.id,
        method=Method.STAFF,
        sender_scope=sender,
        reason=REASON,
    )


async def _move(session: AsyncSession, keep: Contact, other: Contact, now: datetime) -> None:
    """Addresses, lists, tags and what the one who goes on did not know."""
    open_ones = (ContactAddress.contact_id == other.id, ContactAddress.closed_at.is_(None))
    await session.execute(update(ContactAddress).where(*open_ones).values(contact_id=keep.id))
    lists = list(await session.scalars(select(AudienceMember.audience_id).where(AudienceMember.contact_id == other.id)))
    if lists:
        rows: list[dict[str, Any]] = [{"audience_id": each, "contact_id": keep.id} for each in lists]
        await session.execute(insert(AudienceMember).values(rows).on_conflict_do_nothing())
    for name in profiles.FIELDS:
        if getattr(keep, name) is None:
            setattr(keep, name, getattr(other, name))
    keep.attributes = {**other.attributes, **keep.attributes}
    keep.tags = sorted({*keep.tags, *other.tags})
    seen = [each.last_seen_at for each in (keep, other) if each.last_seen_at]
    keep.last_seen_at = max(seen, default=None)
    other.closed_at, other.merged_into = now, keep.id
    await session.flush()
