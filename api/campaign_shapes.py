"""What the campaign routes take and give, and how an answer is put together."""

from collections.abc import Sequence
from datetime import datetime, time
from typing import Annotated, Any, Self
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins
from sqlalchemy.ext.asyncio import AsyncSession

from api.sentences import LOCAL_TIME
from api.state import Parts, worker_alive
from core.errors import RuleViolation
from core.models import Campaign, Message
from core.services import audiences, campaigns, filling, links, senders
from core.services.campaigns import Plan, VariantPlan
from core.statuses import CampaignStatus, Category, DeliveryStatus, SkipReason, TemplateStatus
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


class SettleIn(Struct, forbid_unknown_fields=True):
    older_than_minutes: Annotated[int, Meta(ge=5, le=43_200)] = 60
    dry_run: bool = True


class SettleOut(Struct):
    messages: int


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
    code: int
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
    balance: dict[str, int]


class ExpansionOut(Struct):
    """How many people of the audience have their row; `expected` is the audience's size at the launch."""

    done: int
    expected: int


class CampaignDetailOut(CampaignOut):
    """One campaign, and how it stands this moment."""

    sender_name: str
    skipped: dict[str, int]
    failures: list[FailureOut]
    throughput: ThroughputOut
    eta_at: datetime | None
    waiting: WaitingOut | None
    expansion: ExpansionOut | None  # null before the launch


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


async def common(session: AsyncSession, those: Sequence[Campaign]) -> list[dict[str, Any]]:
    """What list items and the detail share, in four statements for any number of campaigns."""
    ids = [campaign.id for campaign in those]
    statuses = await campaigns.shown_statuses(session, those)
    balances = await campaigns.balances(session, ids)
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
            "balance": balances[campaign.id],
        }
        for campaign in those
    ]


async def detail(session: AsyncSession, parts: Parts, campaign: Campaign, now: datetime) -> CampaignDetailOut:
    """The campaign with everything that is asked of it while it runs."""
    await session.flush()
    alive = await worker_alive(parts)
    pace = await campaigns.pace(session, campaign, now=now)
    waiting = await campaigns.waiting(session, campaign, worker_alive=alive, now=now)
    failures = await campaigns.failures_by_code(session, campaign.id)
    return CampaignDetailOut(
        **(await common(session, [campaign]))[0],
        sender_name=(await senders.get(session, campaign.sender_id)).name,
        skipped=await campaigns.skipped_by_reason(session, campaign.id),
        failures=[
            FailureOut(code, explain(code).meaning, explain(code).after_giving_up, n) for code, n in failures.items()
        ],
        throughput=ThroughputOut(pace.messages_per_second, pace.limit_per_second),
        eta_at=pace.eta(now) if campaign.status is CampaignStatus.SENDING else None,
        waiting=WaitingOut(waiting.reason, waiting.detail, waiting.until) if waiting else None,
        expansion=(
            ExpansionOut(campaign.expanded_people, campaign.audience_size)
            if campaign.audience_size is not None
            else None
        ),
    )
