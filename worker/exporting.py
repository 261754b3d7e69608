"""Exporting: audit packages."""

import errno
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from core import queue
from core.clock import utc_now
from core.consent import package
from core.consent.package_filters import AuditFilters
from core.consent.state import Grade, State
from core.errors import AppError
from core.models import Export
from core.queue import transaction
from core.services import exports
from core.statuses import WorkStatus
from worker.parts import Parts

log = structlog.get_logger()


async def build_audit(ctx: dict[str, Any], export_id: str) -> None:
    """Build a package once; one that cannot be built says why."""
    parts: Parts = ctx["parts"]
    folder = parts.settings.data_dir / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"audit-{export_id}.zip"
    try:
        async with parts.sessions.begin() as session:
            export = await exports.get(session, UUID(export_id), lock=True)
            if export.status is not WorkStatus.WAITING:
                return
            built = await package.build(
                session,
                keyring=parts.keyring,
                filters=AuditFilters(**_ids(export.filters)),
                path=path,
                export_id=export.id,
                reason=export.reason,
                requested_by=await exports.asked_by(session, export),
                now=utc_now(),
                brand=parts.settings.brand,
            )
            exports.finish(export, path, built, now=utc_now())
        log.info("audit.built", export_id=export_id)
    except (AppError, OSError, SQLAlchemyError) as broken:
        for left in (path, package.part_of(path)):
            left.unlink(missing_ok=True)
        reason = _why(broken)
        async with parts.sessions.begin() as session:
            export = await exports.get(session, UUID(export_id), lock=True)
            export.status, export.error, export.finished_at = WorkStatus.FAILED, reason, utc_now()
        log.error("audit.failed", export_id=export_id, error=type(broken).__name__)


def _why(broken: Exception) -> str:
    if isinstance(broken, AppError):
        return broken.message
    if isinstance(broken, OSError) and broken.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full: make room where Kairan keeps its data, or limit the package, and ask for it again"
    return f"it could not be written ({type(broken).__name__})"


def _ids(filters: dict[str, Any]) -> dict[str, Any]:
    """Filters as they were asked for, with ids as ids."""
    given = {name: value for name, value in filters.items() if value is not None}
    for name in ("campaign_id", "notice_id", "import_id"):
        if name in given:
            given[name] = UUID(given[name])
    for name, kind in (("state", State), ("grade", Grade)):
        if name in given:
            given[name] = kind(given[name])
    if "contact_ids" in given:
        given["contact_ids"] = tuple(UUID(each) for each in given["contact_ids"])
    return given


async def ring_audits(ctx: dict[str, Any]) -> None:
    """The sweep: ring for packages that wait."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        for export_id in await session.scalars(select(Export.id).where(Export.status == WorkStatus.WAITING)):
            queue.ring_after_commit(session, queue.BUILD_AUDIT, export_id)
