"""`kairan lake`: asks the worker to bring the analytics up to date."""

import asyncio
from typing import Any

from cli.api_client import ApiClient, Json, connect
from cli.output import console, say
from core.errors import Unavailable
from core.settings import Settings

POLL_S = 0.3
TIMEOUT_S = 120.0


async def refresh(client: ApiClient) -> Json:
    """Ask for a refresh and wait for a version made after that; raises Unavailable when none comes."""
    before = await client.get("/api/lake")
    await client.post("/api/lake/refresh")
    waited_s = 0.0
    while True:
        lake = await client.get("/api/lake")
        if _stamp(lake) != _stamp(before):
            return lake
        if waited_s > TIMEOUT_S:
            raise Unavailable(f"the lake has no new version after {TIMEOUT_S:.0f} s: look into logs/worker.log")
        await asyncio.sleep(POLL_S)
        waited_s += POLL_S


def _stamp(lake: Json) -> tuple[Any, Any]:
    return lake.get("version"), lake.get("updated_at")


async def run(settings: Settings, api_key: str | None) -> None:
    """Refresh and say which version is current."""
    async with connect(settings, api_key) as client:
        with console(stderr=True).status("Refreshing the lake…"):
            lake = await refresh(client)
    say(f"The lake is at version {lake['version']}, made at {lake['updated_at']}.")
