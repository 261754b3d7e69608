"""`kairan consents …`: ending consents that should never have counted."""
# ruff: noqa: PLC0415 - what a command needs takes seconds to import, so it is imported when the command runs

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from cli.options import ApiKey

consents_group = typer.Typer(help="Consents that should never have counted.", rich_markup_mode=None)


@consents_group.command("invalidate")
def invalidate_consents(
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with the action.")],
    *,
    import_id: Annotated[UUID | None, typer.Option("--import", help="All that this import brought.")] = None,
    notice: Annotated[UUID | None, typer.Option("--notice", help="All given under this version of a notice.")] = None,
    point: Annotated[str, typer.Option("--point", help="All given at this collection point, to the letter.")] = "",
    really: Annotated[bool, typer.Option("--really", help="Do it; without it, the people are counted.")] = False,
    key: ApiKey = None,
) -> int:
    """Make every consent that rests on a bad import, notice or collection point invalid."""
    from cli import consents
    from core.settings import get_settings

    named = {"import": import_id and str(import_id), "notice": notice and str(notice), "collection_point": point}
    chosen = [(kind, target) for kind, target in named.items() if target]
    if len(chosen) != 1:
        raise typer.BadParameter("name one of --import, --notice and --point")
    ((kind, target),) = chosen
    return asyncio.run(consents.invalidate(get_settings(), key, kind, target, reason, really=really))
