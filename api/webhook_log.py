"""What came of the webhooks, for people: set aside, orphans, fields, the account's events, and doing it again."""

import base64
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from litestar import Controller, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from api import downloads
from api.auth import CONSENT, MARKETING, READ_MARKETING, AuthedRequest
from api.paging import Cursor, Limit, PageOut, Words
from api.state import Db, Held, Now
from core.models import AccountEvent, ParkedStatus, WebhookEvent, WebhookField
from core.services import account_events, people, webhook_log
from core.services.paging import Page
from core.services.webhook_log import Overview
from core.statuses import AccountEventKind, Severity, WebhookStatus

MOST_IDS = 1000


class OverviewOut(Struct):
    """Counts of this moment."""

    waiting: int
    set_aside: int
    orphans: int
    parked: int
    unknown_fields: int
    oldest_waiting_at: datetime | None
    recorded_last_hour: int

    @classmethod
    def of(cls, found: Overview) -> Self:
        return cls(
            found.waiting,
            found.set_aside,
            found.orphans,
            found.parked,
            found.unknown_fields,
            found.oldest_waiting_at,
            found.recorded_last_hour,
        )


class WebhookOut(Struct):
    id: int
    received_at: datetime
    bytes: int
    status: WebhookStatus
    error: str | None

    @classmethod
    def of(cls, event: WebhookEvent) -> Self:
        return cls(event.id, event.created_at, len(event.body), event.status, event.error)


class WebhookBodyOut(WebhookOut):
    """`body_base64` is what was signed, byte for byte; `text` the same where it is text."""

    body_base64: str
    text: str


class OrphanOut(Struct):
    id: UUID
    wamid: str
    status: str
    phone_number_id: str | None
    received_at: datetime
    alerted_at: datetime | None

    @classmethod
    def of(cls, parked: ParkedStatus) -> Self:
        return cls(parked.id, parked.wamid, parked.status, parked.phone_number_id, parked.created_at, parked.alerted_at)


class FieldOut(Struct):
    name: str
    known: bool
    count: int
    first_at: datetime
    last_at: datetime

    @classmethod
    def of(cls, field: WebhookField) -> Self:
        return cls(field.name, field.known, field.count, field.first_at, field.last_at)


class AccountEventOut(Struct):
    id: UUID
    kind: AccountEventKind
    word: str
    severity: Severity
    account: str
    subject: str
    occurred_at: datetime
    effect: str | None
    value: dict[str, Any]

    @classmethod
    def of(cls, event: AccountEvent) -> Self:
        return cls(
            event.id,
            event.kind,
            event.word,
            event.severity,
            event.account,
            event.subject,
            event.occurred_at,
            event.effect,
            event.value,
        )


class ReplayIn(Struct, forbid_unknown_fields=True):
    """Which bodies: those that came in [since, until), these ids, those set aside; all that is given must hold."""

    since: Annotated[datetime, Meta(tz=True)] | None = None
    until: Annotated[datetime, Meta(tz=True)] | None = None
    ids: Annotated[list[Annotated[int, Meta(ge=1, le=2**63 - 1)]], Meta(max_length=MOST_IDS)] = []
    only_set_aside: bool = False
    dry_run: bool = True


class ReplayOut(Struct):
    bodies: int
    dry_run: bool


class WebhookLogController(Controller):
    path = "/webhooks"
    tags = ("Webhooks",)

    @get(guards=[READ_MARKETING])
    async def overview(self, session: Db) -> OverviewOut:
        """What waits, what was set aside, what nobody here sent."""
        return OverviewOut.of(await webhook_log.overview(session))

    @get("/set-aside", guards=[READ_MARKETING])
    async def list_set_aside(
        self, session: Db, q: Words = None, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[WebhookOut]:
        """Bodies that could not be recorded, with the reason, newest first."""
        found = await webhook_log.set_aside(session, words=q, limit=limit, cursor=cursor)
        return PageOut([WebhookOut.of(event) for event in found.items], found.next)

    @get("/events/{webhook_id:int}", guards=[CONSENT])
    async def read_body(self, webhook_id: FromPath[int], request: AuthedRequest, session: Db) -> WebhookBodyOut:
        """One raw body. It holds numbers and words of people, so that reading it is written down."""
        event = await webhook_log.get(session, webhook_id)
        await people.note(session, request.user, "webhook.read", "webhook", str(event.id))
        return WebhookBodyOut(
            event.id,
            event.created_at,
            len(event.body),
            event.status,
            event.error,
            base64.b64encode(event.body).decode(),
            event.body.decode("utf-8", "replace"),
        )

    @get("/orphans", guards=[READ_MARKETING])
    async def list_orphans(
        self, session: Db, q: Words = None, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[OrphanOut]:
        """Statuses of messages that nobody here has sent, a day after they came."""
        found = await webhook_log.orphans(session, words=q, limit=limit, cursor=cursor)
        return PageOut([OrphanOut.of(parked) for parked in found.items], found.next)

    @get("/fields", guards=[READ_MARKETING])
    async def list_fields(
        self, session: Db, known: FromQuery[bool | None] = None, q: Words = None
    ) -> PageOut[FieldOut]:
        """How often each field and type came; what is not known first."""
        found = await webhook_log.fields(session, known=known, words=q)
        return PageOut([FieldOut.of(field) for field in found], None)

    @get("/account-events", guards=[READ_MARKETING])
    async def list_account_events(
        self,
        session: Db,
        severity: Annotated[Severity | None, QueryParameter(description="Only these")] = None,
        q: Words = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[AccountEventOut]:
        """What the provider said about templates, numbers and the account, and what followed."""
        found = await account_events.list_events(session, severity=severity, words=q, limit=limit, cursor=cursor)
        return PageOut([AccountEventOut.of(event) for event in found.items], found.next)

    @get("/set-aside.csv", guards=[READ_MARKETING], media_type="text/csv")
    async def export_set_aside(self, parts: Held, q: Words = None) -> Stream:
        """The same as CSV."""

        async def read(session: AsyncSession, cursor: str | None) -> Page[WebhookEvent]:
            return await webhook_log.set_aside(session, words=q, limit=downloads.LIMIT, cursor=cursor)

        return downloads.csv_file(
            parts.sessions,
            "webhooks-set-aside",
            ("id", "received_at", "bytes", "reason"),
            read,
            lambda event: (event.id, event.created_at, len(event.body), event.error),
        )

    @get("/orphans.csv", guards=[READ_MARKETING], media_type="text/csv")
    async def export_orphans(self, parts: Held, q: Words = None) -> Stream:
        """The same as CSV."""

        async def read(session: AsyncSession, cursor: str | None) -> Page[ParkedStatus]:
            return await webhook_log.orphans(session, words=q, limit=downloads.LIMIT, cursor=cursor)

        return downloads.csv_file(
            parts.sessions,
            "messages-not-ours",
            ("wamid", "status", "phone_number_id", "received_at", "alerted_at"),
            read,
            lambda each: (each.wamid, each.status, each.phone_number_id, each.created_at, each.alerted_at),
        )

    @get("/fields.csv", guards=[READ_MARKETING], media_type="text/csv")
    async def export_fields(self, parts: Held, known: FromQuery[bool | None] = None, q: Words = None) -> Stream:
        """The same as CSV."""

        async def read(session: AsyncSession, cursor: str | None) -> Page[WebhookField]:
            return Page(await webhook_log.fields(session, known=known, words=q), None)

        return downloads.csv_file(
            parts.sessions,
            "webhook-fields",
            ("name", "known", "count", "first_at", "last_at"),
            read,
            lambda each: (each.name, each.known, each.count, each.first_at, each.last_at),
        )

    @get("/account-events.csv", guards=[READ_MARKETING], media_type="text/csv")
    async def export_account_events(
        self,
        parts: Held,
        severity: Annotated[Severity | None, QueryParameter(description="Only these")] = None,
        q: Words = None,
    ) -> Stream:
        """The same as CSV."""

        async def read(session: AsyncSession, cursor: str | None) -> Page[AccountEvent]:
            return await account_events.list_events(
                session, severity=severity, words=q, limit=downloads.LIMIT, cursor=cursor
            )

        return downloads.csv_file(
            parts.sessions,
            "account-events",
            ("occurred_at", "kind", "word", "severity", "subject", "account", "effect"),
            read,
            lambda event: (
                event.occurred_at,
                event.kind.value,
                event.word,
                event.severity.value,
                event.subject,
                event.account,
                event.effect,
            ),
        )

    @post("/replay", guards=[MARKETING], status_code=200)
    async def replay(self, data: JSONBody[ReplayIn], request: AuthedRequest, session: Db, now: Now) -> ReplayOut:
        """Record bodies once more; what took effect before changes nothing. A dry run only counts them."""
        done = await webhook_log.replay(
            session,
            since=data.since,
            until=data.until,
            ids=data.ids,
            only_set_aside=data.only_set_aside,
            dry_run=data.dry_run,
            now=now,
        )
        if not done.dry_run:
            await people.note(session, request.user, "webhooks.replayed", "webhook", bodies=done.bodies)
        return ReplayOut(done.bodies, done.dry_run)
