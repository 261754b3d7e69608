"""One heap and one timer for everything that happens later."""

import asyncio
import logging
import time
from collections.abc import Callable
from heapq import heappop, heappush

from sandbox.clock import Clock

log = logging.getLogger("sandbox.scheduler")
_SLICE_S = 0.005  # how long events may run before requests get their turn
_LONGEST_SLEEP_S = 3600.0  # event loops dislike timers of many days


class Scheduler:
    """Calls functions at given instants of the clock, earliest first, ties in order of scheduling."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_at = float("inf")
        self.failures = 0

    def __len__(self) -> int:
        """How many calls are still due."""
        return len(self._heap)

    def next_due_at(self) -> float | None:
        """When the earliest call is due, in Unix seconds."""
        return self._heap[0][0] if self._heap else None

    def at(self, due: float, call: Callable[..., None], *arguments: object) -> None:
        """Call `call(*arguments)` at `due` (Unix seconds), or as soon as possible if that has passed."""
        self._count += 1
        heappush(self._heap, (due, self._count, call, arguments))
        if due < self._timer_at:
            self.wake()

    def start(self) -> None:
        """Begin calling, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.wake()

    def stop(self) -> None:
        """Call nothing any more; what is due stays due."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop, self._timer, self._timer_at = None, None, float("inf")

    def clear(self) -> None:
        """Forget everything that is due."""
        self._heap.clear()

    def wake(self) -> None:
        """Set the timer for the earliest call: it changed, or the clock was moved."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, float("inf")
        if self._loop is None or not self._heap:
            return
        due = self._heap[0][0]
        wait = min(due - self._clock.now(), _LONGEST_SLEEP_S)
        if wait > 0:
            self._timer_at = due
            self._timer = self._loop.call_later(wait, self._run)
        else:
            self._timer_at = float("-inf")  # nothing can be earlier than at once
            self._timer = self._loop.call_soon(self._run)

    def _run(self) -> None:
        heap, stop_at = self._heap, time.monotonic() + _SLICE_S
        self._timer_at = float("-inf")
        now = self._clock.now()
        while heap and heap[0][0] <= now:
            _, _, call, arguments = heappop(heap)
            try:
                call(*arguments)
            except Exception:  # one faulty event must not end the simulation; it is counted and shown in the summary
                self.failures += 1
                log.exception("event failed")
            if time.monotonic() > stop_at:
                break
        self.wake()
