"""Packages forged by somebody who holds the signing key: the manifest is signed anew, and what can be seen is found."""

import base64
import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.consent.canonical import merkle_root
from core.db import Sessions
from core.keys import Keyring
from core.settings import Settings
from tests.integration.consent.test_package import Files, Office, an_office, read, rows, sealed_again, write

CORES, CONSENTS, SENDS = "ledger/cores.ndjson", "data/consents.csv", "data/sends.csv"
EVIDENCE, NOTICES, PURPOSES = "subjects/evidence.ndjson", "registries/notices.ndjson", "registries/purposes.ndjson"
NOTE = "checkpoints/000000000099.note"
Forge = Callable[[Files, Keyring], Files]


@pytest.fixture
async def office(sessions: Sessions, keyring: Keyring, settings: Settings, tmp_path: Path) -> Office:
    return await an_office(sessions, keyring, settings, tmp_path)


def resigned(files: Files, keyring: Keyring, lines: list[bytes]) -> Files:
    """These lines as the ledger, with checkpoints that fit them at every size that was signed before."""
    manifest = json.loads(files["manifest.json"])
    leaves = [hashlib.sha256(b"\x00" + line).digest() for line in lines]
    kept = {name: text for name, text in files.items() if not name.startswith("checkpoints/")}
    for size in {int(name[12:24]) for name in files if name.startswith("checkpoints/")} | {len(lines)}:
        if size <= len(lines):
            note = keyring.sign_checkpoint(manifest["origin"], size, merkle_root(leaves[:size]))
            kept[f"checkpoints/{size:012}.note"] = note.encode()
    manifest |= {"size": len(lines), "root": merkle_root(leaves).hex()}
    return kept | {CORES: b"".join(line + b"\n" for line in lines), "manifest.json": json.dumps(manifest).encode()}


def last(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(event for event in reversed(events) if event["event_type"] == kind)


def events(change: Callable[[list[dict[str, Any]]], object]) -> Forge:
    """Events changed, and the whole ledger linked, hashed and signed anew."""

    def forge(files: Files, keyring: Keyring) -> Files:
        told = [json.loads(line) for line in files[CORES].splitlines()]
        change(told)
        prev, lines = "0" * 64, []
        for seq, event in enumerate(told, start=1):
            event |= {"seq": seq, "prev": prev}
            lines.append(json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
            prev = hashlib.sha256(b"\x00" + lines[-1]).hexdigest()
        return resigned(files, keyring, lines)

    return forge


def last_line(pattern: bytes, text: bytes) -> Forge:
    """The text of the last event otherwise: nothing has to be linked anew."""

    def forge(files: Files, keyring: Keyring) -> Files:
        *before, line = files[CORES].splitlines()
        changed = re.sub(pattern, lambda _: text, line)
        assert changed != line
        return resigned(files, keyring, [*before, changed])

    return forge


def replaced(name: str, old: bytes, new: bytes, count: int = -1) -> Forge:
    def forge(files: Files, _: Keyring) -> Files:
        assert old in files[name]
        return files | {name: files[name].replace(old, new, count)}

    return forge


def added(name: str, text: bytes) -> Forge:
    return lambda files, _: files | {name: files.get(name, b"") + text}


def without(name: str) -> Forge:
    return lambda files, _: {known: text for known, text in files.items() if known != name}


def manifest(**changes: Any) -> Forge:
    return lambda files, _: files | {"manifest.json": json.dumps(json.loads(files["manifest.json"]) | changes).encode()}


def cells(name: str, **changes: str) -> Forge:
    """The first row of a table says something else."""

    def forge(files: Files, _: Keyring) -> Files:
        table = rows(files, name)
        table[0] |= changes
        target = io.StringIO()
        writer = csv.DictWriter(target, table[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        return files | {name: target.getvalue().encode()}

    return forge


def lines(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Forge:
    return lambda files, _: files | {name: b"".join(change(files[name].splitlines(keepends=True)))}


def proof(**changes: object) -> Forge:
    def change(told: list[bytes]) -> list[bytes]:
        return [json.dumps(json.loads(told[0]) | changes).encode() + b"\n", *told[1:]]

    return lines(EVIDENCE, change)


def with_counts(forge: Forge, **counts: int) -> Forge:
    """Where the manifest's counts are changed to fit as well."""

    def both(files: Files, keyring: Keyring) -> Files:
        known = json.loads(files["manifest.json"])["counts"]
        return manifest(counts=known | {name: known[name] + more for name, more in counts.items()})(
            forge(files, keyring), keyring
        )

    return both


def swapped(told: list[bytes]) -> list[bytes]:
    """The proofs of two people, each under the other's event."""
    first, other = json.loads(told[0]), json.loads(told[2])
    first["event_id"], other["event_id"] = other["event_id"], first["event_id"]
    return [json.dumps(other).encode() + b"\n", told[1], json.dumps(first).encode() + b"\n", *told[3:]]


def another_root(files: Files, keyring: Keyring) -> Files:
    """Two notes of the same size, of which one fits."""
    known = json.loads(files["manifest.json"])
    note = keyring.sign_checkpoint(known["origin"], known["size"], bytes(32))
    return {"checkpoints/000000000000.note": note.encode()} | files


def of_another_ledger(files: Files, keyring: Keyring) -> Files:
    known = json.loads(files["manifest.json"])
    note = keyring.sign_checkpoint("kairan/another", known["size"], bytes.fromhex(known["root"])).encode()
    return files | {f"checkpoints/{known['size']:012}.note": note}


LATER = "2099-01-01T00:00:00.000000Z"
NEVER = "2026-99-99T00:00:00.000000Z"
FORGERIES: dict[str, Forge] = {
    "a hidden last stop": events(lambda told: told.remove(last(told, "WITHDRAWN"))),
    "a system event removed": events(lambda told: told.pop(0)),
    "an event of an unknown kind": events(lambda told: last(told, "GRANTED").update(event_type="BLESSED")),
    "a consent that lasts longer": events(lambda told: last(told, "GRANTED").update(expires_at=LATER)),
    "a consent without an end": events(lambda told: last(told, "GRANTED").pop("expires_at")),
    "a consent without a grade": events(lambda told: last(told, "GRANTED").pop("grade")),
    "a day that is in no calendar": events(lambda told: last(told, "WITHDRAWN").update(occurred_at=NEVER)),
    "another outcome": events(lambda told: last(told, "WITHDRAWN").update(next_state="subscribed")),
    "an event of another ledger": events(lambda told: last(told, "WITHDRAWN").update(tenant_id="another")),
    "an event id used twice": events(
        lambda told: last(told, "WITHDRAWN").update(event_id=last(told, "GRANTED")["event_id"])
    ),
    "an escape": last_line(b'"whatsapp"', b'"whats\\u0061pp"'),
    "a key twice": last_line(b'"channel":"whatsapp"', b'"channel":"whatsapp","channel":"whatsapp"'),
    "keys in another order": last_line(b"^{", b'{"schema":"consent-event/1",'),
    "an event by nobody": last_line(b'"actor_type":"[^"]+",', b""),
    "a number as another": last_line(rb'"seq":\d+', b'"seq":1.2e1'),
    "a huge number": last_line(rb'"subject_event_no":\d+', b'"subject_event_no":' + b"9" * 5000),
    "thousands of brackets": last_line(b".*", b"[" * 100_000),
    "a line that is no text": last_line(b"whatsapp", b"whats\xff"),
    "another normal form": last_line(b"whatsapp", "whatsa\u0308pp".encode()),
    "another line end": last_line(b"}$", b"}\r"),
    "an event without its time": last_line(b'"received_at":"[^"]+",', b""),
    "an event without its number": last_line(rb'"subject_event_no":\d+,', b""),
    "an event of nobody": last_line(b'"subject_id":"[^"]+",', b""),
    "a checkpoint of another ledger": of_another_ledger,
    "two checkpoints of a size": another_root,
    "a checkpoint that is none": added(NOTE, b"rubbish"),
    "a checkpoint that is no text": added(NOTE, b"\xff\xfe"),
    "a larger ledger was signed": lambda files, keyring: (
        files | {NOTE: keyring.sign_checkpoint(json.loads(files["manifest.json"])["origin"], 99, bytes(32)).encode()}
    ),
    "a manifest of another ledger": manifest(origin="kairan/another"),
    "a manifest with another root": manifest(root="0" * 64),
    "a manifest with another size": manifest(size=9),
    "a size that is no whole number": manifest(size=12.0),
    "a manifest without counts": manifest(counts={}),
    "a manifest without a key": manifest(public_key="zz"),
    **{f"no {name}": without(name) for name in (CORES, CONSENTS, SENDS, EVIDENCE, NOTICES, PURPOSES)},
    **{f"nothing in {name}": lines(name, lambda _: []) for name in (CORES, CONSENTS, SENDS, NOTICES, PURPOSES)},
    "another file": added("data/more.csv", b"a\n"),
    "a file beside the manifest": added("manifest.pdf", b"a\n"),
    "a file outside the folder": added("../../evil", b"a\n"),
    "a file at the root": added("/etc/evil", b"a\n"),
    "a permission twice": with_counts(lines(CONSENTS, lambda told: [*told, told[-1]]), consents=1),
    "a permission left out": with_counts(lines(CONSENTS, lambda told: told[:-1]), consents=-1),
    "a send twice": with_counts(lines(SENDS, lambda told: [*told, told[-1]]), sends=1),
    "a send left out": lines(SENDS, lambda told: told[:-1]),
    "a proof twice": with_counts(lines(EVIDENCE, lambda told: [*told, told[-1]]), evidence=1),
    "proofs of two people swapped": lines(EVIDENCE, swapped),
    "a notice twice": lines(NOTICES, lambda told: [*told, told[-1]]),
    "a table without a header": lines(CONSENTS, lambda told: told[1:]),
    "a column twice": lines(CONSENTS, lambda told: [row[:-1] + b",state\n" for row in told]),
    "a row that is too long": lines(CONSENTS, lambda told: [*told[:-1], told[-1][:-1] + b",subscribed\n"]),
    "a table that is no text": added(CONSENTS, b"\xff\xff\n"),
    "an open quote": added(CONSENTS, b'"abc\n'),
    "a huge cell": added(CONSENTS, b"a" * 200_000 + b"\n"),
    "a better grade": cells(CONSENTS, grade="A"),
    "another method": cells(CONSENTS, method="paper"),
    "another end": cells(CONSENTS, expires_at=LATER),
    "another newest event": cells(CONSENTS, head_seq="1"),
    "a send for another purpose": cells(SENDS, purpose="marketing.events"),
    "a send on another consent": cells(SENDS, permit_seq="6"),
    "a send before what it names": cells(SENDS, permitted_at="2001-01-01T00:00:00.000000Z"),
    "a send at no time": cells(SENDS, permitted_at="0"),
    "a send in another zone": cells(SENDS, permitted_at="2026-11-22T12:00:00.000000-23:59"),
    "a send that names no event": cells(SENDS, permit_head_seq=""),
    "a salt that is none": proof(salt="zz"),
    "half a letter": proof(payload="\ud800"),
    "a proof that is no text": proof(payload=1),
    "a proof that is no object": added(EVIDENCE, b"[]\n"),
    "two proofs on a line": replaced(EVIDENCE, b"\n", b",", 1),
    "a proof with two payloads": replaced(EVIDENCE, b'{"', b'{"payload":"x","', 1),
    "a purpose that is none": added(PURPOSES, b"{}\n"),
    "a purpose that needs no consent": replaced(PURPOSES, b'"needs_consent":true', b'"needs_consent":false'),
    "a purpose that was never published": lines(
        PURPOSES, lambda told: [*told, re.sub(b'"id":"[^"]+"', b'"id":"9"', told[-1])]
    ),
    "a notice that is none": added(NOTICES, b"[]\n"),
}


async def test_what_can_be_seen_of_a_forgery_is_found_and_nothing_stops_the_verifier(office: Office) -> None:
    path, _ = await office.build()
    files, keyring = read(path), office.world.keyring
    verdicts = {}
    for name, forge in FORGERIES.items():
        report = office.check(write(path, sealed_again(forge(dict(files), keyring), keyring)))
        assert list(report.lines())[-1] == f"RESULT: {report.verdict}"
        verdicts[name] = report.verdict

    assert {name for name, verdict in verdicts.items() if verdict != "FAIL"} == set()
    assert office.check(write(path, sealed_again(files, keyring))).verdict == "PASS"


async def test_a_name_that_stands_for_two_files_fails(office: Office) -> None:
    path, _ = await office.build()
    content = read(path)[CONSENTS]
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(CONSENTS, content)

    assert CONSENTS in office.check(path).wrong["files"][0]


async def test_a_manifest_that_says_something_twice_and_what_is_no_archive_fail(office: Office) -> None:
    path, _ = await office.build()
    files, keyring = read(path), office.world.keyring
    raw = files["manifest.json"].replace(b'{"', b'{"size":1,"', 1)
    twice = files | {"manifest.json": raw, "manifest.sig": base64.b64encode(keyring.sign(raw))}

    assert "a key is there twice" in office.check(write(path, twice)).wrong["files"][0]
    path.write_bytes(b"no archive")
    assert "cannot be read" in office.check(path).wrong["files"][0]
