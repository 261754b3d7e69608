"""Free-form answers: ordinary messages of kind `reply`, which the sending path takes through the consent gate.

Their content is frozen into the message's parameters, with the instant after which it is too late to send it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.models import Contact, Message, PendingWithdrawal, Reply
from core.settings import Settings
from core.statuses import PRIORITY, Category, DeliveryStatus, MessageKind, ReplyKind

PURPOSE = "service"
BUTTONS_BODY = 1024  # characters beside reply buttons; a list's body may have 4,096
TEXT_BODY = 4096
_AFTER_PENDING = timedelta(seconds=5)  # a withdrawal kept aside blocks everything until a worker has recorded it


def text_content(body: str) -> dict[str, Any]:
    """A plain text message; without a preview nothing is fetched for it."""
    return {"type": "text", "text": {"body": body, "preview_url": False}}


def choice_content(body: str, choices: Sequence[tuple[str, str]], *, menu: str) -> dict[str, Any]:
    """A question with up to three answers as (payload, label); a long text needs a list, opened by `menu`."""
    if len(body) <= BUTTONS_BODY:
        buttons = [{"type": "reply", "reply": {"id": payload, "title": label}} for payload, label in choices]
        action: dict[str, Any] = {"buttons": buttons}
        kind = "button"
    else:
        rows = [{"id": payload, "title": label} for payload, label in choices]
        action, kind = {"button": menu, "sections": [{"title": menu, "rows": rows}]}, "list"
    return {"type": "interactive", "interactive": {"type": kind, "body": {"text": body}, "action": action}}


def content_of(parameters: Mapping[str, Any], *, now: datetime) -> dict[str, Any] | None:
    """What a reply says; None once it is too late to say it."""
    until = parameters.get("until")
    if until is None or datetime.fromisoformat(until) <= now:
        return None
    content: dict[str, Any] = parameters["content"]
    return content


def words_of(parameters: Mapping[str, Any] | None) -> str | None:
    """The text of a reply, for people to read; None when erasure took it, and for a file without words."""
    content = (parameters or {}).get("content")
    if content is None:
        return None
    if content["type"] == "text":
        return str(content["text"]["body"])
    if content["type"] == "interactive":
        return str(content["interactive"]["body"]["text"])
    caption: str | None = content[content["type"]].get("caption")  # of a file
    return caption


async def queue_reply(
    session: AsyncSession,
    contact: Contact,
    sender_id: UUID,
    content: Mapping[str, Any],
    *,
    kind: ReplyKind,
    until: datetime,
    settings: Settings,
    now: datetime,
    inbound_id: UUID | None = None,
    rule_id: UUID | None = None,
    user_id: UUID | None = None,
    media_id: UUID | None = None,
) -> Message:
    """Put an answer into the number's queue, before everything in bulk; skipped when it cannot leave before `until`."""
    waits = await session.scalar(select(PendingWithdrawal.id).where(PendingWithdrawal.contact_id == contact.id))
    message = Message(
        kind=MessageKind.REPLY,
        priority=PRIORITY[MessageKind.REPLY],
        contact_id=contact.id,
        sender_id=sender_id,
        purpose=PURPOSE,
        category=Category.SERVICE,
        parameters={"content": dict(content), "until": until.astimezone(UTC).isoformat()},
        country=contact.country,
        time_zone=contact.time_zone or settings.time_zone,
        queued_at=now,
        queued_on=now.astimezone(UTC).date(),
        status=DeliveryStatus.QUEUED,
        not_before=now + _AFTER_PENDING if waits else now,
    )
    session.add(message)
    await session.flush()
    session.add(
        Reply(
            message_id=message.id,
            contact_id=contact.id,
            kind=kind,
            inbound_id=inbound_id,
            rule_id=rule_id,
            user_id=user_id,
            media_id=media_id,
        )
    )
    await session.flush()
    queue.ring_after_commit(session, queue.SEND_MESSAGES, sender_id)
    return message
