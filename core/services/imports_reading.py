"""Reading a file of contacts to its end: its rows in working order, the opt-outs first, and how often each is there.

All opt-outs of a file come first, so that a person who is in it twice ends opted out. Rows wait in temporary files
and only eight bytes of each stay in memory, so a large file needs no more of it than a small one.
"""

import os
import struct
import tempfile
from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Self, TypeAlias

import msgspec
import polars as pl

from core import tabular
from core.attributes import Definition
from core.services.imports_claims import Claims
from core.services.imports_columns import Options, told_by_them
from core.services.imports_rows import Row, Task, parse_row

BLOCK = 5_000  # rows parsed together
ALONE = 20  # blocks that are parsed here; a longer file is worth other processes, which take a second to start


class Block(msgspec.Struct, frozen=True):
    """Parsed rows, encoded: the opt-outs, and the others; a mark for each, alike where they say the same of one number.

    The mark is 0 for a row that cannot be recorded.
    """

    outs: bytes
    out_marks: bytes
    rest: bytes
    rest_marks: bytes
    rows: int
    notes: dict[str, int]
    claims: Claims


Marks: TypeAlias = "array[int]"  # of 64 bits each

_ROWS_IN = msgspec.msgpack.Decoder(list[Row])
_ROWS_OUT = msgspec.msgpack.Encoder()
_LENGTH = struct.Struct("<Q")


def parse_block(task: Task, block: Sequence[tuple[int, Sequence[str]]]) -> Block:
    """Parse raw rows; runs in a process of its own for large files."""
    outs, rest = [], []
    out_marks, rest_marks = array("Q"), array("Q")
    notes: Counter[str] = Counter()
    for number, cells in block:
        row, note = parse_row(task, number, cells)
        if note:
            notes.update(note)
        if row.action == "opt_out":
            outs.append(row)
            out_marks.append(_mark(row))
        else:
            rest.append(row)
            rest_marks.append(_mark(row))
    return Block(
        _ROWS_OUT.encode(outs) if outs else b"",
        out_marks.tobytes(),
        _ROWS_OUT.encode(rest) if rest else b"",
        rest_marks.tobytes(),
        len(block),
        dict(notes),
        Claims.of([*outs, *rest]),
    )


def _mark(row: Row) -> int:
    if row.problem is not None:
        return 0
    said = f"{row.action}|{row.values.get('purpose', '')}|{row.match_key}"
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest(), "little") or 1


@dataclass
class Reading:
    """A file that was read to its end: rows in working order, what was mended, how many there are.

    The temporary files vanish when it is closed, and with the process.
    """

    outs: IO[bytes]
    rest: IO[bytes]
    out_marks: Marks = field(default_factory=lambda: array("Q"))
    rest_marks: Marks = field(default_factory=lambda: array("Q"))
    rows: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    claims: Claims = field(default_factory=Claims)

    def add(self, block: Block) -> None:
        for target, marks, content, more in (
            (self.outs, self.out_marks, block.outs, block.out_marks),
            (self.rest, self.rest_marks, block.rest, block.rest_marks),
        ):
            marks.frombytes(more)
            if content:
                target.write(_LENGTH.pack(len(content)))
                target.write(content)
        self.rows += block.rows
        self.notes.update(block.notes)
        self.claims.add(block.claims)

    def pick(self, numbers: Collection[int]) -> dict[int, Row]:
        """Row number → row; takes as long as the file is large: call it in a thread."""
        wanted = frozenset(numbers)
        sources = (self.outs, self.rest) if wanted else ()
        return {
            row.number: row for source in sources for rows in _frames(source) for row in rows if row.number in wanted
        }

    def chunks(self, size: int, *, done: int = 0) -> Iterator[list[tuple[Row, bool]]]:
        """Rows after the first `done`, each with whether this file said the same of the same number before.

        A chunk has opt-outs, or other rows.
        """
        waiting: list[tuple[Row, bool]] = []
        position = 0
        for source, marks in ((self.outs, self.out_marks), (self.rest, self.rest_marks)):
            again = _repeated(marks)
            place = 0
            for rows in _frames(source):
                for row in rows:
                    if position >= done:
                        waiting.append((row, again(place)))
                    position += 1
                    place += 1
                while len(waiting) >= size:
                    yield waiting[:size]
                    del waiting[:size]
            if waiting:
                yield waiting
                waiting = []

    def close(self) -> None:
        self.outs.close()
        self.rest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _repeated(marks: Marks) -> Callable[[int], bool]:
    """place → whether the mark there was there before."""
    if not marks:
        return lambda place: False
    first = pl.Series(marks, dtype=pl.UInt64).is_first_distinct().to_list()
    repeated = {place for place, (mark, is_first) in enumerate(zip(marks, first, strict=True)) if mark and not is_first}
    return repeated.__contains__


def _frames(source: IO[bytes]) -> Iterator[list[Row]]:
    source.seek(0)
    while head := source.read(_LENGTH.size):
        (length,) = _LENGTH.unpack(head)
        yield _ROWS_IN.decode(source.read(length))


def read(
    path: Path,
    options: Options,
    *,
    purposes: frozenset[str],
    kinds: Mapping[str, Definition],
    now: datetime,
    progress: Callable[[int], None] = lambda rows: None,
) -> Reading:
    """Read a file to its end; raises RuleViolation when it cannot be. Takes long: call it in a thread.

    `progress` hears how many rows were read so far.
    """
    task = Task(options, told_by_them(tabular.columns(path, options.form)), purposes, now, dict(kinds))
    with ExitStack() as unless_read:
        outs = unless_read.enter_context(tempfile.TemporaryFile(dir=path.parent))
        rest = unless_read.enter_context(tempfile.TemporaryFile(dir=path.parent))
        done = Reading(outs, rest)
        for block in _parsed_blocks(task, tabular.blocks(path, options.form, BLOCK)):
            done.add(block)
            progress(done.rows)
        unless_read.pop_all()
        return done


def preview(
    path: Path,
    options: Options,
    *,
    purposes: frozenset[str],
    kinds: Mapping[str, Definition],
    now: datetime,
    rows: int,
) -> list[tuple[Row, tuple[str, ...]]]:
    """The first rows as they would be read, each with what was mended in it; raises as `read` does."""
    task = Task(options, told_by_them(tabular.columns(path, options.form)), purposes, now, dict(kinds))
    first = next(tabular.blocks(path, options.form, rows), [])
    return [parse_row(task, number, cells) for number, cells in first]


def _parsed_blocks(task: Task, blocks: Iterator[list[tuple[int, Sequence[str]]]]) -> Iterator[Block]:
    for _, block in zip(range(ALONE), blocks, strict=False):
        yield parse_block(task, block)
    following = next(blocks, None)
    if following is None:
        return
    cores = min(4, os.cpu_count() or 1)
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        waiting: deque[Future[Block]] = deque([pool.submit(parse_block, task, following)])
        try:
            for block in blocks:
                if len(waiting) > cores + 1:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(parse_block, task, block))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
