"""Files people sent: named when their message is recorded, fetched by a worker, kept for a while, given to agents."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.errors import AppError, Conflict, NotFound
from core.models import Conversation, InboundMessage, ReceivedFile
from core.settings import Settings
from core.statuses import ReceivedStatus
from core.whatsapp.downloads import Downloaded, TooLarge

log = structlog.get_logger()

TYPES = frozenset({"image", "video", "audio", "document", "sticker"})
AT_ONCE = 10
LEASE = timedelta(minutes=3)  # a fetch takes two time-outs at most
PROVIDER_KEEPS = timedelta(days=7)
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=6)
UNKNOWN_OBJECT = 100  # the provider's code when an id is unknown or has expired
_LONGEST_NAME = 200


def folder(settings: Settings) -> Path:
    """Where the files are; their names there are our own ids, never the person's words."""
    return settings.data_dir / "media" / "received"


async def note(session: AsyncSession, inbound_id: UUID, kind: str, payload: Mapping[str, Any]) -> None:
    """Remember the file a message brought, if it brought one."""
    media = payload.get(kind) if kind in TYPES else None
    if not isinstance(media, dict) or not _text(media.get("id")):
        return
    session.add(
        ReceivedFile(
            inbound_id=inbound_id,
            provider_id=_text(media.get("id")),
            mime_type=_mime(_text(media.get("mime_type"))),
            filename=_text(media.get("filename")),
            status=ReceivedStatus.WAITING,
        )
    )
    await session.flush()
    queue.ring_after_commit(session, queue.FETCH_FILES)


def _text(value: object) -> str | None:
    """The provider's text without what no name may hold; None for anything else."""
    if not isinstance(value, str):
        return None
    return "".join(each for each in value if each.isprintable())[:_LONGEST_NAME] or None


def _mime(word: str | None) -> str | None:
    """`audio/ogg; codecs=opus` is audio/ogg."""
    return word.partition(";")[0].strip().lower() if word else None


async def claim(session: AsyncSession, *, now: datetime) -> list[ReceivedFile]:
    """Files whose turn it is, put aside for the others until the lease is over."""
    due = (ReceivedFile.status == ReceivedStatus.WAITING, ReceivedFile.next_at <= now)
    first = select(ReceivedFile).where(*due).order_by(ReceivedFile.next_at).limit(AT_ONCE)
    found = list(await session.scalars(first.with_for_update(skip_locked=True)))
    for received in found:
        received.next_at = now + LEASE
    return found


async def _waiting(session: AsyncSession, file_id: UUID) -> ReceivedFile | None:
    """The row while somebody still wants the file; None once erasure took it or another worker has settled it."""
    mine = (ReceivedFile.id == file_id, ReceivedFile.status == ReceivedStatus.WAITING)
    return (await session.scalars(select(ReceivedFile).where(*mine).with_for_update())).one_or_none()


async def keep(session: AsyncSession, file_id: UUID, path: Path, got: Downloaded) -> bool:
    """The file is at `path`; false when nobody wants it any more, and then the caller deletes it."""
    received = await _waiting(session, file_id)
    if received is None:
        return False
    received.status, received.path, received.error = ReceivedStatus.STORED, str(path), None
    received.bytes, received.sha256 = got.bytes, got.sha256
    received.mime_type = _mime(got.mime_type) or received.mime_type
    return True


async def fail(session: AsyncSession, file_id: UUID, why: AppError, *, settings: Settings, now: datetime) -> None:
    """Try again later, or give up: too large, not known to the provider, or past what the provider keeps."""
    received = await _waiting(session, file_id)
    if received is None:
        return
    received.attempts += 1
    received.error = why.message
    if isinstance(why, TooLarge):
        received.status, received.bytes = ReceivedStatus.TOO_LARGE, why.facts.get("bytes")
        received.error = f"larger than {settings.media_max_mb} MB (KAIRAN_MEDIA_MAX_MB)"
    elif why.facts.get("provider_code") == UNKNOWN_OBJECT or now - received.created_at > PROVIDER_KEEPS:
        received.status = ReceivedStatus.LOST
    else:
        received.next_at = now + min(LONGEST_PAUSE, FIRST_PAUSE * 4 ** min(received.attempts - 1, 8))
    log.warning("file.not_fetched", file_id=str(file_id), status=received.status.value, error=type(why).__name__)


async def of_message(session: AsyncSession, conversation: Conversation, inbound_id: UUID) -> ReceivedFile:
    """The file a message of this conversation brought; raises NotFound, or Conflict while it is not here."""
    theirs = (
        InboundMessage.contact_id == conversation.contact_id,
        InboundMessage.sender_id == conversation.sender_id,
        InboundMessage.id == inbound_id,
    )
    joined = select(ReceivedFile).join(InboundMessage, InboundMessage.id == ReceivedFile.inbound_id)
    received = (await session.scalars(joined.where(*theirs))).one_or_none()
    if received is None:
        raise NotFound("this message brought no file")
    if received.status is not ReceivedStatus.STORED or not received.path or not Path(received.path).exists():
        why = {ReceivedStatus.WAITING: "it is still being fetched", ReceivedStatus.STORED: "it is gone from the disk"}
        raise Conflict(f"the file is not here: {why.get(received.status, received.error)}", status=received.status)
    return received


async def is_due(session: AsyncSession, *, now: datetime) -> bool:
    due = (ReceivedFile.status == ReceivedStatus.WAITING, ReceivedFile.next_at <= now)
    return await session.scalar(select(ReceivedFile.id).where(*due).limit(1)) is not None


def name_of(received: ReceivedFile) -> str:
    """A name to save the file under: the document's own without folders, else the kind and our id."""
    if received.filename:
        return received.filename.replace("/", "_").replace("\\", "_")
    kind, _, subtype = (received.mime_type or "file/bin").partition("/")
    return f"{kind}-{received.id.hex[-8:]}.{subtype if subtype.isalnum() else 'bin'}"
