"""Who is credited at the edges: windows, ties, and parts that add up."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.engine import model_sql
from tests.analytics import golden
from tests.analytics.conftest import Engine

TOUCH = golden.at("01 09:00")
SECOND = timedelta(seconds=1)
REACH = {"click": timedelta(days=5), "reply": timedelta(days=3), "read": timedelta(hours=24)}

Touch = tuple[str, str, datetime]  # message, kind, when


def credited(
    engine: Engine, touches: list[Touch], bought: datetime, amount: int = 100, refund: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Per model, the rows of one order of the person who was touched."""
    engine.db.execute(
        "CREATE OR REPLACE TABLE fct_touch (contact_id VARCHAR, message_id VARCHAR, campaign_id VARCHAR,"
        " variant_id VARCHAR, queued_on DATE, touch_kind VARCHAR, touch_at TIMESTAMPTZ)"
    )
    for message, kind, when in touches:
        engine.db.execute(
            "INSERT INTO fct_touch VALUES ('K', $1, 'C', 'V', '2026-10-01', $2, $3)", [message, kind, when]
        )
    engine.db.execute(
        "CREATE OR REPLACE TABLE stg_conversion AS SELECT * FROM (VALUES ('order', 'O', NULL, 'K', $1::TIMESTAMPTZ,"
        " DATE '2026-10-01', $2, 'USD'), ('refund', 'O', 'R', 'K', $1::TIMESTAMPTZ, DATE '2026-10-01', $3, 'USD'))"
        " AS c (kind, order_id, refund_id, contact_id, occurred_at, converted_on, amount_micros, currency)",
        [bought, amount, refund],
    )
    frame: pl.DataFrame = engine.db.sql(f"SELECT * FROM ({model_sql('fct_attribution')}) ORDER BY message_id").pl()
    models = ("last_touch", "click_priority", "first_touch", "linear", "none")
    return {model: frame.filter(pl.col("model") == model).to_dicts() for model in models}


@pytest.mark.parametrize("kind", REACH)
@pytest.mark.parametrize(
    ("after", "counts"),
    [
        (lambda reach: timedelta(0), True),
        (lambda reach: reach, True),
        (lambda reach: reach + SECOND, False),
        (lambda reach: -SECOND, False),
    ],
)
def test_both_ends_of_a_window_count(engine: Engine, kind: str, after: Any, counts: bool) -> None:
    rows = credited(engine, [("m1", kind, TOUCH)], TOUCH + after(REACH[kind]))

    for model in ("last_touch", "click_priority", "first_touch", "linear"):
        assert [row["message_id"] for row in rows[model]] == (["m1"] if counts else [None]), model


@pytest.mark.parametrize(
    ("touches", "last", "action", "first"),
    [
        ([("m1", "read", TOUCH), ("m2", "reply", TOUCH), ("m3", "click", TOUCH)], "m3", "m3", "m3"),
        ([("m3", "read", TOUCH), ("m2", "reply", TOUCH), ("m1", "click", TOUCH)], "m1", "m1", "m1"),
        ([("m1", "read", TOUCH), ("m2", "reply", TOUCH)], "m2", "m2", "m2"),
        ([("m1", "click", TOUCH), ("m2", "click", TOUCH)], "m2", "m2", "m1"),
        ([("m1", "click", TOUCH), ("m2", "read", TOUCH + SECOND)], "m2", "m1", "m1"),
        ([("m1", "click", TOUCH), ("m2", "reply", TOUCH + SECOND)], "m2", "m2", "m1"),
        ([("m1", "read", TOUCH), ("m2", "read", TOUCH + SECOND)], "m2", "m2", "m1"),
    ],
)
def test_who_wins(engine: Engine, touches: list[Touch], last: str, action: str, first: str) -> None:
    rows = credited(engine, touches, TOUCH + timedelta(hours=1))

    winners = {model: [row["message_id"] for row in rows[model]] for model in rows if model != "linear"}
    assert winners == {"last_touch": [last], "click_priority": [action], "first_touch": [first], "none": [None]}


def test_linear_gives_the_remainder_to_the_last(engine: Engine) -> None:
    touches = [(f"m{number}", "click", TOUCH + number * SECOND) for number in (1, 2, 3)]

    rows = credited(engine, touches, TOUCH + timedelta(hours=1), amount=100, refund=-50)["linear"]

    assert [(row["message_id"], row["credit_micros"], row["gross_micros"], row["refund_micros"]) for row in rows] == [
        ("m1", 333_333, 33, 16),
        ("m2", 333_333, 33, 16),
        ("m3", 333_334, 34, 18),
    ]


TOUCHES = st.lists(
    st.tuples(
        st.sampled_from(["m1", "m2", "m3"]),
        st.sampled_from(list(REACH)),
        st.integers(-3, 130).map(lambda hours: TOUCH - timedelta(hours=hours)),
    ),
    max_size=7,
)


@settings(max_examples=40, deadline=None)
@given(TOUCHES, st.integers(0, 1_000), st.integers(0, 1_000))
def test_credit_adds_up_to_nothing_or_one(engine: Engine, touches: list[Touch], amount: int, refund: int) -> None:
    rows = credited(engine, touches, TOUCH, amount, refund)

    eligible = [touch for touch in touches if touch[2] <= TOUCH <= touch[2] + REACH[touch[1]]]
    for model, parts in rows.items():
        expected = 1_000_000 if eligible and model != "none" else 0
        assert sum(part["credit_micros"] for part in parts) == expected, model
        assert sum(part["gross_micros"] for part in parts) == amount, model
        assert sum(part["refund_micros"] for part in parts) == refund, model
