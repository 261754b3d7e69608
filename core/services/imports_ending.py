"""The end of an import, whichever way it comes: finished, failed, cancelled, refused, made invalid."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.state import EventType
from core.keys import Keyring
from core.models import Import
from core.services import consents, imports_approval
from core.statuses import ImportStatus


async def finish(
    session: AsyncSession,
    job: Import,
    status: ImportStatus,
    *,
    keyring: Keyring,
    now: datetime,
    error: str | None = None,
) -> None:
    """End an import, locked by the caller; what was recorded of it, be it the opt-outs alone, the ledger sums up."""
    job.status, job.error, job.finished_at = status, error, now
    if not job.rows_done or (job.dry_run and not job.outs_recorded):
        return
    refs = await imports_approval.batch_refs(session, job)
    source_key, batch = str(job.id), EventType.IMPORT_BATCH
    await consents.record_system(session, batch, source_key=source_key, refs=refs, keyring=keyring, now=now)
