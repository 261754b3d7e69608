"""Rate cards: prices per delivered message, imported with the day they take effect."""

import csv
import io
from datetime import date
from decimal import Decimal, InvalidOperation

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import RuleViolation
from core.models import Rate
from core.statuses import Category

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
    values = []
    for number, row in enumerate(rows, start=2):
        try:
            values.append(
                {
                    "market": row["market"].strip().upper(),
                    "category": Category(row["category"].strip().lower()),
                    "currency": row["currency"].strip().upper(),
                    "price_micros": int(Decimal(row["price"]) * 1_000_000),
                    "effective_from": date.fromisoformat(row["effective_from"].strip()),
                    "source": source,
                }
            )
        except (ValueError, InvalidOperation, AttributeError) as wrong:
            raise RuleViolation(f"row {number} of the rate card is not right: {wrong}", field="file") from wrong
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
