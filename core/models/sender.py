"""Senders: the organisation's own business phone numbers."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import WithId


class Sender(WithId):
    __tablename__ = "senders"

    phone_number_id: Mapped[str] = mapped_column(unique=True)
    waba_id: Mapped[str]
    display_number: Mapped[str]  # digits with +
    name: Mapped[str]
    quality: Mapped[str] = mapped_column(server_default=text("'UNKNOWN'"))
    limit_tier: Mapped[str | None]  # TIER_250 … TIER_UNLIMITED
    messages_per_second: Mapped[int] = mapped_column(server_default=text("80"))  # inbound and outbound together
    paused_at: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    pause_code: Mapped[str | None]  # provider:CODE when a refusal stopped it; null when a person did
