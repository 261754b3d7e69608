"""Contacts as they are worked with: profiles, edits, merges, timelines, upserts of many, and typed attributes."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, patch, post, put
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType, field

from api.auth import READ_PEOPLE, AuthedRequest, allow
from api.contacts import ContactOut, StateOut
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.sentences import WORDS
from api.state import Db, Held, Now
from core.errors import RuleViolation
from core.models import AttributeDefinition, Contact
from core.services import attributes, contacts, merging, people, profiles, upserts
from core.shapes import Country, Language, Name, Zone
from core.statuses import AttributeKind, Role

WRITE_PEOPLE = allow(Role.MARKETER, Role.COMPLIANCE)
Tags = Annotated[list[str], Meta(max_length=profiles.MAX_TAGS)]


class EditIn(Struct, forbid_unknown_fields=True):
    """What is left out stays; null empties a field. Attributes are merged, null removes one; tags are replaced."""

    name: Name | UnsetType | None = UNSET
    language: Language | UnsetType | None = UNSET
    country: Country | UnsetType | None = UNSET
    time_zone: Zone | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


class UpsertItem(EditIn, forbid_unknown_fields=True):
    """One person, named by `phone` in any spelling or by `user_id`."""

    phone: Annotated[str, Meta(max_length=50)] | UnsetType = UNSET
    user_id: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET


class UpsertIn(Struct, forbid_unknown_fields=True):
    items: Annotated[list[UpsertItem], Meta(min_length=1, max_length=upserts.MOST)]


class RowOut(Struct):
    index: int
    verdict: upserts.Verdict
    contact_id: UUID | None
    reason: str | None


class UpsertOut(Struct):
    """The counts add up to the items; `rows` are in the order of the items."""

    created: int
    updated: int
    unchanged: int
    rejected: int
    rows: list[RowOut]


class MergeIn(Struct, forbid_unknown_fields=True):
    other_id: UUID
    reason: Annotated[str, Meta(min_length=3, max_length=300, pattern=WORDS)]


class ListOut(Struct):
    id: UUID
    name: str


class CountsOut(Struct):
    messages: int
    delivered: int
    read: int
    clicks: int
    inbound: int
    orders: int
    revenue_micros: int


class ProfileOut(Struct):
    contact: ContactOut
    permissions: list[StateOut]
    counts: CountsOut
    lists: list[ListOut]
    merged: list[UUID]  # contacts that became a part of this one
    currency: str


class HappeningOut(Struct):
    """One entry; `facts` depend on the kind."""

    at: datetime
    kind: str
    facts: dict[str, Any]


class AttributeIn(Struct, forbid_unknown_fields=True):
    kind: AttributeKind
    choices: list[str] = field(default_factory=list)
    description: Annotated[str, Meta(max_length=300)] | None = None


class AttributeOut(Struct):
    name: str
    kind: AttributeKind
    choices: list[Any]
    description: str | None
    misfits: int | None = None  # people whose value is of another kind; told when the definition changes

    @classmethod
    def of(cls, row: AttributeDefinition, misfits: int | None = None) -> "AttributeOut":
        return cls(row.name, row.kind, row.choices, row.description, misfits)


def _given(item: EditIn) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(item).items() if value is not UNSET}


async def _contact_out(session: Db, contact: Contact) -> ContactOut:
    return ContactOut.of(contact, (await contacts.masked_numbers(session, [contact.id]))[contact.id])


class ProfileController(Controller):
    path = "/contacts"
    tags = ("Contacts",)

    @get("/{contact_id:uuid}/profile", guards=[READ_PEOPLE])
    async def profile(self, contact_id: FromPath[UUID], parts: Held, session: Db) -> ProfileOut:
        """Who the person is, what they allow, and how much happened."""
        contact = await contacts.get(session, contact_id)
        ids = await profiles.same_person(session, contact_id)
        counts = await profiles.counts(session, ids)
        return ProfileOut(
            contact=await _contact_out(session, contact),
            permissions=[StateOut.of(row) for row in await contacts.consent_states(session, contact_id)],
            counts=msgspec.convert(counts, CountsOut, from_attributes=True),
            lists=[ListOut(each.id, each.name) for each in await profiles.lists_of(session, contact_id)],
            merged=ids[1:],
            currency=parts.settings.currency,
        )

    @get("/{contact_id:uuid}/timeline", guards=[READ_PEOPLE])
    async def timeline(
        self, contact_id: FromPath[UUID], session: Db, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[HappeningOut]:
        """Consents, messages, clicks, answers, orders and imports, newest first."""
        await contacts.get(session, contact_id)
        found = await profiles.timeline(session, contact_id, limit=limit, cursor=cursor)
        return PageOut([HappeningOut(each.at, each.kind, each.facts) for each in found.items], found.next)

    @patch("/{contact_id:uuid}", guards=[WRITE_PEOPLE])
    async def edit(
        self, contact_id: FromPath[UUID], data: JSONBody[EditIn], request: AuthedRequest, session: Db
    ) -> ContactOut:
        """Correct what is known; values of typed attributes are checked."""
        definitions = await attributes.definitions(session)
        contact, changed = await profiles.edit(session, contact_id, _given(data), definitions)
        if changed:
            await people.note(session, request.user, "contact.edited", "contact", contact_id, fields=changed)
        return await _contact_out(session, contact)

    @post("/{contact_id:uuid}/merge", guards=[WRITE_PEOPLE], status_code=200)
    async def merge(
        self,
        contact_id: FromPath[UUID],
        data: JSONBody[MergeIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> ContactOut:
        """Make another contact a part of this one; the stricter permission counts, and there is no way back."""
        kept = await merging.merge(
            session,
            contact_id,
            data.other_id,
            actor=request.user,
            keyring=parts.keyring,
            settings=parts.settings,
            now=now,
        )
        await people.note(
            session,
            request.user,
            "contact.merged",
            "contact",
            contact_id,
            reason=data.reason,
            other_id=str(data.other_id),
        )
        return await _contact_out(session, kept)

    @post("/bulk", guards=[WRITE_PEOPLE], status_code=200)
    async def bulk(
        self, data: JSONBody[UpsertIn], request: AuthedRequest, parts: Held, session: Db
    ) -> Response[UpsertOut]:
        """Make or change up to 10,000 people; a verdict for each, and the same call again changes nothing."""

        async def make() -> UpsertOut:
            rows = await upserts.upsert(
                session,
                [_given(item) for item in data.items],
                await attributes.definitions(session),
                region=parts.settings.country,
                keyring=parts.keyring,
            )
            tally = {verdict.value: 0 for verdict in upserts.Verdict}
            for row in rows:
                tally[row.verdict.value] += 1
            await people.note(session, request.user, "contact.upserted", "contact", counts=tally)
            out = [RowOut(at, row.verdict, row.contact_id, row.reason) for at, row in enumerate(rows)]
            return UpsertOut(**tally, rows=out)

        return await once(request, session, UpsertOut, make, status=200)


class AttributeController(Controller):
    path = "/attributes"
    tags = ("Contacts",)

    @get(guards=[READ_PEOPLE])
    async def list_attributes(self, session: Db) -> PageOut[AttributeOut]:
        return PageOut([AttributeOut.of(row) for row in await attributes.list_all(session)], None)

    @put("/{name:str}", guards=[WRITE_PEOPLE])
    async def define(
        self, name: FromPath[str], data: JSONBody[AttributeIn], request: AuthedRequest, session: Db
    ) -> AttributeOut:
        """Say what kind of value an attribute holds; `misfits` counts the people who have another."""
        if data.kind is not AttributeKind.CHOICE and data.choices:
            raise RuleViolation("only a choice has choices", field="choices")
        row = await attributes.put(session, name, kind=data.kind, choices=data.choices, description=data.description)
        await people.note(session, request.user, "attribute.defined", "attribute", name, kind=data.kind.value)
        return AttributeOut.of(row, await attributes.misfits(session, row))

    @delete("/{name:str}", guards=[WRITE_PEOPLE])
    async def forget(self, name: FromPath[str], request: AuthedRequest, session: Db) -> None:
        """Forget the definition; the values stay, as text."""
        await attributes.remove(session, name)
        await people.note(session, request.user, "attribute.forgotten", "attribute", name)
