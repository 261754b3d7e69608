"""Checks a consent audit package offline: python verify.py PACKAGE [--fingerprint HEX] [--checkpoint NOTE]

Needs Python 3.11 and the package `cryptography`, nothing of the software that made the file. It rehashes the whole
ledger, checks what was signed, replays every consent from the sealed events alone and compares each send with it.
PASS: everything agrees. FAIL: something was changed, and what. NOT VERIFIABLE: what this package cannot show alone.
"""

import argparse
import base64
import csv
import hashlib
import io
import json
import re
import sqlite3
import sys
import zipfile
import zlib
from collections import Counter, namedtuple
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import reduce
from itertools import groupby
from operator import itemgetter
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
TOLERANCE, TTL = timedelta(seconds=120), timedelta(hours=48)
at, sha256 = datetime.fromisoformat, hashlib.sha256
canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

# What a sealed core says that decides (the fields of an event), and what only proves. Its one possible text (RFC 8785)
# has the keys in their order, some left out; so one pattern tells whether it is canonical and what it says, several
# times faster than reading and writing it. `PLAIN` is quicker still, for a core without a backslash.
Facts = namedtuple(
    "Facts",
    "actor_type clock_flags event_id event_type evidence_commit expires_at grade kept method min_grade next_state"
    " notice_hash notice_id occurred_at prev prev_state purpose received_at recorded_at refs sender_scope seq source"
    " subject_event_no subject_id",
)
PROVING = {
    *("actor_ref", "channel", "collection_point", "consent_kind", "controller_id", "evidence_kinds", "jurisdiction"),
    *("language", "lawful_basis", "policy_hash", "reason", "rule_id", "schema", "source_event_ref", "tenant_id"),
    "withdrawal_info",
}


def pattern(text: str) -> re.Pattern[str]:
    """Of a core whose texts look like `text`; a group for each field of an event, without the quotes around a text."""
    lists, instant = rf'\[(?:"{text}"(?:,"{text}")*)?\]', r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
    values = dict.fromkeys(("clock_flags", "evidence_kinds", "kept"), f"({lists})")
    values |= dict.fromkeys(("seq", "subject_event_no"), "([1-9][0-9]*)")
    values |= dict.fromkeys(("expires_at", "occurred_at", "received_at", "recorded_at"), f'"({instant})"')
    values |= {"refs": rf'(\{{(?:"{text}":"{text}"(?:,(?=")|(?=\}})))*\}})'}
    core = ""
    for key in sorted(PROVING.union(Facts._fields)):
        value = values.get(key, f'"({text})"').replace("(", "(?:" if key in PROVING else "(", 1)
        core += rf'(?:"{key}":{value}(?:,(?=")|(?=\}})))?'
    return re.compile(rf"\{{{core}\}}\n")


PLAIN = pattern(r'[^"\\\x00-\x1f]*')
ESCAPED = pattern(r'[^"\\\x00-\x1f]*(?:\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))[^"\\\x00-\x1f]*)*')


class Report:
    """What was looked at, what was wrong with it, and what this package alone cannot show."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong: dict[str, list[str]] = {}
        self.unverifiable: dict[str, str] = {}

    def expect(self, check: str, holds: object, where: int | str, finding: str) -> None:
        if not holds:
            self.wrong.setdefault(check, []).append(
                f"{where if isinstance(where, str) else f'event {where}'}: {finding}"
            )

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


class Event(Facts):
    """What a sealed core says that decides, as text; empty where it says nothing."""

    __slots__ = ()

    @property
    def at(self) -> datetime:
        """The instant it counts from."""
        heard = at(self.received_at)
        return heard if '"untrusted_source"' in self.clock_flags else min(at(self.occurred_at), heard)

    @property
    def stream(self) -> tuple[str, str]:
        return self.source, self.sender_scope or "*"

    def beats(self, negative: "Event") -> bool:
        own_act = self.actor_type in PERSON and self.grade <= "B"
        return own_act and self.at > negative.at + (timedelta(0) if self.stream == negative.stream else TOLERANCE)

    def preference(self) -> tuple[str, int, int]:
        number = int(self.subject_event_no)
        return (self.grade, 0, -number) if self.event_type == "REAFFIRMED" else (self.grade, 1, number)

    def named(self) -> dict[str, str]:
        return {**json.loads(self.refs or "{}"), "notice_id": self.notice_id, "grant_id": self.event_id}


def read_core(line: str) -> Event | None:
    """What a line of the ledger says, or None when it is not the canonical text of a core."""
    match = (ESCAPED if "\\" in line else PLAIN).fullmatch(line)
    event = Event._make(match.groups("")) if match else None
    ordered = event is None or "," not in event.refs or canonical(json.loads(event.refs)) == event.refs
    return event if ordered else None


def covers(scope: str, purpose: str) -> bool:
    return scope in ("*", purpose) or (scope.endswith(".*") and f"{purpose}.".startswith(scope[:-1]))


class Track:
    """One purpose, or one scope, of one person, replayed from the sealed events alone."""

    def __init__(self, wider: "list[Track]") -> None:
        self.grants: list[Event] = []
        self.negatives: dict[object, Event] = {}
        self.standing: Event | None = None  # the best grant that outlived all of these
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
        self.keep(self.grants)

    def keep(self, grants: list[Event]) -> None:
        self.grants, alive = grants, [grant for grant in grants if all(map(grant.beats, self.negatives.values()))]
        self.standing = min(alive, key=Event.preference, default=None)

    def state(self) -> str:
        if self.closed or self.standing:
            return "closed" if self.closed else "subscribed"
        return "pending" if self.request else self.ended

    def grant(self, event: Event) -> None:
        before, late = self.state(), self.request is not None and event.at > self.request.at + TTL
        if before == "closed" or not "A" <= event.grade <= min(event.min_grade, "C"):
            return
        if event.expires_at <= event.received_at:
            self.ended = "expired" if before == "none" else self.ended
        elif not all(map(event.beats, self.negatives.values())):
            return
        elif event.event_type == "CONFIRMED" and (late or before in ("none", "invalid")):
            self.request = None if late else self.request
        elif event.event_type != "REAFFIRMED" or (before == "subscribed" and event.actor_type in PERSON):
            self.grants.append(event)
            if self.standing is None or event.preference() < self.standing.preference():
                self.standing, self.request = event, None

    def other(self, event: Event) -> None:
        kind, had, asked, ended = event.event_type, self.standing, self.request, self.ended
        if kind in ENDING:
            self.closed, self.grants, self.standing, self.request = True, [], None, None
        elif self.closed:
            return
        elif kind in NEGATIVE and (asked or kind != "DECLINED"):
            self.remember(event)
            self.request, ended = None if asked and event.at >= asked.at else asked, "withdrawn"
        elif kind == "REQUESTED" and not had:
            own = event.actor_type == "data_subject" and event.method.startswith(("wa_", "pref_centre"))
            self.request = event if own or not self.negatives else asked
        elif kind == "EXPIRED" and asked and event.at > asked.at + TTL:
            self.request = None
        elif kind == "EXPIRED":
            self.keep([grant for grant in self.grants if at(grant.expires_at) > event.at])
            ended = "expired" if had else ended
        elif kind == "INVALIDATED":
            refs = json.loads(event.refs or "{}")
            named = {key: refs[key] for key in ("notice_id", "import_batch", "grant_id") if key in refs}.items()
            left = [grant for grant in self.grants if not named <= grant.named().items()]
            if len(left) < len(self.grants) or not named:
                self.keep(left)
                self.request, ended = None, "invalid"
        self.ended = self.ended if self.standing else ended


class Person(dict[str, Track]):
    """The tracks of one person."""

    def __missing__(self, purpose: str) -> Track:
        self[purpose] = Track([self[name] for name in self if name.endswith("*") and covers(name, purpose)])
        return self[purpose]

    def apply(self, event: Event) -> tuple[str, str]:
        """States before and after of the purpose or scope that an event names."""
        scope, before = event.purpose, self[event.purpose].state()
        if event.event_type in POSITIVE:
            self[scope].grant(event)
        for name in self if event.event_type not in POSITIVE else ():
            if name == scope or (scope.endswith("*") and covers(scope, name)):
                self[name].other(event)
        return before, self[scope].state()


def is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def read_note(note: str, key: Ed25519PublicKey) -> tuple[int, bytes] | None:
    """Size and root of a signed note, or None when that key did not sign it."""
    body, _, signatures = note.rpartition("\n\n")
    blobs = [base64.b64decode(line.rsplit(" ", 1)[1]) for line in signatures.splitlines()]
    if not any(is_signed(key, blob[4:], f"{body}\n".encode()) for blob in blobs):
        return None
    return int(body.splitlines()[1]), base64.b64decode(body.splitlines()[2])


def digest_of(package: zipfile.ZipFile, name: str) -> str:
    try:
        with package.open(name) as file:
            digest = sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except (zipfile.BadZipFile, zlib.error, EOFError) as damaged:
        return f"unreadable: {damaged}"


def table(package: zipfile.ZipFile, name: str) -> Iterator[dict[str, Any]]:
    with package.open(name) as file:
        lines = io.TextIOWrapper(file, "utf-8", newline="")
        yield from csv.DictReader(lines) if name.endswith("csv") else map(json.loads, lines)


class Rows:
    """A file whose rows are in the order of people and events, and taken as these come by."""

    def __init__(self, package: zipfile.ZipFile, name: str) -> None:
        self.rows = table(package, name)
        self.next = next(self.rows, None)

    def take(self, column: str, value: str) -> list[dict[str, Any]]:
        taken = []
        while self.next and self.next[column] == value:
            taken.append(self.next)
            self.next = next(self.rows, None)
        return taken


class Ledger:
    """One pass over the sealed events in their order, then one over the people with all that is known of each."""

    def __init__(self, package: zipfile.ZipFile, report: Report) -> None:
        self.package, self.expect, self.seen, self.notices = package, report.expect, report.seen, {"": ""}
        purposes = sorted(table(package, "registries/purposes.ndjson"), key=lambda purpose: int(purpose["version"]))
        self.free = {purpose["code"]: not purpose["needs_consent"] for purpose in purposes}  # the newest counts
        for notice in table(package, "registries/notices.ndjson"):
            content = {key: notice[key] for key in notice.keys() - {"id", "hash", "effective_from"}}
            self.notices[notice["id"]] = sha256(canonical(content).encode()).hexdigest()
            self.expect("notices", self.notices[notice["id"]] == notice["hash"], notice["id"], "changed")
        self.seen["notices"] = len(self.notices) - 1
        files = ("data/consents.csv", "data/sends.csv", "subjects/evidence.ndjson")
        self.states, self.sends, self.proofs = (Rows(package, name) for name in files)

    def run(self, size: int, roots: dict[int, bytes]) -> None:
        """Events are sorted by person in a file, so that memory does not grow with the ledger."""
        sorting, person = sqlite3.connect(""), itemgetter(0)
        sorting.execute("CREATE TABLE events (person, facts)")
        sorting.executemany("INSERT INTO events VALUES (?, ?)", self.chain(size, roots))
        for subject, events in groupby(sorting.execute("SELECT * FROM events ORDER BY person, rowid"), person):
            self.replay(subject, [Event._make(facts.split("\x1f")) for _, facts in events])
        sorting.close()
        self.expect(
            "states",
            not self.states.next,
            "data/consents.csv",
            "out of order, or not in the ledger",
        )
        self.expect("sends", not self.sends.next, "data/sends.csv", "out of order, or not in the ledger")
        self.expect("evidence", not self.proofs.next, "subjects/evidence.ndjson", "out of order, or not in the ledger")

    def chain(self, size: int, roots: dict[int, bytes]) -> Iterator[tuple[str, str]]:
        """Each event of a person, found to be canonical, to follow the one before and to lead to a signed root."""
        expect, seq, prev, recorded, peaks = self.expect, 0, "0" * 64, "", list[bytes]()
        with self.package.open("ledger/cores.ndjson") as lines:
            for seq, line in enumerate(io.TextIOWrapper(lines, "utf-8", "backslashreplace", "\n"), start=1):
                peaks.append(leaf := sha256(b"\x00" + line[:-1].encode()).digest())
                for _ in range((seq & -seq).bit_length() - 1):  # join the full halves of the tree
                    peaks[-2:] = [sha256(b"\x01" + peaks[-2] + peaks[-1]).digest()]
                if seq in roots:
                    root = reduce(lambda right, left: sha256(b"\x01" + left + right).digest(), reversed(peaks))
                    expect("checkpoints", root == roots.pop(seq), f"size {seq}", "another ledger was signed")
                if event := read_core(line):
                    expect("chain", event.seq == str(seq) and event.prev == prev, seq, "does not follow")
                    expect("chain", event.recorded_at >= recorded, seq, "recorded before its predecessor")
                    shown = self.notices.get(event.notice_id)
                    expect("notices", shown == event.notice_hash, seq, "another notice was shown")
                    recorded = event.recorded_at
                    self.seen["clock flags"] += event.clock_flags.count('"') // 2 if event.clock_flags else 0
                    if event.subject_id:
                        yield event.subject_id, "\x1f".join(event)
                expect("chain", event, seq, "not canonical")
                prev = leaf.hex()
        expect("chain", seq == size, "the ledger", f"{seq} events where {size} were signed")
        expect("checkpoints", not roots, f"sizes {sorted(roots)}", "the ledger is shorter than was signed")
        self.seen["chain"] = seq

    def replay(self, subject: str, events: list[Event]) -> None:
        """One person's history, against the proofs, the sends and the permissions said to be that person's."""
        person, proven, expect = Person(), 0, self.expect
        states, sends = self.states.take("contact_id", subject), self.sends.take("contact_id", subject)
        self.decide(person, "0", sends)
        for number, event in enumerate(events, start=1):
            before, after = person.apply(event)
            expect("chain", event.subject_event_no == str(number), event.seq, "one before is missing")
            expect("replay", before == event.prev_state and after == event.next_state, event.seq, f"leads to {after}")
            for proof in self.proofs.take("event_id", event.event_id):
                opened = sha256(b"\x02" + bytes.fromhex(proof["salt"]) + proof["payload"].encode()).hexdigest()
                expect("evidence", opened == event.evidence_commit, event.seq, "its evidence was changed")
                proven += 1
            if sends:
                self.decide(person, event.seq, sends)
                self.forbid(event, sends)
        heads = {"0", *(event.seq for event in events)}
        for send in sends:
            expect(
                "sends", send["permit_head_seq"] in heads, send["message_id"], "names an event that is not the person's"
            )
        missing = sum(1 for event in events if event.evidence_commit) - proven
        erased = any(event.event_type == "ERASED" for event in events)
        expect("evidence", erased or not (states and missing), subject, "evidence is missing")
        for row in states:
            track = Person(person)[row["purpose"]]
            found = track.state(), track.standing.seq if track.standing and not track.closed else ""
            expect(
                "states",
                found == (row["state"], row["grant_seq"]),
                f"{subject} {row['purpose']}",
                f"{found[0]} by the ledger",
            )
        self.seen.update(replay=len(events), evidence=proven, states=len(states), sends=len(sends))

    def decide(self, person: Person, head_seq: str, sends: list[dict[str, str]]) -> None:
        """Look at each send that was allowed when the person's newest event was that one."""
        for send in sends:
            if send["permit_head_seq"] == head_seq:
                track = Person(person)[send["purpose"]]  # a copy: looking leaves no trace
                grant, state = track.standing, track.state()
                relied = grant and grant.seq == send["permit_seq"] and send["permitted_at"] < grant.expires_at
                good = state not in ("withdrawn", "closed") if self.free.get(send["purpose"]) else relied
                self.expect("sends", good, send["message_id"], f"no valid consent behind it ({state})")

    def forbid(self, event: Event, sends: list[dict[str, str]]) -> None:
        for send in sends if event.event_type in REVOKING else ():
            revoked = covers(event.purpose, send["purpose"]) and f'"{send["purpose"]}"' not in event.kept
            late = int(send["permit_head_seq"]) < int(event.seq) and send["permitted_at"] > event.recorded_at
            self.expect(
                "sends", not (revoked and late), send["message_id"], f"sent although event {event.seq} forbade it"
            )


def verify(path: Path | str, fingerprint: str | None = None, checkpoint: str | None = None) -> Report:
    """The report on a package; `checkpoint` is the text of a note that somebody else kept."""
    report = Report()
    with zipfile.ZipFile(path) as package:
        raw, signature = package.read("manifest.json"), base64.b64decode(package.read("manifest.sig"))
        manifest = json.loads(raw)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest["public_key"]))
        known = sha256(key.public_bytes_raw()).hexdigest()
        names = {name for name in package.namelist() if not name.startswith("manifest.")}
        report.seen.update(files=len(names), key=1)
        report.expect("key", fingerprint in (None, known), known, "the package is signed with another key")
        report.expect("files", is_signed(key, signature, raw), "manifest.json", "changed, or signed with another key")
        for name in names | manifest["files"].keys():
            digest = digest_of(package, name) if name in names else "missing"
            report.expect("files", digest == manifest["files"].get(name), name, "came, went or was changed")
        if not fingerprint:
            report.unverifiable["key"] = "give --fingerprint, learned by another way than this package"
        if not checkpoint:
            report.unverifiable["outside checkpoint"] = "give --checkpoint, a note that somebody else kept"
        if report.verdict == "PASS":
            texts = [package.read(name).decode() for name in names if name.startswith("checkpoints/")]
            notes = [read_note(text, key) for text in [*texts, *([checkpoint] if checkpoint else [])]]
            roots = dict(note for note in notes if note)
            report.seen["checkpoints"] = len(notes)
            report.expect("checkpoints", all(notes), "a checkpoint", "has a bad signature")
            report.expect("checkpoints", manifest["size"] in roots, manifest["size"], "this size was never signed")
            Ledger(package, report).run(manifest["size"], roots)
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
