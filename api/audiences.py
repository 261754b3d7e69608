"""Audiences: lists and rules."""

import time
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import MARKETING, READ_MARKETING, READ_PEOPLE, AuthedRequest
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut, Words
from api.state import Db
from core import queue
from core.models import Audience, Contact
from core.services import audience_counts, audiences, contacts, people
from core.services.audience_counts import Weight
from core.statuses import AudienceKind

PREVIEW_MS = 25_000  # the dashboard waits 30 s for an answer


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
    size: int | None  # people, when they were counted last; null before the first count
    reachable: int | None  # for marketing
    unreachable: dict[str, Any] | None  # reason → people
    counted_at: datetime | None
    count_ms: int | None
    count_error: str | None

    @classmethod
    def of(cls, audience: Audience) -> Self:
        return cls(
            audience.id,
            audience.name,
            audience.kind,
            audience.rule,
            audience.created_at,
            audience.size,
            audience.reachable,
            audience.unreachable,
            audience.counted_at,
            audience.count_ms,
            audience.count_error,
        )


class ChangeIn(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    rule: dict[str, Any] | None = None


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


class CostOut(Struct):
    """What the database's planner expects of a rule; nothing was run."""

    units: int
    guess: int  # people
    weight: Weight


class PreviewOut(Struct):
    cost: CostOut
    took_ms: int
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

    @patch("/{audience_id:uuid}", guards=[MARKETING])
    async def change(
        self, audience_id: FromPath[UUID], data: JSONBody[ChangeIn], request: AuthedRequest, session: Db
    ) -> AudienceOut:
        """Another name or another rule; what uses the audience follows."""
        changed = await audiences.change(session, audience_id, name=data.name, rule=data.rule)
        await people.note(session, request.user, "audience.changed", "audience", audience_id)
        return AudienceOut.of(changed)

    @delete("/{audience_id:uuid}", guards=[MARKETING])
    async def remove(self, audience_id: FromPath[UUID], request: AuthedRequest, session: Db) -> None:
        """Delete an audience that nothing uses."""
        await audiences.remove(session, audience_id)
        await people.note(session, request.user, "audience.deleted", "audience", audience_id)

    @post("/{audience_id:uuid}/count", guards=[READ_MARKETING], status_code=202)
    async def count(self, audience_id: FromPath[UUID], session: Db) -> AudienceOut:
        """Ask for a fresh count; a worker makes it, `counted_at` tells when it is there."""
        audience = await audiences.get(session, audience_id)
        queue.ring_after_commit(session, queue.COUNT_AUDIENCE, audience_id)
        return AudienceOut.of(audience)

    @post("/cost", guards=[MARKETING], status_code=200)
    async def cost(self, data: JSONBody[PreviewIn], session: Db) -> CostOut:
        """Check a rule and estimate what running it costs, without running it."""
        rule = await audiences.checked(session, data.rule)
        found = await audience_counts.cost(session, audiences.people_of_rule(rule))
        return CostOut(found.units, found.guess, found.weight)

    @post("/preview", guards=[MARKETING], status_code=200)
    async def preview(self, data: JSONBody[PreviewIn], session: Db) -> PreviewOut:
        """Size and reach of a rule, with the reasons for the difference and a few of its people."""
        who = audiences.people_of_rule(await audiences.checked(session, data.rule))
        purpose = await audiences.purpose_named(session, data.purpose)
        expected = await audience_counts.cost(session, who)
        began = time.monotonic()
        async with audience_counts.room(session, at_most_ms=PREVIEW_MS):
            reach = await audiences.reach(session, who, purpose)
            sample = await audiences.sample(session, who)
        return PreviewOut(
            cost=CostOut(expected.units, expected.guess, expected.weight),
            took_ms=round((time.monotonic() - began) * 1000),
            size=reach.size,
            reachable=reach.reachable,
            unreachable=reach.unreachable,
            sample=await people_out(session, sample),
        )
