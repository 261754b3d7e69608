"""Contacts: found by any spelling of their number, with their consents and messages."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from api.auth import CONSENT, READ_PEOPLE, AuthedRequest
from api.campaign_shapes import MessageOut
from api.paging import Cursor, Limit, PageOut, Words
from api.privacy import HeldOut
from api.sentences import WORDS
from api.state import Db, Held
from core.models import ConsentEvent, ConsentState, Contact
from core.services import consents, contacts, erased, people
from core.services.erased import Stub
from core.services.paging import MAX_PAGE
from core.statuses import DeliveryStatus


class ContactOut(Struct):
    id: UUID
    name: str | None
    phone_masked: str | None
    country: str | None
    language: str | None
    time_zone: str | None
    attributes: dict[str, Any]
    tags: list[str]
    created_at: datetime
    last_seen_at: datetime | None
    erased_at: datetime | None
    closed_at: datetime | None
    merged_into: UUID | None

    @classmethod
    def of(cls, contact: Contact, number: str | None) -> Self:
        return cls(
            id=contact.id,
            name=contact.name,
            phone_masked=number,
            country=contact.country,
            language=contact.language,
            time_zone=contact.time_zone,
            attributes=contact.attributes,
            tags=contact.tags,
            created_at=contact.created_at,
            last_seen_at=contact.last_seen_at,
            erased_at=contact.erased_at,
            closed_at=contact.closed_at,
            merged_into=contact.merged_into,
        )


class StateOut(Struct):
    purpose: str
    state: str
    grade: str | None
    expires_at: datetime | None
    reason: str | None
    overlays: list[Any]

    @classmethod
    def of(cls, row: ConsentState) -> Self:
        return cls(row.purpose, row.state, row.grade, row.expires_at, row.reason, row.overlays)


class EventOut(Struct):
    """One sealed event; the fields are the ledger's own."""

    seq: int
    event_type: str
    purpose: str
    next_state: str | None
    grade: str | None
    method: str | None
    reason: str | None
    occurred_at: str  # as the source claims
    recorded_at: str  # when it was sealed
    leaf_hash: str

    @classmethod
    def of(cls, event: ConsentEvent) -> Self:
        return cls(
            seq=event.seq,
            event_type=event.event_type,
            purpose=event.purpose,
            next_state=event.next_state,
            grade=event.grade,
            method=event.method,
            reason=event.reason,
            occurred_at=str(msgspec.json.decode(event.core)["occurred_at"]),
            recorded_at=event.recorded_at,
            leaf_hash=event.leaf_hash,
        )


class ConsentsOut(Struct):
    states: list[StateOut]
    events: list[EventOut]


class EvidenceOut(Struct):
    seq: int
    core: dict[str, Any]
    evidence: dict[str, Any] | None  # null where there was none, or erasure took it


class SentOut(Struct):
    """A message that was sent to somebody since erased: what it relied on, and no word of what it said."""

    id: UUID
    campaign_id: UUID | None
    purpose: str
    permit_seq: int | None  # the ledger's event it relied on
    permitted_at: datetime | None
    status: DeliveryStatus


class StubOut(Struct):
    """What is left of an erased person: their sealed events, and facts about what they were sent.

    `reason` is erasure when they asked for it, retention when their time was over; `cause` is the request's id.
    """

    contact_id: UUID
    erased_at: datetime
    reason: str
    cause: str | None
    events: list[dict[str, Any]]
    messages: list[SentOut]
    held: HeldOut | None

    @classmethod
    def of(cls, stub: Stub) -> Self:
        sent = [
            SentOut(each.id, each.campaign_id, each.purpose, each.permit_seq, each.permitted_at, each.status)
            for each in stub.messages
        ]
        events = [msgspec.json.decode(each.core) for each in stub.events]
        held = HeldOut.of(stub.held) if stub.held else None
        return cls(stub.contact_id, stub.erased_at, stub.reason, stub.cause, events, sent, held)


class ContactController(Controller):
    path = "/contacts"
    tags = ("Contacts",)

    @get(guards=[READ_PEOPLE])
    async def search(
        self,
        session: Db,
        parts: Held,
        phone: Annotated[str | None, QueryParameter(max_length=50, description="A number in any spelling")] = None,
        q: Words = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[ContactOut]:
        found = await contacts.search(
            session, number=phone, words=q, region=parts.settings.country, limit=limit, cursor=cursor
        )
        numbers = await contacts.masked_numbers(session, [contact.id for contact in found.items])
        return PageOut([ContactOut.of(contact, numbers[contact.id]) for contact in found.items], found.next)

    @get("/erased", guards=[CONSENT])
    async def erased(
        self,
        request: AuthedRequest,
        parts: Held,
        session: Db,
        phone: Annotated[str, QueryParameter(max_length=50, description="The number they state, in any spelling")],
        reason: Annotated[
            str, QueryParameter(min_length=5, max_length=300, pattern=WORDS, description="Why you look; it is logged")
        ],
    ) -> list[StubOut]:
        """Somebody who was erased complains: their sealed consents, and what was sent on them, by the number alone."""
        stubs = await erased.by_number(
            session, phone, region=parts.settings.country, keyring=parts.keyring, limit=MAX_PAGE
        )
        for stub in stubs:
            await people.note(
                session, request.user, "contact.erased_looked_up", "contact", stub.contact_id, reason=reason
            )
        return [StubOut.of(stub) for stub in stubs]

    @get("/{contact_id:uuid}", guards=[READ_PEOPLE])
    async def read(self, contact_id: FromPath[UUID], session: Db) -> ContactOut:
        contact = await contacts.get(session, contact_id)
        return ContactOut.of(contact, (await contacts.masked_numbers(session, [contact_id]))[contact_id])

    @get("/{contact_id:uuid}/consents", guards=[READ_PEOPLE])
    async def consents(self, contact_id: FromPath[UUID], session: Db) -> ConsentsOut:
        """What the person allows now, and every event that led there."""
        await contacts.get(session, contact_id)
        states = await contacts.consent_states(session, contact_id)
        events = [EventOut.of(event) for event in await contacts.ledger_events(session, contact_id)]
        return ConsentsOut([StateOut.of(row) for row in states], events)

    @get("/{contact_id:uuid}/messages", guards=[READ_PEOPLE])
    async def messages(
        self, contact_id: FromPath[UUID], session: Db, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[MessageOut]:
        contact = await contacts.get(session, contact_id)
        number = (await contacts.masked_numbers(session, [contact_id]))[contact_id]
        found = await contacts.messages_of(session, contact_id, limit=limit, cursor=cursor)
        return PageOut([MessageOut.of(each, contact.name, number) for each in found.items], found.next)

    @get("/{contact_id:uuid}/evidence", guards=[CONSENT])
    async def evidence(
        self,
        contact_id: FromPath[UUID],
        request: AuthedRequest,
        session: Db,
        reason: Annotated[
            str, QueryParameter(min_length=5, max_length=300, pattern=WORDS, description="Why you look; it is logged")
        ],
    ) -> list[EvidenceOut]:
        """The evidence behind each event: compliance only, with a reason, and on record."""
        await contacts.get(session, contact_id)
        trail = await consents.history(session, contact_id)
        await people.note(session, request.user, "evidence.revealed", "contact", contact_id, reason=reason)
        return [
            EvidenceOut(entry.seq, dict(entry.core), dict(entry.evidence) if entry.evidence else None)
            for entry in trail
        ]
