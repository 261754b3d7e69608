"""`kairan imports …`: files on their way in."""
# ruff: noqa: PLC0415 - what a command needs takes seconds to import, so it is imported when the command runs

import asyncio
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.options import ApiKey

imports_group = typer.Typer(help="Files on their way in: pause, go on, undo.", rich_markup_mode=None)

VouchAs = Annotated[
    str, typer.Option("--as", help="Your role; you make the statement that the file's opt-ins are true and provable.")
]
ImportId = Annotated[UUID, typer.Argument(help="As kairan imports list shows it.")]


@imports_group.command("list")
def list_imports(key: ApiKey = None) -> int:
    """Show the newest imports."""
    from cli import imports
    from core.settings import get_settings

    return asyncio.run(imports.show_all(get_settings(), key))


def _steer(import_id: UUID, what: str, key: str | None) -> int:
    from cli import imports
    from core.settings import get_settings

    return asyncio.run(imports.steer(get_settings(), key, import_id, what))


@imports_group.command("confirm")
def confirm_import(import_id: ImportId, vouch: VouchAs = "", key: ApiKey = None) -> int:
    """Import for real what was checked."""
    from cli import imports
    from core.settings import get_settings

    return asyncio.run(imports.confirm(get_settings(), key, import_id, vouch))


@imports_group.command("pause")
def pause_import(import_id: ImportId, key: ApiKey = None) -> int:
    """Stop after the rows in hand."""
    return _steer(import_id, "pause", key)


@imports_group.command("resume")
def resume_import(import_id: ImportId, key: ApiKey = None) -> int:
    """Go on behind the last row recorded."""
    return _steer(import_id, "resume", key)


@imports_group.command("cancel")
def cancel_import(import_id: ImportId, key: ApiKey = None) -> int:
    """Leave the rest of the file out; what was recorded stays."""
    return _steer(import_id, "cancel", key)


@imports_group.command("undo")
def undo_import(import_id: ImportId, key: ApiKey = None) -> int:
    """Take back people, values and memberships it brought, within 7 days; never what people said."""
    return _steer(import_id, "undo", key)


@imports_group.command("rejects")
def fetch_rejects(
    import_id: ImportId,
    to: Annotated[Path, typer.Option(help="File to write.")] = Path("rejects.csv"),
    key: ApiKey = None,
) -> int:
    """Fetch the rejected rows with their reasons as CSV."""
    from cli import imports
    from core.settings import get_settings

    return asyncio.run(imports.rejects(get_settings(), key, import_id, to))
