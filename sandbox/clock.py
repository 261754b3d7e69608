"""The simulator's clock: wall time that a test may push forward."""

import time


class Clock:
    """Seconds since the Unix epoch, never going backwards; `advance` makes it jump ahead."""

    def __init__(self, start: float | None = None) -> None:
        self._base = (time.time() if start is None else start) - time.monotonic()

    def now(self) -> float:
        """Unix seconds with sub-second precision."""
        return self._base + time.monotonic()

    def advance(self, seconds: float) -> None:
        """Jump `seconds` (not negative) ahead, as if they had passed."""
        if seconds < 0:
            raise ValueError("the clock only goes forward")
        self._base += seconds
