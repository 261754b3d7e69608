"""`kairan webhooks`: how the recording stands, and recording a range of webhooks once more."""

import asyncio

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.api_client import ApiClient, connect
from cli.output import console, say, table
from core.settings import Settings

POLL_S = 0.3
STALLED_S = 60.0


async def status(settings: Settings, api_key: str | None) -> None:
    """Counts, then every reason something was set aside for, on the newest page."""
    async with connect(settings, api_key) as client:
        found = await client.get("/api/webhooks")
        aside = (await client.get("/api/webhooks/set-aside"))["items"]
    counts = table("Webhooks", "Now", numbers=1)
    rows = {
        "recorded in the last hour": "recorded_last_hour",
        "waiting to be recorded": "waiting",
        "set aside": "set_aside",
        "statuses waiting for their message": "parked",
        "statuses of messages nobody here has sent": "orphans",
        "fields and types not known": "unknown_fields",
    }
    for label, name in rows.items():
        counts.add_row(label, f"{found[name]:,}")
    console().print(counts)
    if aside:
        reasons = table("Set aside", "Received", "Reason")
        for each in aside:
            reasons.add_row(str(each["id"]), each["received_at"], each["error"] or "")
        console().print(reasons)
        say("Once the cause is mended: kairan webhooks replay --set-aside")


async def replay(settings: Settings, api_key: str | None, chosen: dict[str, object]) -> None:
    """Ask for it, then watch until the worker has recorded what waits."""
    async with connect(settings, api_key) as client:
        done = await client.post("/api/webhooks/replay", chosen)
        if done["dry_run"]:
            say(f"{_webhooks(done['bodies'])} would be recorded again.")
            return
        say(f"{_webhooks(done['bodies'])} {'is' if done['bodies'] == 1 else 'are'} to be recorded again.")
        left = await _watch(client, done["bodies"])
        aside = (await client.get("/api/webhooks"))["set_aside"]
    say(f"Recorded; {left:,} wait still, {aside:,} are set aside.")


def _webhooks(number: int) -> str:
    return "1 webhook" if number == 1 else f"{number:,} webhooks"


async def _watch(client: ApiClient, total: int) -> int:
    """Show how many are left; gives up watching, not recording, when nothing moves for a minute."""
    bar = Progress(TextColumn("Recording"), BarColumn(), MofNCompleteColumn(), console=console(stderr=True))
    left, still_s = total, 0.0
    with bar:
        task = bar.add_task("", total=total)
        while left and still_s < STALLED_S:
            await asyncio.sleep(POLL_S)
            now = int((await client.get("/api/webhooks"))["waiting"])
            still_s = 0.0 if now < left else still_s + POLL_S
            left = now
            bar.update(task, completed=max(0, total - left))
    return left
