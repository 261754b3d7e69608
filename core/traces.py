"""What a person can be recognised by in rows and files, and the search for it; pure but for reading files."""

import base64
import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import phonenumbers
from phonenumbers import NumberParseException

from core import phone

MIN_DIGITS = 7  # shorter runs of digits are found everywhere and name nobody
MIN_WORD = 3
_NO_DIGIT = re.compile(r"\D")
_OPAQUE = re.compile(r"wamid\.([A-Za-z0-9+/=_-]{8,})")
_BETWEEN = r"[ ().\-/]{0,3}"  # what people put between a number's digits


@dataclass(frozen=True)
class Traces:
    """A person's numbers as bare digits in every form that reaches the account; user ids, ids and names as words."""

    digits: frozenset[str]
    words: frozenset[str]

    @classmethod
    def of(cls, *, numbers: Iterable[str], words: Iterable[str | None]) -> "Traces":
        """`numbers` in E.164; `words` are texts that stand for the person as they are."""
        forms = {form for number in numbers for form in phone.equivalents(number)}
        digits = {form.lstrip("+") for form in forms} | {part for form in forms for part in _national(form)}
        return cls(
            frozenset(each for each in digits if len(each) >= MIN_DIGITS),
            frozenset(word for word in words if word and len(word) >= MIN_WORD),
        )

    @cached_property
    def pattern(self) -> str | None:
        """A regular expression, PostgreSQL's and Python's alike, of the numbers however they are spaced."""
        if not self.digits:
            return None
        spellings = "|".join(_BETWEEN.join(form) for form in sorted(self.digits, key=len, reverse=True))
        return rf"(?<![0-9])(?:00)?(?:{spellings})(?![0-9])"

    def within(self, text: str) -> bool:
        """Whether the text names the person: however a number is spaced and in whatever digits it is written."""
        plain = unicodedata.normalize("NFKC", text)
        if any(word in text or word in plain for word in self.words):
            return True
        if self.pattern is not None and re.search(self.pattern, plain):
            return True
        return any(form in _decoded(found[1]) for found in _OPAQUE.finditer(text) for form in self.digits)


def _national(number: str) -> Iterator[str]:
    """How the number is dialled inside its country, with the digit that stands before it there and without."""
    try:
        parsed = phonenumbers.parse(number)
    except NumberParseException:
        return
    yield phonenumbers.national_significant_number(parsed)
    yield _NO_DIGIT.sub("", phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))


def _decoded(opaque: str) -> str:
    """What a provider's message id holds when it is read as base64: the number may be in there."""
    padded = opaque.replace("-", "+").replace("_", "/").rstrip("=")
    padded += "=" * (-len(padded) % 4)
    try:
        return base64.b64decode(padded).decode("latin-1")
    except ValueError:
        return ""


def names_person(path: Path, traces: Traces) -> bool:
    """Whether a file, or a file packed in it, names the person. A lone file that cannot be read as text is taken to."""
    if zipfile.is_zipfile(path):
        return _packed(path, traces)
    with path.open("rb") as file:
        return _lines_name(file, traces)


def _packed(package: Path | IO[bytes], traces: Traces) -> bool:
    with zipfile.ZipFile(package) as archive:
        return any(_entry_names(archive, entry, traces) for entry in archive.infolist() if not entry.is_dir())


def _entry_names(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, traces: Traces) -> bool:
    """A workbook is a package itself; a drawn summary names nobody whom the data beside it does not name."""
    if entry.filename.endswith(".xlsx"):
        return _packed(io.BytesIO(archive.read(entry)), traces)
    return not entry.filename.endswith(".pdf") and _lines_name(archive.open(entry), traces)


def _lines_name(file: Iterable[bytes], traces: Traces) -> bool:
    for line in file:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return True
        if traces.within(text):
            return True
    return False
