"""The only cached functions: the pool of connections to the API, and what the lake says.

What the lake says is keyed by the lake's version, so a refresh is seen at once and nothing is asked twice. It is
aggregates only, the same for every role that has a page showing them.
"""

from datetime import date, datetime
from typing import NamedTuple

import httpx
import polars as pl
import streamlit as st
from adbc_driver_manager import Error as DatabaseError

from analytics import report
from analytics.lake import Lake, head_version, open_lake
from analytics.metrics import query
from analytics.stats import wilson
from core.errors import Unavailable
from core.settings import get_settings
from dashboard.api_client import open_http

HEADLINES = (
    "delivered",
    "read_rate",
    "click_rate",
    "opt_out_rate",
    "attributed_conversions",
    "net_revenue",
    "cost",
)
DAILY = ("read_rate", "click_rate", "conversion_rate", "opt_out_rate", "delivery_rate")
BY_CAMPAIGN = ("delivered", "read_rate", "click_rate", "conversion_rate", "net_revenue", "cost")
TOP = 8


class Head(NamedTuple):
    """Which lake is shown, and up to when it knows everything."""

    version: int
    as_of: datetime


@st.cache_resource(show_spinner=False, on_release=httpx.Client.close)
def http(base_url: str) -> httpx.Client:
    """One pool of connections to the API for all visitors; it holds no session."""
    return open_http(base_url)


@st.cache_resource(show_spinner=False, max_entries=2)
def _lake(version: int) -> Lake:
    """The lake at its current version, which is `version`; opened once, shared, and let go after the next but one."""
    return open_lake(get_settings())


def head() -> Head:
    """The lake's current version; raises Unavailable when the database that knows it cannot be asked."""
    settings = get_settings()
    if not settings.database_url:
        raise Unavailable("The reports need the database: set KAIRAN_DATABASE_URL for the dashboard too.")
    try:
        version = head_version(settings)
        return Head(version, _lake(version).as_of)
    except DatabaseError as down:
        raise Unavailable("The reports cannot be read: the database does not answer.") from down


@st.cache_data(show_spinner=False, max_entries=200)
def headlines(version: int, since: date, until: date) -> pl.DataFrame:
    """The tiles of [since, until) beside the equally long time before; columns as `report.tiles` says."""
    return report.tiles(_lake(version), ("targeted", *HEADLINES), since=since, until=until)


@st.cache_data(show_spinner=False, max_entries=200)
def daily(version: int, since: date, until: date) -> pl.DataFrame:
    """One row per day on which messages were queued: `day`, each rate of `DAILY` with numerator and denominator."""
    return query(_lake(version), DAILY, by=("day",), since=since, until=until)


@st.cache_data(show_spinner=False, max_entries=200)
def top_campaigns(version: int, since: date, until: date) -> pl.DataFrame:
    """The campaigns of [since, until) that brought most net revenue: `campaign`, `campaign_name`, `BY_CAMPAIGN`."""
    lake = _lake(version)
    return report.top_campaigns(lake, BY_CAMPAIGN, order_by="net_revenue", limit=TOP, since=since, until=until)


@st.cache_data(show_spinner=False, max_entries=200)
def campaign_report(version: int, campaign_id: str) -> report.CampaignReport:
    """One campaign; its funnel has Wilson's 95 % interval of every step in `low` and `high`."""
    found = report.campaign_report(_lake(version), campaign_id)
    low, high = wilson(pl.col("messages"), pl.col("step_denominator"))
    funnel = found.funnel.with_columns(low.alias("low"), high.alias("high"))
    return report.CampaignReport(found.campaign, found.figures, found.rates, funnel, found.failures, found.skips)
