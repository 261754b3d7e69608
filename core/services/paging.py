"""Cursor pages: stable while rows are added, no matter how far one pages."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import RuleViolation

MAX_PAGE = 200
Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Up to `limit` items and the cursor of the next page, or None on the last."""

    items: Sequence[Row]
    next: str | None


def encode(position: UUID | int) -> str:
    raw = position.bytes if isinstance(position, UUID) else position.to_bytes(8, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(cursor: str) -> UUID | int:
    """The position a cursor stands for; raises RuleViolation for anything we did not make."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError) as wrong:
        raise RuleViolation("the cursor is not one of ours", field="cursor") from wrong
    if len(raw) == 16:
        return UUID(bytes=raw)
    if len(raw) == 8 and raw[0] < 0x80:  # a sequence's numbers are positive
        return int.from_bytes(raw, "big")
    raise RuleViolation("the cursor is not one of ours", field="cursor")


async def page(
    session: AsyncSession,
    statement: Select[Row],
    key: ColumnElement[Any],
    *,
    limit: int,
    cursor: str | None,
    newest_first: bool = True,
) -> Page[Row]:
    """One page of entities, ordered by `key`, a UUIDv7 or a sequence (so by age)."""
    if not 1 <= limit <= MAX_PAGE:
        raise RuleViolation(f"limit is between 1 and {MAX_PAGE}", field="limit")
    if cursor is not None:
        position = decode(cursor)
        if isinstance(position, UUID) != isinstance(key.type, Uuid):  # a cursor of another list
            raise RuleViolation("the cursor is not one of ours", field="cursor")
        statement = statement.where(key < position if newest_first else key > position)
    statement = statement.order_by(key.desc() if newest_first else key.asc()).limit(limit + 1)
    rows = list((await session.scalars(statement)).unique())
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(rows, encode(getattr(rows[-1], str(getattr(key, "key", "id")))) if more else None)
