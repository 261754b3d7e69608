"""`kairan ledger recover`: goes on with a database that was restored from a backup."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.api_client import Json, connect
from cli.output import console, say, table
from core.settings import Settings


async def recover(settings: Settings, api_key: str | None, reason: str, *, really: bool) -> int:
    """Count what recovering would do, or do it; 1 while somebody could not be erased again yet."""
    body = {"reason": reason, "dry_run": True}
    async with connect(settings, api_key) as client:
        with console(stderr=True).status("Holding the ledger against what was signed…"):
            done = await client.post("/api/ledger/recover", body)
        _show(done)
        if not really:
            say("Nothing was changed. Restore a newer backup if you have one; otherwise add --really.")
            return 0
        erased, people = 0, int(done["people"])
        bars = Progress(TextColumn("Erasing again"), BarColumn(), MofNCompleteColumn(), console=console(stderr=True))
        with bars:
            bar = bars.add_task("", total=people)
            while True:  # a call erases some, the last one ends it
                done = await client.post("/api/ledger/recover", body | {"dry_run": False})
                erased += done["erased"]
                bars.update(bar, completed=erased)
                if done["seq"] is not None or done["waiting"] or not done["erased"]:
                    break
    if done["seq"] is None:
        say(f"Erased {erased:,} people; sending still waits: {'; '.join(done['waiting'])}.")
        return 1
    say(f"Recovered: {erased:,} people erased again. The ledger says so in event {done['seq']}.")
    say("Sending goes on.")
    return 0


def _show(done: Json) -> None:
    shown = table("What", "Count", numbers=1)
    shown.add_row("records in the database", f"{done['found_size']:,}")
    shown.add_row("records when it was signed last", f"{done['signed_size']:,}")
    shown.add_row("people erased since, and there again", f"{done['people']:,}")
    shown.add_row("other numbers refused since, and no more", f"{done['numbers']:,}")
    console().print(shown)
