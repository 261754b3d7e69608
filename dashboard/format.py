"""Numbers and instants as people read them; null is always a dash."""

import math
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

DASH = "–"
MINUS = "\N{MINUS SIGN}"


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return DASH if value is None else f"{value:,.0f}"


def share(value: float | None, digits: int = 1) -> str:
    """A ratio 0..1 as a percentage."""
    return DASH if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def rate(numerator: int | None, denominator: int | None, noun: str) -> str:
    """A rate that carries its denominator: `75.0 % (6 / 8 delivered)`; a dash over nothing."""
    if numerator is None or not denominator:
        return f"{DASH} ({count(numerator or 0)} / {count(denominator or 0)} {noun})"
    return f"{share(numerator / denominator)} ({count(numerator)} / {count(denominator)} {noun})"


def interval(low: float | None, high: float | None) -> str:
    """A confidence interval of a ratio."""
    return DASH if low is None or high is None else f"{100 * low:.1f}–{100 * high:.1f} %"


def money(micros: float | None, currency: str) -> str:
    """Millionths of a currency unit as an amount; four digits below one unit."""
    if micros is None:
        return DASH
    amount = micros / 1_000_000
    digits = 4 if 0 < abs(amount) < 1 else 2
    return f"{MINUS if amount < 0 else ''}{abs(amount):,.{digits}f} {currency}"


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds is None:
        return DASH
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7_200:
        return f"{round(whole / 60)} min"
    hours, minutes = divmod(round(whole / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def instant(at: datetime | None, zone: str) -> str:
    """Date, time and zone: `22 Nov 2026, 18:05 CET`."""
    if at is None:
        return DASH
    local = at.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b %Y, %H:%M %Z}"


def days(since: date, until: date) -> str:
    """The days of [since, until): `24 Oct to 22 Nov 2026`."""
    last = until - timedelta(days=1)
    start = f"{since.day} {since:%b}" if since.year == last.year else f"{since.day} {since:%b %Y}"
    return f"{last.day} {last:%b %Y}" if since == last else f"{start} to {last.day} {last:%b %Y}"


def size(bytes_: int | None) -> str:
    """Bytes in the unit that reads best (powers of 1000)."""
    if bytes_ is None:
        return DASH
    amount, unit = float(bytes_), "B"
    for bigger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, bigger
    return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"


def csv_text(frame: pl.DataFrame) -> str:
    """The frame as CSV; text a spreadsheet would run gets an apostrophe in front (OWASP, "CSV injection")."""
    texts = [pl.col(name) for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(
        pl.when(text.str.contains(r"^[=+\-@\t\r]")).then(pl.concat_str(pl.lit("'"), text)).otherwise(text).alias(name)
        for text, name in zip(texts, (text.meta.output_name() for text in texts), strict=True)
    ).write_csv()


def change(now: float | None, before: float | None, *, is_rate: bool) -> str | None:
    """The change against the period before: points for rates, per cent for amounts; None when there is no base."""
    if now is None or before is None:
        return None
    if is_rate:
        return f"{100 * (now - before):+.1f} points"
    if not before:
        return None
    if before > 0 and now / before >= 10:
        return f"{now / before:,.0f} times as much"
    return f"{100 * (now - before) / abs(before):+.0f} %"
