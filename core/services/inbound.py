"""What people write, tap and choose: found again as contacts, credited to a message, and their withdrawals recorded."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import structs
from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.acts import MARKETING, WEBHOOK, Act, ActorType, Method
from core.consent.registry import Registry, load_registry
from core.consent.state import EventType, is_scope
from core.consent.stored import lock_contacts
from core.errors import RuleViolation
from core.keys import Keyring
from core.models import Contact, InboundMessage, Message, MessageEvent, Sender
from core.services import answers, consents, contacts, conversations, received, routing, tenures
from core.services.folding import Report, event_key
from core.services.meanings import BUTTON_TYPES, Heard, Meaning, evidence_of, meaning, narrowing
from core.settings import Settings
from core.statuses import Category, DeliveryStatus, EventKind, InboundIntent
from core.whatsapp.payloads import read
from core.whatsapp.webhooks import Inbound, Parsed, Preference

CREDIT_WINDOW = timedelta(hours=72)
SIGNUP = "signup"  # a preference that asks for messages: it withdraws nothing, so it need not wait for the answer


def acts_of(inbound: Inbound, contact: Contact, said: Meaning) -> list[Act]:
    """The stop or the pause an inbound message is, an act per scope; none when it says nothing of the kind."""
    events = {InboundIntent.OPT_OUT: EventType.WITHDRAWN, InboundIntent.AMBIGUOUS: EventType.HOLD_PLACED}
    if said.intent not in events:
        return []
    return [
        Act(
            contact_id=contact.id,
            event_type=events[said.intent],
            purpose=scope,
            source=WEBHOOK,
            source_key=inbound.provider_id if scope == said.scopes[0] else f"{inbound.provider_id}|{scope}",
            occurred_at=inbound.occurred_at,
            actor=ActorType.DATA_SUBJECT,
            method=Method.WA_BUTTON if inbound.type in BUTTON_TYPES else Method.WA_KEYWORD,
            sender_scope=inbound.phone_number_id or None,  # one chat has one clock
            reason=said.reason or "ambiguous_reply",
            evidence=evidence_of(inbound),
        )
        for scope in said.scopes
    ]


def act_of_preference(preference: Preference, contact_id: UUID) -> Act:
    stopped = preference.value == "stop"
    return Act(
        contact_id=contact_id,
        event_type=EventType.META_STOPPED if stopped else EventType.META_RESUMED,
        purpose=MARKETING,
        source=WEBHOOK,
        source_key=preference.source_key,
        occurred_at=preference.occurred_at,
        actor=ActorType.DATA_SUBJECT,
        method=Method.META_PREF,
        sender_scope=preference.phone_number_id or None,
        reason="meta_stop" if stopped else "meta_resume",
        evidence={
            "wa_id": preference.wa_id or "",
            "user_id": preference.user_id or "",
            "webhook": preference.raw.decode("utf-8", "replace"),
        },
    )


def may_change_consent(parsed: Parsed) -> bool:
    """Whether a body holds anything `consent_acts` would record; asks no database."""
    return any(chosen.value != SIGNUP for chosen in parsed.preferences) or any(
        meaning(said).intent in (InboundIntent.OPT_OUT, InboundIntent.AMBIGUOUS) for said in parsed.inbound
    )


async def consent_acts(session: AsyncSession, parsed: Parsed, *, registry: Registry, now: datetime) -> list[Act]:
    """Every withdrawal, pause and preference one body holds, with its contact found or made."""
    acts: list[Act] = []
    narrow = narrowing(registry.purposes)
    for inbound in parsed.inbound:
        if meaning(inbound).intent in (InboundIntent.OPT_OUT, InboundIntent.AMBIGUOUS):
            contact = await person(session, inbound.wa_id, inbound.user_id, inbound.profile_name, now=now)
            if contact is not None:
                acts += acts_of(inbound, contact, meaning(inbound, contact.language, narrow))
    for preference in parsed.preferences:
        contact = await person(session, preference.wa_id, preference.user_id, None, now=now)
        if contact is not None and preference.value != SIGNUP:
            acts.append(act_of_preference(preference, contact.id))
    return _effective(registry, [*await tenures.acts(session, now=now), *acts])


def _effective(registry: Registry, acts: Sequence[Act]) -> list[Act]:
    """The acts, each stop aimed at something: one for a purpose that does not exist ends all marketing."""
    return [
        act if act.purpose in registry.purposes or is_scope(act.purpose) else structs.replace(act, purpose=MARKETING)
        for act in acts
    ]


async def person(
    session: AsyncSession, wa_id: str | None, user_id: str | None, name: str | None, *, now: datetime
) -> Contact | None:
    """The contact behind an address; None for an address that is none (it is kept raw and counted)."""
    try:
        return await contacts.resolve_inbound(session, wa_id=wa_id, user_id=user_id, name=name, now=now)
    except RuleViolation:
        return None


async def record(
    session: AsyncSession, those: Sequence[Inbound], *, keyring: Keyring, settings: Settings, now: datetime
) -> None:
    """Keep each message once, credit it, record what it means, and answer it; repeating it changes nothing."""
    if not those:
        return
    registry = await load_registry(session)
    narrow = narrowing(registry.purposes)
    heard: list[Heard] = []
    for inbound in those:
        contact = await person(session, inbound.wa_id, inbound.user_id, inbound.profile_name, now=now)
        if contact is None:
            continue
        credited = await _credited(session, inbound, contact.id)
        said = meaning(inbound, contact.language, narrow)
        kept = await _keep(session, inbound, contact.id, credited, said)
        if kept is None:
            continue
        await received.note(session, kept.id, inbound.type, read(inbound.raw, dict[str, Any]) or {})
        await _seen(session, contact.id, inbound.occurred_at)
        if credited is not None:
            await _note_events(session, inbound, credited, said)
        heard.append(Heard(inbound, kept.id, contact, kept.sender_id, said, credited))
    acts: list[Act] = []
    for each in heard:
        acts += acts_of(each.inbound, each.contact, each.said)
    acts = [*await tenures.acts(session, now=now), *_effective(registry, acts)]
    await consents.record(session, acts, keyring=keyring, settings=settings, now=now, registry=registry)
    for each in heard:
        if each.inbound.type == "system":  # the provider speaks, not the person
            continue
        noted = await conversations.note(session, each)
        answered = await answers.answer(session, each, keyring=keyring, settings=settings, now=now)
        if answered is None and noted is not None and _is_for_rules(each):
            await routing.route(session, each, noted, settings=settings, now=now)


def _is_for_rules(heard: Heard) -> bool:
    """Consent words and answers to our own questions are never a rule's business, nor is a thumb put up."""
    said = heard.said
    ordinary = said.intent in (InboundIntent.REPLY, InboundIntent.AMBIGUOUS) and said.answer is None
    return ordinary and heard.inbound.type not in conversations.SILENT


async def _keep(
    session: AsyncSession, inbound: Inbound, contact_id: UUID, credited: Message | None, said: Meaning
) -> Row[UUID, UUID | None] | None:
    """The row made, or None when the message was here already."""
    sender = select(Sender.id).where(Sender.phone_number_id == inbound.phone_number_id).scalar_subquery()
    values = insert(InboundMessage).values(
        provider_id=inbound.provider_id,
        contact_id=contact_id,
        sender_id=sender,
        message_id=credited.id if credited else None,
        type=inbound.type,
        intent=said.intent,
        text=inbound.words,
        payload=read(inbound.raw, dict[str, Any]) or {},  # the webhook's own row has it byte for byte
        occurred_at=inbound.occurred_at,
    )
    made = values.on_conflict_do_nothing().returning(InboundMessage.id, InboundMessage.sender_id)
    return (await session.execute(made)).one_or_none()


async def _seen(session: AsyncSession, contact_id: UUID, at: datetime) -> None:
    values = {
        "last_seen_at": func.greatest(Contact.last_seen_at, at),
        "first_seen_at": func.least(Contact.first_seen_at, at),
    }
    await session.execute(update(Contact).where(Contact.id == contact_id).values(values))


async def _credited(session: AsyncSession, inbound: Inbound, contact_id: UUID) -> Message | None:
    """The message answered: the one quoted, else the latest delivered marketing message within 72 hours."""
    if inbound.context_wamid is not None:
        quoted = await session.scalar(select(Message).where(Message.wamid == inbound.context_wamid))
        if quoted is not None:
            return quoted
    latest = (
        Message.contact_id == contact_id,
        Message.category == Category.MARKETING,
        Message.status.in_([DeliveryStatus.DELIVERED, DeliveryStatus.READ]),
        Message.delivered_at.between(inbound.occurred_at - CREDIT_WINDOW, inbound.occurred_at),
    )
    return await session.scalar(select(Message).where(*latest).order_by(Message.delivered_at.desc()).limit(1))


async def _note_events(session: AsyncSession, inbound: Inbound, message: Message, said: Meaning) -> None:
    """A reply, or an opt-out; a tapped quick reply is a click as well."""
    kinds = [EventKind.OPT_OUT if said.intent is InboundIntent.OPT_OUT else EventKind.REPLY]
    if inbound.type in BUTTON_TYPES:
        kinds.append(EventKind.CLICK)
    for kind in kinds:
        values = insert(MessageEvent).values(
            message_id=message.id,
            queued_on=message.queued_on,
            kind=kind,
            occurred_at=inbound.occurred_at,
            event_key=event_key(str(message.id), kind, inbound.occurred_at, inbound.provider_id),
            reason=inbound.type,
            is_bot=False if kind is EventKind.CLICK else None,
        )
        await session.execute(values.on_conflict_do_nothing())


async def note_preferences(
    session: AsyncSession, those: Sequence[Preference], *, keyring: Keyring, settings: Settings, now: datetime
) -> None:
    """In-app stops and resumes; a stop is credited to the latest marketing message like a typed one.

    A sign-up there is a request and no grant: nobody was shown our notice. It is answered with the notice.
    """
    acts: list[Act] = []
    asking: list[Heard] = []
    for preference in those:
        contact = await person(session, preference.wa_id, preference.user_id, None, now=now)
        if contact is None:
            continue
        said = _as_inbound(preference)
        if preference.value == SIGNUP:
            sender_id = await session.scalar(
                select(Sender.id).where(Sender.phone_number_id == preference.phone_number_id)
            )
            asking.append(Heard(said, None, contact, sender_id, Meaning(InboundIntent.OPT_IN), None))
            continue
        acts.append(act_of_preference(preference, contact.id))
        if preference.value == "stop":
            credited = await _credited(session, said, contact.id)
            if credited is not None:
                await _note_events(session, said, credited, Meaning(InboundIntent.OPT_OUT))
    acts = [*await tenures.acts(session, now=now), *acts]
    await consents.record(session, acts, keyring=keyring, settings=settings, now=now)
    for each in asking:
        await answers.answer_signup(session, each, keyring=keyring, settings=settings, now=now)


def _as_inbound(preference: Preference) -> Inbound:
    """A choice in the app's settings, as if it had been written."""
    return Inbound(
        preference.source_key,
        preference.phone_number_id,
        preference.wa_id,
        preference.user_id,
        None,
        "preference",
        None,
        None,
        None,
        preference.occurred_at,
        preference.raw,
    )


_STOPPED_AT_PROVIDER = text(
    "SELECT m.id, m.contact_id, s.phone_number_id FROM messages m JOIN senders s ON s.id = m.sender_id"
    " WHERE m.id = ANY(:ids) OR m.wamid = ANY(:wamids)"
)


async def _stopped_at_provider(session: AsyncSession, stopped: Sequence[Report]) -> Sequence[Row[Any]]:
    ids = [report.message_id for report in stopped if report.message_id]
    wamids = [report.wamid for report in stopped if report.wamid]
    return (await session.execute(_STOPPED_AT_PROVIDER, {"ids": ids, "wamids": wamids})).all()


async def lock_people(
    session: AsyncSession,
    those: Sequence[Parsed],
    stopped: Sequence[Report],
    *,
    also: Collection[UUID] = (),
    now: datetime,
) -> None:
    """Lock everybody these bodies speak of, in the order of their ids; people seen for the first time are made."""
    ids = {row.contact_id for row in await _stopped_at_provider(session, stopped)} if stopped else set()
    ids.update(also)
    for parsed in those:
        speakers = [(said.wa_id, said.user_id, said.profile_name) for said in parsed.inbound]
        speakers += [(chosen.wa_id, chosen.user_id, None) for chosen in parsed.preferences]
        for wa_id, user_id, name in speakers:
            contact = await person(session, wa_id, user_id, name, now=now)
            if contact is not None:
                ids.add(contact.id)
    if ids:
        await lock_contacts(session, sorted(ids))


async def note_stopped(
    session: AsyncSession, stopped: Sequence[Report], *, keyring: Keyring, settings: Settings, now: datetime
) -> None:
    """A send refused because the person stopped marketing (131050) is as good as the stop's own webhook."""
    rows = await _stopped_at_provider(session, stopped)
    acts = [
        Act(
            contact_id=row.contact_id,
            event_type=EventType.META_STOPPED,
            purpose=MARKETING,
            source=WEBHOOK,
            source_key=f"131050|{row.id}",
            occurred_at=now,
            actor=ActorType.PLATFORM,
            method=Method.META_PREF,
            sender_scope=row.phone_number_id,
            reason="meta_stop",
            evidence={"provider_code": "131050", "message_id": str(row.id)},
        )
        for row in rows
    ]
    await consents.record(session, acts, keyring=keyring, settings=settings, now=now)
