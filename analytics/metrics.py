"""`query`: metrics by dimensions over one version of the lake. API, dashboard and reports ask nobody else."""

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from analytics.breakdowns import failures, heatmap
from analytics.lake import Lake
from analytics.registry import (
    ATTRIBUTIONS,
    DIMENSIONS,
    METRICS,
    Dimension,
    Filters,
    Metric,
    Scope,
    Unit,
    UnknownName,
    attribution_model,
    dimension,
    metric,
)
from analytics.survival import time_to_read

__all__ = [
    "ATTRIBUTIONS",
    "DIMENSIONS",
    "METRICS",
    "Dimension",
    "Filters",
    "Metric",
    "Unit",
    "UnknownName",
    "definitions",
    "failures",
    "funnel",
    "heatmap",
    "query",
    "time_to_read",
]

FLOATS = frozenset({Unit.RATE, Unit.RATIO, Unit.MONEY, Unit.NUMBER, Unit.SECONDS})
ATTRIBUTED = frozenset({"converted", "converted_contacts", "gross_revenue", "refunds", "net_revenue"}) | {
    "attributed_conversions"
}
SUSPECTING = frozenset({"suspected_block_contacts"})
FOLLOWING_UP = frozenset({"follow_up_cost"})


def query(
    lake: Lake,
    names: Sequence[str],
    *,
    by: Sequence[str] = (),
    since: date | None = None,
    until: date | None = None,
    as_of: datetime | None = None,
    filters: Filters | None = None,
    attribution: str = "last_touch",
) -> pl.DataFrame:
    """The named metrics, one row per group: `by` columns first and sorted by, then the metrics in the order asked.

    Without `by` there is exactly one row. Messages belong to the local day they were queued on, in [since, until);
    `filters` maps a dimension to the values wanted; `as_of` leaves out what was received later. Counts and sums are
    Int64 (money in micros), rates Float64 and null when the denominator is 0; a rate is followed by
    `<name>_numerator` and `<name>_denominator`, a quantile by `<name>_denominator`.

    Raises UnknownName for a metric, dimension or attribution model that is not in the registry.
    """
    wanted = [metric(name) for name in names]
    groups = {name: dimension(name).sql for name in by}
    needed = {part for one in wanted for part in _parts(one)}
    where, parameters = Scope(since, until, filters or {}).where()
    source, more = _source(needed, attribution_model(attribution))
    columns = [f"{sql} AS {_quoted('by_' + name)}" for name, sql in groups.items()]
    columns += [f"{METRICS[name].sql} AS {_quoted(name)}" for name in sorted(needed)]
    grouped = ", ".join(str(number + 1) for number in range(len(groups)))
    tail = f" GROUP BY {grouped} ORDER BY {grouped}" if groups else ""
    statement = f"SELECT {', '.join(columns) or 'count(*) AS nothing'} FROM {source} WHERE {where}{tail}"  # noqa: S608 - registry names
    frame = lake.at(as_of).frame(statement, parameters | more)
    return frame.select(
        *(pl.col(f"by_{name}").alias(name) for name in groups),
        *(column for one in wanted for column in _columns(one)),
    )


# A stage of the funnel and the one it is divided by. Clicks are of delivered, not of read: receipts can be off.
STAGES = {
    "targeted": "targeted",
    "attempted": "targeted",
    "accepted": "attempted",
    "sent": "accepted",
    "delivered": "sent",
    "read": "delivered",
    "clicked": "delivered",
    "converted": "delivered",
}


def funnel(
    lake: Lake, campaign: str, *, as_of: datetime | None = None, attribution: str = "last_touch"
) -> pl.DataFrame:
    """Where a campaign loses people: one row per stage, for the whole campaign (variant null) and each variant.

    Columns: variant, variant_label (String, null: all), stage, label (String), messages (Int64), step_of (String),
    step_denominator (Int64), step_rate (Float64, messages / step_denominator), targeted (Int64), overall_rate
    (Float64, messages / targeted). Rates are null over 0. Variants by label, stages in order.
    """
    options = {"as_of": as_of, "attribution": attribution}
    filters = {"campaign": [campaign]}
    stages = list(STAGES)
    each = query(lake, stages, by=("variant_label", "variant"), filters=filters, **options)  # type: ignore[arg-type]
    total = query(lake, stages, filters=filters, **options)  # type: ignore[arg-type]
    nobody = [pl.lit(None, pl.String).alias(name) for name in ("variant_label", "variant")]
    wide = pl.concat([total.select(*nobody, *stages), each.filter(pl.col("targeted") > 0)])
    return (
        pl.concat([_stage(wide.with_row_index("group"), number) for number in range(len(stages))])
        .sort("group", "number")
        .drop("group", "number")
    )


def _stage(wide: pl.DataFrame, number: int) -> pl.DataFrame:
    stage, before = list(STAGES.items())[number]
    return wide.select(
        "group",
        pl.lit(number).alias("number"),
        "variant",
        "variant_label",
        pl.lit(stage).alias("stage"),
        pl.lit(METRICS[stage].label).alias("label"),
        pl.col(stage).alias("messages"),
        pl.lit(before).alias("step_of"),
        pl.col(before).alias("step_denominator"),
        _quotient(pl.col(stage), pl.col(before)).alias("step_rate"),
        pl.col("targeted"),
        _quotient(pl.col(stage), pl.col("targeted")).alias("overall_rate"),
    )


def definitions(names: Sequence[str] | None = None) -> pl.DataFrame:
    """What each metric means: name, label, unit, definition, numerator, denominator; for help texts and exports."""
    chosen = [metric(name) for name in names] if names is not None else list(METRICS.values())
    fields = ("name", "label", "unit", "definition", "numerator", "denominator")
    return pl.DataFrame(
        [{name: str(getattr(one, name)) for name in fields} for one in chosen],
        schema=dict.fromkeys(fields, pl.String),
    )


def _parts(one: Metric) -> list[str]:
    """The aggregates a metric is made of."""
    parts = [one.name] if one.sql else [one.numerator]
    if one.denominator:
        parts.append(one.denominator)
    if one.name == "adjusted_read_rate":
        parts += ["engaged_unread", "engaged"]
    return parts


def _source(needed: set[str], attribution: str) -> tuple[str, dict[str, object]]:
    """The messages joined with what only some metrics need, and the parameters of those joins."""
    joins = ["fct_outcome"]
    parameters: dict[str, object] = {}
    if needed & ATTRIBUTED:
        joins.append(
            "(SELECT a.message_id, sum(a.credit_micros) AS credit_micros, count(*) AS conversions,"
            " sum(a.gross_micros) FILTER (WHERE a.currency = run.currency) AS gross_micros,"
            " sum(a.refund_micros) FILTER (WHERE a.currency = run.currency) AS refund_micros"
            " FROM fct_attribution AS a CROSS JOIN run WHERE a.model = $attribution AND a.message_id IS NOT NULL"
            " GROUP BY a.message_id) AS credit USING (message_id)"
        )
        parameters["attribution"] = attribution
    if needed & SUSPECTING:
        joins.append("(SELECT contact_id, true AS suspected_block FROM fct_suspect) AS suspect USING (contact_id)")
    if needed & FOLLOWING_UP:
        joins.append("fct_follow_up USING (message_id)")
    return " LEFT JOIN ".join(joins), parameters


def _columns(one: Metric) -> list[pl.Expr]:
    """The output columns of a metric, divided here and nowhere else."""
    if one.sql:
        own = pl.col(one.name).cast(pl.Float64 if one.unit in FLOATS else pl.Int64)
        return [own, pl.col(one.denominator).alias(f"{one.name}_denominator")] if one.denominator else [own]
    top, bottom = pl.col(one.numerator), pl.col(one.denominator)
    value = _quotient(top, bottom)
    if one.unit is Unit.MONEY:
        value = value / 1e6
    if one.name == "adjusted_read_rate":
        hidden = _quotient(pl.col("engaged_unread"), pl.col("engaged")).fill_null(0.0)
        value = pl.when(hidden < 1).then((value / (1 - hidden)).clip(upper_bound=1.0))
    return [
        value.alias(one.name),
        top.alias(f"{one.name}_numerator"),
        bottom.alias(f"{one.name}_denominator"),
    ]


def _quotient(top: pl.Expr, bottom: pl.Expr) -> pl.Expr:
    return pl.when(bottom != 0).then(top.cast(pl.Float64) / bottom.cast(pl.Float64))


def _quoted(name: str) -> str:
    return f'"{name}"'
