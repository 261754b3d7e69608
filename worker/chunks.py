"""Recording chunks of an import two at a time: while one is sealed in the ledger, the next one's people are made.

Each chunk is one transaction, and they commit in their order. The next chunk may begin only once the one before holds
every lock it needs but the ledger's, so that none waits for another that waits for its turn.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from core.clock import utc_now
from core.models import Import
from core.services.imports_recording import Desk, Prepared, finish_chunk, prepare_chunk
from core.services.imports_rows import Row
from worker.parts import Parts

TRIES = 3  # of a chunk in which somebody else made the same contact at the same moment

Chunk = list[tuple[Row, bool]]


@dataclass(frozen=True)
class _Open:
    """A chunk whose transaction is under way."""

    session: AsyncSession
    prepared: Prepared


@dataclass
class Recorder:
    """Takes the chunks of one import, in their order."""

    parts: Parts
    job: Import
    desk: Desk
    rows: int = 0  # recorded by this recorder
    _chunk: Chunk = field(default_factory=list)  # that is being sealed
    _sealing: asyncio.Task[bool] | None = None

    async def record_all(self, chunks: AsyncIterator[Chunk]) -> bool:
        """Record every chunk; false when the import was paused or ended before the last."""
        try:
            async for chunk in chunks:
                if not await self.record(chunk):
                    return False
            return await self.settle()
        finally:
            if self._sealing is not None:  # something broke: let the chunk in hand come to its end, whatever that is
                await asyncio.wait({self._sealing})

    async def record(self, chunk: Chunk) -> bool:
        """Take a chunk in hand; false, and nothing done, when the import was paused or ended."""
        async with AsyncExitStack() as unless_sealed:
            opened = await self._tried(chunk, unless_sealed)
            if self._sealing is not None:
                try:
                    going_on = await self._sealing
                except IntegrityError:  # somebody else made the same person: give way, and do it again alone
                    await unless_sealed.aclose()
                    opened, going_on = None, await self._alone(self._chunk)
                finally:
                    self._sealing = None
                if not going_on:
                    return False
            if opened is None:
                return await self._alone(chunk)
            unless_sealed.pop_all()
        self._chunk, self._sealing = chunk, asyncio.create_task(self._seal(opened))
        return True

    async def settle(self) -> bool:
        """Wait for the chunk in hand, the last one; false when the import was paused or ended before it."""
        if self._sealing is None:
            return True
        try:
            return await self._sealing
        except IntegrityError:
            return await self._alone(self._chunk)
        finally:
            self._sealing = None

    async def _tried(self, chunk: Chunk, stack: AsyncExitStack) -> _Open | None:
        """The chunk opened, to be given up with the stack; None when its people clash with somebody's."""
        opened = await self._open(chunk)
        if opened is not None:
            stack.push_async_callback(opened.session.close)
        return opened

    async def _alone(self, chunk: Chunk) -> bool:
        """The chunk from its beginning to its end, with no other under way."""
        for attempt in range(1, TRIES + 1):
            async with self.parts.sessions() as session:
                try:
                    prepared = await prepare_chunk(session, self.job, chunk, self.desk, now=utc_now())
                    return await self._seal(_Open(session, prepared))
                except IntegrityError:
                    if attempt == TRIES:
                        raise
        return False

    async def _open(self, chunk: Chunk) -> _Open | None:
        """None where its people clash with those of the chunk before, which has not committed yet."""
        async with AsyncExitStack() as unless_open:
            session = await unless_open.enter_async_context(self.parts.sessions())
            try:
                prepared = await prepare_chunk(session, self.job, chunk, self.desk, now=utc_now())
            except IntegrityError:
                return None
            unless_open.pop_all()
            return _Open(session, prepared)

    async def _seal(self, opened: _Open) -> bool:
        async with opened.session as session:
            if not await finish_chunk(session, opened.prepared, self.desk):
                return False  # closing takes everything back
            await session.commit()
        self.rows += opened.prepared.rows
        return True
