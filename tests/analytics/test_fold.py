"""The fold is a function of the set of facts: two implementations agree, whatever the order and repetition."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from analytics.engine import model_sql, view_models
from analytics.tables import EVENT, MESSAGE
from core.statuses import EventKind
from tests.analytics import golden, oracle
from tests.analytics.conftest import Engine

KINDS = {"VARCHAR": pl.String, "BIGINT": pl.Int64, "SMALLINT": pl.Int16, "BOOLEAN": pl.Boolean, "DATE": pl.Date}
KINDS["TIMESTAMPTZ"] = pl.Datetime("us", "UTC")  # type: ignore[assignment]  # an instance, the others are classes

Row = dict[str, Any]


def frame(rows: Sequence[Row], columns: dict[str, str]) -> pl.DataFrame:
    """Rows as bronze has them."""
    return pl.DataFrame(
        [{name: row.get(name) for name in columns} for row in rows],
        schema={name: KINDS[kind] for name, kind in columns.items()},
    )


def a_message(row: Row) -> Row:
    ids = ("campaign_id", "variant_id", "template_version_id", "contact_id", "sender_id")
    texts = {name: str(row[name]) if row[name] else None for name in ids}
    return row | texts | {"message_id": str(row["id"]), "received_at": row["created_at"]}


def an_event(row: Row) -> Row:
    return row | {
        "message_id": str(row["message_id"]),
        "event_key": str(row["event_key"]),
        "received_at": row["created_at"],
    }


MESSAGES = frame([a_message(row) for row in golden.message_rows()], MESSAGE.columns)
EVENTS = frame([an_event(row) for row in golden.fact_rows()], EVENT.columns)


def folded(engine: Engine, events: pl.DataFrame, as_of: datetime, messages: pl.DataFrame = MESSAGES) -> pl.DataFrame:
    """`fct_message` by the production SQL; facts are inserted in the order given."""
    engine.db.execute("UPDATE run SET as_of = $1", [as_of])
    for name, rows in (("bronze_message", messages), ("bronze_event", events)):
        engine.db.register(f"{name}_rows", rows.to_arrow())
        engine.db.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name}_rows")
    view_models(engine.db, ["stg_message", "stg_event", "fct_event"])
    result: pl.DataFrame = engine.db.sql(f"SELECT * FROM ({model_sql('fct_message')}) ORDER BY message_id").pl()
    return result


def assert_agree(engine: Engine, events: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    ours = folded(engine, events, as_of)
    theirs = oracle.fold(MESSAGES, events, as_of).select(ours.columns)
    assert_frame_equal(ours, theirs, check_dtypes=True)
    return ours


def test_golden_facts_as_they_came(engine: Engine) -> None:
    rows = assert_agree(engine, EVENTS, golden.AS_OF)

    assert EVENTS.height == 47
    assert rows["n_dup"].sum() == 1
    assert rows.filter(pl.col("n_out_of_order") > 0)["message_id"].to_list() == [
        str(golden.message_id(name)) for name in ("m02",)
    ]
    assert rows["targeted"].sum() == 12


BOUNDED = settings(max_examples=20, deadline=None)
INSTANTS = st.integers(0, 10 * 24 * 60).map(lambda minutes: golden.at("01 00:00") + timedelta(minutes=minutes))


@BOUNDED
@given(st.permutations(range(47)), st.lists(st.integers(0, 46), max_size=20), INSTANTS)
def test_order_and_repetition_change_nothing(engine: Engine, order: list[int], again: list[int], cut: datetime) -> None:
    shuffled = EVENTS[order + again]

    ours = assert_agree(engine, shuffled, cut)

    straight = folded(engine, EVENTS, cut)
    assert_frame_equal(ours.drop("n_dup"), straight.drop("n_dup"))


@BOUNDED
@given(INSTANTS, INSTANTS)
def test_what_was_reached_stays_reached(engine: Engine, one: datetime, other: datetime) -> None:
    early, late = sorted((one, other))

    before, after = (folded(engine, EVENTS, cut) for cut in (early, late))

    both = before.join(after, on="message_id", suffix="_later")
    for name in ("delivered", "read", "clicked", "replied", "opted_out"):
        assert both.filter(pl.col(name) & ~pl.col(f"{name}_later")).is_empty(), name


FACT = st.fixed_dictionaries(
    {
        "message": st.integers(1, 3),
        "kind": st.sampled_from([kind.value for kind in EventKind]),
        "second": st.integers(0, 4),
        "fraction": st.sampled_from([0, 400, 999]),
        "late": st.integers(0, 6),
        "button_index": st.sampled_from([None, 0, 1]),
        "is_bot": st.sampled_from([None, False, True]),
        "error_code": st.sampled_from([None, 131026, 131049]),
        "reason": st.sampled_from([None, "retry", "no_consent"]),
        "billable": st.sampled_from([None, False, True]),
        "cost_micros": st.sampled_from([None, 0, 10_700]),
        "pricing_type": st.sampled_from([None, "regular", "free_entry_point"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FACT, max_size=14), st.integers(0, 10))
def test_both_agree_on_any_facts_and_the_law_holds(engine: Engine, facts: list[Row], cut: int) -> None:
    start = datetime(2026, 10, 1, 9, 1, tzinfo=UTC)
    rows = []
    for number, fact in enumerate(facts):
        occurred = start + timedelta(seconds=fact["second"], milliseconds=fact["fraction"])
        times = {"occurred_at": occurred, "created_at": occurred + timedelta(seconds=fact["late"])}
        message = golden.message_id(f"m0{fact['message']}")
        rows.append(an_event(fact | times | {"message_id": message, "event_key": golden.an_id(str(number))}))

    found = assert_agree(engine, frame(rows, EVENT.columns), start + timedelta(seconds=cut))

    for row in found.filter(pl.col("targeted")).iter_rows(named=True):
        places = ("suppressed", "queued", "rejected", "delivered", "open")
        assert sum(row[name] for name in places) + (row["failed"] and not row["rejected"]) == 1
        assert row["delivered"] or not (row["clicked"] or row["replied"] or row["read"] or row["opted_out"])
        assert not row["delivered"] or row["sent"]
        assert not row["sent"] or row["accepted"]


@pytest.mark.parametrize(
    ("others", "is_bot", "robot"),
    [
        ([], None, True),  # right after delivery, and nobody was ever seen
        ([("read", "01 09:30")], None, False),
        ([("reply", "01 09:30")], None, False),
        ([("read", "01 09:30")], True, True),  # flagged on arrival
    ],
)
def test_a_click_within_a_second_of_delivery_is_a_robots_unless_a_person_shows_up(
    engine: Engine, others: list[tuple[str, str]], is_bot: bool | None, robot: bool
) -> None:
    facts = [
        golden.Fact("m01", "accepted", "01 09:00:01"),
        golden.Fact("m01", "delivered", "01 09:00:05"),
        golden.Fact("m01", "click", "01 09:00:05", button=0, bot=is_bot),
        *(golden.Fact("m01", kind, when) for kind, when in others),
    ]
    events = frame([an_event(row) for row in golden.fact_rows(tuple(facts))], EVENT.columns)

    row = (
        folded(engine, events, golden.AS_OF)
        .filter(pl.col("message_id") == str(golden.message_id("m01")))
        .row(0, named=True)
    )

    assert (row["clicked"], row["clicks_total"], row["bot_clicks"]) == (not robot, int(not robot), int(robot))
