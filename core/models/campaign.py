"""Campaigns: what goes to whom, when, how fast."""

from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Time, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId
from core.statuses import CampaignStatus, CanaryVerdict


class Campaign(WithId):
    """`status` is an intention until rows exist; whether it is completed is read from its messages."""

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("holdout_bp BETWEEN 0 AND 5000", name="holdout"),
        CheckConstraint("messages_per_minute IS NULL OR messages_per_minute > 0", name="pace"),
    )

    name: Mapped[str]
    status: Mapped[CampaignStatus]
    purpose: Mapped[str]
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("senders.id"), index=True)
    audience_id: Mapped[UUID] = mapped_column(ForeignKey("audiences.id"))
    holdout_bp: Mapped[int] = mapped_column(server_default=text("0"))  # share kept without a message, in 1/10,000
    messages_per_minute: Mapped[int | None]  # the campaign's own pace; null: the sender's limit
    send_at: Mapped[datetime | None]
    quiet_from: Mapped[time | None] = mapped_column(Time)  # in the recipient's zone
    quiet_until: Mapped[time | None] = mapped_column(Time)
    fingerprint: Mapped[str | None]  # of content and audience, from the latest review
    review: Mapped[dict[str, Any] | None]
    reviewed_at: Mapped[datetime | None]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    launched_at: Mapped[datetime | None]
    expanded_at: Mapped[datetime | None]  # every recipient has a row
    audience_size: Mapped[int | None]  # people the audience had at the launch
    expanded_people: Mapped[int] = mapped_column(server_default=text("0"))  # of them, how many have their row
    expand_cursor: Mapped[UUID | None]  # last contact expanded, so that a crash resumes
    canary_people: Mapped[int | None]  # so many people first, or
    canary_bp: Mapped[int | None]  # a share of them in 1/10,000; both null: everybody at once
    canary_thresholds: Mapped[dict[str, Any] | None]  # when the rest may go without a person
    rest_waits: Mapped[bool] = mapped_column(server_default=text("false"))  # only the first few may be sent
    canary_verdict: Mapped[CanaryVerdict | None]
    canary_decided_at: Mapped[datetime | None]
    canary_decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))  # null: the thresholds
    paused_at: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    pause_code: Mapped[
        str | None
    ]  # template:ID, failures or no_answer when a breaker stopped it; null when a person did
    resumed_at: Mapped[datetime | None]  # last time; what was sent before it trips no breaker again
    cancelled_at: Mapped[datetime | None]


class CampaignVariant(WithId):
    """One arm of the campaign's A/B test; a campaign without a test has one."""

    __tablename__ = "campaign_variants"
    __table_args__ = (UniqueConstraint("campaign_id", "label"), CheckConstraint("weight > 0", name="weight"))

    campaign_id: Mapped[UUID] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    label: Mapped[str]
    weight: Mapped[int]  # relative to the other variants
    template_version_id: Mapped[UUID] = mapped_column(ForeignKey("template_versions.id"))
    parameters: Mapped[dict[str, Any]]  # placeholder → where its value comes from
