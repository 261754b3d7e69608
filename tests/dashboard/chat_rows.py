"""A conversation, somebody on hold, a rule and a webhook of ours, for the pages that show them."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from core.clock import utc_now
from core.consent.acts import WEBHOOK, Act, ActorType, Method
from core.consent.state import EventType
from core.db import make_engine, make_sessions
from core.keys import Keyring
from core.models import (
    Contact,
    ContactAddress,
    Conversation,
    Hook,
    HookDelivery,
    InboundMessage,
    Message,
    Reply,
    RoutingRule,
    Sender,
)
from core.services import consents, replies
from core.settings import Settings
from core.statuses import ReplyKind

CHAT, STALE, RULE, HOOK = uuid4(), uuid4(), uuid4(), uuid4()
SAID = ("Good morning! Is the *blue* one <b>still</b> available?", "And what does shipping to Lyon cost?")


async def insert(settings: Settings) -> None:
    """People who wrote, one of them a day too long ago; a rule; an address that takes nothing."""
    engine = make_engine(settings.database_url)
    now = utc_now()
    async with make_sessions(engine).begin() as session:
        sender = Sender(phone_number_id="1", waba_id="1", display_number="+4930123456", name="Tea shop")
        session.add(sender)
        await session.flush()
        sender_id = sender.id
        people = [
            Contact(name=name, language="en", last_seen_at=now)
            for name in ("Chloé Martin", "Old Friend", "Unclear Uma")
        ]
        session.add_all(people)
        await session.flush()
        for number, person in enumerate(people):
            value = f"+3361234560{number}"
            session.add(ContactAddress(contact_id=person.id, kind="phone", value=value, match_key=value))
        chloe, old, uma = people
        for conversation_id, person, hours in ((CHAT, chloe, 1), (STALE, old, 30)):
            at = now - timedelta(hours=hours)
            session.add(
                Conversation(
                    id=conversation_id,
                    contact_id=person.id,
                    sender_id=sender_id,
                    status="open",
                    unread=2 if person is chloe else 0,
                    handed_over=person is chloe,
                    last_inbound_at=at,
                )
            )
            for words in SAID if person is chloe else ("Hello from yesterday",):
                session.add(_heard(person.id, sender_id, words, at))
                await session.flush()
        await _answered(session, chloe, sender_id, now)
        session.add(
            RoutingRule(
                id=RULE,
                name="Shipping",
                position=1,
                conditions={"words": ["shipping", "delivery"]},
                actions={"reply": "Hello {name}, we deliver in two days.", "tag": "asked-shipping"},
            )
        )
        session.add(
            Hook(
                id=HOOK,
                url="https://shop.example/kairan",
                description="Shop",
                events=["inbound.received", "message.read"],
                failing_since=now,
            )
        )
        await session.flush()
        session.add(
            HookDelivery(
                hook_id=HOOK,
                event_id="evt_message_1",
                event_type="message.read",
                source="message",
                source_key="1",
                status="waiting",
                attempts=2,
                next_at=now + timedelta(minutes=5),
                http_status=500,
                error="answered 500",
                duration_ms=12,
            )
        )
        hold = Act(
            contact_id=uma.id,
            event_type=EventType.HOLD_PLACED,
            purpose="marketing.*",
            source=WEBHOOK,
            source_key="wamid.UMA",
            occurred_at=now,
            actor=ActorType.DATA_SUBJECT,
            method=Method.WA_KEYWORD,
            reason="ambiguous_reply",
            evidence={"message_text": "can I stop by the store tomorrow?"},
        )
        await consents.record(session, [hold], keyring=Keyring.load(settings.data_dir), settings=settings, now=now)
    await engine.dispose()


def _heard(contact_id: UUID, sender_id: UUID, words: str, at: datetime) -> InboundMessage:
    return InboundMessage(
        provider_id=f"wamid.{uuid4().hex}",
        contact_id=contact_id,
        sender_id=sender_id,
        type="text",
        intent="reply",
        text=words,
        payload={},
        occurred_at=at,
    )


async def _answered(session: AsyncSession, contact: Contact, sender_id: UUID, now: datetime) -> None:
    message = Message(
        kind="reply",
        priority=0,
        contact_id=contact.id,
        sender_id=sender_id,
        purpose="service",
        category="service",
        parameters={"content": replies.text_content("Hello Chloé, we deliver in two days.")},
        time_zone="UTC",
        queued_on=utc_now().date(),
        status="read",
        accepted_at=now,
    )
    session.add(message)
    await session.flush()
    session.add(Reply(message_id=message.id, contact_id=contact.id, kind=ReplyKind.RULE, rule_id=RULE))
