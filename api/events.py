"""What people did elsewhere, for rule audiences."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from api.auth import MARKETING, READ_MARKETING, AuthedRequest
from api.idempotency import once
from api.paging import PageOut
from api.state import Db, Held, Now
from core.services import events
from core.services.events import Happened


class EventIn(Struct, forbid_unknown_fields=True):
    """Somebody did something: name the person by one of the four. `event_id` is yours, and is counted once."""

    event: Annotated[str, Meta(min_length=1, max_length=100)]
    occurred_at: datetime
    event_id: Annotated[str, Meta(min_length=1, max_length=events.MAX_ID)] | None = None
    contact_id: UUID | None = None
    phone: Annotated[str, Meta(max_length=50)] | None = None
    user_id: Annotated[str, Meta(max_length=200)] | None = None
    link_code: Annotated[str, Meta(max_length=100)] | None = None


class EventsIn(Struct, forbid_unknown_fields=True):
    items: Annotated[list[EventIn], Meta(min_length=1, max_length=1000)]


class EventsOut(Struct):
    """`unmatched` are of nobody we know, and not kept."""

    recorded: int
    duplicates: int
    unmatched: int


class KnownOut(Struct):
    name: str
    events: int
    last_at: datetime


class EventController(Controller):
    path = "/events"
    tags = ("Events",)

    @get(guards=[READ_MARKETING])
    async def list_known(self, session: Db) -> PageOut[KnownOut]:
        """The names that were heard of, for rules."""
        return PageOut([KnownOut(each.name, each.events, each.last_at) for each in await events.known(session)], None)

    @post(guards=[MARKETING], status_code=200)
    async def record(
        self, data: JSONBody[EventsIn], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> Response[EventsOut]:
        """Report what people did; the same event again changes nothing. Only name, person and instant are kept."""

        async def make() -> EventsOut:
            told = [
                Happened(
                    name=events.named(item.event),
                    occurred_at=item.occurred_at,
                    event_id=item.event_id,
                    contact_id=item.contact_id,
                    phone=item.phone,
                    user_id=item.user_id,
                    link_code=item.link_code,
                )
                for item in data.items
            ]
            found = await events.record(session, told, region=parts.settings.country, now=now)
            return EventsOut(found.recorded, found.duplicates, found.unmatched)

        return await once(request, session, EventsOut, make, status=200)
