"""The golden rows: twelve messages, forty-seven facts and nine orders whose every metric was worked out by hand.

All in October 2026, UTC. C1 has variants A and B and two people held out; C2 has one variant, N.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as pg_insert

from core.db import Sessions
from core.models import (
    Audience,
    Campaign,
    CampaignVariant,
    Contact,
    Conversion,
    Message,
    MessageEvent,
    Sender,
    Template,
    TemplateVersion,
)

NAMES = UUID("8f6f2f5c-6a56-4b0b-9a52-1f1f0c4c0001")
AS_OF = datetime(2026, 10, 10, tzinfo=UTC)
EARLY = datetime(2026, 10, 5, tzinfo=UTC)


def an_id(name: str) -> UUID:
    """The same id for the same name."""
    return uuid5(NAMES, name)


def message_id(name: str) -> UUID:
    """Ids of messages are in the order of their names, as UUIDv7 would be."""
    return UUID(int=(0x0199A000 << 96) | int(name.removeprefix("m").removeprefix("h")) | (name[0] == "h") << 16)


def at(text: str) -> datetime:
    """`01 09:00:05` → 2026-10-01 09:00:05 UTC."""
    day, clock = text.split()
    hour, minute, *second = clock.split(":")
    return datetime(2026, 10, int(day), int(hour), int(minute), int(second[0]) if second else 0, tzinfo=UTC)


ZONES = {
    "IN": "Asia/Kolkata",
    "BR": "America/Sao_Paulo",
    "DE": "Europe/Berlin",
    "GB": "Europe/London",
    "ZA": "Africa/Johannesburg",
}


@dataclass(frozen=True)
class Msg:
    name: str
    campaign: str
    variant: str | None
    contact: str
    country: str
    queued: str
    holdout: bool = False


@dataclass(frozen=True)
class Fact:
    message: str
    kind: str
    occurred: str
    received: str = ""
    code: int | None = None
    reason: str | None = None
    button: int | None = None
    bot: bool | None = None
    cost: int | None = None
    pricing: str | None = None
    billable: bool | None = None

    @property
    def occurred_at(self) -> datetime:
        return at(self.occurred)

    @property
    def received_at(self) -> datetime:
        return at(self.received or self.occurred)

    @property
    def key(self) -> UUID:
        return an_id(f"{self.message} {self.kind} {self.occurred} {self.button}")


MESSAGES = (
    Msg("m01", "C1", "A", "K1", "IN", "01 09:00:00"),
    Msg("m02", "C1", "A", "K2", "IN", "01 09:00:00"),
    Msg("m03", "C1", "A", "K3", "BR", "01 09:00:01"),
    Msg("m04", "C1", "A", "K4", "BR", "01 09:00:01"),
    Msg("m05", "C1", "B", "K5", "DE", "01 09:00:02"),
    Msg("m06", "C1", "B", "K6", "DE", "01 09:00:02"),
    Msg("m07", "C1", "B", "K7", "GB", "01 09:00:03"),
    Msg("m08", "C1", "B", "K8", "GB", "01 09:00:03"),
    Msg("m09", "C2", "N", "K1", "IN", "03 10:00:00"),
    Msg("m10", "C2", "N", "K2", "IN", "03 10:00:00"),
    Msg("m11", "C2", "N", "K9", "ZA", "03 10:00:01"),
    Msg("m12", "C2", "N", "K6", "DE", "03 10:00:01"),
    Msg("h01", "C1", None, "K11", "IN", "01 09:00:03", holdout=True),
    Msg("h02", "C1", None, "K12", "IN", "01 09:00:03", holdout=True),
)


def delivered(message: str, occurred: str, cost: int, received: str = "") -> Fact:
    return Fact(message, "delivered", occurred, received, cost=cost, pricing="regular", billable=True)


FACTS = (
    Fact("m01", "accepted", "01 09:00:01"),
    Fact("m01", "sent", "01 09:00:02"),
    delivered("m01", "01 09:00:05", 10_700),
    delivered("m01", "01 09:00:05", 10_700, received="01 09:05:05"),  # the same webhook again
    Fact("m01", "read", "01 09:02:05"),
    Fact("m01", "click", "01 09:03:00", button=0, bot=False),
    Fact("m01", "click", "01 09:03:30", button=0, bot=False),
    Fact("m01", "click", "01 09:10:00", button=1, bot=False),
    Fact("m02", "read", "01 09:30:06", received="01 09:30:07"),
    Fact("m02", "accepted", "01 09:00:01"),
    delivered("m02", "01 09:00:06", 10_700, received="01 09:31:00"),
    Fact("m02", "sent", "01 09:00:02", received="01 09:31:01"),
    Fact("m03", "accepted", "01 09:00:02"),
    Fact("m03", "sent", "01 09:00:03"),
    Fact("m03", "read", "01 10:00:03", cost=62_500, pricing="regular", billable=True),
    Fact("m03", "reply", "01 10:05:00"),
    Fact("m03", "reply", "01 10:06:00"),
    Fact("m04", "accepted", "01 09:00:02"),
    Fact("m04", "sent", "01 09:00:03"),
    Fact("m04", "failed", "01 09:00:04", code=131049),
    Fact("m05", "accepted", "01 09:00:03"),
    Fact("m05", "sent", "01 09:00:04"),
    delivered("m05", "01 09:00:10", 136_500),
    Fact("m05", "click", "01 11:00:00", button=0, bot=False),
    Fact("m06", "accepted", "01 09:00:03"),
    Fact("m06", "sent", "01 09:00:04"),
    delivered("m06", "01 09:00:14", 136_500),
    Fact("m06", "read", "01 09:20:14"),
    Fact("m06", "opt_out", "01 09:21:00", reason="keyword"),
    Fact("m07", "rejected", "01 09:00:04", code=132000),
    Fact("m08", "accepted", "01 09:00:04"),
    Fact("m08", "sent", "01 09:00:05"),
    Fact("m09", "accepted", "03 10:00:01"),
    Fact("m09", "sent", "03 10:00:02"),
    delivered("m09", "03 10:00:04", 10_700),
    Fact("m09", "read", "03 11:00:04"),
    Fact("m10", "accepted", "03 10:00:01"),
    Fact("m10", "sent", "03 10:00:02"),
    Fact("m10", "failed", "03 10:00:05", received="03 10:00:06", code=131026),
    delivered("m10", "03 10:00:20", 10_700, received="06 08:00:00"),
    Fact("m11", "accepted", "03 10:00:02"),
    Fact("m11", "sent", "03 10:00:03"),
    Fact("m11", "delivered", "03 10:00:13", cost=0, pricing="free_entry_point", billable=False),
    Fact("m11", "click", "03 10:00:14", button=0, bot=True),
    Fact("m11", "read", "05 10:00:13"),
    Fact("m11", "click", "05 10:01:00", button=0, bot=False),
    Fact("m12", "suppressed", "03 10:00:01", reason="opted_out"),
)


@dataclass(frozen=True)
class Order:
    order: str
    contact: str
    occurred: str
    amount: int
    kind: str = "order"
    refund: str | None = None


ORDERS = (
    Order("O1", "K1", "01 12:00", 40),
    Order("O2", "K2", "01 19:30", 25),
    Order("O3", "K5", "03 11:00", 60),
    Order("O3", "K5", "03 11:00", 60),  # reported twice
    Order("O4", "K1", "03 15:00", 30),
    Order("O5", "K8", "02 10:00", 20),
    Order("O6", "K3", "02 12:00", 10),
    Order("O7", "K9", "03 20:00", 18),
    Order("O8", "K11", "02 10:00", 15),
    Order("O2", "K2", "04 09:00", 5, "refund", "R1"),
)


def message_rows() -> list[dict[str, Any]]:
    return [
        {
            "id": message_id(m.name),
            "created_at": at(m.queued),
            "kind": "campaign",
            "priority": 5,
            "campaign_id": an_id(m.campaign),
            "variant_id": an_id(f"{m.campaign}/{m.variant}") if m.variant else None,
            "contact_id": an_id(m.contact),
            "sender_id": an_id("sender"),
            "template_version_id": an_id("version"),
            "purpose": "marketing",
            "category": "marketing",
            "country": m.country,
            "time_zone": ZONES[m.country],
            "holdout": m.holdout,
            "queued_at": at(m.queued),
            "queued_on": at(m.queued).date(),
            "status": "skipped" if m.holdout else "queued",
            "skip_reason": "holdout" if m.holdout else None,
        }
        for m in MESSAGES
    ]


def fact_rows(facts: tuple[Fact, ...] = FACTS) -> list[dict[str, Any]]:
    queued_on = {m.name: at(m.queued).date() for m in MESSAGES}
    return [
        {
            "created_at": f.received_at,
            "message_id": message_id(f.message),
            "queued_on": queued_on[f.message],
            "kind": f.kind,
            "occurred_at": f.occurred_at,
            "event_key": f.key,
            "error_code": f.code,
            "reason": f.reason,
            "button_index": f.button,
            "is_bot": f.bot,
            "pricing_type": f.pricing,
            "billable": f.billable,
            "cost_micros": f.cost,
        }
        for f in facts
    ]


def order_rows() -> list[dict[str, Any]]:
    return [
        {
            "created_at": at(o.occurred) + timedelta(seconds=1),
            "kind": o.kind,
            "order_id": o.order,
            "refund_id": o.refund,
            "contact_id": an_id(o.contact),
            "occurred_at": at(o.occurred),
            "amount_micros": o.amount * 1_000_000,
            "currency": "USD",
        }
        for o in ORDERS
    ]


async def insert_setting(sessions: Sessions) -> None:
    """Everything the golden messages point to."""
    sender = {"phone_number_id": "1", "waba_id": "1", "display_number": "+10000000000", "name": "Shop"}
    template = {"waba_id": "1", "name": "autumn", "language": "en", "purpose": "marketing"}
    campaign = {"status": "sending", "purpose": "marketing", "sender_id": an_id("sender")}
    async with sessions.begin() as session:
        await session.execute(insert(Sender).values(id=an_id("sender"), **sender))
        await session.execute(insert(Audience).values(id=an_id("audience"), name="Everyone", kind="static"))
        await session.execute(
            insert(Template).values(id=an_id("template"), category="marketing", status="approved", **template)
        )
        await session.execute(
            insert(TemplateVersion).values(
                id=an_id("version"), template_id=an_id("template"), version=1, parameter_format="named", components=[]
            )
        )
        for name, labels in {"C1": "AB", "C2": "N"}.items():
            await session.execute(
                insert(Campaign).values(id=an_id(name), name=name, audience_id=an_id("audience"), **campaign)
            )
            for label in labels:
                await session.execute(
                    insert(CampaignVariant).values(
                        id=an_id(f"{name}/{label}"),
                        campaign_id=an_id(name),
                        label=label,
                        weight=1,
                        template_version_id=an_id("version"),
                        parameters={},
                    )
                )
        await session.execute(insert(Contact), [{"id": an_id(f"K{number}")} for number in range(1, 13)])


async def insert_messages(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(insert(Message), message_rows())


async def insert_facts(sessions: Sessions, facts: tuple[Fact, ...] = FACTS) -> int:
    """Insert facts as webhooks do: the same key again changes nothing. Returns how many rows were new."""
    async with sessions.begin() as session:
        statement = pg_insert(MessageEvent).on_conflict_do_nothing(index_elements=["message_id", "event_key"])
        return len((await session.execute(statement.returning(MessageEvent.id), fact_rows(facts))).all())


async def insert_orders(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(pg_insert(Conversion).on_conflict_do_nothing(), order_rows())


async def insert_all(sessions: Sessions) -> None:
    """The whole golden set."""
    await insert_setting(sessions)
    await insert_messages(sessions)
    await insert_facts(sessions)
    await insert_orders(sessions)


def received_until(instant: datetime) -> tuple[Fact, ...]:
    return tuple(fact for fact in FACTS if fact.received_at <= instant)


def received_after(instant: datetime) -> tuple[Fact, ...]:
    return tuple(fact for fact in FACTS if fact.received_at > instant)


FIRST_DAY, SECOND_DAY = date(2026, 10, 1), date(2026, 10, 3)
