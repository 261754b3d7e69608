"""Frames and lists in, Plotly figures out; pure. Every figure is shown with `config()`."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from analytics.metrics import METRICS
from dashboard import format

# Okabe and Ito's palette, in the order that keeps neighbours apart; black is left to the text.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
PATTERNS = ("", "/", ".", "x", "-", "+")
GREY = "#7A7F85"


def config() -> dict[str, object]:
    """What every figure is shown with: no button that uploads the data, no logo, nothing fetched from a CDN."""
    return {"showSendToCloud": False, "displaylogo": False, "displayModeBar": False, "topojsonURL": "", "locale": "en"}


def _calm(figure: go.Figure, *, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
        bargap=0.35,
    )
    figure.update_xaxes(showgrid=False, automargin=True)
    figure.update_yaxes(gridcolor="rgba(128,128,128,.2)", zeroline=False, automargin=True)
    return figure


def throughput(samples: Sequence[tuple[datetime, float]], limit: float | None) -> go.Figure:
    """Messages a second over time against the sender's limit; `samples` are (local instant, messages per second)."""
    figure = go.Figure(
        go.Scatter(
            x=[at for at, _ in samples],
            y=[speed for _, speed in samples],
            name="Messages per second",
            mode="lines+markers" if len(samples) < 10 else "lines",
            line={"color": PALETTE[0], "width": 2},
            hovertemplate="%{y:.1f}",
        )
    )
    if limit:
        figure.add_hline(
            y=limit,
            line={"color": PALETTE[1], "dash": "dash"},
            annotation_text=f"limit {limit:g}/s",
            annotation_position="top left",
        )
    top = max([limit or 0, *(speed for _, speed in samples)], default=1) or 1
    figure.update_yaxes(rangemode="tozero", range=[0, top * 1.2], title_text="per second")
    return _calm(figure, height=230).update_layout(showlegend=False)


def given_and_taken(days: Sequence[str], given: Sequence[int], taken_back: Sequence[int]) -> go.Figure:
    """Consents given (upwards) and taken back (downwards) on each day, as bars that touch at zero."""
    figure = go.Figure(
        [
            go.Bar(x=list(days), y=list(given), name="Given", marker={"color": PALETTE[0]}, hovertemplate="%{y:,}"),
            go.Bar(
                x=list(days),
                y=[-number for number in taken_back],
                name="Taken back",
                marker={"color": PALETTE[1], "pattern": {"shape": "/"}},
                customdata=list(taken_back),
                hovertemplate="%{customdata:,}",
            ),
        ]
    )
    figure.update_layout(barmode="relative")
    figure.update_xaxes(type="date", tickformat="%d %b", nticks=8)
    return _calm(figure, height=260)


def rates_over_time(frame: pl.DataFrame, names: Sequence[str], since: date, until: date) -> go.Figure:
    """Lines of daily rates; `frame` has `day` and per name the rate, its numerator and its denominator.

    A day without messages breaks the line instead of drawing a zero.
    """
    days = pl.DataFrame({"day": pl.date_range(since, until, closed="left", eager=True)})
    whole = days.join(frame, on="day", how="left").sort("day")
    figure = go.Figure()
    for place, name in enumerate(names):
        metric = METRICS[name]
        counts = whole.select(pl.col(f"{name}_numerator").fill_null(0), pl.col(f"{name}_denominator").fill_null(0))
        noun = METRICS[metric.denominator].label.lower()
        figure.add_trace(
            go.Scatter(
                x=whole["day"].to_list(),
                y=whole[name].to_list(),
                customdata=[format.rate(top, bottom, noun) for top, bottom in counts.iter_rows()],
                name=metric.label,
                mode="lines+markers",
                connectgaps=False,
                line={"color": PALETTE[place % len(PALETTE)], "dash": DASHES[place % len(DASHES)], "width": 2},
                marker={"size": 6, "symbol": SYMBOLS[place % len(SYMBOLS)]},
                hovertemplate="%{customdata}",
            )
        )
    highest = max((value for name in names for value in whole[name].drop_nulls()), default=0.0)
    figure.update_yaxes(tickformat=".1%" if highest < 0.05 else ".0%", range=[0, max(0.01, highest * 1.1)])
    return _calm(figure, height=340)


def top_campaigns(frame: pl.DataFrame, currency: str) -> go.Figure:
    """Horizontal bars of net revenue, the largest on top; `frame` has `campaign_name` and `net_revenue` in micros."""
    names = [f"{name or 'Unnamed'}{' ' * at}" for at, name in enumerate(frame["campaign_name"].to_list())]
    revenue = frame["net_revenue"].to_list()
    figure = go.Figure(
        go.Bar(
            x=[micros / 1_000_000 for micros in revenue],
            y=names,  # blanks at the end keep campaigns of the same name apart
            orientation="h",
            marker={"color": PALETTE[0]},
            text=[format.money(micros, currency) for micros in revenue],
            textposition="auto",
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    _calm(figure, height=90 + 38 * len(names)).update_layout(hovermode="closest")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text=f"Net revenue, {currency}")
    return figure


def funnel(frame: pl.DataFrame) -> go.Figure:
    """Horizontal bars per stage and variant, as a share of the targeted; `frame` as `analytics.metrics.funnel`.

    With one variant only the whole campaign is drawn, else the variants side by side.
    """
    variants = frame.filter(pl.col("variant_label").is_not_null())
    drawn = variants if variants["variant_label"].n_unique() > 1 else frame.filter(pl.col("variant").is_null())
    groups = _groups(drawn.with_columns(pl.col("variant_label").fill_null("All")))
    figure = go.Figure()
    for place, group in enumerate(groups):
        label = group["variant_label"][0]
        figure.add_trace(
            go.Bar(
                x=group["overall_rate"].to_list(),
                y=group["label"].to_list(),
                orientation="h",
                name=label if label == "All" else f"Variant {label}",
                marker={"color": PALETTE[place % len(PALETTE)], "pattern": {"shape": PATTERNS[place % len(PATTERNS)]}},
                text=[format.rate(m, t, "targeted") for m, t in group.select("messages", "targeted").iter_rows()],
                textposition="outside",
                cliponaxis=False,
                customdata=[_step(row) for row in group.iter_rows(named=True)],
                hovertemplate="%{y}: %{customdata}",
            )
        )
    height = 70 + 8 * (14 + 24 * max(1, len(groups)))
    _calm(figure, height=height).update_layout(hovermode="closest", barmode="group")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(tickformat=".0%", range=[0, 1.55], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return figure


def _step(row: dict[str, Any]) -> str:
    return format.rate(row["messages"], row["step_denominator"], METRICS[row["step_of"]].label.lower())


def _groups(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows of each variant, in the order they come."""
    return frame.partition_by("variant_label", maintain_order=True) if frame.height else []


def rates_with_intervals(frame: pl.DataFrame) -> go.Figure:
    """A small panel per rate, in it a dot with its 95 % interval per variant; `frame` as `report.rates_by_variant`.

    Every panel has its own scale, because an opt-out rate would vanish beside a read rate.
    """
    variants = frame["variant_label"].drop_nulls().n_unique()
    shown = frame if variants > 1 else frame.filter(pl.col("variant").is_null())
    panels = shown.partition_by("metric", maintain_order=True)
    rows = max(1, -(-len(panels) // 2))
    titles = [panel["label"][0] for panel in panels]
    figure = make_subplots(rows, 2, subplot_titles=titles, vertical_spacing=0.5 / rows, horizontal_spacing=0.12)
    for place, panel in enumerate(panels):
        figure.add_trace(_dots(panel), row=place // 2 + 1, col=place % 2 + 1)
    _calm(figure, height=rows * (105 + 24 * (variants + 1 if variants > 1 else 1)))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(tickformat=".1~%", showgrid=True, gridcolor="rgba(128,128,128,.2)", nticks=6)
    for place, title in enumerate(figure.layout.annotations):
        title.update(x=0 if place % 2 == 0 else 0.56, xanchor="left", font={"size": 13})
    return figure.update_layout(showlegend=False, hovermode="closest", margin={"t": 28})


def _dots(panel: pl.DataFrame) -> go.Scatter:
    """The variants of one rate; null values leave their line empty."""
    noun = METRICS[METRICS[panel["metric"][0]].denominator].label.lower()
    order = range(len(panel))
    return go.Scatter(
        x=panel["value"].to_list(),
        y=[f"Variant {label}" if label else "All" for label in panel["variant_label"]],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (panel["high"] - panel["value"]).to_list(),
            "arrayminus": (panel["value"] - panel["low"]).to_list(),
            "color": GREY,
        },
        mode="markers",
        marker={
            "color": [
                GREY if label is None else PALETTE[(at - 1) % len(PALETTE)]
                for at, label in zip(order, panel["variant_label"], strict=True)
            ],
            "symbol": [SYMBOLS[at % len(SYMBOLS)] for at in order],
            "size": 10,
        },
        customdata=[
            f"{format.rate(top, bottom, noun)}, in {format.interval(low, high)}"
            for top, bottom, low, high in panel.select("numerator", "denominator", "low", "high").iter_rows()
        ],
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
