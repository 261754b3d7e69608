"""The `kairan` command. Each command imports what it needs when it runs, so that help and mistakes answer at once."""
# ruff: noqa: PLC0415 - Litestar, SQLAlchemy and polars take seconds to import, and most commands need none of them

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.access_commands import keys, users
from cli.consent_commands import consents_group
from cli.import_commands import VouchAs, imports_group
from cli.options import ApiKey
from core.errors import AppError, SettingsError
from core.statuses import MergePolicy

app = typer.Typer(
    help="Kairan: WhatsApp campaigns and analytics that never message anyone twice or without consent.",
    epilog="Settings are KAIRAN_* variables, in the environment or in .env; .env.example lists them all.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
lake = typer.Typer(help="The analytics lake.", rich_markup_mode=None)
contacts = typer.Typer(help="What one person asks about their data.", rich_markup_mode=None)
messages = typer.Typer(help="Messages whose answer never came.", rich_markup_mode=None)
webhooks = typer.Typer(help="What the provider told us, and recording it again.", rich_markup_mode=None)
audit = typer.Typer(help="Packages of consent evidence.", rich_markup_mode=None)
ledger = typer.Typer(help="The consent ledger after a backup was restored.", rich_markup_mode=None)
GROUPS = {
    "users": users,
    "keys": keys,
    "imports": imports_group,
    "lake": lake,
    "contacts": contacts,
    "consents": consents_group,
    "messages": messages,
    "webhooks": webhooks,
    "audit": audit,
    "ledger": ledger,
}
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


@app.command()
def up(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Start the simulated WhatsApp too, on the demo's data.")
    ] = False,
) -> int:
    """Start API, worker and dashboard, with embedded servers unless URLs of others are set."""
    from cli import serving

    return asyncio.run(serving.up(with_sandbox=sandbox))


@app.command()
def demo(
    messages: Annotated[int, typer.Option(min=20, max=100_000, help="People the campaign can reach.")] = 2000,
    leave: Annotated[bool, typer.Option("--exit", help="Stop when it is done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary for programs as the last line.")] = False,
) -> int:
    """Run a real campaign through every part, on a simulated WhatsApp."""
    from cli import serving

    return asyncio.run(serving.demo(messages=messages, leave=leave, as_json=as_json))


@app.command()
def api() -> None:
    """Serve the API in this process."""
    _become("api")


@app.command()
def worker() -> None:
    """Run the worker in this process."""
    _become("worker")


@app.command()
def dashboard() -> None:
    """Serve the dashboard in this process."""
    _become("dashboard")


@app.command()
def sandbox() -> None:
    """Serve the simulated WhatsApp in this process."""
    _become("sandbox")


def _become(name: str) -> None:
    """Turn into one process of the stack: signals and output are its own."""
    from cli import processes
    from core.settings import ROOT, get_settings

    settings = get_settings()
    command = processes.COMMANDS[name](settings)
    environment = processes.child_environment(settings)
    os.chdir(ROOT)
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from cli import database
    from cli.output import say
    from core.settings import get_settings

    async def work() -> None:
        async with database.reachable(get_settings()) as url:
            await database.migrate(url)
            say("The database has the newest schema.")

    asyncio.run(work())


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, XLSX or Parquet with a phone column.")],
    region: Annotated[str, typer.Option(help="Country of numbers without prefix, such as DE.")] = "",
    audience: Annotated[str, typer.Option(help="Name of a list to add the people to.")] = "",
    zone: Annotated[str, typer.Option(help="Zone of times without one, such as Europe/Berlin.")] = "",
    encoding: Annotated[str, typer.Option(help="Of a text file that is taken for another, such as gb18030.")] = "",
    merge: Annotated[MergePolicy, typer.Option(help="What may change about people known already.")] = MergePolicy.FILL,
    column: Annotated[list[str] | None, typer.Option(help="FIELD=COLUMN of the file, such as phone=Kontakt.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Give every row its verdict, then ask.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --check: import without asking.")] = False,
    vouch: VouchAs = "",
    key: ApiKey = None,
) -> int:
    """Import contacts and consents, and show what became of every row."""
    from cli import imports
    from core.settings import get_settings

    settings = get_settings()
    pairs = [each.partition("=") for each in column or []]
    if any(not equals for _, equals, _ in pairs):
        raise typer.BadParameter("write FIELD=COLUMN, such as phone=Kontakt", param_hint="--column")
    options: dict[str, object] = {"region": region.upper() or settings.country, "merge": merge.value, "dry_run": check}
    options |= {"columns": {ours.strip(): theirs.strip() for ours, _, theirs in pairs}}
    named = {"audience_name": audience, "zone": zone, "encoding": encoding}
    options |= {name: value for name, value in named.items() if value}
    options |= {"attestation": {"role": vouch}} if vouch else {}
    return asyncio.run(imports.run(settings, key, file, options, yes=yes))


@lake.command("refresh")
def refresh_lake(key: ApiKey = None) -> None:
    """Bring the analytics up to date now."""
    from cli import lake as the_lake
    from core.settings import get_settings

    asyncio.run(the_lake.run(get_settings(), key))


Person = Annotated[str, typer.Argument(help="The contact's id, or their number with its country prefix.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")]


@contacts.command("erase")
def erase_contact(
    person: Person,
    reason: Why,
    *,
    really: Annotated[bool, typer.Option("--really", help="Erase; without it, what would go is counted.")] = False,
    key: ApiKey = None,
) -> None:
    """Erase a person for good. What proves that they said stop stays, and names nobody."""
    from cli import contacts as the_contacts
    from core.settings import get_settings

    asyncio.run(the_contacts.erase(get_settings(), key, person, reason, really=really))


@contacts.command("access")
def access_contact(
    person: Person,
    reason: Why,
    to: Annotated[Path, typer.Option(help="File to write: .json for programs, .html to read and print.")] = Path(
        "access.html"
    ),
    *,
    portable: Annotated[bool, typer.Option("--portable", help="Only what they gave, as JSON to take elsewhere.")] = (
        False
    ),
    key: ApiKey = None,
) -> None:
    """Save everything that is held about a person, for that person."""
    from cli import contacts as the_contacts
    from core.settings import get_settings

    asyncio.run(the_contacts.access(get_settings(), key, person, reason, to, portable=portable))


@contacts.command("unseal")
def unseal_contact(
    contact_id: Annotated[
        UUID, typer.Argument(help="The erased contact's id, as the lookup of erased people says it.")
    ],
    reason: Why,
    private_key: Annotated[
        Path | None, typer.Option("--key", help="Private half (PEM) of KAIRAN_ERASE_HOLD_KEY.", exists=True)
    ] = None,
) -> None:
    """Print what a country's law keeps sealed of an erased person, where an authority may demand it."""
    from cli import contacts as the_contacts
    from core.settings import get_settings

    asyncio.run(the_contacts.unseal(get_settings(), contact_id, reason, private_key))


@messages.command("settle")
def settle_messages(
    campaign: Annotated[UUID, typer.Argument(help="The campaign's id: the end of its page's address.")],
    older_than_minutes: Annotated[int, typer.Option(help="Only requests that began before.", min=5)] = 60,
    *,
    really: Annotated[bool, typer.Option("--really", help="Mark them failed; without it they are counted.")] = False,
    key: ApiKey = None,
) -> None:
    """Give up on unknown messages: they become failed, and are never sent again."""
    from cli import messages as the_messages
    from core.settings import get_settings

    asyncio.run(
        the_messages.settle(get_settings(), key, campaign, older_than_minutes=older_than_minutes, really=really)
    )


@webhooks.command("status")
def webhooks_status(key: ApiKey = None) -> None:
    """Show what waits, what was set aside and why, and what nobody here has sent."""
    from cli import webhooks as the_webhooks
    from core.settings import get_settings

    asyncio.run(the_webhooks.status(get_settings(), key))


@webhooks.command("replay")
def replay_webhooks(
    *,
    since: Annotated[str, typer.Option(help="First instant, such as 2026-11-22T08:00:00+01:00.")] = "",
    until: Annotated[str, typer.Option(help="Before this instant.")] = "",
    event: Annotated[list[int] | None, typer.Option("--event", help="This body only; may be repeated.")] = None,
    set_aside: Annotated[bool, typer.Option("--set-aside", help="Only what could not be recorded.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them and do nothing.")] = False,
    key: ApiKey = None,
) -> None:
    """Record webhooks once more; what took effect before changes nothing."""
    from cli import webhooks as the_webhooks
    from core.settings import get_settings

    chosen: dict[str, object] = {"ids": event or [], "only_set_aside": set_aside, "dry_run": dry_run}
    chosen |= {name: given for name, given in (("since", since), ("until", until)) if given}
    asyncio.run(the_webhooks.replay(get_settings(), key, chosen))


@audit.command("export")
def export_audit(
    *,
    reason: Annotated[str, typer.Option(help="Why it is made; kept with it.")],
    to: Annotated[Path, typer.Option(help="File to write.")] = Path("kairan-audit.zip"),
    purpose: Annotated[str, typer.Option(help="Only this purpose.")] = "",
    country: Annotated[str, typer.Option(help="Only this country, such as DE.")] = "",
    campaign: Annotated[str, typer.Option(help="Only the people of this campaign (its id).")] = "",
    key: ApiKey = None,
) -> None:
    """Make a package that proves consents, and save it."""
    from cli import audits
    from core.settings import get_settings

    filters = {"reason": reason, "purpose": purpose, "country": country.upper(), "campaign_id": campaign}
    request = {name: value for name, value in filters.items() if value}
    asyncio.run(audits.export(get_settings(), key, request, to))


@audit.command("verify")
def verify_audit(
    package: Annotated[Path, typer.Argument(help="The ZIP file.", exists=True, dir_okay=False, readable=True)],
    fingerprint: Annotated[str, typer.Option(help="Of the installation's key, known from elsewhere.")] = "",
    checkpoint: Annotated[
        Path | None, typer.Option(help="A signed note somebody else kept.", exists=True, dir_okay=False)
    ] = None,
) -> int:
    """Check a package offline; 0 only when nothing in it was changed."""
    from cli import verifying

    return verifying.run(package, fingerprint=fingerprint or None, checkpoint=checkpoint)


@ledger.command("recover")
def recover_ledger(
    reason: Why,
    *,
    really: Annotated[bool, typer.Option("--really", help="Do it; without it, what would be done is counted.")] = False,
    key: ApiKey = None,
) -> int:
    """Go on with a restored database: erase again who was erased since the backup, then let sending go on."""
    from cli import ledger as the_ledger
    from core.settings import get_settings

    return asyncio.run(the_ledger.recover(get_settings(), key, reason, really=really))


@app.command()
def doctor() -> int:
    """Look at everything a start needs and say what to do."""
    from cli import doctor as examination
    from core.settings import get_settings

    return asyncio.run(examination.run(get_settings()))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit status: 0 well, 1 refused, 2 wrong usage, 130 interrupted."""
    status: object
    try:
        status = app(args=list(arguments) or ["--help"], prog_name="kairan", standalone_mode=False)
    except typer.TyperException as wrong:
        _complain(f"{wrong.format_message().rstrip('.')}. Try kairan --help.")
        return wrong.exit_code
    except SettingsError as wrong_setting:
        _complain(wrong_setting.message)
        return 2
    except AppError as refused:
        _complain(refused.message)
        return 1
    except (typer.Abort, KeyboardInterrupt):
        _complain("interrupted")
        return 130
    except OSError as failed:
        if failed.strerror is None:
            raise
        _complain(f"{failed.filename or 'the system'}: {failed.strerror.lower()}")
        return 1
    return status if isinstance(status, int) else 0


def _complain(sentence: str) -> None:
    print(f"kairan: {' '.join(sentence.split())}", file=sys.stderr)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
