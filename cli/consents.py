"""`kairan consents`: counts whom an invalidation would reach, asks for it, and follows it to its end."""

import asyncio

from cli.api_client import ApiClient, Json, connect
from cli.imports import bar
from cli.output import console, say, table
from core.settings import Settings

POLL_S = 0.3
REACHED = {
    "in_force": "agreed because of it: become invalid",
    "waiting": "have not confirmed: become invalid",
    "expired": "agreed, and that is over: become invalid",
    "elsewhere": "agreed elsewhere too: stay",
    "ended": "opted out, or it never counted: stay",
    "people": "people",
    "messages": "queued messages that end",
}
BECAME = {
    "invalid": "became invalid",
    "kept": "stay, by a later act or another consent",
    "ended": "had nothing left to end",
    "people": "people",
    "messages": "queued messages skipped",
    "besides": "of the invalid may be asked again: recorded from elsewhere too",
}


async def invalidate(
    settings: Settings, api_key: str | None, kind: str, target: str, reason: str, *, really: bool
) -> int:
    """End every consent that rests on the target, or count the people it would reach."""
    async with connect(settings, api_key) as client:
        if not really:
            _show(await client.get("/api/invalidations/preview", kind=kind, target=target), REACHED)
            say("Nothing was changed. Add --really to make them invalid; there is no way back.")
            return 0
        work = await client.post("/api/invalidations", {"kind": kind, "target": target, "reason": reason})
        say("Nothing is sent on these consents any more.")
        _show(await _followed(client, work), BECAME)
    return 0


async def _followed(client: ApiClient, work: Json) -> Json:
    """Wait with a bar; Ctrl-C leaves the work going on."""
    try:
        with bar() as progress:
            shown = progress.add_task("Making consents invalid", total=None)
            while work["status"] != "done":
                await asyncio.sleep(POLL_S)
                work = await client.get(f"/api/invalidations/{work['id']}")
                progress.update(shown, completed=work["people_done"], total=work["people"])
            return work
    except asyncio.CancelledError:
        say("It goes on without you; the page Invalid consents shows how far it is.")
        raise


def _show(counts: Json, names: dict[str, str]) -> None:
    shown = table("What", "People", numbers=1)
    for name, label in names.items():
        shown.add_row(label, f"{counts[name]:,}")
    console().print(shown)
