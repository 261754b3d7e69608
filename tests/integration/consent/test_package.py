"""Audit packages: the same twice, checked by a stranger, and not to be tampered with."""

import asyncio
import base64
import csv
import hashlib
import io
import json
import shutil
import sys
import zipfile
from asyncio.subprocess import PIPE
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import delete, func, select, text

from core.consent import ledger, package, verify
from core.consent.canonical import merkle_root
from core.consent.package import Built
from core.consent.package_filters import AuditFilters
from core.consent.state import EventType, Grade, State
from core.db import Sessions
from core.errors import RuleViolation
from core.keys import Keyring
from core.models import ConsentEvidence, ConsentState, Message, Sender
from core.settings import Settings
from core.statuses import Category, DeliveryStatus, MessageKind
from tests.integration.consent.people import NOW, World

Files = dict[str, bytes]


@dataclass
class Office:
    """A world with a few people, and the packages made of it."""

    world: World
    folder: Path
    people: list[UUID] = field(default_factory=list)
    sender_id: UUID = field(default_factory=uuid4)

    async def build(self, name: str = "a.zip", reason: str = "a complaint", **filters: Any) -> tuple[Path, Built]:
        async with self.world.sessions.begin() as session:
            built = await package.build(
                session,
                keyring=self.world.keyring,
                filters=AuditFilters(**filters),
                path=self.folder / name,
                export_id=uuid4(),
                reason=reason,
                requested_by="compliance",
                now=NOW,
            )
        return self.folder / name, built

    def check(self, path: Path, **options: Any) -> verify.Report:
        return verify.verify(path, self.world.keyring.fingerprint, **options)

    async def send(self, contact_id: UUID, **changes: Any) -> UUID:
        """A message the gate allowed just now, on the grant in force."""
        async with self.world.sessions.begin() as session:
            state = (
                await session.scalars(
                    select(ConsentState).where(
                        ConsentState.contact_id == contact_id, ConsentState.purpose == "marketing"
                    )
                )
            ).first()
            now = await session.scalar(select(func.clock_timestamp()))
            facts: dict[str, Any] = {
                "purpose": "marketing",
                "permit_seq": state.grant_seq if state else None,
                "permit_head_seq": state.head_seq if state else 0,
                "permitted_at": now,
            }
            message = Message(
                kind=MessageKind.CAMPAIGN,
                priority=5,
                contact_id=contact_id,
                sender_id=self.sender_id,
                category=Category.MARKETING,
                time_zone="UTC",
                queued_on=NOW.date(),
                status=DeliveryStatus.SENT,
                accepted_at=NOW,
                **(facts | changes),
            )
            session.add(message)
            await session.flush()
            return message.id


@pytest.fixture
async def office(sessions: Sessions, keyring: Keyring, settings: Settings, tmp_path: Path) -> Office:
    return await an_office(sessions, keyring, settings, tmp_path)


async def an_office(sessions: Sessions, keyring: Keyring, settings: Settings, tmp_path: Path) -> Office:
    world = await World(sessions, keyring, settings).start()
    people = await world.contacts(5)
    a, b, c, d, _ = people
    later = NOW + timedelta(minutes=10)
    await world.record(world.grant(a, collection_point="=HYPERLINK(0)"), world.form(b), world.grant(c), world.grant(d))
    async with sessions.begin() as session:
        await ledger.checkpoint(session, keyring)
        sender = Sender(phone_number_id="1", waba_id="1", display_number="+1", name="Acme")
        session.add(sender)
        await session.flush()
    office = Office(world, tmp_path, people, sender.id)
    await office.send(a)
    await office.send(c)
    await world.record(
        world.stop(b, purpose="*"),
        world.stop(c, occurred_at=NOW - timedelta(days=1)),
        world.stop(d, occurred_at=later),
        world.form(d, occurred_at=later),
        now=later,
    )
    await office.send(a, purpose="service", permit_seq=None)
    return office


def read(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def sealed_again(files: Files, keyring: Keyring) -> Files:
    """What somebody who holds the key would hand out: the manifest agrees with the changed files."""
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items() if not name.startswith("manifest.")
    }
    raw = json.dumps(manifest).encode()
    return files | {"manifest.json": raw, "manifest.sig": base64.b64encode(keyring.sign(raw))}


def rows(files: Files, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[name].decode())))


async def test_an_untouched_package_passes_every_check(office: Office) -> None:
    path, built = await office.build()

    report = office.check(path, checkpoint=next(t.decode() for n, t in read(path).items() if n.endswith(".note")))

    assert (report.verdict, report.wrong, report.unverifiable) == ("PASS", {}, {})
    expected = json.loads(read(path)["verify/expected-report.json"])["seen"]
    assert {name: report.seen[name] for name in expected} == expected
    assert (built.people, built.sends, report.seen["checkpoints"]) == (4, 3, 3)
    assert built.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_stranger_checks_it_with_the_program_inside_and_nothing_of_ours(office: Office, tmp_path: Path) -> None:
    path, built = await office.build()
    script = tmp_path / "elsewhere" / "verify.py"
    script.parent.mkdir()
    script.write_bytes(read(path)["verify/verify.py"])

    async def run(fingerprint: str, package: Path = path) -> tuple[int | None, str, str]:
        command = [sys.executable, "-I", str(script), str(package), "--fingerprint", fingerprint]
        process = await asyncio.create_subprocess_exec(*command, cwd=script.parent, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    code, said, complaints = await run(built.fingerprint)
    bad_code, bad_said, _ = await run("00")
    unpacked = await run(built.fingerprint, script.parent)
    none = await run(built.fingerprint, script)

    assert (code, complaints) == (0, "")
    assert said.endswith("RESULT: PASS\n")
    assert "NOT VERIFIABLE outside checkpoint" in said
    assert bad_code == 1
    assert "another key" in bad_said
    assert unpacked[:2] == (1, "")
    assert unpacked[2].count("\n") == 1
    assert unpacked[2].endswith("Give the ZIP file as it came, not the folder it was unpacked to.\n")
    assert none[0] == 1
    assert "the package: cannot be read" in none[1]
    assert none[1].endswith("RESULT: FAIL\n")
    assert "core" not in {
        line.split()[1].split(".")[0]
        for line in script.read_text().splitlines()
        if line.startswith(("import ", "from "))
    }


async def test_packed_again_by_somebody_who_unpacked_it_it_is_the_same_package(office: Office, tmp_path: Path) -> None:
    path, _ = await office.build()
    with zipfile.ZipFile(path) as package:
        package.extractall(tmp_path / "unpacked")
    again = Path(shutil.make_archive(str(tmp_path / "again"), "zip", tmp_path / "unpacked"))

    assert "ledger/" in zipfile.ZipFile(again).namelist()
    assert office.check(again).verdict == "PASS"


async def test_without_a_fingerprint_the_key_is_not_verifiable(office: Office) -> None:
    path, _ = await office.build()

    assert "key" in verify.verify(path).unverifiable


async def test_same_filters_and_same_checkpoint_make_the_same_data(office: Office) -> None:
    first, built = await office.build("a.zip", purpose="marketing")
    await office.world.record(office.world.stop(office.people[0], occurred_at=NOW + timedelta(hours=1)), now=NOW)
    second, again = await office.build("b.zip", purpose="marketing", as_of_seq=built.size)

    one, two = read(first), read(second)

    assert built.size == again.size
    assert one.keys() == two.keys()
    named = {"manifest.json", "manifest.sig", "summary.pdf", "summary.xlsx"}  # these name the export
    assert {name for name in one if one[name] != two[name]} <= named


async def test_the_summary_is_a_pdf_and_a_workbook_whose_cells_are_inert(office: Office) -> None:
    path, built = await office.build(reason="=HYPERLINK(0) 監査 <b>")

    files = read(path)
    workbook = CalamineWorkbook.from_filelike(io.BytesIO(files["summary.xlsx"]))
    sheets = {name: workbook.get_sheet_by_name(name).to_python() for name in workbook.sheet_names}

    assert files["summary.pdf"].startswith(b"%PDF") and len(files["summary.pdf"]) > 2000
    about = {str(row[0]): row[1] for row in sheets["Summary"]}
    assert about["Because of"] == "=HYPERLINK(0) 監査 <b>" and about["Fingerprint of the key"] == built.fingerprint
    held = {row[0]: row[1] for row in sheets["1 What the package holds"] if len(row) > 1}
    assert (held["People"], held["Sends"]) == (4, 3)
    permissions = {tuple(row[:2]): row[2] for row in sheets["2 Permissions"][3:]}
    assert permissions["marketing", "subscribed"] == 2 and ("marketing", "withdrawn") in permissions
    assert about["Whose consents"] == "everybody"
    with zipfile.ZipFile(io.BytesIO(files["summary.xlsx"])) as inner:
        printed = [inner.read(f"xl/worksheets/sheet{number}.xml") for number in range(1, 9)]
        assert all(b'fitToHeight="0"' in sheet for sheet in printed), "no column stands on a page of its own"
        assert b"<f>" not in inner.read("xl/worksheets/sheet1.xml")


async def test_how_a_consent_was_given_can_be_asked_for(office: Office) -> None:
    tapped, _ = await office.build("a.zip", method="wa_button")
    typed, _ = await office.build("b.zip", method="web_form", state=State.SUBSCRIBED)
    strong, _ = await office.build("c.zip", grade=Grade.B)

    assert {row["method"] for row in rows(read(tapped), "data/consents.csv")} == {"wa_button"}
    assert {row["grade"] for row in rows(read(strong), "data/consents.csv")} == {"B"}
    assert {row["method"] for row in rows(read(typed), "data/consents.csv")} <= {"web_form"}
    assert all(office.check(path).verdict == "PASS" for path in (tapped, typed, strong))


async def test_filters_choose_people_and_the_ledger_stays_whole(office: Office) -> None:
    path, built = await office.build(purpose="marketing", state=State.WITHDRAWN, country="JP")
    alone, _ = await office.build("b.zip", contact_ids=(office.people[0],))

    found = {(row["contact_id"], row["purpose"], row["state"]) for row in rows(read(path), "data/consents.csv")}

    b, c, d = (str(person) for person in office.people[1:4])
    assert found == {
        (b, "marketing", "withdrawn"),
        (b, "*", "withdrawn"),
        (c, "marketing.*", "withdrawn"),
        (d, "marketing", "withdrawn"),
        (d, "marketing.*", "withdrawn"),
    }
    assert read(path)["ledger/cores.ndjson"].count(b"\n") == built.size
    assert {row["contact_id"] for row in rows(read(alone), "data/consents.csv")} == {str(office.people[0])}
    assert office.check(path).verdict == office.check(alone).verdict == "PASS"


async def test_formulas_are_inert_and_numbers_are_left_alone(office: Office) -> None:
    path, _ = await office.build(contact_ids=(office.people[0],))

    (row,) = rows(read(path), "data/consents.csv")

    assert row["collection_point"] == "'=HYPERLINK(0)"
    assert row["phone"].startswith("+8190")


async def test_one_byte_changed_in_any_file_is_found_and_named(office: Office) -> None:
    path, _ = await office.build()
    files = read(path)

    for name, content in files.items():
        if name == "manifest.sig":
            continue
        is_manifest = name == "manifest.json"  # has to stay JSON
        changed = content[:1] + bytes([content[1] ^ 1]) + content[2:]
        spoiled = content.replace(b"complaint", b"compliant") if is_manifest else changed
        report = office.check(write(office.folder / "changed.zip", files | {name: spoiled}))
        assert report.verdict == "FAIL", name
        assert any(name in finding for finding in report.wrong["files"]), name
        assert (report.wrong.keys(), report.seen.keys()) == ({"files"}, {"files", "key"}), name


async def test_a_damaged_archive_fails_instead_of_crashing(office: Office) -> None:
    path, _ = await office.build()
    raw = bytearray(path.read_bytes())
    start = raw.index(b"ledger/cores.ndjson") + 60
    raw[start] ^= 0xFF
    path.write_bytes(bytes(raw))

    report = office.check(path)

    assert any("ledger/cores.ndjson" in finding for finding in report.wrong["files"])


def _lines(files: Files) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files["ledger/cores.ndjson"].splitlines()]


def _chained(events: list[dict[str, Any]]) -> bytes:
    """A ledger rewritten so that it agrees with itself."""
    prev, lines = "0" * 64, []
    for number, event in enumerate(events, start=1):
        line = json.dumps(
            event | {"seq": number, "prev": prev}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        prev = hashlib.sha256(b"\x00" + line.encode()).hexdigest()
        lines.append(line)
    return ("\n".join(lines) + "\n").encode()


def _edited(events: list[dict[str, Any]]) -> bytes:
    events[-3]["reason"] = "other"
    return b"".join(
        (json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()
        for event in events
    )


@pytest.mark.parametrize(
    ("forge", "check"),
    [
        (_edited, "chain"),
        (lambda events: _edited(events[:4] + events[5:]), "chain"),
        (lambda events: _edited(events)[: -len(_edited(events).splitlines()[-1]) - 1], "chain"),
        (lambda events: _chained(events)[:-1], "chain"),
        (lambda events: _chained(events[:-1]), "checkpoints"),
        (lambda events: _chained(events[:4] + events[5:]), "checkpoints"),
        (lambda events: _chained([event | {"jurisdiction": "US"} for event in events]), "checkpoints"),
    ],
    ids=[
        "edited",
        "deleted",
        "tail cut",
        "no end of the last line",
        "tail cut and rechained",
        "deleted and rechained",
        "all rewritten",
    ],
)
async def test_a_ledger_somebody_changed_fails_even_when_the_package_is_signed_again(
    office: Office, forge: Callable[[list[dict[str, Any]]], bytes], check: str
) -> None:
    path, _ = await office.build()
    files = read(path)
    files["ledger/cores.ndjson"] = forge(_lines(files))

    report = office.check(write(path, sealed_again(files, office.world.keyring)))

    assert report.verdict == "FAIL"
    assert check in report.wrong


async def test_an_outside_checkpoint_finds_a_ledger_that_was_rewritten_and_signed_anew(office: Office) -> None:
    path, _ = await office.build()
    files, keyring = read(path), office.world.keyring
    kept = files[max(name for name in files if name.endswith(".note"))].decode()
    files["ledger/cores.ndjson"] = _chained([event | {"jurisdiction": "US"} for event in _lines(files)])
    leaves = [hashlib.sha256(b"\x00" + line).digest() for line in files["ledger/cores.ndjson"].splitlines()]
    manifest = json.loads(files["manifest.json"])
    for name in [name for name in files if name.endswith(".note")]:
        size = int(files[name].decode().splitlines()[1])
        files[name] = keyring.sign_checkpoint(manifest["origin"], size, merkle_root(leaves[:size])).encode()
    manifest["root"] = merkle_root(leaves).hex()
    files["manifest.json"] = json.dumps(manifest).encode()
    write(path, sealed_again(files, keyring))

    assert office.check(path).verdict == "PASS"
    assert office.check(path, checkpoint=kept).verdict == "FAIL"


async def test_a_permission_that_the_ledger_does_not_give_fails(office: Office) -> None:
    path, _ = await office.build()
    files = read(path)
    files["data/consents.csv"] = files["data/consents.csv"].replace(b"withdrawn", b"subscribed")

    report = office.check(write(path, sealed_again(files, office.world.keyring)))

    assert report.wrong.keys() == {"states"}


@pytest.mark.parametrize("name", ["data/consents.csv", "data/sends.csv", "subjects/evidence.ndjson"])
async def test_a_row_of_somebody_the_ledger_does_not_know_fails(office: Office, name: str) -> None:
    path, _ = await office.build()
    files = read(path)
    lines = files[name].splitlines(keepends=True)
    known = rows(files, name)[-1]["contact_id"] if name.endswith("csv") else json.loads(lines[-1])["event_id"]
    files[name] += lines[-1].replace(known.encode(), str(uuid4()).encode())

    report = office.check(write(path, sealed_again(files, office.world.keyring)))

    assert report.wrong.keys() <= {"states", "sends", "evidence"}
    assert any(name in finding for findings in report.wrong.values() for finding in findings)


@pytest.mark.parametrize(
    "case", ["no grant", "another's grant", "after the withdrawal", "withdrawn", "free but all withdrawn"]
)
async def test_a_send_without_a_valid_consent_fails(office: Office, case: str) -> None:
    a, b, _, d, e = office.people
    changes: dict[str, tuple[UUID, dict[str, Any]]] = {
        "no grant": (e, {}),
        "another's grant": (a, {"permit_seq": 6}),
        "after the withdrawal": (d, {"permit_seq": 8, "permit_head_seq": 8}),
        "withdrawn": (d, {}),
        "free but all withdrawn": (b, {"purpose": "transactional", "permit_seq": None}),
    }
    contact_id, facts = changes[case]
    if contact_id == e:
        await office.world.record(office.world.stop(e, event_type=EventType.CORRECTION, purpose="service"))
    message_id = await office.send(contact_id, **facts)

    path, _ = await office.build()
    report = office.check(path)

    assert report.wrong.keys() == {"sends"}
    assert all(str(message_id) in finding or "not the person's" in finding for finding in report.wrong["sends"])


async def test_a_send_before_the_first_word_does_not_disturb_the_replay(office: Office) -> None:
    world, person = office.world, office.people[4]
    await office.send(person, purpose="transactional")
    await world.record(
        world.stop(person, event_type=EventType.INVALIDATED, purpose="*", reason="minor"),
        world.grant(person, purpose="transactional"),
    )

    path, _ = await office.build()

    assert office.check(path).wrong == {}


async def test_missing_evidence_fails_unless_the_person_was_erased(office: Office) -> None:
    person = office.people[0]
    async with office.world.sessions.begin() as session:
        await session.execute(delete(ConsentEvidence).where(ConsentEvidence.contact_id == person))

    missing, _ = await office.build("a.zip")
    await office.world.record(
        office.world.stop(person, event_type=EventType.ERASED, purpose="*", refs={"dsar": "7"}, evidence={})
    )
    erased, _ = await office.build("b.zip")

    assert office.check(missing).wrong.keys() == {"evidence"}
    assert office.check(erased).verdict == "PASS"


async def test_changed_evidence_and_changed_notices_fail(office: Office) -> None:
    path, _ = await office.build()
    files, keyring = read(path), office.world.keyring
    evidence = files | {"subjects/evidence.ndjson": files["subjects/evidence.ndjson"].replace(b"Agree", b"agree")}
    notices = files | {"registries/notices.ndjson": files["registries/notices.ndjson"].replace(b"news", b"fews")}

    assert office.check(write(path, sealed_again(evidence, keyring))).wrong.keys() == {"evidence"}
    assert office.check(write(path, sealed_again(notices, keyring))).wrong.keys() == {"notices"}


async def test_there_is_no_package_of_what_was_never_signed(office: Office) -> None:
    with pytest.raises(RuleViolation):
        await office.build(as_of_seq=2)


async def test_the_ledger_remembers_that_a_package_was_made(office: Office) -> None:
    _, built = await office.build()

    async with office.world.sessions() as session:
        core = await session.scalar(text("SELECT core FROM consent_events ORDER BY seq DESC LIMIT 1"))
    sealed = json.loads(str(core))
    assert (sealed["event_type"], sealed["refs"]["sha256"]) == ("EXPORT_CREATED", built.sha256)
