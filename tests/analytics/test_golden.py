"""Every number of the golden set, worked out by hand, to the last digit."""

from fractions import Fraction
from math import exp, log, sqrt
from typing import Any

import polars as pl
import pytest

from analytics.breakdowns import credited_orders
from analytics.lake import Lake
from analytics.metrics import failures, funnel, heatmap, query, time_to_read
from analytics.report import campaign_report
from analytics.stats import wilson
from tests.analytics import golden

COUNTS = [
    "targeted",
    "suppressed",
    "attempted",
    "rejected",
    "accepted",
    "sent",
    "delivered",
    "implied_delivered",
    "read",
    "failed",
    "open",
    "clicked",
    "clicks_total",
    "clicks_unique_button",
    "bot_clicks",
    "replied",
    "replies_total",
    "opted_out",
    "engaged_read",
    "read_and_clicked",
    "cost",
]
GROUPS = ("C1/A", "C1/B", "C2/N", "all")


def by_variant(lake: Lake, names: list[str], **options: Any) -> dict[str, dict[str, Any]]:
    """Values of `C1/A`, `C1/B`, `C2/N` and `all`; people held out have no variant and are left out."""
    options = {"as_of": golden.AS_OF} | options
    each = query(lake, names, by=("campaign_name", "variant_label"), **options)
    groups = {f"{row['campaign_name']}/{row['variant_label']}": row for row in each.to_dicts()}
    groups.pop("C1/None", None)
    return groups | {"all": query(lake, names, **options).to_dicts()[0]}


COUNTS_AS_OF_10 = {
    "C1/A": "4 0 4 0 4 4 3 1 3 1 0 1 3 2 0 1 2 0 3 1 83900",
    "C1/B": "4 0 4 1 3 3 2 0 1 1 1 1 1 1 0 0 0 1 2 0 273000",
    "C2/N": "4 1 3 0 3 3 3 0 2 0 0 1 1 1 1 0 0 0 2 1 21400",
    "all": "12 1 11 1 10 10 8 1 6 2 1 3 5 4 1 1 2 1 7 2 378300",
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("as_of", [golden.AS_OF, None])
def test_counts(golden_lake: Lake, group: str, as_of: Any) -> None:
    found = by_variant(golden_lake, COUNTS, as_of=as_of)[group]

    assert [found[name] for name in COUNTS] == [int(count) for count in COUNTS_AS_OF_10[group].split()]


def test_counts_in_the_past(golden_lake: Lake) -> None:
    late = by_variant(golden_lake, COUNTS)
    early = by_variant(golden_lake, COUNTS, as_of=golden.EARLY)

    assert early["C1/A"] == late["C1/A"]
    assert early["C1/B"] == late["C1/B"]
    n = {"delivered": 2, "read": 1, "failed": 1, "clicked": 0, "clicks_total": 0, "bot_clicks": 1, "cost": 10_700}
    assert {name: early["C2/N"][name] for name in n} == n
    everything = {"delivered": 7, "read": 5, "failed": 3, "clicked": 2, "clicks_total": 4, "cost": 367_600}
    assert {name: early["all"][name] for name in everything} == everything
    early_failures = failures(golden_lake, as_of=golden.EARLY, filters={"campaign_name": ["C2"]})
    assert early_failures["error_code"].to_list() == [131026]


def test_every_targeted_message_is_in_one_place(golden_lake: Lake) -> None:
    parts = ["targeted", "suppressed", "queued", "rejected", "failed", "delivered", "open"]
    found = query(golden_lake, [*parts, "holdout"]).to_dicts()[0]

    assert [found[name] for name in parts] == [12, 1, 0, 1, 2, 8, 1]  # failed counts the rejected one too
    assert found["holdout"] == 2


def test_people(golden_lake: Lake) -> None:
    names = ["targeted_contacts", "reached_contacts", "converted_contacts", "suspected_block_contacts"]

    assert query(golden_lake, names).row(0) == (9, 6, 4, 0)


RATES = {
    "delivery_rate": ("3/4", "2/3", "3/3", "8/10"),
    "reach_rate": ("3/4", "2/4", "3/4", "8/12"),
    "failure_rate": ("1/4", "1/4", "0/3", "2/11"),
    "read_rate": ("3/3", "1/2", "2/3", "6/8"),
    "read_rate_of_sent": ("3/4", "1/3", "2/3", "6/10"),
    "engaged_read_rate": ("3/3", "2/2", "2/3", "7/8"),
    "click_rate": ("1/3", "1/2", "1/3", "3/8"),
    "click_to_read": ("1/3", "0/1", "1/2", "2/6"),
    "reply_rate": ("1/3", "0/2", "0/3", "1/8"),
    "opt_out_rate": ("0/3", "1/2", "0/3", "1/8"),
    "suppression_rate": ("0/4", "0/4", "1/4", "1/12"),
    "acceptance_rate": ("4/4", "3/4", "3/3", "10/11"),
    "open_rate": ("0/4", "1/3", "0/3", "1/10"),
    "capped_rate": ("1/4", "0/3", "0/3", "1/10"),
    "receipt_off_share": ("0/2", "1/2", "0/1", "1/5"),
    "conversion_rate": ("3/3", "1/2", "1/3", "5/8"),
    "contact_conversion_rate": ("3/3", "1/2", "1/3", "4/6"),
}


@pytest.mark.parametrize("name", RATES)
def test_rates(golden_lake: Lake, name: str) -> None:
    found = by_variant(golden_lake, [name])

    for group, expected in zip(GROUPS, RATES[name], strict=True):
        numerator, denominator = (int(part) for part in expected.split("/"))
        row = found[group]
        assert (row[f"{name}_numerator"], row[f"{name}_denominator"]) == (numerator, denominator), group
        assert row[name] == numerator / denominator, group


def test_read_rate_adjusted_for_hidden_receipts(golden_lake: Lake) -> None:
    assert query(golden_lake, ["adjusted_read_rate"]).row(0) == (pytest.approx(0.75 / 0.8, abs=1e-12), 6, 8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cost_per_delivered", (Fraction(83900, 3), Fraction(273000, 2), Fraction(21400, 3), Fraction(378300, 8))),
        ("cost_per_click", (83900, 273000, 21400, 126100)),
        ("cost_per_conversion", (Fraction(83900, 3), 273000, 21400, 75660)),
    ],
)
def test_cost_per_thing(golden_lake: Lake, name: str, expected: tuple[Fraction, ...]) -> None:
    found = by_variant(golden_lake, [name])

    for group, micros in zip(GROUPS, expected, strict=True):
        assert found[group][name] == pytest.approx(float(micros) / 1e6, rel=1e-12)


MONEY = ["attributed_conversions", "gross_revenue", "refunds", "net_revenue", "converted"]
CREDIT = {
    "last_touch": {"C1/A": (3, 75, 5, 70, 3), "C1/B": (1, 60, 0, 60, 1), "C2/N": (1, 30, 0, 30, 1)},
    "click_priority": {"C1/A": (4, 105, 5, 100, 3), "C1/B": (1, 60, 0, 60, 1), "C2/N": (0, 0, 0, 0, 0)},
    # by hand: O1 read and three clicks, O4 only m01's clicks within 5 days and m09's read; the first is m01's 09:03
    "first_touch": {"C1/A": (4, 105, 5, 100, 3), "C1/B": (1, 60, 0, 60, 1), "C2/N": (0, 0, 0, 0, 0)},
    "linear": {"C1/A": (3.75, 97.5, 5, 92.5, 3), "C1/B": (1, 60, 0, 60, 1), "C2/N": (0.25, 7.5, 0, 7.5, 1)},
    "none": {"C1/A": (0, 0, 0, 0, 0), "C1/B": (0, 0, 0, 0, 0), "C2/N": (0, 0, 0, 0, 0)},
}


@pytest.mark.parametrize("model", CREDIT)
def test_credit(golden_lake: Lake, model: str) -> None:
    found = by_variant(golden_lake, MONEY, attribution=model)

    for group, (orders, gross, refunds, net, converted) in CREDIT[model].items():
        expected = (orders, gross * 1_000_000, refunds * 1_000_000, net * 1_000_000, converted)
        assert tuple(found[group][name] for name in MONEY) == expected, group


def test_revenue_ratios(golden_lake: Lake) -> None:
    found = by_variant(golden_lake, ["roas", "revenue_per_delivered"])

    assert [round(found[group]["roas"], 2) for group in GROUPS] == [834.33, 219.78, 1401.87, 422.94]
    expected = [70 / 3, 30, 10, 20]
    assert [found[group]["revenue_per_delivered"] for group in GROUPS] == pytest.approx(expected, rel=1e-12)


CREDITED = {
    "last_touch": {
        "O1": ("m01", "click", "01 09:10:00"),
        "O2": ("m02", "read", "01 09:30:06"),
        "O3": ("m05", "click", "01 11:00:00"),
        "O4": ("m09", "read", "03 11:00:04"),
        "O6": ("m03", "reply", "01 10:06:00"),
    },
    "click_priority": {
        "O1": ("m01", "click", "01 09:10:00"),
        "O2": ("m02", "read", "01 09:30:06"),
        "O3": ("m05", "click", "01 11:00:00"),
        "O4": ("m01", "click", "01 09:10:00"),
        "O6": ("m03", "reply", "01 10:06:00"),
    },
}


@pytest.mark.parametrize("model", CREDITED)
@pytest.mark.parametrize("as_of", [golden.AS_OF, None])
def test_who_is_credited_with_each_order(golden_lake: Lake, model: str, as_of: Any) -> None:
    rows = golden_lake.at(as_of).frame(
        "SELECT order_id, message_id, touch_kind, touch_at FROM fct_attribution WHERE model = $model", {"model": model}
    )

    found = {order: rest for order, *rest in rows.rows()}
    assert set(found) == {f"O{number}" for number in range(1, 9)}
    for order, (message, kind, instant) in CREDITED[model].items():
        assert found[order] == [str(golden.message_id(message)), kind, golden.at(instant)], order
    for organic in set(found) - set(CREDITED[model]):
        assert found[organic] == [None, None, None], organic


def test_orders_nobody_is_credited_with_keep_the_total_whole(golden_lake: Lake) -> None:
    rows = credited_orders(golden_lake, as_of=golden.AS_OF)

    organic = rows.filter(pl.col("campaign").is_null())
    assert organic.select("orders", "credit", "gross").row(0) == (3, 0.0, 53_000_000)
    assert (rows["orders"].sum(), rows["gross"].sum(), rows["net"].sum()) == (8, 218_000_000, 213_000_000)


def test_time_to_deliver(golden_lake: Lake) -> None:
    seconds = golden_lake.frame("SELECT deliver_s FROM fct_outcome WHERE deliver_s IS NOT NULL ORDER BY message_id")

    assert seconds["deliver_s"].to_list() == [3, 4, 6, 10, 2, 18, 10]
    assert query(golden_lake, ["time_to_deliver_median", "clock_skewed"]).row(0) == (6.0, 7, 0)


def test_time_to_read(golden_lake: Lake) -> None:
    curve, summary = time_to_read(golden_lake, as_of=golden.AS_OF)

    assert curve["seconds"].to_list() == [120, 1200, 1800, 3600, 172_800]
    assert curve["survival"].to_list() == pytest.approx([6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7], rel=1e-12)
    assert curve["at_risk"].to_list() == [7, 6, 5, 4, 3]
    found = summary.to_dicts()[0]
    assert (found["messages"], found["reads"], found["excluded"]) == (7, 5, 1)
    assert found["excluded_share"] == 1 / 8
    assert found["median_s"] == 3600
    shares = [found[name] for name in ("within_1h", "within_24h", "within_7d")]
    assert shares == pytest.approx([4 / 7, 4 / 7, 5 / 7], rel=1e-12)


def test_the_unread_are_watched_until_the_cut_and_no_longer(golden_lake: Lake) -> None:
    curve, summary = time_to_read(golden_lake, as_of=golden.at("03 10:30:00"))

    # m09 and m11 were delivered half an hour before the cut: they are gone when m02 is read after 1800 s
    assert curve["seconds"].to_list() == [120, 1200, 1800]
    assert curve["at_risk"].to_list() == [6, 5, 2]
    assert curve["survival"].to_list() == pytest.approx([5 / 6, 4 / 6, 1 / 3], rel=1e-12)
    found = summary.to_dicts()[0]
    assert found["median_s"] == 1800
    assert (found["within_1h"], found["within_24h"]) == pytest.approx((2 / 3, 2 / 3), rel=1e-12)
    assert found["within_7d"] is None  # nobody was watched for a week


def test_the_unread_are_watched_for_a_week_at_most(golden_lake: Lake) -> None:
    late = time_to_read(golden_lake, as_of=golden.at("30 00:00")).summary.to_dicts()[0]

    assert (late["messages"], late["reads"]) == (7, 5)
    assert late["within_7d"] == pytest.approx(5 / 7, rel=1e-12)


def test_the_band_of_the_curve(golden_lake: Lake) -> None:
    """Greenwood on the log-log scale at the first read of seven: S = 6/7, variance sum 1/(7 * 6)."""
    first = time_to_read(golden_lake, as_of=golden.AS_OF).curve.row(0, named=True)

    spread = 1.959963984540054 * sqrt(1 / 42) / abs(log(6 / 7))
    band = (1 - (6 / 7) ** exp(-spread), 1 - (6 / 7) ** exp(spread))
    assert (first["low"], first["high"]) == pytest.approx(band, rel=1e-9)
    assert first["low"] < first["read_share"] < first["high"]


def test_time_to_read_by_variant(golden_lake: Lake) -> None:
    curve, summary = time_to_read(golden_lake, by=("campaign_name", "variant_label"), as_of=golden.AS_OF)

    assert summary.select("campaign_name", "variant_label", "messages", "reads", "excluded", "median_s").rows() == [
        ("C1", "A", 2, 2, 1, 120),
        ("C1", "B", 2, 1, 0, 1200),
        ("C2", "N", 3, 2, 0, 172_800),
    ]
    of_a = curve.filter(pl.col("variant_label") == "A").select("seconds", "at_risk", "survival").rows()
    assert of_a == [(120, 2, 0.5), (1800, 1, 0.0)]


def test_heatmap_in_the_recipients_time(golden_lake: Lake) -> None:
    cells = heatmap(golden_lake, as_of=golden.AS_OF).select("weekday", "hour", "sent", "delivered", "read")

    thursday, saturday = 4, 6
    assert set(cells.rows()) == {
        (thursday, 14, 2, 2, 2),
        (thursday, 6, 2, 1, 1),
        (thursday, 11, 2, 2, 1),
        (thursday, 10, 1, 0, 0),
        (saturday, 15, 2, 2, 1),
        (saturday, 12, 1, 1, 1),
    }


def test_heatmap_in_the_organisations_time(golden_lake: Lake) -> None:
    cells = heatmap(golden_lake, local=False).select("weekday", "hour", "sent", "delivered", "read")

    assert cells.rows() == [(4, 9, 7, 5, 4), (6, 10, 3, 3, 2)]


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [(6, 8, (0.409275, 0.928521)), (520, 10_000, (0.047818, 0.056526)), (3, 3, (0.438503, 1.0))],
)
def test_wilson(successes: int, trials: int, expected: tuple[float, float]) -> None:
    low, high = wilson(pl.lit(successes), pl.lit(trials))

    assert pl.select(low.alias("low"), high.alias("high")).row(0) == pytest.approx(expected, abs=1e-6)


def test_failures(golden_lake: Lake) -> None:
    found = failures(golden_lake)

    assert found.select("error_code", "messages", "share", "cumulative_share").rows() == [
        (131049, 1, 0.5, 0.5),
        (132000, 1, 0.5, 1.0),
    ]
    assert failures(golden_lake, by=("country",)).select("country", "error_code").rows() == [
        ("BR", 131049),
        ("GB", 132000),
    ]


def test_why_people_were_skipped(golden_lake: Lake) -> None:
    rows = query(golden_lake, ["suppressed", "holdout"], by=("skip_reason",))

    assert rows.rows() == [("holdout", 0, 2), ("opted_out", 1, 0), (None, 0, 0)]


def test_funnel_of_a_campaign(golden_lake: Lake) -> None:
    rows = funnel(golden_lake, str(golden.an_id("C1")))

    stages = {
        label: rows.filter(pl.col("variant_label").eq_missing(label))["messages"].to_list()
        for label in (None, "A", "B")
    }
    assert stages == {
        None: [8, 8, 7, 7, 5, 4, 2, 4],
        "A": [4, 4, 4, 4, 3, 3, 1, 3],
        "B": [4, 4, 3, 3, 2, 1, 1, 1],
    }
    read = rows.filter(pl.col("variant_label") == "B", pl.col("stage") == "read").to_dicts()[0]
    assert (read["step_of"], read["step_denominator"], read["step_rate"]) == ("delivered", 2, 0.5)
    assert read["overall_rate"] == 0.25


def test_report_of_a_campaign(golden_lake: Lake) -> None:
    report = campaign_report(golden_lake, str(golden.an_id("C2")))

    assert report.campaign["campaign_name"] == "C2"
    read = report.rates.filter(pl.col("metric") == "read_rate", pl.col("variant").is_null()).to_dicts()[0]
    assert (read["numerator"], read["denominator"], read["value"]) == (2, 3, 2 / 3)
    assert (read["low"], read["high"]) == pytest.approx((0.207660, 0.938508), abs=1e-6)
