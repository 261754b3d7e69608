"""Conversations: opened by what people write, read, assigned, answered and closed by whoever sits at the inbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Select, func, literal_column, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.consent.gate import SERVICE_WINDOW
from core.consent.state import HOLD, META_STOP, State, covers
from core.errors import Conflict, NotFound, RuleViolation
from core.models import (
    Campaign,
    ConsentState,
    Contact,
    ContactAddress,
    Conversation,
    InboundMessage,
    Message,
    Purpose,
    Sender,
    User,
)
from core.models.conversation import POSITIONS
from core.services import contacts, media, replies
from core.services.meanings import Heard
from core.services.paging import Page, page
from core.services.people import Actor
from core.settings import Settings
from core.statuses import ConversationStatus, InboundIntent, ReplyKind, Role, SkipReason

AGENTS = (Role.ADMIN, Role.MARKETER, Role.APPROVER, Role.COMPLIANCE)
_FOR_PEOPLE = frozenset({InboundIntent.REPLY, InboundIntent.AMBIGUOUS})
SILENT = frozenset({"reaction", "system"})


@dataclass(frozen=True)
class Noted:
    """What a message did to its conversation."""

    conversation_id: UUID
    is_first: bool  # the person never wrote to this number before


async def note(session: AsyncSession, heard: Heard) -> Noted | None:
    """Open or continue the conversation of a message just recorded; None when it came to no number of ours.

    What a machine answers by itself (stops, starts, help, taps on our own questions) and reactions wake nobody.
    """
    if heard.sender_id is None:
        return None
    wakes = heard.said.intent in _FOR_PEOPLE and heard.said.answer is None and heard.inbound.type not in SILENT
    status = ConversationStatus.OPEN if wakes else ConversationStatus.CLOSED
    campaign_id = heard.credited.campaign_id if heard.credited else None
    at = heard.inbound.occurred_at
    put = insert(Conversation).values(
        contact_id=heard.contact.id,
        sender_id=heard.sender_id,
        status=status,
        campaign_id=campaign_id,
        unread=1 if wakes else 0,
        last_inbound_at=at,
        closed_at=None if wakes else func.now(),
    )
    changes: dict[str, Any] = {
        "last_inbound_at": func.greatest(Conversation.last_inbound_at, at),
        "campaign_id": func.coalesce(put.excluded.campaign_id, Conversation.campaign_id),
    }
    if wakes:
        changes |= {
            "status": status,
            "unread": Conversation.unread + 1,
            "position": POSITIONS.next_value(),
            "opened_at": text("CASE WHEN conversations.closed_at IS NULL THEN conversations.opened_at ELSE now() END"),
            "assignee_id": text("CASE WHEN conversations.closed_at IS NULL THEN conversations.assignee_id END"),
            "closed_at": None,
        }
    statement = put.on_conflict_do_update(index_elements=["contact_id", "sender_id"], set_=changes)
    # xmax is 0 for a row that was inserted, and the updating transaction's id for one that was there.
    is_new: ColumnElement[bool] = literal_column("xmax = 0", Boolean())
    conversation_id, first = (await session.execute(statement.returning(Conversation.id, is_new))).one()
    return Noted(conversation_id, first)


async def hand_over(session: AsyncSession, conversation_id: UUID) -> None:
    """Mark a conversation as waiting for a person, and open it."""
    values = {"handed_over": True, "status": ConversationStatus.OPEN, "closed_at": None}
    await session.execute(update(Conversation).where(Conversation.id == conversation_id).values(values))


@dataclass(frozen=True)
class Refused:
    """A purpose, or a scope such as `marketing.*` or `*`, for which nothing may be sent to the person now."""

    purpose: str
    why: str  # withdrawn, hold, or meta_stop


@dataclass(frozen=True)
class Shown:
    """A conversation as a list shows it."""

    conversation: Conversation
    name: str | None
    phone_masked: str | None
    sender_name: str
    campaign_name: str | None
    assignee: str | None
    last_words: str | None
    last_type: str | None  # of the same message: text, image, …
    refusals: list[Refused]

    @property
    def window_ends_at(self) -> datetime:
        """Until when free text may be sent (the provider's customer service window)."""
        return self.conversation.last_inbound_at + SERVICE_WINDOW


async def list_page(
    session: AsyncSession,
    *,
    status: ConversationStatus | None,
    assignee_id: UUID | None,
    unassigned: bool,
    unread: bool,
    words: str | None,
    region: str,
    contact_id: UUID | None = None,
    limit: int,
    cursor: str | None,
) -> Page[Shown]:
    """Conversations, the newest message first; `words` is a name, a number, or part of what was written."""
    statement = select(Conversation)
    if status is not None:
        statement = statement.where(Conversation.status == status)
    if assignee_id is not None:
        statement = statement.where(Conversation.assignee_id == assignee_id)
    if unassigned:
        statement = statement.where(Conversation.assignee_id.is_(None))
    if unread:
        statement = statement.where(Conversation.unread > 0)
    if contact_id is not None:
        statement = statement.where(Conversation.contact_id == contact_id)
    if words and words.strip():
        statement = _found(statement, words.strip(), region)
    found = await page(session, statement, Conversation.position.expression, limit=limit, cursor=cursor)
    return Page(await _shown(session, found.items), found.next)


def _found(statement: Select[Conversation], words: str, region: str) -> Select[Conversation]:
    named = select(Contact.id).where(Contact.name.icontains(words, autoescape=True))
    wrote = select(InboundMessage.contact_id).where(InboundMessage.text.icontains(words, autoescape=True))
    hits = [Conversation.contact_id.in_(named), Conversation.contact_id.in_(wrote)]
    try:
        parsed = phone.parse(words, region=region)
    except RuleViolation:
        return statement.where(or_(*hits))
    owner = (ContactAddress.match_key == parsed.match_key, ContactAddress.closed_at.is_(None))
    return statement.where(or_(*hits, Conversation.contact_id.in_(select(ContactAddress.contact_id).where(*owner))))


async def _shown(session: AsyncSession, found: Sequence[Conversation]) -> list[Shown]:
    people = [each.contact_id for each in found]
    numbers = await contacts.masked_numbers(session, people)
    names = await contacts.names(session, people)
    senders = {row.id: row.name for row in await session.execute(select(Sender.id, Sender.name))}
    campaigns = select(Campaign.id, Campaign.name).where(Campaign.id.in_({each.campaign_id for each in found}))
    campaign_names = {row.id: row.name for row in await session.execute(campaigns)}
    users = select(User.id, User.name).where(User.id.in_({each.assignee_id for each in found}))
    user_names = {row.id: row.name for row in await session.execute(users)}
    words = await _last_words(session, found)
    refusals = await _refusals(session, people)
    return [
        Shown(
            conversation=each,
            name=names.get(each.contact_id),
            phone_masked=numbers[each.contact_id],
            sender_name=senders[each.sender_id],
            campaign_name=campaign_names.get(each.campaign_id) if each.campaign_id else None,
            assignee=user_names.get(each.assignee_id) if each.assignee_id else None,
            last_words=words.get((each.contact_id, each.sender_id), (None, None))[0],
            last_type=words.get((each.contact_id, each.sender_id), (None, None))[1],
            refusals=refusals.get(each.contact_id, []),
        )
        for each in found
    ]


async def _refusals(session: AsyncSession, people: Sequence[UUID]) -> dict[UUID, list[Refused]]:
    """What each person refused, or is held, by purpose; a purpose inside a wider one that says the same is left out.

    Who ended all marketing and agreed to one kind of it later refuses the others only.
    """
    states = select(ConsentState).where(ConsentState.contact_id.in_(people)).order_by(ConsentState.purpose)
    codes = list(await session.scalars(select(Purpose.code).where(Purpose.retired_at.is_(None)).distinct()))
    rows: dict[UUID, list[ConsentState]] = {}
    for row in await session.scalars(states):
        rows.setdefault(row.contact_id, []).append(row)
    found = {
        contact_id: [Refused(purpose, why) for row in theirs for purpose, why in _refused_by(row, theirs, codes)]
        for contact_id, theirs in rows.items()
    }
    return {
        contact_id: [
            one
            for one in theirs
            if not any(
                each != one and covers(each.purpose, one.purpose) and each.why in (one.why, SkipReason.WITHDRAWN)
                for each in theirs
            )
        ]
        for contact_id, theirs in found.items()
    }


def _refused_by(row: ConsentState, theirs: Sequence[ConsentState], codes: Sequence[str]) -> list[tuple[str, str]]:
    why = _why_refused(row)
    if why is None:
        return []
    inside = [each for each in theirs if each is not row and covers(row.purpose, each.purpose)]
    if row.state != State.WITHDRAWN or all(each.state != State.SUBSCRIBED for each in inside):
        return [(row.purpose, why)]
    named = {each.purpose for each in inside}  # what was said about a purpose itself counts
    return [(code, why) for code in codes if covers(row.purpose, code) and code not in named]


def _why_refused(row: ConsentState) -> str | None:
    if row.state == State.WITHDRAWN:
        return SkipReason.WITHDRAWN.value
    if HOLD in row.overlays:
        return SkipReason.HOLD.value
    if any(overlay.startswith(META_STOP) for overlay in row.overlays):
        return SkipReason.META_STOP.value
    return None


async def _last_words(
    session: AsyncSession, found: Sequence[Conversation]
) -> dict[tuple[UUID, UUID], tuple[str | None, str]]:
    people = [each.contact_id for each in found]
    latest = (
        select(InboundMessage.contact_id, InboundMessage.sender_id, InboundMessage.text, InboundMessage.type)
        .where(InboundMessage.contact_id.in_(people), InboundMessage.sender_id.is_not(None))
        .ext(distinct_on(InboundMessage.contact_id, InboundMessage.sender_id))
        .order_by(
            InboundMessage.contact_id,
            InboundMessage.sender_id,
            InboundMessage.occurred_at.desc(),
            InboundMessage.id.desc(),
        )
    )
    return {(row.contact_id, row.sender_id): (row.text, row.type) for row in await session.execute(latest)}


async def get(session: AsyncSession, conversation_id: UUID, *, lock: bool = False) -> Conversation:
    """The conversation; raises NotFound."""
    found = await session.get(Conversation, conversation_id, with_for_update=lock)
    if found is None:
        raise NotFound("no such conversation", conversation_id=str(conversation_id))
    return found


async def show(session: AsyncSession, conversation: Conversation) -> Shown:
    (shown,) = await _shown(session, [conversation])
    return shown


async def answer(
    session: AsyncSession,
    conversation_id: UUID,
    words: str,
    *,
    media_id: UUID | None = None,
    actor: Actor,
    settings: Settings,
    now: datetime,
) -> Message:
    """Queue a person's answer, to be sent before the service window ends: words, or a file with or without words.

    Whoever answers an unassigned conversation takes it. Raises RuleViolation for an empty or too long text and for a
    file that cannot be sent, NotFound for one that is not known, Conflict when the window has closed.
    """
    body = words.strip()
    if media_id is None and not 1 <= len(body) <= replies.TEXT_BODY:
        raise RuleViolation(f"an answer has 1 to {replies.TEXT_BODY} characters", field="text")
    conversation = await get(session, conversation_id, lock=True)
    ends_at = conversation.last_inbound_at + SERVICE_WINDOW
    if now >= ends_at - timedelta(seconds=5):
        raise Conflict(
            "the 24 hours in which free answers are allowed are over: wait until the person writes, or send a template",
            reason="window_closed",
            window_ended_at=ends_at.isoformat(),
        )
    content = replies.text_content(body)
    if media_id is not None:
        sender = await session.get_one(Sender, conversation.sender_id)
        content = media.content(await media.get(session, media_id), body, sender, until=ends_at)
    contact = await contacts.get(session, conversation.contact_id)
    message = await replies.queue_reply(
        session,
        contact,
        conversation.sender_id,
        content,
        kind=ReplyKind.PERSON,
        until=ends_at,
        settings=settings,
        now=now,
        user_id=actor.user_id,
        media_id=media_id,
    )
    conversation.unread, conversation.handed_over = 0, False
    conversation.status, conversation.closed_at = ConversationStatus.OPEN, None
    conversation.assignee_id = conversation.assignee_id or actor.user_id
    await session.flush()
    return message


async def read(session: AsyncSession, conversation_id: UUID) -> Conversation:
    """Somebody has looked: nothing is unread."""
    conversation = await get(session, conversation_id, lock=True)
    conversation.unread = 0
    return conversation


async def close(session: AsyncSession, conversation_id: UUID, *, now: datetime) -> Conversation:
    """Done, until the person writes again. Closing a closed one changes nothing."""
    conversation = await get(session, conversation_id, lock=True)
    if conversation.status is not ConversationStatus.CLOSED:
        conversation.status, conversation.closed_at = ConversationStatus.CLOSED, now
        conversation.unread, conversation.handed_over = 0, False
    return conversation


async def reopen(session: AsyncSession, conversation_id: UUID, *, now: datetime) -> Conversation:
    conversation = await get(session, conversation_id, lock=True)
    if conversation.status is not ConversationStatus.OPEN:
        conversation.status, conversation.opened_at, conversation.closed_at = ConversationStatus.OPEN, now, None
    return conversation


async def assign(session: AsyncSession, conversation_id: UUID, user_id: UUID | None) -> Conversation:
    """Give the conversation to somebody who may answer, or to nobody; raises RuleViolation for anybody else."""
    conversation = await get(session, conversation_id, lock=True)
    if user_id is not None and user_id not in {user.id for user in await agents(session)}:
        raise RuleViolation("this user may not answer people: choose another", field="user_id")
    conversation.assignee_id = user_id
    return conversation


async def agents(session: AsyncSession) -> list[User]:
    """Everybody who may answer people, by name."""
    able = (User.role.in_(AGENTS), User.disabled_at.is_(None))
    return list(await session.scalars(select(User).where(*able).order_by(User.name)))
