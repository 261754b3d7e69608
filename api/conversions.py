"""Orders and refunds from the shop."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from api.auth import MARKETING, AuthedRequest
from api.idempotency import once
from api.state import Db, Held, Now
from core.errors import RuleViolation
from core.services import conversions
from core.services.conversions import Sale
from core.shapes import CURRENCY
from core.statuses import ConversionKind


class SaleIn(Struct, forbid_unknown_fields=True):
    kind: ConversionKind
    order_id: Annotated[str, Meta(min_length=1, max_length=200)]
    occurred_at: datetime
    amount_micros: Annotated[int, Meta(ge=0, le=10**15)]
    currency: Annotated[str, Meta(pattern=CURRENCY)]
    refund_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    contact_id: UUID | None = None
    phone: str | None = None
    link_code: str | None = None


class ConversionsIn(Struct, forbid_unknown_fields=True):
    items: Annotated[list[SaleIn], Meta(min_length=1, max_length=1000)]


class ConversionsOut(Struct):
    recorded: int
    duplicates: int
    unmatched: int


class ConversionController(Controller):
    path = "/conversions"
    tags = ("Conversions",)

    @post(guards=[MARKETING], status_code=200)
    async def record(
        self, data: JSONBody[ConversionsIn], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> Response[ConversionsOut]:
        """Report orders and refunds; the same one again changes nothing. `amount_micros` is never negative."""
        for at, item in enumerate(data.items):
            if item.occurred_at.tzinfo is None:
                raise RuleViolation("occurred_at needs its time zone", field=f"items[{at}].occurred_at")

        async def make() -> ConversionsOut:
            sales = [
                Sale(
                    kind=item.kind,
                    order_id=item.order_id,
                    refund_id=item.refund_id,
                    occurred_at=item.occurred_at,
                    amount_micros=item.amount_micros,
                    currency=item.currency,
                    contact_id=item.contact_id,
                    phone=item.phone,
                    link_code=item.link_code,
                )
                for item in data.items
            ]
            settings = parts.settings
            found = await conversions.record(
                session, sales, currency=settings.currency, region=settings.country, now=now
            )
            return ConversionsOut(found.recorded, found.duplicates, found.unmatched)

        return await once(request, session, ConversionsOut, make, status=200)
