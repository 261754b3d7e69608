"""How many people an audience has and how many can be reached: counted in the background, kept, shown with its age.

Counting is work for the database, so pages show what was counted last, and never count themselves.
"""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Double, Executable, Select, cast, func, literal, or_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from core.errors import RuleViolation
from core.models import Audience
from core.services import audiences

PURPOSE = "marketing"  # what reach is counted for
STALE = timedelta(minutes=15)
MEMORY = "256MB"  # for hashing a million people at once instead of looking each up
TOO_LONG_MS = 60_000
_CANCELLED = "57014"  # query_canceled
MEDIUM, HEAVY = 50_000, 500_000  # the planner's cost units: about half a second and five on two cores


class Weight(StrEnum):
    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"


@dataclass(frozen=True)
class Cost:
    """What the planner expects of a rule, before it is run: its cost units, and how many people it guesses."""

    units: int
    guess: int
    weight: Weight


class TooSlow(RuleViolation):
    code = "too_slow"


@asynccontextmanager
async def room(session: AsyncSession, *, at_most_ms: int = TOO_LONG_MS) -> AsyncIterator[None]:
    """Memory for large hashes and a limit in time, until the transaction ends; raises TooSlow at the limit."""
    await session.execute(text(f"SET LOCAL work_mem = '{MEMORY}'"))
    await session.execute(text(f"SET LOCAL statement_timeout = {at_most_ms:d}"))
    try:
        yield
    except DBAPIError as late:
        if getattr(late.orig, "sqlstate", None) != _CANCELLED:
            raise
        sentence = f"this rule takes more than {at_most_ms // 1000} s to count: make it simpler"
        raise TooSlow(sentence, field="rule") from late
    await session.execute(text("SET LOCAL statement_timeout = 0"))


class _Explain(Executable, ClauseElement):
    """What the planner expects of a statement, as JSON."""

    inherit_cache = False

    def __init__(self, statement: Select[UUID]) -> None:
        self.statement = statement


@compiles(_Explain, "postgresql")
def _explain(element: _Explain, compiler: SQLCompiler, **given: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **given)}"


async def cost(session: AsyncSession, who: Select[UUID]) -> Cost:
    """Ask the planner; nothing is run."""
    told = (await session.execute(_Explain(who))).scalar_one()
    plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
    units = round(plan["Total Cost"])
    weight = Weight.HEAVY if units >= HEAVY else Weight.MEDIUM if units >= MEDIUM else Weight.LIGHT
    return Cost(units, round(plan["Plan Rows"]), weight)


async def count(session: AsyncSession, who: Select[UUID]) -> int:
    """How many people, in one statement."""
    return await session.scalar(select(func.count()).select_from(who.subquery())) or 0


async def refresh(session: AsyncSession, audience_id: UUID, *, now: datetime) -> Audience | None:
    """Count an audience and keep the result; one that takes too long keeps the old figures and says so."""
    audience = await session.get(Audience, audience_id)
    if audience is None:
        return None
    purpose = await audiences.purpose_named(session, PURPOSE)
    began = time.monotonic()
    try:
        async with session.begin_nested(), room(session):
            reach = await audiences.reach(session, audiences.people(audience), purpose)
    except TooSlow as late:
        audience.count_error = late.message
    else:
        audience.size, audience.reachable, audience.unreachable = reach.size, reach.reachable, reach.unreachable
        audience.count_error = None
    audience.counted_at, audience.count_ms = now, round((time.monotonic() - began) * 1000)
    await session.flush()
    return audience


async def stale(session: AsyncSession, *, now: datetime, limit: int) -> list[UUID]:
    """Audiences never counted or counted long ago, the oldest count first.

    The longer a count takes, the longer it is kept: at most a hundredth of the time goes into counting one audience.
    """
    own_pace = func.make_interval(0, 0, 0, 0, 0, 0, cast(Audience.count_ms, Double) / 10)  # 100 times its length
    due = literal(now) - func.greatest(literal(STALE), own_pace)
    old = select(Audience.id).where(or_(Audience.counted_at.is_(None), Audience.counted_at < due))
    return list(await session.scalars(old.order_by(Audience.counted_at.asc().nulls_first()).limit(limit)))
