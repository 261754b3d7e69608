"""Audiences: make, look at, count, and say why some of their people cannot be reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Select,
    Text,
    Uuid,
    and_,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    not_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from core import queue
from core.audience import Rule, compile_rule, places, references, with_rules
from core.consent.state import HOLD, META_STOP, UNREACHABLE, State, scopes_of
from core.consent.stored import among, among_page
from core.errors import Conflict, NotFound, RuleViolation
from core.models import (
    Audience,
    AudienceMember,
    Campaign,
    ConsentState,
    Contact,
    ContactAddress,
    InboundSource,
    PendingWithdrawal,
    Purpose,
)
from core.services import attributes
from core.services.paging import Page, page
from core.statuses import AudienceKind, SkipReason

GRADES = "ABCDE"


async def add(
    session: AsyncSession, *, name: str, kind: AudienceKind, rule: Rule | None, created_by: UUID | None
) -> Audience:
    """A static list, or a rule; raises Conflict for a name in use and RuleViolation for a rule that cannot work."""
    if (kind is AudienceKind.RULE) != (rule is not None):
        raise RuleViolation("a rule audience has a rule, a static list has none", field="rule")
    await _refuse_known(session, name, None)
    audience = Audience(name=name, kind=kind, created_by=created_by)
    if rule is not None:
        audience.rule, audience.expanded_rule = dict(rule), dict(await checked(session, rule))
    session.add(audience)
    await session.flush()
    await session.refresh(audience)
    queue.ring_after_commit(session, queue.COUNT_AUDIENCE, audience.id)
    return audience


async def change(session: AsyncSession, audience_id: UUID, *, name: str | None, rule: Rule | None) -> Audience:
    """Another name or another rule; audiences that use this one follow. Raises NotFound, Conflict, RuleViolation."""
    await _one_at_a_time(session)
    audience = await get(session, audience_id)
    if name is not None and name != audience.name:
        await _refuse_known(session, name, audience_id)
        audience.name = name
    if rule is not None:
        if audience.kind is not AudienceKind.RULE:
            raise RuleViolation("a static list has no rule", field="rule")
        audience.rule, audience.expanded_rule = dict(rule), dict(await checked(session, rule, of=audience_id))
        await session.flush()
        await _follow(session, audience)
        queue.ring_after_commit(session, queue.COUNT_AUDIENCE, audience.id)
    await session.flush()
    return audience


async def remove(session: AsyncSession, audience_id: UUID) -> None:
    """Delete an audience nothing uses; its people stay. Raises Conflict naming what uses it."""
    await _one_at_a_time(session)
    audience = await get(session, audience_id)
    campaign = await session.scalar(select(Campaign.name).where(Campaign.audience_id == audience_id).limit(1))
    if campaign is not None:
        raise Conflict(f"the campaign {campaign} uses this audience")
    source = await session.scalar(select(InboundSource.name).where(InboundSource.audience_id == audience_id).limit(1))
    if source is not None:
        raise Conflict(f"the webhooks of {source} fill this audience: change that source first")
    if users := await _using(session, audience_id):
        raise Conflict(f"the audience {users[0].name} uses this one")
    await session.delete(audience)
    await session.flush()


async def _refuse_known(session: AsyncSession, name: str, own: UUID | None) -> None:
    known = select(Audience.id).where(Audience.name == name, Audience.id != own if own else true())
    if await session.scalar(known):
        raise Conflict("an audience with this name exists already")


async def _one_at_a_time(session: AsyncSession) -> None:
    """Two changes at once could close a circle that neither sees."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('kairan.audiences', 0))"))


async def _using(session: AsyncSession, audience_id: UUID) -> list[Audience]:
    """Rule audiences whose own rule names this one."""
    named = func.jsonb_path_exists(
        Audience.rule,
        cast(literal("$.**.audience ? (@ == $id)"), JSONPATH),
        cast(literal({"id": str(audience_id)}, JSONB), JSONB),
    )
    found = await session.scalars(select(Audience).where(Audience.kind == AudienceKind.RULE, named))
    return list(found)


async def _follow(session: AsyncSession, changed: Audience) -> None:
    """Put the new rule into every rule that names it, and so on: there is no circle, so it ends."""
    for user in await _using(session, changed.id):
        if user.rule is not None:
            user.expanded_rule = dict(await checked(session, user.rule, of=user.id))
            await session.flush()
            await _follow(session, user)
            queue.ring_after_commit(session, queue.COUNT_AUDIENCE, user.id)


async def checked(session: AsyncSession, rule: Rule, *, of: UUID | None = None) -> Rule:
    """The rule with those of other rule audiences in their place.

    Raises RuleViolation naming the place: for what does not compile, for a value of another kind than its attribute,
    and for a circle, which a rule of the audience `of` would close by naming one that leads back to it.
    """
    definitions = await attributes.definitions(session)
    compile_rule(rule, definitions)
    rules: dict[UUID, Rule] = {}
    for audience_id, place in places(rule):
        named = await session.get(Audience, audience_id)
        if named is None:
            raise RuleViolation(f"{place} names an audience that does not exist", field=place)
        if of is not None and (audience_id == of or await _leads_to(session, named, of)):
            raise RuleViolation(f"{place}: {named.name} would contain itself", field=place)
        if named.kind is AudienceKind.RULE:
            rules[audience_id] = named.expanded_rule or {"any": []}
    expanded: Rule = with_rules(rule, rules)
    compile_rule(expanded, definitions)
    return expanded


async def _leads_to(session: AsyncSession, audience: Audience, target: UUID) -> bool:
    waiting, seen = list(references(audience.rule)), set[UUID]()
    while waiting:
        each = waiting.pop()
        if each == target:
            return True
        if each not in seen and (known := await session.get(Audience, each)) is not None:
            seen.add(each)
            waiting += references(known.rule)
    return False


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
        return people_of_rule(audience.expanded_rule or {"any": []})
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


async def remove_members(session: AsyncSession, audience_id: UUID, contact_ids: Sequence[UUID]) -> None:
    """Take people off a static list; those not on it stay as they are."""
    on = (AudienceMember.audience_id == audience_id, among(AudienceMember.contact_id, contact_ids))
    await session.execute(delete(AudienceMember).where(*on))


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
    """Which of these people, in the order of their ids, nothing stands in the way of."""
    statement = (
        select(Contact.id)
        .outerjoin(ConsentState, and_(ConsentState.contact_id == Contact.id, ConsentState.purpose == purpose.code))
        .where(among_page(Contact.id, contact_ids), obstacle(purpose).is_(None))
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
