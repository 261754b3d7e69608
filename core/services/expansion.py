"""Expansion: the audience becomes message rows, a page of people per statement, several pages at a time.

A round is one transaction that holds the campaign and moves its cursor, and one transaction a page beside it. The
cursor moves after the pages have committed: a round that broke in the middle is done again, and what it had made
already is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

from core import queue
from core.consent.stored import among_page
from core.errors import RuleViolation
from core.models import Campaign, Contact, Link, Message
from core.services.filling import LINK_PREFIX, Arm, filled
from core.statuses import PRIORITY, CampaignStatus, Category, DeliveryStatus, MessageKind, SkipReason

PAGE = 10_000  # people one statement makes rows for
REVIEW_PAGE = 5_000


@dataclass(frozen=True)
class Page:
    """Some people of the audience, in the order of their ids; `ids` is PostgreSQL's own text for an array.

    The ids come from the database and go back to it: a million of them as Python objects would cost seconds.
    """

    ids: str
    size: int
    first: UUID
    last: UUID


async def next_pages(session: AsyncSession, audience: Select[UUID], after: UUID | None, *, pages: int) -> list[Page]:
    """The next people of the audience, in at most `pages` pages."""
    who = audience if after is None else audience.where(Contact.id > after)
    upcoming = who.order_by(Contact.id).limit(PAGE * pages).subquery()
    (person,) = upcoming.c
    numbered = select(person.label("id"), ((func.row_number().over(order_by=person) - 1) // PAGE).label("page"))
    numbered_people = numbered.subquery()
    ids = func.array_agg(aggregate_order_by(numbered_people.c.id, numbered_people.c.id), type_=ARRAY(Uuid()))
    grouped = select(numbered_people.c.page, ids.label("ids")).group_by(numbered_people.c.page).subquery()
    size = func.cardinality(grouped.c.ids)
    statement = select(cast(grouped.c.ids, Text), size, grouped.c.ids[1], grouped.c.ids[size])
    rows = await session.execute(statement.order_by(grouped.c.page))
    return [Page(*row) for row in rows]


async def next_people(session: AsyncSession, audience: Select[UUID], after: UUID | None) -> list[UUID]:
    """The next contacts of the audience, in the order of their ids."""
    people = audience if after is None else audience.where(Contact.id > after)
    return list(await session.scalars(people.order_by(Contact.id).limit(REVIEW_PAGE)))


@dataclass(frozen=True)
class Preview:
    """What one person would get."""

    contact_id: UUID
    variant_id: UUID
    template_version_id: UUID
    category: Category
    country: str | None
    zone: str
    holdout: bool
    parameters: dict[str, Any]
    name: str | None


async def preview(
    session: AsyncSession, campaign: Campaign, arms: Sequence[Arm], contacts: Sequence[UUID], *, default_zone: str
) -> list[Preview]:
    """Fill the campaign's templates for these people, in the order of their ids, without writing anything."""
    these = among_page(Contact.id, contacts)
    query = filled(campaign.id, arms, these, holdout_bp=campaign.holdout_bp, default_zone=default_zone)
    rows = await session.execute(query.order_by("contact_id"))
    return [
        Preview(
            contact_id=row.contact_id,
            variant_id=row.variant_id,
            template_version_id=row.template_version_id,
            category=Category(row.category),
            country=row.country,
            zone=row.zone,
            holdout=row.holdout,
            parameters=row.parameters or {},
            name=row.name,
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Plan:
    """What the rows of one campaign have in common."""

    campaign: Campaign
    arms: Sequence[Arm]
    default_zone: str
    start: datetime


async def expand(session: AsyncSession, plan: Plan, page: Page) -> bool:
    """Make these people's rows. Holdouts get one too (`skipped`), so that the audience always adds up.

    False, and nothing made, when the campaign is no longer expanding. Who calls it holds the campaign FOR NO KEY
    UPDATE meanwhile; the page's own lock keeps a cancellation waiting even if that transaction is lost.
    """
    campaign = plan.campaign
    going = select(Campaign.id).where(Campaign.id == campaign.id, Campaign.status == CampaignStatus.EXPANDING)
    if await session.scalar(going.with_for_update(read=True, key_share=True)) is None:
        return False
    # As a set: compared with an array made from a text, every row would make the array again where the planner takes
    # the condition for a filter.
    ids = select(func.unnest(cast(bindparam("ids", page.ids, Text), ARRAY(Uuid()))))
    these = Contact.id.between(page.first, page.last) & Contact.id.in_(ids)
    people = filled(
        campaign.id, plan.arms, these, holdout_bp=campaign.holdout_bp, default_zone=plan.default_zone
    ).subquery()
    columns = _columns(campaign, people, plan.start)
    made = insert(Message).from_select(list(columns), select(*columns.values()))
    between = (Message.campaign_id == campaign.id, Message.contact_id.between(page.first, page.last))
    if await session.scalar(select(Message.id).where(*between).limit(1)) is not None:
        # A round broke after this page: only then is it worth looking for each row, which costs a fifth more.
        made = made.on_conflict_do_nothing(index_elements=["campaign_id", "contact_id"])
    await session.execute(made)
    for arm in plan.arms:
        for button, url in arm.links().items():
            await _make_links(session, (*between, Message.variant_id == arm.variant.id), button, url)
    return True


def _columns(campaign: Campaign, people: Any, start: datetime) -> dict[str, ColumnElement[Any]]:
    """Column → its value for each person."""
    sent_to = not_(people.c.holdout)
    return {
        "kind": literal(MessageKind.CAMPAIGN.value, Text),
        "priority": literal(PRIORITY[MessageKind.CAMPAIGN], Integer),
        "campaign_id": cast(campaign.id, Uuid()),
        "variant_id": case((sent_to, people.c.variant_id)),
        "contact_id": people.c.contact_id,
        "sender_id": cast(campaign.sender_id, Uuid()),
        "template_version_id": case((sent_to, people.c.template_version_id)),
        "purpose": literal(campaign.purpose, Text),
        "category": people.c.category,
        "parameters": case((sent_to, people.c.parameters)),
        "country": people.c.country,
        "time_zone": people.c.zone,
        "holdout": people.c.holdout,
        "queued_on": _today(),
        "status": case((sent_to, DeliveryStatus.QUEUED.value), else_=DeliveryStatus.SKIPPED.value),
        "skip_reason": case((people.c.holdout, SkipReason.HOLDOUT.value)),
        "not_before": func.after_quiet_hours(start, people.c.zone, campaign.quiet_from, campaign.quiet_until),
    }


def _today() -> ColumnElement[Any]:
    return literal_column("(now() AT TIME ZONE 'UTC')::date")


async def _make_links(session: AsyncSession, those: Sequence[ColumnElement[bool]], button: int, url: str) -> None:
    """The tracked links whose codes stand in the messages' parameters."""
    code = func.substr(Message.parameters[f"button.{button}"].astext, len(LINK_PREFIX) + 1)
    rows = select(code, Message.id, literal(button, Integer), literal(url, Text)).where(*those)
    columns = ["code", "message_id", "button_index", "url"]
    made = insert(Link).from_select(columns, rows)
    await session.execute(made.on_conflict_do_nothing(index_elements=["message_id", "button_index"]))


async def make_test(
    session: AsyncSession, campaign: Campaign, arm: Arm, contact_id: UUID, *, default_zone: str
) -> UUID:
    """A test message of one variant to one contact; it counts in no figure and goes before bulk."""
    return await make_one(
        session, MessageKind.TEST, campaign.sender_id, campaign.purpose, arm, contact_id, default_zone=default_zone
    )


async def make_one(
    session: AsyncSession,
    kind: MessageKind,
    sender_id: UUID,
    purpose: str,
    arm: Arm,
    contact_id: UUID,
    *,
    default_zone: str,
) -> UUID:
    """A message of no campaign to one contact, filled in like a campaign's; returns its id."""
    person = filled(sender_id, [arm], Contact.id == contact_id, holdout_bp=0, default_zone=default_zone).subquery()
    values: dict[str, ColumnElement[Any]] = {
        "kind": literal(kind.value, Text),
        "priority": literal(PRIORITY[kind], Integer),
        "contact_id": person.c.contact_id,
        "sender_id": cast(sender_id, Uuid()),
        "template_version_id": person.c.template_version_id,
        "purpose": literal(purpose, Text),
        "category": person.c.category,
        "parameters": person.c.parameters,
        "country": person.c.country,
        "time_zone": person.c.zone,
        "queued_on": _today(),
        "status": literal(DeliveryStatus.QUEUED.value, Text),
    }
    made = insert(Message).from_select(list(values), select(*values.values())).returning(Message.id)
    message_id = await session.scalar(made)
    if message_id is None:
        raise RuleViolation("there is no such contact", field="phone")
    for button, url in arm.links().items():
        await _make_links(session, (Message.id == message_id,), button, url)
    queue.ring_after_commit(session, queue.SEND_MESSAGES, sender_id)
    return message_id
