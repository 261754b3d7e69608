"""What is remembered of the ledger outside the database: so that a backup that was restored is noticed.

Beside the keys lie two files. `witness.json` is the newest signed checkpoint with the hash of its last record: every
record names the hash of the one before it, so that hash alone stands for all of them. `refusals.jsonl` has a line for
everybody who was erased and for every number that became refused: ids and keyed hashes, nothing anybody can read.
The files grow forward only, and are on the disk before anything relies on them.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from core.errors import SettingsError

log = structlog.get_logger()

_MARK, _JOURNAL, _LOCK = "witness.json", "refusals.jsonl", ".witness.lock"
_MEANWHILE = "refused-meanwhile"


class Mark(msgspec.Struct, frozen=True):
    """A place of the ledger that was signed, and the hash of the record there."""

    size: int
    root: str  # hex
    leaf_hash: str  # of the record number `size`
    origin: str  # the name the ledger signs under
    note: str  # C2SP signed note of size and root
    signed_at: str  # RFC 3339


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record of the ledger after which somebody is to be refused.

    `refs` are keyed hashes of addresses with the version of their key. `contact_id` is there for an erasure, which is
    repeated as a whole; `cause` is its request's id.
    """

    kind: Literal["erased", "refused"]
    seq: int
    leaf_hash: str
    at: str  # RFC 3339
    reason: str
    scope: str = "*"
    refs: tuple[tuple[str, int], ...] = ()
    contact_id: str | None = None
    cause: str | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What it says, and of which record: one record may refuse several addresses."""
        return self.kind, self.seq, self.leaf_hash, self.scope, self.contact_id, self.refs


_MARKS = msgspec.json.Decoder(Mark)
_LINES = msgspec.json.Decoder(Line)


class Witness:
    """The two files of a folder; cheap to ask, since a file that did not change is not read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int, int] | None = None
        self._mark: Mark | None = None

    def latest(self) -> Mark | None:
        """The newest mark; None before the first checkpoint. Raises SettingsError when the file is damaged."""
        path = self._folder / _MARK
        try:
            found = path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._mark, self._seen = _MARKS.decode(path.read_bytes()), seen
        except FileNotFoundError:
            self._seen = self._mark = None
        except msgspec.DecodeError as damaged:
            raise SettingsError(f"{path} is damaged: restore it from a copy of the keys") from damaged
        return self._mark

    def advance(self, mark: Mark) -> bool:
        """Remember a later checkpoint of the same ledger; False when as much or more of it is remembered already."""
        with self._alone():
            before = self.latest()
            if before is not None and before.size >= mark.size:
                return False
            self._put(mark)
            return True

    def accept(self, mark: Mark) -> Path | None:
        """Remember another ledger from now on; the mark of the one before is kept under the name that is returned.

        There is a mark at every instant, also when the disk is full or the process dies in here.
        """
        with self._alone():
            before, kept = self.latest(), None
            if before is not None:
                kept = self._folder / f"witness-{before.size}-{before.root[:12]}.json"
                with suppress(FileExistsError):
                    os.link(self._folder / _MARK, kept)
            self._put(mark)
            return kept

    @property
    def has_more(self) -> bool:
        """Whether the journal may name people whom the ledger that was signed last does not know of."""
        return (self._folder / _MEANWHILE).exists()

    def has_more_now(self, more: bool) -> None:
        if more:
            (self._folder / _MEANWHILE).touch(0o600)
        else:
            (self._folder / _MEANWHILE).unlink(missing_ok=True)
        self._sync_folder()

    def append(self, lines: Iterable[Line]) -> None:
        """Add lines to the journal, on the disk when this returns."""
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        if not text:
            return
        with self._alone(), self._opened(self._folder / _JOURNAL, os.O_CREAT | os.O_APPEND | os.O_RDWR) as handle:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                text = b"\n" + text  # a crash left half a line behind; it was never relied on
            _write(handle, text)
        self._sync_folder()

    def lines(self) -> Iterator[Line]:
        """Every whole line in its order, each once."""
        path, known = self._folder / _JOURNAL, set[tuple[object, ...]]()
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                try:
                    line = _LINES.decode(text)
                except msgspec.DecodeError:  # the half line of a crash: its whole one follows
                    log.warning("witness.half_line", file=_JOURNAL, line=number)
                    continue
                if line.key not in known:
                    known.add(line.key)
                    yield line

    @contextmanager
    def _opened(self, path: Path, flags: int) -> Iterator[int]:
        handle = os.open(path, flags, 0o600)
        try:
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._opened(self._folder / _LOCK, os.O_CREAT | os.O_RDWR) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield  # closing the file lets go of the lock

    def _put(self, mark: Mark) -> None:
        unfinished = self._folder / f"{_MARK}.new"
        with self._opened(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY) as handle:
            _write(handle, msgspec.json.encode(mark) + b"\n")
        unfinished.replace(self._folder / _MARK)
        self._sync_folder()

    def _sync_folder(self) -> None:
        with self._opened(self._folder, os.O_RDONLY) as handle:
            os.fsync(handle)


def _write(handle: int, text: bytes) -> None:
    """All of it, on the disk when this returns; raises OSError when there is no room for the rest."""
    while text:
        text = text[os.write(handle, text) :]
    os.fsync(handle)
