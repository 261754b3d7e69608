"""Reading the bodies that wait: the next ones are parsed while the database is busy with those before."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import BigInteger

from core.db import Sessions
from core.services.folding import array
from core.whatsapp.webhooks import Parsed, parse

BATCH_BODIES = 2000  # recorded in one transaction at most, and
BATCH_BYTES = 3 << 20  # their bytes: about ten thousand statuses


@dataclass(frozen=True)
class Waiting:
    """A body that is to be recorded."""

    id: int
    parsed: Parsed
    is_first: bool  # false for a replay: what it says was counted before


_NEXT = text(
    f"""
    SELECT id, before + bytes >= {BATCH_BYTES} AS is_full
      FROM (SELECT id, bytes, sum(bytes) OVER (ORDER BY id) - bytes AS before
              FROM (SELECT id, octet_length(body) AS bytes FROM webhook_events
                     WHERE status = 'waiting' AND id > :after ORDER BY id LIMIT {BATCH_BODIES}) w) n
     WHERE before < {BATCH_BYTES} ORDER BY id
    """  # noqa: S608 - built from constants
)
_BODIES = text(
    "SELECT id, body, created_at, recorded_at IS NULL AS is_first FROM webhook_events WHERE id = ANY(:ids)"
).bindparams(array("ids", BigInteger()))


@dataclass
class Reader:
    """Hands out batches of waiting bodies in order of arrival. One that was read ahead is not read again."""

    sessions: Sessions
    _known: dict[int, Waiting] = field(default_factory=dict)
    _ahead: asyncio.Task[None] | None = None

    async def next(self, session: AsyncSession) -> list[Waiting]:
        """The bodies to record now; while they are, those behind a full batch are read."""
        found = (await session.execute(_NEXT, {"after": 0})).all()
        if self._ahead is not None:
            await self._ahead
            self._ahead = None
        await self._read(session, [row.id for row in found if row.id not in self._known])
        batch = [self._known[row.id] for row in found]
        self._known.clear()
        if found and (len(found) == BATCH_BODIES or found[-1].is_full):
            self._ahead = asyncio.create_task(self._read_behind(found[-1].id))
        return batch

    async def close(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)

    async def _read_behind(self, last: int) -> None:
        async with self.sessions() as session:
            found = (await session.execute(_NEXT, {"after": last})).all()
            await self._read(session, [row.id for row in found])

    async def _read(self, session: AsyncSession, ids: Sequence[int]) -> None:
        if not ids:
            return
        rows = (await session.execute(_BODIES, {"ids": list(ids)})).all()
        # Ten thousand statuses take a tenth of a second to read: in a thread, so that requests under way go on.
        for each in await asyncio.to_thread(_parsed, rows):
            self._known[each.id] = each


def _parsed(rows: Sequence[Row[tuple[object, ...]]]) -> list[Waiting]:
    return [Waiting(row.id, parse(row.body, received_at=row.created_at), row.is_first) for row in rows]
