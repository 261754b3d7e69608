"""Rows about people who were erased: nothing of such a row is kept, or the file would undo what they asked for."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import stored
from core.keys import Keyring
from core.models import Suppression
from core.services import contacts
from core.services.imports_rows import Row

GONE = ("erasure", "retention")  # why a number is refused for everything after its person was erased
WHY = "the person was erased, so nothing of this row is kept; only they can come back, by writing to you"


async def part(session: AsyncSession, rows: Sequence[Row], keyring: Keyring) -> tuple[list[Row], list[Row]]:
    """(rows that may be recorded, rows of erased people). Who came back by writing has a contact again, and counts."""
    gone = await keys_gone(session, {row.match_key for row in rows}, keyring)
    return [row for row in rows if row.match_key not in gone], [row for row in rows if row.match_key in gone]


async def keys_gone(session: AsyncSession, keys: Collection[str], keyring: Keyring) -> set[str]:
    """Which of the addresses belong to nobody but an erased person; `keys` are match keys."""
    erased = (Suppression.reason.in_(GONE), Suppression.scope == "*", Suppression.lifted_at.is_(None))
    if not keys or await session.scalar(select(Suppression.id).where(*erased).limit(1)) is None:
        return set()
    refs = {ref: key for key in keys for ref in keyring.address_refs(key)}
    found = await session.scalars(select(Suppression.ref).where(*erased, stored.among(Suppression.ref, refs)))
    gone = {refs[ref] for ref in found}
    return gone - (await contacts.owners(session, sorted(gone))).keys()
