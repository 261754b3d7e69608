"""The registries of an audit package: the notices people were shown, and the purposes they were for."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import stored
from core.consent.archive import Archive
from core.consent.canonical import jcs, timestamp
from core.consent.state import EventType
from core.models import ConsentEvent, Notice, Purpose


async def write_registries(session: AsyncSession, archive: Archive, size: int) -> None:
    """What had been published by then, in the order of publication; nothing that may change later is told."""
    kinds = {EventType.NOTICE_PUBLISHED: "notice_id", EventType.PURPOSE_CHANGED: "purpose_id"}
    query = select(ConsentEvent.core).where(ConsentEvent.event_type.in_(kinds), ConsentEvent.seq <= size)
    published = [stored.read_event(core) for core in await session.scalars(query.order_by(ConsentEvent.seq))]
    ids = [UUID(str(event.refs[kinds[event.event_type]])) for event in published]
    notices = {notice.id: notice for notice in await session.scalars(select(Notice))}
    purposes = {purpose.id: purpose for purpose in await session.scalars(select(Purpose))}
    with archive.entry("registries/notices.ndjson") as entry:
        for notice in (notices[key] for key in ids if key in notices):
            entry.write(jcs(_notice(notice)) + "\n")
    with archive.entry("registries/purposes.ndjson") as entry:
        for purpose in (purposes[key] for key in ids if key in purposes):
            entry.write(jcs(_purpose(purpose)) + "\n")


def _notice(notice: Notice) -> dict[str, object]:
    return {
        "id": str(notice.id),
        "hash": notice.content_hash,
        "effective_from": timestamp(notice.effective_from),
        "code": notice.code,
        "version": notice.version,
        "language": notice.language,
        "controller": notice.controller,
        "purposes": sorted(notice.purposes),
        "text": notice.text,
        "withdrawal_info": notice.withdrawal_info,
    }


def _purpose(purpose: Purpose) -> dict[str, object]:
    return {
        "id": str(purpose.id),
        "code": purpose.code,
        "version": purpose.version,
        "controller": purpose.controller,
        "description": purpose.description,
        "min_grade": purpose.min_grade,
        "validity_days": purpose.validity_days,
        "needs_consent": purpose.needs_consent,
        "halted": purpose.halted,
    }
