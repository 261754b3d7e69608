"""The wall clock, in one place."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, in UTC, with its zone."""
    return datetime.now(UTC)
