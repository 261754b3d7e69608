"""`kairan import`: sends a file of contacts and consents to the API and shows what became of every row."""

import asyncio
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.api_client import ApiClient, Json, connect
from cli.output import console, interactive, say, table
from core.errors import RuleViolation
from core.settings import Settings

POLL_S = 0.3
UNDONE = {
    "removed": "people removed",
    "restored": "people put back as they were",
    "memberships": "taken off their audience",
    "kept": "people stay without a name, because of a consent or a message on record",
}
WAITING = ("waiting", "running", "undoing")
ENDED = ("done", "checked", "awaiting", "paused", "undone")
MENDED = {
    "lost_plus": "had lost the plus",
    "lost_zero": "had lost the leading zero",
    "decimal_point": "had been turned into a decimal",
}


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
    """Wait until an import has ended or been paused; raises RuleViolation with the reason when it failed as a whole.

    While the file is read, before the first row is recorded, `progress` hears the rows read and no total.
    """
    while work["status"] in WAITING:
        await asyncio.sleep(POLL_S)
        work = await client.get(f"/api/imports/{work['id']}")
        total = work["rows_total"]
        progress(work["rows_read"] if total is None else work["rows_done"], total)
    if work["status"] not in ENDED:
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
    notes = dict(work.get("notes", {}))
    if left_out := notes.pop("value_left_out", 0):
        shown_on.print(f"{left_out:,} rows hold a value that does not fit its attribute's kind: it was left out.")
    for what, rows in notes.items():
        shown_on.print(f"{rows:,} phone numbers {MENDED.get(what, what)}, and were mended.")


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


async def run(settings: Settings, api_key: str | None, file: Path, options: Json, *, yes: bool) -> int:
    """Import a file; 1 when rows were rejected, so that a script notices.

    With `dry_run` every row gets its verdict first, and nothing is written until somebody says so (`yes`).
    """
    async with connect(settings, api_key) as client:
        work = await _followed(client, await upload(client, file, options), "Importing")
        show_verdicts(work, console())
        if work["status"] == "checked":
            if not (yes or (interactive() and typer.confirm("Nothing is written yet. Import these rows?"))):
                say(f"Nothing was written. kairan imports confirm {work['id']} imports these rows.")
                return _result(settings, work)
            said = await _vouched(client, work)
            if said is None:
                say("Nothing was written: nobody vouches for the opt-ins.")
                say(f"kairan imports confirm {work['id']} --as ROLE imports these rows.")
                return 1
            work = await _confirmed(client, work["id"], said)
        _say_what_it_waits_for(work)
        return _result(settings, work)


async def _vouched(client: ApiClient, work: Json) -> Json | None:
    """The body that confirms an import: who makes the statement, when it lacks one; None when nobody does."""
    if work["needs"] != "attestation":
        return {}
    statement = await client.get("/api/imports/statement")
    say(f"{work['claims']['opt_ins']:,} rows say that people opted in. For them somebody has to say:")
    say(f"  “{statement['text']}”")
    role = str(typer.prompt("Your role, if you say so (empty: no)", default="")) if interactive() else ""
    return {"attestation": {"role": role, "statement": statement["version"]}} if role.strip() else None


async def _confirmed(client: ApiClient, import_id: object, said: Json) -> Json:
    work = await client.post(f"/api/imports/{import_id}/confirm", said)
    if work["status"] in WAITING:
        work = await _followed(client, work, "Importing")
        show_verdicts(work, console())
    return work


def _say_what_it_waits_for(work: Json) -> None:
    if work["status"] == "awaiting":
        many = f"{work['claims']['opt_ins']:,} opt-ins are more than one person may bring"
        say(f"Nothing but its opt-outs is written yet: {many}.")
        say("Somebody of compliance approves it on the page Imports to approve.")


async def _followed(client: ApiClient, work: Json, doing: str) -> Json:
    """Wait with a bar; Ctrl-C leaves the import going on, and says how to stop it."""
    try:
        with bar() as progress:
            shown = progress.add_task(f"{doing} {work['filename']}", total=None)
            return await follow(client, work, lambda done, total: progress.update(shown, completed=done, total=total))
    except asyncio.CancelledError:
        say(f"The import goes on without you. kairan imports pause {work['id']} pauses it.")
        raise


def _result(settings: Settings, work: Json) -> int:
    rejected = work["verdicts"].get("rejected", 0)
    if rejected:
        say(f"Rejected rows with the reason beside each: kairan imports rejects {work['id']}")
    return 1 if rejected else 0


async def show_all(settings: Settings, api_key: str | None) -> int:
    """The newest imports, one a line."""
    async with connect(settings, api_key) as client:
        works = (await client.get("/api/imports", limit=50))["items"]
    shown = table("Import", "File", "Status", "Started", "Rows", numbers=1)
    for work in works:
        shown.add_row(
            work["id"], work["filename"], work["status"], work["created_at"][:16], f"{work['rows_total'] or 0:,}"
        )
    console().print(shown)
    return 0


async def confirm(settings: Settings, api_key: str | None, import_id: UUID, role: str) -> int:
    """Import for real what was checked; `role` vouches for its opt-ins."""
    async with connect(settings, api_key) as client:
        work = await client.get(f"/api/imports/{import_id}")
        said = {"attestation": {"role": role}} if role else await _vouched(client, work)
        work = await _confirmed(client, import_id, said or {})
        _say_what_it_waits_for(work)
    say(f"{work['filename']}: {work['status']}")
    return 0


async def steer(settings: Settings, api_key: str | None, import_id: UUID, what: str) -> int:
    """Pause, resume, cancel or undo an import; what goes on is followed to its end."""
    async with connect(settings, api_key) as client:
        work = await client.post(f"/api/imports/{import_id}/{what}")
        if work["status"] in WAITING:
            work = await _followed(client, work, {"undo": "Undoing"}.get(what, "Importing"))
            show_verdicts(work, console())
    for taken, count in (work["undone"] or {}).items():
        say(f"{count:,} {UNDONE.get(taken, taken)}")
    say(f"{work['filename']}: {work['status']}")
    return 0


async def rejects(settings: Settings, api_key: str | None, import_id: UUID, to: Path) -> int:
    """Fetch the rejected rows with their reasons as CSV."""
    async with connect(settings, api_key) as client:
        await client.download(f"/api/imports/{import_id}/rejects.csv", to)
    say(f"Written to {to}")
    return 0
