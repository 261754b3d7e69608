"""What happens by itself when somebody writes: the first rule that fits replies, tags, or hands over to a person.

Rules come after consent: stops, starts, help and answers to our own questions never reach them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core import routing
from core.consent import keywords
from core.errors import NotFound, RuleViolation
from core.models import Contact, Purpose, Reply, RoutingRule
from core.routing import Actions, Conditions, Situation
from core.services import answers, conversations, replies
from core.services.conversations import Noted
from core.services.meanings import Heard, narrowing
from core.settings import Settings
from core.statuses import InboundIntent, ReplyKind

log = structlog.get_logger()

MOST_RULES = 200
LONGEST_PAUSE = 7 * 24 * 60  # minutes


async def list_rules(session: AsyncSession) -> list[RoutingRule]:
    """The rules in the order in which they are tried."""
    return list(await session.scalars(select(RoutingRule).order_by(RoutingRule.position, RoutingRule.id)))


async def get(session: AsyncSession, rule_id: UUID) -> RoutingRule:
    """The rule; raises NotFound."""
    rule = await session.get(RoutingRule, rule_id, with_for_update=True)
    if rule is None:
        raise NotFound("no such rule", rule_id=str(rule_id))
    return rule


async def add(
    session: AsyncSession, *, name: str, conditions: Conditions, actions: Actions, pause_minutes: int, enabled: bool
) -> RoutingRule:
    """A new rule, tried last; raises RuleViolation for one that could do nothing."""
    _check(name, conditions, actions, pause_minutes)
    many, last = (await session.execute(select(func.count(), func.max(RoutingRule.position)))).one()
    if many >= MOST_RULES:
        raise RuleViolation(f"there are {MOST_RULES} rules already: take some out first")
    rule = RoutingRule(
        name=name.strip(),
        position=(last or 0) + 1,
        enabled=enabled,
        conditions=msgspec.to_builtins(conditions),
        actions=msgspec.to_builtins(actions),
        pause_minutes=pause_minutes,
    )
    session.add(rule)
    await session.flush()
    await session.refresh(rule)
    return rule


async def change(
    session: AsyncSession,
    rule_id: UUID,
    *,
    name: str,
    conditions: Conditions,
    actions: Actions,
    pause_minutes: int,
    enabled: bool,
    now: datetime,
) -> RoutingRule:
    """The rule as it shall be from now on; its place in the order stays."""
    _check(name, conditions, actions, pause_minutes)
    rule = await get(session, rule_id)
    rule.name, rule.enabled, rule.pause_minutes = name.strip(), enabled, pause_minutes
    rule.conditions, rule.actions = msgspec.to_builtins(conditions), msgspec.to_builtins(actions)
    rule.updated_at = now
    await session.flush()
    return rule


async def move(session: AsyncSession, rule_id: UUID, *, place: int) -> list[RoutingRule]:
    """Put a rule to a place, counted from 1; the others close up."""
    moved = await get(session, rule_id)
    others = [rule for rule in await list_rules(session) if rule.id != rule_id]
    others.insert(min(max(place, 1), len(others) + 1) - 1, moved)
    for position, rule in enumerate(others, start=1):
        rule.position = position
    await session.flush()
    return others


async def remove(session: AsyncSession, rule_id: UUID) -> None:
    await session.delete(await get(session, rule_id))


def _check(name: str, conditions: Conditions, actions: Actions, pause_minutes: int) -> None:
    if not name.strip():
        raise RuleViolation("give the rule a name", field="name")
    if not 1 <= pause_minutes <= LONGEST_PAUSE:
        raise RuleViolation(f"the pause is 1 to {LONGEST_PAUSE} minutes", field="pause_minutes")
    routing.check(conditions, actions)


@dataclass(frozen=True)
class Tried:
    """A rule, and why it does not fit; no reason means that it does."""

    rule: RoutingRule
    misses: Sequence[str]


def tried(rules: Sequence[RoutingRule], situation: Situation) -> list[Tried]:
    """Every enabled rule in order with what it misses."""
    return [
        Tried(rule, routing.misses(routing.read(rule.conditions, Conditions), situation))
        for rule in rules
        if rule.enabled
    ]


def first_fit(rules: Sequence[RoutingRule], situation: Situation) -> RoutingRule | None:
    return next((each.rule for each in tried(rules, situation) if not each.misses), None)


async def route(session: AsyncSession, heard: Heard, noted: Noted, *, settings: Settings, now: datetime) -> None:
    """Do what the first fitting rule says, once per person and pause."""
    rules = await list_rules(session)
    inbound = heard.inbound
    situation = Situation(
        text=inbound.words,
        payload=inbound.payload_id,
        at=inbound.occurred_at,
        zone=settings.time_zone,
        is_first=noted.is_first,
        sender_id=heard.sender_id,
        language=heard.contact.language,
    )
    rule = first_fit(rules, situation)
    if rule is None:
        return
    actions = routing.read(rule.actions, Actions)
    if actions.tag is not None:
        await _tag(session, heard.contact.id, actions.tag)
    if actions.hand_over:
        await conversations.hand_over(session, noted.conversation_id)
    if actions.reply and await _may_reply(session, heard, rule, now=now):
        await _reply(session, heard, rule, actions.reply, settings=settings, now=now)
    log.info("rule.applied", rule_id=str(rule.id), contact_id=str(heard.contact.id))


async def _may_reply(session: AsyncSession, heard: Heard, rule: RoutingRule, *, now: datetime) -> bool:
    """Not to what is old, not twice within the rule's pause, and not without end: the other side may be a machine."""
    if heard.sender_id is None or now - heard.inbound.occurred_at > answers.ANSWER_WITHIN:
        return False
    since = now - timedelta(minutes=rule.pause_minutes)
    mine = (Reply.contact_id == heard.contact.id, Reply.rule_id == rule.id, Reply.created_at > since)
    if await session.scalar(select(Reply.id).where(*mine).limit(1)) is not None:
        return False
    return not await answers.too_many(session, heard.contact.id, now=now)


async def _reply(
    session: AsyncSession, heard: Heard, rule: RoutingRule, words: str, *, settings: Settings, now: datetime
) -> None:
    assert heard.sender_id is not None
    body = routing.fill(words, name=heard.contact.name, brand=await answers.brand(session, settings))
    await replies.queue_reply(
        session,
        heard.contact,
        heard.sender_id,
        replies.text_content(body),
        kind=ReplyKind.RULE,
        until=heard.inbound.occurred_at + answers.ANSWER_WITHIN,
        settings=settings,
        now=now,
        inbound_id=heard.inbound_id,
        rule_id=rule.id,
    )


async def _tag(session: AsyncSession, contact_id: UUID, tag: str) -> None:
    lacking = (Contact.id == contact_id, ~Contact.tags.contains([tag]))
    await session.execute(update(Contact).where(*lacking).values(tags=func.array_append(Contact.tags, tag)))


@dataclass(frozen=True)
class Rehearsal:
    """What would happen if somebody wrote this: nothing is recorded or sent."""

    intent: InboundIntent
    word: str | None  # of the keyword table
    effect: str  # on consent, as a sentence
    tried: Sequence[Tried]  # empty where rules are not asked
    rule: RoutingRule | None
    reply: str | None


_EFFECTS = {
    InboundIntent.OPT_OUT: "This is a stop: the consent ends at once, and one confirmation is sent.",
    InboundIntent.AMBIGUOUS: "This may be a stop: marketing pauses, and the person is asked once whether to stop.",
    InboundIntent.OPT_IN: "This asks to start: the notice is sent with a button; only a tap on Agree subscribes.",
    InboundIntent.HELP: "This asks for help: who we are and how to stop is sent.",
    InboundIntent.REPLY: "This has no effect on consent.",
}


async def rehearse(
    session: AsyncSession,
    *,
    words: str | None,
    payload: str | None,
    at: datetime,
    is_first: bool,
    sender_id: UUID | None,
    language: str | None,
    settings: Settings,
) -> Rehearsal:
    """What would happen if somebody wrote `words` or tapped `payload` at that instant."""
    codes = await session.scalars(select(Purpose.code).where(Purpose.retired_at.is_(None)))
    purposes = narrowing(dict.fromkeys(codes))
    found = keywords.classify(words or "", language=language, purposes=purposes)
    intent = found.intent
    if payload is not None and keywords.classify_payload(payload) is not None:
        intent = InboundIntent.OPT_OUT
    if intent not in (InboundIntent.REPLY, InboundIntent.AMBIGUOUS):
        return Rehearsal(intent, found.entry, _EFFECTS[intent], (), None, None)
    situation = Situation(words, payload, at, settings.time_zone, is_first, sender_id, language)
    looked_at = tried(await list_rules(session), situation)
    rule = next((each.rule for each in looked_at if not each.misses), None)
    reply = routing.read(rule.actions, Actions).reply if rule else None
    if reply:
        reply = routing.fill(reply, name="Ana", brand=await answers.brand(session, settings))
    return Rehearsal(intent, found.entry, _EFFECTS[intent], looked_at, rule, reply)
