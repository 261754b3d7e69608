"""`kairan messages`: messages whose answer never came."""

from cli.api_client import connect
from cli.output import say
from core.settings import Settings


async def settle(
    settings: Settings, api_key: str | None, campaign: str, *, older_than_minutes: int, really: bool
) -> None:
    """Count a campaign's unknown messages, or mark them failed; nothing is ever sent again."""
    async with connect(settings, api_key) as client:
        body = {"older_than_minutes": older_than_minutes, "dry_run": not really}
        answer = await client.post(f"/api/campaigns/{campaign}/settle", body)
    count = answer["messages"]
    if really:
        say(f"{count:,} messages are marked failed. A receipt that still comes wins.")
    else:
        say(f"{count:,} messages would be marked failed: repeat with --really to do it.")
