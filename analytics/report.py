"""What the API, the dashboard and exports show together: tiles with their change, and a campaign on one page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from analytics.breakdowns import failures
from analytics.lake import Lake
from analytics.metrics import funnel, query
from analytics.registry import Filters, Metric, Unit, metric
from analytics.stats import wilson

CAMPAIGN_RATES = (
    "delivery_rate",
    "read_rate",
    "click_rate",
    "reply_rate",
    "opt_out_rate",
    "conversion_rate",
    "failure_rate",
)
CAMPAIGN_FIGURES = (
    "targeted",
    "holdout",
    "suppressed",
    "queued",
    "rejected",
    "failed",
    "open",
    "delivered",
    "cost",
    "unpriced",
    "cost_per_delivered",
    "attributed_conversions",
    "net_revenue",
    "roas",
    "time_to_deliver_median",
)


@dataclass(frozen=True)
class CampaignReport:
    """One campaign. `campaign` is its row of names, null values when unknown; the frames are described where made."""

    campaign: dict[str, object]
    figures: pl.DataFrame
    rates: pl.DataFrame
    funnel: pl.DataFrame
    failures: pl.DataFrame
    skips: pl.DataFrame


def tiles(
    lake: Lake,
    names: Sequence[str],
    *,
    since: date,
    until: date,
    as_of: datetime | None = None,
    filters: Filters | None = None,
    attribution: str = "last_touch",
) -> pl.DataFrame:
    """Metrics of [since, until) beside those of the equally long time before: one row per metric, in the order asked.

    Columns: metric, label, unit (String), value, numerator, denominator, previous, previous_numerator,
    previous_denominator, change (Float64). Counts have no numerator and denominator; change is value - previous, null
    when either is.
    """
    earlier = since - (until - since)
    now, before = (
        query(lake, names, since=start, until=end, as_of=as_of, filters=filters, attribution=attribution).row(
            0, named=True
        )
        for start, end in ((since, until), (earlier, since))
    )
    rows = [
        {"metric": one.name, "label": one.label, "unit": one.unit.value}
        | _figures(one, now, "")
        | _figures(one, before, "previous_")
        for one in map(metric, names)
    ]
    columns = ("value", "numerator", "denominator", "previous", "previous_numerator", "previous_denominator")
    texts = dict.fromkeys(("metric", "label", "unit"), pl.String)
    frame = pl.DataFrame(rows, schema=texts | dict.fromkeys(columns, pl.Float64), strict=False)
    return frame.with_columns((pl.col("value") - pl.col("previous")).alias("change"))


def _figures(one: Metric, row: dict[str, object], prefix: str) -> dict[str, object]:
    return {
        prefix.rstrip("_") or "value": row[one.name],
        f"{prefix}numerator": row.get(f"{one.name}_numerator"),
        f"{prefix}denominator": row.get(f"{one.name}_denominator"),
    }


def top_campaigns(
    lake: Lake,
    names: Sequence[str],
    *,
    order_by: str,
    limit: int = 10,
    since: date | None = None,
    until: date | None = None,
    as_of: datetime | None = None,
    filters: Filters | None = None,
    attribution: str = "last_touch",
) -> pl.DataFrame:
    """The campaigns with the most of `order_by` (one of `names`): `query`'s columns, by campaign and campaign_name."""
    rows = query(
        lake,
        names,
        by=("campaign", "campaign_name"),
        since=since,
        until=until,
        as_of=as_of,
        filters=filters,
        attribution=attribution,
    )
    rows = rows.filter(pl.col("campaign").is_not_null())
    return rows.sort(order_by, "campaign_name", "campaign", descending=[True, False, False], nulls_last=True).head(
        limit
    )


def campaign_report(
    lake: Lake, campaign: str, *, as_of: datetime | None = None, attribution: str = "last_touch"
) -> CampaignReport:
    """One campaign on one page.

    `figures`: one row of `CAMPAIGN_FIGURES`; `rates`: one row per rate and variant (variant null: all) with numerator,
    denominator and Wilson's 95 % interval; `funnel` and `failures` as the functions of these names; `skips`: messages
    per reason. A campaign without messages gives zeros and nulls.
    """
    filters = {"campaign": [campaign]}
    names = lake.frame("SELECT * FROM dim_campaign WHERE campaign_id = $campaign", {"campaign": campaign})
    figures = query(lake, CAMPAIGN_FIGURES, as_of=as_of, filters=filters, attribution=attribution)
    skips = query(lake, ["suppressed"], by=("skip_reason",), as_of=as_of, filters=filters)
    return CampaignReport(
        campaign=names.row(0, named=True) if names.height else dict.fromkeys(names.columns),
        figures=figures,
        rates=rates_by_variant(lake, CAMPAIGN_RATES, campaign, as_of=as_of, attribution=attribution),
        funnel=funnel(lake, campaign, as_of=as_of, attribution=attribution),
        failures=failures(lake, as_of=as_of, filters=filters),
        skips=skips.filter(pl.col("suppressed") > 0).sort("suppressed", descending=True),
    )


def rates_by_variant(
    lake: Lake,
    names: Sequence[str],
    campaign: str,
    *,
    as_of: datetime | None = None,
    attribution: str = "last_touch",
) -> pl.DataFrame:
    """Rates of a campaign and of each variant, with Wilson's 95 % interval.

    Columns: variant, variant_label (String, null: all), metric, label (String), value (Float64), numerator,
    denominator (Int64), low, high (Float64; null over 0). Takes metrics whose unit is rate; raises ValueError else.
    """
    wrong = [name for name in names if metric(name).unit is not Unit.RATE]
    if wrong:
        raise ValueError(f"{wrong[0]} is no rate")
    filters = {"campaign": [campaign]}
    total = query(lake, ["targeted", *names], as_of=as_of, filters=filters, attribution=attribution)
    each = query(
        lake,
        ["targeted", *names],
        by=("variant", "variant_label"),
        as_of=as_of,
        filters=filters,
        attribution=attribution,
    )
    nobody = [pl.lit(None, pl.String).alias(name) for name in ("variant", "variant_label")]
    wide = pl.concat([total.select(*nobody, *total.columns), each.filter(pl.col("targeted") > 0)])
    low, high = wilson(pl.col("numerator"), pl.col("denominator"))
    long = pl.concat(
        wide.select(
            "variant",
            "variant_label",
            pl.lit(name).alias("metric"),
            pl.lit(metric(name).label).alias("label"),
            pl.col(name).alias("value"),
            pl.col(f"{name}_numerator").alias("numerator"),
            pl.col(f"{name}_denominator").alias("denominator"),
        )
        for name in names
    )
    return long.with_columns(low.alias("low"), high.alias("high"))
