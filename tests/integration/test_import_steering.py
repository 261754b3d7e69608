"""Imports are looked at first, checked, paused, cancelled and taken back; what a file may change is chosen."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from sqlalchemy import func, select, text, update

from core.clock import utc_now
from core.models import Audience, AudienceMember, ConsentEvent, Contact, ContactAddress, Import, ImportRow
from core.services import imports
from core.services.imports_reading import read
from core.services.imports_recording import Check, Desk, finish_chunk, prepare_chunk
from core.statuses import ImportStatus
from tests.factories import VOUCHED, an_import, consenting, csv_of
from tests.integration.stack import Stack
from worker.chunks import Chunk, Recorder


async def upload(stack: Stack, content: bytes, **options: Any) -> dict[str, Any]:
    answer = await stack.client.post(
        "/api/imports",
        files={"file": ("people.csv", content)},
        data={"options": json.dumps({"region": "DE", "attestation": VOUCHED, **options})},
    )
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def preview(stack: Stack, content: bytes, **options: Any) -> dict[str, Any]:
    answer = await stack.client.post(
        "/api/imports/preview", files={"file": ("a.csv", content)}, data={"options": json.dumps(options)}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def act(stack: Stack, job: dict[str, Any], what: str, status: int = 200) -> dict[str, Any]:
    answer = await stack.client.post(f"/api/imports/{job['id']}/{what}")
    assert answer.status_code == status, answer.text
    await stack.work()
    found: dict[str, Any] = answer.json()
    return found if status != 200 else (await stack.client.get(f"/api/imports/{job['id']}")).json()


async def count(stack: Stack, model: Any) -> int:
    async with stack.sessions() as session:
        return (await session.scalars(select(func.count()).select_from(model))).one()


async def people(stack: Stack) -> dict[str, Contact]:
    """Number → contact."""
    async with stack.sessions() as session:
        found = select(ContactAddress.value, Contact).join(Contact, Contact.id == ContactAddress.contact_id)
        return {row[0]: row[1] for row in await session.execute(found)}


GERMAN = "sep=;\nTelefonnummer;Name;Land;Sprache;Einwilligung am;Stadt\n"


async def test_a_preview_says_how_the_file_is_read_and_keeps_nothing(stack: Stack) -> None:
    rows = "4917012345678;Jürgen;Deutschland;de;01.05.2026 09:30;Köln\n1701234567;Ä;DE;de;;\n8,19E+11;B;Japan;ja;;\n"
    found = await preview(stack, (GERMAN + rows).encode("cp1252"), zone="Europe/Berlin")

    assert found["format"] == {"kind": "csv", "encoding": "cp1252", "delimiter": ";"}
    assert found["columns"] == {
        "phone": "Telefonnummer",
        "name": "Name",
        "country": "Land",
        "language": "Sprache",
        "occurred_at": "Einwilligung am",
    }
    first, second, third = found["rows"]
    assert (first["phone"], first["occurred_at"], first["mended"]) == (
        "+4917012345678",
        "2026-05-01T07:30:00Z",
        ["lost_plus"],
    )
    assert (second["phone"], second["mended"]) == ("+491701234567", ["lost_zero"])
    assert "a spreadsheet rounded the number" in third["problem"]
    assert await count(stack, Import) == 0
    assert list((stack.settings.data_dir / "imports").iterdir()) == []


async def test_a_preview_without_a_phone_column_names_the_columns_to_choose_from(stack: Stack) -> None:
    found = await preview(stack, "連絡先,氏名\n090-1234-5678,山田\n".encode("shift_jis"), region="JP")
    assert (found["header"], found["rows"], found["columns"]) == (["連絡先", "氏名"], [], {"name": "氏名"})

    found = await preview(
        stack, "連絡先,氏名\n090-1234-5678,山田\n".encode("shift_jis"), region="JP", columns={"phone": "連絡先"}
    )
    assert found["rows"][0]["phone"] == "+819012345678"


async def test_a_check_gives_the_verdicts_of_the_import_and_writes_nobody(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting("+4917012345600", action="opt_out")]))
    before = [await count(stack, model) for model in (Contact, ConsentEvent, Audience)]
    rows = [
        consenting("+4917012345600"),
        consenting("+4917012345601"),
        consenting("+4917012345601"),
        consenting("+4917012345602", evidence_ref=""),
        consenting("+4917012345603"),
        consenting("+4917012345603", action="opt_out", source_record_id="out"),
        {"phone": "+4917012345604"},
        {"phone": "12"},
    ]

    job = await upload(stack, csv_of(rows), dry_run=True, audience_name="Spring")
    await stack.work()
    checked = (await stack.client.get(f"/api/imports/{job['id']}")).json()

    assert (checked["status"], checked["undo_until"]) == ("checked", None)
    assert [await count(stack, model) for model in (Contact, ConsentEvent, Audience)] == before
    shown = (await stack.client.get(f"/api/imports/{job['id']}/rows")).json()["items"]
    await act(stack, checked, "undo", 409)

    done = await act(stack, checked, "confirm")
    again = (await stack.client.get(f"/api/imports/{job['id']}/rows")).json()["items"]
    verdicts = [[(row["row_number"], row["verdict"], row["reason"]) for row in rows] for rows in (shown, again)]
    assert verdicts[0] == verdicts[1]
    assert (done["status"], done["verdicts"]) == ("done", checked["verdicts"])
    assert done["verdicts"]["refused_suppressed"] == 2
    assert await count(stack, Audience) == 1
    assert await count(stack, AudienceMember) == 5


async def test_a_check_sees_whom_an_earlier_part_of_the_file_opts_out(stack: Stack) -> None:
    rows = [consenting("+4917012345600"), consenting("+4917012345600", action="opt_out", source_record_id="out")]
    job = await upload(stack, csv_of(rows), dry_run=True)
    stack.bells.waiting.clear()

    verdicts = await recorded(stack, job, size=1)

    assert verdicts == {"opt_out_applied": 1, "refused_suppressed": 1}
    assert await count(stack, Contact) == 0


async def recorded(stack: Stack, job: dict[str, Any], *, size: int, chunks: int | None = None) -> dict[str, int]:
    """Record an import in chunks of that size; its verdicts."""
    async with stack.sessions.begin() as session:
        found = await imports.get(session, UUID(job["id"]))
        found.status = ImportStatus.RUNNING
    async with stack.sessions() as session:
        found = await imports.get(session, UUID(job["id"]))
    with await opened(stack, found) as reading:
        recorder = Recorder(stack.parts, found, desk_of(stack, found))
        assert await recorder.record_all(some(list(reading.chunks(size))[:chunks]))
    async with stack.sessions() as session:
        return (await imports.get(session, UUID(job["id"]))).verdicts


async def some(chunks: list[Chunk]) -> Any:
    for chunk in chunks:
        yield chunk


def desk_of(stack: Stack, job: Import) -> Desk:
    check = Check() if job.dry_run else None
    return Desk(imports.options_of(job), stack.parts.keyring, stack.parts.settings, check)


async def opened(stack: Stack, job: Import) -> Any:
    purposes = frozenset({"marketing", "transactional", "service"})
    return read(Path(job.path), imports.options_of(job), purposes=purposes, kinds={}, now=utc_now())


async def test_chunks_that_share_people_end_as_one_chunk_would(stack: Stack) -> None:
    """Two chunks are under way at once: the second cannot see the people the first is making."""
    numbers = [f"+491701234560{n}" for n in range(10)]
    rows: list[dict[str, str]] = []
    for number in numbers:
        rows += [
            {"phone": number, "name": "", "city": "Berlin"},
            consenting(number),
            consenting(number, purpose="transactional", source_record_id=f"t{number}"),
        ]
    rows += [consenting(numbers[0], action="opt_out", source_record_id="out")]
    job = await upload(stack, csv_of(rows), audience_name="All")
    stack.bells.waiting.clear()

    verdicts = await recorded(stack, job, size=2)

    assert verdicts == {"accepted": 19, "contact_only": 10, "opt_out_applied": 1, "refused_suppressed": 1}
    found = await people(stack)
    assert set(found) == set(numbers)
    assert all(contact.attributes == {"city": "Berlin"} for contact in found.values())
    assert {contact.consent_version for contact in found.values()} == {2, 3}
    assert await count(stack, AudienceMember) == 10


async def test_a_paused_import_stops_between_chunks_and_goes_on_behind_them(stack: Stack) -> None:
    rows = [consenting(f"+49170123456{n:02}") for n in range(30)]
    job = await upload(stack, csv_of(rows))
    stack.bells.waiting.clear()
    await recorded(stack, job, size=10, chunks=1)
    paused = await act(stack, job, "pause")
    assert (paused["status"], paused["rows_done"]) == ("paused", 10)

    async with stack.sessions() as session:
        found = await imports.get(session, UUID(job["id"]))
    with await opened(stack, found) as reading:
        async with stack.sessions() as session:
            chunk = next(reading.chunks(10, done=10))
            prepared = await prepare_chunk(session, found, chunk, desk_of(stack, found), now=utc_now())
            assert not await finish_chunk(session, prepared, desk_of(stack, found))
    assert await count(stack, Contact) == 10

    await act(stack, job, "pause", 409)
    done = await act(stack, job, "resume")
    assert (done["status"], done["verdicts"], done["rows_done"]) == ("done", {"accepted": 30}, 30)
    assert await count(stack, Contact) == 30
    await act(stack, job, "cancel", 409)


async def test_a_cancelled_import_keeps_what_it_did_until_it_is_undone(stack: Stack) -> None:
    rows = [{"phone": f"+49170123456{n:02}", "name": "Ana"} for n in range(30)]
    job = await upload(stack, csv_of(rows), audience_name="Half")
    stack.bells.waiting.clear()
    await recorded(stack, job, size=10, chunks=2)
    await act(stack, job, "cancel")
    assert await count(stack, Contact) == 20
    async with stack.sessions() as session:
        sealed = await session.scalar(select(ConsentEvent.core).where(ConsentEvent.event_type == "IMPORT_BATCH"))
    assert sealed is not None
    assert (
        json.loads(sealed)["refs"] | {"outcome": "cancelled", "verdicts": "contact_only=20"}
        == json.loads(sealed)["refs"]
    )

    undone = await act(stack, job, "undo")

    assert undone["status"] == "undone"
    assert undone["undone"] == {"memberships": 20, "restored": 0, "removed": 20, "kept": 0}
    assert (await count(stack, Contact), await count(stack, AudienceMember)) == (0, 0)
    await act(stack, job, "undo", 409)


async def test_undoing_takes_back_people_values_and_consents_but_never_an_opt_out(stack: Stack) -> None:
    first = [
        {"phone": "+4917012345600", "name": "Ana", "city": "Bonn", "tier": "gold"},
        {"phone": "+4917012345601", "name": "Ben", "city": "Kiel", "tier": "gold"},
    ]
    await an_import(stack, csv_of(first))
    second = [
        consenting("+4917012345600", name="Anna", city="Köln", shoe="41"),
        consenting("+4917012345601", name="Benjamin", action="opt_out", city="Ulm", shoe=""),
        consenting("+4917012345602", name="Cem", city="Ulm", shoe=""),
        consenting("+4917012345603", name="Dora", action="opt_out", city="", shoe=""),
        {"phone": "+4917012345604", "name": "Eli", "city": "", "shoe": ""},
    ]
    done = await an_import(stack, csv_of(second), merge="overwrite", audience_name="Spring")
    found = await people(stack)
    assert [found[f"+491701234560{n}"].name for n in range(5)] == ["Anna", "Benjamin", "Cem", "Dora", "Eli"]
    assert found["+4917012345600"].attributes == {"city": "Köln", "tier": "gold", "shoe": "41"}
    async with stack.sessions.begin() as session:  # somebody mends a name in between
        await session.execute(update(Contact).where(Contact.name == "Benjamin").values(name="Benny"))

    undone = await act(stack, done, "undo")

    assert undone["undone"] == {"memberships": 5, "restored": 2, "removed": 1, "kept": 2}
    found = await people(stack)
    assert {number[-1]: contact.name for number, contact in found.items()} == {
        "0": "Ana",
        "1": "Benny",
        "2": None,
        "3": None,
    }
    assert found["+4917012345600"].attributes == {"city": "Bonn", "tier": "gold"}
    assert found["+4917012345601"].attributes == {"city": "Kiel", "tier": "gold"}
    async with stack.sessions() as session:
        states = text("SELECT purpose, state FROM consent_state WHERE contact_id = :id")
        said = {n: (await session.execute(states, {"id": found[f"+491701234560{n}"].id})).all() for n in range(4)}
    assert [[tuple(row) for row in said[n]] for n in range(4)] == [
        [("marketing", "invalid")],
        [("marketing.*", "withdrawn")],
        [("marketing", "invalid")],
        [("marketing.*", "withdrawn")],
    ]


async def test_after_seven_days_an_import_stays(stack: Stack) -> None:
    done = await an_import(stack, csv_of([{"phone": "+4917012345600"}]))
    async with stack.sessions.begin() as session:
        await session.execute(update(Import).values(finished_at=utc_now() - timedelta(days=7, seconds=1)))

    refused = await act(stack, done, "undo", 409)

    assert "for 7 days" in refused["detail"]
    assert await count(stack, Contact) == 1


@pytest.mark.parametrize(
    ("merge", "name", "attributes"),
    [
        ("fill", "Ana", {"city": "Bonn", "tier": "gold", "shoe": "41"}),
        ("overwrite", "Anna", {"city": "Köln", "tier": "gold", "shoe": "41"}),
        ("skip", "Ana", {"city": "Bonn", "tier": "gold"}),
    ],
)
async def test_a_file_changes_known_people_as_far_as_it_was_allowed_to(
    stack: Stack, merge: str, name: str, attributes: dict[str, str]
) -> None:
    await an_import(stack, csv_of([{"phone": "+4917012345600", "name": "Ana", "city": "Bonn", "tier": "gold"}]))

    row = {"phone": "+4917012345600", "name": "Anna", "city": "Köln", "tier": "", "shoe": "41", "language": "de"}
    await an_import(stack, csv_of([row]), merge=merge)

    (person,) = (await people(stack)).values()
    assert (person.name, person.attributes) == (name, attributes)
    assert person.language == (None if merge == "skip" else "de")


async def test_times_without_a_zone_are_read_in_the_one_chosen_and_the_evidence_says_so(stack: Stack) -> None:
    rows = [
        consenting("+4917012345600", occurred_at="2026-05-01 09:30"),
        consenting("+4917012345601", occurred_at="2026/05/01 09:30"),
        consenting("+4917012345602", occurred_at="01.05.2026 09:30"),
        consenting("+4917012345603", occurred_at="2026年5月1日 9:30"),
        consenting("+4917012345604", occurred_at="2026-05-01T09:30+09:00"),
    ]
    done = await an_import(stack, csv_of(rows), zone="Asia/Tokyo")
    assert done["verdicts"] == {"accepted": 5}
    async with stack.sessions() as session:
        query = text("SELECT core::jsonb->>'occurred_at' FROM consent_events WHERE event_type = 'GRANTED'")
        assert set((await session.scalars(query)).all()) == {"2026-05-01T00:30:00.000000Z"}
        zones = text("SELECT count(*) FROM consent_evidence WHERE payload::jsonb->>'occurred_at_zone' = 'Asia/Tokyo'")
        assert (await session.execute(zones)).scalar_one() == 4

    refused = await stack.client.post(
        "/api/imports", files={"file": ("a.csv", b"phone\n1\n")}, data={"options": '{"zone": "Mars/Olympus"}'}
    )
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "options.zone")


async def test_what_spreadsheets_did_to_numbers_is_counted(stack: Stack) -> None:
    numbers = ["4917012345600", "1701234567", "4917012345602.0", "8.19E+11", "0170 1234569"]
    done = await an_import(stack, csv_of([{"phone": number} for number in numbers]))
    assert done["notes"] == {"decimal_point": 1, "lost_plus": 1, "lost_zero": 1}
    assert done["verdicts"] == {"contact_only": 4, "rejected": 1}


def parquet(**columns: Any) -> bytes:
    target = io.BytesIO()
    pl.DataFrame(columns).write_parquet(target)
    return target.getvalue()


async def test_parquet_is_read_and_nested_columns_are_refused(stack: Stack) -> None:
    done = await an_import(stack, parquet(phone=["+4917012345600", None], name=["Ana", None], size=[41, None]))
    assert (done["status"], done["verdicts"]) == ("done", {"contact_only": 1})
    (person,) = (await people(stack)).values()
    assert person.attributes == {"size": "41"}

    for content, words in (
        (parquet(phone=["+49"], tags=[["a", "b"]]), "holds lists or records"),
        (parquet(phone=["+49"])[:-20], "is damaged"),
    ):
        answer = await stack.client.post("/api/imports", files={"file": ("a.parquet", content)}, data={"options": "{}"})
        assert answer.status_code == 422 and words in answer.json()["detail"]
    done = await an_import(stack, parquet(phone=["+4917012345601"], name=["a\0b"]))
    assert (done["status"], done["error"]) == ("failed", "row 2 holds a NUL character: save the file again")


async def test_characters_nobody_sees_are_left_out_of_names(stack: Stack) -> None:
    await an_import(stack, csv_of([{"phone": "\u200b+4917012345600\ufeff", "name": "\u202eAna\u200b\u202c"}]))
    (person,) = (await people(stack)).values()
    assert person.name == "Ana"


async def test_a_row_that_could_not_be_used_takes_nothing_from_a_good_one(stack: Stack) -> None:
    rows = [consenting("+4917012345600", purpose="nope"), consenting("+4917012345600")]
    done = await an_import(stack, csv_of(rows))
    assert done["verdicts"] == {"accepted": 1, "rejected": 1}
    async with stack.sessions() as session:
        assert (await session.scalars(select(ImportRow.row_number).order_by(ImportRow.row_number))).all() == [2, 3]
