"""Contacts and acts for consent tests."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from core.consent.acts import Act, ActorType, Method
from core.consent.state import EventType
from core.db import Sessions
from core.keys import Keyring
from core.models import Contact, ContactAddress
from core.services import consents
from core.services.judging import Outcome
from core.settings import Settings

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SENDER = "1055501"
NUMBERS = count(10_000_000)


@dataclass
class World:
    """Sessions on a database that knows the default purposes and notice."""

    sessions: Sessions
    keyring: Keyring
    settings: Settings
    notice_id: UUID = field(default_factory=uuid4)

    async def start(self) -> "World":
        async with self.sessions.begin() as session:
            await consents.ensure_defaults(session, self.settings, keyring=self.keyring, now=NOW)
            notice = await consents.current_notice(session, "marketing")
        assert notice is not None
        self.notice_id = notice.id
        return self

    async def contacts(self, count: int = 1, *, prefix: str = "+8190") -> list[UUID]:
        """New contacts with a phone each."""
        people = [Contact(country="JP", last_seen_at=NOW - timedelta(hours=1)) for _ in range(count)]
        async with self.sessions.begin() as session:
            session.add_all(people)
            await session.flush()
            for person in people:
                number = f"{prefix}{next(NUMBERS):08}"
                session.add(ContactAddress(contact_id=person.id, kind="phone", value=number, match_key=number))
        return [person.id for person in people]

    async def record(self, *acts: Act, now: datetime = NOW) -> list[Outcome]:
        async with self.sessions.begin() as session:
            return await consents.record(session, acts, keyring=self.keyring, settings=self.settings, now=now)

    def grant(self, contact_id: UUID, **changes: Any) -> Act:
        """The person tapped Agree in the chat: grade B."""
        facts: dict[str, Any] = {
            "event_type": EventType.GRANTED,
            "purpose": "marketing",
            "source": "wa_webhook",
            "source_key": str(uuid4()),
            "occurred_at": NOW,
            "actor": ActorType.DATA_SUBJECT,
            "method": Method.WA_BUTTON,
            "collection_point": "welcome/1",
            "notice_id": self.notice_id,
            "sender_scope": SENDER,
            "evidence": {"text": "Agree"},
        }
        return Act(contact_id=contact_id, **(facts | changes))

    def form(self, contact_id: UUID, **changes: Any) -> Act:
        """The number was typed into our web form: grade C."""
        facts = {"source": "web_form", "method": Method.WEB_FORM, "sender_scope": None}
        return self.grant(contact_id, **(facts | changes))

    def stop(self, contact_id: UUID, **changes: Any) -> Act:
        facts: dict[str, Any] = {
            "event_type": EventType.WITHDRAWN,
            "purpose": "marketing.*",
            "source": "wa_webhook",
            "source_key": str(uuid4()),
            "occurred_at": NOW,
            "actor": ActorType.DATA_SUBJECT,
            "method": Method.WA_KEYWORD,
            "sender_scope": SENDER,
            "reason": "stop_word",
            "evidence": {"text": "停止"},
        }
        return Act(contact_id=contact_id, **(facts | changes))
