"""`POST /in/{source_id}`: what other systems send, checked over the raw bytes and applied before the answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import structlog
from litestar import Controller, Request, Response, post
from litestar.datastructures import State
from litestar.params import FromPath
from msgspec import Struct
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from api.state import Held, Now, Parts
from api.turns import Turns
from core import incoming
from core.errors import Conflict, NotFound, Unauthorized, Unavailable
from core.models import InboundSource
from core.queue import transaction
from core.services import sources, sources_taking
from core.services.sources_taking import Means, Result
from core.statuses import SourceScheme, TakenStatus

log = structlog.get_logger()

T = TypeVar("T")
AT_ONCE, IN_LINE = 8, 200
ANSWER_WITHIN_S = 8.0
TRIES = 3  # when two bodies name the same new person at the same moment
REFUSED = "source:refused:"  # a counter per source in Valkey, so that a stranger's request writes no row
COLLISIONS = ("40P01", "40001")
Stranger = Request[None, None, State]


class TakenOut(Struct):
    """`duplicate`: it took effect before, and nothing was done. `reason` says what did not take effect."""

    status: TakenStatus
    duplicate: bool = False
    counts: dict[str, int] = {}
    reason: str | None = None


class SourceDoorController(Controller):
    path = "/in"
    tags = ("Webhooks from other systems",)

    @post("/{source_id:uuid}", exclude_from_auth=True, status_code=200, request_max_body_size=incoming.MAX_BODY)
    async def receive(
        self, source_id: FromPath[UUID], request: Stranger, state: State, parts: Held, now: Now
    ) -> Response[TakenOut]:
        """Take a signed webhook: 200 once it took effect, 202 when it is kept because something in it did not.

        Both are a yes, so that no sender gives up on us for what only a better mapping can mend. 401 without a right
        signature, 404 for no source or one that is off, 413 above 1 MB, 503 when it has to be sent again.
        """
        turns: Turns = state.source_turns
        body = await request.body()
        headers = {name.lower(): value for name, value in request.headers.items()}
        means = Means(parts.keyring, parts.settings, now)

        async def take(session: AsyncSession) -> Result | None:
            source = await session.get(InboundSource, source_id)
            if source is None or source.disabled_at is not None:
                raise NotFound("there is no webhook source at this address, or it is turned off")
            keys = sources.keys_of(source, parts.keyring, now)
            header = source.signature_header
            incoming.check(source.scheme, keys, headers, body, signature_header=header, now=now)
            named = "webhook-id" if source.scheme is SourceScheme.STANDARD else source.id_header
            key = sources_taking.key_of(headers.get(named) if named else None, body)
            return await sources_taking.take(session, source, key, body, means)

        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), turns.turn():
                result = await in_own_transaction(parts, take)
        except Unauthorized:
            await _count(parts, source_id)
            raise
        except TimeoutError as late:
            raise Unavailable("the webhook could not be taken in time; send it again") from late
        if result is None:
            return Response(TakenOut(TakenStatus.APPLIED, duplicate=True), status_code=200)
        log.info("source.delivered", source_id=str(source_id), status=result.status.value, counts=result.counts)
        done = result.status is TakenStatus.APPLIED
        return Response(TakenOut(result.status, False, result.counts, result.reason), status_code=200 if done else 202)


async def in_own_transaction(parts: Parts, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Do the work, again when another transaction was in the way; raises Unavailable when it always is."""
    for _ in range(TRIES):
        try:
            async with transaction(parts.sessions, parts.ringer) as session:
                return await work(session)
        except Conflict:
            continue
        except DBAPIError as failed:
            if getattr(failed.orig, "sqlstate", None) not in COLLISIONS:
                raise
    raise Unavailable("somebody else changes the same people at this moment; send it again")


async def _count(parts: Parts, source_id: UUID) -> None:
    """One more refused signature; a lost count is only a lost count."""
    try:
        await parts.valkey.incr(f"{REFUSED}{source_id}")
    except RedisError:
        log.warning("source.refusal_not_counted", source_id=str(source_id))


async def times_refused(parts: Parts, source_ids: list[UUID]) -> dict[UUID, int | None]:
    """How many requests each source refused for their signature; null while the counter cannot be read."""
    if not source_ids:
        return {}
    try:
        counts = await parts.valkey.mget([f"{REFUSED}{each}" for each in source_ids])
    except RedisError:
        return dict.fromkeys(source_ids)
    return {each: int(count or 0) for each, count in zip(source_ids, counts, strict=True)}
