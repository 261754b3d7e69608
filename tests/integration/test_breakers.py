"""What the provider's refusals stop, what goes on, and what starts again by itself."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.clock import utc_now
from core.models import Message, MessageEvent, Template
from core.services import breakers
from core.services.folding import Report
from core.services.messages import WORKER_DIED
from core.statuses import DeliveryStatus, EventKind
from sandbox.faults import Fault, FaultName
from tests.integration.stack import Stack
from tests.integration.test_sending import PEOPLE, a_running_campaign, accepted_by_provider, statuses
from worker import sending


async def test_an_expired_token_stops_the_number_and_a_working_one_starts_it_again(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    stack.sandbox.faults.replace({"token_expired": Fault()})

    await sending.send_messages(stack.ctx, campaign["sender_id"])

    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert found["waiting"]["reason"] == "sender_paused"
    assert "KAIRAN_WHATSAPP_ACCESS_TOKEN" in found["waiting"]["detail"]
    (stop,) = found["stops"]
    assert (stop["what"], stop["code"], stop["goes_on_alone"]) == ("number", "provider:190", True)
    assert stop["next_step"].endswith("It goes on by itself once the token works.")
    assert await statuses(stack) == {"queued": len(PEOPLE)}

    await sending.check_breakers(stack.ctx)
    assert stack.bells.waiting == []  # the token is refused still

    stack.sandbox.faults.replace({})
    await sending.check_breakers(stack.ctx)
    await stack.settle()
    assert await statuses(stack) == {"read": len(PEOPLE)}
    assert set(accepted_by_provider(stack).values()) == {1}


@pytest.mark.parametrize(("fault", "code"), [("account_locked", 131031), ("error", 131042)])
async def test_a_locked_or_unpaid_account_waits_for_a_person(stack: Stack, fault: FaultName, code: int) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:5])
    stack.sandbox.faults.replace({fault: Fault(code=code)})

    await sending.send_messages(stack.ctx, campaign["sender_id"])
    stack.sandbox.faults.replace({})
    await sending.check_breakers(stack.ctx)

    assert await statuses(stack) == {"queued": 5}
    (stop,) = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["stops"]
    assert (stop["code"], stop["goes_on_alone"]) == (f"provider:{code}", False)
    assert str(code) in stop["reason"] and stop["next_step"].endswith("Then let the number go on.")
    sender = (await stack.client.get("/api/senders")).json()["items"][0]
    assert (sender["pause_code"], sender["paused_at"] is not None) == (f"provider:{code}", True)

    await stack.client.post(f"/api/senders/{sender['id']}/resume")
    await stack.settle()
    assert await statuses(stack) == {"read": 5}


async def test_a_paused_template_stops_its_campaign_and_its_approval_lets_it_go_on(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    stack.sandbox.faults.replace({"template_paused": Fault(count=1)})

    await sending.send_messages(stack.ctx, campaign["sender_id"])

    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert found["status"] == "paused"
    assert "paused because of low quality" in found["pause_reason"]
    async with stack.sessions() as session:
        template = (await session.scalars(select(Template))).one()
        attempts = set(await session.scalars(select(Message.attempt).where(Message.status == "queued")))
    assert (template.status, attempts) == ("paused", {0})

    stack.sandbox.faults.replace({})
    await stack.steer("POST", f"templates/{template.provider_id}", {"action": "approve"})

    async def everybody_read_it() -> bool:
        return (await statuses(stack))["read"] == len(PEOPLE)

    await stack.until(everybody_read_it)
    assert set(accepted_by_provider(stack).values()) == {1}


async def test_a_campaign_whose_messages_fail_is_stopped(stack: Stack) -> None:
    people = [f"+4917055555{number:02d}" for number in range(70)]
    campaign = await a_running_campaign(stack, people, messages_per_minute=6000)
    for phone in people:
        await stack.steer("PUT", f"people/{phone.lstrip('+')}", {"on_whatsapp": False})
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    await stack.settle()
    before = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert before["failures"][0]["code"] == 131026

    async with stack.sessions.begin() as session:  # something is left to stop
        one = (await session.scalars(select(Message).limit(1))).one()
        one.status = one.status.QUEUED
    await sending.check_breakers(stack.ctx)

    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert (found["status"], found["pause_code"]) == ("paused", "failures")


async def test_a_refusal_by_the_limiter_slows_the_number_down_and_is_no_delivery_failure(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:3])
    stack.sandbox.faults.replace({"rate_limited": Fault(count=3)})

    await sending.send_messages(stack.ctx, campaign["sender_id"])

    factor = await stack.parts.valkey.hget(f"throttle:factor:sender:{campaign['sender_id']}", "factor")
    assert 0 < float(factor) < 1
    assert await statuses(stack) == {"queued": 3}
    async with stack.sessions() as session:
        kinds = set(await session.scalars(select(MessageEvent.kind)))
    assert kinds == {EventKind.REJECTED}


async def test_a_campaign_that_was_let_go_on_is_not_stopped_for_what_failed_before(stack: Stack) -> None:
    people = [f"+4917055555{number:02d}" for number in range(70)]
    campaign = await a_running_campaign(stack, people)
    url = f"/api/campaigns/{campaign['id']}"
    async with stack.sessions.begin() as session:
        await some_ended(session, 60, status=DeliveryStatus.FAILED, failed_at=utc_now(), error_code=131026)

    await sending.check_breakers(stack.ctx)
    assert (await stack.client.get(url)).json()["pause_code"] == "failures"
    resumed = (await stack.client.post(f"{url}/resume")).json()
    await sending.check_breakers(stack.ctx)
    found = (await stack.client.get(url)).json()

    assert (resumed["status"], found["status"], found["pause_code"]) == ("sending", "sending", None)


async def test_a_campaign_with_nothing_left_to_send_is_not_stopped(stack: Stack) -> None:
    people = [f"+4917055555{number:02d}" for number in range(55)]
    campaign = await a_running_campaign(stack, people)
    async with stack.sessions.begin() as session:
        await some_ended(session, 55, status=DeliveryStatus.FAILED, failed_at=utc_now(), error_code=131026)

    await sending.check_breakers(stack.ctx)

    assert (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["status"] == "completed"
    answer = await stack.client.post(f"/api/campaigns/{campaign['id']}/pause", json={"reason": ""})
    assert (answer.status_code, "nothing to pause" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize(("why", "code"), [("no answer came back", "no_answer"), (WORKER_DIED, None)])
async def test_messages_without_an_answer_stop_a_campaign_unless_it_was_our_worker_that_died(
    stack: Stack, why: str, code: str | None
) -> None:
    people = [f"+4917055555{number:02d}" for number in range(70)]
    campaign = await a_running_campaign(stack, people)
    async with stack.sessions.begin() as session:
        await some_ended(session, 60, status=DeliveryStatus.UNKNOWN, error=why)

    await sending.check_breakers(stack.ctx)

    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert found["pause_code"] == code
    assert [stop["next_step"][:30] for stop in found["stops"]] == (["Look whether the provider has "] if code else [])


async def some_ended(session: AsyncSession, count: int, **values: Any) -> None:
    """Rows as they are after requests that left a while ago."""
    some = select(Message.id).order_by(Message.id).limit(count)
    long_ago = utc_now() - timedelta(seconds=30)
    await session.execute(update(Message).where(Message.id.in_(some)).values(permitted_at=long_ago, **values))


async def test_a_failure_that_concerns_the_number_stops_it_when_a_webhook_tells(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:4])
    stack.sandbox.faults.replace({"portfolio_limit": Fault(count=1)})
    url = f"/api/campaigns/{campaign['id']}"
    async with stack.sessions.begin() as session:
        waiting = select(Message.id).order_by(Message.id.desc()).limit(2)
        later = utc_now() + timedelta(days=1)
        await session.execute(update(Message).where(Message.id.in_(waiting)).values(not_before=later))

    await sending.send_messages(stack.ctx, campaign["sender_id"])
    await stack.settle()

    (stop,) = (await stack.client.get(url)).json()["stops"]
    assert (stop["what"], stop["code"]) == ("number", "provider:131048")
    assert await statuses(stack) == {"failed": 1, "read": 1, "queued": 2}

    await stack.client.post(f"/api/senders/{campaign['sender_id']}/resume")
    async with stack.sessions.begin() as session:
        failed = (await session.scalars(select(Message).where(Message.status == DeliveryStatus.FAILED))).one()
        late = Report(EventKind.FAILED, utc_now(), message_id=failed.id, error_code=131048)
        await breakers.trip_reported(session, [late], now=utc_now())
    assert (await stack.client.get(url)).json()["stops"] == []  # it was sent before somebody let the number go on


async def test_a_campaign_is_not_resumed_while_its_template_is_paused(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    stack.sandbox.faults.replace({"template_paused": Fault(count=1)})
    await sending.send_messages(stack.ctx, campaign["sender_id"])

    answer = await stack.client.post(f"/api/campaigns/{campaign['id']}/resume")

    assert answer.status_code == 409
    assert "is paused at the provider" in answer.json()["detail"]
