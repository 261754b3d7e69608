"""Reading tables people upload: what kind of file it is, its columns, its rows one by one."""

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from charset_normalizer import from_bytes
from python_calamine import CalamineError, CalamineWorkbook

from core.errors import RuleViolation

SAMPLE = 256 * 1024
MOST_IN_CELL = 100_000  # characters
MOST_COLUMNS = 200
MOST_UNPACKED = 1 << 30
MOST_SQUEEZED = 100  # times smaller than unpacked; real spreadsheets are 5 to 30 times
SMALL = 50 << 20  # unpacked bytes that do no harm however they were squeezed
SURPLUS = "(beyond the header)"  # what holds the cells of a row that has more of them than the header
DELIMITERS = ",;\t|"
BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

csv.field_size_limit(MOST_IN_CELL)


@dataclass(frozen=True)
class Format:
    """How a file is to be read; `kind` is csv or xlsx, delimiter and encoding are of csv only."""

    kind: str
    encoding: str = ""
    delimiter: str = ""


def detect(path: Path) -> Format:
    """What kind of table the file is; raises RuleViolation with one sentence that says what to do."""
    with path.open("rb") as source:
        head = source.read(SAMPLE)
    if not head.strip():
        raise RuleViolation("the file is empty: choose a CSV, TSV or XLSX file with a header row", field="file")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _check_workbook(path)
    encoding = next((name for bom, name in BOMS.items() if head.startswith(bom)), None) or _guess(head)
    text = head.decode(encoding, "replace")
    header = re.sub(r'"[^"]*"', "", text.splitlines()[0]) if text.splitlines() else ""
    found = max(DELIMITERS, key=header.count)
    return Format("csv", encoding, found if found in header else ",")


def _guess(head: bytes) -> str:
    if b"\0" in head:
        raise RuleViolation("the file is not a table: choose a CSV, TSV or XLSX file", field="file")
    try:
        io.TextIOWrapper(io.BytesIO(head[:-4] if len(head) == SAMPLE else head), "utf-8").read()
    except UnicodeDecodeError:
        best = from_bytes(head, cp_isolation=["cp932", "shift_jis", "euc_jp", "cp1252", "latin_1"]).best()
        if best is None:
            raise RuleViolation(
                "the file's characters cannot be read: save it as CSV UTF-8 and try again", field="file"
            ) from None
        return best.encoding
    return "utf-8"


def _check_workbook(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as package:
            names = {entry.filename for entry in package.infolist()}
            unpacked = sum(entry.file_size for entry in package.infolist())
            packed = sum(entry.compress_size for entry in package.infolist())
    except zipfile.BadZipFile as broken:
        raise RuleViolation("the XLSX file is damaged: save it again", field="file") from broken
    if "xl/workbook.xml" not in names:
        raise RuleViolation("the file is not a table: choose a CSV, TSV or XLSX file", field="file")
    if unpacked > MOST_UNPACKED or (unpacked > SMALL and unpacked > packed * MOST_SQUEEZED):
        raise RuleViolation("the XLSX file is too large when unpacked: save it as CSV", field="file")
    return Format("xlsx")


def columns(path: Path, form: Format) -> list[str]:
    """The header row; raises RuleViolation when it has no columns or one twice."""
    header = [cell.strip() for cell in next(_cells(path, form), [])]
    if not any(header):
        raise RuleViolation("the first row names no columns", field="file")
    if len(header) > MOST_COLUMNS:
        raise RuleViolation(f"the file has more than {MOST_COLUMNS} columns", field="file")
    named = [name for name in header if name]
    folded = [name.casefold() for name in named]
    twice = next((name for name in named if folded.count(name.casefold()) > 1), None)
    if twice is not None:
        raise RuleViolation(f"the column {twice[:50]!r} is there twice: rename one", field="file")
    return header


def rows(path: Path, form: Format) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number in the file, column → text) for every row that is not blank; the header is row 1.

    Cells beyond the header's columns are kept under `SURPLUS`, so that nothing is lost unseen.
    Raises RuleViolation naming the row when it cannot be read.
    """
    header = columns(path, form)
    for number, cells in enumerate(islice(_cells(path, form), 1, None), start=2):
        if any(cell.strip() for cell in cells):
            named = {name: cell for name, cell in zip(header, cells, strict=False) if name}
            beyond = [cell for cell in cells[len(header) :] if cell.strip()]
            yield number, named | ({SURPLUS: " ".join(beyond)} if beyond else {})


def _cells(path: Path, form: Format) -> Iterator[Sequence[str]]:
    if form.kind == "xlsx":
        yield from _workbook_cells(path)
        return
    number = 0
    with path.open(encoding=form.encoding, newline="") as source:
        try:
            for cells in csv.reader(source, delimiter=form.delimiter, strict=True):
                number += 1
                if any("\0" in cell for cell in cells):
                    raise RuleViolation(f"row {number} holds a NUL character: save the file again", field="file")
                yield cells
        except csv.Error as broken:
            raise RuleViolation(
                f"row {number + 1} cannot be read ({broken}): look for a quote that is not closed, or a huge cell",
                field="file",
            ) from broken
        except UnicodeDecodeError as broken:
            raise RuleViolation(
                f"after row {number} a character is not {form.encoding}: save the file as CSV UTF-8", field="file"
            ) from broken


def _workbook_cells(path: Path) -> Iterator[Sequence[str]]:
    try:
        sheet = CalamineWorkbook.from_path(path).get_sheet_by_index(0)
    except (CalamineError, OSError, IndexError) as broken:
        raise RuleViolation("the XLSX file cannot be read: save it again, or as CSV", field="file") from broken
    for row in sheet.iter_rows():
        yield [_text(cell) for cell in row]


def _text(cell: object) -> str:
    """A cell as people see it: a whole number has no .0, a number too long for a spreadsheet stays as it is shown."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 10**15:
        return str(int(cell))
    return "" if cell is None else str(cell)
