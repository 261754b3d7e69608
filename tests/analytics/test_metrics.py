"""What metrics count and what they leave out, beyond the golden set."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from sqlalchemy import insert

from analytics.lake import Lake, open_lake, refresh
from analytics.metrics import DIMENSIONS, METRICS, UnknownName, definitions, failures, funnel, heatmap, query
from analytics.registry import Unit
from analytics.report import campaign_report, rates_by_variant, tiles, top_campaigns
from core.db import Sessions
from core.models import Message, MessageEvent, Rate
from core.settings import Settings
from tests.analytics import golden

FIRST = golden.message_rows()[0]
DAY = date(2026, 10, 1)


def a_message(number: int, **changes: Any) -> dict[str, Any]:
    """A message of C1/A to contact K<number>, queued on 1 October at 09:00."""
    own = {"id": UUID(int=number), "contact_id": golden.an_id(f"K{number % 12 + 1}")}
    row = FIRST | own | changes
    return row | {"queued_on": row["queued_at"].date(), "created_at": row["queued_at"]}


def facts_of(row: dict[str, Any], *facts: str, **changes: Any) -> list[dict[str, Any]]:
    """`"sent 2"` → the fact `sent`, two seconds after the message was queued."""
    found = []
    for fact in facts:
        kind, seconds = fact.split()
        occurred = row["queued_at"] + timedelta(seconds=float(seconds))
        key = golden.an_id(f"{row['id']} {fact}")
        common = {"message_id": row["id"], "queued_on": row["queued_on"], "event_key": key, "kind": kind}
        found.append(common | {"occurred_at": occurred, "created_at": occurred} | changes)
    return found


async def insert_rows(sessions: Sessions, messages: Sequence[dict[str, Any]], facts: Sequence[dict[str, Any]]) -> None:
    async with sessions.begin() as session:
        await session.execute(insert(Message), list(messages))
        for fact in facts:
            await session.execute(insert(MessageEvent).values(**fact))


def refreshed(settings: Settings) -> Lake:
    refresh(settings)
    return open_lake(settings)


async def test_tests_replies_and_held_out_people_are_in_no_rate(settings: Settings, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    alone = {"campaign_id": None, "variant_id": None}
    messages = [
        a_message(1),
        a_message(2, kind="test", **alone),
        a_message(3, kind="reply", **alone),
        a_message(4, kind="triggered", **alone),
        a_message(5, holdout=True, status="skipped", skip_reason="holdout"),
    ]
    facts = [fact for message in messages[:4] for fact in facts_of(message, "accepted 1", "delivered 2", "read 3")]
    skipped = facts_of(messages[4], "suppressed 1", reason="holdout")
    await insert_rows(own_sessions, messages, facts + skipped)

    found = query(refreshed(settings), ["targeted", "holdout", "suppressed", "delivered"], by=("kind",))

    assert found.rows() == [("campaign", 1, 1, 0, 1), ("triggered", 1, 0, 0, 1)]


async def test_a_refused_attempt_that_is_tried_again_is_no_failure(settings: Settings, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    waiting, refused, lucky = a_message(1), a_message(2), a_message(3)
    facts = [
        *facts_of(waiting, "rejected 1", reason="retry"),
        *facts_of(refused, "rejected 1", reason="retry"),
        *facts_of(refused, "rejected 2"),
        *facts_of(lucky, "rejected 1", reason="retry"),
        *facts_of(lucky, "accepted 3", "sent 4", "delivered 5"),
    ]
    await insert_rows(own_sessions, [waiting, refused, lucky], facts)

    row = query(refreshed(settings), ["queued", "rejected", "failed", "delivered"]).row(0)

    assert row == (1, 1, 1, 1)


async def test_what_a_delivery_costs(settings: Settings, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    prices = [
        {"price_micros": 100, "effective_from": date(2026, 1, 1)},
        {"price_micros": 200, "effective_from": date(2026, 10, 2)},
    ]
    rate = {"market": "IN", "category": "marketing", "currency": "USD", "source": "test"}
    async with own_sessions.begin() as session:
        await session.execute(insert(Rate), [rate | price for price in prices])
        await session.execute(insert(Rate).values(**rate | {"currency": "EUR"} | prices[0]))
    late = datetime(2026, 10, 1, 23, 59, 59, tzinfo=UTC)
    cases: list[tuple[dict[str, Any], dict[str, Any], str, int | None]] = [
        ({}, {"billable": True, "cost_micros": 7}, "reported", 7),
        ({}, {"billable": True}, "rate_card", 100),
        ({"queued_at": late}, {"billable": True}, "rate_card", 200),  # delivered on the 2nd
        ({}, {"billable": False, "pricing_type": "free_customer_service"}, "free", 0),
        ({"country": "FR"}, {"billable": True}, "unknown", None),
        ({}, {}, "unknown", None),
    ]
    messages = [a_message(number, **changes) for number, (changes, *_) in enumerate(cases, 1)]
    facts = [
        fact
        for message, (_, pricing, *_) in zip(messages, cases, strict=True)
        for fact in [*facts_of(message, "accepted 1"), *facts_of(message, "delivered 2", **pricing)]
    ]
    never = a_message(9)
    await insert_rows(
        own_sessions,
        [*messages, never],
        facts + facts_of(never, "accepted 1") + facts_of(never, "sent 2", billable=True, cost_micros=7),
    )

    lake = refreshed(settings)

    rows = lake.frame("SELECT cost_source, cost_micros FROM fct_outcome ORDER BY message_id").rows()
    assert rows == [*((source, cost) for *_, source, cost in cases), ("undelivered", 0)]
    assert query(lake, ["cost", "unpriced"]).row(0) == (307, 2)


async def test_follow_up_cost_belongs_to_the_message_that_was_answered(
    settings: Settings, own_sessions: Sessions
) -> None:
    await golden.insert_setting(own_sessions)
    asked = a_message(1)
    alone = {"kind": "reply", "campaign_id": None, "variant_id": None, "category": "service"}
    same = {"contact_id": asked["contact_id"], **alone}
    soon = a_message(2, queued_at=asked["queued_at"] + timedelta(hours=2), **same)
    too_late = a_message(3, queued_at=asked["queued_at"] + timedelta(hours=26), **same)
    facts = facts_of(asked, "accepted 1", "delivered 2", "reply 3600")
    for answer in (soon, too_late):
        facts += facts_of(answer, "accepted 1") + facts_of(answer, "delivered 2", billable=True, cost_micros=50)
    await insert_rows(own_sessions, [asked, soon, too_late], facts)

    found = query(refreshed(settings), ["follow_up_cost", "cost"], by=("campaign_name",))

    assert found.rows() == [("C1", 50, 0)]


async def test_who_may_have_blocked_us(settings: Settings, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    days = [datetime(2026, 10, day, 9, tzinfo=UTC) for day in (1, 2, 3)]
    messages, facts = [], []
    outcomes = {
        "K1": ("delivered 2", None, None),  # two silent in a row
        "K2": ("delivered 2", None, "delivered 2"),  # came back
        "K3": (None, None, None),  # never reached at all
        "K4": ("delivered 2", "delivered 2", None),  # only one
    }
    for person, (contact, reached) in enumerate(outcomes.items()):
        for number, (at, outcome) in enumerate(zip(days, reached, strict=True)):
            campaign = {"campaign_id": None, "variant_id": None, "kind": "triggered"}
            message = a_message(person * 10 + number, contact_id=golden.an_id(contact), queued_at=at, **campaign)
            messages.append(message)
            facts += facts_of(message, "accepted 1", *([outcome] if outcome else []))
    await insert_rows(own_sessions, messages, facts)
    lake = refreshed(settings)

    assert query(lake, ["suspected_block_contacts"]).row(0) == (1,)
    assert query(lake, ["suspected_block_contacts"], as_of=golden.at("05 09:00")).row(0) == (0,)  # not 72 hours yet


async def test_a_day_is_cut_in_the_organisations_zone(own_database: str, tmp_path: Any, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    evening = a_message(1, queued_at=datetime(2026, 10, 1, 20, 0, tzinfo=UTC))  # 05:00 on the 2nd in Tokyo
    await insert_rows(own_sessions, [evening], [])
    tokyo = Settings.load(data_dir=tmp_path, database_url=own_database, time_zone="Asia/Tokyo")
    lake = refreshed(tokyo)

    second = date(2026, 10, 2)
    assert query(lake, ["targeted"], by=("day", "week", "month")).rows() == [
        (second, date(2026, 9, 28), date(2026, 10, 1), 1)
    ]
    assert query(lake, ["targeted"], since=second, until=date(2026, 10, 3)).row(0) == (1,)
    assert query(lake, ["targeted"], since=DAY, until=second).row(0) == (0,)


async def test_an_unknown_zone_of_a_person_is_the_organisations(settings: Settings, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    message = a_message(1, time_zone="Mars/Olympus")
    await insert_rows(own_sessions, [message], facts_of(message, "accepted 1"))

    assert heatmap(refreshed(settings)).select("weekday", "hour", "sent").rows() == [(4, 9, 0)]


@pytest.mark.parametrize("name", DIMENSIONS)
def test_every_dimension_groups_and_filters(golden_lake: Lake, name: str) -> None:
    rows = query(golden_lake, ["targeted"], by=(name,))

    assert rows["targeted"].sum() == 12
    for value, targeted in rows.filter(pl.col(name).is_not_null()).rows():
        assert query(golden_lake, ["targeted"], filters={name: [value]})["targeted"].item() == targeted
    assert query(golden_lake, ["targeted"], filters={name: []})["targeted"].item() == 0


def test_a_rate_over_nothing_is_null_and_not_zero(golden_lake: Lake) -> None:
    nothing = query(
        golden_lake, ["read_rate", "roas", "adjusted_read_rate"], since=date(2020, 1, 1), until=date(2020, 1, 2)
    )

    assert nothing.select("read_rate", "roas", "adjusted_read_rate").row(0) == (None, None, None)
    assert nothing.select("read_rate_numerator", "read_rate_denominator").row(0) == (0, 0)


def test_columns_come_in_the_order_asked(golden_lake: Lake) -> None:
    frame = query(golden_lake, ["read_rate", "sent"], by=("variant_label", "day"))

    assert frame.columns == [
        "variant_label",
        "day",
        "read_rate",
        "read_rate_numerator",
        "read_rate_denominator",
        "sent",
    ]
    assert frame["variant_label"].drop_nulls().is_sorted()


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": ["delivered; DROP TABLE run"]},
        {"names": ["delivered"], "by": ("contact_id",)},
        {"names": ["delivered"], "filters": {"message": ["1"]}},
        {"names": ["delivered"], "attribution": "last_click"},
    ],
)
def test_only_names_of_the_registry(golden_lake: Lake, wrong: dict[str, Any]) -> None:
    with pytest.raises(UnknownName):
        query(golden_lake, **wrong)


def test_values_of_filters_are_never_sql(golden_lake: Lake) -> None:
    found = query(golden_lake, ["targeted"], filters={"campaign_name": ["C1') OR true --", "C2"]})

    assert found.row(0) == (4,)


def test_every_metric_says_what_it_is() -> None:
    rows = definitions()

    assert rows["name"].to_list() == list(METRICS)
    assert rows["label"].is_unique().all()
    for one in METRICS.values():
        assert one.definition.endswith("."), one.name
        assert bool(one.sql) != bool(one.numerator), one.name
        for part in filter(None, (one.numerator, one.denominator)):
            assert METRICS[part].sql, one.name
        assert (one.unit is not Unit.RATE) or (one.numerator and one.denominator), one.name


def test_every_model_says_its_grain() -> None:
    models = [path for path in (files("analytics") / "sql").iterdir() if path.name.endswith(".sql")]

    assert len(models) >= 10
    for path in models:
        assert path.read_text().startswith("-- Grain: "), path.name


def test_tiles_compare_with_the_equally_long_time_before(golden_lake: Lake) -> None:
    third = date(2026, 10, 3)
    rows = tiles(golden_lake, ["delivered", "read_rate"], since=third, until=date(2026, 10, 5))

    delivered, read = rows.to_dicts()
    assert (delivered["value"], delivered["previous"], delivered["change"]) == (3, 5, -2)
    assert (delivered["unit"], delivered["denominator"]) == ("count", None)
    assert (read["value"], read["numerator"], read["denominator"]) == (2 / 3, 2, 3)
    assert (read["previous"], read["previous_numerator"], read["previous_denominator"]) == (0.8, 4, 5)
    assert read["change"] == pytest.approx(2 / 3 - 0.8)


def test_top_campaigns(golden_lake: Lake) -> None:
    rows = top_campaigns(golden_lake, ["net_revenue", "delivered"], order_by="net_revenue", limit=1)

    assert rows.select("campaign_name", "net_revenue", "delivered").rows() == [("C1", 130_000_000, 5)]


def test_a_campaign_nobody_knows_gives_zeros_and_nulls(golden_lake: Lake) -> None:
    unknown = str(golden.an_id("C9"))
    report = campaign_report(golden_lake, unknown)

    assert report.campaign["campaign_name"] is None
    assert report.figures["targeted"].item() == 0
    assert report.rates.height == 7
    assert report.rates["value"].null_count() == report.rates["low"].null_count() == 7
    assert set(funnel(golden_lake, unknown)["messages"]) == {0}
    assert failures(golden_lake, filters={"campaign": [unknown]}).is_empty()


def test_an_interval_is_for_rates_only(golden_lake: Lake) -> None:
    with pytest.raises(ValueError, match="roas is no rate"):
        rates_by_variant(golden_lake, ["roas"], str(golden.an_id("C1")))
