"""`kairan contacts`: erases a person, or saves what is held about them."""

from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import UUID

from cli.api_client import ApiClient, Json, connect
from cli.output import console, say, size, table
from core.errors import NotFound, RuleViolation
from core.settings import Settings


async def _find(client: ApiClient, person: str) -> str:
    """The contact's id; raises NotFound for a number nobody has."""
    try:
        return str(UUID(person))
    except ValueError:
        found = (await client.get("/api/contacts", phone=person))["items"]
    if not found:
        raise NotFound("nobody on file has this number: write it with its country prefix")
    return str(found[0]["id"])


def _show(done: Json) -> None:
    shown = table("Kind", "Goes", "Stays", numbers=2)
    for kind, count in done["erased"].items():
        shown.add_row(kind.replace("_", " "), f"{count:,}", "")
    for kind, count in done["kept"].items():
        shown.add_row(kind.replace("_", " "), "", f"{count:,}")
    console().print(shown)


async def erase(settings: Settings, api_key: str | None, person: str, reason: str, *, really: bool) -> None:
    """Erase a person, or count what would go."""
    async with connect(settings, api_key) as client:
        contact_id = await _find(client, person)
        done = await client.delete(f"/api/contacts/{contact_id}", reason=reason, dry_run=str(not really).lower())
    _show(done)
    if really:
        say(f"Erased. The ledger says so in event {done['seq']} ({done['leaf_hash']}).")
    else:
        say("Nothing was changed. Add --really to erase.")


async def access(
    settings: Settings, api_key: str | None, person: str, reason: str, to: Path, *, portable: bool
) -> None:
    """Save what is held about a person as JSON or HTML, by the file's ending."""
    form = to.suffix.lower().lstrip(".")
    if form not in ("json", "html") or (portable and form != "json"):
        raise RuleViolation("name a .json file" if portable else "name a .json or a .html file", field="to")
    async with connect(settings, api_key) as client:
        contact_id = await _find(client, person)
        kind = "portability" if portable else "access"
        query = {"reason": reason} | ({} if portable else {"form": form})
        path = f"/api/contacts/{quote(contact_id)}/{kind}?{urlencode(query)}"
        written = await client.download(path, to)
    say(f"{to} ({size(written)}): hand it to that person only")
