"""Rate limits of the platform.

- Throughput: at most 80 (or 1000) messages a second per number, in and out together ("Throughput").
- Pair rate: one message per 6 s to the same person; up to 45 may be borrowed from the future ("Messaging limits":
  a burst of 45 needs about four and a half minutes of silence).
- Management calls: 5,000 an hour per account with a registered number ("Rate limits").
"""

from collections import deque


class SlidingWindow:
    """Admits at most `limit` events in any window of `period_s` seconds, wherever the window starts."""

    __slots__ = ("_limit", "_period_s", "_times")

    def __init__(self, limit: int, period_s: float = 1.0) -> None:
        self._limit, self._period_s = limit, period_s
        self._times: deque[float] = deque(maxlen=limit)

    def admit(self, now: float) -> bool:
        """Count an event at `now` unless it would exceed the limit; `now` never decreases."""
        times = self._times
        if len(times) == self._limit and now - times[0] < self._period_s:
            return False
        times.append(now)
        return True

    def count(self, now: float) -> None:
        """Count an event that cannot be refused (an inbound message)."""
        self._times.append(now)


PAIR_INTERVAL_S = 6.0
PAIR_BURST = 45


def pair_admit(busy_until: float, now: float) -> float | None:
    """The pair's new `busy_until` if a message at `now` is admitted, else None.

    The generic cell rate algorithm (ITU-T I.371): each message books 6 s of the pair's future, and at most 45 x 6 s
    may be booked ahead.
    """
    booked = max(busy_until, now) + PAIR_INTERVAL_S
    return booked if booked - now <= PAIR_BURST * PAIR_INTERVAL_S + 1e-6 else None
