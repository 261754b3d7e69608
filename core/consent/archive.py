"""A ZIP whose bytes depend on its contents alone, and text that no spreadsheet runs."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: entries carry no time
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

HOWTO = """\
How to check this package
=========================
1. Install Python 3.11 or newer and the package "cryptography" (pip install cryptography).
2. Ask the organisation, by another way than this file, for the fingerprint of its consent key.
3. Run: python verify.py PACKAGE.zip --fingerprint FINGERPRINT
   PACKAGE.zip is the file as it came, not the folder you unpacked it to.

No network is used. PASS: everything agrees. FAIL: something was changed, and what. NOT VERIFIABLE: what this package
cannot show by itself. A checkpoint that somebody else kept (a file like those in checkpoints/) makes the check
stronger: --checkpoint FILE shows that the ledger still contains everything it contained then.

summary.pdf, .xlsx     what the package comes to, for people; it proves nothing by itself
ledger/cores.ndjson    every consent event, sealed and chained (SHA-256; RFC 8785 text, RFC 9162 tree)
checkpoints/*.note     signed sizes and roots of the ledger (C2SP signed notes, Ed25519)
data/consents.csv      the permissions asked for, as of the last checkpoint
data/sends.csv         messages to these people, each with the consent event it relied on
subjects/              what proves the events of these people; erased people have none left
registries/            the notices that were shown and the purposes they were for
In the CSV files an apostrophe stands before text that a spreadsheet would run as a formula; telephone numbers have
none.
You are welcome to write your own verifier, or to read this one: it is a single file.
"""


class Entry:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, text: str) -> None:
        self.write_bytes(text.encode())

    def write_bytes(self, raw: bytes) -> None:
        self.digest.update(raw)
        self._file.write(raw)

    def rows(self, rows: Sequence[Sequence[object]]) -> None:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        self.write(buffer.getvalue())


class Archive:
    """A ZIP whose bytes depend on its contents only; remembers every file's hash."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.hashes: dict[str, str] = {}

    @contextmanager
    def entry(self, name: str) -> Iterator[Entry]:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        with self._archive.open(info, "w", force_zip64=True) as file:
            entry = Entry(file)
            yield entry
        self.hashes[name] = entry.digest.hexdigest()

    def write(self, name: str, content: str | bytes) -> None:
        with self.entry(name) as entry:
            entry.write_bytes(content.encode() if isinstance(content, str) else content)


def inert(text: str | None) -> str | None:
    """Text that no spreadsheet runs: what looks like a formula gets an apostrophe in front."""
    return f"'{text}" if text and text.startswith(_FORMULA) else text
