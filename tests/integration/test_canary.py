"""Canary: the first few go out, the rest waits for a verdict, whatever crashes meanwhile."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, update

from core.clock import utc_now
from core.db import driver
from core.models import Campaign, Message
from core.services import messages
from core.statuses import CampaignStatus
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from worker import expanding, sending

PEOPLE = [f"+4917012345{number:02d}" for number in range(30)]
QUICK = {"after_minutes": 1, "min_delivered": 0.9, "max_failed": 0.05, "max_opt_out": 0.1}


async def a_careful_campaign(stack: Stack, canary: dict[str, Any], **changes: Any) -> str:
    """Launched and expanded, nothing sent yet."""
    sender = await a_sender(stack, messages_per_second=1000)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(phone) for phone in PEOPLE]))
    audience = await an_audience(stack)
    campaign = await launched(stack, await a_campaign(stack, sender, template, audience, canary=canary, **changes))
    stack.bells.waiting.clear()
    await expanding.expand_campaign(stack.ctx, campaign["id"])
    return str(campaign["id"])


async def shown(stack: Stack, campaign: str) -> dict[str, Any]:
    found: dict[str, Any] = (await stack.client.get(f"/api/campaigns/{campaign}")).json()
    return found


async def decide(stack: Stack, campaign: str, verdict: str) -> httpx.Response:
    return await stack.client.post(f"/api/campaigns/{campaign}/canary", json={"verdict": verdict})


async def hurry(stack: Stack) -> None:
    """As if the slice had been sent two minutes ago."""
    async with stack.sessions.begin() as session:
        earlier = Message.permitted_at - timedelta(minutes=2)
        await session.execute(update(Message).where(Message.permitted_at.is_not(None)).values(permitted_at=earlier))


def sent(stack: Stack) -> int:
    return len(stack.sandbox.store.messages)


@pytest.mark.parametrize(("canary", "size"), [({"people": 7}, 7), ({"share": 0.1}, 3)])
async def test_only_the_first_few_go_out_and_the_campaign_says_what_it_waits_for(
    stack: Stack, canary: dict[str, Any], size: int
) -> None:
    campaign = await a_careful_campaign(stack, canary)

    for _ in range(3):
        await sending.ring_due(stack.ctx)
        await stack.settle()

    found = await shown(stack, campaign)
    assert sent(stack) == size
    assert (found["status"], found["canary"]["waits"], found["canary"]["verdict"]) == ("sending", True, None)
    assert found["waiting"]["reason"] == "canary"
    assert (
        f"Of the first {size} people, {size} were messaged: {size} delivered, {size} read" in found["waiting"]["detail"]
    )
    assert (found["canary_slice"]["size"], found["canary_slice"]["read"]) == (size, size)
    assert found["balance"]["queued"] == 30 - size
    assert found["eta_at"] is None


async def test_go_lets_the_rest_out_and_everybody_gets_one_message(stack: Stack) -> None:
    campaign = await a_careful_campaign(stack, {"people": 5})
    await stack.settle()

    answer = await decide(stack, campaign, "go")
    await stack.settle()

    assert answer.status_code == 200, answer.text
    assert sorted(message.person.wa_id for message in stack.sandbox.store.messages) == [p.lstrip("+") for p in PEOPLE]
    found = await shown(stack, campaign)
    assert (found["status"], found["canary"]["verdict"], found["canary_slice"]["size"]) == ("completed", "go", 5)


async def test_stop_takes_the_rest_back_for_good(stack: Stack) -> None:
    campaign = await a_careful_campaign(stack, {"people": 5})
    await stack.settle()

    await decide(stack, campaign, "stop")
    await sending.ring_due(stack.ctx)
    await stack.settle()

    found = await shown(stack, campaign)
    assert (found["status"], found["canary"]["verdict"]) == ("cancelled", "stop")
    assert (sent(stack), found["balance"]["cancelled"], found["balance"]["read"]) == (5, 25, 5)
    assert (await decide(stack, campaign, "go")).status_code == 409


async def test_no_claim_takes_a_row_of_the_rest_not_even_one_that_was_late_to_learn_of_it(stack: Stack) -> None:
    campaign = await a_careful_campaign(stack, {"people": 5})
    sender = UUID((await shown(stack, campaign))["sender_id"])

    async def claim() -> int:
        async with driver(stack.sessions) as connection:
            return len(await messages.claim(connection, sender, UUID(campaign), limit=50))

    assert sum(await asyncio.gather(*(claim() for _ in range(5)))) == 5
    await decide(stack, campaign, "go")
    assert await claim() == 25


async def test_a_crash_before_the_expansion_ended_draws_one_slice_and_holds_the_rest(stack: Stack) -> None:
    campaign = await a_careful_campaign(stack, {"people": 5})
    async with stack.sessions.begin() as session:  # the last transaction of the expansion was lost
        again = {"status": CampaignStatus.EXPANDING, "expand_cursor": None, "rest_waits": False, "expanded_at": None}
        await session.execute(update(Message).values(priority=5))
        await session.execute(update(Campaign).values(**again))

    await expanding.expand_campaign(stack.ctx, campaign)
    await stack.settle()

    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Message)) == 30
    assert sent(stack) == 5


async def test_pausing_and_resuming_is_no_verdict(stack: Stack) -> None:
    campaign = await a_careful_campaign(stack, {"people": 5})
    await stack.settle()

    await stack.client.post(f"/api/campaigns/{campaign}/pause", json={"reason": "lunch"})
    await stack.client.post(f"/api/campaigns/{campaign}/resume")
    await stack.settle()

    assert sent(stack) == 5
    assert (await shown(stack, campaign))["waiting"]["reason"] == "canary"


async def test_thresholds_that_are_met_let_the_rest_go_once_their_time_has_passed(stack: Stack) -> None:
    campaign = await a_careful_campaign(stack, {"people": 5, "thresholds": QUICK})
    await stack.settle()
    await sending.check_breakers(stack.ctx)
    early = await shown(stack, campaign)

    await hurry(stack)
    await sending.check_breakers(stack.ctx)
    await stack.settle()

    assert early["canary_slice"]["shortfall"] == "1 minutes have to pass after its last message"
    assert early["canary"]["waits"]
    assert sent(stack) == 30
    assert (await shown(stack, campaign))["canary"]["verdict"] == "go"


async def test_thresholds_that_are_not_met_wait_for_a_person_and_say_why(stack: Stack) -> None:
    campaign = await a_careful_campaign(stack, {"people": 5, "thresholds": QUICK})
    await stack.settle()
    async with stack.sessions.begin() as session:
        one = select(Message.id).where(Message.priority == 4).limit(1).scalar_subquery()
        lost = {"status": "failed", "failed_at": utc_now()}
        await session.execute(update(Message).where(Message.id == one).values(**lost))
    await hurry(stack)

    await sending.check_breakers(stack.ctx)
    await stack.settle()

    found = await shown(stack, campaign)
    assert (sent(stack), found["canary"]["waits"]) == (5, True)
    assert found["canary_slice"]["shortfall"] == "80.0% were delivered, at least 90.0% were asked for"
    assert found["waiting"]["reason"] == "canary"


async def test_a_slice_of_everybody_holds_nobody_back(stack: Stack) -> None:
    campaign = await a_careful_campaign(stack, {"people": 30})
    await stack.settle()

    assert sent(stack) == 30
    assert (await decide(stack, campaign, "go")).status_code == 409


@pytest.mark.parametrize("canary", [{}, {"people": 5, "share": 0.1}, {"people": 0}, {"share": 0.9}])
async def test_a_plan_that_means_nothing_is_refused(stack: Stack, canary: dict[str, Any]) -> None:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    audience = await an_audience(stack)

    with pytest.raises(AssertionError, match="canary"):
        await a_campaign(stack, sender, template, audience, canary=canary)
