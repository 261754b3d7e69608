"""Retention: what is older than its time is deleted, and how much of it was is written down.

The ledger itself is never touched: it names nobody. People whose consent ended long ago are erased like anybody who
asks for it, so that what proves their consent goes with an event that says why.
"""

from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import delete, func, null, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.models import Export, IdempotencyKey, Import, ImportRow, ParkedStatus, ReceivedFile, WebhookEvent
from core.services import events, forms, holding, media, sources
from core.settings import Settings
from core.statuses import ReceivedStatus, WebhookStatus, WorkStatus

KEEP_ANSWERS = timedelta(days=7)  # a program that repeats a POST does so within hours
OPEN = (WorkStatus.WAITING, WorkStatus.RUNNING)


async def purge(session: AsyncSession, *, settings: Settings, now: datetime) -> dict[str, int]:
    """Delete what is past its time, counted per kind; kinds with nothing to delete are left out."""
    done = {
        "webhook_bodies": await _webhooks(session, now - timedelta(days=settings.keep_webhooks_days)),
        "inbound_deliveries": await sources.forget_old(session, now - timedelta(days=settings.keep_webhooks_days)),
        "remembered_answers": await _delete(session, IdempotencyKey, now - KEEP_ANSWERS),
        **await _uploads(session, now - timedelta(days=settings.keep_uploads_days)),
        "form_requests": await forms.forget_unused(session, now=now),
        "contact_events": await events.forget_old(session, now - timedelta(days=settings.keep_events_days)),
        "received_files": await _received(session, now - timedelta(days=settings.keep_media_days)),
        "answered_files": await _answered(session, now - timedelta(days=settings.keep_media_days)),
        "sealed_records": await holding.destroy_due(session, now),
        "export_files": await _exports(session, now - timedelta(days=settings.keep_exports_days)),
    }
    return {kind: count for kind, count in done.items() if count}


async def _delete(session: AsyncSession, kind: type[IdempotencyKey] | type[ParkedStatus], before: datetime) -> int:
    return len(list(await session.scalars(delete(kind).where(kind.created_at < before).returning(kind.id))))


async def _webhooks(session: AsyncSession, before: datetime) -> int:
    """Bodies that were recorded or set aside; one that still waits is never lost."""
    settled = (WebhookEvent.status != WebhookStatus.WAITING, WebhookEvent.created_at < before)
    bodies = list(await session.scalars(delete(WebhookEvent).where(*settled).returning(WebhookEvent.id)))
    return len(bodies) + await _delete(session, ParkedStatus, before)


async def _uploads(session: AsyncSession, before: datetime) -> dict[str, int]:
    ended = select(Import).where(
        Import.status.not_in(OPEN), or_(Import.finished_at < before, Import.created_at < before)
    )
    files, ids = 0, []
    for job in await session.scalars(ended):
        ids.append(job.id)
        files += _remove(job.path)
    filled = (ImportRow.import_id.in_(ids), func.jsonb_typeof(ImportRow.raw) == "object")
    blank = update(ImportRow).where(*filled).values(raw=null())
    rows = list(await session.scalars(blank.returning(ImportRow.row_number)))
    return {"import_files": files, "import_rows": len(rows)}


async def _received(session: AsyncSession, before: datetime) -> int:
    """Files people sent; the row stays and says that there was one."""
    old = (ReceivedFile.path.is_not(None), ReceivedFile.created_at < before)
    files = 0
    for received in await session.scalars(select(ReceivedFile).where(*old).with_for_update()):
        files += _remove(str(received.path))
        received.status, received.path, received.filename = ReceivedStatus.REMOVED, None, None
        received.error = "its time is over"
    return files


async def _answered(session: AsyncSession, before: datetime) -> int:
    """Files that went out with answers; what was said beside them stays."""
    return sum([_remove(str(path)) for path in await media.forget_old(session, before)])


async def _exports(session: AsyncSession, before: datetime) -> int:
    ended = select(Export).where(Export.path.is_not(None), Export.finished_at < before)
    return sum([_remove(str(export.path)) for export in await session.scalars(ended)])


def _remove(path: str) -> int:
    file = Path(path)
    if not file.exists():
        return 0
    file.unlink()
    return 1


# Everything they agreed to has ended, and since then nothing was sent, said, bought or recorded.
_FORGOTTEN = text("""
    SELECT c.id FROM contacts c
     WHERE c.erased_at IS NULL AND c.created_at < :before
       AND EXISTS (SELECT 1 FROM consent_evidence e WHERE e.contact_id = c.id)
       AND NOT EXISTS (SELECT 1 FROM consent_state s
                        WHERE s.contact_id = c.id AND s.state IN ('subscribed', 'pending'))
       AND NOT EXISTS (SELECT 1 FROM consent_events l WHERE l.subject_id = c.id AND l.recorded_at >= :before_text)
       AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.contact_id = c.id AND m.queued_at >= :before)
       AND NOT EXISTS (SELECT 1 FROM inbound_messages i WHERE i.contact_id = c.id AND i.occurred_at >= :before)
       AND NOT EXISTS (SELECT 1 FROM conversions b WHERE b.contact_id = c.id AND b.occurred_at >= :before)
       AND NOT EXISTS (SELECT 1 FROM data_requests r WHERE r.contact_id = c.id AND r.status = 'open')
     ORDER BY c.id LIMIT :limit
""")


async def forgotten(session: AsyncSession, *, settings: Settings, now: datetime, limit: int) -> list[UUID]:
    """People whose evidence is past its time; each is to be erased in a transaction of its own."""
    before = now - timedelta(days=settings.keep_evidence_days)
    instants = {"before": before, "before_text": before.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "limit": limit}
    return [row.id for row in await session.execute(_FORGOTTEN, instants)]
