"""Figures: what is drawn, with which denominators, and that nothing leaves the browser."""

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from dashboard import charts


def daily(*rows: tuple[date, float | None, int, int]) -> pl.DataFrame:
    names = ("day", "read_rate", "read_rate_numerator", "read_rate_denominator")
    kinds = (pl.Date, pl.Float64, pl.Int64, pl.Int64)
    return pl.DataFrame(list(rows), schema=dict(zip(names, kinds, strict=True)), orient="row")


def test_a_figure_never_offers_to_upload_itself() -> None:
    assert charts.config()["showSendToCloud"] is False
    assert charts.config()["displaylogo"] is False


def test_every_figure_is_shown_with_that_config() -> None:
    for source in (Path(charts.__file__).parent / "views").glob("*.py"):
        text = source.read_text()
        assert text.count("st.plotly_chart(") == text.count("config=charts.config()"), source.name


def test_charts_know_nothing_of_streamlit() -> None:
    assert "streamlit" not in Path(charts.__file__).read_text()


def test_a_day_without_messages_is_a_gap_not_a_zero() -> None:
    frame = daily((date(2026, 10, 1), 0.8, 4, 5), (date(2026, 10, 3), 2 / 3, 2, 3))

    (line,) = charts.rates_over_time(frame, ["read_rate"], date(2026, 10, 1), date(2026, 10, 4)).data

    assert list(line.y) == [0.8, None, pytest.approx(2 / 3)]
    assert list(line.customdata) == ["80.0 % (4 / 5 delivered)", "– (0 / 0 delivered)", "66.7 % (2 / 3 delivered)"]
    assert line.connectgaps is False


def test_an_empty_period_still_draws() -> None:
    figure = charts.rates_over_time(daily(), ["read_rate"], date(2026, 10, 1), date(2026, 10, 3))

    assert list(figure.data[0].y) == [None, None]


def funnel(*variants: str | None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "variant": list(variants),
            "variant_label": list(variants),
            "label": ["Delivered"] * len(variants),
            "messages": [3] * len(variants),
            "step_of": ["sent"] * len(variants),
            "step_denominator": [4] * len(variants),
            "targeted": [6] * len(variants),
            "overall_rate": [0.5] * len(variants),
        },
        schema_overrides={"variant": pl.String, "variant_label": pl.String},
    )


def test_two_variants_stand_side_by_side() -> None:
    figure = charts.funnel(funnel(None, "A", "B"))

    assert [bars.name for bars in figure.data] == ["Variant A", "Variant B"]
    assert figure.data[0].marker.pattern.shape != figure.data[1].marker.pattern.shape
    assert figure.data[0].text[0] == "50.0 % (3 / 6 targeted)"
    assert figure.data[0].customdata[0] == "75.0 % (3 / 4 sent)"


def test_one_variant_is_the_campaign() -> None:
    assert [bars.name for bars in charts.funnel(funnel(None, "A")).data] == ["All"]


def test_a_rate_without_a_denominator_has_no_dot_but_keeps_its_line() -> None:
    frame = pl.DataFrame(
        {
            "variant": [None, "a", "b"],
            "variant_label": [None, "A", "B"],
            "metric": ["read_rate"] * 3,
            "label": ["Read rate"] * 3,
            "value": [0.75, 0.75, None],
            "numerator": [6, 6, 0],
            "denominator": [8, 8, 0],
            "low": [0.409, 0.409, None],
            "high": [0.929, 0.929, None],
        }
    )

    (dots,) = charts.rates_with_intervals(frame).data

    assert list(dots.y) == ["All", "Variant A", "Variant B"]
    assert list(dots.x) == [0.75, 0.75, None]
    assert dots.customdata[0] == "75.0 % (6 / 8 delivered), in 40.9–92.9 %"
    assert dots.customdata[2] == "– (0 / 0 delivered), in –"


def test_the_largest_campaign_stands_on_top_and_namesakes_stay_apart() -> None:
    frame = pl.DataFrame({"campaign_name": ["Tea", "Tea"], "net_revenue": [2_000_000, -1_000_000]})

    figure = charts.top_campaigns(frame, "EUR")

    assert len(set(figure.data[0].y)) == 2
    assert list(figure.data[0].text) == ["2.00 EUR", "−1.00 EUR"]
    assert figure.layout.yaxis.autorange == "reversed"


def test_the_limit_is_drawn_above_the_speed() -> None:
    figure = charts.throughput([(datetime(2026, 10, 1, 9), 40.0)], 80.0)  # noqa: DTZ001 - a local instant, as charts take them

    assert figure.layout.yaxis.range[1] > 80
    assert figure.layout.shapes[0].y0 == 80
