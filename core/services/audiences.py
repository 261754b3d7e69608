"""Audiences: make, look at, count, and say why some of their people cannot be reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, Uuid, and_, case, cast, exists, func, literal, not_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from core.audience import Rule, compile_rule, references
from core.consent.state import HOLD, META_STOP, UNREACHABLE, State, scopes_of
from core.errors import Conflict, NotFound, RuleViolation
from core.models import Audience, AudienceMember, ConsentState, Contact, ContactAddress, PendingWithdrawal, Purpose
from core.services.paging import Page, page
from core.statuses import AudienceKind, SkipReason

GRADES = "ABCDE"


async def add(
    session: AsyncSession, *, name: str, kind: AudienceKind, rule: Rule | None, created_by: UUID | None
) -> Audience:
    """A static list, or a rule; raises Conflict for a name in use and RuleViolation for a rule that cannot work."""
    if (kind is AudienceKind.RULE) != (rule is not None):
        raise RuleViolation("a rule audience has a rule, a static list has none", field="rule")
    if await session.scalar(select(Audience.id).where(Audience.name == name)):
        raise Conflict("an audience with this name exists already")
    if rule is not None:
        await check_rule(session, rule)
    audience = Audience(name=name, kind=kind, rule=dict(rule) if rule else None, created_by=created_by)
    session.add(audience)
    await session.flush()
    await session.refresh(audience)
    return audience


async def check_rule(session: AsyncSession, rule: Rule) -> None:
    """Raise RuleViolation unless the rule compiles and every audience it names exists and is static.

    Rules may use static lists only, so no circle can arise.
    """
    compile_rule(rule)
    for audience_id in references(rule):
        named = await get(session, audience_id)
        if named.kind is not AudienceKind.STATIC:
            raise RuleViolation(f"{named.name} is a rule audience; a rule may use static lists only", field="rule")


async def get(session: AsyncSession, audience_id: UUID) -> Audience:
    """The audience; raises NotFound."""
    audience = await session.get(Audience, audience_id)
    if audience is None:
        raise NotFound("no such audience", audience_id=str(audience_id))
    return audience


async def list_page(session: AsyncSession, *, words: str | None, limit: int, cursor: str | None) -> Page[Audience]:
    statement = select(Audience)
    if words:
        statement = statement.where(Audience.name.icontains(words, autoescape=True))
    return await page(session, statement, Audience.id.expression, limit=limit, cursor=cursor)


async def names(session: AsyncSession, audience_ids: Sequence[UUID]) -> dict[UUID, str]:
    rows = await session.execute(select(Audience.id, Audience.name).where(Audience.id.in_(audience_ids)))
    return {row.id: row.name for row in rows}


def people(audience: Audience) -> Select[UUID]:
    """The ids of the audience's living people."""
    if audience.kind is AudienceKind.RULE:
        return people_of_rule(audience.rule or {"any": []})
    members = select(AudienceMember.contact_id).where(AudienceMember.audience_id == audience.id)
    return select(Contact.id).where(Contact.id.in_(members), Contact.erased_at.is_(None), Contact.closed_at.is_(None))


def people_of_rule(rule: Rule) -> Select[UUID]:
    return select(Contact.id).where(compile_rule(rule))


async def add_members(
    session: AsyncSession, audience_id: UUID, contact_ids: Sequence[UUID], *, import_id: UUID | None
) -> None:
    """Put people on a static list; those on it already stay as they are."""
    if contact_ids:
        everybody = func.unnest(literal(sorted(set(contact_ids)), ARRAY(Uuid))).column_valued("contact_id")
        rows = select(literal(audience_id, Uuid), everybody, literal(import_id, Uuid))
        columns = ("audience_id", "contact_id", "import_id")
        await session.execute(insert(AudienceMember).from_select(columns, rows).on_conflict_do_nothing())


async def members(session: AsyncSession, audience_id: UUID, *, limit: int, cursor: str | None) -> Page[Contact]:
    audience = await get(session, audience_id)
    statement = select(Contact).where(Contact.id.in_(people(audience)))
    return await page(session, statement, Contact.id.expression, limit=limit, cursor=cursor)


@dataclass(frozen=True)
class Reach:
    """How many people, how many of them a message for a purpose may go to, and why not to the others."""

    size: int
    reachable: int
    unreachable: dict[str, int]


def obstacle(purpose: Purpose) -> Any:
    """Why a contact could not be messaged for the purpose as things stand; null when nothing is in the way.

    Advice for planning: the send gate alone decides, when a message is sent, and it also reads the ledger.
    """
    address = exists(
        select(1).where(ContactAddress.contact_id == Contact.id, ContactAddress.closed_at.is_(None)).correlate(Contact)
    )
    pending = exists(select(1).where(PendingWithdrawal.contact_id == Contact.id).correlate(Contact))
    state, wide = ConsentState, aliased(ConsentState)
    # Who said stop before ever being asked has a state for the wider scope only.
    scopes = [scope for scope in scopes_of(purpose.code) if scope != purpose.code]
    said_stop = (wide.contact_id == Contact.id, wide.purpose.in_(scopes), wide.state == State.WITHDRAWN)
    stopped = exists(select(1).where(*said_stop).correlate(Contact))
    weak = func.coalesce(func.strpos(GRADES, state.grade), 99) > GRADES.index(purpose.min_grade) + 1
    overlays = cast(state.overlays, Text)
    return case(
        (literal(purpose.halted), SkipReason.KILL_SWITCH.value),
        (not_(address), SkipReason.NO_ADDRESS.value),
        (pending, SkipReason.HOLD.value),
        (overlays.contains(f'"{META_STOP}'), SkipReason.META_STOP.value),
        (overlays.contains(f'"{HOLD}"'), SkipReason.HOLD.value),
        (state.state == State.WITHDRAWN, SkipReason.WITHDRAWN.value),
        (and_(state.state.is_(None), stopped), SkipReason.WITHDRAWN.value),
        (state.state == State.PENDING, SkipReason.PENDING.value),
        (state.state == State.EXPIRED, SkipReason.EXPIRED.value),
        (state.state == State.INVALID, SkipReason.INVALID.value),
        (state.state == State.CLOSED, SkipReason.TENURE_CLOSED.value),
        (not_(literal(purpose.needs_consent)), None),
        (func.coalesce(state.state, State.NONE) != State.SUBSCRIBED, SkipReason.NO_CONSENT.value),
        (state.expires_at <= func.now(), SkipReason.EXPIRED.value),
        (weak, SkipReason.GRADE_TOO_LOW.value),
        (overlays.contains(f'"{UNREACHABLE}"'), SkipReason.UNREACHABLE.value),
        else_=None,
    )


async def reach(session: AsyncSession, who: Select[UUID], purpose: Purpose) -> Reach:
    """Count the people and what stands in the way, in one statement."""
    why = obstacle(purpose).label("why")
    inner = (
        select(why)
        .select_from(Contact)
        .outerjoin(ConsentState, and_(ConsentState.contact_id == Contact.id, ConsentState.purpose == purpose.code))
        .where(Contact.id.in_(who))
        .subquery()
    )
    rows = (await session.execute(select(inner.c.why, func.count()).group_by(inner.c.why))).all()
    counts = {row[0]: row[1] for row in rows}
    size = sum(counts.values())
    return Reach(size, counts.pop(None, 0), dict(sorted(counts.items())))


async def reachable(session: AsyncSession, contact_ids: Sequence[UUID], purpose: Purpose) -> set[UUID]:
    """Which of these people nothing stands in the way of."""
    statement = (
        select(Contact.id)
        .outerjoin(ConsentState, and_(ConsentState.contact_id == Contact.id, ConsentState.purpose == purpose.code))
        .where(Contact.id.in_(contact_ids), obstacle(purpose).is_(None))
    )
    return set(await session.scalars(statement))


async def sample(session: AsyncSession, who: Select[UUID], *, size: int = 20) -> list[Contact]:
    """A few of the people, spread over the audience by a fixed shuffle."""
    statement = select(Contact).where(Contact.id.in_(who)).order_by(func.md5(func.concat(Contact.id, ""))).limit(size)
    return list(await session.scalars(statement))


async def purpose_named(session: AsyncSession, code: str) -> Purpose:
    """The purpose's current version; raises RuleViolation."""
    live = (Purpose.code == code, Purpose.retired_at.is_(None))
    found = await session.scalar(select(Purpose).where(*live).order_by(Purpose.version.desc()).limit(1))
    if found is None:
        raise RuleViolation(f"there is no purpose {code!r}", field="purpose")
    return found
