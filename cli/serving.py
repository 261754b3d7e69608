"""`kairan up` and `kairan demo`: what can be refused is refused first, the heavy parts are imported afterwards."""
# ruff: noqa: PLC0415 - SQLAlchemy, alembic and httpx take seconds to import

import asyncio

from cli.demo_account import DemoAccount, refuse_demo_data, refuse_real_data
from cli.lock import DataDirLock
from cli.output import say
from cli.processes import check_ports, loopback
from core.errors import SettingsError
from core.settings import Settings, get_settings


def take_place(settings: Settings, *, with_sandbox: bool) -> DataDirLock:
    """The data directory's lock, leftovers ended and ports free; raises Conflict or SettingsError with what to do."""
    lock = DataDirLock(settings.data_dir).acquire()
    for name in lock.children.end_leftovers():
        say(f"ended a leftover {name} process of a supervisor that was killed")
    check_ports(settings, with_sandbox=with_sandbox)
    return lock


async def up(*, with_sandbox: bool) -> int:
    """Serve until stopped; 0 after Ctrl-C or SIGTERM."""
    settings = get_settings()
    if with_sandbox:
        account = DemoAccount.load(settings.data_dir)
        if account is None:
            raise SettingsError(f"no demo ran on {settings.data_dir} yet: kairan demo runs one")
        settings = account.settings()
    else:
        refuse_demo_data(settings.data_dir)
    lock = take_place(settings, with_sandbox=with_sandbox)

    from cli.stack import Stack, run

    async def serve() -> int:
        announce(settings)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 0
        return 0

    return await run(Stack(settings, lock, with_sandbox=with_sandbox), serve)


async def demo(*, messages: int, leave: bool, as_json: bool) -> int:
    """Run the demo; 0 when every check holds, 1 when one does not. Stays until Ctrl-C unless `leave`."""
    settings = get_settings()
    refuse_real_data(settings.data_dir)
    account = DemoAccount.load(settings.data_dir) or DemoAccount.create()
    settings = account.settings()
    lock = take_place(settings, with_sandbox=True)
    account.save(settings.data_dir)

    from cli import demo as demonstration

    return await demonstration.run(settings, account, lock, messages=messages, leave=leave, as_json=as_json)


def announce(settings: Settings) -> None:
    """Where to look."""
    say(f"Dashboard  http://{loopback(settings.api_host)}:{settings.dashboard_port}")
    say(f"API        {settings.own_api_url}  (documentation: {settings.own_api_url}/docs)")
    say(f"Logs       {settings.data_dir / 'logs'}")
    if not settings.whatsapp_access_token:
        say(
            "WhatsApp is not connected: set KAIRAN_WHATSAPP_ACCESS_TOKEN and its companions (kairan doctor says which)."
        )
    say("Ctrl-C stops everything.")
