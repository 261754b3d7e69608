"""`kairan messages`: messages whose answer never came."""

from uuid import UUID

from cli.api_client import connect
from cli.output import say
from core.settings import Settings


async def settle(
    settings: Settings, api_key: str | None, campaign: UUID, *, older_than_minutes: int, really: bool
) -> None:
    """Count a campaign's unknown messages, or mark them failed; nothing is ever sent again."""
    async with connect(settings, api_key) as client:
        body = {"older_than_minutes": older_than_minutes, "dry_run": not really}
        answer = await client.post(f"/api/campaigns/{campaign}/settle", body)
    count, unknown = answer["messages"], answer["unknown"]
    if not unknown:
        say("No message of this campaign is without an answer.")
    elif not count:
        say(f"None of the {unknown:,} messages without an answer is older than {older_than_minutes} minutes.")
    elif really:
        say(f"{count:,} of {unknown:,} messages without an answer are marked failed. A receipt that still comes wins.")
    else:
        say(f"{count:,} of {unknown:,} messages without an answer would be marked failed: add --really to do it.")
