"""Routing rules: what happens by itself when somebody writes, and a rehearsal of it."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from litestar import Controller, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct, field

from api.auth import MARKETING, READ_PEOPLE, AuthedRequest
from api.idempotency import once
from api.paging import PageOut
from api.state import Db, Held, Now
from core import routing as rules
from core.errors import RuleViolation
from core.models import RoutingRule
from core.routing import Actions, Conditions
from core.services import people, routing
from core.statuses import InboundIntent


class RuleIn(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    conditions: Conditions = field(default_factory=Conditions)
    actions: Actions = field(default_factory=Actions)
    pause_minutes: Annotated[int, Meta(ge=1, le=routing.LONGEST_PAUSE)] = 60  # before it answers the same person again
    enabled: bool = True


class RuleOut(Struct):
    id: UUID
    name: str
    position: int
    enabled: bool
    conditions: Conditions
    actions: Actions
    pause_minutes: int
    updated_at: datetime

    @classmethod
    def of(cls, rule: RoutingRule) -> Self:
        return cls(
            id=rule.id,
            name=rule.name,
            position=rule.position,
            enabled=rule.enabled,
            conditions=rules.read(rule.conditions, Conditions),
            actions=rules.read(rule.actions, Actions),
            pause_minutes=rule.pause_minutes,
            updated_at=rule.updated_at,
        )


class PlaceIn(Struct, forbid_unknown_fields=True):
    place: Annotated[int, Meta(ge=1, le=routing.MOST_RULES)]  # counted from 1


class RehearsalIn(Struct, forbid_unknown_fields=True):
    """A message nobody wrote; `at` is now when it is left out."""

    text: Annotated[str, Meta(max_length=4096)] | None = None
    payload: Annotated[str, Meta(max_length=256)] | None = None
    at: datetime | None = None
    first_message: bool = False
    sender_id: UUID | None = None
    language: Annotated[str, Meta(max_length=20)] | None = None


class TriedOut(Struct):
    rule_id: UUID
    name: str
    misses: list[str]  # empty: it fits


class RehearsalOut(Struct):
    intent: InboundIntent
    word: str | None
    effect: str
    rule_id: UUID | None
    rule: str | None
    reply: str | None
    tag: str | None
    hands_over: bool
    tried: list[TriedOut]


class RoutingController(Controller):
    path = "/routing-rules"
    tags = ("Conversations",)

    @get(guards=[READ_PEOPLE])
    async def list_rules(self, session: Db) -> PageOut[RuleOut]:
        """The rules in the order in which they are tried; the first that fits decides."""
        return PageOut([RuleOut.of(rule) for rule in await routing.list_rules(session)], None)

    @post(guards=[MARKETING])
    async def add(self, data: JSONBody[RuleIn], request: AuthedRequest, session: Db) -> Response[RuleOut]:
        """A new rule, tried last."""

        async def make() -> RuleOut:
            rule = await routing.add(
                session,
                name=data.name,
                conditions=data.conditions,
                actions=data.actions,
                pause_minutes=data.pause_minutes,
                enabled=data.enabled,
            )
            await people.note(session, request.user, "rule.added", "routing_rule", rule.id)
            return RuleOut.of(rule)

        return await once(request, session, RuleOut, make)

    @put("/{rule_id:uuid}", guards=[MARKETING])
    async def change(
        self, rule_id: FromPath[UUID], data: JSONBody[RuleIn], request: AuthedRequest, session: Db, now: Now
    ) -> RuleOut:
        rule = await routing.change(
            session,
            rule_id,
            name=data.name,
            conditions=data.conditions,
            actions=data.actions,
            pause_minutes=data.pause_minutes,
            enabled=data.enabled,
            now=now,
        )
        await people.note(session, request.user, "rule.changed", "routing_rule", rule.id)
        return RuleOut.of(rule)

    @post("/{rule_id:uuid}/move", guards=[MARKETING], status_code=200)
    async def move(
        self, rule_id: FromPath[UUID], data: JSONBody[PlaceIn], request: AuthedRequest, session: Db
    ) -> PageOut[RuleOut]:
        """Put the rule to another place in the order; answers with all rules."""
        moved = await routing.move(session, rule_id, place=data.place)
        await people.note(session, request.user, "rule.moved", "routing_rule", rule_id)
        return PageOut([RuleOut.of(rule) for rule in moved], None)

    @delete("/{rule_id:uuid}", guards=[MARKETING])
    async def remove(self, rule_id: FromPath[UUID], request: AuthedRequest, session: Db) -> None:
        await routing.remove(session, rule_id)
        await people.note(session, request.user, "rule.removed", "routing_rule", rule_id)

    @post("/rehearse", guards=[READ_PEOPLE], status_code=200)
    async def rehearse(self, data: JSONBody[RehearsalIn], parts: Held, session: Db, now: Now) -> RehearsalOut:
        """What would happen if somebody wrote this: nothing is recorded, nothing is sent."""
        if data.at is not None and data.at.tzinfo is None:
            raise RuleViolation("an instant needs its time zone", field="at")
        found = await routing.rehearse(
            session,
            words=data.text,
            payload=data.payload,
            at=data.at or now,
            is_first=data.first_message,
            sender_id=data.sender_id,
            language=data.language,
            settings=parts.settings,
        )
        actions = rules.read(found.rule.actions, Actions) if found.rule else Actions()
        return RehearsalOut(
            intent=found.intent,
            word=found.word,
            effect=found.effect,
            rule_id=found.rule.id if found.rule else None,
            rule=found.rule.name if found.rule else None,
            reply=found.reply,
            tag=actions.tag,
            hands_over=actions.hand_over,
            tried=[TriedOut(each.rule.id, each.rule.name, list(each.misses)) for each in found.tried],
        )
