"""`kairan audit`: asks the API for a package of consent evidence, and checks one offline."""

import asyncio
from pathlib import Path

from cli.api_client import ApiClient, Json, connect
from cli.output import console, say, size
from core.errors import RuleViolation, Unavailable
from core.settings import Settings

POLL_S = 0.3
TIMEOUT_S = 600.0


async def make(client: ApiClient, request: Json) -> Json:
    """Ask for a package and wait until it is built; raises RuleViolation with the reason when it is not."""
    audit = await client.post("/api/audits", request)
    waited_s = 0.0
    while audit["status"] in ("waiting", "running"):
        if waited_s > TIMEOUT_S:
            raise Unavailable(
                f"the package is not ready after {TIMEOUT_S:.0f} s; look at /api/audits/{audit['id']} later"
            )
        await asyncio.sleep(POLL_S)
        waited_s += POLL_S
        audit = await client.get(f"/api/audits/{audit['id']}")
    if audit["status"] != "done":
        raise RuleViolation(f"the package was not built: {audit['error'] or audit['status']}")
    return audit


async def save(client: ApiClient, audit: Json, to: Path) -> int:
    """Download a package; returns its bytes."""
    to.parent.mkdir(parents=True, exist_ok=True)
    return await client.download(f"/api/audits/{audit['id']}/download", to)


async def export(settings: Settings, api_key: str | None, request: Json, to: Path) -> None:
    """Build a package and save it under `to`."""
    async with connect(settings, api_key) as client:
        with console(stderr=True).status("Building the package…"):
            audit = await make(client, request)
            written = await save(client, audit, to)
    say(f"{to} ({size(written)}, sha256 {audit['sha256']})")
    say(f"Check it anywhere: kairan audit verify {to}")
