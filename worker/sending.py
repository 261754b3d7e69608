"""Sending: a number's due rows, each at most once."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core import live, queue
from core.clock import utc_now
from core.consent import gate
from core.consent.gate import PermitExpired, SendPermit, SendRequest
from core.db import driver
from core.models import Campaign, Message, Sender
from core.queue import transaction
from core.services import allowance, breakers, canary, folding, messages, progress, quiet, senders
from core.services.messages import Claimed, Permitted
from core.statuses import CampaignStatus, DeliveryStatus, EventKind
from core.whatsapp.client import Outcome
from worker.parts import Parts
from worker.results import LIMITERS, Result, note, note_unusable
from worker.throttle import Limit, pace, slow_down, start, throughput

log = structlog.get_logger()

BATCH = 50  # a lock is held for one batch, so for one request's time-out at most
# A batch's requests start within this time. What is left of a permit's 0.25 s is room for waiting behind another batch.
SPREAD_S = 0.05
SLACK_S = 0.02  # before a permit ends: no request is made to wait to its last moment
RUN_S = 50.0  # one job sends for this long, then rings for the next
LOOK_EVERY_S = 0.2
IDLE_LOOKS = 3
IDLE_S = 0.1
WAIT_S = 30.0  # before the gate is asked again about what it would not decide
EXHAUSTED_S = 5.0  # before a campaign is looked at again for which the portfolio's allowance had nothing
DOWN_S = 2.0  # between tries while the provider cannot be reached
PUMPS = 4  # batches of one number in flight in one hand
FIRST_HAND = "1"
HANDS: tuple[tuple[str, ...], ...] = ((), ("2",))  # what a bell names beside the number; the first needs no name


@dataclass(frozen=True)
class Lane:
    """Rows that are due: one campaign's, or those of no campaign, which go first."""

    campaign_id: UUID | None
    messages_per_minute: int | None


@dataclass
class Desk:
    """One number's lanes, looked at again every moment for all the pumps that serve it.

    What it says may be a moment old: the claim itself asks whether number and campaign still go.
    """

    sender_id: UUID
    sender: Sender | None = None
    lanes: list[Lane] = field(default_factory=list)
    people: int | None = None  # the portfolio's allowance
    looked_at: float = -1.0
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self, parts: Parts) -> Sender:
        async with self.looking:
            now = asyncio.get_running_loop().time()
            if self.sender is None or now - self.looked_at > LOOK_EVERY_S:
                async with parts.sessions() as session:
                    self.sender = await senders.get(session, self.sender_id)
                    going = self.sender.paused_at is None
                    self.lanes = await _lanes(session, self.sender) if going else []
                    self.people = await allowance.limit_of(session)
                self.looked_at = now
            return self.sender


async def send_messages(ctx: dict[str, Any], sender_id: str, hand: str = FIRST_HAND) -> int:
    """Send a number's due messages until none is left or the time is up; returns how many were claimed.

    A number has several hands, so that several workers may serve it: rows are claimed with SKIP LOCKED, and the
    instants of their requests come from Valkey.
    """
    parts: Parts = ctx["parts"]
    ends = asyncio.get_running_loop().time() + RUN_S
    desk = Desk(UUID(sender_id))
    async with asyncio.TaskGroup() as group:
        pumps = [group.create_task(_pump(parts, desk, ends)) for _ in range(PUMPS)]
    if asyncio.get_running_loop().time() >= ends:
        await parts.doorbell.ring(queue.Bell(queue.SEND_MESSAGES, (sender_id, hand)))
    return sum(pump.result() for pump in pumps)


async def _pump(parts: Parts, desk: Desk, ends: float) -> int:
    """One batch after the other; several pumps overlap, so that one batch's requests wait for no other's commits."""
    total = looks = 0
    while asyncio.get_running_loop().time() < ends and not parts.stopping.is_set() and looks < IDLE_LOOKS:
        claimed = await _one_round(parts, desk)
        total += claimed
        looks = 0 if claimed else looks + 1
        if not claimed:
            await asyncio.sleep(IDLE_S)
    return total


async def _one_round(parts: Parts, desk: Desk) -> int:
    """One batch of every lane that has something due, so that a large campaign does not hold up a small one."""
    sender = await desk.look(parts)
    claimed = 0
    for lane in desk.lanes:
        claimed += await send_batch(parts, sender, lane, desk.people)
    return claimed


async def _lanes(session: AsyncSession, sender: Sender) -> list[Lane]:
    """Asked campaign by campaign in the index's order, so that one row is read: all due rows may be millions."""
    due = (Message.sender_id == sender.id, Message.phase == DeliveryStatus.QUEUED, Message.not_before <= utc_now())
    in_order = (Message.campaign_id, Message.priority, Message.not_before, Message.id)
    alone = await session.scalar(
        select(Message.id).where(*due, Message.campaign_id.is_(None)).order_by(*in_order).limit(1)
    )
    lanes = [Lane(None, None)] if alone is not None else []
    going = (Campaign.sender_id == sender.id, Campaign.status == CampaignStatus.SENDING)
    theirs = select(Message.priority).where(*due, Message.campaign_id == Campaign.id)
    first = theirs.order_by(*in_order).limit(1).correlate(Campaign).lateral("first")
    rows = await session.execute(
        select(Campaign.id, Campaign.messages_per_minute)
        .join(first, canary.may_be_sent(first.c.priority))
        .where(*going)
        .order_by(Campaign.id)
    )
    return lanes + [Lane(campaign_id, pace) for campaign_id, pace in rows]


async def send_batch(parts: Parts, sender: Sender, lane: Lane, people: int | None = None) -> int:
    """Claim, ask the gate, call, record: one batch; returns how many messages were claimed.

    `people` is the portfolio's allowance per 24 hours, None when there is no limit.

    A crash after the claim leaves rows in `sending`; when their lease runs out, those that had a permit become
    `unknown` and the others are queued again.
    """
    now = asyncio.get_running_loop().time()
    if people is not None and lane.campaign_id in parts.exhausted and now < parts.exhausted[lane.campaign_id]:
        return 0  # it must take no slots that others could use
    most = await _most(parts, sender)
    if not most:
        await asyncio.sleep(IDLE_S)
        return 0
    number, others = throughput(sender), []
    if lane.messages_per_minute is not None:
        others.append(Limit(f"campaign:{lane.campaign_id}", lane.messages_per_minute / 60))
    speed = min(limit.per_second for limit in (number, *others))
    wanted = max(1, min(most, parts.settings.worker_concurrency, int(speed * SPREAD_S)))
    slots = await pace(parts.valkey, number, wanted, *others)
    if not slots.count:
        await asyncio.sleep(min(slots.wait_s, 1.0))
        return 0
    await asyncio.sleep(slots.wait_s)
    async with parts.batches:
        batch = await _claim(parts, sender, lane, slots.count, people)
        if batch is None and lane.campaign_id is not None:
            parts.exhausted[lane.campaign_id] = asyncio.get_running_loop().time() + EXHAUSTED_S
        if not batch:
            return 0
        try:
            async with _leased(parts, batch):
                await _send_claimed(parts, sender, batch)
        except BaseException:  # whatever it was, also being cancelled: what has no permit yet surely was not sent
            await asyncio.shield(_give_back(parts, batch))
            raise
    return len(batch)


async def _most(parts: Parts, sender: Sender) -> int:
    """The largest batch now: one message at a time, and none most of the time, while the provider is silent."""
    if not parts.reach.is_silent:
        return BATCH
    if not parts.reach.may_try():
        return 0
    await live.provider_is_down(parts.valkey)
    return 1 if await parts.whatsapp.answers(sender.phone_number_id) else 0


async def _claim(parts: Parts, sender: Sender, lane: Lane, limit: int, people: int | None) -> list[Claimed] | None:
    """None when the portfolio's allowance has nothing for this campaign now."""
    async with driver(parts.sessions) as connection:
        if people is None:
            return await messages.claim(connection, sender.id, lane.campaign_id, limit=limit)
        return await allowance.claim(connection, sender.id, lane.campaign_id, limit=limit, people=people)


async def _give_back(parts: Parts, batch: list[Claimed]) -> None:
    async with parts.sessions.begin() as session:
        await messages.release_unpermitted(session, [claimed.id for claimed in batch])


@asynccontextmanager
async def _leased(parts: Parts, batch: list[Claimed]) -> AsyncIterator[None]:
    """Renew the batch's lease while the block runs: a lock or a slow provider may take longer than it lasts."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(messages.HEARTBEAT_S)
            async with parts.sessions.begin() as session:
                await messages.renew_leases(session, [claimed.id for claimed in batch])

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _send_claimed(parts: Parts, sender: Sender, batch: list[Claimed]) -> None:
    by_id = {claimed.id: claimed for claimed in batch}
    rendered, result = await parts.renderer.render(batch), Result()
    result.skipped += rendered.skipped
    for unusable in rendered.unusable:
        note_unusable(result, unusable)
    requests = [
        SendRequest(
            message_id=claimed.id,
            contact_id=claimed.contact_id,
            purpose=claimed.purpose,
            kind=claimed.kind,
            phone_number_id=sender.phone_number_id,
        )
        for claimed in batch
        if claimed.id in rendered.contents
    ]
    async with gate.permits(parts.sessions, requests, keyring=parts.keyring) as (permits, refusals):
        result.skipped += [(refusal.message_id, refusal.reason) for refusal in refusals if not refusal.waits]
        result.deferred |= {refusal.message_id: WAIT_S for refusal in refusals if refusal.waits}
        going, times = await _admitted(parts, sender, permits, by_id, result)
        outcomes = await asyncio.gather(
            *(
                _send_one(parts, sender, permit, rendered.contents[permit.message_id], at)
                for permit, at in zip(going, times, strict=True)
            )
        )
        now = utc_now()
        for permit, outcome in zip(going, outcomes, strict=True):
            note(result, by_id[permit.message_id], outcome, now)
        await _record(parts, sender, by_id, result, now)
    await _say(parts, outcomes)
    if any(retry.code in LIMITERS for retry in result.retries):
        await slow_down(parts.valkey, throughput(sender).name)


async def _say(parts: Parts, outcomes: list[Outcome | None]) -> None:
    """Whether the provider can be reached, for whoever asks why nothing moves; wait a little when it cannot."""
    asked = [outcome for outcome in outcomes if outcome is not None]
    parts.reach.note(asked)
    if parts.reach.is_silent:
        log.warning("provider.silent")
        parts.reach.is_said_down = True
        await live.provider_is_down(parts.valkey)
    elif any(outcome.reached for outcome in asked):
        if parts.reach.is_said_down:
            parts.reach.is_said_down = False
            await live.provider_answers(parts.valkey)
    elif asked:
        log.warning("provider.down", detail=asked[0].detail)
        parts.reach.is_said_down = True
        await live.provider_is_down(parts.valkey)
        await asyncio.sleep(DOWN_S)


async def _admitted(
    parts: Parts, sender: Sender, permits: list[SendPermit], by_id: dict[UUID, Claimed], result: Result
) -> tuple[list[SendPermit], list[float]]:
    """The permits whose requests may start, written down, and the instants at which they do, on the loop's clock."""
    if not permits:
        return [], []
    written = [
        Permitted(p.message_id, by_id[p.message_id].attempt, p.grant_seq, p.head_seq, p.decided_at) for p in permits
    ]
    async with driver(parts.sessions) as connection:
        allowed = await messages.write_permits(connection, written)
    permits = [permit for permit in permits if permit.message_id in allowed]
    people, limit = [permit.contact_id for permit in permits], throughput(sender)
    lasts_s = len(people) * limit.interval_us / 1_000_000
    within_s = min((permit.left_s for permit in permits), default=0.0) - lasts_s - SLACK_S
    started = await start(parts.valkey, limit, people, within_s=max(0.0, within_s))
    if started is None:
        result.released += [permit.message_id for permit in permits]
        return [], []
    first = asyncio.get_running_loop().time() + started.wait_s
    going = [permit for permit, held_s in zip(permits, started.held_s, strict=True) if not held_s]
    for permit, held_s in zip(permits, started.held_s, strict=True):
        if held_s:
            result.deferred[permit.message_id] = held_s
    return going, [first + at * started.spacing_s for at in range(len(going))]


async def _send_one(
    parts: Parts, sender: Sender, permit: SendPermit, content: dict[str, Any], at: float
) -> Outcome | None:
    """The answer; None when the machine was too slow for the permit, and then nothing was sent."""
    await asyncio.sleep(at - asyncio.get_running_loop().time())
    await parts.starts_of(sender).wait()
    try:
        return await parts.whatsapp.send(permit, sender.phone_number_id, content)
    except PermitExpired:
        return None


async def _record(parts: Parts, sender: Sender, batch: Mapping[UUID, Claimed], result: Result, now: datetime) -> None:
    answers = [report for report in result.reports if report.kind is not EventKind.REJECTED]
    others = [report for report in result.reports if report.kind is EventKind.REJECTED]
    if answers:
        async with driver(parts.sessions) as connection:
            others += await folding.accept(connection, answers, now=now)
    if result.is_plain and not others:
        return
    async with parts.sessions.begin() as session:
        await breakers.trip(session, sender.id, result.refusals, now=now)
        await messages.skip(session, result.skipped, now=now)
        await messages.retry(session, result.retries, now=now)
        await messages.mark_unknown(session, result.unknown)
        await folding.fold(session, others)
        await messages.release(session, result.released)
        await messages.defer(session, result.deferred)
        await allowance.give_back(session, [batch[each].contact_id for each in result.unsent])


async def ring_due(ctx: dict[str, Any]) -> None:
    """The sweep: ring for whatever is due, in case a bell was lost; and give up on leases that are over."""
    parts: Parts = ctx["parts"]
    now = utc_now()
    async with transaction(parts.sessions, parts.doorbell) as session:
        lost = await messages.expire_leases(session)
        if lost.unknown or lost.queued:
            log.warning("messages.lease_over", unknown=lost.unknown, queued=lost.queued)
        for sender in await session.scalars(select(Sender).where(Sender.paused_at.is_(None)).order_by(Sender.id)):
            if await _lanes(session, sender):
                for hand in HANDS:
                    queue.ring_after_commit(session, queue.SEND_MESSAGES, sender.id, *hand)
        waiting = (Campaign.status == CampaignStatus.EXPANDING) | (
            (Campaign.status == CampaignStatus.SCHEDULED) & (Campaign.send_at <= now)
        )
        for campaign in await session.scalars(select(Campaign).where(waiting)):
            queue.ring_after_commit(session, queue.EXPAND_CAMPAIGN, campaign.id)
            if progress.is_late(campaign, now):
                log.error("campaign.late", campaign_id=str(campaign.id), send_at=str(campaign.send_at))


async def check_breakers(ctx: dict[str, Any]) -> None:
    """The sweep of what stands still: stop campaigns that fail, let go on what has passed or works again."""
    parts: Parts = ctx["parts"]
    await _keep_quiet(parts)
    async with transaction(parts.sessions, parts.doorbell) as session:
        await breakers.stop_failing(session, now=utc_now())
        await canary.judge(session, now=utc_now())
    async with parts.sessions() as session:
        waiting = await breakers.waiting_for_token(session)
    for sender in waiting:
        if await parts.whatsapp.works_for(sender.phone_number_id):
            async with transaction(parts.sessions, parts.doorbell) as session:
                await senders.resume(session, sender.id, now=utc_now())
            log.info("sender.resumed", sender_id=str(sender.id))


async def _keep_quiet(parts: Parts) -> None:
    """Put off who is in quiet hours by now, page after page."""
    async with parts.sessions() as session:
        keeping = await quiet.campaigns_with_quiet_hours(session)
    for campaign_id in keeping:
        moved = quiet.PAGE
        while moved == quiet.PAGE and not parts.stopping.is_set():
            async with parts.sessions.begin() as session:
                moved = await quiet.put_off(session, campaign_id)
