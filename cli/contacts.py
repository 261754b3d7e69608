"""`kairan contacts`: erases a person, saves what is held about them, opens what the law keeps sealed."""

from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from cli.api_client import ApiClient, Json, connect
from cli.database import sessions
from cli.output import console, say, size, table
from cli.people import OPERATOR
from core import sealing
from core.errors import NotFound, RuleViolation
from core.keys import Keyring
from core.services import holding, people
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
    if held := done.get("held"):
        say(
            f"Kept sealed until {held['until'][:10]}: {held['evidence']} pieces of consent evidence, by {held['rule']}."
        )
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


async def unseal(settings: Settings, contact_id: UUID, reason: str, key: Path | None) -> None:
    """Print what is kept sealed of an erased person as JSON; who did and why goes to the audit log.

    Works on the database itself: no API and no page opens it. Raises RuleViolation for a wrong key, and NotFound.
    """
    if key is None and settings.erase_hold_key is not None:
        raise RuleViolation("it is sealed to the key of KAIRAN_ERASE_HOLD_KEY: give its private half with --key")
    private = sealing.read_private(key.read_bytes()) if key else Keyring.load(settings.data_dir).sealing_key()
    async with sessions(settings) as open_session, open_session.begin() as session:
        content = await holding.opened(session, contact_id, private)
        await people.note(session, OPERATOR, "contact.unsealed", "contact", contact_id, reason=reason)
    print(msgspec.json.format(msgspec.json.encode(content)).decode())
