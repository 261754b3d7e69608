"""Campaigns: make, change, start, stop."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue, template
from core.errors import Conflict, NotFound, RuleViolation
from core.models import Campaign, CampaignVariant, Message, Template, TemplateVersion
from core.services import audiences, breakers, canary, filling, media, messages, senders, templates
from core.services.canary import CanaryPlan
from core.services.filling import Arm
from core.services.paging import Page, page
from core.statuses import (
    CampaignStatus,
    CanaryVerdict,
    DeliveryStatus,
    TemplateStatus,
    phase_of,
)

EDITABLE = frozenset({CampaignStatus.DRAFT, CampaignStatus.IN_REVIEW})
STARTED = frozenset({CampaignStatus.EXPANDING, CampaignStatus.SENDING, CampaignStatus.PAUSED})
MAX_DRIFT = 0.01  # share the audience may have grown or shrunk between review and launch
MIN_DRIFT = 10


@dataclass(frozen=True)
class VariantPlan:
    label: str
    weight: int
    template_id: UUID
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a marketer decides about a campaign."""

    name: str
    purpose: str
    sender_id: UUID
    audience_id: UUID
    holdout: float
    messages_per_minute: int | None
    quiet_from: time | None
    quiet_until: time | None
    canary: CanaryPlan | None
    variants: list[VariantPlan]


async def add(session: AsyncSession, plan: Plan, *, created_by: UUID | None) -> Campaign:
    """A draft; raises RuleViolation naming the field, or NotFound for what it refers to."""
    campaign = Campaign(status=CampaignStatus.DRAFT, created_by=created_by)
    await _apply(session, campaign, plan)
    session.add(campaign)
    await session.flush()
    await _put_variants(session, campaign, plan)
    await session.refresh(campaign)
    return campaign


async def change(session: AsyncSession, campaign_id: UUID, plan: Plan) -> Campaign:
    """Replace a draft's plan; a review of the old plan no longer counts. Raises Conflict once it is launched."""
    campaign = await get(session, campaign_id, lock=True)
    if campaign.status not in EDITABLE:
        raise Conflict("a campaign cannot be changed once it is scheduled or launched", status=campaign.status)
    await _apply(session, campaign, plan)
    campaign.status = CampaignStatus.DRAFT
    campaign.fingerprint = campaign.review = campaign.reviewed_at = None
    await session.execute(delete(CampaignVariant).where(CampaignVariant.campaign_id == campaign.id))
    await _put_variants(session, campaign, plan)
    return campaign


async def discard(session: AsyncSession, campaign_id: UUID) -> str:
    """Delete a draft and return its name. Raises Conflict once it is scheduled or launched."""
    campaign = await get(session, campaign_id, lock=True)
    if campaign.status not in EDITABLE:
        raise Conflict("only a draft can be discarded: cancel it instead", status=campaign.status)
    name = campaign.name
    await session.execute(delete(CampaignVariant).where(CampaignVariant.campaign_id == campaign.id))
    await session.delete(campaign)
    return name


async def _apply(session: AsyncSession, campaign: Campaign, plan: Plan) -> None:
    if not plan.name.strip():
        raise RuleViolation("a campaign needs a name", field="name")
    if not 0 <= plan.holdout <= 0.5:
        raise RuleViolation("a holdout is a share between 0 and 0.5", field="holdout")
    if plan.messages_per_minute is not None and plan.messages_per_minute < 1:
        raise RuleViolation("a pace is at least 1 message a minute", field="messages_per_minute")
    if (plan.quiet_from is None) != (plan.quiet_until is None):
        raise RuleViolation("quiet hours need both quiet_from and quiet_until", field="quiet_from")
    if not plan.variants or len({variant.label for variant in plan.variants}) != len(plan.variants):
        raise RuleViolation("a campaign has at least one variant, each with its own label", field="variants")
    if any(not 1 <= variant.weight <= 1000 for variant in plan.variants):
        raise RuleViolation("a variant's weight is between 1 and 1000", field="variants")
    await senders.get(session, plan.sender_id)
    await audiences.get(session, plan.audience_id)
    await audiences.purpose_named(session, plan.purpose)
    campaign.name, campaign.purpose = plan.name.strip(), plan.purpose
    campaign.sender_id, campaign.audience_id = plan.sender_id, plan.audience_id
    campaign.holdout_bp = round(plan.holdout * filling.BASIS)
    campaign.messages_per_minute = plan.messages_per_minute
    canary.apply(campaign, plan.canary)
    campaign.quiet_from, campaign.quiet_until = plan.quiet_from, plan.quiet_until


async def _put_variants(session: AsyncSession, campaign: Campaign, plan: Plan) -> None:
    sender = await senders.get(session, campaign.sender_id)
    for variant in plan.variants:
        current = await templates.get(session, variant.template_id)
        if current.template.waba_id != sender.waba_id:
            raise RuleViolation(f"the template of {variant.label} belongs to another account", field="variants")
        if current.template.purpose != campaign.purpose:
            raise RuleViolation(
                f"the template of {variant.label} is for {current.template.purpose}, not {campaign.purpose}",
                field="variants",
            )
        filling.check_parameters(template.placeholders(current.version.components), variant.parameters)
        for given in variant.parameters.values():
            if "media_id" in given:
                await media.get(session, UUID(str(given["media_id"])))
        session.add(
            CampaignVariant(
                campaign_id=campaign.id,
                label=variant.label,
                weight=variant.weight,
                template_version_id=current.version.id,
                parameters=variant.parameters,
            )
        )
    await session.flush()


async def get(session: AsyncSession, campaign_id: UUID, *, lock: bool = False) -> Campaign:
    """The campaign; raises NotFound."""
    campaign = await session.get(Campaign, campaign_id, with_for_update=lock)
    if campaign is None:
        raise NotFound("no such campaign", campaign_id=str(campaign_id))
    return campaign


async def list_page(
    session: AsyncSession, *, status: CampaignStatus | None, words: str | None, limit: int, cursor: str | None
) -> Page[Campaign]:
    statement = select(Campaign)
    if words:
        statement = statement.where(Campaign.name.icontains(words, autoescape=True))
    if status is CampaignStatus.COMPLETED:
        statement = statement.where(Campaign.status == CampaignStatus.SENDING, ~breakers.has_open_rows())
    elif status is CampaignStatus.SENDING:
        statement = statement.where(Campaign.status == status, breakers.has_open_rows())
    elif status is not None:
        statement = statement.where(Campaign.status == status)
    return await page(session, statement, Campaign.id.expression, limit=limit, cursor=cursor)


@dataclass(frozen=True)
class Variant:
    """A campaign's variant with its template."""

    variant: CampaignVariant
    version: TemplateVersion
    template: Template


async def variants(session: AsyncSession, campaign_ids: Sequence[UUID]) -> dict[UUID, list[Variant]]:
    """Each campaign's variants in the order they were made."""
    statement = (
        select(CampaignVariant, TemplateVersion, Template)
        .join(TemplateVersion, TemplateVersion.id == CampaignVariant.template_version_id)
        .join(Template, Template.id == TemplateVersion.template_id)
        .where(CampaignVariant.campaign_id.in_(campaign_ids))
        .order_by(CampaignVariant.id)
    )
    found: dict[UUID, list[Variant]] = {campaign_id: [] for campaign_id in campaign_ids}
    for variant, version, used in await session.execute(statement):
        found[variant.campaign_id].append(Variant(variant, version, used))
    return found


async def arms(session: AsyncSession, campaign_id: UUID) -> list[Arm]:
    found = (await variants(session, [campaign_id]))[campaign_id]
    return [Arm(v.variant, v.template.category, template.placeholders(v.version.components)) for v in found]


async def launch(
    session: AsyncSession, campaign_id: UUID, *, fingerprint: str, send_at: datetime | None, now: datetime
) -> Campaign:
    """Start now, or at `send_at`; the fingerprint names the review that was read.

    Raises Conflict when there was no review, when it was another one, or when the audience has drifted since by
    more than 1 % (and 10 people); RuleViolation when a template cannot be sent or `send_at` is past.
    """
    campaign = await get(session, campaign_id, lock=True)
    if campaign.status is not CampaignStatus.IN_REVIEW or campaign.review is None:
        raise Conflict("only a reviewed campaign can be launched: review it first", status=campaign.status)
    if fingerprint != campaign.fingerprint:
        raise Conflict("the campaign was reviewed again since: look at the newest review")
    if send_at is not None and send_at <= now:
        raise RuleViolation("send_at is in the past", field="send_at")
    await check_sendable(session, campaign)
    audience = await audiences.get(session, campaign.audience_id)
    people = audiences.people(audience).subquery()
    size = await session.scalar(select(func.count()).select_from(people)) or 0
    reviewed = int(campaign.review["audience"])
    if abs(size - reviewed) > max(MIN_DRIFT, MAX_DRIFT * reviewed):
        raise Conflict(
            f"the audience has {size} people now and had {reviewed} when it was reviewed: review again",
            audience=size,
            reviewed=reviewed,
        )
    campaign.send_at, campaign.audience_size = send_at, size
    campaign.status = CampaignStatus.SCHEDULED if send_at else CampaignStatus.EXPANDING
    if send_at is None:
        campaign.launched_at = now
    queue.ring_after_commit(session, queue.EXPAND_CAMPAIGN, campaign.id, at=send_at)
    return campaign


async def check_sendable(session: AsyncSession, campaign: Campaign) -> None:
    """Raise RuleViolation unless every template is approved in the very version the campaign names."""
    for each in (await variants(session, [campaign.id]))[campaign.id]:
        if each.template.status is not TemplateStatus.APPROVED:
            raise RuleViolation(
                f"the template {each.template.name} is {each.template.status}, not approved", field="variants"
            )
        if templates.misfit(each.template):
            raise RuleViolation(
                f"the provider charges the template {each.template.name} as marketing, which its purpose"
                f" ({each.template.purpose}) does not allow: choose another template",
                field="variants",
            )
        newest = await templates.get(session, each.template.id)
        if newest.version.id != each.version.id:
            raise RuleViolation(
                f"the template {each.template.name} has a newer version: choose it again", field="variants"
            )


async def begin_expansion(session: AsyncSession, campaign_id: UUID, *, now: datetime) -> None:
    """A scheduled campaign whose time has come is `expanding` from now on."""
    campaign = await get(session, campaign_id, lock=True)
    if campaign.status is CampaignStatus.SCHEDULED and campaign.send_at is not None and campaign.send_at <= now:
        campaign.status, campaign.launched_at = CampaignStatus.EXPANDING, now


async def hold_expanding(session: AsyncSession, campaign_id: UUID) -> Campaign | None:
    """The campaign if it is expanding, held against everybody but those who make its rows; else None."""
    expanding = (Campaign.id == campaign_id, Campaign.status == CampaignStatus.EXPANDING)
    held = select(Campaign).where(*expanding).with_for_update(key_share=True)
    found: Campaign | None = await session.scalar(held)
    return found


async def finish_expansion(session: AsyncSession, campaign: Campaign, *, now: datetime) -> None:
    await canary.draw_slice(session, campaign)
    campaign.status, campaign.expanded_at = CampaignStatus.SENDING, now
    queue.ring_after_commit(session, queue.SEND_MESSAGES, campaign.sender_id)


async def decide_canary(
    session: AsyncSession, campaign_id: UUID, verdict: CanaryVerdict, *, by: UUID | None, now: datetime
) -> Campaign:
    """Let the rest of a campaign go, or take it back. Raises Conflict when nothing waits for a verdict."""
    campaign = await get(session, campaign_id, lock=True)
    await canary.decide(session, campaign, verdict, by=by, now=now)
    return campaign if verdict is CanaryVerdict.GO else await cancel(session, campaign_id, now=now)


async def pause(session: AsyncSession, campaign_id: UUID, *, reason: str, now: datetime) -> Campaign:
    """No new request starts; what has left stays out. Raises Conflict unless the campaign is going out."""
    campaign = await get(session, campaign_id, lock=True)
    if campaign.status not in (CampaignStatus.SENDING, CampaignStatus.EXPANDING):
        raise Conflict("only a campaign that is going out can be paused", status=campaign.status)
    if await shown_status(session, campaign) is CampaignStatus.COMPLETED:
        raise Conflict("everything has been sent already: there is nothing to pause")
    campaign.status, campaign.paused_at, campaign.pause_reason = CampaignStatus.PAUSED, now, reason
    return campaign


async def resume(session: AsyncSession, campaign_id: UUID, *, now: datetime) -> Campaign:
    """Go on where it stopped. Raises Conflict unless it is paused and its templates may be sent."""
    campaign = await get(session, campaign_id, lock=True)
    if campaign.status is not CampaignStatus.PAUSED:
        raise Conflict("only a paused campaign can be resumed", status=campaign.status)
    for each in (await variants(session, [campaign.id]))[campaign.id]:
        if each.template.status is not TemplateStatus.APPROVED:
            raise Conflict(
                f"the template {each.template.name} is {each.template.status} at the provider, so it cannot go on yet:"
                " it does so by itself once the template is approved (if it is already, fetch the templates)"
            )
        if templates.misfit(each.template):
            raise Conflict(
                f"the provider charges the template {each.template.name} as marketing, which its purpose"
                f" ({each.template.purpose}) does not allow: cancel the campaign and use another template"
            )
    breakers.resume_campaign(session, campaign, now=now)
    return campaign


async def cancel(session: AsyncSession, campaign_id: UUID, *, now: datetime) -> Campaign:
    """Take back what has not left; what has left stays out. Raises Conflict when there is nothing to take back."""
    campaign = await get(session, campaign_id, lock=True)
    if campaign.status is CampaignStatus.CANCELLED:
        raise Conflict("the campaign is cancelled already")
    if campaign.status in STARTED and await shown_status(session, campaign) is CampaignStatus.COMPLETED:
        raise Conflict("the campaign is completed")
    campaign.status, campaign.cancelled_at = CampaignStatus.CANCELLED, now
    await messages.cancel_queued(session, campaign.id, now=now)
    return campaign


async def shown_status(session: AsyncSession, campaign: Campaign) -> CampaignStatus:
    """The status people see: `completed` when no row is queued or sending."""
    return (await shown_statuses(session, [campaign]))[campaign.id]


async def shown_statuses(session: AsyncSession, those: Sequence[Campaign]) -> dict[UUID, CampaignStatus]:
    sending = [campaign.id for campaign in those if campaign.status is CampaignStatus.SENDING]
    open_ones: set[UUID] = set()
    if sending:
        statement = select(Campaign.id).where(Campaign.id.in_(sending), breakers.has_open_rows())
        open_ones = set(await session.scalars(statement))
    return {
        campaign.id: CampaignStatus.COMPLETED
        if campaign.id in sending and campaign.id not in open_ones
        else campaign.status
        for campaign in those
    }


async def messages_page(
    session: AsyncSession, campaign_id: UUID, *, status: DeliveryStatus | None, limit: int, cursor: str | None
) -> Page[Message]:
    await get(session, campaign_id)
    statement = select(Message).where(Message.campaign_id == campaign_id)
    if status is not None:
        statement = statement.where(Message.status == status, Message.phase == phase_of(status))
    return await page(session, statement, Message.id.expression, limit=limit, cursor=cursor)


async def count_unknown(session: AsyncSession, campaign_id: UUID) -> int:
    """How many of a campaign's messages wait for an answer that may never come."""
    theirs = (Message.campaign_id == campaign_id, Message.phase == DeliveryStatus.UNKNOWN)
    return await session.scalar(select(func.count()).select_from(Message).where(*theirs)) or 0


async def settle_unknown(session: AsyncSession, campaign_id: UUID, *, before: datetime, dry_run: bool) -> int:
    """Mark messages failed whose answer never came and whose request began before `before`; returns how many.

    For a person to decide: a status webhook that still comes beats it, nothing is sent again.
    """
    await get(session, campaign_id)
    return await messages.fail_unknown(session, campaign_id, before=before, dry_run=dry_run)
