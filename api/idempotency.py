"""`Idempotency-Key`: a POST repeated with the same key gets the same answer and does nothing again.

The answer is stored in the transaction that does the work, so both happen or neither.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from litestar import Response
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import AuthedRequest
from core.errors import RuleViolation
from core.models import IdempotencyKey

Shape = TypeVar("Shape")

HEADER = "idempotency-key"
MAX_KEY = 200


async def once(
    request: AuthedRequest,
    session: AsyncSession,
    shape: type[Shape],
    make: Callable[[], Awaitable[Shape]],
    *,
    status: int = 201,
    digest: str | None = None,
) -> Response[Shape]:
    """Do the work unless the same caller did it under this key; raises RuleViolation when the body differs.

    `digest` stands for the body of a form, which was consumed when it was read.
    """
    key = request.headers.get(HEADER)
    if not key:
        return Response(await make(), status_code=status)
    if len(key) > MAX_KEY:
        raise RuleViolation(f"an Idempotency-Key has {MAX_KEY} characters at most", field=HEADER)
    caller = f"{request.user.id}|{request.method}|{request.url.path}|{key}"
    scope = hashlib.sha256(caller.encode()).hexdigest()
    digest = digest or hashlib.sha256(await request.body()).hexdigest()
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(scope, 0))))
    known = await session.scalar(select(IdempotencyKey).where(IdempotencyKey.scope == scope))
    if known is not None:
        if known.request_hash != digest:
            raise RuleViolation("this Idempotency-Key was used for another request: use a new one", field=HEADER)
        return Response(msgspec.json.decode(known.body, type=shape), status_code=known.status)
    made = await make()
    session.add(IdempotencyKey(scope=scope, request_hash=digest, status=status, body=msgspec.json.encode(made)))
    return Response(made, status_code=status)
