"""Audit packages as they are asked for and built: what their summary says, and a disk that is too small for one."""

import io
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from python_calamine import CalamineWorkbook
from sqlalchemy import text

from core.statuses import Role
from tests.factories import an_import, consenting, csv_of
from tests.integration.stack import Stack


async def asked(stack: Stack, **limits: Any) -> dict[str, Any]:
    officer = await stack.sign_in(Role.COMPLIANCE)
    made = await officer.post("/api/audits", json={"reason": "asked by counsel", **limits})
    assert made.status_code == 202, made.text
    await stack.work()
    found: dict[str, Any] = (await officer.get(f"/api/audits/{made.json()['id']}")).json()
    return found


async def test_the_summary_says_who_asked_and_names_what_it_is_limited_to(stack: Stack) -> None:
    done = await an_import(stack, csv_of([consenting("+4917012345600")]))
    package = await asked(stack, import_id=done["id"], country="DE")
    assert package["status"] == "done", package["error"]

    path = stack.settings.data_dir / "exports" / f"audit-{package['id']}.zip"
    with zipfile.ZipFile(path) as file:
        book = CalamineWorkbook.from_filelike(io.BytesIO(file.read("summary.xlsx")))
    about = {str(row[0]): str(row[1]) for row in book.get_sheet_by_name("Summary").to_python()}

    assert about["Whose consents"] == f"country: DE, import: people.csv ({done['id']})"
    async with stack.sessions() as session:
        name = (await session.execute(text("SELECT name FROM users WHERE role = 'compliance'"))).scalar_one()
    assert about["Made for"].startswith(f"{name} (")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk too small: the operating system refuses to let this process's files grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_package_larger_than_the_disk_says_so_and_leaves_nothing_behind(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting("+4917012345600")]))
    with files_of_at_most(8_000):
        package = await asked(stack)

    assert (package["status"], package["bytes"]) == ("failed", None)
    assert package["error"].startswith("the disk is full: make room")
    assert list((stack.settings.data_dir / "exports").iterdir()) == []
    async with stack.sessions() as session:
        sealed = text("SELECT count(*) FROM consent_events WHERE event_type = 'EXPORT_CREATED'")
        assert (await session.execute(sealed)).scalar_one() == 0
    assert (await asked(stack))["status"] == "done"
