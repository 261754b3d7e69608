"""Answers to what people say about consent: one confirmation of a stop, a question when it is unclear, an opt-in.

 STOP ──▶ one confirmation within five minutes, never a second one, or none
 unclear ──▶ one question, [stop] withdraws, [keep] lifts the pause; unanswered it withdraws after seven days
 START ──▶ the notice with [agree] [no]; only [agree], or a yes in answer to it, within 48 hours subscribes
 HELP ──▶ who we are and how to stop
 signed up in WhatsApp's settings ──▶ as START
 a form's code ──▶ confirms what was ticked there; one that does not count is as good as START, or is refused

Stops and pauses were recorded before the webhook was answered; what subscribes is recorded here. Everything else a
person writes goes to the routing rules.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from msgspec import structs
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import keywords
from core.consent.acts import MARKETING, WEBHOOK, Act, ActorType, Method
from core.consent.canonical import timestamp
from core.consent.registry import current_notice, load_registry
from core.consent.state import HOLD, META_STOP, POSITIVE, REQUEST_TTL, EventType, State, covers
from core.keys import Keyring
from core.models import ConsentEvent, ConsentState, Message, Notice, Purpose, Reply
from core.services import consents, opt_ins, replies, reply_texts
from core.services.meanings import BUTTON_TYPES, Answer, Heard, evidence_of, payload
from core.services.opt_ins import Fate
from core.settings import Settings
from core.statuses import InboundIntent, ReplyKind

log = structlog.get_logger()

PURPOSE = "marketing"  # what START asks for
CONFIRM_WITHIN = timedelta(minutes=5)  # 47 CFR 64.1200(a)(12): a confirmation sent within five minutes of the stop
ANSWER_WITHIN = timedelta(minutes=15)  # what a machine says later than this only confuses
HOUR = timedelta(hours=1)
MOST_IN_AN_HOUR = 8  # automatic answers to one person: two machines that answer each other must come to an end


@dataclass(frozen=True)
class Standing:
    """What a contact allows at this moment, by purpose and scope."""

    states: dict[str, ConsentState]

    @property
    def marketing(self) -> State:
        row = self.states.get(PURPOSE) or self.states.get(MARKETING)
        return State(row.state) if row else State.NONE

    @property
    def reason(self) -> str | None:
        row = self.states.get(PURPOSE) or self.states.get(MARKETING)
        return row.reason if row else None

    @property
    def is_held(self) -> bool:
        return any(HOLD in row.overlays for purpose, row in self.states.items() if covers(MARKETING, purpose))

    @property
    def is_stopped_at_provider(self) -> bool:
        return any(word.startswith(META_STOP) for row in self.states.values() for word in row.overlays)

    def has_ended(self, scopes: tuple[str, ...]) -> bool:
        """Whether nothing inside these scopes is subscribed any more."""
        live = [purpose for purpose, row in self.states.items() if row.state == State.SUBSCRIBED]
        return not any(covers(scope, purpose) for scope in scopes for purpose in live)


@dataclass(frozen=True)
class Offer:
    """The last notice we showed somebody in the chat, with a button to agree."""

    notice_id: UUID
    made_at: datetime
    wamid: str | None
    is_newest: bool  # nothing of ours was written to them since


async def answer(
    session: AsyncSession, heard: Heard, *, keyring: Keyring, settings: Settings, now: datetime
) -> ReplyKind | None:
    """Record what the message adds to consent, and queue the one answer it calls for; returns which, or None."""
    heard, kind = await _by_code(session, heard, keyring=keyring, settings=settings, now=now)
    if kind is None:
        heard = await _in_context(session, heard, now=now)
        acts = await _acts(session, heard, now=now)
        await consents.record(session, acts, keyring=keyring, settings=settings, now=now)
        kind = await _kind(session, heard, acts, now=now)
    elif await _is_late(session, heard, now=now):
        kind = None
    if kind is not None and heard.sender_id is not None:
        await _say(session, heard, kind, settings=settings, now=now)
    return kind


async def answer_signup(
    session: AsyncSession, heard: Heard, *, keyring: Keyring, settings: Settings, now: datetime
) -> ReplyKind | None:
    """Record a sign-up in WhatsApp's own settings as a request, once, and show the notice; returns what was said.

    The notice goes out only while the person's 24 hours are open: the gate skips it otherwise.
    """
    notice = await current_notice(session, PURPOSE, language=heard.contact.language)
    if notice is None:
        return None
    asked = structs.replace(_act(heard, EventType.REQUESTED, PURPOSE, notice=notice), method=Method.META_PREF)
    (outcome,) = await consents.record(session, [asked], keyring=keyring, settings=settings, now=now)
    is_asked = not outcome.is_duplicate and outcome.state is not State.SUBSCRIBED
    if not is_asked or heard.sender_id is None or await _is_late(session, heard, now=now):
        return None
    await _say(session, heard, ReplyKind.NOTICE_OFFER, settings=settings, now=now)
    return ReplyKind.NOTICE_OFFER


async def _by_code(
    session: AsyncSession, heard: Heard, *, keyring: Keyring, settings: Settings, now: datetime
) -> tuple[Heard, ReplyKind | None]:
    """Record what a form's code confirms; says which answer that calls for, None to go on as with any message.

    A code for marketing that does not count any more is as good as START: the notice is shown, one tap agrees.
    """
    if heard.said.code is None:
        return heard, None
    redeemed = await opt_ins.redeem(session, heard, heard.said.code, keyring=keyring, settings=settings, now=now)
    scopes = redeemed.purposes or heard.said.scopes
    heard = replace(heard, said=replace(heard.said, language=redeemed.language or heard.said.language, scopes=scopes))
    settled = {
        Fate.CONFIRMED: ReplyKind.FORM_CONFIRMED,
        Fate.REPEATED: ReplyKind.ALREADY_IN,
        Fate.UNKNOWN: ReplyKind.CODE_REFUSED,
    }
    offered_again = None if PURPOSE in redeemed.purposes else ReplyKind.CODE_REFUSED
    return heard, settled.get(redeemed.fate, offered_again)


async def _is_late(session: AsyncSession, heard: Heard, *, now: datetime) -> bool:
    """Whether an answer to a code would come too late to be understood, or is one too many."""
    if now - heard.inbound.occurred_at > ANSWER_WITHIN:
        return True
    return await too_many(session, heard.contact.id, now=now)


async def standing(session: AsyncSession, contact_id: UUID) -> Standing:
    rows = await session.scalars(
        select(ConsentState).where(ConsentState.contact_id == contact_id).execution_options(populate_existing=True)
    )
    return Standing({row.purpose: row for row in rows})


async def _in_context(session: AsyncSession, heard: Heard, *, now: datetime) -> Heard:
    """A plain yes is an agreement only when it answers our offer, and no other message of ours came between."""
    said, words = heard.said, heard.inbound.words
    if said.intent is not InboundIntent.REPLY or said.answer or not words or not keywords.is_yes(words):
        return heard
    offer = await _offer(session, heard.contact.id)
    if offer is None or now - offer.made_at > REQUEST_TTL:
        return heard
    quoted = heard.inbound.context_wamid
    if (offer.wamid is not None and quoted == offer.wamid) or (quoted is None and offer.is_newest):
        agreed = replace(said, intent=InboundIntent.OPT_IN, answer=Answer.AGREE, notice_id=offer.notice_id)
        return replace(heard, said=agreed)
    return heard


async def _offer(session: AsyncSession, contact_id: UUID) -> Offer | None:
    statement = (
        select(Reply.created_at, Message.id, Message.parameters, Message.wamid)
        .join(Message, Message.id == Reply.message_id)
        .where(Reply.contact_id == contact_id, Reply.kind == ReplyKind.NOTICE_OFFER)
        .order_by(Reply.created_at.desc())
        .limit(1)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None or not (row.parameters or {}).get("notice_id"):
        return None
    newest = await session.scalar(select(func.max(Message.queued_at)).where(Message.contact_id == contact_id))
    mine = await session.scalar(select(Message.queued_at).where(Message.id == row.id))
    return Offer(UUID(row.parameters["notice_id"]), row.created_at, row.wamid, newest == mine)


async def _acts(session: AsyncSession, heard: Heard, *, now: datetime) -> list[Act]:
    """What the message adds to what was recorded before the webhook was answered.

    Whoever says yes or no in clear words has answered our question: the pause ends, so that time decides nothing later.
    """
    said = heard.said
    now_allowed = await standing(session, heard.contact.id)
    if said.answer is Answer.KEEP:
        return [_act(heard, EventType.HOLD_RELEASED, MARKETING, reason="kept_by_person")]
    if said.answer is Answer.DECLINE:
        return [_act(heard, EventType.DECLINED, PURPOSE, reason="declined")]
    ended = [_act(heard, EventType.HOLD_RELEASED, MARKETING, key="|hold", reason="answered")]
    if said.intent is InboundIntent.OPT_OUT:
        return ended if now_allowed.is_held and now_allowed.has_ended((MARKETING,)) else []
    if said.intent is not InboundIntent.OPT_IN:
        return []
    if said.answer is Answer.AGREE and (notice := await _agreed_to(session, heard, now=now)) is not None:
        event = EventType.CONFIRMED if now_allowed.marketing is State.PENDING else EventType.GRANTED
        return [_act(heard, event, PURPOSE, notice=notice), *(ended if now_allowed.is_held else ())]
    if now_allowed.marketing is State.SUBSCRIBED and now_allowed.is_held:
        return [_act(heard, EventType.HOLD_RELEASED, MARKETING, reason="kept_by_person")]
    shown = await current_notice(session, PURPOSE, language=heard.contact.language or said.language)
    return [] if shown is None else [_act(heard, EventType.REQUESTED, PURPOSE, notice=shown)]


async def _agreed_to(session: AsyncSession, heard: Heard, *, now: datetime) -> Notice | None:
    """The notice that was agreed to: the one of our last offer, not older than 48 hours and still in force."""
    offer = await _offer(session, heard.contact.id)
    if offer is None or offer.notice_id != heard.said.notice_id or now - offer.made_at > REQUEST_TTL:
        return None
    notice = await session.get(Notice, offer.notice_id)
    return notice if notice is not None and notice.effective_to is None else None


def _act(
    heard: Heard,
    event_type: EventType,
    purpose: str,
    *,
    key: str = "",
    reason: str | None = None,
    notice: Notice | None = None,
) -> Act:
    inbound = heard.inbound
    return Act(
        contact_id=heard.contact.id,
        event_type=event_type,
        purpose=purpose,
        source=WEBHOOK,
        source_key=inbound.provider_id + key,
        occurred_at=inbound.occurred_at,
        actor=ActorType.DATA_SUBJECT,
        method=Method.WA_BUTTON if inbound.type in BUTTON_TYPES else Method.WA_KEYWORD,
        collection_point=f"whatsapp/{inbound.phone_number_id}",
        notice_id=notice.id if notice else None,
        sender_scope=inbound.phone_number_id or None,
        reason=reason,
        evidence=evidence_of(inbound),
    )


async def _kind(session: AsyncSession, heard: Heard, acts: list[Act], *, now: datetime) -> ReplyKind | None:
    """Which answer the message calls for; None for none."""
    said, age = heard.said, now - heard.inbound.occurred_at
    if age > (CONFIRM_WITHIN if said.intent is InboundIntent.OPT_OUT else ANSWER_WITHIN):
        return None
    found = await standing(session, heard.contact.id)
    contact_id = heard.contact.id
    if said.intent is InboundIntent.OPT_OUT:
        first = not await _said_since(session, contact_id, ReplyKind.STOP_CONFIRMED, POSITIVE)
        return ReplyKind.STOP_CONFIRMED if first and found.has_ended(said.scopes) else None
    if await too_many(session, contact_id, now=now):
        log.warning("reply.loop", contact_id=str(contact_id))
        return None
    if said.intent is InboundIntent.AMBIGUOUS:
        asked = await _said_since(session, contact_id, ReplyKind.HOLD_QUESTION, frozenset({EventType.HOLD_RELEASED}))
        asks = found.is_held and found.marketing is State.SUBSCRIBED and not asked
        return ReplyKind.HOLD_QUESTION if asks else None
    if said.answer is Answer.KEEP or [act.event_type for act in acts] == [EventType.HOLD_RELEASED]:
        return ReplyKind.HOLD_KEPT
    if said.answer is Answer.DECLINE:
        return ReplyKind.DECLINED
    if said.intent is InboundIntent.HELP:
        return ReplyKind.HELP
    if said.intent is InboundIntent.OPT_IN:
        return _opt_in_kind(found, acts)
    return ReplyKind.NOTICE_OFFER if await _may_come_back(session, heard, found, now=now) else None


def _opt_in_kind(found: Standing, acts: list[Act]) -> ReplyKind | None:
    asked = [act.event_type for act in acts]
    if found.marketing is State.SUBSCRIBED:
        return ReplyKind.ALREADY_IN if EventType.REQUESTED in asked else ReplyKind.OPTED_IN
    return ReplyKind.NOTICE_OFFER if EventType.REQUESTED in asked else None


async def _may_come_back(session: AsyncSession, heard: Heard, found: Standing, *, now: datetime) -> bool:
    """Whoever stopped inside WhatsApp, resumed there and then writes to us is shown the notice, once a month."""
    if found.marketing is not State.WITHDRAWN or found.reason != "meta_stop" or found.is_stopped_at_provider:
        return False
    offer = await _offer(session, heard.contact.id)
    return offer is None or now - offer.made_at > timedelta(days=30)


async def _said_since(
    session: AsyncSession,
    contact_id: UUID,
    kind: ReplyKind,
    events: frozenset[EventType],
) -> bool:
    """Whether we said this to somebody, and none of these events has been recorded since."""
    theirs = (Reply.contact_id == contact_id, Reply.kind == kind)
    last = await session.scalar(select(func.max(Reply.created_at)).where(*theirs))
    if last is None:
        return False
    since = (
        ConsentEvent.subject_id == contact_id,
        ConsentEvent.event_type.in_(sorted(events)),
        ConsentEvent.recorded_at > timestamp(last),
    )
    return await session.scalar(select(ConsentEvent.seq).where(*since).limit(1)) is None


async def brand(session: AsyncSession, settings: Settings) -> str:
    """Who we say we are: the controller that marketing consent names."""
    in_force = (Purpose.code == PURPOSE, Purpose.retired_at.is_(None))
    return await session.scalar(select(Purpose.controller).where(*in_force)) or settings.brand


async def too_many(session: AsyncSession, contact_id: UUID, *, now: datetime) -> bool:
    """Whether this person got enough automatic answers for this hour."""
    automatic = (Reply.contact_id == contact_id, Reply.kind != ReplyKind.PERSON, Reply.created_at > now - HOUR)
    return (await session.scalar(select(func.count()).select_from(Reply).where(*automatic)) or 0) >= MOST_IN_AN_HOUR


async def _say(session: AsyncSession, heard: Heard, kind: ReplyKind, *, settings: Settings, now: datetime) -> None:
    assert heard.sender_id is not None
    said = heard.said
    tried = (heard.contact.language, said.language)
    if said.code is not None:  # the form's language was chosen a moment ago
        tried = (said.language, heard.contact.language)
    spoken = await reply_texts.wording(session, kind, tried)
    purposes = (await load_registry(session)).purposes
    values = {"brand": await brand(session, settings)}
    notice = None
    if kind is ReplyKind.STOP_CONFIRMED:
        described = {code: purpose.description for code, purpose in purposes.items()}
        values["what"] = reply_texts.scope_words(said.scopes, spoken.language, described)
    if kind is ReplyKind.FORM_CONFIRMED:
        described = {code: purpose.description for code, purpose in purposes.items()}
        each = [reply_texts.scope_words((purpose,), spoken.language, described) for purpose in said.scopes]
        values["what"] = "; ".join(each)
    if kind is ReplyKind.NOTICE_OFFER:
        notice = await current_notice(session, PURPOSE, language=heard.contact.language or said.language)
        if notice is None:
            return
        values |= {"notice": notice.text, "withdrawal": notice.withdrawal_info}
    body = spoken.filled(**values).strip()
    content = replies.text_content(body)
    if kind is ReplyKind.HOLD_QUESTION:
        choices = zip(("optout", payload(Answer.KEEP)), spoken.buttons, strict=True)
        content = replies.choice_content(body, list(choices), menu=spoken.buttons[0])
    elif notice is not None:
        choices = zip((payload(Answer.AGREE, notice.id), payload(Answer.DECLINE)), spoken.buttons, strict=True)
        content = replies.choice_content(body, list(choices), menu=spoken.buttons[0])
    within = CONFIRM_WITHIN if kind is ReplyKind.STOP_CONFIRMED else ANSWER_WITHIN
    message = await replies.queue_reply(
        session,
        heard.contact,
        heard.sender_id,
        content,
        kind=kind,
        until=heard.inbound.occurred_at + within,
        settings=settings,
        now=now,
        inbound_id=heard.inbound_id,
    )
    if notice is not None:
        message.parameters = {**(message.parameters or {}), "notice_id": str(notice.id)}
        await session.flush()
