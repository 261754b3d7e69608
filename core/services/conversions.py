"""Conversions: orders and refunds the shop reports; the same one any number of times."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.errors import RuleViolation
from core.models import Contact, Conversion, Link, Message
from core.phone import PhoneError
from core.services import contacts
from core.statuses import ConversionKind

CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Sale:
    """An order or a refund as the shop reports it; the person by id, by number or by the link they followed."""

    kind: ConversionKind
    order_id: str
    refund_id: str | None
    occurred_at: datetime
    amount_micros: int
    currency: str
    contact_id: UUID | None = None
    phone: str | None = None
    link_code: str | None = None


@dataclass(frozen=True)
class Recorded:
    recorded: int
    duplicates: int
    unmatched: int  # kept, but of nobody we know


async def record(
    session: AsyncSession, sales: Sequence[Sale], *, currency: str, region: str, now: datetime
) -> Recorded:
    """Keep each sale once; raises RuleViolation naming the item that cannot be right."""
    for at, sale in enumerate(sales):
        check(sale, f"items[{at}]", currency, now)
    people = await _people(session, sales, region)
    values = [
        {
            "kind": sale.kind,
            "order_id": sale.order_id,
            "refund_id": sale.refund_id,
            "contact_id": people[at],
            "occurred_at": sale.occurred_at,
            "amount_micros": sale.amount_micros,
            "currency": sale.currency,
        }
        for at, sale in enumerate(sales)
    ]
    put = insert(Conversion).values(values).on_conflict_do_nothing().returning(Conversion.contact_id)
    kept = (await session.scalars(put)).all()
    return Recorded(len(kept), len(sales) - len(kept), sum(person is None for person in kept))


def check(sale: Sale, place: str, currency: str, now: datetime) -> None:
    """Raises RuleViolation, naming `place`, for a sale that cannot be right."""
    if sale.currency != currency:
        raise RuleViolation(f"{place}.currency is {sale.currency}; amounts are reported in {currency}", field=place)
    if sale.occurred_at > now + CLOCK_TOLERANCE:
        raise RuleViolation(f"{place}.occurred_at is in the future", field=place)
    if sale.amount_micros < 0 or sale.amount_micros > 10**15:
        raise RuleViolation(f"{place}.amount_micros is out of range", field=place)
    if (sale.kind is ConversionKind.REFUND) != (sale.refund_id is not None):
        raise RuleViolation(f"{place}: a refund, and only a refund, has a refund_id", field=place)
    if sum(each is not None for each in (sale.contact_id, sale.phone, sale.link_code)) > 1:
        raise RuleViolation(f"{place}: name the person once, by contact_id, phone or link_code", field=place)


async def _people(session: AsyncSession, sales: Sequence[Sale], region: str) -> list[UUID | None]:
    """Whose each sale is; None for a person nobody knows."""
    codes = [sale.link_code for sale in sales if sale.link_code]
    by_link = select(Link.code, Message.contact_id).join(Message, Message.id == Link.message_id)
    by_code = {row.code: row.contact_id for row in await session.execute(by_link.where(Link.code.in_(codes)))}
    keys: dict[str, str] = {}
    for number in {sale.phone for sale in sales if sale.phone}:
        try:
            keys[number] = phone.parse(number, region=region).match_key
        except PhoneError:
            continue  # kept as unmatched: a bad number must not lose an order
    by_key = await contacts.owners(session, list(keys.values()))
    named = {sale.contact_id for sale in sales if sale.contact_id}
    known = set(await session.scalars(select(Contact.id).where(Contact.id.in_(named))))
    return [
        by_code.get(sale.link_code)
        if sale.link_code
        else by_key.get(keys.get(sale.phone, ""))
        if sale.phone
        else sale.contact_id
        if sale.contact_id in known
        else None
        for sale in sales
    ]
