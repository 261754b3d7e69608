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
import unicodedata
import zipfile
import zlib
from collections import Counter, defaultdict, deque, namedtuple
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from struct import Struct
from typing import Any

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("verify.py needs the Python package cryptography, 40 or newer: pip install cryptography")

CORES, CHANGED = "ledger/cores.ndjson", "came, went or was changed"
NOTICES, PURPOSES, NOTE = "registries/notices.ndjson", "registries/purposes.ndjson", r"checkpoints/[0-9]{12}\.note"
HEADERS = {
    "data/consents.csv": "contact_id phone country purpose state grade method collection_point notice_id language"
    " granted_at recorded_at expires_at reason overlays grant_seq head_seq",
    "data/sends.csv": "message_id contact_id purpose permit_seq permit_head_seq permitted_at accepted_at status",
}
ROWS = {
    "states": (
        *("data/consents.csv", "contact_id", "purpose", "head_seq", "state", "grant_seq", "grade", "method"),
        *("notice_id", "recorded_at", "expires_at"),
    ),
    "sends": (
        *("data/sends.csv", "contact_id", "message_id", "purpose"),
        *("permit_seq", "permit_head_seq", "permitted_at"),
    ),
    "evidence": ("subjects/evidence.ndjson", "event_id", "salt", "payload"),
}
COUNTED = {"states": "consents", "sends": "sends", "evidence": "evidence"}  # check → what the manifest calls it
DATA = {CORES, NOTICES, PURPOSES, *(names[0] for names in ROWS.values())}  # what every package has
BESIDE = ["summary.pdf", "summary.xlsx", "verify/verify.py", "verify/HOWTO.txt", "verify/expected-report.json"]
# What reading a file raises when whoever wrote it wanted that, or did not know how.
UNREADABLE = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, StopIteration),
    *(csv.Error, zipfile.BadZipFile, zlib.error, EOFError),
)
POSITIVE, ENDING = {"GRANTED", "CONFIRMED", "REAFFIRMED"}, {"TENURE_CLOSED", "ERASED"}
NEGATIVE = {"WITHDRAWN", "OBJECTED", "DECLINED", "META_STOPPED", "SUPPRESSED"}
REVOKING = NEGATIVE | ENDING | {"EXPIRED", "INVALIDATED"}
OTHERS = {"REQUESTED", "CORRECTION", "IDENTIFIER_LINKED", "META_RESUMED", "HOLD_PLACED", "HOLD_RELEASED"}
PERSONS = POSITIVE | REVOKING | OTHERS | {"UNREACHABLE_SET", "UNREACHABLE_CLEARED", "REAFFIRM_DUE"}
SYSTEM = {"NOTICE_PUBLISHED", "PURPOSE_CHANGED", "IMPORT_BATCH", "EXPORT_CREATED", "INTEGRITY_ALERT", "RECOVERY"}
TARGETS = ("notice_id", "import_batch", "collection_point", "grant_id")
PERSON, TOLERANCE, TTL = ("data_subject", "guardian"), timedelta(seconds=120), timedelta(hours=48)
STEPPED_BACK = timedelta(seconds=60)  # a server's clock, before its sends are refused
canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode  # RFC 8785

# The keys of a core: what decides and many events share (their Kind); what only proves; what is each event's own.
Kind = namedtuple(
    "Kind",
    "actor_type clock_flags collection_point event_type grade kept method min_grade next_state notice_hash notice_id"
    " prev_state purpose schema sender_scope source tenant_id",
)
PROVING = (
    "actor_ref channel consent_kind controller_id evidence_kinds jurisdiction language lawful_basis"
    " policy_hash reason rule_id withdrawal_info"
)
KEYS, LISTS = {*Kind._fields, *PROVING.split()}, {"clock_flags", "evidence_kinds", "kept"}
ID, NUMBER, AT = '"([0-9a-f-]+)"', "([1-9][0-9]*)", r'"([0-9]{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"'
REFS = r'(\{(?:"(?:[^"\\]|\\.)*"[:,]?)*\})'
OWN = {"event_id": ID, "evidence_commit": ID, "expires_at": AT, "occurred_at": AT, "prev": ID, "received_at": AT}
OWN |= {"recorded_at": AT, "refs": REFS, "seq": NUMBER, "source_event_ref": ID, "subject_event_no": NUMBER}
OWN |= {"subject_id": ID}
VALUES = re.compile("".join(f'(?:.*?"{key}":{form})?' for key, form in OWN.items()).encode())
NO_DIGIT, NO_HEX = bytes.maketrans(b"123456789", b"0" * 9), bytes.maketrans(b"123456789abcdef", b"0" * 15)
Form = namedtuple("Form", "cut common skeleton kind number")


@lru_cache
def parsed(text: bytes) -> dict[str, Any]:
    """The JSON object that is written here; raises ValueError when this is not its canonical text."""
    said = json.loads(text)
    if not isinstance(said, dict) or canonical(said).encode() != text:
        raise ValueError("not canonical")
    if not text.isascii() and not unicodedata.is_normalized("NFC", text.decode()):
        raise ValueError("not in normal form C")
    return said


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError when it says something twice."""
    said = dict(pairs)
    if len(said) < len(pairs):
        raise ValueError("a key is there twice")
    return said


@lru_cache(1 << 14)
def day(text: bytes) -> date:
    """Raises ValueError for one that is in no calendar."""
    return date.fromisoformat(text.decode())


@lru_cache(1 << 12)
def instant(text: str) -> datetime:
    """Raises ValueError for anything but an instant as this ledger writes it."""
    if not re.fullmatch(AT[2:-2], text):
        raise ValueError("no instant")
    return datetime.fromisoformat(text)


def skeleton(own: tuple[bytes, ...]) -> bytes:
    """A core's own values without their digits; raises ValueError when the refs are not canonical."""
    event_id, commit, expires, occurred, prev, received, recorded, refs, seq, source, number, subject = own
    if refs and not all(isinstance(text, str) for text in parsed(refs).values()):
        raise ValueError("refs are texts")
    ids = b"".join((event_id, commit, prev, source, subject)).translate(NO_HEX)
    return ids + b"".join((expires, occurred, received, recorded, seq, number)).translate(NO_DIGIT)


class Reader:
    """Reads cores: those that differ from an earlier one in their own values only need no parser."""

    def __init__(self) -> None:
        self.forms, self.kinds = defaultdict[int, list[Form]](list), dict[Kind, int]()

    def read(self, line: bytes) -> tuple[tuple[bytes, ...], Form]:
        """A core's own values, and what it shares; raises ValueError when the line is not the canonical text of one."""
        forms = self.forms[len(line)]
        for form in forms:
            pieces = form.cut(line)
            if pieces[::2] == form.common and skeleton(pieces[1::2]) == form.skeleton:
                return pieces[1::2], form
        form = self.form(line)
        self.forms[len(line)] = [form, *forms[:15]]
        return form.cut(line)[1::2], form

    def form(self, line: bytes) -> Form:
        """How to cut such lines into common text and own values by turns; that text, the skeleton, the kind."""
        core, found = parsed(line), VALUES.match(line)
        for key in core.keys() - OWN.keys():
            texts = core[key] if key in LISTS else [core[key]]
            if key not in KEYS or not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"no core has such a {key}")
        own = [canonical(core[key]).strip('"').encode() if key in core else None for key in OWN]
        if found is None or own != list(found.groups()):
            raise ValueError("a value has not the form that its key asks for")
        widths, end = list[int](), 0
        for start, stop in found.regs[1:]:  # both are -1 for a key that is not there
            widths += max(start, end) - end, stop - start
            end = max(stop, end)
        cut = Struct("".join(f"{width}s" for width in [*widths, len(line) - end])).unpack
        said = [core.get(key, "") for key in Kind._fields]
        kind = Kind._make(text if isinstance(text, str) else canonical(text) for text in said)
        number = self.kinds.setdefault(kind, len(self.kinds))
        return Form(cut, cut(line)[::2], skeleton(cut(line)[1::2]), kind, number)


class Unbelievable(ValueError):
    """An event that is canonical, and not one of ours."""


class Event(namedtuple("Event", "seq number event_id commit at received_at recorded_at expires_at refs kind")):
    """What decides of a core, as text, empty where nothing was said; `at` is the instant it counts from."""

    __slots__ = ()

    def is_after(self, other: "Event", by: timedelta) -> bool:
        return self.at > other.at and datetime.fromisoformat(self.at) > datetime.fromisoformat(other.at) + by

    def clock(self) -> tuple[str, str]:
        return self.kind.source, self.kind.sender_scope or "*"

    def beats(self, negative: "Event") -> bool:
        by_person = self.kind.actor_type in PERSON and self.kind.grade <= "B"
        return by_person and self.is_after(negative, timedelta(0) if self.clock() == negative.clock() else TOLERANCE)

    def preference(self) -> tuple[str, int, int]:
        """The best grade comes first, then the newest reaffirmation, then the oldest grant."""
        number, again = int(self.number), self.kind.event_type == "REAFFIRMED"
        return (self.kind.grade, 0, -number) if again else (self.kind.grade, 1, number)

    def names(self) -> dict[str, str]:
        named = {"notice_id": self.kind.notice_id, "collection_point": self.kind.collection_point}
        return {**json.loads(self.refs or "{}"), **named, "grant_id": self.event_id}

    def is_persons(self) -> bool:
        return self.kind.actor_type in PERSON and (self.kind.grade <= "B" or self.kind.event_type != "GRANTED")


def covers(scope: str, purpose: str) -> bool:
    return scope in ("*", purpose) or (scope.endswith(".*") and f"{purpose}.".startswith(scope[:-1]))


class Track:
    """One purpose, or one scope, of one person, replayed from the sealed events alone."""

    __slots__ = ("ended", "grants", "lapsed", "negatives", "request", "standing")

    def __init__(self, wider: Iterable["Track"]) -> None:
        self.grants: list[Event] = []
        self.lapsed: list[Event] = []  # their time was over
        self.negatives: dict[tuple[str, str], Event] = {}  # the latest of each clock
        self.standing: Event | None = None  # the best grant that outlived all of these
        self.request: Event | None = None
        self.ended = "none"
        for track in wider:
            for negative in track.negatives.values():
                self.remember(negative)
            if track.ended == "closed" or (track.ended == "withdrawn" and self.ended != "closed"):
                self.ended = track.ended

    def state(self) -> str:
        return "subscribed" if self.standing else "pending" if self.request else self.ended

    def remember(self, event: Event) -> None:
        known = self.negatives.setdefault(event.clock(), event)
        self.negatives[event.clock()] = event if event.at > known.at else known
        self.keep(self.grants)

    def alive(self, grants: list[Event]) -> list[Event]:
        return [grant for grant in grants if all(map(grant.beats, self.negatives.values()))]

    def keep(self, grants: list[Event]) -> None:
        self.grants, self.standing = grants, min(self.alive(grants), key=Event.preference, default=None)

    def grant(self, event: Event) -> None:
        before, late, kind = self.state(), self.request and event.is_after(self.request, TTL), event.kind
        if not "A" <= kind.grade <= min(kind.min_grade, "C"):
            return
        if event.expires_at <= event.received_at:
            if before == "none":
                self.ended = "expired"
                self.lapsed.append(event)
        elif self.negatives and not all(map(event.beats, self.negatives.values())):
            return
        elif kind.event_type == "CONFIRMED" and (late or before in ("none", "invalid")):
            self.request = None if late else self.request
        elif kind.event_type != "REAFFIRMED" or (before == "subscribed" and kind.actor_type in PERSON):
            self.grants.append(event)
            if self.standing is None or event.preference() < self.standing.preference():
                self.standing, self.request = event, None

    def other(self, event: Event) -> None:
        kind, had, asked, ended = event.kind.event_type, self.standing, self.request, self.ended
        if kind in ENDING:
            self.grants, self.standing, self.request, ended = [], None, None, "closed"
        elif kind in NEGATIVE and (asked or kind != "DECLINED"):
            self.remember(event)
            self.request, ended = None if asked and event.at >= asked.at else asked, "withdrawn"
        elif kind == "REQUESTED" and not had:
            is_own = event.kind.actor_type == "data_subject" and event.kind.method.startswith(("wa_", "pref_centre"))
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
    """The tracks of one person, by purpose and by scope."""

    def track(self, purpose: str) -> Track:
        """Of a purpose; when nothing has named it, a new one that knows what was said of wider scopes."""
        return self.get(purpose) or Track([track for scope, track in self.items() if covers(scope, purpose)])

    def apply(self, event: Event) -> tuple[str, str]:
        """States before and after of the purpose or scope that an event names."""
        purpose, is_grant = event.kind.purpose, event.kind.event_type in POSITIVE
        self[purpose] = track = self.track(purpose)
        before = track.state()
        for inside in [track] if is_grant else [self[name] for name in self if covers(purpose, name)]:
            if inside.ended != "closed":
                (inside.grant if is_grant else inside.other)(event)
        return before, track.state()


class Rows:
    """The rows of a file that are in the order of people and events, taken as these come by; the owner comes first."""

    def __init__(self, name: str, rows: Iterator[tuple[str, ...]]) -> None:
        self.name, self.rows, self.taken, self.next = name, rows, 0, next(rows, None)

    def take(self, owner: str) -> list[tuple[str, ...]]:
        taken = []
        while self.next and self.next[0] == owner:
            taken.append(self.next)
            self.next = next(self.rows, None)
        self.taken += len(taken)
        return taken


class Report:
    """What was looked at in a package, what was wrong with it, and what the package alone cannot show."""

    package: zipfile.ZipFile

    def __init__(self) -> None:
        self.digests, self.notices, self.free = dict[str, str](), {"": ""}, dict[str, bool]()
        self.published, self.days = dict[str, str](), defaultdict[str, set[timedelta]](set)
        self.reader = Reader()
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

    def check(self, fingerprint: str | None, checkpoint: str | None) -> None:
        """Everything, from what was signed to each person's history."""
        package, raw, signature = self.package, self.package.read("manifest.json"), self.package.read("manifest.sig")
        manifest = json.loads(raw, object_pairs_hook=once)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest["public_key"]))
        known, files = sha256(key.public_bytes_raw()).hexdigest(), manifest["files"]
        folders = {entry.filename for entry in package.infolist() if entry.is_dir() and not entry.file_size}
        names = Counter(name for name in package.namelist() if name not in folders)
        self.seen.update(files=len(names) - 2, key=1)
        fingerprint in (None, known) or self.fail("key", known, "the package is signed with another key")
        signed = is_signed(key, base64.b64decode(signature), raw)
        signed or self.fail("files", "manifest.json", "changed, or signed with another key")
        for name, many in (names - Counter(["manifest.json", "manifest.sig"])).items():
            if many > 1 or not (name in DATA or name in BESIDE or re.fullmatch(NOTE, name)):
                self.fail("files", name, "no package has such a file, or it has it once")
        for name in DATA - names.keys():
            self.fail("files", name, CHANGED)
        if type(manifest["size"]) is not int:
            self.fail("files", "manifest.json", "the size is no whole number")
        for name in (names.keys() - {"manifest.json", "manifest.sig"} | files.keys()) - ({CORES} & names.keys()):
            deque(self.read(name) if name in names else (), maxlen=0)
            self.digests.get(name) == files.get(name, "") or self.fail("files", name, CHANGED)
        if not fingerprint:
            self.unverifiable["key"] = "give --fingerprint, learned by another way than this package"
        if not checkpoint:
            self.unverifiable["outside checkpoint"] = "give --checkpoint, a note that somebody else kept"
        if self.verdict == "PASS":
            notes = [package.read(name).decode() for name in names if name.startswith("checkpoints/")]
            roots = self.roots(key, [*notes, checkpoint] if checkpoint else notes, manifest)
            self.registries()
            self.ledger(manifest, roots)

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

    def objects(self, name: str) -> Iterator[Any]:
        for lines in self.read(name):
            found = json.loads(b"[" + b",".join(lines) + b"]", object_pairs_hook=once)
            if len(found) != len(lines):
                raise ValueError(f"{name}: each line is one object")
            yield from found

    def rows(self, name: str, *columns: str) -> Rows:
        if not name.endswith("csv"):
            return Rows(name, map(itemgetter(*columns), self.objects(name)))
        lines = chain.from_iterable(b"\n".join(lines).decode().split("\n") for lines in self.read(name))
        rows, header = csv.reader(lines, strict=True), HEADERS[name].split()
        if next(rows) != header:
            raise ValueError(f"{name}: its columns are {HEADERS[name]}")
        return Rows(name, map(itemgetter(*map(header.index, columns)), self.whole(name, rows, len(header))))

    def whole(self, name: str, rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
        """Rows with as many cells as there are columns; the others fail and are blank."""
        for row in filter(None, rows):
            len(row) == width or self.fail("files", name, f"a row has {len(row)} cells where there are {width} columns")
            yield row if len(row) == width else [""] * width

    def registries(self) -> None:
        """What was shown to people, and which purposes need no consent by their newest version."""
        for purpose in sorted(self.objects(PURPOSES), key=itemgetter("version")):
            self.free[purpose["code"]] = not purpose["needs_consent"]
            self.days[purpose["code"]].add(timedelta(purpose["validity_days"]))
            content = {key: purpose[key] for key in ("halted", "min_grade", "needs_consent", "validity_days")}
            purpose["id"] not in self.published or self.fail("purposes", purpose["id"], "is there twice")
            self.published[purpose["id"]] = sha256(canonical(content).encode()).hexdigest()
        for notice in self.objects(NOTICES):
            content = {key: notice[key] for key in notice.keys() - {"id", "hash", "effective_from"}}
            notice["id"] not in self.notices or self.fail("notices", notice["id"], "is there twice")
            self.notices[notice["id"]] = shown = sha256(canonical(content).encode()).hexdigest()
            shown == notice["hash"] or self.fail("notices", notice["id"], "changed")
        self.seen["notices"], self.seen["purposes"] = len(self.notices) - 1, len(self.published)
        self.published |= self.notices

    def roots(self, key: Ed25519PublicKey, notes: list[str], manifest: dict[str, Any]) -> dict[int, bytes]:
        """What the key signed: the tree's root at each size."""
        roots: dict[int, bytes] = {}
        for note in notes:
            body, _, signatures = note.rpartition("\n\n")
            blobs = [base64.b64decode(line.rpartition(" ")[2]) for line in signatures.splitlines()]
            if not any(is_signed(key, blob[4:], f"{body}\n".encode()) for blob in blobs):
                self.fail("checkpoints", "a checkpoint", "has a bad signature")
                continue
            origin, size, root, *_ = [*body.splitlines(), "", ""]
            known = roots.setdefault(int(size), base64.b64decode(root))
            known == base64.b64decode(root) or self.fail("checkpoints", f"size {size}", "two ledgers were signed")
            origin == manifest["origin"] or self.fail("checkpoints", f"size {size}", f"is of another ledger, {origin}")
        self.seen["checkpoints"], size = len(notes), manifest["size"]
        size in roots or self.fail("checkpoints", size, "this size was never signed")
        roots.get(size, b"").hex() == manifest["root"] or self.fail(
            "checkpoints", size, "the manifest has another root"
        )
        return roots

    def ledger(self, manifest: dict[str, Any], roots: dict[int, bytes]) -> None:
        """Events are sorted by person in a file, so that memory does not grow with the ledger."""
        sorting = sqlite3.connect("")
        sorting.execute("CREATE TABLE events (person, facts, kind)")
        known = self.seen.copy()
        del known["checkpoints"], known["notices"], known["purposes"]
        tenant, is_all = (
            manifest["origin"].removeprefix("kairan/"),
            not any({**manifest["filters"], "as_of_seq": None}.values()),
        )
        sorting.executemany("INSERT INTO events VALUES (?, ?, ?)", self.chain(manifest["size"], roots, tenant))
        if self.digests[CORES] == manifest["files"][CORES]:
            kinds, data = list(self.reader.kinds), {check: self.rows(*names) for check, names in ROWS.items()}
            events = sorting.execute("SELECT * FROM events ORDER BY person, rowid")
            for subject, each in groupby(events, itemgetter(0)):
                told = [Event._make([*facts.split("\x1f"), kinds[kind]]) for _, facts, kind in each]
                self.replay(subject, told, is_all, data["states"], data["sends"], data["evidence"])
            for check, left in data.items():
                self.seen[check], said = left.taken, manifest["counts"][COUNTED[check]]
                left.next is None or self.fail(check, left.name, "out of order, or not in the ledger")
                left.taken == said or self.fail(check, left.name, f"{left.taken} rows where the manifest says {said}")
            self.published.pop("")
            for name in self.published:
                self.fail("purposes" if name not in self.notices else "notices", name, "was never published")
        else:  # not the file that was signed: what was found in it means nothing
            self.seen, self.wrong = known, defaultdict(list, files=[f"{CORES}: {CHANGED}"])
        sorting.close()

    def chain(self, size: int, roots: dict[int, bytes], tenant: str) -> Iterator[tuple[str, str, int]]:
        """Each event of a person, found to be canonical, to follow the one before and to lead to a signed root."""
        seq, leaf, last, flags, peaks = 0, bytes(32), b"", 0, list[bytes]()
        for seq, line in enumerate(chain.from_iterable(self.read(CORES)), start=1):
            prev, leaf, half = leaf.hex().encode(), sha256(b"\x00" + line).digest(), seq
            node = leaf
            while not half & 1:  # join the full halves of the tree
                node, half = sha256(b"\x01" + peaks.pop() + node).digest(), half >> 1
            peaks.append(node)
            if seq in roots:
                for left in peaks[-2::-1]:
                    node = sha256(b"\x01" + left + node).digest()
                node == roots.pop(seq) or self.fail("checkpoints", f"size {seq}", "another ledger was signed")
            try:
                own, form = self.reader.read(line)
                self.believe(own, form.kind, tenant)
            except (ValueError, RecursionError) as wrong:
                said_so = f" ({wrong})" if isinstance(wrong, Unbelievable) else ""
                self.fail("chain", f"event {seq}", f"not canonical{said_so}")
                continue
            event_id, commit, expires, claimed, said, heard, recorded, refs, at, _, number, subject = own
            (said == prev and at == b"%d" % seq) or self.fail("chain", f"event {seq}", "does not follow")
            recorded >= last or self.fail("chain", f"event {seq}", "recorded before its predecessor")
            kind, last = form.kind, recorded
            if not subject:
                self.publish(seq, parsed(refs or b"{}"))
            shown = self.notices.get(kind.notice_id)
            shown == kind.notice_hash or self.fail("notices", f"event {seq}", "another notice was shown")
            flags += kind.clock_flags.count('"') // 2
            if subject:
                counts = heard if claimed > heard or '"untrusted_source"' in kind.clock_flags else claimed
                facts = b"\x1f".join((at, number, event_id, commit, counts, heard, recorded, expires, refs))
                yield subject.decode(), facts.decode(), form.number
        seq == size or self.fail("chain", "the ledger", f"{seq} events where {size} were signed")
        not roots or self.fail("checkpoints", f"sizes {sorted(roots)}", "the ledger is shorter than was signed")
        self.seen.update({"clock flags": flags, "chain": seq})

    def believe(self, own: tuple[bytes, ...], kind: Kind, tenant: str) -> None:
        """Raises ValueError for what no ledger of ours says of an event."""
        event_id, _, expires, claimed, heard, recorded, source = *own[:4], *own[5:7], own[9]
        if not (event_id and source and kind.actor_type and kind.event_type in (PERSONS if own[11] else SYSTEM)):
            raise Unbelievable("there is no such event")
        if (kind.schema, kind.tenant_id) != ("consent-event/1", tenant):
            raise Unbelievable("of another ledger")
        for at in (claimed, heard, recorded):
            if not (day(at[:10]) and at[11:13] < b"24" and at[14:15] < b"6" and at[17:18] < b"6"):
                raise Unbelievable("at no time")
        if kind.event_type in POSITIVE:
            start, known = min(claimed, heard), self.days.get(kind.purpose)
            lasts = day(expires[:10]) - day(start[:10])
            if not kind.grade or (known and (lasts not in known or expires[10:] != start[10:])):
                raise Unbelievable("it ends when no version of its purpose says")

    def publish(self, seq: int, refs: dict[str, str]) -> None:
        """A notice or a purpose is in the registries as it was published, or not at all."""
        for thing in ("notice", "purpose"):
            shown, sealed = self.published.pop(refs.get(f"{thing}_id", " "), None), refs.get(f"{thing}_hash")
            shown in (None, sealed) or self.fail(f"{thing}s", f"event {seq}", f"another {thing} was published")

    def replay(
        self, subject: str, events: list[Event], is_all: bool, states: Rows, sends: Rows, evidence: Rows
    ) -> None:
        """One person's history, against the proofs, the sends and the permissions said to be that person's."""
        person, lacking, said, sent = Person(), False, states.take(subject), sends.take(subject)
        if sent:
            self.judge(sent, person, None)
        for number, event in enumerate(events, start=1):
            before, after = person.apply(event)
            event.number == str(number) or self.fail("chain", event.seq, "one before is missing")
            is_so = before == event.kind.prev_state and after == event.kind.next_state
            is_so or self.fail("replay", event.seq, f"leads to {after}")
            proofs = evidence.take(event.event_id)
            for _, salt, payload in proofs:
                opened = sha256(b"\x02" + bytes.fromhex(salt) + payload.encode()).hexdigest()
                opened == event.commit or self.fail("evidence", event.seq, "its evidence was changed")
            lacking |= event.commit != "" and not proofs
            len(proofs) < 2 or self.fail("evidence", event.seq, "has more than one proof")
            if sent:
                self.judge(sent, person, event)
        recorded = {event.seq: event.recorded_at for event in events if sent}
        for _, message, _, _, head, at in sent:
            head == "0" or head in recorded or self.fail("sends", message, "names an event that is not the person's")
            early = at < recorded.get(head, "") and instant(at) < instant(recorded[head]) - STEPPED_BACK
            early and self.fail("sends", message, f"was allowed before event {head}, which it names")
        [message for _, message, *_ in sent] == sorted({row[1] for row in sent}) or self.fail(
            "sends", subject, "out of order, or twice"
        )
        if said and lacking and not any(event.kind.event_type == "ERASED" for event in events):
            self.fail("evidence", subject, "evidence is missing")
        self.stand(subject, said, person, events[-1].seq)
        purposes = [purpose for _, purpose, *_ in said]
        purposes == sorted({*purposes}) or self.fail("states", subject, "out of order, or twice")
        not is_all or person.keys() <= {*purposes} or self.fail("states", subject, "a permission is left out")
        self.seen["replay"] += len(events)

    def stand(self, subject: str, said: list[tuple[str, ...]], person: Person, last: str) -> None:
        """The permissions said to be a person's, each with what the grant says that it rests on."""
        for _, purpose, head, *row in said:
            track = person.track(purpose)
            found, grant = [track.state(), "", "", "", "", "", ""], track.standing
            if grant is not None:
                kind = grant.kind
                found[1:] = grant.seq, kind.grade, kind.method, kind.notice_id, grant.recorded_at, grant.expires_at
            found[:2] == row[:2] or self.fail("states", f"{subject} {purpose}", f"{found[0]} by the ledger")
            found[2:] == row[2:] or self.fail("states", f"{subject} {purpose}", "its grant says something else")
            head == last or self.fail("states", f"{subject} {purpose}", f"the newest event is {last}")

    def judge(self, sends: list[tuple[str, ...]], person: Person, event: Event | None) -> None:
        """The sends allowed when this was the person's newest event (or none was), and those that it forbade."""
        for _, message, purpose, permit, head, at in sends:
            if head == (event.seq if event else "0"):
                track = person.track(purpose)
                relied = (
                    track.standing and track.standing.seq == permit and at < track.standing.expires_at and instant(at)
                )
                good = track.state() not in ("withdrawn", "closed") if self.free.get(purpose) else relied
                good or self.fail("sends", message, f"no valid consent behind it ({track.state()})")
            if event and event.kind.event_type in REVOKING and int(head) < int(event.seq) and at > event.recorded_at:
                kept = not covers(event.kind.purpose, purpose) or f'"{purpose}"' in event.kind.kept
                kept or self.fail("sends", message, f"sent although event {event.seq} forbade it")


def is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        return key.verify(signature, message) is None
    except InvalidSignature:
        return False


def verify(path: Path | str, fingerprint: str | None = None, checkpoint: str | None = None) -> Report:
    """The report on a package; `checkpoint` is the text of a note that somebody else kept.

    Raises OSError when the file cannot be opened, and nothing else: a package that cannot be read has failed.
    """
    with Path(path).open("rb") as file:
        report = Report()
        try:
            with zipfile.ZipFile(file) as package:
                report.package = package
                report.check(fingerprint, checkpoint)
        except UNREADABLE as broken:
            report.fail("files", "the package", f"cannot be read: {type(broken).__name__} {str(broken)[:200]}")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Check a consent audit package offline.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--fingerprint", help="of the organisation's key, learned by another way")
    parser.add_argument("--checkpoint", type=Path, help="a note that somebody else kept")
    options = parser.parse_args()
    try:
        kept = options.checkpoint.read_text("utf-8") if options.checkpoint else None
        report = verify(options.package, options.fingerprint, kept)
    except (OSError, ValueError) as wrong:
        sys.exit(f"This cannot be checked ({wrong}). Give the ZIP file as it came, not the folder it was unpacked to.")
    sys.stdout.write("\n".join(report.lines()) + "\n")
    sys.exit(report.verdict != "PASS")
