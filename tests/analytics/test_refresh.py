"""The lake takes each committed row exactly once, whatever is slow, killed, late or done twice."""

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Event

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import insert, text

from analytics.collect import collect
from analytics.lake import LakeError, head_version, open_lake, refresh
from analytics.manifest import Manifest, manifest_path
from analytics.metrics import METRICS, query
from core.db import Sessions
from core.models import Conversion, MessageEvent
from core.settings import Settings
from tests.analytics import golden

STEPS = ("locked", "extracted", "bronze", "silver", "attributed", "committed", "published", "collected")
NOT_STORED_TWICE = ("fct_message", "fct_touch", "fct_attribution")


def contents(settings: Settings) -> dict[str, pl.DataFrame]:
    """Every row of every table, sorted: what two lakes must share to be the same."""
    lake = open_lake(settings)
    tables = ("bronze_message", "bronze_event", "bronze_conversion", *NOT_STORED_TWICE, "dim_campaign", "dim_variant")
    frames = {table: lake.frame(f"SELECT * FROM {table} ORDER BY ALL") for table in tables}
    lake.close()
    return frames


def assert_same(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    for table, rows in one.items():
        assert_frame_equal(rows, other[table])


def manifest(settings: Settings) -> Manifest:
    return Manifest.from_json(manifest_path(settings.lake_dir, head_version(settings)).read_text())


async def test_nothing_new_makes_no_new_version(settings: Settings, golden_rows: Sessions) -> None:
    first = refresh(settings)
    second = refresh(settings)

    assert (first.version, first.changed, first.rows) == (1, True, 14 + 46 + 9)
    assert first.partitions == ["2026-10-01", "2026-10-03"]
    assert (second.version, second.changed, second.rows, second.partitions) == (1, False, 0, [])


async def test_a_late_webhook_rewrites_its_partition_only(settings: Settings, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    await golden.insert_messages(own_sessions)
    assert await golden.insert_facts(own_sessions, golden.received_until(golden.EARLY)) == 43
    await golden.insert_orders(own_sessions)
    refresh(settings)
    before = manifest(settings)

    assert await golden.insert_facts(own_sessions, golden.received_after(golden.EARLY)) == 3
    later = refresh(settings)

    after = manifest(settings)
    assert later.partitions == ["2026-10-03"]
    for table in ("bronze_message", "bronze_event", "fct_message", "fct_touch", "bronze_conversion"):
        assert after.partition(table, "2026-10-01") == before.partition(table, "2026-10-01"), table
    assert after.partition("fct_message", "2026-10-03") != before.partition("fct_message", "2026-10-03")
    changed = {
        day
        for day, files in after.tables["fct_attribution"].items()
        if files != before.partition("fct_attribution", day)
    }
    assert changed == {"2026-10-03"}
    lake = open_lake(settings)
    assert query(lake, ["delivered"], as_of=golden.EARLY)["delivered"].to_list() == [7]
    assert query(lake, ["delivered"])["delivered"].to_list() == [8]


async def test_a_slow_transaction_that_commits_late_is_not_lost(settings: Settings, golden_rows: Sessions) -> None:
    late, quick = ({**golden.fact_rows()[0], "event_key": golden.an_id(name), "kind": "played"} for name in "lq")

    async with golden_rows() as slow:
        await slow.execute(insert(MessageEvent).values(**late))  # first id, first timestamp, not committed yet
        async with golden_rows.begin() as session:
            await session.execute(insert(MessageEvent).values(**quick))
        during = refresh(settings)
        keys_during = contents(settings)["bronze_event"]["event_key"].to_list()
        await slow.commit()
    after = refresh(settings)

    # What is newer than the oldest running transaction waits for it, so that no window is ever left half read.
    assert during.rows == 14 + 46 + 9
    assert str(golden.an_id("l")) not in keys_during
    keys = contents(settings)["bronze_event"]["event_key"].to_list()
    assert after.rows == 2
    assert {str(golden.an_id("l")), str(golden.an_id("q"))} <= set(keys)
    assert len(keys) == len(set(keys)) == 48


class Killed(Exception):
    """The process died here."""


def die_after(step: str) -> Callable[[str], None]:
    def watch(done: str) -> None:
        if done == step:
            raise Killed(step)

    return watch


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_and_run_again_gives_the_same(
    settings: Settings, golden_rows: Sessions, tmp_path: Path, step: str
) -> None:
    undisturbed = Settings.load(data_dir=tmp_path / "undisturbed", database_url=settings.database_url)
    refresh(undisturbed)
    expected = contents(undisturbed)
    async with golden_rows.begin() as session:
        await session.execute(text("DELETE FROM lake_head"))

    with pytest.raises(Killed):
        refresh(settings, after=die_after(step))
    again = refresh(settings)

    assert again.version == 1
    assert again.changed is (STEPS.index(step) < STEPS.index("committed"))
    assert_same(contents(settings), expected)
    assert manifest(settings).version == 1


async def test_killed_between_two_versions(settings: Settings, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    await golden.insert_messages(own_sessions)
    await golden.insert_facts(own_sessions, golden.received_until(golden.EARLY))
    refresh(settings)
    await golden.insert_facts(own_sessions)

    for step in STEPS:
        try:
            refresh(settings, after=die_after(step))
        except Killed:
            continue
    last = refresh(settings)

    assert last.version == 2
    assert contents(settings)["bronze_event"].height == 46


async def test_two_refreshers_at_once(settings: Settings, golden_rows: Sessions) -> None:
    together = Barrier(3)

    def one() -> object:
        together.wait()
        return refresh(settings)

    with ThreadPoolExecutor(3) as pool:
        results = await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(pool, one) for _ in range(3)))

    assert sorted(result.changed for result in results) == [False, False, True]  # type: ignore[attr-defined]
    found = contents(settings)
    assert (found["bronze_event"].height, found["bronze_message"].height) == (46, 14)


async def test_a_second_refresh_waits_for_the_first(settings: Settings, golden_rows: Sessions) -> None:
    half_way, go_on, second_started = Event(), Event(), Event()

    def pause(step: str) -> None:
        if step == "extracted":
            half_way.set()
            assert go_on.wait(30)

    first = asyncio.create_task(asyncio.to_thread(refresh, settings, after=pause))
    await asyncio.to_thread(half_way.wait, 30)
    second = asyncio.create_task(
        asyncio.to_thread(refresh, settings, after=lambda step: second_started.set() if step == "locked" else None)
    )
    waited = not await asyncio.to_thread(second_started.wait, 1.0)
    go_on.set()

    assert waited
    assert ((await first).changed, (await second).changed) == (True, False)


@pytest.mark.parametrize("refreshed_before", [False, True])
async def test_a_refresh_whose_head_was_moved_starts_again(
    settings: Settings, golden_rows: Sessions, refreshed_before: bool
) -> None:
    if refreshed_before:
        refresh(settings)
        await golden.insert_facts(golden_rows, (golden.Fact("m08", "delivered", "01 10:00"),))
    moved: list[str] = []
    loop = asyncio.get_running_loop()

    def move_the_head(step: str) -> None:
        if step == "attributed" and not moved:
            moved.append(step)
            asyncio.run_coroutine_threadsafe(elsewhere(), loop).result()

    async def elsewhere() -> None:
        async with golden_rows.begin() as session:
            await session.execute(text("DELETE FROM lake_head"))
            await session.execute(
                text("INSERT INTO lake_head (lake, version, manifest) VALUES ('main', 7, (:manifest)::jsonb)"),
                {"manifest": Manifest(version=7).to_json()},
            )

    result = await asyncio.to_thread(refresh, settings, after=move_the_head)

    assert result.version == 8
    assert contents(settings)["bronze_event"].height == 46 + refreshed_before


@pytest.mark.parametrize("runs", [3, 18])
async def test_a_stream_in_many_runs_gives_the_bytes_of_one(
    settings: Settings, own_sessions: Sessions, tmp_path: Path, runs: int
) -> None:
    await golden.insert_setting(own_sessions)
    await golden.insert_messages(own_sessions)
    facts = sorted(golden.FACTS, key=lambda fact: fact.received_at)
    for part in range(runs):
        await golden.insert_facts(own_sessions, tuple(facts[part::runs]))
        if part == runs // 2:
            await golden.insert_orders(own_sessions)
        refresh(settings)
    in_many = manifest(settings)
    assert in_many.version == runs

    async with own_sessions.begin() as session:
        await session.execute(text("DELETE FROM lake_head"))
    at_once = Settings.load(data_dir=tmp_path / "at_once", database_url=settings.database_url)
    refresh(at_once)

    in_one = manifest(at_once)
    for table in NOT_STORED_TWICE:
        hashes = [
            {day: [file.sha256 for file in files] for day, files in one.tables[table].items()}
            for one in (in_many, in_one)
        ]
        assert hashes[0] == hashes[1], table
    assert max(len(files) for files in in_many.tables["bronze_event"].values()) <= 16  # merged on the way


async def test_another_life_of_the_database_is_read_again_without_doubling(
    settings: Settings, golden_rows: Sessions
) -> None:
    refresh(settings)
    before = contents(settings)
    restored = json.loads(manifest(settings).to_json())
    for watermark in restored["watermarks"].values():
        watermark["epoch"] = "of the server it was dumped from"
    async with golden_rows.begin() as session:
        changed = text("UPDATE lake_head SET manifest = (:manifest)::jsonb")
        await session.execute(changed, {"manifest": json.dumps(restored)})

    again = refresh(settings)

    assert again.rows == 69
    assert_same(contents(settings), before)


async def test_a_lake_of_older_rules_is_rebuilt_whole(settings: Settings, golden_rows: Sessions) -> None:
    refresh(settings)
    before = contents(settings)
    older = json.loads(manifest(settings).to_json()) | {"schema": 0}
    async with golden_rows.begin() as session:
        changed = text("UPDATE lake_head SET manifest = (:manifest)::jsonb")
        await session.execute(changed, {"manifest": json.dumps(older)})

    rebuilt = refresh(settings)

    assert (rebuilt.rows, rebuilt.partitions) == (0, ["2026-10-01", "2026-10-03"])
    assert_same(contents(settings), before)
    assert refresh(settings).changed is False


async def test_orphans_go_after_a_day_and_live_files_stay(settings: Settings, golden_rows: Sessions) -> None:
    with pytest.raises(Killed):
        refresh(settings, after=die_after("silver"))
    orphans = set((settings.lake_dir / "data").rglob("*.parquet"))
    refresh(settings)
    assert orphans <= set((settings.lake_dir / "data").rglob("*.parquet"))  # young: somebody may be about to commit

    for path in settings.lake_dir.rglob("*.parquet"):
        os.utime(path, (0, 0))
    removed = collect(settings)

    left = set((settings.lake_dir / "data").rglob("*.parquet"))
    assert removed == len(orphans) > 0
    assert not orphans & left
    assert contents(settings)["bronze_event"].height == 46


async def test_an_older_version_can_still_be_read(settings: Settings, own_sessions: Sessions) -> None:
    await golden.insert_setting(own_sessions)
    await golden.insert_messages(own_sessions)
    refresh(settings)
    await golden.insert_facts(own_sessions)
    refresh(settings)

    assert query(open_lake(settings, version=1), ["delivered"]).row(0) == (0,)
    assert query(open_lake(settings, version=2), ["delivered"]).row(0) == (8,)
    with pytest.raises(LakeError, match="no version 3"):
        open_lake(settings, version=3)


async def test_the_manifest_says_what_the_files_are(settings: Settings, golden_rows: Sessions) -> None:
    refresh(settings)

    found = manifest(settings)

    for table in found.tables:
        for file in found.files(table):
            path = settings.lake_dir / file.path
            assert path.stat().st_size == file.bytes
            assert pl.scan_parquet(path).select(pl.len()).collect().item() == file.rows
    assert found.watermarks.keys() == {"bronze_message", "bronze_event", "bronze_conversion"}
    events = found.partition("bronze_event", "2026-10-01")
    assert [(file.min, file.max) for file in events] == [("2026-10-01T09:00:01+00:00", "2026-10-01T11:00:00+00:00")]


async def test_no_name_number_or_text_of_a_person_is_in_the_lake(settings: Settings, golden_rows: Sessions) -> None:
    async with golden_rows.begin() as session:
        await session.execute(text("UPDATE contacts SET name = 'Zebedee', attributes = '{\"shoe\": \"Zebedee\"}'"))
        await session.execute(text('UPDATE messages SET parameters = \'{"1": "Zebedee"}\''))
    refresh(settings)

    for path in settings.lake_dir.rglob("*.parquet"):
        frame = pl.read_parquet(path).select(pl.all().cast(pl.String))
        assert not any("Zebedee" in str(row) for row in frame.rows())
        assert not {"name", "parameters", "attributes", "phone"} & set(frame.columns)


async def test_an_order_of_somebody_without_touches_and_a_refund_before_its_order(
    settings: Settings, own_sessions: Sessions
) -> None:
    await golden.insert_setting(own_sessions)
    rows = {row["kind"]: row for row in golden.order_rows() if row["order_id"] == "O2"}

    for kind in ("refund", "order"):
        async with own_sessions.begin() as session:
            await session.execute(insert(Conversion).values(**rows[kind]))
        refresh(settings)

    credited = contents(settings)["fct_attribution"].filter(pl.col("model") == "last_touch")
    assert credited.select("order_id", "message_id", "gross_micros", "refund_micros").rows() == [
        ("O2", None, 25_000_000, 5_000_000)
    ]


def test_an_empty_lake_gives_empty_frames_of_the_right_types(settings: Settings) -> None:
    for lake in (open_lake(settings), refresh(settings) and open_lake(settings)):
        everything = query(lake, list(METRICS))
        grouped = query(lake, list(METRICS), by=("day", "campaign"))

        assert everything.height == 1
        assert grouped.height == 0
        assert grouped.schema["day"] == pl.Date
        assert grouped.schema["campaign"] == pl.String
        assert {name: kind for name, kind in grouped.schema.items() if name not in ("day", "campaign")} == dict(
            everything.schema
        )
        assert everything.schema["delivered"] == pl.Int64
        assert everything.schema["read_rate"] == pl.Float64
        assert everything.row(0, named=True)["read_rate"] is None
        assert everything.row(0, named=True)["read_rate_denominator"] == 0
        assert everything.row(0, named=True)["roas"] is None


async def test_a_lake_reads_its_own_files_only(settings: Settings, golden_rows: Sessions, tmp_path: Path) -> None:
    refresh(settings)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    lake = open_lake(settings)

    with pytest.raises(Exception, match="disabled by configuration"):
        lake.frame(f"SELECT * FROM read_csv('{secret}')")
    with pytest.raises(Exception, match="locked"):
        lake.frame("SET enable_external_access = true")
    assert lake.as_of.utcoffset() == timedelta(0)
