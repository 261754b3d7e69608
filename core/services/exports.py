"""Exports: audit packages, asked for with a reason, built in the background."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.consent import ledger
from core.consent.package import Built
from core.errors import Conflict, Forbidden, NotFound
from core.log import mask_text
from core.models import Campaign, ChainHead, Checkpoint, Export, User
from core.services.paging import Page, page
from core.services.people import Actor
from core.statuses import WorkStatus

AUDIT = "audit"
MOST_PEOPLE_ALONE = 1_000  # a package that names more leaves the house when two people want it


async def add(session: AsyncSession, *, filters: dict[str, Any], reason: str, actor: Actor) -> Export:
    """Ask for an audit package; a worker builds it."""
    why = mask_text(reason)  # it is kept, and goes into the package
    export = Export(kind=AUDIT, status=WorkStatus.WAITING, filters=filters, reason=why, created_by=actor.user_id)
    session.add(export)
    await session.flush()
    await session.refresh(export)
    queue.ring_after_commit(session, queue.BUILD_AUDIT, export.id)
    return export


async def get(session: AsyncSession, export_id: UUID, *, lock: bool = False) -> Export:
    """The export; raises NotFound."""
    export = await session.get(Export, export_id, with_for_update=lock)
    if export is None:
        raise NotFound("no such export", export_id=str(export_id))
    return export


async def list_page(session: AsyncSession, *, limit: int, cursor: str | None) -> Page[Export]:
    return await page(session, select(Export), Export.id.expression, limit=limit, cursor=cursor)


def finish(export: Export, path: Path, built: Built, *, now: datetime) -> None:
    """The package is complete at `path`."""
    export.path, export.facts, export.finished_at = str(path), built.facts(), now
    export.bytes, export.sha256 = built.bytes, built.sha256
    export.status = WorkStatus.DONE


def waits_for_approval(export: Export) -> bool:
    """Whether the finished package names so many people that a second person has to agree first."""
    return export.facts.get("people", 0) > MOST_PEOPLE_ALONE and export.approved_at is None


async def approve(session: AsyncSession, export_id: UUID, *, actor: Actor, now: datetime) -> Export:
    """Let a large package out; raises Conflict when it needs no approval, Forbidden for whoever asked for it.

    Programs cannot approve: a key says nothing about who holds it.
    """
    export = await get(session, export_id, lock=True)
    if export.status is not WorkStatus.DONE or not waits_for_approval(export):
        raise Conflict("this package does not wait for an approval", status=export.status)
    if actor.user_id is None or actor.user_id == export.created_by:
        raise Forbidden("somebody else than who asked for the package has to approve it, signed in by name")
    export.approved_by, export.approved_at = actor.user_id, now
    await session.flush()
    return export


def file_of(export: Export) -> Path:
    """Where the finished package is; raises Conflict while it is not there, or may not leave yet."""
    if waits_for_approval(export):
        raise Conflict(
            f"this package names {export.facts['people']:,} people: a second person has to approve it first,"
            " on the page Ledger and audits"
        )
    if export.status is not WorkStatus.DONE or export.path is None:
        raise Conflict("the package is not finished", status=export.status)
    path = Path(export.path)
    if not path.exists():
        raise Conflict("the package's file is gone: export again")
    return path


async def campaign_names(session: AsyncSession, found: Sequence[Export]) -> dict[str, str]:
    """What the campaigns are called that packages are about, by their ids as the filters say them."""
    ids = {str(export.filters["campaign_id"]) for export in found if export.filters.get("campaign_id")}
    named = select(Campaign.id, Campaign.name).where(Campaign.id.in_([UUID(each) for each in ids]))
    return {str(row.id): row.name for row in await session.execute(named)} if ids else {}


async def asked_by(session: AsyncSession, export: Export) -> str:
    """Who asked for the package, for people who read it."""
    name = await session.scalar(select(User.name).where(User.id == export.created_by))
    return f"{name} ({export.created_by})" if name else "a program with an API key"


async def ledger_standing(session: AsyncSession) -> tuple[int, Checkpoint | None]:
    """How many events the ledger has, and its newest signed checkpoint."""
    size = await session.scalar(select(ChainHead.seq)) or 0
    return size, await ledger.latest_checkpoint(session)
