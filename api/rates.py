"""Rate cards."""

from litestar import Controller, post
from litestar.datastructures import UploadFile
from litestar.params import MultipartBody
from msgspec import Struct

from api.auth import MARKETING, AuthedRequest
from api.state import Db
from core.services import people, rates


class RateCardIn(Struct):
    file: UploadFile


class RateCardOut(Struct):
    rows: int


class RateController(Controller):
    path = "/rates"
    tags = ("Cost",)

    @post(guards=[MARKETING])
    async def load(
        self,
        data: MultipartBody[RateCardIn],
        request: AuthedRequest,
        session: Db,
    ) -> RateCardOut:
        """Take over a rate card: CSV with market, category, currency, price, effective_from."""
        rows = await rates.load(session, await data.file.read(), source=data.file.filename)
        await people.note(session, request.user, "rates.loaded", "rates", rows=rows)
        return RateCardOut(rows)
