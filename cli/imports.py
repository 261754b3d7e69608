"""`kairan import`: sends a file of contacts and consents to the API and shows what became of every row."""

import asyncio
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.api_client import ApiClient, Json, connect
from cli.output import console, say, table
from core.errors import RuleViolation
from core.settings import Settings

POLL_S = 0.3
WAITING = ("waiting", "running")


async def upload(client: ApiClient, file: Path, options: Json) -> Json:
    """Hand a file to the API; raises RuleViolation when it cannot be read."""
    media_type = mimetypes.guess_type(file.name)[0] or "text/csv"
    try:
        with file.open("rb") as content:
            return await client.upload(
                "/api/imports", (file.name, content, media_type), {"options": json.dumps(options)}
            )
    except OSError as unreadable:
        reason = (unreadable.strerror or "unreadable").lower()
        raise RuleViolation(f"{file} cannot be read ({reason})") from unreadable


async def follow(client: ApiClient, work: Json, progress: Callable[[int, int | None], None]) -> Json:
    """Wait for the end of an import; raises RuleViolation with the reason when it failed as a whole."""
    while work["status"] in WAITING:
        await asyncio.sleep(POLL_S)
        work = await client.get(f"/api/imports/{work['id']}")
        progress(work["rows_done"], work["rows_total"])
    if work["status"] != "done":
        raise RuleViolation(f"{work['filename']} was not imported: {work['error'] or work['status']}")
    return work


def show_verdicts(work: Json, shown_on: Console) -> None:
    """A row per verdict; the last line is the file, and equals their sum."""
    shown = table("Verdict", "Rows", numbers=1)
    for verdict, rows in sorted(work["verdicts"].items(), key=lambda item: -item[1]):
        shown.add_row(verdict.replace("_", " "), f"{rows:,}")
    shown.add_section()
    shown.add_row("rows in the file", f"{work['rows_total'] or 0:,}", style="bold")
    shown_on.print(shown)


def balances(work: Json) -> bool:
    """Every row of the file has exactly one verdict."""
    return bool(sum(work["verdicts"].values()) == work["rows_total"])


def bar() -> Progress:
    """A progress bar on stderr, silent when that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown_on = console(stderr=True)
    return Progress(*columns, console=shown_on, disable=not shown_on.is_terminal)


async def run(settings: Settings, api_key: str | None, file: Path, options: Json) -> int:
    """Import a file; 1 when rows were rejected, so that a script notices."""
    async with connect(settings, api_key) as client:
        with bar() as progress:
            shown = progress.add_task(f"Importing {file.name}", total=None)
            work = await upload(client, file, options)
            work = await follow(client, work, lambda done, total: progress.update(shown, completed=done, total=total))
    show_verdicts(work, console())
    rejected = work["verdicts"].get("rejected", 0)
    if rejected:
        say(f"Rejected rows with the reason beside each: {settings.own_api_url}/api/imports/{work['id']}/rejects.csv")
    return 1 if rejected else 0
