"""A conversation's thread: what was said in both directions, in the order in which it happened."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from core import template
from core.errors import RuleViolation
from core.models import Conversation
from core.services import replies
from core.services.paging import MAX_PAGE, Page
from core.statuses import ReceivedStatus
from core.whatsapp.said import words_of


@dataclass(frozen=True)
class File:
    """What came with a message of theirs, or went with an answer of ours: a picture, a voice message, a document."""

    status: ReceivedStatus
    mime_type: str | None
    filename: str | None
    bytes: int | None
    error: str | None  # why it is not here


@dataclass(frozen=True)
class Line:
    """One message of a thread, in either direction; `words` is null for media, and once erased."""

    id: UUID
    is_inbound: bool
    kind: str  # of an inbound message its type; of ours why it was sent
    words: str | None
    status: str | None  # of ours
    skip_reason: str | None
    error: str | None
    intent: str | None  # of an inbound one
    campaign_name: str | None
    author: str | None  # who of us wrote it
    at: datetime
    file: File | None


# The provider tells only the second in which a person wrote, and our own messages know theirs to the microsecond, so
# both are cut to the second; within one, the ids (UUIDv7) say what we learned or wrote first. A message of ours counts
# from when the provider took it: a campaign's rows are made long before, at its launch.
_THREAD = text("""
    SELECT * FROM (
        SELECT i.id, true AS is_inbound, i.type AS kind, i.text AS words,
               CASE WHEN i.text IS NULL THEN i.payload END AS parameters,
               NULL::jsonb AS components, NULL AS status, NULL AS skip_reason, NULL AS error, i.intent,
               NULL AS campaign_name, NULL AS author, i.occurred_at AS at,
               f.status AS file_status, f.mime_type, f.filename, f.bytes, f.error AS file_error,
               date_trunc('second', i.occurred_at) AS second
          FROM inbound_messages i
          LEFT JOIN received_files f ON f.inbound_id = i.id
         WHERE i.contact_id = :contact AND i.sender_id = :sender
         UNION ALL
        SELECT m.id, false, coalesce(r.kind, m.kind), NULL, m.parameters, v.components, m.status, m.skip_reason,
               m.error, NULL, c.name, u.name, coalesce(m.accepted_at, m.queued_at),
               CASE WHEN g.id IS NOT NULL THEN CASE WHEN g.path IS NULL THEN 'removed' ELSE 'stored' END END,
               g.mime_type, nullif(g.filename, ''), g.bytes, NULL,
               date_trunc('second', coalesce(m.accepted_at, m.queued_at))
          FROM messages m
          LEFT JOIN replies r ON r.message_id = m.id
          LEFT JOIN media g ON g.id = r.media_id
          LEFT JOIN template_versions v ON v.id = m.template_version_id
          LEFT JOIN campaigns c ON c.id = m.campaign_id
          LEFT JOIN users u ON u.id = r.user_id
         WHERE m.contact_id = :contact AND m.sender_id = :sender AND NOT m.holdout
    ) AS line
     WHERE CAST(:second AS timestamptz) IS NULL
        OR (line.second, line.id) < (CAST(:second AS timestamptz), CAST(:id AS uuid))
     ORDER BY line.second DESC, line.id DESC LIMIT :limit
""")


async def thread(session: AsyncSession, conversation: Conversation, *, limit: int, cursor: str | None) -> Page[Line]:
    """What was said in both directions, newest first; raises RuleViolation for a cursor we did not make."""
    second, line_id = _decode(cursor) if cursor is not None else (None, None)
    limit = min(limit, MAX_PAGE)
    asked = {"contact": conversation.contact_id, "sender": conversation.sender_id, "second": second, "id": line_id}
    rows: Sequence[Row[Any]] = (await session.execute(_THREAD, {**asked, "limit": limit + 1})).all()
    shown = rows[:limit]
    return Page([_line(row) for row in shown], _encode(shown[-1]) if len(rows) > limit else None)


def _line(row: Row[Any]) -> Line:
    file = None
    if row.file_status is not None:
        file = File(ReceivedStatus(row.file_status), row.mime_type, row.filename, row.bytes, row.file_error)
    return Line(
        id=row.id,
        is_inbound=row.is_inbound,
        kind=row.kind,
        words=_their_words(row) if row.is_inbound else _our_words(row),
        status=row.status,
        skip_reason=row.skip_reason,
        error=row.error,
        intent=row.intent,
        campaign_name=row.campaign_name,
        author=row.author,
        at=row.at,
        file=file,
    )


def _their_words(row: Row[Any]) -> str | None:
    return row.words or words_of(row.kind, row.parameters or {})


def _our_words(row: Row[Any]) -> str | None:
    """What the person read: a reply's text, or the template's body filled in; None once erasure took the values."""
    if row.components is None:
        return replies.words_of(row.parameters)
    if row.parameters is None and template.placeholders(row.components):
        return None
    return str(template.render(row.components, row.parameters or {})["body"]) or None


def _encode(row: Row[Any]) -> str:
    position = int(row.second.timestamp()).to_bytes(8, "big") + row.id.bytes
    return base64.urlsafe_b64encode(position).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, UUID]:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if len(raw) != 24:
            raise ValueError("another list's")
        return datetime.fromtimestamp(int.from_bytes(raw[:8], "big"), UTC), UUID(bytes=raw[8:])
    except (binascii.Error, ValueError, OverflowError, OSError) as wrong:
        raise RuleViolation("the cursor is not one of ours", field="cursor") from wrong
