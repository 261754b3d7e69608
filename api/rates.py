"""Rate cards."""

from datetime import date, datetime
from typing import Annotated, Self
from uuid import UUID

from litestar import Controller, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromQuery, MultipartBody, QueryParameter
from msgspec import Struct

from api.auth import MARKETING, READ_MARKETING, AuthedRequest
from api.paging import Cursor, Limit, PageOut
from api.state import Db, Held
from core.models import Rate
from core.services import people, rates
from core.statuses import RateCategory


class RateCardIn(Struct):
    """`effective_from` is for the provider's own cards, which do not carry it."""

    file: UploadFile
    effective_from: date | None = None


class RateCardOut(Struct):
    rows: int


class RateOut(Struct):
    id: UUID
    market: str
    category: RateCategory
    currency: str
    price_micros: int
    effective_from: date
    source: str

    @classmethod
    def of(cls, rate: Rate) -> Self:
        return cls(
            rate.id, rate.market, rate.category, rate.currency, rate.price_micros, rate.effective_from, rate.source
        )


class CardOut(Struct):
    """`is_demo`: made-up prices, which reports must not be believed with."""

    source: str
    currency: str
    effective_from: date
    markets: int
    prices: int
    loaded_at: datetime
    is_demo: bool

    @classmethod
    def of(cls, card: rates.Card) -> Self:
        is_demo = card.source.startswith(rates.DEMO)
        return cls(card.source, card.currency, card.effective_from, card.markets, card.prices, card.loaded_at, is_demo)


class RateController(Controller):
    path = "/rates"
    tags = ("Cost",)

    @get(guards=[READ_MARKETING])
    async def list_rates(
        self,
        session: Db,
        market: Annotated[str | None, QueryParameter(max_length=40, description="A country, such as DE")] = None,
        category: FromQuery[RateCategory | None] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[RateOut]:
        """Prices per country and the card each came from."""
        found = await rates.list_rates(session, market=market, category=category, limit=limit, cursor=cursor)
        return PageOut([RateOut.of(rate) for rate in found.items], found.next)

    @get("/cards", guards=[READ_MARKETING])
    async def list_cards(self, session: Db) -> PageOut[CardOut]:
        """The cards the prices came from, and since when each holds."""
        return PageOut([CardOut.of(card) for card in await rates.list_cards(session)], None)

    @post(guards=[MARKETING])
    async def load(
        self, data: MultipartBody[RateCardIn], request: AuthedRequest, parts: Held, session: Db
    ) -> RateCardOut:
        """Take over a rate card: the provider's CSV, or one with market, category, currency, price, effective_from."""
        rows = await rates.load(
            session,
            await data.file.read(),
            source=data.file.filename,
            currency=parts.settings.currency,
            effective_from=data.effective_from,
        )
        await people.note(session, request.user, "rates.loaded", "rates", rows=rows)
        return RateCardOut(rows)
