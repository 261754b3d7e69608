"""Tables that are more than metrics by dimensions: local hours, failures, and who earned which order."""

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from analytics.lake import Lake
from analytics.registry import Filters, Scope, attribution_model, dimension

ENOUGH = 30  # deliveries a cell of the heatmap needs to be shown plainly


def heatmap(
    lake: Lake,
    *,
    local: bool = True,
    since: date | None = None,
    until: date | None = None,
    as_of: datetime | None = None,
    filters: Filters | None = None,
) -> pl.DataFrame:
    """When messages were accepted and what became of them: one row per weekday and hour that occurs.

    Columns: weekday (Int64, 1 = Monday), hour (Int64), sent, delivered, read, clicked (Int64), read_rate, click_rate
    (Float64, of delivered, null over 0), enough (Boolean: at least 30 delivered). Hours are the recipient's own, or
    with `local=False` the organisation's. Send hours are not randomised: this describes, it does not explain.
    """
    where, parameters = Scope(since, until, filters or {}).where()
    zone = "CASE WHEN known.name IS NULL THEN run.time_zone ELSE m.time_zone END" if local else "run.time_zone"
    statement = f"""
        WITH placed AS (
            SELECT timezone({zone}, m.accepted_at) AS accepted, m.sent, m.delivered, m.read, m.clicked
            FROM fct_outcome AS m
            CROSS JOIN run
            LEFT JOIN pg_timezone_names() AS known ON known.name = m.time_zone
            WHERE m.accepted AND {where}
        )
        SELECT isodow(accepted) AS weekday, hour(accepted) AS hour, count(*) FILTER (WHERE sent) AS sent,
            count(*) FILTER (WHERE delivered) AS delivered, count(*) FILTER (WHERE read) AS read,
            count(*) FILTER (WHERE clicked) AS clicked
        FROM placed GROUP BY 1, 2 ORDER BY 1, 2
    """  # noqa: S608 - names from the registry
    delivered = pl.col("delivered")
    return (
        lake.at(as_of)
        .frame(statement, parameters)
        .with_columns(
            *(
                pl.when(delivered > 0).then(pl.col(part) / delivered).alias(rate)
                for part, rate in (("read", "read_rate"), ("clicked", "click_rate"))
            ),
            (delivered >= ENOUGH).alias("enough"),
        )
    )


def failures(
    lake: Lake,
    *,
    by: Sequence[str] = (),
    since: date | None = None,
    until: date | None = None,
    as_of: datetime | None = None,
    filters: Filters | None = None,
) -> pl.DataFrame:
    """Why messages failed: one row per error code (and `by`), the most frequent first.

    Columns: by…, error_code (Int64, null: none given), messages (Int64), share (Float64, of all failed in scope) and
    cumulative_share (running from the top).
    """
    where, parameters = Scope(since, until, filters or {}).where()
    columns = "".join(f'{dimension(name).sql} AS "{name}", ' for name in by)
    groups = ", ".join(str(number + 1) for number in range(len(by) + 1))
    statement = f"""
        SELECT {columns} error_code, count(*) AS messages
        FROM fct_outcome WHERE failed AND {where} GROUP BY {groups}
        ORDER BY messages DESC, {groups}
    """  # noqa: S608 - names from the registry
    messages = pl.col("messages")
    return (
        lake.at(as_of)
        .frame(statement, parameters)
        .with_columns(
            (messages / messages.sum()).alias("share"), (messages.cum_sum() / messages.sum()).alias("cumulative_share")
        )
    )


def credited_orders(
    lake: Lake,
    *,
    attribution: str = "last_touch",
    since: date | None = None,
    until: date | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """Who earned which orders: one row per campaign and variant, and one with nulls for orders nobody is credited with.

    Columns: campaign, campaign_name, variant, variant_label (String), orders (Int64, distinct), credit (Float64),
    gross, refunds, net (Int64 micros). By the local day of the order in [since, until), unlike `query`, which goes by
    the message's; so the rows add up to all orders of the period.
    """
    statement = """
        SELECT a.campaign_id AS campaign, c.campaign_name, a.variant_id AS variant, v.variant_label,
            count(DISTINCT a.order_id) AS orders, sum(a.credit_micros)::BIGINT / 1e6 AS credit,
            coalesce(sum(a.gross_micros), 0)::BIGINT AS gross, coalesce(sum(a.refund_micros), 0)::BIGINT AS refunds,
            coalesce(sum(a.gross_micros - a.refund_micros), 0)::BIGINT AS net
        FROM fct_attribution AS a
        JOIN run ON run.currency = a.currency
        LEFT JOIN dim_campaign AS c ON c.campaign_id = a.campaign_id
        LEFT JOIN dim_variant AS v ON v.variant_id = a.variant_id
        WHERE a.model = $model
            AND timezone(run.time_zone, a.converted_at)::DATE >= $since
            AND timezone(run.time_zone, a.converted_at)::DATE < $until
        GROUP BY 1, 2, 3, 4 ORDER BY 2, 4, 1, 3
    """
    return lake.at(as_of).frame(
        statement,
        {"model": attribution_model(attribution), "since": since or date.min, "until": until or date.max},
    )
