"""From the script that signed somebody in to the route that sets the cookie: a code that works once, for a minute.

A Streamlit script cannot set a cookie that scripts of the browser cannot read. So it leaves the session's token here
and gives the browser a code, which the browser brings to a route of the same server; the answer has the cookie. The
token itself is never in the page.
"""

import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

LIFETIME_S = 60.0


@dataclass(frozen=True)
class Left:
    token: str
    ends_at: datetime
    until: float  # monotonic seconds


_left: dict[str, Left] = {}
_lock = threading.Lock()


def leave(token: str, ends_at: datetime) -> str:
    """Keep the token for the browser to fetch; returns the code."""
    code, now = secrets.token_urlsafe(32), time.monotonic()
    with _lock:
        for old in [each for each, left in _left.items() if left.until <= now]:
            del _left[old]
        _left[code] = Left(token, ends_at, now + LIFETIME_S)
    return code


def is_waiting(code: str) -> bool:
    with _lock:
        left = _left.get(code)
        return left is not None and left.until > time.monotonic()


def take(code: str) -> tuple[str, int] | None:
    """The token and the seconds it lives still; None for a code that was used, is too old, or was made up."""
    with _lock:
        left = _left.pop(code, None)
    if left is None or left.until <= time.monotonic():
        return None
    seconds = int((left.ends_at - datetime.now(UTC)).total_seconds())
    return (left.token, seconds) if seconds > 0 else None
