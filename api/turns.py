"""Work that needs a connection of its own, a few at a time; whoever would wait too long is told to come again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.errors import Unavailable


class Turns:
    """At most `at_once` work at the same moment, and at most `waiting` stand in line."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self.here = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises Unavailable when the line is full."""
        if self.here >= self._most:
            raise Unavailable("too many webhooks are waiting; send it again")
        self.here += 1
        try:
            async with self._free:
                yield
        finally:
            self.here -= 1
