"""Checks a consent audit package offline: python verify.py PACKAGE [--fingerprint HEX] [--checkpoint NOTE]

Needs Python 3.11 and the package `cryptography`, nothing of the software that made the file. It rehashes the whole
ledger, checks what was signed, replays every consent from the sealed events alone and compares each send with it.
PASS: everything agrees. FAIL: something was changed, and what. NOT VERIFIABLE: what this package cannot show alone.
"""

import argparse
import base64
import csv
import json
import re
import sqlite3
import sys
import zipfile
import zlib
from collections import Counter, defaultdict, deque, namedtuple
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("verify.py needs the Python package cryptography, 40 or newer: pip install cryptography")

POSITIVE, ENDING = {"GRANTED", "CONFIRMED", "REAFFIRMED"}, {"TENURE_CLOSED", "ERASED"}
NEGATIVE = {"WITHDRAWN", "OBJECTED", "DECLINED", "META_STOPPED", "SUPPRESSED"}
REVOKING = NEGATIVE | ENDING | {"EXPIRED", "INVALIDATED"}
TARGETS = ("notice_id", "import_batch", "collection_point", "grant_id")
PERSON, TOLERANCE, TTL = ("data_subject", "guardian"), timedelta(seconds=120), timedelta(hours=48)
CORES = "ledger/cores.ndjson"
ROWS = (
    ("evidence", "subjects/evidence.ndjson", "event_id", "salt", "payload"),
    ("states", "data/consents.csv", "contact_id", "purpose", "state", "grant_seq"),
    ("sends", "data/sends.csv", "contact_id", "message_id", "purpose", "permit_seq", "permit_head_seq", "permitted_at"),
)
CHANGED = "came, went or was changed"
canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

# A sealed core has one possible text (RFC 8785): its keys in their order, any but actor_type left out. So one pattern
# tells whether it is canonical and what it says, several times faster than reading and writing it. What follows from
# an event is in its Facts; the other keys only prove.
PROVING = {
    *("actor_ref", "channel", "consent_kind", "controller_id", "evidence_kinds", "jurisdiction"),
    *("language", "lawful_basis", "policy_hash", "reason", "rule_id", "schema", "source_event_ref", "tenant_id"),
    "withdrawal_info",
}
Facts = namedtuple(
    "Facts",
    "actor_type clock_flags collection_point event_id event_type evidence_commit expires_at grade kept method"
    " min_grade next_state notice_hash notice_id occurred_at prev prev_state purpose received_at recorded_at refs"
    " sender_scope seq source subject_event_no subject_id",
)


def pattern(text: str) -> re.Pattern[str]:
    """Of a core whose texts look like `text`; a group for each fact."""
    instant = r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"'
    forms = dict.fromkeys(("clock_flags", "evidence_kinds", "kept"), rf'(\[(?:"{text}"(?:,"{text}")*+)?\])')
    forms |= dict.fromkeys(("expires_at", "occurred_at", "received_at", "recorded_at"), instant)
    forms |= dict.fromkeys(("seq", "subject_event_no"), "([1-9][0-9]*+)")
    forms |= {"refs": rf'(\{{(?:"{text}":"{text}"(?:,(?=")|(?=\}})))*+\}})'}
    core = rf'\{{(?:"actor_ref":"{text}",|)"actor_type":"({text})"'
    for key in sorted(PROVING.union(Facts._fields))[2:]:
        form = forms.get(key, f'"({text})"')
        core += f'(?:,"{key}":{form.replace("(", "(?:", 1) if key in PROVING else form}|)'
    return re.compile(rf"{core}\}}", re.ASCII)


PLAIN, CONTROLS = pattern('[^"]*+'), bytes(range(32))  # faster, where there is no control character and no backslash
ESCAPED = pattern(r'[^"\\\x00-\x1f]*+(?:\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))[^"\\\x00-\x1f]*+)*+')


class Event(
    namedtuple(
        "Event",
        "seq number event_id evidence_commit at received_at recorded_at expires_at notice_id refs"
        " actor_type collection_point event_type grade kept method min_grade next_state prev_state purpose"
        " sender_scope source",
    )
):
    """What decides, as text, empty where nothing was said; `at` is the instant it counts from."""

    __slots__ = ()

    @property
    def clock(self) -> tuple[str, str]:
        return self.source, self.sender_scope or "*"

    def is_after(self, other: "Event", by: timedelta) -> bool:
        return self.at > other.at and datetime.fromisoformat(self.at) > datetime.fromisoformat(other.at) + by

    def beats(self, negative: "Event") -> bool:
        own_act = self.actor_type in PERSON and self.grade <= "B"
        return own_act and self.is_after(negative, timedelta(0) if self.clock == negative.clock else TOLERANCE)

    def preference(self) -> tuple[str, int, int]:
        number = int(self.number)
        return (self.grade, 0, -number) if self.event_type == "REAFFIRMED" else (self.grade, 1, number)

    def names(self) -> dict[str, str]:
        named = {"notice_id": self.notice_id, "grant_id": self.event_id, "collection_point": self.collection_point}
        return {**json.loads(self.refs or "{}"), **named}

    def is_persons(self) -> bool:
        return self.actor_type in PERSON and (self.grade <= "B" or self.event_type != "GRANTED")


def own(core: Facts) -> tuple[str, ...]:
    """The first half of an Event: what only this one says."""
    heard, claimed = core.received_at, core.occurred_at
    at = heard if claimed > heard or '"untrusted_source"' in core.clock_flags else claimed
    known = core.seq, core.subject_event_no, core.event_id, core.evidence_commit, at, heard
    return *known, core.recorded_at, core.expires_at, core.notice_id, core.refs


shared = itemgetter(*map(Facts._fields.index, Event._fields[10:]))  # the other half: what many have in common


def read_core(line: bytes) -> Facts | None:
    """What a line of the ledger says, or None when it is not the canonical text of a core."""
    text = line.decode("utf-8", "backslashreplace")
    is_plain = "\\" not in text and len(line.translate(None, CONTROLS)) == len(line)
    match = (PLAIN if is_plain else ESCAPED).fullmatch(text)
    core = Facts._make(match.groups("")) if match else None
    is_sorted = core is None or "," not in core.refs or canonical(json.loads(core.refs)) == core.refs
    return core if is_sorted else None


def covers(scope: str, purpose: str) -> bool:
    return scope in ("*", purpose) or (scope.endswith(".*") and f"{purpose}.".startswith(scope[:-1]))


class Track:
    """One purpose, or one scope, of one person, replayed from the sealed events alone."""

    __slots__ = ("closed", "ended", "grants", "lapsed", "negatives", "request", "standing")

    def __init__(self, wider: Iterable["Track"]) -> None:
        self.grants: list[Event] = []
        self.lapsed: list[Event] = []  # their time was over
        self.negatives: dict[tuple[str, str], Event] = {}  # the latest of each clock
        self.standing: Event | None = None  # the best grant that outlived all of these
        self.request: Event | None = None
        self.ended, self.closed = "none", False
        for track in wider:
            for negative in track.negatives.values():
                self.remember(negative)
            self.closed |= track.closed
            self.ended = track.ended if track.ended == "withdrawn" or track.closed else self.ended

    def remember(self, event: Event) -> None:
        known = self.negatives.get(event.clock)
        self.negatives[event.clock] = event if known is None or event.at > known.at else known
        self.keep(self.grants)

    def alive(self, grants: list[Event]) -> list[Event]:
        return [grant for grant in grants if all(map(grant.beats, self.negatives.values()))]

    def keep(self, grants: list[Event]) -> None:
        self.grants, self.standing = grants, min(self.alive(grants), key=Event.preference, default=None)

    def state(self) -> str:
        if self.closed or self.standing:
            return "closed" if self.closed else "subscribed"
        return "pending" if self.request else self.ended

    def grant(self, event: Event) -> None:
        before, late = self.state(), self.request and event.is_after(self.request, TTL)
        if before == "closed" or not "A" <= event.grade <= min(event.min_grade, "C"):
            return
        if event.expires_at <= event.received_at:
            if before == "none":
                self.ended = "expired"
                self.lapsed.append(event)
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
            is_own = event.actor_type == "data_subject" and event.method.startswith(("wa_", "pref_centre"))
            self.request = event if is_own or not self.negatives else asked
        elif kind == "EXPIRED" and asked and event.is_after(asked, TTL):
            self.request = None
        elif kind == "EXPIRED":
            self.lapsed += [grant for grant in self.grants if grant.expires_at <= event.at]
            self.keep([grant for grant in self.grants if grant.expires_at > event.at])
            ended = "expired" if had else ended
        elif kind == "INVALIDATED" and self.state() != "withdrawn":
            ended = self.invalidate(event)
        self.ended = self.ended if self.standing else ended

    def invalidate(self, event: Event) -> str:
        """Ends what rests on the thing that the event names, or everything; the word for what is left."""
        refs, had, before = json.loads(event.refs or "{}"), self.standing, self.state()
        named = {key: refs[key] for key in TARGETS if key in refs}.items()
        resting = [*self.alive(self.grants), *([] if had else self.lapsed), *([self.request] if self.request else [])]
        meant = [each for each in resting if named <= each.names().items()]
        if named and not meant:
            return self.ended
        left = [grant for grant in self.grants if grant not in meant]
        self.lapsed = [grant for grant in self.lapsed if grant not in meant]
        self.keep([grant for grant in left if grant.is_persons()] if had in meant else left)
        over = had in meant or self.request in meant or (before == "expired" and not self.lapsed)
        self.request = None if self.request in meant else self.request
        if self.standing or not (over or not named):
            return self.ended
        return "withdrawn" if self.negatives else "invalid"


class Person(dict[str, Track]):
    """The tracks of one person."""

    def track(self, purpose: str) -> Track:
        """Of a purpose; when nothing has named it, a new one that knows what was said of wider scopes."""
        return self.get(purpose) or Track(track for scope, track in self.items() if covers(scope, purpose))

    def apply(self, event: Event) -> tuple[str, str]:
        """States before and after of the purpose or scope that an event names."""
        self[event.purpose] = track = self.track(event.purpose)
        before = track.state()
        if event.event_type in POSITIVE:
            track.grant(event)
        else:
            for inside in [self[name] for name in self if covers(event.purpose, name)]:
                inside.other(event)
        return before, track.state()


class Rows:
    """Some columns of a file whose rows are in the order of people and events, taken as these come by."""

    def __init__(self, blocks: Iterable[list[bytes]], name: str, *columns: str) -> None:
        rows: Iterator[Any]
        if name.endswith("csv"):
            rows = csv.reader(line.decode() for lines in blocks for line in lines)
            header = next(rows)
            pick, width = itemgetter(*map(header.index, columns)), len(header)
            self.rows = map(pick, (row + [""] * (width - len(row)) for row in rows if row))
        else:
            rows = (row for lines in blocks for row in json.loads(b"[" + b",".join(lines) + b"]"))
            self.rows = map(itemgetter(*columns), rows)
        self.name, self.taken, self.next = name, 0, next(self.rows, None)

    def take(self, owner: str) -> list[tuple[str, ...]]:
        taken = []
        while self.next and self.next[0] == owner:
            taken.append(self.next)
            self.next = next(self.rows, None)
        self.taken += len(taken)
        return taken


class Report:
    """What was looked at in a package, what was wrong with it, and what the package alone cannot show."""

    def __init__(self, package: zipfile.ZipFile) -> None:
        self.package, self.digests, self.notices, self.free = package, dict[str, str](), {"": ""}, dict[str, bool]()
        self.kinds = dict[tuple[str, ...], int]()
        self.seen, self.wrong, self.unverifiable = Counter[str](), defaultdict[str, list[str]](list), dict[str, str]()

    def fail(self, check: str, where: object, finding: str) -> bool:
        self.wrong[check].append(f"{where}: {finding}")
        return False

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

    def read(self, name: str) -> Iterator[list[bytes]]:
        """A file's lines, many at a time; afterwards `digests` has the hash of what was read."""
        digest, rest, self.digests[name] = sha256(), b"", "unreadable"
        try:
            with self.package.open(name) as file:
                while block := file.read(1 << 16):
                    digest.update(block)
                    *lines, rest = (rest + block).split(b"\n")
                    yield lines
            self.digests[name] = digest.hexdigest()
        except (zipfile.BadZipFile, zlib.error, EOFError):
            return
        if rest:
            yield [rest + b"\n"]  # a last line without an end: not canonical

    def registries(self) -> None:
        """What was shown to people, and which purposes need no consent by their newest version."""
        purposes = map(json.loads, chain.from_iterable(self.read("registries/purposes.ndjson")))
        for purpose in sorted(purposes, key=lambda purpose: int(purpose["version"])):
            self.free[purpose["code"]] = not purpose["needs_consent"]
        for notice in map(json.loads, chain.from_iterable(self.read("registries/notices.ndjson"))):
            content = {key: notice[key] for key in notice.keys() - {"id", "hash", "effective_from"}}
            self.notices[notice["id"]] = shown = sha256(canonical(content).encode()).hexdigest()
            shown == notice["hash"] or self.fail("notices", notice["id"], "changed")
        self.seen["notices"] = len(self.notices) - 1

    def roots(self, key: Ed25519PublicKey, notes: list[str], size: int) -> dict[int, bytes]:
        """What the key signed: the tree's root at each size."""
        roots: dict[int, bytes] = {}
        for note in notes:
            body, _, signatures = note.rpartition("\n\n")
            blobs = [base64.b64decode(line.rsplit(" ", 1)[1]) for line in signatures.splitlines()]
            if any(is_signed(key, blob[4:], f"{body}\n".encode()) for blob in blobs):
                roots[int(body.splitlines()[1])] = base64.b64decode(body.splitlines()[2])
            else:
                self.fail("checkpoints", "a checkpoint", "has a bad signature")
        self.seen["checkpoints"] = len(notes)
        size in roots or self.fail("checkpoints", size, "this size was never signed")
        return roots

    def ledger(self, size: int, roots: dict[int, bytes], digest: str | None) -> None:
        """Events are sorted by person in a file, so that memory does not grow with the ledger."""
        sorting = sqlite3.connect("")
        sorting.execute("CREATE TABLE events (person, facts, kind)")
        known = self.seen.copy()
        del known["checkpoints"], known["notices"]
        sorting.executemany("INSERT INTO events VALUES (?, ?, ?)", self.check_chain(size, roots))
        if self.digests[CORES] == digest:
            rows, kinds = sorting.execute("SELECT * FROM events ORDER BY person, rowid"), list(self.kinds)
            data = {check: Rows(self.read(name), name, *columns) for check, name, *columns in ROWS}
            for subject, each in groupby(rows, itemgetter(0)):
                self.replay(subject, [Event(*facts.split("\x1f"), *kinds[kind]) for _, facts, kind in each], **data)
            for check, left in data.items():
                self.seen[check] = left.taken
                left.next is None or self.fail(check, left.name, "out of order, or not in the ledger")
        else:  # not the file that was signed: what was found in it means nothing
            self.seen, self.wrong = known, defaultdict(list, files=[f"{CORES}: {CHANGED}"])
        sorting.close()

    def check_chain(self, size: int, roots: dict[int, bytes]) -> Iterator[tuple[str, str, int]]:
        """Each event of a person, found to be canonical, to follow the one before and to lead to a signed root."""
        seq, prev, recorded, flags, peaks, kinds = 0, "0" * 64, "", 0, list[bytes](), self.kinds
        for seq, line in enumerate(chain.from_iterable(self.read(CORES)), start=1):
            leaf = node = sha256(b"\x00" + line).digest()
            half, core = seq, read_core(line)
            while not half & 1:  # join the full halves of the tree
                node, half = sha256(b"\x01" + peaks.pop() + node).digest(), half >> 1
            peaks.append(node)
            if seq in roots:
                for left in peaks[-2::-1]:
                    node = sha256(b"\x01" + left + node).digest()
                node == roots.pop(seq) or self.fail("checkpoints", f"size {seq}", "another ledger was signed")
            if core:
                (core.seq == str(seq) and core.prev == prev) or self.fail("chain", f"event {seq}", "does not follow")
                core.recorded_at >= recorded or self.fail("chain", f"event {seq}", "recorded before its predecessor")
                shown = self.notices.get(core.notice_id)
                shown == core.notice_hash or self.fail("notices", f"event {seq}", "another notice was shown")
                recorded, flags = core.recorded_at, flags + core.clock_flags.count('"') // 2
                if core.subject_id:
                    kind = kinds.setdefault(shared(core), len(kinds))
                    yield core.subject_id, "\x1f".join(own(core)), kind
            core or self.fail("chain", f"event {seq}", "not canonical")
            prev = leaf.hex()
        seq == size or self.fail("chain", "the ledger", f"{seq} events where {size} were signed")
        not roots or self.fail("checkpoints", f"sizes {sorted(roots)}", "the ledger is shorter than was signed")
        self.seen.update({"clock flags": flags, "chain": seq})

    def replay(self, subject: str, events: list[Event], states: Rows, sends: Rows, evidence: Rows) -> None:
        """One person's history, against the proofs, the sends and the permissions said to be that person's."""
        person, lacking = Person(), 0
        said, sent = states.take(subject), sends.take(subject)
        if sent:
            self.judge(sent, person, None)
        for number, event in enumerate(events, start=1):
            before, after = person.apply(event)
            event.number == str(number) or self.fail("chain", event.seq, "one before is missing")
            is_so = before == event.prev_state and after == event.next_state
            is_so or self.fail("replay", event.seq, f"leads to {after}")
            proofs = evidence.take(event.event_id)
            for _, salt, payload in proofs:
                opened = sha256(b"\x02" + bytes.fromhex(salt) + payload.encode()).hexdigest()
                opened == event.evidence_commit or self.fail("evidence", event.seq, "its evidence was changed")
            lacking += (event.evidence_commit != "") - len(proofs)
            if sent:
                self.judge(sent, person, event)
        heads = {"0", *(event.seq for event in events)} if sent else set()
        for _, message, _, _, head, _ in sent:
            head in heads or self.fail("sends", message, "names an event that is not the person's")
        if said and lacking and not any(event.event_type == "ERASED" for event in events):
            self.fail("evidence", subject, "evidence is missing")
        for _, purpose, state, grant_seq in said:
            track = person.track(purpose)
            found = track.state(), track.standing.seq if track.standing else ""
            found == (state, grant_seq) or self.fail("states", f"{subject} {purpose}", f"{found[0]} by the ledger")
        self.seen["replay"] += len(events)

    def judge(self, sends: list[tuple[str, ...]], person: Person, event: Event | None) -> None:
        """The sends allowed when this was the person's newest event (or none was), and those that it forbade."""
        for _, message, purpose, permit, head, at in sends:
            if head == (event.seq if event else "0"):
                track = person.track(purpose)
                relied = track.standing and track.standing.seq == permit and at < track.standing.expires_at
                good = track.state() not in ("withdrawn", "closed") if self.free.get(purpose) else relied
                good or self.fail("sends", message, f"no valid consent behind it ({track.state()})")
            if event and event.event_type in REVOKING and int(head) < int(event.seq) and at > event.recorded_at:
                kept = not covers(event.purpose, purpose) or f'"{purpose}"' in event.kept
                kept or self.fail("sends", message, f"sent although event {event.seq} forbade it")


def is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        return key.verify(signature, message) is None
    except InvalidSignature:
        return False


def verify(path: Path | str, fingerprint: str | None = None, checkpoint: str | None = None) -> Report:
    """The report on a package; `checkpoint` is the text of a note that somebody else kept."""
    with zipfile.ZipFile(path) as package:
        report, raw, signature = Report(package), package.read("manifest.json"), package.read("manifest.sig")
        manifest = json.loads(raw)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest["public_key"]))
        known, files = sha256(key.public_bytes_raw()).hexdigest(), manifest["files"]
        names = {name for name in package.namelist() if not name.startswith("manifest.")}
        report.seen.update(files=len(names), key=1)
        fingerprint in (None, known) or report.fail("key", known, "the package is signed with another key")
        signed = is_signed(key, base64.b64decode(signature), raw)
        signed or report.fail("files", "manifest.json", "changed, or signed with another key")
        for name in (names | files.keys()) - ({CORES} & names):
            deque(report.read(name) if name in names else (), maxlen=0)
            report.digests.get(name) == files.get(name, "") or report.fail("files", name, CHANGED)
        if not fingerprint:
            report.unverifiable["key"] = "give --fingerprint, learned by another way than this package"
        if not checkpoint:
            report.unverifiable["outside checkpoint"] = "give --checkpoint, a note that somebody else kept"
        if report.verdict == "PASS":
            notes = [package.read(name).decode() for name in names if name.startswith("checkpoints/")]
            roots = report.roots(key, [*notes, checkpoint] if checkpoint else notes, manifest["size"])
            report.registries()
            report.ledger(manifest["size"], roots, files.get(CORES))
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Check a consent audit package offline.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--fingerprint", help="of the organisation's key, learned by another way")
    parser.add_argument("--checkpoint", type=Path, help="a note that somebody else kept")
    options = parser.parse_args()
    kept = options.checkpoint.read_text("utf-8") if options.checkpoint else None
    report = verify(options.package, options.fingerprint, kept)
    sys.stdout.write("\n".join(report.lines()) + "\n")
    sys.exit(report.verdict != "PASS")
