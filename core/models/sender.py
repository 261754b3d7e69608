"""Senders: the organisation's own business phone numbers."""

from datetime import datetime

from sqlalchemy import Boolean, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId


class Sender(WithId):
    __tablename__ = "senders"

    phone_number_id: Mapped[str] = mapped_column(unique=True)
    waba_id: Mapped[str]
    display_number: Mapped[str]  # digits with +
    name: Mapped[str]
    verified_name: Mapped[str | None]  # what people see, once the provider has approved it
    quality: Mapped[str] = mapped_column(server_default=text("'UNKNOWN'"))
    limit_tier: Mapped[str | None]  # TIER_250 … TIER_UNLIMITED
    messages_per_second: Mapped[int] = mapped_column(server_default=text("80"))  # inbound and outbound together
    paused_at: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    pause_code: Mapped[str | None]  # provider:CODE, quality:red, account:…, integrity:orphans; null when a person did
    resumed_at: Mapped[datetime | None]  # last time; what was sent before it trips no breaker again
    # What stops this number without a person's word; both can be switched.
    pause_on_red: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))  # the provider flags its quality
    pause_on_orphans: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))  # somebody else sends from it
