"""Senders: register, list, pause, resume."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.errors import Conflict, NotFound
from core.models import Sender
from core.whatsapp.numbers import Number

CHANGEABLE = frozenset({"name", "messages_per_second", "pause_on_red", "pause_on_orphans"})


async def add(
    session: AsyncSession,
    *,
    phone_number_id: str,
    waba_id: str,
    known: Number,
    name: str,
    messages_per_second: int,
) -> Sender:
    """Register one of the organisation's numbers as the provider knows it.

    Raises Conflict when it is registered already. The number it shows is kept as + and digits.
    """
    if await session.scalar(select(Sender.id).where(Sender.phone_number_id == phone_number_id)):
        raise Conflict("this phone number id is registered already")
    sender = Sender(
        phone_number_id=phone_number_id,
        waba_id=waba_id,
        display_number="+" + re.sub(r"\D", "", known.display_phone_number),
        name=name,
        verified_name=known.verified_name,
        quality=known.quality_rating or "UNKNOWN",
        limit_tier=known.messaging_limit,
        messages_per_second=messages_per_second,
    )
    session.add(sender)
    await session.flush()
    await session.refresh(sender)
    return sender


async def get(session: AsyncSession, sender_id: UUID, *, lock: bool = False) -> Sender:
    """The sender; raises NotFound."""
    sender = await session.get(Sender, sender_id, with_for_update=lock)
    if sender is None:
        raise NotFound("no such sender", sender_id=str(sender_id))
    return sender


async def change(session: AsyncSession, sender_id: UUID, changes: Mapping[str, Any]) -> Sender:
    """Set the label, the pace, or what pauses the number by itself; raises NotFound."""
    sender = await get(session, sender_id, lock=True)
    for name in CHANGEABLE & changes.keys():
        setattr(sender, name, changes[name])
    return sender


async def list_all(session: AsyncSession) -> list[Sender]:
    return list(await session.scalars(select(Sender).order_by(Sender.id)))


async def pause(session: AsyncSession, sender_id: UUID, *, reason: str, now: datetime) -> Sender:
    """No new request starts from this number until it is resumed."""
    sender = await get(session, sender_id, lock=True)
    if sender.paused_at is None:
        sender.paused_at, sender.pause_reason = now, reason
    return sender


async def resume(session: AsyncSession, sender_id: UUID, *, now: datetime) -> Sender:
    """Let the number go on where it stopped."""
    sender = await get(session, sender_id, lock=True)
    let_go(session, sender, now=now)
    return sender


def let_go(session: AsyncSession, sender: Sender, *, now: datetime) -> None:
    """Take a number's pause away and ring for what is left."""
    sender.paused_at = sender.pause_reason = sender.pause_code = None
    sender.resumed_at = now
    queue.ring_after_commit(session, queue.SEND_MESSAGES, sender.id)
