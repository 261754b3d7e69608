"""What somebody with the database's password changes behind the ledger's back is found by the verifier in a package."""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from core.consent.canonical import jcs, timestamp
from core.db import Sessions
from core.keys import Keyring
from core.settings import Settings
from tests.integration.consent.people import NOW
from tests.integration.consent.test_package import Office, an_office, read

Rows = list[dict[str, Any]]  # of consent_events, the core parsed
ANOTHER = "another ledger was signed"


@pytest.fixture
async def office(own_sessions: Sessions, keyring: Keyring, settings: Settings, tmp_path: Path) -> Office:
    """With a package of everything there is, and nothing recorded that was not signed but that package."""
    return await an_office(own_sessions, keyring, settings, tmp_path)


async def as_owner(office: Office, *statements: str, **values: Any) -> None:
    """What the owner of the tables can do, past every trigger."""
    async with office.world.sessions.begin() as session:
        await session.execute(text("SET ROLE NONE"))
        await session.execute(text("ALTER TABLE consent_events DISABLE TRIGGER ALL"))
        for statement in statements:
            await session.execute(text(statement), values)
        await session.execute(text("ALTER TABLE consent_events ENABLE TRIGGER ALL"))


async def tamper(office: Office, change: Callable[[Rows], Rows], *, rechained: bool = False) -> None:
    """Put changed rows in place of the ledger's, with their hashes; `rechained`, numbered and linked anew as well."""
    async with office.world.sessions() as session:
        found = await session.scalars(text("SELECT to_jsonb(e) FROM consent_events e ORDER BY seq"))
    rows = change([row | {"core": json.loads(row["core"])} for row in found])
    prev = "0" * 64
    for seq, row in enumerate(rows, start=1):
        if rechained:
            row["seq"], row["core"] = seq, row["core"] | {"seq": seq, "prev": prev}
        row["core"] = jcs(row["core"])
        row["leaf_hash"] = prev = hashlib.sha256(b"\x00" + row["core"].encode()).hexdigest()
    await as_owner(
        office,
        "DELETE FROM consent_events",
        "INSERT INTO consent_events SELECT * FROM jsonb_populate_recordset(NULL::consent_events, CAST(:rows AS jsonb))",
        rows=json.dumps(rows),
    )
    head = "UPDATE consent_chain SET seq = :seq, leaf_hash = :leaf"
    await as_owner(office, head, seq=rows[-1]["seq"], leaf=rows[-1]["leaf_hash"])


async def signed(office: Office) -> tuple[int, str]:
    """Size and note of the newest checkpoint, as somebody outside keeps it."""
    path, built = await office.build("before.zip")
    assert office.check(path).verdict == "PASS"
    return built.size, read(path)[f"checkpoints/{built.size:012}.note"].decode()


def edited(place: int, **changes: str | int) -> Callable[[Rows], Rows]:
    """The row in a place counted from 1 says something else; 0 is the last one."""

    def change(rows: Rows) -> Rows:
        rows[place - 1]["core"] |= changes
        return rows

    return change


def without(*seqs: int) -> Callable[[Rows], Rows]:
    return lambda rows: [row for row in rows if row["seq"] not in seqs]


async def test_a_row_that_was_edited(office: Office) -> None:
    size, _ = await signed(office)
    await as_owner(office, """UPDATE consent_events SET core = replace(core, '"JP"', '"US"') WHERE seq = 6""")

    report = office.check((await office.build(as_of_seq=size))[0])

    assert report.wrong["chain"] == ["event 7: does not follow"]
    assert f"size {size}: {ANOTHER}" in report.wrong["checkpoints"]


async def test_a_row_that_was_edited_with_its_hash(office: Office) -> None:
    size, _ = await signed(office)
    await tamper(office, edited(6, jurisdiction="US"))

    report = office.check((await office.build(as_of_seq=size))[0])

    assert report.wrong["chain"] == ["event 7: does not follow"]
    assert f"size {size}: {ANOTHER}" in report.wrong["checkpoints"]


async def test_a_row_that_was_deleted(office: Office) -> None:
    size, _ = await signed(office)
    await tamper(office, without(6))

    report = office.check((await office.build(as_of_seq=size))[0])

    assert "event 6: does not follow" in report.wrong["chain"]
    assert any(finding.endswith("one before is missing") for finding in report.wrong["chain"])
    assert f"the ledger: {size - 1} events where {size} were signed" in report.wrong["chain"]


async def test_a_tail_that_was_cut_and_a_head_that_was_reset(office: Office) -> None:
    size, _ = await signed(office)
    await tamper(office, without(size - 1, size, size + 1))

    report = office.check((await office.build(as_of_seq=size))[0])

    assert report.wrong["chain"] == [f"the ledger: {size - 2} events where {size} were signed"]
    assert f"sizes [{size}]: the ledger is shorter than was signed" in report.wrong["checkpoints"]


async def test_a_tail_that_was_cut_with_its_checkpoints(office: Office) -> None:
    size, kept = await signed(office)
    await tamper(office, without(size - 1, size, size + 1))
    await as_owner(office, "DELETE FROM consent_checkpoints WHERE size > :size", size=size - 2)
    path, _ = await office.build()

    assert office.check(path).verdict == "PASS", "a package alone cannot know"
    report = office.check(path, checkpoint=kept)

    assert report.wrong["checkpoints"] == [f"sizes [{size}]: the ledger is shorter than was signed"]
    assert report.unverifiable == {}


async def test_a_chain_that_was_rewritten_as_a_whole(office: Office) -> None:
    size, kept = await signed(office)
    await tamper(office, edited(6, jurisdiction="US"), rechained=True)
    old = office.check((await office.build(as_of_seq=size))[0])
    await as_owner(office, "DELETE FROM consent_checkpoints")
    path, _ = await office.build()

    assert f"size {size}: {ANOTHER}" in old.wrong["checkpoints"]
    assert office.check(path).verdict == "PASS", "a package alone cannot know"
    report = office.check(path, checkpoint=kept)

    assert (report.wrong, report.unverifiable) == ({"checkpoints": [f"size {size}: {ANOTHER}"]}, {})


async def test_a_back_dated_row_between_the_others(office: Office) -> None:
    size, kept = await signed(office)

    def inserted(rows: Rows) -> Rows:
        given, event_id = rows[4], str(uuid4())
        core = given["core"] | {"event_id": event_id, "subject_event_no": 2, "prev_state": "subscribed"}
        core["source_event_ref"] = hashlib.sha256(event_id.encode()).hexdigest()
        made = given | {"core": core, "event_id": event_id, "source_event_ref": core["source_event_ref"]}
        return [*rows[:5], made, *rows[5:]]

    await tamper(office, inserted, rechained=True)
    await as_owner(office, "DELETE FROM consent_checkpoints")
    path, _ = await office.build()

    report = office.check(path, checkpoint=kept)

    assert report.wrong["checkpoints"] == [f"size {size}: {ANOTHER}"]


async def test_a_last_row_with_a_forged_time(office: Office) -> None:
    earlier = timestamp(datetime.now(NOW.tzinfo) - timedelta(days=9))
    size, _ = await signed(office)
    await tamper(office, edited(0, recorded_at=earlier))

    path, built = await office.build()

    assert built.size == size + 1
    assert office.check(path).wrong == {"chain": [f"event {size + 1}: recorded before its predecessor"]}


async def test_a_last_row_with_a_forged_number(office: Office) -> None:
    size, _ = await signed(office)
    await tamper(office, edited(0, seq=size + 2))

    report = office.check((await office.build())[0])

    assert report.wrong == {"chain": [f"event {size + 1}: does not follow"]}


async def test_a_last_row_that_cites_a_notice_nobody_was_shown(office: Office) -> None:
    size, _ = await signed(office)
    await tamper(office, edited(0, notice_id=str(office.world.notice_id), notice_hash="ab" * 32))

    report = office.check((await office.build())[0])

    assert report.wrong == {"notices": [f"event {size + 1}: another notice was shown"]}


async def test_a_last_row_with_a_forged_outcome(office: Office) -> None:
    await office.world.record(office.world.stop(office.people[0]))
    await tamper(office, edited(0, next_state="subscribed"))

    report = office.check((await office.build())[0])

    assert [finding.split(": ")[1] for finding in report.wrong["replay"]] == ["leads to withdrawn"]


async def test_evidence_that_was_removed(office: Office) -> None:
    await as_owner(office, "DELETE FROM consent_evidence WHERE contact_id = :person", person=office.people[0])

    report = office.check((await office.build())[0])

    assert report.wrong == {"evidence": [f"{office.people[0]}: evidence is missing"]}


async def test_evidence_that_was_swapped(office: Office) -> None:
    one, other = office.people[0], office.people[2]
    async with office.world.sessions() as session:
        first = "SELECT DISTINCT ON (subject_id) event_id, seq FROM consent_events ORDER BY subject_id, seq"
        found = await session.execute(text(f"SELECT * FROM ({first}) f JOIN consent_evidence USING (event_id)"))
        events = {row.contact_id: row for row in found}
    swap = (
        "UPDATE consent_evidence e SET salt = o.salt, payload = o.payload FROM consent_evidence o"
        " WHERE (e.event_id, o.event_id) IN ((:a, :b), (:b, :a))"
    )
    await as_owner(office, swap, a=events[one].event_id, b=events[other].event_id)

    report = office.check((await office.build())[0])

    expected = {f"{events[person].seq}: its evidence was changed" for person in (one, other)}
    assert (report.wrong.keys(), set(report.wrong["evidence"])) == ({"evidence"}, expected)


async def test_a_last_stop_that_a_filtered_package_hides(office: Office) -> None:
    size, _ = await signed(office)
    person = office.people[2]
    async with office.world.sessions() as session:
        stop = await session.scalar(
            text("SELECT max(seq) FROM consent_events WHERE subject_id = :id AND event_type = 'WITHDRAWN'"),
            {"id": person},
        )
    await tamper(office, without(stop))

    path, built = await office.build(as_of_seq=size, contact_ids=(person,))
    report = office.check(path)

    assert built.people == 1
    assert f"the ledger: {size - 1} events where {size} were signed" in report.wrong["chain"]
    assert f"event {stop}: does not follow" in report.wrong["chain"]
