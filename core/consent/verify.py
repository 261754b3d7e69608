"""Checks a consent audit package offline: python verify.py PACKAGE [--fingerprint HEX] [--checkpoint NOTE]

Needs Python 3.11 and the package `cryptography`, nothing of the software that made the file. It rehashes the whole
ledger, checks what was signed, replays every consent from the sealed events alone and compares each send with it.
PASS: everything agrees. FAIL: something was changed, and what. NOT VERIFIABLE: what this package cannot show alone.
"""

import argparse
import base64
import csv
import hashlib
import json
import sys
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("verify.py needs the Python package cryptography, 40 or newer: pip install cryptography")

POSITIVE = {"GRANTED", "CONFIRMED", "REAFFIRMED"}
NEGATIVE = {"WITHDRAWN", "OBJECTED", "DECLINED", "META_STOPPED", "SUPPRESSED"}
ENDING = {"TENURE_CLOSED", "ERASED"}
REVOKING = NEGATIVE | ENDING | {"EXPIRED", "INVALIDATED"}
PERSON = ("data_subject", "guardian")
at = datetime.fromisoformat
TOLERANCE, TTL = timedelta(seconds=120), timedelta(hours=48)


class Report:
    """What was looked at, what was wrong with it, and what this package alone cannot show."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong: dict[str, list[str]] = {}
        self.unverifiable: dict[str, str] = {}

    def expect(self, check: str, holds: object, finding: str) -> None:
        if not holds:
            self.wrong.setdefault(check, []).append(finding)

    @property
    def verdict(self) -> str:
        return "FAIL" if self.wrong else "PASS"

    def lines(self) -> Iterator[str]:
        for check in {**self.seen, **self.wrong}:
            wrong = self.wrong.get(check, [])
            yield f"{'FAIL' if wrong else 'PASS':<15}{check}: {self.seen[check]} checked, {len(wrong)} wrong"
            yield from (f"{'':<15}- {finding}" for finding in wrong[:20])
        yield from (f"{'NOT VERIFIABLE':<15}{check}: {why}" for check, why in self.unverifiable.items())
        yield f"RESULT: {self.verdict}"


class Event(dict[str, Any]):
    """A sealed core, with the instant it counts from and the clock it was dated by."""

    def __init__(self, line: bytes) -> None:
        super().__init__(json.loads(line))
        heard, untrusted = at(self["received_at"]), "untrusted_source" in self.get("clock_flags", ())
        self.at = heard if untrusted else min(at(self["occurred_at"]), heard)
        self.stream = (self["source"], self.get("sender_scope", "*"))
        self.kind, self.refs, self.seq = self["event_type"], self.get("refs", {}), self["seq"]
        self.facts = {**self.refs, "notice_id": self.get("notice_id"), "grant_id": self["event_id"]}.items()

    def beats(self, negative: "Event") -> bool:
        own_act = self["actor_type"] in PERSON and self["grade"] <= "B"
        return own_act and self.at > negative.at + (timedelta(0) if self.stream == negative.stream else TOLERANCE)

    def preference(self) -> tuple[str, int, int]:
        number = self["subject_event_no"]
        return (self["grade"], 0, -number) if self.kind == "REAFFIRMED" else (self["grade"], 1, number)


def covers(scope: str, purpose: str) -> bool:
    below = scope.endswith(".*") and (purpose == scope[:-2] or purpose.startswith(scope[:-1]))
    return scope in ("*", purpose) or below


class Track:
    """One purpose, or one scope, of one person, replayed from the sealed events alone."""

    def __init__(self, wider: "list[Track]") -> None:
        self.grants: list[Event] = []
        self.negatives: dict[object, Event] = {}
        self.request: Event | None = None
        self.ended, self.closed = "none", False
        for track in wider:
            for negative in track.negatives.values():
                self.remember(negative)
            self.closed |= track.closed
            self.ended = track.ended if track.ended == "withdrawn" or track.closed else self.ended

    def remember(self, event: Event) -> None:
        known = self.negatives.get(event.stream)
        self.negatives[event.stream] = event if known is None or event.at > known.at else known

    def standing(self) -> Event | None:
        alive = [grant for grant in self.grants if all(map(grant.beats, self.negatives.values()))]
        return min(alive, key=Event.preference, default=None)

    def state(self) -> str:
        if self.closed or self.standing():
            return "closed" if self.closed else "subscribed"
        return "pending" if self.request else self.ended

    def grant(self, event: Event) -> None:
        before, late = self.state(), self.request is not None and event.at > self.request.at + TTL
        if before == "closed" or event["grade"] > min(event["min_grade"], "C"):
            return
        if event["expires_at"] <= event["received_at"]:
            self.ended = "expired" if before == "none" else self.ended
        elif not all(map(event.beats, self.negatives.values())):
            return
        elif event.kind == "CONFIRMED" and (late or before in ("none", "invalid")):
            self.request = None if late else self.request
        elif event.kind != "REAFFIRMED" or (before == "subscribed" and event["actor_type"] in PERSON):
            self.grants.append(event)
            self.request = None if self.standing() is event else self.request

    def other(self, event: Event) -> None:
        had, asked = self.standing(), self.request
        if event.kind in ENDING:
            self.closed, self.grants, self.request = True, [], None
        elif self.closed:
            return
        elif event.kind in NEGATIVE and (asked or event.kind != "DECLINED"):
            self.remember(event)
            self.request = None if asked and event.at >= asked.at else asked
            self.ended = self.ended if self.standing() else "withdrawn"
        elif event.kind == "REQUESTED" and not had:
            own = event["actor_type"] == "data_subject" and event.get("method", "").startswith(("wa_", "pref_centre"))
            self.request = event if own or not self.negatives else asked
        elif event.kind == "EXPIRED" and asked and event.at > asked.at + TTL:
            self.request = None
        elif event.kind == "EXPIRED":
            self.grants = [grant for grant in self.grants if at(grant["expires_at"]) > event.at]
            self.ended = "expired" if had and not self.standing() else self.ended
        elif event.kind == "INVALIDATED":
            named = {(key, event.refs[key]) for key in ("notice_id", "import_batch", "grant_id") if key in event.refs}
            left = [grant for grant in self.grants if not named <= grant.facts]
            if len(left) < len(self.grants) or not named:
                self.grants, self.request = left, None
                self.ended = self.ended if self.standing() else "invalid"


def track_of(tracks: dict[str, Track], purpose: str) -> Track:
    if purpose not in tracks:
        tracks[purpose] = Track([tracks[name] for name in tracks if name.endswith("*") and covers(name, purpose)])
    return tracks[purpose]


def apply(tracks: dict[str, Track], event: Event) -> tuple[str, str]:
    """States before and after of the purpose or scope that an event of one person names."""
    track, scope = track_of(tracks, event["purpose"]), event["purpose"]
    before = track.state()
    if event.kind in POSITIVE:
        track.grant(event)
    for name in tracks if event.kind not in POSITIVE else ():
        if name == scope or (scope.endswith("*") and covers(scope, name)):
            tracks[name].other(event)
    return before, track.state()


def read_note(note: str, key: Ed25519PublicKey) -> tuple[int, bytes] | None:
    """Size and root of a signed note, or None when that key did not sign it."""
    body, _, signatures = note.rpartition("\n\n")
    for line in signatures.splitlines():
        _, name, blob = line.split(" ", 2)
        signature = base64.b64decode(blob)
        key_id = hashlib.sha256(name.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]
        if signature[:4] == key_id and is_signed(key, signature[4:], f"{body}\n".encode()):
            return int(body.splitlines()[1]), base64.b64decode(body.splitlines()[2])
    return None


def is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def digest_of(package: zipfile.ZipFile, name: str) -> str:
    try:
        return hashlib.sha256(package.read(name)).hexdigest()
    except (zipfile.BadZipFile, zlib.error, EOFError) as damaged:
        return f"unreadable: {damaged}"


class Ledger:
    """One pass over the sealed events; every check looks at each event as it goes by."""

    def __init__(self, package: zipfile.ZipFile, report: Report, roots: dict[int, bytes]) -> None:
        self.package, self.report, self.roots = package, report, roots
        self.people: defaultdict[str, dict[str, Track]] = defaultdict(dict)
        self.numbers: Counter[str] = Counter()
        self.unproven: dict[str, int] = {}
        self.erased: set[str] = set()
        self.peaks: list[bytes] = []
        self.notices = {notice["id"]: notice for notice in self.table("registries/notices.ndjson")}
        purposes = sorted(self.table("registries/purposes.ndjson"), key=lambda purpose: int(purpose["version"]))
        self.free = {purpose["code"]: not purpose["needs_consent"] for purpose in purposes}  # the newest version counts
        self.proofs = {proof["event_id"]: proof for proof in self.table("subjects/evidence.ndjson")}
        self.consents, self.sends = self.table("data/consents.csv"), self.table("data/sends.csv")
        self.listed = {row["contact_id"] for row in self.consents}
        self.sent: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        for send in self.sends:
            self.sent[send["contact_id"]].append(send)

    def table(self, name: str) -> list[dict[str, Any]]:
        lines = self.package.read(name).decode().split("\n")[:-1]
        return list(csv.DictReader(lines)) if name.endswith("csv") else [json.loads(line) for line in lines]

    def run(self, size: int) -> None:
        expect, seq, prev, recorded = self.report.expect, 0, "0" * 64, ""
        for subject in self.sent:
            self.decide(subject, 0)
        with self.package.open("ledger/cores.ndjson") as lines:
            for seq, raw in enumerate(lines, start=1):
                event = Event(raw)
                canonical = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
                expect("chain", canonical.encode() == raw, f"event {seq}: not canonical")
                expect("chain", event.seq == seq and event["prev"] == prev, f"event {seq}: does not follow")
                expect("chain", event["recorded_at"] >= recorded, f"event {seq}: recorded before its predecessor")
                leaf = hashlib.sha256(b"\x00" + raw.rstrip(b"\n")).digest()
                prev, recorded = leaf.hex(), event["recorded_at"]
                self.grow(seq, leaf)
                self.report.seen["clock flags"] += len(event.get("clock_flags", ()))
                if "notice_id" in event:
                    known = self.notices.get(event["notice_id"], {}).get("hash")
                    expect("notices", known == event["notice_hash"], f"event {seq}: another notice was shown")
                if "subject_id" in event:
                    self.take(event, event["subject_id"])
        expect("chain", seq == size, f"{seq} events where {size} were signed")
        self.report.seen["chain"] = seq
        self.finish()

    def grow(self, seq: int, leaf: bytes) -> None:
        size, root = seq - 1, leaf
        while size & 1:
            root, size = hashlib.sha256(b"\x01" + self.peaks.pop() + root).digest(), size >> 1
        self.peaks.append(root)
        if seq in self.roots:
            for peak in reversed(self.peaks[:-1]):
                root = hashlib.sha256(b"\x01" + peak + root).digest()
            self.report.expect("checkpoints", root == self.roots.pop(seq), f"size {seq}: another ledger was signed")

    def take(self, event: Event, subject: str) -> None:
        expect, seen, seq, purpose = self.report.expect, self.report.seen, event.seq, event["purpose"]
        self.numbers[subject] += 1
        expect("chain", event["subject_event_no"] == self.numbers[subject], f"event {seq}: one before is missing")
        states = apply(self.people[subject], event)
        expect("replay", states == (event["prev_state"], event["next_state"]), f"event {seq}: leads to {states[1]}")
        seen["replay"] += 1
        if subject in self.listed and "evidence_commit" in event:
            proof = self.proofs.get(event["event_id"])
            self.unproven |= {} if proof else {subject: seq}
            salted = b"\x02" + bytes.fromhex(proof["salt"]) + proof["payload"].encode() if proof else b""
            opened = hashlib.sha256(salted).hexdigest() == event["evidence_commit"]
            expect("evidence", opened or not proof, f"event {seq}: its evidence was changed")
            seen["evidence"] += proof is not None
        self.erased |= {subject} if event.kind == "ERASED" else set()
        self.decide(subject, seq)
        for send in self.sent.get(subject, ()) if event.kind in REVOKING else ():
            revoked = covers(purpose, send["purpose"]) and send["purpose"] not in event.get("kept", ())
            after = int(send["permit_head_seq"]) < seq and send["permitted_at"] > event["recorded_at"]
            expect("sends", not (revoked and after), f"{send['message_id']}: sent although event {seq} forbade it")

    def decide(self, subject: str, seq: int) -> None:
        """Look at each send that was allowed when `seq` was the person's newest event."""
        for send in self.sent.get(subject, ()):
            if int(send["permit_head_seq"]) == seq:
                track = track_of(dict(self.people[subject]), send["purpose"])  # looking leaves no trace
                grant, state = track.standing(), track.state()
                relied = grant and str(grant.seq) == send["permit_seq"] and send["permitted_at"] < grant["expires_at"]
                good = state not in ("withdrawn", "closed") if self.free.get(send["purpose"]) else relied
                self.report.expect("sends", good, f"{send['message_id']}: no valid consent behind it ({state})")
                self.report.seen["sends"] += 1

    def finish(self) -> None:
        expect = self.report.expect
        expect("sends", self.report.seen["sends"] == len(self.sends), "a send names an event that is not the person's")
        expect("checkpoints", not self.roots, f"the ledger is shorter than was signed: {sorted(self.roots)}")
        for subject, seq in self.unproven.items():
            expect("evidence", subject in self.erased, f"event {seq}: its evidence is missing")
        for notice in self.notices.values():
            content = {key: notice[key] for key in notice.keys() - {"id", "hash", "effective_from"}}
            text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            expect("notices", hashlib.sha256(text.encode()).hexdigest() == notice["hash"], f"{notice['id']}: changed")
        for row in self.consents:
            track = track_of(dict(self.people[row["contact_id"]]), row["purpose"])
            grant = track.standing() if track.state() == "subscribed" else None
            found = (track.state(), str(grant.seq) if grant else "")
            where = f"{row['contact_id']} {row['purpose']}: {found[0]} by the ledger"
            expect("states", found == (row["state"], row["grant_seq"]), where)
        self.report.seen |= {"notices": len(self.notices), "states": len(self.consents)}


def verify(path: Path | str, fingerprint: str | None = None, checkpoint: str | None = None) -> Report:
    """The report on a package; `checkpoint` is the text of a note that somebody else kept."""
    report = Report()
    with zipfile.ZipFile(path) as package:
        raw = package.read("manifest.json")
        manifest = json.loads(raw)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest["public_key"]))
        known = hashlib.sha256(key.public_bytes_raw()).hexdigest()
        report.expect("key", fingerprint in (None, known), f"the package is signed with another key: {known}")
        good = is_signed(key, base64.b64decode(package.read("manifest.sig")), raw)
        report.expect("files", good, "manifest.json: changed, or signed with another key")
        names = [name for name in package.namelist() if not name.startswith("manifest.")]
        report.expect("files", sorted(names) == sorted(manifest["files"]), "manifest.json: files came or went")
        report.seen |= {"files": len(names), "key": 1}
        for name in names:
            report.expect("files", digest_of(package, name) == manifest["files"].get(name), f"{name}: changed")
        if not fingerprint:
            report.unverifiable["key"] = "give --fingerprint, learned by another way than this package"
        if not checkpoint:
            report.unverifiable["outside checkpoint"] = "give --checkpoint, a note that somebody else kept"
        if report.wrong:
            return report
        texts = [package.read(name).decode() for name in names if name.startswith("checkpoints/")]
        notes = [read_note(text, key) for text in [*texts, *([checkpoint] if checkpoint else [])]]
        report.seen["checkpoints"] = len(notes)
        report.expect("checkpoints", all(notes), "a checkpoint has a bad signature")
        roots = dict(note for note in notes if note)
        report.expect("checkpoints", manifest["size"] in roots, "the ledger's size was never signed")
        Ledger(package, report, roots).run(manifest["size"])
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a consent audit package offline.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--fingerprint", help="of the organisation's key, learned by another way")
    parser.add_argument("--checkpoint", type=Path, help="a note that somebody else kept")
    options = parser.parse_args()
    kept = options.checkpoint.read_text("utf-8") if options.checkpoint else None
    report = verify(options.package, options.fingerprint, kept)
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return 0 if report.verdict == "PASS" else 1


if __name__ == "__main__":
    sys.exit(main())
