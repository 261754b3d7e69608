"""Reading tables people upload: what kind of file it is, its columns, its rows one by one."""

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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
MOST_PARQUET = 16 << 30
_SEP = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)
_UNSEEN = str.maketrans("", "", "\ufeff\u200b\u200e\u200f")  # of a header, before it is compared
# What a text file can be told to be in; bytes alone do not always tell Chinese or Korean from Japanese.
ENCODINGS = (
    *("utf-8", "utf-16-le", "utf-16-be", "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "euc_kr"),
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1258", "cp874", "mac_roman"),
)
BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

csv.field_size_limit(MOST_IN_CELL)


@dataclass(frozen=True)
class Format:
    """How a file is to be read; `kind` is csv, xlsx or parquet, the rest is of csv only."""

    kind: str
    encoding: str = ""
    delimiter: str = ""
    has_sep: bool = False  # the first line is `sep=;`, which spreadsheets write and hide


def detect(path: Path, *, encoding: str | None = None) -> Format:
    """What kind of table the file is; raises RuleViolation with one sentence that says what to do.

    `encoding` is how a text file's characters are to be read, where somebody knows better than its bytes tell.
    """
    if encoding is not None and encoding not in ENCODINGS:
        raise RuleViolation(f"the encoding is one of {', '.join(ENCODINGS)}", field="options.encoding")
    with path.open("rb") as source:
        head = source.read(SAMPLE)
    if not head.strip():
        raise RuleViolation("the file is empty: choose a CSV, TSV or XLSX file with a header row", field="file")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _check_workbook(path)
    if head.startswith(b"PAR1"):
        return _check_parquet(path)
    marked = next((name for bom, name in BOMS.items() if head.startswith(bom)), None)
    encoding = marked or encoding or _guess(head)
    text = head.decode(encoding, "replace")
    lines = text.splitlines() or [""]
    if said := _SEP.fullmatch(lines[0]):
        return Format("csv", encoding, said[1], has_sep=True)
    header = re.sub(r'"[^"]*"', "", lines[0])
    found = max(DELIMITERS, key=header.count)
    return Format("csv", encoding, found if found in header else ",")


def _check_parquet(path: Path) -> Format:
    try:
        with pq.ParquetFile(path) as table:
            schema, groups = table.schema_arrow, table.metadata
            unpacked = sum(groups.row_group(at).total_byte_size for at in range(groups.num_row_groups))
    except (pa.ArrowException, OSError) as broken:
        raise RuleViolation("the Parquet file is damaged: write it again", field="file") from broken
    nested = next((each.name for each in schema if pa.types.is_nested(each.type)), None)
    if nested is not None:
        raise RuleViolation(
            f"the column {nested[:50]!r} holds lists or records: write one plain value a cell", field="file"
        )
    if unpacked > MOST_PARQUET:
        raise RuleViolation("the Parquet file is too large when unpacked: divide it", field="file")
    return Format("parquet")


def _guess(head: bytes) -> str:
    if b"\0" in head:
        raise RuleViolation("the file is not a table: choose a CSV, TSV, XLSX or Parquet file", field="file")
    try:
        if b"\x1b$" in head:
            return "iso2022_jp"  # e-mail's Japanese: seven bits, and escape sequences no other text has
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
        raise RuleViolation("the file is not a table: choose a CSV, TSV, XLSX or Parquet file", field="file")
    if unpacked > MOST_UNPACKED or (unpacked > SMALL and unpacked > packed * MOST_SQUEEZED):
        raise RuleViolation("the XLSX file is too large when unpacked: save it as CSV", field="file")
    return Format("xlsx")


def columns(path: Path, form: Format) -> list[str]:
    """The header row; raises RuleViolation when it has no columns or one twice."""
    header = [cell.translate(_UNSEEN).strip() for cell in next(_cells(path, form), [])]
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


def blocks(path: Path, form: Format, size: int) -> Iterator[list[tuple[int, Sequence[str]]]]:
    """(row number in the file, cells) of every row that is not blank, some at a time; the header is row 1.

    Raises RuleViolation naming the row when it cannot be read.
    """
    block: list[tuple[int, Sequence[str]]] = []
    for number, cells in enumerate(islice(_cells(path, form), 1, None), start=2):
        if "".join(cells).strip():
            block.append((number, cells))
            if len(block) == size:
                yield block
                block = []
    if block:
        yield block


def rows(path: Path, form: Format) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number, column → text) for every row that is not blank. Raises as `blocks` does.

    Cells beyond the header's columns are kept under `SURPLUS`, so that nothing is lost unseen.
    """
    header = columns(path, form)
    for block in blocks(path, form, 100):
        for number, cells in block:
            named = {name: cell for name, cell in zip(header, cells, strict=False) if name}
            beyond = [cell for cell in cells[len(header) :] if cell.strip()]
            yield number, named | ({SURPLUS: " ".join(beyond)} if beyond else {})


def _cells(path: Path, form: Format) -> Iterator[Sequence[str]]:
    if form.kind == "csv":
        yield from _csv_cells(path, form)
        return
    read = _workbook_cells if form.kind == "xlsx" else _parquet_cells
    for number, cells in enumerate(read(path), start=1):
        for cell in cells:
            if "\0" in cell:
                raise RuleViolation(f"row {number} holds a NUL character: save the file again", field="file")
            if len(cell) > MOST_IN_CELL:
                raise RuleViolation(f"row {number} cannot be read: it has a huge cell", field="file")
        yield cells


def _csv_cells(path: Path, form: Format) -> Iterator[Sequence[str]]:
    number = 0

    def lines(source: io.TextIOBase) -> Iterator[str]:
        for line in source:
            if "\0" in line:
                raise RuleViolation(f"row {number + 1} holds a NUL character: save the file again", field="file")
            yield line

    with path.open(encoding=form.encoding, newline="") as source:
        try:
            if form.has_sep:
                source.readline()
            for cells in csv.reader(lines(source), delimiter=form.delimiter, strict=True):
                number += 1
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


def _parquet_cells(path: Path) -> Iterator[Sequence[str]]:
    try:
        with pq.ParquetFile(path) as table:
            yield table.schema_arrow.names
            for batch in table.iter_batches(batch_size=5_000):
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield [_text(cell) for cell in row]
    except (pa.ArrowException, OSError) as broken:
        raise RuleViolation("the Parquet file cannot be read: write it again, or as CSV", field="file") from broken


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
