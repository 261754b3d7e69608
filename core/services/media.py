"""Files we send: uploaded once, named by id in templates and answers, taken from the disk when their time is over."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import Conflict, NotFound, RuleViolation
from core.models import Conversation, Media, Message, Reply, Sender
from core.whatsapp.client import WhatsAppClient

LIFE = timedelta(days=30)  # how long the provider keeps an uploaded file
CAPTION = 1024  # characters under a picture, a video or a document
_OFFICE = "application/vnd.openxmlformats-officedocument"
# Kind and largest size in bytes per type; source: the provider's media reference, read 2026-11.
TYPES = {
    "image/jpeg": ("image", 5 << 20),
    "image/png": ("image", 5 << 20),
    "video/mp4": ("video", 16 << 20),
    "video/3gpp": ("video", 16 << 20),
    "application/pdf": ("document", 100 << 20),
    "text/plain": ("document", 100 << 20),
    "application/msword": ("document", 100 << 20),
    "application/vnd.ms-excel": ("document", 100 << 20),
    "application/vnd.ms-powerpoint": ("document", 100 << 20),
    f"{_OFFICE}.wordprocessingml.document": ("document", 100 << 20),
    f"{_OFFICE}.spreadsheetml.sheet": ("document", 100 << 20),
    f"{_OFFICE}.presentationml.presentation": ("document", 100 << 20),
}
_BY_NAME = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".mp4": "video/mp4",
    ".3gp": "video/3gpp",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".doc": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".ppt": "application/vnd.ms-powerpoint",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
}
_SPELT = "JPEG and PNG pictures, MP4 and 3GP videos, PDF, text, Word, Excel and PowerPoint files"
# What a file of the type starts with: the provider takes a wrong one and fails the message later (131053).
_STARTS = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n", "application/pdf": b"%PDF-"}
_MP4_MARK = b"ftyp"  # after four bytes of length, in video/mp4 and video/3gpp


async def add(
    session: AsyncSession, client: WhatsAppClient, sender: Sender, *, path: Path, mime_type: str, now: datetime
) -> Media:
    """Upload a file to the provider; raises RuleViolation for a type or size it does not take."""
    mime_type = mime_type.partition(";")[0].strip().lower()
    if mime_type in ("", "application/octet-stream"):  # whoever sends it does not know
        mime_type = _BY_NAME.get(path.suffix.lower(), "")
    if mime_type not in TYPES:
        raise RuleViolation(f"{mime_type or 'this kind of file'} cannot be sent; use {_SPELT}", field="file")
    size = path.stat().st_size
    kind, most = TYPES[mime_type]
    if not 0 < size <= most:
        raise RuleViolation(f"a file of this kind ({kind}) has 1 byte to {most >> 20} MB", field="file")
    if not _starts_as(path, mime_type):
        raise RuleViolation(f"the file says it is {mime_type}, and its content is something else", field="file")
    with path.open("rb") as file:
        digest = await asyncio.to_thread(hashlib.file_digest, file, "sha256")
    provider_id = await client.upload_media(sender.phone_number_id, path, mime_type)
    media = Media(
        sender_id=sender.id,
        provider_id=provider_id,
        filename=path.name,
        mime_type=mime_type,
        bytes=size,
        sha256=digest.hexdigest(),
        path=str(path),
        expires_at=now + LIFE,
    )
    session.add(media)
    await session.flush()
    return media


def _starts_as(path: Path, mime_type: str) -> bool:
    with path.open("rb") as file:
        start = file.read(12)
    if mime_type in ("video/mp4", "video/3gpp"):
        return start[4:8] == _MP4_MARK
    return start.startswith(_STARTS.get(mime_type, b""))


async def get(session: AsyncSession, media_id: UUID) -> Media:
    """The uploaded file; raises NotFound."""
    media = await session.get(Media, media_id)
    if media is None:
        raise NotFound("no such media", media_id=str(media_id))
    return media


async def of_answer(session: AsyncSession, conversation: Conversation, message_id: UUID) -> Media | None:
    """The file an answer of this conversation brought; None when it brought none."""
    ours = (
        Message.id == message_id,
        Message.contact_id == conversation.contact_id,
        Message.sender_id == conversation.sender_id,
    )
    joined = select(Media).join(Reply, Reply.media_id == Media.id).join(Message, Message.id == Reply.message_id)
    return (await session.scalars(joined.where(*ours))).one_or_none()


def path_of(media: Media) -> Path:
    """Where our copy is; raises Conflict once it was deleted."""
    if media.path is None or not Path(media.path).exists():
        raise Conflict("the file is not here any more: upload it again", media_id=str(media.id))
    return Path(media.path)


def content(media: Media, caption: str, sender: Sender, *, until: datetime) -> dict[str, Any]:
    """The file as a free-form message from this number; raises RuleViolation when it cannot be one until `until`."""
    if media.sender_id != sender.id:
        raise RuleViolation("this file was uploaded for another number: upload it again", field="media_id")
    if media.expires_at <= until:
        raise RuleViolation("WhatsApp keeps files for 30 days and forgets this one: upload it again", field="media_id")
    if len(caption) > CAPTION:
        raise RuleViolation(f"the words under a file have {CAPTION:,} characters at most", field="text")
    kind, _ = TYPES[media.mime_type]
    shown = {"id": media.provider_id, "caption": caption, "filename": media.filename if kind == "document" else ""}
    return {"type": kind, kind: {name: value for name, value in shown.items() if value}}


# A file that somebody else got too, or that a campaign shows, is nobody's own.
_FORGET = text("""
    UPDATE media g SET path = NULL, filename = '', sha256 = ''
      FROM (SELECT media_id, array_agg(contact_id) AS people, max(created_at) AS last_at
              FROM replies WHERE media_id IS NOT NULL GROUP BY media_id) AS used
     WHERE g.id = used.media_id AND g.path IS NOT NULL
       AND (used.people <@ CAST(:people AS uuid[]) OR used.last_at < CAST(:before AS timestamptz))
       AND NOT EXISTS (SELECT FROM campaign_variants v WHERE position(g.id::text IN v.parameters::text) > 0)
    RETURNING old.path
""")


async def forget_persons(session: AsyncSession, people: Sequence[UUID]) -> list[Path]:
    """Forget files that only these people got as an answer; the caller deletes those returned."""
    return await _forget(session, people, None)


async def forget_old(session: AsyncSession, before: datetime) -> list[Path]:
    """Forget files nobody got as an answer since `before`; the caller deletes those returned."""
    return await _forget(session, [], before)


async def _forget(session: AsyncSession, people: Sequence[UUID], before: datetime | None) -> list[Path]:
    found = await session.execute(_FORGET, {"people": list(people), "before": before})
    return [Path(row.path) for row in found]
