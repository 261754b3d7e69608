"""Where does one campaign lose people, and which variant did better?"""

from typing import Any

import polars as pl
import streamlit as st

from analytics.metrics import METRICS
from analytics.report import CampaignReport
from core.settings import get_settings
from dashboard import charts, controls, data, format, session, words
from dashboard.campaign_payloads import Campaign


def _noun(metric: str) -> str:
    return METRICS[metric].label.lower()


def _tiles(figures: dict[str, Any], rates: pl.DataFrame, currency: str) -> None:
    whole = rates.filter(pl.col("variant").is_null())
    first, second, third, fourth = controls.cells(4, min_width=165)
    for column, name in ((first, "read_rate"), (second, "click_rate")):
        row = whole.filter(pl.col("metric") == name).row(0, named=True)
        column.metric(row["label"], format.share(row["value"]), help=METRICS[name].definition)
        counts = f"{format.count(row['numerator'])} / {format.count(row['denominator'])}"
        column.caption(f"{counts} {_noun(METRICS[name].denominator)}")
    third.metric("Net revenue", format.money(figures["net_revenue"], currency), help=METRICS["net_revenue"].definition)
    third.caption(f"{format.count(figures['attributed_conversions'])} credited orders")
    fourth.metric("Cost", format.money(figures["cost"], currency), help=METRICS["cost"].definition)
    returned = figures["roas"]
    fourth.caption(f"return on spend {format.DASH if returned is None else f'{returned:,.1f} times'}")
    if figures["unpriced"]:
        st.caption(f"No price is known for {format.count(figures['unpriced'])} delivered messages.")


def _funnel(report: CampaignReport) -> None:
    st.subheader("From targeted to converted")
    st.caption("Bars are shares of the targeted. The table has every step's own denominator and its 95 % interval.")
    st.plotly_chart(charts.funnel(report.funnel), key="funnel", config=charts.config())
    rows = list(report.funnel.iter_rows(named=True))
    with st.expander("Every step as a table"):
        controls.table(
            {
                "Variant": [row["variant_label"] or "All" for row in rows],
                "Stage": [row["label"] for row in rows],
                "Of the step before": [
                    format.rate(row["messages"], row["step_denominator"], _noun(row["step_of"])) for row in rows
                ],
                "95 % interval": [format.interval(row["low"], row["high"]) for row in rows],
                "Of the targeted": [format.rate(row["messages"], row["targeted"], "targeted") for row in rows],
            }
        )
        st.download_button(
            "Download as CSV",
            format.csv_text(report.funnel),
            "funnel.csv",
            "text/csv",
            key="funnel_csv",
            on_click="ignore",
        )


def _rates(rates: pl.DataFrame) -> None:
    st.subheader("Rates and how sure they are")
    st.plotly_chart(charts.rates_with_intervals(rates), key="rates", config=charts.config())
    rows = list(rates.iter_rows(named=True))
    with st.expander("Every rate as a table"):
        controls.table(
            {
                "Rate": [row["label"] for row in rows],
                "Variant": [row["variant_label"] or "All" for row in rows],
                "Value": [
                    format.rate(row["numerator"], row["denominator"], _noun(METRICS[row["metric"]].denominator))
                    for row in rows
                ],
                "95 % interval": [format.interval(row["low"], row["high"]) for row in rows],
            }
        )
    st.caption(
        "Intervals are Wilson's. Read receipts can be switched off, so the read rate is a lower bound and does not "
        "decide between variants by itself."
    )


def _losses(report: CampaignReport, campaign: Campaign) -> None:
    left, right = controls.cells(2, min_width=400)
    figures = report.figures.row(0, named=True)
    with left:
        st.subheader("Why messages failed")
        meanings = {failure.code: failure.meaning for failure in campaign.failures}
        rows = list(report.failures.iter_rows(named=True))
        if rows:
            controls.table(
                {
                    "What happened": [
                        meanings.get(row["error_code"] or -1, f"Code {row['error_code'] or 'not given'}")
                        for row in rows
                    ],
                    "Messages": [format.rate(row["messages"], figures["failed"], "failed") for row in rows],
                }
            )
        else:
            st.caption("No message has failed.")
    with right:
        st.subheader("Why people were skipped")
        skips = {row["skip_reason"] or "unknown": row["suppressed"] for row in report.skips.iter_rows(named=True)}
        if skips:
            controls.reasons_table(skips, whole=figures["suppressed"], noun="skipped")
        else:
            st.caption("Nobody was skipped.")
        if figures["holdout"]:
            st.caption(f"{format.count(figures['holdout'])} people were held out and are not among the targeted.")


st.title("Results")
settings = get_settings()
client = session.client()
launched = [c for c in client.campaigns(limit=100).items if c.status not in ("draft", "in_review", "scheduled")]
if not launched:
    st.info("No campaign has been launched yet. Its results appear here a minute after the first message.")
    st.stop()
picked = controls.campaign_picker(launched, key="results_campaign")
head = data.head()
report = data.campaign_report(head.version, picked.id)
figures = report.figures.row(0, named=True)
if not figures["targeted"]:
    st.info(
        "The reports know no message of this campaign yet. They are refreshed every minute; *Live* is ahead of them."
    )
    st.stop()
st.caption(
    f"{words.campaign_status(picked.status)} · what was known at {format.instant(head.as_of, settings.time_zone)} · "
    "orders are credited to the last touch"
)
if figures["open"] or figures["queued"]:
    pending = figures["open"] + figures["queued"]
    waiting = format.rate(pending, figures["targeted"], "targeted")
    st.caption(f"Not final: {waiting} have no outcome yet.")
_tiles(figures, report.rates, settings.currency)
_funnel(report)
_rates(report.rates)
_losses(report, client.campaign(picked.id))
