"""Figures from the lake, by the registry's names."""

import asyncio
from datetime import date, datetime
from typing import Annotated, Any

from litestar import Controller, get, post
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from analytics import metrics, registry
from analytics.lake import Lake, head_version, open_lake
from api.auth import FIGURES, AuthedRequest
from api.state import Db, Held
from core import queue
from core.errors import RuleViolation
from core.models import LakeHead
from core.services import people
from core.settings import Settings


class MetricsOut(Struct):
    """One row per group: the dimensions first, then each metric; rates with numerator and denominator."""

    columns: list[str]
    rows: list[list[Any]]
    definitions: dict[str, str]
    lake_version: int
    as_of: datetime | None


class LakeOut(Struct):
    version: int
    updated_at: datetime | None


class _Shelf:
    """The newest version of the lake, opened once."""

    def __init__(self) -> None:
        self.lake: Lake | None = None
        self.guard = asyncio.Lock()

    async def newest(self, settings: Settings) -> Lake:
        async with self.guard:
            version = await asyncio.to_thread(head_version, settings)
            if self.lake is None or self.lake.version != version:
                self.lake = await asyncio.to_thread(open_lake, settings)
            return self.lake


_shelf = _Shelf()


class StatsController(Controller):
    path = "/"
    tags = ("Figures",)

    @get("/metrics", guards=[FIGURES])
    async def read(
        self,
        parts: Held,
        names: Annotated[str, QueryParameter(max_length=2000, description="Comma-separated metric names")],
        by: Annotated[str, QueryParameter(max_length=500, description="Comma-separated dimensions")] = "",
        since: FromQuery[date | None] = None,
        until: FromQuery[date | None] = None,
        campaign: Annotated[str | None, QueryParameter(max_length=50)] = None,
        attribution: Annotated[str, QueryParameter(max_length=50)] = "last_touch",
    ) -> MetricsOut:
        """Metrics of messages queued in [since, until), by dimensions; a rate over nothing is null."""
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        groups = [name.strip() for name in by.split(",") if name.strip()]
        lake = await _shelf.newest(parts.settings)
        try:
            frame = await asyncio.to_thread(
                metrics.query,
                lake,
                wanted,
                by=groups,
                since=since,
                until=until,
                filters={"campaign": [campaign]} if campaign else None,
                attribution=attribution,
            )
        except registry.UnknownName as unknown:
            raise RuleViolation(str(unknown), field="names") from unknown
        definitions = {name: registry.METRICS[name].definition for name in wanted}
        return MetricsOut(frame.columns, [list(row) for row in frame.rows()], definitions, lake.version, lake.as_of)

    @get("/lake", guards=[FIGURES])
    async def lake(self, session: Db) -> LakeOut:
        """The version the figures come from."""
        return await _lake_head(session)

    @post("/lake/refresh", guards=[FIGURES], status_code=202)
    async def refresh(self, request: AuthedRequest, session: Db) -> LakeOut:
        """Ask a worker to take in everything committed so far."""
        queue.ring_after_commit(session, queue.REFRESH_LAKE)
        await people.note(session, request.user, "lake.refresh_requested", "lake")
        return await _lake_head(session)


async def _lake_head(session: AsyncSession) -> LakeOut:
    head = (await session.execute(select(LakeHead.version, LakeHead.updated_at))).first()
    return LakeOut(head.version, head.updated_at) if head else LakeOut(0, None)
