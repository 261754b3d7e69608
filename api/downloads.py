"""Lists as CSV files, a page of rows at a time: however long the list, little of it is in memory."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from core.db import Sessions
from core.export_text import harmless
from core.services.paging import MAX_PAGE, Page

Row = TypeVar("Row")
Cell = str | int | bool | datetime | None
# One page of a list, from a cursor on; `MAX_PAGE` rows of it.
Read = Callable[[AsyncSession, str | None], Awaitable[Page[Row]]]

LIMIT = MAX_PAGE


def line(cells: Sequence[Cell]) -> str:
    """One row of a CSV file; times in UTC with their zone, and nothing a spreadsheet would run as a formula."""
    target = io.StringIO()
    csv.writer(target).writerow([harmless(_text(cell)) for cell in cells])
    return target.getvalue()


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return cell.isoformat() if isinstance(cell, datetime) else str(cell)


def csv_file(
    sessions: Sessions, name: str, columns: Sequence[str], read: Read[Row], cells: Callable[[Row], Sequence[Cell]]
) -> Stream:
    """The whole list as a download called `name`.csv, each page read in a short transaction of its own."""
    return csv_stream(name, _lines(sessions, columns, read, cells))


def csv_stream(name: str, lines: AsyncIterator[str]) -> Stream:
    """A download in UTF-8 with the mark by which spreadsheets know it; without, they show 山田 as å±±ç”°."""
    headers = {"content-disposition": f'attachment; filename="{name}.csv"', "cache-control": "private, no-store"}
    return Stream(_marked(lines), media_type="text/csv; charset=utf-8", headers=headers)


async def _marked(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    yield "\ufeff"
    async for each in lines:
        yield each


async def _lines(
    sessions: Sessions, columns: Sequence[str], read: Read[Row], cells: Callable[[Row], Sequence[Cell]]
) -> AsyncIterator[str]:
    yield line(columns)
    cursor: str | None = None
    while True:
        async with sessions() as session:
            found = await read(session, cursor)
            rows = [line(cells(row)) for row in found.items]
        for row in rows:
            yield row
        cursor = found.next
        if cursor is None:
            return
