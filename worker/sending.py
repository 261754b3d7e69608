"""Sending: expand a campaign into rows, and send a number's due rows, each at most once."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue, template
from core.clock import utc_now
from core.consent import gate
from core.consent.gate import PermitExpired, SendPermit, SendRequest
from core.errors import AppError
from core.models import Campaign, Media, Message, Sender, Template, TemplateVersion
from core.queue import transaction
from core.services import audiences, breakers, campaigns, expansion, messages, replies, senders
from core.services.breakers import Refusal
from core.services.messages import Claimed, Permitted, Report, Retry
from core.statuses import CampaignStatus, DeliveryStatus, EventKind, MessageKind, SkipReason, TemplateStatus
from core.whatsapp.client import Outcome
from core.whatsapp.errors import ERRORS
from worker.parts import Parts
from worker.throttle import Limit, Slots, reserve, slow_down

log = structlog.get_logger()

BATCH = 50  # a lock is held for one batch, so for one request's time-out at most
SPREAD_S = 0.15  # a batch's requests start within this time
RUN_S = 50.0  # one job sends for this long, then rings for the next
IDLE_LOOKS = 3
PUMPS = 6  # batches of one number in flight in this process
RETRY_FIRST_S = 2.0
RETRY_MOST_S = 300.0
TEMPLATE_UNUSABLE = 132001
LIMITERS = frozenset(code for code, row in ERRORS.items() if row.limiter)


async def expand_campaign(ctx: dict[str, Any], campaign_id: str) -> int:
    """Make the campaign's rows, a page per transaction; resumes after a crash. Returns how many people were seen."""
    parts: Parts = ctx["parts"]
    seen = 0
    while True:
        async with transaction(parts.sessions, parts.doorbell) as session:
            campaign = await campaigns.begin_expansion(session, UUID(campaign_id), now=utc_now())
            if campaign is None:
                return seen
            audience = await audiences.get(session, campaign.audience_id)
            page = await expansion.next_page(session, audiences.people(audience), campaign.expand_cursor)
            if not page:
                await campaigns.finish_expansion(session, campaign, now=utc_now())
                log.info("campaign.expanded", campaign_id=campaign_id, people=seen)
                return seen
            await expansion.expand(
                session,
                campaign,
                await campaigns.arms(session, campaign.id),
                page,
                default_zone=parts.settings.time_zone,
                start=campaign.launched_at or utc_now(),
            )
            seen += len(page)


@dataclass(frozen=True)
class Lane:
    """Rows that are due: one campaign's, or those of no campaign, which go first."""

    campaign_id: UUID | None
    messages_per_minute: int | None


async def send_messages(ctx: dict[str, Any], sender_id: str) -> int:
    """Send a number's due messages until none is left or the time is up; returns how many were claimed.

    Any number of workers may run it for the same number: rows are claimed with SKIP LOCKED, slots come from Valkey.
    """
    parts: Parts = ctx["parts"]
    ends = asyncio.get_running_loop().time() + RUN_S
    async with asyncio.TaskGroup() as group:
        pumps = [group.create_task(_pump(parts, UUID(sender_id), ends)) for _ in range(PUMPS)]
    if asyncio.get_running_loop().time() >= ends:
        await parts.doorbell.ring(queue.Bell(queue.SEND_MESSAGES, (sender_id,)))
    return sum(pump.result() for pump in pumps)


async def _pump(parts: Parts, sender_id: UUID, ends: float) -> int:
    """One batch after the other; several pumps overlap, so that one batch's requests wait for no other's commits."""
    total = looks = 0
    while asyncio.get_running_loop().time() < ends and not parts.stopping.is_set() and looks < IDLE_LOOKS:
        claimed = await _one_round(parts, sender_id)
        total += claimed
        looks = 0 if claimed else looks + 1
        if not claimed:
            await asyncio.sleep(0.1)
    return total


async def _one_round(parts: Parts, sender_id: UUID) -> int:
    """One batch of every lane that has something due, so that a large campaign does not hold up a small one."""
    async with parts.sessions() as session:
        sender = await senders.get(session, sender_id)
        lanes = await _lanes(session, sender) if sender.paused_at is None else []
    claimed = 0
    for lane in lanes:
        claimed += await send_batch(parts, sender, lane)
    return claimed


async def _lanes(session: AsyncSession, sender: Sender) -> list[Lane]:
    due = (Message.sender_id == sender.id, Message.status == DeliveryStatus.QUEUED, Message.not_before <= utc_now())
    alone = await session.scalar(select(Message.id).where(*due, Message.campaign_id.is_(None)).limit(1))
    lanes = [Lane(None, None)] if alone is not None else []
    going = (Campaign.sender_id == sender.id, Campaign.status == CampaignStatus.SENDING)
    has_due = select(1).where(*due, Message.campaign_id == Campaign.id).exists()
    rows = await session.execute(
        select(Campaign.id, Campaign.messages_per_minute).where(*going, has_due).order_by(Campaign.id)
    )
    return lanes + [Lane(campaign_id, pace) for campaign_id, pace in rows]


async def send_batch(parts: Parts, sender: Sender, lane: Lane) -> int:
    """Claim, ask the gate, call, record: one batch; returns how many messages were claimed.

    A crash after the claim leaves rows in `sending`; when their lease runs out they become `unknown`.
    """
    limits = [Limit(f"sender:{sender.id}", sender.messages_per_second)]
    if lane.messages_per_minute is not None:
        limits.append(Limit(f"campaign:{lane.campaign_id}", lane.messages_per_minute / 60))
    speed = min(limit.per_second for limit in limits)
    wanted = max(1, min(BATCH, parts.settings.worker_concurrency, int(speed * SPREAD_S)))
    slots = await reserve(parts.valkey, limits, wanted)
    if not slots.count:
        await asyncio.sleep(min(slots.wait_s, 1.0))
        return 0
    async with parts.sessions.begin() as session:
        batch = await messages.claim(session, sender.id, lane.campaign_id, limit=slots.count)
    if not batch:
        return 0
    try:
        await asyncio.sleep(slots.wait_s)
        async with parts.batches:
            await _send_claimed(parts, sender, batch, slots)
    except BaseException:  # whatever it was, also being cancelled: what has no permit yet surely was not sent
        await asyncio.shield(_give_back(parts, batch))
        raise
    return len(batch)


async def _give_back(parts: Parts, batch: list[Claimed]) -> None:
    async with parts.sessions.begin() as session:
        await messages.release_unpermitted(session, [claimed.id for claimed in batch])


@dataclass
class _Result:
    """What a batch comes to, written down in one transaction."""

    reports: list[Report] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    skipped: list[tuple[UUID, SkipReason]] = field(default_factory=list)
    unknown: list[UUID] = field(default_factory=list)
    released: list[UUID] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


async def _send_claimed(parts: Parts, sender: Sender, batch: list[Claimed], slots: Slots) -> None:
    by_id = {claimed.id: claimed for claimed in batch}
    contents, result = await _contents(parts, batch)
    requests = [
        SendRequest(
            message_id=claimed.id,
            contact_id=claimed.contact_id,
            purpose=claimed.purpose,
            kind=claimed.kind,
            phone_number_id=sender.phone_number_id,
        )
        for claimed in batch
        if claimed.id in contents
    ]
    async with gate.permits(parts.sessions, requests, keyring=parts.keyring) as (permits, refusals):
        result.skipped += [(refusal.message_id, refusal.reason) for refusal in refusals]
        async with parts.sessions.begin() as session:
            await messages.write_permits(
                session, [Permitted(p.message_id, p.grant_seq, p.head_seq, p.decided_at) for p in permits]
            )
        outcomes = await asyncio.gather(
            *(
                _send_one(parts, sender, permit, contents[permit.message_id], at * slots.spacing_s)
                for at, permit in enumerate(permits)
            )
        )
        now = utc_now()
        for permit, outcome in zip(permits, outcomes, strict=True):
            _note(result, by_id[permit.message_id], outcome, now)
        await _record(parts, sender, result, now)
    if any(retry.code in LIMITERS for retry in result.retries):
        await slow_down(parts.valkey, f"sender:{sender.id}")


async def _send_one(
    parts: Parts, sender: Sender, permit: SendPermit, content: dict[str, Any], after_s: float
) -> Outcome | None:
    """The answer; None when the machine was too slow for the permit, and then nothing was sent."""
    await asyncio.sleep(after_s)
    try:
        return await parts.whatsapp.send(permit, sender.phone_number_id, content)
    except PermitExpired:
        return None


def _note(result: _Result, claimed: Claimed, outcome: Outcome | None, now: datetime) -> None:
    if outcome is None:
        result.released.append(claimed.id)
    elif outcome.status in (DeliveryStatus.ACCEPTED, DeliveryStatus.HELD):
        kind = EventKind.HELD if outcome.status is DeliveryStatus.HELD else EventKind.ACCEPTED
        result.reports.append(Report(kind, now, message_id=claimed.id, wamid=outcome.wamid))
    elif outcome.status is DeliveryStatus.UNKNOWN:
        result.unknown.append(claimed.id)
        log.warning("message.unknown", message_id=str(claimed.id), detail=outcome.detail)
    elif outcome.error is not None and outcome.error.action in breakers.STOPPING and claimed.campaign_id is not None:
        result.refusals.append(Refusal(outcome.error, claimed.template_version_id))
        result.retries.append(Retry(claimed.id, now, outcome.error.code, outcome.error.meaning, counts=False))
    elif outcome.status is DeliveryStatus.QUEUED and claimed.attempt < messages.MAX_ATTEMPTS:
        code = outcome.error.code if outcome.error else 0
        meaning = outcome.error.meaning if outcome.error else (outcome.detail or "")
        result.retries.append(Retry(claimed.id, now + _pause(claimed.attempt, outcome), code, meaning))
    else:
        final = outcome.error
        result.reports.append(
            Report(
                EventKind.REJECTED,
                now,
                message_id=claimed.id,
                error_code=final.code if final else None,
                error=final.meaning if final else outcome.detail,
            )
        )


def _pause(attempt: int, outcome: Outcome) -> timedelta:
    """Doubling, at least what the provider asked for, with jitter so that a thousand do not come back together."""
    seconds = max(outcome.retry_after_s or 0.0, min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** (attempt - 1)))
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))  # noqa: S311 - spreading, not secrecy


async def _record(parts: Parts, sender: Sender, result: _Result, now: datetime) -> None:
    async with parts.sessions.begin() as session:
        await breakers.trip(session, sender.id, result.refusals, now=now)
        await messages.skip(session, result.skipped, now=now)
        await messages.retry(session, result.retries, now=now)
        await messages.mark_unknown(session, result.unknown, "no answer came back; the status webhook will tell")
        await messages.fold(session, result.reports)
        await messages.release(session, result.released)


async def _contents(parts: Parts, batch: list[Claimed]) -> tuple[dict[UUID, dict[str, Any]], _Result]:
    """What to send for each message; one that cannot be rendered fails alone, with its reason."""
    result, contents = _Result(), {}
    versions = {claimed.template_version_id for claimed in batch if claimed.template_version_id}
    async with parts.sessions() as session:
        known = await _templates(session, versions)
        media = await _media(session, batch)
    for claimed in batch:
        if claimed.kind is MessageKind.REPLY:
            said = replies.content_of(claimed.parameters, now=utc_now())
            if said is None:
                result.skipped.append((claimed.id, SkipReason.WINDOW_CLOSED))
            else:
                contents[claimed.id] = said
            continue
        current = known.get(claimed.template_version_id) if claimed.template_version_id else None
        if current is None:
            result.skipped.append((claimed.id, SkipReason.BAD_PARAMETERS))
            continue
        used, version = current
        if used.status is not TemplateStatus.APPROVED:
            _without_template(result, claimed, used)
            continue
        try:
            parameters = _with_media(claimed.parameters, version.components, media)
            problem = next(template.parameter_problems(version.components, parameters), None)
            if problem is not None:
                result.skipped.append((claimed.id, SkipReason.BAD_PARAMETERS))
                log.warning("message.unrenderable", message_id=str(claimed.id), problem=problem)
                continue
            contents[claimed.id] = template.send_content(
                used.name, used.language, version.parameter_format, version.components, parameters
            )
        except (AppError, KeyError, TypeError, ValueError) as broken:
            result.skipped.append((claimed.id, SkipReason.BAD_PARAMETERS))
            log.warning("message.unrenderable", message_id=str(claimed.id), error=type(broken).__name__)
    return contents, result


def _without_template(result: _Result, claimed: Claimed, used: Template) -> None:
    """A campaign's message waits for the template's approval, with the campaign; others fail."""
    meaning = f"the template {used.name} is {used.status}"
    if claimed.campaign_id is None:
        result.reports.append(Report(EventKind.REJECTED, utc_now(), message_id=claimed.id, error=meaning))
    else:
        result.refusals.append(Refusal(ERRORS[TEMPLATE_UNUSABLE], claimed.template_version_id))
        result.released.append(claimed.id)


async def _templates(session: AsyncSession, versions: set[UUID]) -> dict[UUID, tuple[Template, TemplateVersion]]:
    statement = select(Template, TemplateVersion).join(TemplateVersion, TemplateVersion.template_id == Template.id)
    rows = await session.execute(statement.where(TemplateVersion.id.in_(versions)))
    return {version.id: (used, version) for used, version in rows}


async def _media(session: AsyncSession, batch: list[Claimed]) -> dict[str, str]:
    """Our media ids → the provider's."""
    wanted = {
        UUID(str(claimed.parameters["header"])) for claimed in batch if _is_uuid(claimed.parameters.get("header"))
    }
    if not wanted:
        return {}
    rows = await session.execute(select(Media.id, Media.provider_id).where(Media.id.in_(wanted)))
    return {str(row.id): row.provider_id for row in rows}


def _is_uuid(value: object) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


def _with_media(parameters: dict[str, Any], components: list[Any], media: dict[str, str]) -> dict[str, Any]:
    for hole in template.placeholders(components):
        if hole.type in ("image", "video", "document"):
            return {**parameters, hole.key: media[str(parameters[hole.key])]}
    return parameters


async def ring_due(ctx: dict[str, Any]) -> None:
    """The sweep: ring for whatever is due, in case a bell was lost; and give up on leases that are over."""
    parts: Parts = ctx["parts"]
    now = utc_now()
    async with transaction(parts.sessions, parts.doorbell) as session:
        lost = await messages.expire_leases(session)
        if lost:
            log.warning("messages.unknown", count=lost)
        due = (Message.status == DeliveryStatus.QUEUED, Message.not_before <= now)
        for sender_id in await session.scalars(select(Message.sender_id).where(*due).distinct()):
            queue.ring_after_commit(session, queue.SEND_MESSAGES, sender_id)
        waiting = (Campaign.status == CampaignStatus.EXPANDING) | (
            (Campaign.status == CampaignStatus.SCHEDULED) & (Campaign.send_at <= now)
        )
        for campaign_id in await session.scalars(select(Campaign.id).where(waiting)):
            queue.ring_after_commit(session, queue.EXPAND_CAMPAIGN, campaign_id)


async def check_breakers(ctx: dict[str, Any]) -> None:
    """The sweep of what stands still: stop campaigns that fail, let numbers go on whose token works again."""
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        await breakers.stop_failing(session, now=utc_now())
    async with parts.sessions() as session:
        waiting = await breakers.waiting_for_token(session)
    for sender in waiting:
        if await parts.whatsapp.works_for(sender.phone_number_id):
            async with transaction(parts.sessions, parts.doorbell) as session:
                await senders.resume(session, sender.id)
            log.info("sender.resumed", sender_id=str(sender.id))
