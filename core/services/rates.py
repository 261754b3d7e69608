"""Rate cards: prices per delivered message, imported with the day they take effect."""

import csv
import io
import re
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import RuleViolation
from core.models import Rate
from core.statuses import Category

MOST = Decimal(1000)  # units of a currency for one message; more is a mistake
COLUMNS = ("market", "category", "currency", "price", "effective_from")


async def load(session: AsyncSession, content: bytes, *, source: str) -> int:
    """Take over a card as CSV with the columns market (ISO country), category, currency, price, effective_from.

    Prices are in whole units of the currency, such as 0.0625. Returns the rows; raises RuleViolation naming the row.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as wrong:
        raise RuleViolation("the rate card is not a UTF-8 CSV file", field="file") from wrong
    missing = set(COLUMNS) - set(reader.fieldnames or ())
    if missing:
        raise RuleViolation(f"the rate card lacks the column {sorted(missing)[0]}", field="file")
    values: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    for number, row in enumerate(rows, start=2):
        value = _value(row, number)
        key = (value["market"], value["category"], value["currency"], value["effective_from"])
        if key in seen:
            raise RuleViolation(f"row {number} of the rate card gives a price that is there already", field="file")
        seen.add(key)
        values.append({**value, "source": source})
    if not values:
        raise RuleViolation("the rate card is empty", field="file")
    put = insert(Rate).values(values)
    await session.execute(
        put.on_conflict_do_update(
            index_elements=["market", "category", "currency", "effective_from"],
            set_={"price_micros": put.excluded.price_micros, "source": put.excluded.source},
        )
    )
    return len(values)


def _value(row: dict[str, str | None], number: int) -> dict[str, Any]:
    """One row as columns of the table; raises RuleViolation naming the row and what it should hold."""
    market, category, currency, price, since = ((row[name] or "").strip() for name in COLUMNS)

    def refuse(what: str) -> RuleViolation:
        return RuleViolation(f"row {number} of the rate card: {what}", field="file")

    if not re.fullmatch(r"[A-Z][A-Z_]{1,39}", market.upper()):
        raise refuse("market is a country such as DE, or a region such as REST_OF_AFRICA")
    if category.lower() not in tuple(Category):
        raise refuse(f"category is one of {', '.join(Category)}")
    if not re.fullmatch(r"[A-Z]{3}", currency.upper()):
        raise refuse("currency has three letters, such as EUR")
    try:
        amount = Decimal(price)
    except InvalidOperation as wrong:
        raise refuse("price is a number such as 0.0625") from wrong
    if not amount.is_finite() or not 0 <= amount <= MOST:
        raise refuse(f"price is between 0 and {MOST}")
    try:
        effective_from = date.fromisoformat(since)
    except ValueError as wrong:
        raise refuse("effective_from is a day such as 2026-07-01") from wrong
    return {
        "market": market.upper(),
        "category": Category(category.lower()),
        "currency": currency.upper(),
        "price_micros": round(amount * 1_000_000),
        "effective_from": effective_from,
    }
