"""Rate cards: prices per delivered message, imported with the day they take effect.

Two shapes are read: the provider's own card (a row per market, a column per category), and a plain list with the
columns market, category, currency, price, effective_from. Either way a row is kept per country, so that a message finds
its price by the recipient's country: regions are spelled out, and a country's own price beats its region's.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import RuleViolation
from core.models import Rate
from core.services.paging import Page, page
from core.statuses import RateCategory
from core.whatsapp import markets

DEMO = "demo data"  # how the source of made-up prices begins
MOST = Decimal(1000)  # units of a currency for one message; more is a mistake
COLUMNS = ("market", "category", "currency", "price", "effective_from")
MOST_BEFORE_HEADER = 20  # lines of explanation above the provider's table
_ABSENT = frozenset({"", "-", "--", "–", "n/a", "na", "null"})
_ABROAD = RateCategory.AUTHENTICATION_ABROAD
# The provider's columns; without one for service messages they cost what utility costs.
_CATEGORY_OF = {
    "marketing": RateCategory.MARKETING,
    "utility": RateCategory.UTILITY,
    "authentication": RateCategory.AUTHENTICATION,
    "authentication-international": _ABROAD,
    "authentication international": _ABROAD,
    "service": RateCategory.SERVICE,
}


@dataclass(frozen=True)
class Price:
    """One price as a card gives it, before regions are spelled out."""

    row: int
    market: str
    category: RateCategory
    currency: str
    price_micros: int
    effective_from: date


async def load(
    session: AsyncSession, content: bytes, *, source: str, currency: str, effective_from: date | None = None
) -> int:
    """Take over a card; returns the rows kept, one per country, category and day.

    Prices are in whole units of the currency, such as 0.0625, and the currency is the installation's: sums of two
    currencies would be no sums. `effective_from` is for the provider's cards, which do not say it in a column. Raises
    RuleViolation naming the row.
    """
    lines = _lines(content)
    header = _header(lines)
    found = _plain_prices(lines) if header is None else _card_prices(lines, header, effective_from)
    prices = list(found)
    if not prices:
        raise RuleViolation("the rate card is empty", field="file")
    for price in prices:
        if price.currency != currency:
            raise _refusal(
                price.row, f"it is in {price.currency}, and this installation counts in {currency} (KAIRAN_CURRENCY)"
            )
    kept = _by_country(prices)
    values = [
        {
            "market": country,
            "category": price.category,
            "currency": price.currency,
            "price_micros": price.price_micros,
            "effective_from": price.effective_from,
            "source": source,
        }
        for (country, _, _), price in sorted(kept.items(), key=lambda item: item[0])
    ]
    put = insert(Rate)
    changed = {"price_micros": put.excluded.price_micros, "source": put.excluded.source}
    await session.execute(
        put.on_conflict_do_update(index_elements=["market", "category", "currency", "effective_from"], set_=changed),
        values,
    )
    return len(values)


async def list_rates(
    session: AsyncSession, *, market: str | None, category: RateCategory | None, limit: int, cursor: str | None
) -> Page[Rate]:
    """Prices, the newest import first; `market` is a country's code."""
    statement = select(Rate)
    if market:
        statement = statement.where(Rate.market == market.strip().upper())
    if category is not None:
        statement = statement.where(Rate.category == category)
    return await page(session, statement, Rate.id.expression, limit=limit, cursor=cursor)


@dataclass(frozen=True)
class Card:
    """The prices that came from one source, hold from one day and are in one currency."""

    source: str
    currency: str
    effective_from: date
    markets: int
    prices: int
    loaded_at: datetime


async def list_cards(session: AsyncSession) -> list[Card]:
    """Every card of which prices are in force or were, the one that holds from the latest day first."""
    grouped = (
        select(
            Rate.source,
            Rate.currency,
            Rate.effective_from,
            func.count(Rate.market.distinct()),
            func.count(),
            func.max(Rate.created_at),
        )
        .group_by(Rate.source, Rate.currency, Rate.effective_from)
        .order_by(Rate.effective_from.desc(), func.max(Rate.created_at).desc())
    )
    return [Card(*row) for row in await session.execute(grouped)]


def _lines(content: bytes) -> list[list[str]]:
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(content.decode("utf-8-sig")))]
    except (UnicodeDecodeError, csv.Error) as wrong:
        raise RuleViolation("the rate card is not a UTF-8 CSV file", field="file") from wrong


def _header(lines: list[list[str]]) -> int | None:
    """Where the provider's table begins; None for a plain list."""
    for number, cells in enumerate(lines[:MOST_BEFORE_HEADER]):
        words = {cell.lower() for cell in cells}
        if "market" in words and "category" not in words and words & _CATEGORY_OF.keys():
            return number
    return None


def _card_prices(lines: list[list[str]], header: int, effective_from: date | None) -> Iterator[Price]:
    if effective_from is None:
        raise RuleViolation(
            "the provider's card does not say since when it holds: give effective_from, such as 2026-10-01",
            field="effective_from",
        )
    names = [cell.lower() for cell in lines[header]]
    if "currency" not in names:
        raise RuleViolation("the rate card lacks the column currency", field="file")
    for number, cells in enumerate(lines[header + 1 :], start=header + 2):
        given = dict(zip(names, cells, strict=False))
        if not any(cells) or not given.get("market"):
            continue
        given_by_category = {
            category: given[name]
            for name, category in _CATEGORY_OF.items()
            if given.get(name, "").lower() not in _ABSENT
        }
        if not given_by_category:  # a footnote under the table
            continue
        market = _market(number, given["market"])
        for category, amount in given_by_category.items():
            money = _currency(number, given["currency"])
            yield Price(number, market, category, money, _micros(number, amount), effective_from)


def _plain_prices(lines: list[list[str]]) -> Iterator[Price]:
    names = [cell.lower() for cell in lines[0]] if lines else []
    missing = set(COLUMNS) - set(names)
    if missing:
        raise RuleViolation(f"the rate card lacks the column {sorted(missing)[0]}", field="file")
    seen: set[tuple[str, RateCategory, date]] = set()
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        given = dict.fromkeys(COLUMNS, "") | dict(zip(names, cells, strict=False))
        word = given["category"].lower().replace("-", "_")
        if word not in tuple(RateCategory):
            raise _refusal(number, f"category is one of {', '.join(RateCategory)}")
        price = Price(
            number,
            _market(number, given["market"]),
            RateCategory(word),
            _currency(number, given["currency"]),
            _micros(number, given["price"]),
            _day(number, given["effective_from"]),
        )
        key = (price.market.upper(), price.category, price.effective_from)
        if key in seen:
            raise RuleViolation(f"row {number} of the rate card gives a price that is there already", field="file")
        seen.add(key)
        yield price


def _refusal(row: int, what: str) -> RuleViolation:
    return RuleViolation(f"row {row} of the rate card: {what}", field="file")


def _market(row: int, market: str) -> str:
    if not markets.countries(market) and not markets.is_other(market):
        raise _refusal(row, "market is a country such as DE or Germany, or a region such as Rest of Africa")
    return market


def _currency(row: int, spelled: str) -> str:
    """Three letters; the provider also writes $US."""
    letters = spelled.upper().replace("$US", "USD")
    if not re.fullmatch(r"[A-Z]{3}", letters):
        raise _refusal(row, "currency has three letters, such as EUR")
    return letters


def _day(row: int, spelled: str) -> date:
    try:
        return date.fromisoformat(spelled)
    except ValueError as wrong:
        raise _refusal(row, "effective_from is a day such as 2026-07-01") from wrong


def _micros(row: int, price: str) -> int:
    try:
        amount = Decimal(price)
    except InvalidOperation as wrong:
        raise _refusal(row, "price is a number such as 0.0625") from wrong
    if not amount.is_finite() or not 0 <= amount <= MOST:
        raise _refusal(row, f"price is between 0 and {MOST}")
    return round(amount * 1_000_000)


def _by_country(prices: Iterable[Price]) -> dict[tuple[str, RateCategory, date], Price]:
    """The price of each country: its own, else its region's, else that of all others."""
    kept: dict[tuple[str, RateCategory, date], Price] = {}
    for price in sorted(prices, key=lambda price: (markets.is_other(price.market), markets.is_region(price.market))):
        named = markets.every_country() if markets.is_other(price.market) else markets.countries(price.market)
        for country in named:
            kept.setdefault((country, price.category, price.effective_from), price)
    return kept
