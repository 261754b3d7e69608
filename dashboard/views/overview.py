"""How are we doing?"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import streamlit as st

from analytics.metrics import METRICS
from analytics.registry import Unit
from core.settings import get_settings
from dashboard import charts, controls, data, format

BAD_WHEN_UP = frozenset({"opt_out_rate", "cost"})


def _value(row: dict[str, Any], currency: str) -> str:
    unit, value = Unit(row["unit"]), row["value"]
    if unit is Unit.RATE:
        return format.share(value)
    return format.money(value, currency) if unit is Unit.MICROS else format.count(value)


def _tile(row: dict[str, Any], currency: str) -> None:
    metric = METRICS[row["metric"]]
    change = format.change(row["value"], row["previous"], is_rate=metric.unit is Unit.RATE)
    st.metric(
        metric.label,
        _value(row, currency),
        change,
        delta_color="inverse" if metric.name in BAD_WHEN_UP else "normal",
        help=metric.definition,
    )
    if metric.unit is Unit.RATE:
        noun = METRICS[metric.denominator].label.lower()
        st.caption(f"{format.count(row['numerator'])} / {format.count(row['denominator'])} {noun}")
    if change is None:
        st.caption("nothing to compare with")


def _tiles(frame: pl.DataFrame, currency: str) -> None:
    rows = [row for row in frame.iter_rows(named=True) if row["metric"] != "targeted"]
    grid = st.grid(4, min_column_width=190, border=True)
    for row in rows:
        with grid.cell():
            _tile(row, currency)


def _top(frame: pl.DataFrame, currency: str) -> None:
    st.subheader("Campaigns that brought most")
    st.caption(f"{METRICS['net_revenue'].definition}")
    if any(frame["net_revenue"]):
        st.plotly_chart(charts.top_campaigns(frame, currency), key="top_campaigns", config=charts.config())
    else:
        st.caption("No order has been credited to a campaign in this period.")
    rows = list(frame.iter_rows(named=True))

    def rates(name: str) -> list[str]:
        noun = METRICS[METRICS[name].denominator].label.lower()
        return [format.rate(row[f"{name}_numerator"], row[f"{name}_denominator"], noun) for row in rows]

    controls.table(
        {
            "Campaign": [row["campaign_name"] or "Unnamed" for row in rows],
            "Read": rates("read_rate"),
            "Clicked": rates("click_rate"),
            "Converted": rates("conversion_rate"),
            "Net revenue": [format.money(row["net_revenue"], currency) for row in rows],
            "Cost": [format.money(row["cost"], currency) for row in rows],
        }
    )


settings = get_settings()
st.title("Overview")
since, until = controls.date_window(datetime.now(ZoneInfo(settings.time_zone)).date())
head = data.head()
frame = data.headlines(head.version, since, until)
if not frame.filter(pl.col("metric") == "targeted")["value"][0]:
    st.info("No message was made in this period. Choose a longer one, or launch a campaign.")
    st.stop()
st.caption(
    f"Messages queued {format.days(since, until)}, and what was known of them at "
    f"{format.instant(head.as_of, settings.time_zone)}. Arrows compare with the {(until - since).days} days before. "
    "Orders are credited to the last touch."
)
_tiles(frame, settings.currency)
st.subheader("Rates by day")
chosen = st.pills(
    "Rates",
    data.DAILY,
    selection_mode="multi",
    default=data.DAILY[:4],
    format_func=lambda name: METRICS[name].label,
    key="rates",
    label_visibility="collapsed",
)
if chosen:
    figure = charts.rates_over_time(data.daily(head.version, since, until), chosen, since, until)
    st.plotly_chart(figure, key="daily_rates", config=charts.config())
    st.caption("By the day the message was queued. Days without messages leave a gap.")
else:
    st.caption("Choose a rate to draw.")
_top(data.top_campaigns(head.version, since, until), settings.currency)
