"""Making consents invalid: what it would come to, asking for it, how far it is."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import AUDIT, CONSENT, AuthedRequest
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.sentences import WORDS
from api.state import Db, Held, Now
from core.models import Invalidation
from core.services import invalidations, people
from core.statuses import InvalidationKind, WorkStatus

LONGEST = 500  # characters of a target


class InvalidationIn(Struct, forbid_unknown_fields=True):
    """`target`: the id of an import or of one version of a notice, or the exact text of a collection point."""

    kind: InvalidationKind
    target: Annotated[str, Meta(min_length=1, max_length=LONGEST)]
    reason: Annotated[str, Meta(min_length=5, max_length=300, pattern=WORDS)]


class PreviewOut(Struct):
    """Whom it would reach, each person once: the parts add up to `people`.

    `in_force` may be messaged because of it, `waiting` have not confirmed, `expired` are over; all of these become
    invalid. `elsewhere` may be messaged because of another consent and stay so; `ended` are left alone. `messages` are
    queued to those in force.
    """

    kind: InvalidationKind
    target: str
    name: str | None  # of an import or a notice
    people: int
    in_force: int
    waiting: int
    expired: int
    elsewhere: int
    ended: int
    messages: int


class InvalidationOut(Struct):
    """How far it is: `people` were found (null until they are counted), `people_done` of them are done.

    When it is done `invalid`, `kept` (by an act of their own or another consent) and `ended` (before it, such as by an
    opt-out) add up to them. `besides`: of the invalid, those with another consent that had no effect so far, and who
    may be asked again. `messages` were queued and are skipped now.
    """

    id: UUID
    kind: InvalidationKind
    target: str
    name: str | None
    reason: str
    asked_by: str | None
    status: WorkStatus
    people: int | None
    people_done: int
    invalid: int
    kept: int
    ended: int
    besides: int
    messages: int
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, asked: Invalidation, names: invalidations.Names) -> Self:
        return cls(
            id=asked.id,
            kind=asked.kind,
            target=asked.target,
            name=names.targets.get(asked.target),
            reason=asked.reason,
            asked_by=names.users.get(asked.created_by) if asked.created_by else None,
            status=asked.status,
            people=asked.people,
            people_done=asked.people_done,
            invalid=asked.counts.get("invalid", 0),
            kept=asked.counts.get("kept", 0),
            ended=asked.counts.get("ended", 0),
            besides=asked.counts.get("besides", 0),
            messages=asked.counts.get("messages", 0),
            created_at=asked.created_at,
            finished_at=asked.finished_at,
        )


Target = Annotated[str, QueryParameter(min_length=1, max_length=LONGEST)]


class InvalidationController(Controller):
    path = "/invalidations"
    tags = ("Compliance",)

    @get(guards=[AUDIT])
    async def list_all(self, session: Db, limit: Limit = 50, cursor: Cursor = None) -> PageOut[InvalidationOut]:
        """Newest first."""
        found = await invalidations.list_page(session, limit=limit, cursor=cursor)
        names = await invalidations.names_of(session, found.items)
        return PageOut([InvalidationOut.of(each, names) for each in found.items], found.next)

    @get("/preview", guards=[CONSENT])
    async def preview(self, session: Db, kind: FromQuery[InvalidationKind], target: Target) -> PreviewOut:
        """Whom it would reach as things stand now; changes nothing."""
        found = await invalidations.preview(session, kind, target)
        names = await invalidations.target_names(session, [(kind, found.target)])
        return PreviewOut(
            kind=kind,
            target=found.target,
            name=names.get(found.target),
            people=found.people,
            in_force=found.in_force,
            waiting=found.waiting,
            expired=found.expired,
            elsewhere=found.elsewhere,
            ended=found.ended,
            messages=found.messages,
        )

    @post(guards=[CONSENT], status_code=202)
    async def ask(
        self, data: JSONBody[InvalidationIn], request: AuthedRequest, session: Db, parts: Held, now: Now
    ) -> Response[InvalidationOut]:
        """Make every consent that rests on it invalid; nobody is messaged on one of them from the answer on.

        An import that is still under way ends, and a notice is shown to nobody any more. Who opted out stays opted out.
        """

        async def make() -> InvalidationOut:
            asked = await invalidations.ask(
                session,
                kind=data.kind,
                target=data.target,
                reason=data.reason,
                actor=request.user,
                keyring=parts.keyring,
                now=now,
            )
            await people.note(
                session,
                request.user,
                "consents.invalidated",
                "invalidation",
                asked.id,
                reason=data.reason,
                kind=asked.kind.value,
            )
            return await _out(session, asked)

        return await once(request, session, InvalidationOut, make, status=202)

    @get("/{invalidation_id:uuid}", guards=[AUDIT])
    async def read(self, invalidation_id: FromPath[UUID], session: Db) -> InvalidationOut:
        return await _out(session, await invalidations.get(session, invalidation_id))


async def _out(session: AsyncSession, asked: Invalidation) -> InvalidationOut:
    return InvalidationOut.of(asked, await invalidations.names_of(session, [asked]))
