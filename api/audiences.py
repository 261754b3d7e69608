"""Audiences: lists and rules."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import MARKETING, READ_MARKETING, READ_PEOPLE, AuthedRequest
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut, Words
from api.state import Db
from core.models import Audience, Contact
from core.services import audiences, contacts, people
from core.statuses import AudienceKind


class AudienceIn(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: AudienceKind
    rule: dict[str, Any] | None = None


class AudienceOut(Struct):
    id: UUID
    name: str
    kind: AudienceKind
    rule: dict[str, Any] | None
    created_at: datetime

    @classmethod
    def of(cls, audience: Audience) -> Self:
        return cls(audience.id, audience.name, audience.kind, audience.rule, audience.created_at)


class PersonOut(Struct):
    """A contact as marketers see one: the number is masked."""

    id: UUID
    name: str | None
    phone_masked: str | None
    country: str | None
    language: str | None


class PreviewIn(Struct, forbid_unknown_fields=True):
    rule: dict[str, Any]
    purpose: str = "marketing"


class PreviewOut(Struct):
    size: int
    reachable: int
    unreachable: dict[str, int]
    sample: list[PersonOut]


async def people_out(session: AsyncSession, those: list[Contact]) -> list[PersonOut]:
    numbers = await contacts.masked_numbers(session, [contact.id for contact in those])
    return [PersonOut(c.id, c.name, numbers[c.id], c.country, c.language) for c in those]


class AudienceController(Controller):
    path = "/audiences"
    tags = ("Audiences",)

    @get(guards=[READ_MARKETING])
    async def list_audiences(
        self, session: Db, q: Words = None, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[AudienceOut]:
        found = await audiences.list_page(session, words=q, limit=limit, cursor=cursor)
        return PageOut([AudienceOut.of(audience) for audience in found.items], found.next)

    @post(guards=[MARKETING])
    async def create(self, data: JSONBody[AudienceIn], request: AuthedRequest, session: Db) -> Response[AudienceOut]:
        """A static list, or a rule that is evaluated whenever the audience is used."""

        async def make() -> AudienceOut:
            made = await audiences.add(
                session, name=data.name, kind=data.kind, rule=data.rule, created_by=request.user.user_id
            )
            await people.note(session, request.user, "audience.created", "audience", made.id)
            return AudienceOut.of(made)

        return await once(request, session, AudienceOut, make)

    @get("/{audience_id:uuid}", guards=[READ_MARKETING])
    async def read(self, audience_id: FromPath[UUID], session: Db) -> AudienceOut:
        return AudienceOut.of(await audiences.get(session, audience_id))

    @get("/{audience_id:uuid}/members", guards=[READ_PEOPLE])
    async def members(
        self, audience_id: FromPath[UUID], session: Db, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[PersonOut]:
        """Who is in the audience now."""
        found = await audiences.members(session, audience_id, limit=limit, cursor=cursor)
        return PageOut(await people_out(session, list(found.items)), found.next)

    @post("/preview", guards=[MARKETING], status_code=200)
    async def preview(self, data: JSONBody[PreviewIn], session: Db) -> PreviewOut:
        """Size and reach of a rule, with the reasons for the difference and a few of its people."""
        await audiences.check_rule(session, data.rule)
        who = audiences.people_of_rule(data.rule)
        reach = await audiences.reach(session, who, await audiences.purpose_named(session, data.purpose))
        sample = await audiences.sample(session, who)
        return PreviewOut(reach.size, reach.reachable, reach.unreachable, await people_out(session, sample))
