"""What the campaign routes take and give, and how an answer is put together."""

from collections.abc import Sequence
from datetime import datetime, time
from typing import Annotated, Any, Self
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins
from sqlalchemy.ext.asyncio import AsyncSession

from api.sentences import LOCAL_TIME
from api.state import Parts
from core import live
from core.errors import RuleViolation
from core.models import Campaign, Message
from core.services import audiences, campaigns, canary, filling, links, progress, senders
from core.services.campaigns import Plan, VariantPlan
from core.services.canary import CanaryPlan, Thresholds
from core.services.standing import Failures
from core.services.stops import stops
from core.statuses import CampaignStatus, CanaryVerdict, Category, DeliveryStatus, SkipReason, TemplateStatus
from core.whatsapp.errors import explain

LocalTime = Annotated[str, Meta(pattern=LOCAL_TIME, description="HH:MM in the recipient's zone")]


class ParameterIn(Struct, forbid_unknown_fields=True):
    """What fills one placeholder: one of text, source (with a fallback), media_id, link or payload."""

    text: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    fallback: str | UnsetType = UNSET
    media_id: UUID | UnsetType = UNSET
    link: Annotated[str, Meta(max_length=2000)] | UnsetType = UNSET
    payload: str | UnsetType = UNSET


class VariantIn(Struct, forbid_unknown_fields=True):
    label: Annotated[str, Meta(min_length=1, max_length=50)]
    template_id: UUID
    parameters: dict[str, ParameterIn]
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1

    def filled(self) -> dict[str, Any]:
        """The parameters without what was left out; raises RuleViolation for a link that leads nowhere."""
        for key, given in self.parameters.items():
            if given.link is not UNSET and not links.is_address(given.link):
                raise RuleViolation(
                    f"{key} needs a whole http(s) address, such as https://shop.example/sale",
                    field=f"parameters.{key}",
                )
        found: dict[str, Any] = to_builtins(self.parameters)
        return found


Share = Annotated[float, Meta(ge=0, le=1)]


class ThresholdsIn(Struct, forbid_unknown_fields=True):
    """When the rest goes out without a person: shares of the slice's messages that left, some time after the last."""

    after_minutes: Annotated[int, Meta(ge=1, le=10_080)] = 60
    min_delivered: Share = 0.8
    max_failed: Share = 0.05
    max_opt_out: Share = 0.02


class CanaryIn(Struct, forbid_unknown_fields=True):
    """A few people first: a number of them, or a share. Without thresholds a person decides about the rest."""

    people: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    share: Annotated[float, Meta(gt=0, le=0.5)] | None = None
    thresholds: ThresholdsIn | None = None

    def plan(self) -> CanaryPlan:
        return CanaryPlan(
            self.people, self.share, Thresholds(**to_builtins(self.thresholds)) if self.thresholds else None
        )


class CanaryVerdictIn(Struct, forbid_unknown_fields=True):
    verdict: CanaryVerdict


class CampaignIn(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    sender_id: UUID
    audience_id: UUID
    variants: Annotated[list[VariantIn], Meta(min_length=1, max_length=10)]
    purpose: str = "marketing"
    holdout: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    messages_per_minute: Annotated[int, Meta(ge=1, le=60_000)] | None = None
    quiet_from: LocalTime | None = None
    quiet_until: LocalTime | None = None
    canary: CanaryIn | None = None

    def plan(self) -> Plan:
        return Plan(
            name=self.name,
            purpose=self.purpose,
            sender_id=self.sender_id,
            audience_id=self.audience_id,
            holdout=self.holdout,
            messages_per_minute=self.messages_per_minute,
            quiet_from=time.fromisoformat(self.quiet_from) if self.quiet_from else None,
            quiet_until=time.fromisoformat(self.quiet_until) if self.quiet_until else None,
            canary=self.canary.plan() if self.canary else None,
            variants=[VariantPlan(v.label, v.weight, v.template_id, v.filled()) for v in self.variants],
        )


class LaunchIn(Struct, forbid_unknown_fields=True):
    fingerprint: str


class ScheduleIn(Struct, forbid_unknown_fields=True):
    fingerprint: str
    send_at: datetime


class TestIn(Struct, forbid_unknown_fields=True):
    phone: str
    variant: str


class PauseIn(Struct, forbid_unknown_fields=True):
    """Stopping needs no reason: it must be quick."""

    reason: Annotated[str, Meta(max_length=300)] = ""


class StopOut(Struct):
    """What stands still: the `number` or the `campaign`. `code` is null when a person stopped it."""

    what: str
    code: str | None
    reason: str
    next_step: str
    since: datetime
    goes_on_alone: bool


class SettleIn(Struct, forbid_unknown_fields=True):
    older_than_minutes: Annotated[int, Meta(ge=5, le=43_200)] = 60
    dry_run: bool = True


class SettleOut(Struct):
    messages: int  # old enough to be given up, or given up
    unknown: int  # all of the campaign's without an answer, before this


class TestOut(Struct):
    message_id: UUID


class VariantOut(Struct):
    id: UUID
    label: str
    weight: int
    template_id: UUID
    template_name: str
    template_language: str
    template_status: TemplateStatus
    category: Category
    components: list[Any]
    parameters: dict[str, Any]


class FailureOut(Struct):
    code: int | None  # the provider's; null when it gave none
    meaning: str
    next_step: str
    count: int


class ThroughputOut(Struct):
    messages_per_second: float
    limit_per_second: float


class WaitingOut(Struct):
    reason: str
    detail: str
    until: datetime | None


class CanaryOut(Struct):
    """The plan of a campaign's first few people, and what was said about the rest."""

    people: int | None
    share: float | None
    thresholds: Thresholds | None
    waits: bool  # for a verdict
    verdict: CanaryVerdict | None
    decided_at: datetime | None


class CanarySliceOut(Struct):
    """The first few people: `balance` holds their messages by status, `left` how many went out.

    `shortfall` says what keeps the thresholds from letting the rest go; null when there are none or they are met.
    """

    size: int
    left: int
    delivered: int
    read: int
    failed: int
    opted_out: int
    balance: dict[str, int]
    shortfall: str | None


class CampaignOut(Struct):
    """A campaign in a list."""

    id: UUID
    name: str
    status: CampaignStatus
    purpose: str
    sender_id: UUID
    audience_id: UUID
    audience_name: str
    holdout: float
    messages_per_minute: int | None
    quiet_from: str | None
    quiet_until: str | None
    send_at: datetime | None
    variants: list[VariantOut]
    fingerprint: str | None
    review: dict[str, Any] | None
    reviewed_at: datetime | None
    created_at: datetime
    launched_at: datetime | None
    paused_at: datetime | None
    pause_reason: str | None
    pause_code: str | None  # template:ID or failures when a breaker stopped it
    canary: CanaryOut | None
    is_late: bool  # its time passed more than a minute ago and it has not begun
    balance: dict[str, int]
    counted_at: datetime  # of the balance; a large campaign is counted again after some seconds only


class ExpansionOut(Struct):
    """How many people of the audience have their row; `expected` is the audience's size at the launch."""

    done: int
    expected: int


class CampaignDetailOut(CampaignOut):
    """One campaign, and how it stands this moment."""

    sender_name: str
    stops: list[StopOut]
    skipped: dict[str, int]
    failures: list[FailureOut]
    throughput: ThroughputOut
    eta_at: datetime | None
    waiting: WaitingOut | None
    expansion: ExpansionOut | None  # null before the launch
    canary_slice: CanarySliceOut | None  # null before the launch and without a canary


class MessageOut(Struct):
    id: UUID
    contact_id: UUID
    name: str | None
    phone_masked: str | None
    variant_id: UUID | None
    status: DeliveryStatus
    skip_reason: SkipReason | None
    error_code: int | None
    error: str | None
    attempt: int
    queued_at: datetime
    permitted_at: datetime | None
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None

    @classmethod
    def of(cls, message: Message, name: str | None, number: str | None) -> Self:
        return cls(
            id=message.id,
            contact_id=message.contact_id,
            name=name,
            phone_masked=number,
            variant_id=message.variant_id,
            status=message.status,
            skip_reason=message.skip_reason,
            error_code=message.error_code,
            error=message.error,
            attempt=message.attempt,
            queued_at=message.queued_at,
            permitted_at=message.permitted_at,
            accepted_at=message.accepted_at,
            sent_at=message.sent_at,
            delivered_at=message.delivered_at,
            read_at=message.read_at,
        )


def _variant_out(each: campaigns.Variant) -> VariantOut:
    return VariantOut(
        id=each.variant.id,
        label=each.variant.label,
        weight=each.variant.weight,
        template_id=each.template.id,
        template_name=each.template.name,
        template_language=each.template.language,
        template_status=each.template.status,
        category=each.template.category,
        components=each.version.components,
        parameters=each.variant.parameters,
    )


def _canary_out(campaign: Campaign) -> CanaryOut | None:
    plan = canary.plan_of(campaign)
    if plan is None:
        return None
    decided_at = campaign.canary_decided_at
    return CanaryOut(
        plan.people, plan.share, plan.thresholds, canary.waits(campaign), campaign.canary_verdict, decided_at
    )


async def _slice_out(session: AsyncSession, campaign: Campaign, now: datetime) -> CanarySliceOut | None:
    plan = canary.plan_of(campaign)
    if plan is None or campaign.expanded_at is None:
        return None
    found = await canary.slice_of(session, campaign.id)
    return CanarySliceOut(
        size=found.size,
        left=found.left,
        delivered=found.delivered,
        read=found.balance.get(DeliveryStatus.READ, 0),
        failed=found.balance.get(DeliveryStatus.FAILED, 0),
        opted_out=found.opted_out,
        balance=found.balance,
        shortfall=canary.shortfall(found, plan.thresholds, now) if plan.thresholds else None,
    )


async def common(session: AsyncSession, parts: Parts, those: Sequence[Campaign], now: datetime) -> list[dict[str, Any]]:
    """What list items and the detail share, in four statements for any number of campaigns."""
    ids = [campaign.id for campaign in those]
    statuses = await campaigns.shown_statuses(session, those)
    standings = await parts.standings.of(session, those, now=now)
    variants = await campaigns.variants(session, ids)
    names = await audiences.names(session, [campaign.audience_id for campaign in those])
    return [
        {
            "id": campaign.id,
            "name": campaign.name,
            "status": statuses[campaign.id],
            "purpose": campaign.purpose,
            "sender_id": campaign.sender_id,
            "audience_id": campaign.audience_id,
            "audience_name": names.get(campaign.audience_id, ""),
            "holdout": campaign.holdout_bp / filling.BASIS,
            "messages_per_minute": campaign.messages_per_minute,
            "quiet_from": f"{campaign.quiet_from:%H:%M}" if campaign.quiet_from else None,
            "quiet_until": f"{campaign.quiet_until:%H:%M}" if campaign.quiet_until else None,
            "send_at": campaign.send_at,
            "variants": [_variant_out(each) for each in variants[campaign.id]],
            "fingerprint": campaign.fingerprint,
            "review": campaign.review,
            "reviewed_at": campaign.reviewed_at,
            "created_at": campaign.created_at,
            "launched_at": campaign.launched_at,
            "paused_at": campaign.paused_at,
            "pause_reason": campaign.pause_reason,
            "pause_code": campaign.pause_code,
            "canary": _canary_out(campaign),
            "is_late": progress.is_late(campaign, now),
            "balance": standings[campaign.id].balance,
            "counted_at": standings[campaign.id].counted_at,
        }
        for campaign in those
    ]


def _failure_out(each: Failures) -> FailureOut:
    if each.code is None:
        return FailureOut(None, each.said or "No reason was given", "They can be part of a later campaign.", each.count)
    error = explain(each.code)
    return FailureOut(each.code, error.meaning, error.after_giving_up, each.count)


async def detail(session: AsyncSession, parts: Parts, campaign: Campaign, now: datetime) -> CampaignDetailOut:
    """The campaign with everything that is asked of it while it runs."""
    await session.flush()
    moment = await live.look(parts.valkey, campaign.sender_id)
    standing = (await parts.standings.of(session, [campaign], now=now))[campaign.id]
    limit = await progress.limit_per_second(session, campaign)
    pace = progress.pace(campaign, standing, limit)
    waiting = await progress.waiting(session, campaign, live=moment, now=now)
    sender = await senders.get(session, campaign.sender_id)
    return CampaignDetailOut(
        **(await common(session, parts, [campaign], now))[0],
        sender_name=sender.name,
        stops=[StopOut(**vars(stop)) for stop in stops(campaign, sender)],
        skipped=standing.skipped,
        failures=[_failure_out(each) for each in standing.failures],
        throughput=ThroughputOut(pace.messages_per_second, pace.limit_per_second),
        eta_at=progress.eta(campaign, pace, waiting, now),
        waiting=WaitingOut(waiting.reason, waiting.detail, waiting.until) if waiting else None,
        expansion=(
            ExpansionOut(campaign.expanded_people, campaign.audience_size)
            if campaign.audience_size is not None
            else None
        ),
        canary_slice=await _slice_out(session, campaign, now),
    )
