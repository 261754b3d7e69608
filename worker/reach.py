"""Whether the provider answers: once it has fallen silent, one message at a time is tried until it does.

A request without an answer may have arrived, and marketing is never sent again on doubt. So every request into a
silence may cost somebody their message, and a provider that hangs for an hour would cost a whole campaign.
"""

import time
from collections.abc import Callable, Iterable

from core.statuses import DeliveryStatus
from core.whatsapp.client import Outcome

SILENT_AFTER = 10  # requests in a row without an answer
FIRST_S, MOST_S = 2.0, 8.0  # between tries


class Reach:
    """What this process knows of it. Connections that were never made do not count: those are tried again anyway."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unanswered = 0
        self._wait_s, self._next_at = FIRST_S, 0.0
        self.is_said_down = False  # whether we told everybody so, and have to take it back

    @property
    def is_silent(self) -> bool:
        return self._unanswered >= SILENT_AFTER

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """One answer, of whatever kind, ends the silence."""
        was_silent = self.is_silent
        for outcome in outcomes:
            if outcome.status is DeliveryStatus.UNKNOWN:
                self._unanswered += 1
            elif outcome.reached:
                self._unanswered = 0
        if not self.is_silent:
            self._wait_s = FIRST_S
        elif not was_silent:
            self._next_at = self._clock() + self._wait_s

    def may_try(self) -> bool:
        """Whether one message may be tried now; whoever is told so is the only one for a while."""
        if self._clock() < self._next_at:
            return False
        self._wait_s = min(MOST_S, 2 * self._wait_s)
        self._next_at = self._clock() + self._wait_s
        return True
