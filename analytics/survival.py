"""How fast messages are read: the Kaplan-Meier estimate, which treats the unread as not read *yet*."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from analytics.lake import Lake
from analytics.registry import Filters, Scope, dimension
from analytics.stats import Z95

WATCHED_S = 7 * 86_400  # after a week we stop looking
MOST_POINTS = 5_000  # more distinct instants than this are put in bins

HOURS = {"within_1h": 3_600, "within_24h": 86_400, "within_7d": WATCHED_S}

# Four bins per factor of two: at most 19 % of t off.
BINNED = "round(pow(2, floor(4 * log2(1 + waited_s)) / 4) - 1, 6)"


class TimeToRead(NamedTuple):
    """`curve`: one row per group and instant of a read; `summary`: one row per group."""

    curve: pl.DataFrame
    summary: pl.DataFrame


def time_to_read(
    lake: Lake,
    *,
    by: Sequence[str] = (),
    since: date | None = None,
    until: date | None = None,
    as_of: datetime | None = None,
    filters: Filters | None = None,
) -> TimeToRead:
    """Survival of "not yet read" over messages delivered with a receipt; groups by dimensions, sorted by them.

    `curve`: by…, seconds (Float64), at_risk, reads (Int64), survival, read_share = 1 - survival, and low, high, the
    95 % band of read_share (null where survival is 0 or 1).
    `summary`: by…, messages, reads, excluded (Int64: delivered without a receipt, so nobody knows when),
    excluded_share, median_s (null when fewer than half read), within_1h, within_24h, within_7d (share read; null
    when nobody was watched that long).

    The unread are censored at seven days, or at the cut when that is sooner. Recipients with receipts off never
    read: the plateau is not "unread". Sources: Kaplan and Meier, JASA 53 (1958), 457-481; Greenwood's variance on the
    log-log scale, Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data (2002), section 1.4.
    """
    cut = lake.at(as_of)
    names = list(by)
    waits = _waits(cut, names, Scope(since, until, filters or {}), "waited_s")
    if waits.height > MOST_POINTS:
        waits = _waits(cut, names, Scope(since, until, filters or {}), BINNED)
    curve = _curve(waits.filter(pl.col("waited_s").is_not_null()), names)
    return TimeToRead(
        curve.filter(pl.col("reads") > 0).select(
            *names, "seconds", "at_risk", "reads", "survival", "read_share", "low", "high"
        ),
        _summary(waits, curve, names),
    )


def _waits(lake: Lake, names: list[str], scope: Scope, instant: str) -> pl.DataFrame:
    """Per group and waiting time: how many were read then, and how many left unread; null time: excluded."""
    where, parameters = scope.where()
    columns = "".join(f'{dimension(name).sql} AS "{name}", ' for name in names)
    groups = ", ".join(str(number + 1) for number in range(len(names) + 1))
    statement = f"""
        WITH watched AS (
            SELECT {columns}
                CASE WHEN delivered_evidence = 'receipt' THEN least(
                    CASE WHEN read THEN date_diff('microsecond', delivered_at, read_at) / 1e6 END,
                    greatest(date_diff('microsecond', delivered_at, run.now) / 1e6, 0),
                    {WATCHED_S}
                ) END AS waited_s,
                coalesce(
                    read AND date_diff('microsecond', delivered_at, read_at) / 1e6 <= {WATCHED_S}, false
                ) AS was_read
            FROM fct_outcome CROSS JOIN run
            WHERE delivered AND {where}
        )
        SELECT {"".join(f'"{name}", ' for name in names)} {instant} AS waited_s,
            count(*) FILTER (WHERE was_read) AS reads, count(*) AS messages
        FROM watched GROUP BY {groups} ORDER BY {groups}
    """  # noqa: S608 - names from the registry
    return lake.frame(statement, parameters).with_columns(pl.col("waited_s").cast(pl.Float64))


def _curve(waits: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """S(t) = Π(1 - d/n) with its band, at every instant something ended."""
    at_risk = _over(pl.col("messages").sum(), names) - _over(pl.col("messages").cum_sum(), names) + pl.col("messages")
    died = pl.col("reads").cast(pl.Float64)
    left = pl.col("at_risk").cast(pl.Float64)
    variance = _over((died / (left * (left - died))).cum_sum(), names)
    spread = Z95 * variance.sqrt() / pl.col("survival").log().abs()
    certain = (pl.col("survival") <= 0) | (pl.col("survival") >= 1)
    return (
        waits.sort(*names, "waited_s", nulls_last=True)
        .with_columns(at_risk.cast(pl.Int64).alias("at_risk"))
        .with_columns(_over((1 - died / left).cum_prod(), names).alias("survival"))
        .with_columns((1 - pl.col("survival")).alias("read_share"), pl.col("waited_s").alias("seconds"))
        .with_columns(
            pl.when(~certain).then(1 - pl.col("survival").pow((-spread).exp())).alias("low"),
            pl.when(~certain).then(1 - pl.col("survival").pow(spread.exp())).alias("high"),
        )
    )


def _summary(waits: pl.DataFrame, curve: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    known = pl.col("waited_s").is_not_null()
    keys = names or ["everything"]
    waits, curve = (frame.with_columns(pl.lit(True).alias("everything")) for frame in (waits, curve))
    totals = waits.group_by(keys, maintain_order=True).agg(
        pl.col("messages").filter(known).sum().alias("messages"),
        pl.col("reads").filter(known).sum().alias("reads"),
        pl.col("messages").filter(~known).sum().alias("excluded"),
    )
    seconds, survival = pl.col("seconds"), pl.col("survival")
    shares = [
        pl.when(seconds.max() >= limit).then(1 - survival.filter(seconds <= limit).min().fill_null(1.0)).alias(name)
        for name, limit in HOURS.items()
    ]
    figures = curve.group_by(keys).agg(seconds.filter(survival <= 0.5).min().alias("median_s"), *shares)
    excluded = pl.col("excluded") / (pl.col("excluded") + pl.col("messages"))
    return (
        totals.join(figures, on=keys, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(excluded.alias("excluded_share"))
        .select(*names, "messages", "reads", "excluded", "excluded_share", "median_s", *HOURS)
    )


def _over(expression: pl.Expr, names: list[str]) -> pl.Expr:
    return expression.over(names) if names else expression
