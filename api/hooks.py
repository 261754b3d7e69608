"""Webhooks we send: who is told which facts, the log of deliveries, replay."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from litestar import Controller, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta, Struct

from api.auth import READ_MARKETING, AuthedRequest, allow
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.sentences import WORDS
from api.state import Db, Held, Now
from core import hooks as standard
from core.errors import RuleViolation
from core.models import Hook, HookDelivery
from core.services import hooks, people
from core.statuses import HookStatus

ADMIN = allow()


class HookIn(Struct, forbid_unknown_fields=True):
    url: Annotated[str, Meta(min_length=8, max_length=2000)]
    events: Annotated[list[str], Meta(max_length=50)]
    description: Annotated[str, Meta(max_length=200)] = ""
    include_phone: bool = False  # the person's number in what concerns a person


class HookOut(Struct):
    id: UUID
    url: str
    events: list[str]
    description: str
    include_phone: bool
    rotated_at: datetime | None
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime

    @classmethod
    def of(cls, hook: Hook) -> Self:
        return cls(
            id=hook.id,
            url=hook.url,
            events=hook.events,
            description=hook.description,
            include_phone=hook.include_phone,
            rotated_at=hook.rotated_at,
            failing_since=hook.failing_since,
            disabled_at=hook.disabled_at,
            disabled_reason=hook.disabled_reason,
            created_at=hook.created_at,
        )


class SecretOut(Struct):
    secret: str  # whsec_…, as the libraries of standardwebhooks.com take it


class EventTypeOut(Struct):
    name: str
    meaning: str


class ReasonIn(Struct, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=1, max_length=300, pattern=WORDS)]


class ReplayIn(Struct, forbid_unknown_fields=True):
    since: datetime
    until: datetime
    only_failed: bool = False


class ReplayedOut(Struct):
    deliveries: int


class DeliveryOut(Struct):
    id: UUID
    event_id: str
    event_type: str
    status: HookStatus
    attempts: int
    next_at: datetime | None  # of the next try
    delivered_at: datetime | None
    http_status: int | None
    error: str | None
    duration_ms: int | None
    created_at: datetime

    @classmethod
    def of(cls, row: HookDelivery) -> Self:
        return cls(
            id=row.id,
            event_id=row.event_id,
            event_type=row.event_type,
            status=row.status,
            attempts=row.attempts,
            next_at=row.next_at if row.status is HookStatus.WAITING else None,
            delivered_at=row.delivered_at,
            http_status=row.http_status,
            error=row.error,
            duration_ms=row.duration_ms,
            created_at=row.created_at,
        )


class HookController(Controller):
    path = "/hooks"
    tags = ("Webhooks we send",)

    @get("/event-types", guards=[READ_MARKETING], sync_to_thread=False)
    def event_types(self) -> PageOut[EventTypeOut]:
        """What a webhook may be told about."""
        return PageOut([EventTypeOut(name, meaning) for name, meaning in standard.EVENT_TYPES.items()], None)

    @get(guards=[READ_MARKETING])
    async def list_hooks(self, session: Db) -> PageOut[HookOut]:
        return PageOut([HookOut.of(hook) for hook in await hooks.list_all(session)], None)

    @post(guards=[ADMIN])
    async def add(self, data: JSONBody[HookIn], request: AuthedRequest, parts: Held, session: Db) -> Response[HookOut]:
        """Tell this address about everything of these types that happens from now on."""

        async def make() -> HookOut:
            hook = await hooks.add(
                session,
                url=data.url,
                description=data.description,
                events=data.events,
                include_phone=data.include_phone,
                settings=parts.settings,
                created_by=request.user.user_id,
            )
            await people.note(session, request.user, "hook.added", "hook", hook.id)
            return HookOut.of(hook)

        return await once(request, session, HookOut, make)

    @put("/{hook_id:uuid}", guards=[ADMIN])
    async def change(
        self, hook_id: FromPath[UUID], data: JSONBody[HookIn], request: AuthedRequest, parts: Held, session: Db
    ) -> HookOut:
        hook = await hooks.change(
            session,
            hook_id,
            url=data.url,
            description=data.description,
            events=data.events,
            include_phone=data.include_phone,
            settings=parts.settings,
        )
        await people.note(session, request.user, "hook.changed", "hook", hook_id)
        return HookOut.of(hook)

    @delete("/{hook_id:uuid}", guards=[ADMIN])
    async def remove(self, hook_id: FromPath[UUID], request: AuthedRequest, session: Db) -> None:
        """The subscription and the log of its deliveries."""
        await hooks.remove(session, hook_id)
        await people.note(session, request.user, "hook.removed", "hook", hook_id)

    @get("/{hook_id:uuid}/secret", guards=[ADMIN])
    async def secret(
        self, hook_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> SecretOut:
        """The secret that signs; who looked at it is on record."""
        hook = await hooks.get(session, hook_id)
        await people.note(session, request.user, "hook.secret_shown", "hook", hook_id)
        return SecretOut(standard.secret_text(hooks.secrets(hook, parts.keyring, now)[0]))

    @post("/{hook_id:uuid}/rotate", guards=[ADMIN], status_code=200)
    async def rotate(
        self, hook_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> SecretOut:
        """A new secret; for 24 hours everything carries a signature of the old one too."""
        hook = await hooks.rotate(session, hook_id, now=now)
        await people.note(session, request.user, "hook.rotated", "hook", hook_id)
        return SecretOut(standard.secret_text(hooks.secrets(hook, parts.keyring, now)[0]))

    @post("/{hook_id:uuid}/disable", guards=[ADMIN], status_code=200)
    async def disable(
        self, hook_id: FromPath[UUID], data: JSONBody[ReasonIn], request: AuthedRequest, session: Db, now: Now
    ) -> HookOut:
        """Tell it nothing any more; what waits stays until it is enabled again."""
        hook = await hooks.disable(session, hook_id, reason=data.reason, now=now)
        await people.note(session, request.user, "hook.disabled", "hook", hook_id, reason=data.reason)
        return HookOut.of(hook)

    @post("/{hook_id:uuid}/enable", guards=[ADMIN], status_code=200)
    async def enable(self, hook_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now) -> HookOut:
        hook = await hooks.enable(session, hook_id, now=now)
        await people.note(session, request.user, "hook.enabled", "hook", hook_id)
        return HookOut.of(hook)

    @post("/{hook_id:uuid}/test", guards=[ADMIN], status_code=202)
    async def test(self, hook_id: FromPath[UUID], session: Db, now: Now) -> DeliveryOut:
        """Send it an event of type hook.test; the log tells what became of it."""
        return DeliveryOut.of(await hooks.test(session, hook_id, now=now))

    @get("/{hook_id:uuid}/deliveries", guards=[READ_MARKETING])
    async def deliveries(
        self,
        hook_id: FromPath[UUID],
        session: Db,
        status: Annotated[HookStatus | None, QueryParameter(description="waiting, delivered or failed")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[DeliveryOut]:
        """What it was sent in the last 30 days, newest first."""
        found = await hooks.deliveries(session, hook_id, status=status, limit=limit, cursor=cursor)
        return PageOut([DeliveryOut.of(row) for row in found.items], found.next)

    @post("/{hook_id:uuid}/replay", guards=[ADMIN], status_code=202)
    async def replay(
        self, hook_id: FromPath[UUID], data: JSONBody[ReplayIn], request: AuthedRequest, session: Db, now: Now
    ) -> ReplayedOut:
        """Send again what the log holds of a time; each keeps its id, so a receiver may know it."""
        if data.since.tzinfo is None or data.until.tzinfo is None:
            raise RuleViolation("an instant needs its time zone", field="since")
        count = await hooks.replay(
            session, hook_id, since=data.since, until=data.until, only_failed=data.only_failed, now=now
        )
        await people.note(session, request.user, "hook.replayed", "hook", hook_id, deliveries=count)
        return ReplayedOut(count)

    @post("/{hook_id:uuid}/deliveries/{delivery_id:uuid}/replay", guards=[ADMIN], status_code=202)
    async def replay_one(
        self, hook_id: FromPath[UUID], delivery_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now
    ) -> ReplayedOut:
        await hooks.replay_one(session, hook_id, delivery_id, now=now)
        await people.note(session, request.user, "hook.replayed", "hook", hook_id, deliveries=1)
        return ReplayedOut(1)
