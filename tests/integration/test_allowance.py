"""The portfolio's allowance: so many different people in 24 hours, for all numbers and campaigns together."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, update

from core.clock import utc_now
from core.models import Message, PersonReached, Sender
from core.services import senders
from core.statuses import DeliveryStatus
from tests.factories import a_campaign, launched
from tests.integration.stack import Stack
from tests.integration.test_sending import PEOPLE, a_running_campaign, accepted_by_provider, statuses
from worker import expanding, sending
from worker.sending import Lane


async def with_tier(stack: Stack, tier: str) -> None:
    async with stack.sessions.begin() as session:
        await session.execute(update(Sender).values(limit_tier=tier))


async def test_the_portfolio_s_allowance_is_never_overdrawn_and_says_when_it_goes_on(stack: Stack) -> None:
    people = [f"+49170123456{number:02d}" for number in range(60)]
    campaign = await a_running_campaign(stack, people)
    await with_tier(stack, "TIER_50")

    await asyncio.gather(*(sending.send_messages(stack.ctx, campaign["sender_id"]) for _ in range(3)))

    assert sum(accepted_by_provider(stack).values()) == 50
    waiting = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["waiting"]
    assert waiting["reason"] == "portfolio_allowance"
    assert waiting["until"] is not None
    async with stack.sessions.begin() as session:
        await session.execute(update(PersonReached).values(reached_at=utc_now() - timedelta(hours=24, seconds=1)))
    stack.parts.exhausted.clear()  # a few seconds later
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    assert accepted_by_provider(stack) == Counter(phone.lstrip("+") for phone in people)


async def test_what_an_earlier_campaign_still_has_to_send_is_not_given_to_a_later_one(stack: Stack) -> None:
    people = [f"+49170123456{number:02d}" for number in range(60)]
    first = await a_running_campaign(stack, people)
    audience = first["audience_id"]
    template = (await stack.client.get("/api/templates")).json()["items"][0]
    plan = await a_campaign(stack, {"id": first["sender_id"]}, template, {"id": audience}, name="second")
    reviewed = (await stack.client.post(f"/api/campaigns/{plan['id']}/review")).json()
    assert reviewed["allowance"]["limit"] == 100_000  # as the provider told at the registration
    second = await launched(stack, plan)
    await expanding.expand_campaign(stack.ctx, second["id"])
    await with_tier(stack, "TIER_50")
    async with stack.sessions() as session:
        sender = await senders.get(session, UUID(first["sender_id"]))

    refused = await sending.send_batch(stack.parts, sender, Lane(UUID(second["id"]), None), 50)
    taken = await sending.send_batch(stack.parts, sender, Lane(UUID(first["id"]), None), 50)

    assert (refused, taken) == (0, 50)


async def test_who_counts_already_and_replies_need_nothing_of_the_allowance(stack: Stack) -> None:
    people = [f"+49170123456{number:02d}" for number in range(52)]
    first = await a_running_campaign(stack, people)
    await with_tier(stack, "TIER_50")
    await sending.send_messages(stack.ctx, first["sender_id"])
    assert (await statuses(stack))["queued"] == 2
    template = (await stack.client.get("/api/templates")).json()["items"][0]
    audience = {"id": first["audience_id"]}
    plan = await a_campaign(stack, {"id": first["sender_id"]}, template, audience, name="second")
    second = await launched(stack, plan)
    await expanding.expand_campaign(stack.ctx, second["id"])
    await stack.steer("POST", "inbound", {"phone": people[0], "kind": "text", "text": "Hello"})
    await stack.until(lambda: has_conversation(stack))
    row = (await stack.client.get("/api/conversations")).json()["items"][0]
    assert (await stack.client.post(f"/api/conversations/{row['id']}/reply", json={"text": "Hi"})).status_code == 202

    async def whoever_counts_has_both() -> bool:  # the number's limiter may put some back for a second
        await sending.send_messages(stack.ctx, first["sender_id"])
        return sorted(Counter(accepted_by_provider(stack).values()).items()) == [(2, 49), (3, 1)]  # and the reply

    await stack.until(whoever_counts_has_both)

    async with stack.sessions() as session:
        left = Message.status == DeliveryStatus.QUEUED
        waiting = await session.scalar(select(func.count(Message.contact_id.distinct())).where(left))
        assert await session.scalar(select(func.count()).select_from(PersonReached)) == 50
    assert waiting == 2  # both of them wait for both campaigns


async def has_conversation(stack: Stack) -> bool:
    return bool((await stack.client.get("/api/conversations")).json()["items"])


async def test_the_allowance_says_when_there_is_room_for_one_more(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, [f"+49170123456{number:02d}" for number in range(60)])
    now = utc_now()
    async with stack.sessions.begin() as session:
        contacts = list(await session.scalars(select(Message.contact_id)))
        for number, contact_id in enumerate(contacts[:55]):
            session.add(PersonReached(contact_id=contact_id, reached_at=now - timedelta(hours=20, minutes=-number)))
    await with_tier(stack, "TIER_50")

    waiting = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["waiting"]

    free_at = now + timedelta(hours=4, minutes=5)  # when the sixth has stopped counting, 49 do
    assert abs(datetime.fromisoformat(waiting["until"]) - free_at) < timedelta(seconds=1)


async def test_people_the_gate_refused_do_not_use_up_the_allowance(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:4])
    await with_tier(stack, "TIER_50")
    withdrawal = {
        "phone": PEOPLE[0],
        "action": "opt_out",
        "source_record_id": "call 1",
        "occurred_at": utc_now().isoformat(),
        "method": "call",
    }
    assert (await stack.client.post("/api/consents", json=withdrawal)).is_success

    await sending.send_messages(stack.ctx, campaign["sender_id"])

    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(PersonReached)) == 3
