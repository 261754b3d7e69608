"""Sending: at most once to the person, nothing lost silently, whatever breaks on the way."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import time, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from core.clock import utc_now
from core.db import driver
from core.live import WORKER_HEARTBEAT
from core.models import Campaign, Message, MessageEvent
from core.services import folding, messages, senders
from core.services.folding import Report
from core.services.messages import Claimed, Permitted
from core.statuses import CampaignStatus, DeliveryStatus, EventKind
from core.whatsapp.client import WhatsAppClient
from sandbox.faults import Fault
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from worker import expanding, reach, sending
from worker.sending import Lane

PEOPLE = [f"+4917012345{number:02d}" for number in range(30)]


async def a_running_campaign(stack: Stack, people: list[str] = PEOPLE, **changes: Any) -> dict[str, Any]:
    """Launched and expanded, nothing sent yet."""
    sender = await a_sender(stack, messages_per_second=1000)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(phone) for phone in people]))
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack), **changes))
    stack.bells.waiting.clear()
    await expanding.expand_campaign(stack.ctx, campaign["id"])
    stack.bells.waiting.clear()
    return campaign


async def a_claim(stack: Stack, campaign: dict[str, Any], limit: int) -> list[Claimed]:
    async with driver(stack.sessions) as connection:
        return await messages.claim(connection, UUID(campaign["sender_id"]), UUID(campaign["id"]), limit=limit)


async def permit(stack: Stack, those: list[Claimed]) -> set[UUID]:
    """What may be sent of it."""
    permits = [Permitted(claimed.id, claimed.attempt, 1, 1, utc_now()) for claimed in those]
    async with driver(stack.sessions) as connection:
        return await messages.write_permits(connection, permits)


async def end_leases(stack: Stack) -> None:
    async with stack.sessions.begin() as session:
        over = utc_now() - timedelta(seconds=1)
        await session.execute(update(Message).where(Message.status == "sending").values(lease_until=over))


async def statuses(stack: Stack) -> Counter[str]:
    async with stack.sessions() as session:
        rows = await session.execute(select(Message.status, func.count()).group_by(Message.status))
        return Counter({str(status): count for status, count in rows})


def accepted_by_provider(stack: Stack) -> Counter[str]:
    return Counter(message.person.wa_id for message in stack.sandbox.store.messages)


async def test_ten_workers_at_once_send_each_message_once(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)

    await asyncio.gather(*(sending.send_messages(stack.ctx, campaign["sender_id"]) for _ in range(10)))

    assert accepted_by_provider(stack) == Counter(phone.lstrip("+") for phone in PEOPLE)


async def test_a_claim_takes_no_more_than_it_was_asked_for(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)

    claimed = await a_claim(stack, campaign, 7)

    assert len(claimed) == 7
    assert await statuses(stack) == {"sending": 7, "queued": 23}


async def test_expanding_again_after_a_crash_makes_no_row_twice(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    async with stack.sessions.begin() as session:
        await session.execute(
            update(Campaign).values(status=CampaignStatus.EXPANDING, expand_cursor=None, expanded_at=None)
        )

    await expanding.expand_campaign(stack.ctx, campaign["id"])

    assert await statuses(stack) == {"queued": 30}


async def test_what_a_killed_worker_had_claimed_is_sent_later_unless_a_request_may_have_left(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    claimed = await a_claim(stack, campaign, 5)
    await permit(stack, claimed[:2])
    await end_leases(stack)

    await sending.ring_due(stack.ctx)
    await sending.send_messages(stack.ctx, campaign["sender_id"])

    assert (await statuses(stack))["unknown"] == 2
    assert sum(accepted_by_provider(stack).values()) == 28
    assert set(accepted_by_provider(stack).values()) == {1}


async def test_a_worker_that_stood_still_past_its_lease_has_lost_its_claim(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:4])
    held = await a_claim(stack, campaign, 4)
    await end_leases(stack)
    await sending.ring_due(stack.ctx)
    taken_by_another = await a_claim(stack, campaign, 3)

    assert {claimed.id for claimed in taken_by_another} < {claimed.id for claimed in held}
    assert await permit(stack, held) == set()
    assert await permit(stack, taken_by_another) == {claimed.id for claimed in taken_by_another}


async def test_a_worker_that_lives_keeps_its_claim_however_long_it_takes(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:2])
    held = await a_claim(stack, campaign, 2)
    await end_leases(stack)
    async with stack.sessions.begin() as session:
        await messages.renew_leases(session, [claimed.id for claimed in held])

    await sending.ring_due(stack.ctx)

    assert await statuses(stack) == {"sending": 2}


async def test_an_answer_that_never_came_is_unknown_until_the_webhook_settles_it(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:3])
    stack.sandbox.faults.replace({"drop_response": Fault()})

    await sending.send_messages(stack.ctx, campaign["sender_id"])
    unknown = (await statuses(stack))["unknown"]
    stack.sandbox.faults.replace({})
    await stack.settle()

    assert unknown == 3
    assert await statuses(stack) == {"read": 3}
    assert set(accepted_by_provider(stack).values()) == {1}


async def test_a_throttled_message_is_tried_again_and_each_attempt_is_kept(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:2])
    stack.sandbox.faults.replace({"rate_limited": Fault(count=2)})

    await sending.send_messages(stack.ctx, campaign["sender_id"])
    async with stack.sessions.begin() as session:
        refused = await session.scalars(select(MessageEvent).where(MessageEvent.kind == EventKind.REJECTED))
        assert sorted(event.error_code or 0 for event in refused) == [130429, 130429]
        waiting = list(await session.scalars(select(Message)))
        assert all(message.status is DeliveryStatus.QUEUED and message.not_before > utc_now() for message in waiting)
        await session.execute(update(Message).values(not_before=utc_now()))
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    await stack.settle()

    assert await statuses(stack) == {"read": 2}


async def test_the_last_refused_attempt_is_recorded_as_failed(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:1])
    stack.sandbox.faults.replace({"error": Fault(code=131000, status=500)})

    for _ in range(messages.MAX_ATTEMPTS):
        async with stack.sessions.begin() as session:
            await session.execute(update(Message).values(not_before=utc_now()))
        await sending.send_messages(stack.ctx, campaign["sender_id"])

    async with stack.sessions() as session:
        failed = (await session.scalars(select(Message))).one()
    assert (failed.status, failed.error_code, failed.attempt) == (DeliveryStatus.FAILED, 131000, messages.MAX_ATTEMPTS)
    told = (await stack.client.get(f"/api/contacts/{failed.contact_id}/timeline")).json()["items"]
    tries = [each["facts"]["attempt"] for each in told if each["facts"].get("reason") == "retry"]
    assert sorted(tries) == list(range(1, messages.MAX_ATTEMPTS))


async def test_a_connection_that_was_never_made_is_tried_again(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:1])
    nobody = WhatsAppClient.connect("http://127.0.0.1:9", "token", version="v26.0")
    object.__setattr__(stack.parts, "whatsapp", nobody)

    await sending.send_messages(stack.ctx, campaign["sender_id"])

    await nobody.aclose()
    assert await statuses(stack) == {"queued": 1}


async def test_one_message_that_cannot_be_rendered_fails_alone(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:5])
    async with stack.sessions.begin() as session:
        broken = (await session.scalars(select(Message).limit(1))).one()
        broken.parameters = {**(broken.parameters or {}), "body.1": ""}

    await sending.send_messages(stack.ctx, campaign["sender_id"])
    await stack.settle()

    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert found["skipped"] == {"bad_parameters": 1}
    assert found["balance"]["read"] == 4


async def test_after_a_pause_no_new_request_starts_and_resuming_sends_the_rest(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, messages_per_minute=600)
    sender = asyncio.create_task(sending.send_messages(stack.ctx, campaign["sender_id"]))
    await asyncio.sleep(0.6)

    paused = await stack.client.post(f"/api/campaigns/{campaign['id']}/pause", json={"reason": "wrong price"})
    await asyncio.sleep(0.6)
    at_pause = len(stack.sandbox.store.messages)
    await sender
    why = "Paused by Marketer: wrong price"
    assert paused.json()["waiting"] == {"reason": "paused", "detail": why, "until": None}
    assert 0 < at_pause == len(stack.sandbox.store.messages) < len(PEOPLE)

    await stack.client.post(f"/api/campaigns/{campaign['id']}/resume")
    await stack.settle()
    assert accepted_by_provider(stack) == Counter(phone.lstrip("+") for phone in PEOPLE)


async def test_cancelling_takes_back_what_has_not_left(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    async with stack.sessions() as session:
        sender = await senders.get(session, UUID(campaign["sender_id"]))
    await sending.send_batch(stack.parts, sender, Lane(UUID(campaign["id"]), 600))

    cancelled = (await stack.client.post(f"/api/campaigns/{campaign['id']}/cancel")).json()
    await sending.send_messages(stack.ctx, campaign["sender_id"])

    sent = len(stack.sandbox.store.messages)
    assert cancelled["status"] == "cancelled"
    assert cancelled["balance"]["cancelled"] == len(PEOPLE) - sent > 0


async def test_unknown_messages_are_given_up_by_a_person_and_a_late_receipt_still_wins(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:2])
    async with stack.sessions.begin() as session:
        long_ago = utc_now() - timedelta(hours=2)
        await session.execute(update(Message).values(status=DeliveryStatus.UNKNOWN, permitted_at=long_ago))
    url = f"/api/campaigns/{campaign['id']}/settle"

    dry = (await stack.client.post(url, json={"older_than_minutes": 60})).json()
    young = (await stack.client.post(url, json={"older_than_minutes": 180, "dry_run": False})).json()
    settled = (await stack.client.post(url, json={"older_than_minutes": 60, "dry_run": False})).json()

    assert [answer["messages"] for answer in (dry, young, settled)] == [2, 0, 2]
    assert {answer["unknown"] for answer in (dry, young, settled)} == {2}
    assert await statuses(stack) == {"failed": 2}
    (failure,) = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["failures"]
    assert (failure["code"], failure["count"]) == (None, 2)
    assert failure["meaning"].startswith("No answer ever came")
    async with stack.sessions.begin() as session:
        one = (await session.scalars(select(Message.id).limit(1))).one()
        await folding.fold(session, [Report(EventKind.DELIVERED, utc_now(), message_id=one, wamid="wamid.late")])
    assert await statuses(stack) == {"failed": 1, "delivered": 1}


async def test_a_campaign_says_why_it_does_not_move(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:2])
    url = f"/api/campaigns/{campaign['id']}"

    assert (await stack.client.get(url)).json()["waiting"] is None
    await stack.parts.valkey.delete(WORKER_HEARTBEAT)
    assert (await stack.client.get(url)).json()["waiting"]["reason"] == "no_worker"
    async with stack.sessions.begin() as session:
        await session.execute(
            update(Campaign).values(status=CampaignStatus.SCHEDULED, send_at=utc_now() - timedelta(minutes=2))
        )
    late = (await stack.client.get(url)).json()
    assert (late["waiting"]["reason"], late["is_late"], late["eta_at"]) == ("late", True, None)
    assert "No worker is running" in late["waiting"]["detail"]
    assert (await stack.client.get("/health/ready")).json()["checks"]["campaigns"] == "late"
    async with stack.sessions.begin() as session:
        await session.execute(update(Campaign).values(send_at=utc_now() - timedelta(seconds=20)))
    soon = (await stack.client.get(url)).json()
    assert (soon["waiting"]["reason"], soon["is_late"]) == ("no_worker", False)


async def test_nobody_is_told_a_finish_time_while_the_number_stands_still(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    url = f"/api/campaigns/{campaign['id']}"
    assert (await stack.client.get(url)).json()["eta_at"] is not None

    await stack.client.post(f"/api/senders/{campaign['sender_id']}/pause", json={"reason": "a new SIM."})
    found = (await stack.client.get(url)).json()

    assert found["eta_at"] is None
    assert found["waiting"]["detail"] == "The number is paused: Paused by Marketer: a new SIM."


async def test_a_silent_provider_costs_a_campaign_no_more_than_what_was_under_way(stack: Stack) -> None:
    people = [f"+49170123456{number:02d}" for number in range(90)]
    campaign = await a_running_campaign(stack, people, messages_per_minute=6000)
    stack.sandbox.faults.replace({"drop_response": Fault()})

    await sending.send_messages(stack.ctx, campaign["sender_id"])

    counted = await statuses(stack)
    assert reach.SILENT_AFTER <= counted["unknown"] < 40  # four batches of five were under way
    assert counted["queued"] > 50
    waiting = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["waiting"]
    assert waiting["reason"] == "provider_down"

    stack.sandbox.faults.replace({})

    async def everybody_has_it() -> bool:
        await sending.ring_due(stack.ctx)
        return sum(accepted_by_provider(stack).values()) == len(people)

    await stack.until(everybody_has_it, 40)
    assert set(accepted_by_provider(stack).values()) == {1}


async def test_a_paused_number_sends_nothing(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    await stack.client.post(f"/api/senders/{campaign['sender_id']}/pause", json={"reason": "quality"})

    await sending.send_messages(stack.ctx, campaign["sender_id"])

    assert await statuses(stack) == {"queued": 30}
    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert found["waiting"]["reason"] == "sender_paused"


async def test_people_who_withdraw_while_the_campaign_runs_get_nothing_after_it(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, messages_per_minute=1200)
    order = random.Random(3).sample(PEOPLE, 10)
    withdrawn: dict[str, float] = {}

    async def withdraw() -> None:
        for at, phone in enumerate(order):
            await asyncio.sleep(0.05)
            answer = await stack.client.post(
                "/api/consents",
                json={
                    "phone": phone,
                    "action": "opt_out",
                    "source_record_id": str(at),
                    "occurred_at": utc_now().isoformat(),
                    "method": "call",
                },
            )
            assert answer.status_code == 201, answer.text
            withdrawn[phone.lstrip("+")] = utc_now().timestamp()

    await asyncio.gather(withdraw(), sending.send_messages(stack.ctx, campaign["sender_id"]))

    late = [
        message
        for message in stack.sandbox.store.messages
        if message.person.wa_id in withdrawn and message.accepted_at > withdrawn[message.person.wa_id]
    ]
    assert late == []
    assert (await statuses(stack))["skipped"] > 0


async def test_a_test_message_passes_the_gate_and_counts_in_no_figure(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:1])
    await an_import(stack, csv_of([{"phone": "+4917077777777"}]))
    url = f"/api/campaigns/{campaign['id']}/test"

    sent = await stack.client.post(url, json={"phone": "0170 1234500", "variant": "A"})
    refused = await stack.client.post(url, json={"phone": "+4917077777777", "variant": "A"})
    await stack.settle()

    assert (sent.status_code, refused.status_code) == (202, 202)
    async with stack.sessions() as session:
        tests = {m.id: m for m in await session.scalars(select(Message).where(Message.kind == "test"))}
    assert tests[UUID(sent.json()["message_id"])].status is DeliveryStatus.READ
    assert tests[UUID(refused.json()["message_id"])].skip_reason == "no_consent"
    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert found["balance"]["audience"] == 1


async def test_quiet_hours_hold_messages_back_in_the_recipients_zone(stack: Stack) -> None:
    now = utc_now()
    quiet = {"quiet_from": f"{(now.hour + 23) % 24:02d}:00", "quiet_until": f"{(now.hour + 3) % 24:02d}:00"}
    people = [
        consenting("+4917012345000", time_zone="UTC"),
        consenting("+4917012345001", time_zone="Pacific/Kiritimati"),
    ]
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of(people))
    campaign = await a_campaign(stack, sender, template, await an_audience(stack), **quiet)
    await launched(stack, campaign)
    await stack.settle()

    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()

    assert found["balance"]["queued"] == 1
    assert found["balance"]["read"] == 1
    assert found["waiting"]["reason"] == "quiet_hours"
    assert found["eta_at"] >= found["waiting"]["until"]
    assert found["status"] == "sending"


async def test_quiet_hours_that_begin_while_it_goes_out_are_kept_and_named(stack: Stack) -> None:
    people = [
        consenting("+4917012345000", time_zone="UTC"),
        consenting("+4917012345001", time_zone="Pacific/Kiritimati"),
    ]
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of(people))
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    stack.bells.waiting.clear()
    await expanding.expand_campaign(stack.ctx, campaign["id"])
    now = utc_now()
    begun = {"quiet_from": time((now.hour + 23) % 24), "quiet_until": time((now.hour + 3) % 24)}
    async with stack.sessions.begin() as session:
        await session.execute(update(Campaign).values(**begun))
    url = f"/api/campaigns/{campaign['id']}"

    await sending.send_messages(stack.ctx, campaign["sender_id"])
    at_once = (await stack.client.get(url)).json()
    await sending.check_breakers(stack.ctx)
    found = (await stack.client.get(url)).json()

    assert at_once["waiting"]["reason"] == found["waiting"]["reason"] == "quiet_hours"
    assert at_once["waiting"]["until"] == found["waiting"]["until"]
    assert found["balance"]["queued"] == 1 and found["eta_at"] >= found["waiting"]["until"]
    async with stack.sessions() as session:
        put_off = await session.scalar(select(Message.not_before).where(Message.status == "queued"))
    assert put_off is not None and timedelta(hours=2) < put_off - now < timedelta(hours=3)
    assert put_off.minute == 0


@pytest.mark.parametrize("share", [0.0, 0.2])
async def test_variants_and_holdout_are_split_as_planned_and_the_balance_adds_up(stack: Stack, share: float) -> None:
    people = [f"+49170{number:07d}" for number in range(400)]
    sender = await a_sender(stack, messages_per_second=1000)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(phone) for phone in people]))
    base = {"template_id": template["id"], "parameters": {}}
    parameters = (await a_campaign(stack, sender, template, await an_audience(stack)))["variants"][0]["parameters"]
    variants = [{**base, "label": label, "weight": 1, "parameters": parameters} for label in "AB"]
    campaign = await a_campaign(
        stack, sender, template, {"id": (await stack.client.get("/api/audiences")).json()["items"][0]["id"]},
        name="Split", variants=variants, holdout=share,
    )  # fmt: skip

    review = (await launched(stack, campaign))["review"]
    stack.bells.waiting.clear()
    await expanding.expand_campaign(stack.ctx, campaign["id"])

    async with stack.sessions() as session:
        rows = await session.execute(
            select(Message.variant_id, func.count())
            .where(Message.campaign_id == UUID(campaign["id"]))
            .group_by(Message.variant_id)
        )
        counts = dict(rows.all())
    held = counts.pop(None, 0)
    assert held == review["holdout"]
    assert sorted(counts.values()) == sorted(variant["recipients"] for variant in review["variants"])
    assert sum(counts.values()) + held == 400
    assert abs(held - 400 * share) < 40
    assert abs(max(counts.values()) - min(counts.values())) < 70


async def test_a_provider_that_cannot_be_reached_costs_no_attempt_and_is_named(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:2])
    nobody = WhatsAppClient.connect("http://127.0.0.1:9", "token", version="v26.0")
    away = replace(stack.parts, whatsapp=nobody)
    async with stack.sessions() as session:
        sender = await senders.get(session, UUID(campaign["sender_id"]))

    for _ in range(messages.MAX_ATTEMPTS + 1):
        async with stack.sessions.begin() as session:
            await session.execute(update(Message).values(not_before=utc_now()))
        assert await sending.send_batch(away, sender, Lane(UUID(campaign["id"]), None)) == 2
    async with stack.sessions.begin() as session:
        await session.execute(update(Message).values(not_before=utc_now()))
    waiting = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["waiting"]
    await nobody.aclose()

    assert waiting["reason"] == "provider_down"
    assert await statuses(stack) == {"queued": 2}
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    assert accepted_by_provider(stack) == Counter(phone.lstrip("+") for phone in PEOPLE[:2])


async def test_a_limiter_s_refusals_never_make_a_message_fail(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:1])
    stack.sandbox.faults.replace({"rate_limited": Fault()})

    for _ in range(messages.MAX_ATTEMPTS + 2):
        async with stack.sessions.begin() as session:
            await session.execute(update(Message).values(not_before=utc_now()))
        await sending.send_messages(stack.ctx, campaign["sender_id"])

    assert await statuses(stack) == {"queued": 1}
    async with stack.sessions.begin() as session:
        await session.execute(update(Message).values(not_before=utc_now() + timedelta(minutes=1)))
    waiting = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["waiting"]
    assert waiting["reason"] == "retry" and "(130429)" in waiting["detail"]


async def test_what_people_write_counts_against_the_number_s_throughput(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:1])
    key = f"throttle:start:sender:{campaign['sender_id']}"
    assert not await stack.parts.valkey.exists(key)

    await stack.steer("POST", "inbound", {"phone": PEOPLE[0], "kind": "text", "text": "Hello"})
    await stack.settle()

    assert await stack.parts.valkey.exists(key)
