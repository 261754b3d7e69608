"""Webhooks from other systems: who may send, how it is read, what became of it, trying and replaying."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from litestar import Controller, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from api import downloads
from api.auth import READ_MARKETING, AuthedRequest, allow
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut, Words
from api.source_door import in_own_transaction, times_refused
from api.state import Db, Held, Now
from core.errors import RuleViolation
from core.models import InboundDelivery, InboundSource
from core.services import people, sources, sources_mapping, sources_taking
from core.services.paging import Page, encode
from core.services.sources import Wanted
from core.services.sources_taking import Means, Result
from core.settings import Settings
from core.shapes import Country
from core.statuses import Membership, SourceMakes, SourceScheme, TakenStatus

ADMIN = allow()
Path = Annotated[str, Meta(max_length=500)]
Header = Annotated[str, Meta(max_length=99)]
Mapping = Annotated[dict[str, Path], Meta(max_length=sources_mapping.MAX_FIELDS)]
Secret = Annotated[str, Meta(min_length=sources.MIN_SECRET, max_length=sources.MAX_SECRET)]
MOST_REPLAYED = 100


class SourceIn(Struct, forbid_unknown_fields=True):
    """`mapping` is our field → path in their JSON; headers that are left out are the scheme's usual ones."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    makes: SourceMakes
    mapping: Mapping
    scheme: SourceScheme = SourceScheme.STANDARD
    signature_header: Header | None = None
    id_header: Header | None = None
    items: Path | None = None
    region: Country | None = None
    audience_id: UUID | None = None
    membership: Membership | None = None

    def wanted(self) -> Wanted:
        return Wanted(
            name=self.name,
            scheme=self.scheme,
            signature_header=self.signature_header,
            id_header=self.id_header,
            makes=self.makes,
            mapping=self.mapping,
            items=self.items,
            region=self.region,
            audience_id=self.audience_id,
            membership=self.membership,
        )


class NewSourceIn(SourceIn, forbid_unknown_fields=True):
    secret: Secret | None = None  # the other system's own, where it does not take ours


class SourceOut(Struct):
    id: UUID
    url: str
    name: str
    scheme: SourceScheme
    signature_header: str | None
    id_header: str | None
    makes: SourceMakes
    mapping: dict[str, Any]
    items: str | None
    region: str | None
    audience_id: UUID | None
    membership: Membership | None
    own_secret: bool  # the other system's own secret is in use, not ours
    rotated_at: datetime | None
    disabled_at: datetime | None
    created_at: datetime
    refused: int | None = None  # requests without a right signature; null while that cannot be read
    secret: str | None = None  # once, when the source was made with a secret of ours

    @classmethod
    def of(cls, source: InboundSource, settings: Settings, *, refused: int | None = None) -> Self:
        return cls(
            id=source.id,
            url=f"{settings.links_url}/in/{source.id}",
            name=source.name,
            scheme=source.scheme,
            signature_header=source.signature_header,
            id_header=source.id_header,
            makes=source.makes,
            mapping=source.mapping,
            items=source.items,
            region=source.region,
            audience_id=source.audience_id,
            membership=source.membership,
            own_secret=source.sealed_secret is not None,
            rotated_at=source.rotated_at,
            disabled_at=source.disabled_at,
            created_at=source.created_at,
            refused=refused,
        )


class RotateIn(Struct, forbid_unknown_fields=True):
    secret: Secret | None = None  # null: a new one of ours


class SecretOut(Struct):
    secret: str | None  # null when it is the other system's own: it knows it


class FieldOut(Struct):
    makes: SourceMakes
    name: str
    meaning: str
    needed: bool


class TryIn(Struct, forbid_unknown_fields=True):
    """`body` is what the other system would send, as text; `mapping` and `items` replace the source's when given."""

    body: Annotated[str, Meta(max_length=1 << 20)]
    mapping: Mapping | None = None
    items: Path | None = None


class TryNewIn(Struct, forbid_unknown_fields=True):
    body: Annotated[str, Meta(max_length=1 << 20)]
    source: SourceIn


class ItemOut(Struct):
    index: int
    verdict: str
    reason: str | None
    values: dict[str, Any] | None
    contact_id: UUID | None


class TriedOut(Struct):
    status: TakenStatus
    reason: str | None
    counts: dict[str, int]
    items: list[ItemOut]

    @classmethod
    def of(cls, result: Result) -> Self:
        items = [ItemOut(each.index, each.verdict, each.reason, each.values, each.contact_id) for each in result.items]
        return cls(result.status, result.reason, result.counts, items)


class DeliveryOut(Struct):
    id: UUID
    key: str
    status: TakenStatus
    reason: str | None
    counts: dict[str, Any]
    rejected: list[Any]  # index and reason of each item that did not take effect
    tries: int
    kept: bool  # the body is kept, and can be tried again
    tried_at: datetime
    created_at: datetime

    @classmethod
    def of(cls, row: InboundDelivery) -> Self:
        return cls(
            id=row.id,
            key=row.key,
            status=row.status,
            reason=row.reason,
            counts=row.counts,
            rejected=row.rejected,
            tries=row.tries,
            kept=row.body is not None,
            tried_at=row.tried_at,
            created_at=row.created_at,
        )


class BodyOut(Struct):
    body: str


class ReplayIn(Struct, forbid_unknown_fields=True):
    cursor: str | None = None


class ReplayedOut(Struct):
    """How many of the kept bodies took effect now; `next` goes on with the following ones, null at the end."""

    tried: int = 0
    applied: int = 0
    next: str | None = None


_COLUMNS = ("id", "key", "received_at", "status", "reason", "counts", "rejected", "tries", "tried_at", "kept")


def _cells(row: InboundDelivery) -> list[downloads.Cell]:
    counts = ", ".join(f"{count} {name}" for name, count in row.counts.items())
    kept = row.body is not None
    rejected = len(row.rejected)
    return [
        *(str(row.id), row.key, row.created_at, row.status.value, row.reason),
        *(counts, rejected, row.tries, row.tried_at, kept),
    ]


class SourceController(Controller):
    path = "/sources"
    tags = ("Webhooks from other systems",)

    @get("/fields", guards=[READ_MARKETING], sync_to_thread=False)
    def fields(self) -> PageOut[FieldOut]:
        """What may be mapped; contacts have `attributes.NAME` besides."""
        rows = [
            FieldOut(makes, name, meaning, name in sources_mapping.NEEDED[makes])
            for makes, fields in sources_mapping.FIELDS.items()
            for name, meaning in fields.items()
        ]
        return PageOut(rows, None)

    @get(guards=[READ_MARKETING])
    async def list_sources(
        self, session: Db, parts: Held, q: Words = None, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[SourceOut]:
        found = await sources.list_page(session, words=q, limit=limit, cursor=cursor)
        refused = await times_refused(parts, [each.id for each in found.items])
        return PageOut(
            [SourceOut.of(each, parts.settings, refused=refused[each.id]) for each in found.items], found.next
        )

    @post(guards=[ADMIN])
    async def add(
        self, data: JSONBody[NewSourceIn], request: AuthedRequest, parts: Held, session: Db
    ) -> Response[SourceOut]:
        """A new source, on at once. The answer holds the secret, unless it is the other system's own."""

        async def make() -> SourceOut:
            source = await sources.add(
                session, data.wanted(), secret=data.secret, keyring=parts.keyring, created_by=request.user.user_id
            )
            await people.note(session, request.user, "source.added", "source", source.id)
            return SourceOut.of(source, parts.settings, refused=0)

        answer = await once(request, session, SourceOut, make)
        if data.secret is None:  # put in afterwards: what `once` remembers is in the database
            source = await sources.get(session, answer.content.id)
            answer.content.secret = sources.secret_of(source, parts.keyring)
        return answer

    @get("/{source_id:uuid}", guards=[READ_MARKETING])
    async def read(self, source_id: FromPath[UUID], session: Db, parts: Held) -> SourceOut:
        source = await sources.get(session, source_id)
        refused = await times_refused(parts, [source_id])
        return SourceOut.of(source, parts.settings, refused=refused[source_id])

    @put("/{source_id:uuid}", guards=[ADMIN])
    async def change(
        self, source_id: FromPath[UUID], data: JSONBody[SourceIn], request: AuthedRequest, parts: Held, session: Db
    ) -> SourceOut:
        """Replace everything but the scheme and the secret."""
        source = await sources.change(session, source_id, data.wanted())
        await people.note(session, request.user, "source.changed", "source", source_id)
        return SourceOut.of(source, parts.settings)

    @delete("/{source_id:uuid}", guards=[ADMIN])
    async def remove(self, source_id: FromPath[UUID], request: AuthedRequest, session: Db) -> None:
        """The source and its log; people and orders that came from it stay."""
        await sources.remove(session, source_id)
        await people.note(session, request.user, "source.removed", "source", source_id)

    @post("/{source_id:uuid}/rotate", guards=[ADMIN], status_code=200)
    async def rotate(
        self,
        source_id: FromPath[UUID],
        data: JSONBody[RotateIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> SecretOut:
        """Another secret, shown this once; the one before is valid for another 24 hours."""
        source = await sources.rotate(session, source_id, secret=data.secret, keyring=parts.keyring, now=now)
        await people.note(session, request.user, "source.rotated", "source", source_id)
        return SecretOut(None if data.secret is not None else sources.secret_of(source, parts.keyring))

    @post("/{source_id:uuid}/disable", guards=[ADMIN], status_code=200)
    async def disable(
        self, source_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> SourceOut:
        """Refuse what it sends, with 404, until it is enabled again."""
        source = await sources.set_active(session, source_id, active=False, now=now)
        await people.note(session, request.user, "source.disabled", "source", source_id)
        return SourceOut.of(source, parts.settings)

    @post("/{source_id:uuid}/enable", guards=[ADMIN], status_code=200)
    async def enable(
        self, source_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> SourceOut:
        source = await sources.set_active(session, source_id, active=True, now=now)
        await people.note(session, request.user, "source.enabled", "source", source_id)
        return SourceOut.of(source, parts.settings)

    @post("/try", guards=[ADMIN], status_code=200)
    async def try_new(self, data: JSONBody[TryNewIn], parts: Held, session: Db, now: Now) -> TriedOut:
        """What a body would do if there were this source; nothing is changed."""
        target = sources_taking.target_of(data.source.wanted())
        means = Means(parts.keyring, parts.settings, now)
        return TriedOut.of(await sources_taking.attempt(session, target, data.body.encode(), means))

    @post("/{source_id:uuid}/try", guards=[ADMIN], status_code=200)
    async def try_body(
        self, source_id: FromPath[UUID], data: JSONBody[TryIn], parts: Held, session: Db, now: Now
    ) -> TriedOut:
        """What a body would do, with the source's mapping or with another one; nothing is changed."""
        source = await sources.get(session, source_id)
        mapping = source.mapping if data.mapping is None else data.mapping
        target = sources_taking.target_with(source, mapping, source.items if data.items is None else data.items)
        means = Means(parts.keyring, parts.settings, now)
        return TriedOut.of(await sources_taking.attempt(session, target, data.body.encode(), means))

    @get("/{source_id:uuid}/deliveries", guards=[READ_MARKETING])
    async def deliveries(
        self,
        source_id: FromPath[UUID],
        session: Db,
        status: Annotated[TakenStatus | None, QueryParameter(description="applied, partly or failed")] = None,
        q: Annotated[str | None, QueryParameter(max_length=200, description="Part of the id or the reason")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[DeliveryOut]:
        """What it sent, newest first."""
        found = await sources.deliveries(session, source_id, status=status, words=q, limit=limit, cursor=cursor)
        return PageOut([DeliveryOut.of(row) for row in found.items], found.next)

    @get("/{source_id:uuid}/deliveries.csv", guards=[READ_MARKETING], media_type="text/csv")
    async def export_deliveries(
        self,
        source_id: FromPath[UUID],
        session: Db,
        parts: Held,
        status: Annotated[TakenStatus | None, QueryParameter(description="applied, partly or failed")] = None,
        q: Annotated[str | None, QueryParameter(max_length=200, description="Part of the id or the reason")] = None,
    ) -> Stream:
        """The same as CSV."""
        await sources.get(session, source_id)

        async def read(own: AsyncSession, cursor: str | None) -> Page[InboundDelivery]:
            return await sources.deliveries(
                own, source_id, status=status, words=q, limit=downloads.LIMIT, cursor=cursor
            )

        return downloads.csv_file(parts.sessions, f"deliveries-{source_id}", list(_COLUMNS), read, _cells)

    @get("/{source_id:uuid}/deliveries/{delivery_id:uuid}/body", guards=[ADMIN])
    async def body(
        self, source_id: FromPath[UUID], delivery_id: FromPath[UUID], request: AuthedRequest, session: Db
    ) -> BodyOut:
        """A kept body, to mend the mapping with; who looked at it is on record."""
        row = await sources.delivery(session, source_id, delivery_id)
        if row.body is None:
            raise RuleViolation("nothing is kept of this delivery: it took effect, or its body was deleted")
        await people.note(session, request.user, "source.body_shown", "source", source_id, delivery=str(delivery_id))
        return BodyOut(row.body.decode("utf-8", "replace"))

    @post("/{source_id:uuid}/deliveries/{delivery_id:uuid}/replay", guards=[ADMIN], status_code=200)
    async def replay_one(
        self,
        source_id: FromPath[UUID],
        delivery_id: FromPath[UUID],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> TriedOut:
        """Try a kept body again with the mapping as it is now."""
        source = await sources.get(session, source_id)
        await sources.delivery(session, source_id, delivery_id)
        result = await sources_taking.replay(session, source, delivery_id, Means(parts.keyring, parts.settings, now))
        await people.note(session, request.user, "source.replayed", "source", source_id, deliveries=1)
        return TriedOut.of(result)

    @post("/{source_id:uuid}/replay", guards=[ADMIN], status_code=200)
    async def replay(
        self,
        source_id: FromPath[UUID],
        data: JSONBody[ReplayIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> ReplayedOut:
        """Try up to 100 kept bodies again, oldest first, each in a transaction of its own."""
        await sources.get(session, source_id)
        ids = await sources.waiting(session, source_id, cursor=data.cursor, limit=MOST_REPLAYED)
        await people.note(session, request.user, "source.replayed", "source", source_id, deliveries=len(ids))
        means = Means(parts.keyring, parts.settings, now)
        done = ReplayedOut(next=encode(ids[-1]) if len(ids) == MOST_REPLAYED else None)
        for delivery_id in ids:

            async def again(own: AsyncSession, each: UUID = delivery_id) -> Result | None:
                source = await sources.get(own, source_id)
                return await sources_taking.replay_if_kept(own, source, each, means)

            result = await in_own_transaction(parts, again)
            done.tried += result is not None
            done.applied += result is not None and result.status is TakenStatus.APPLIED
        return done
