"""What the API answers about templates' definitions, users, keys, numbers and prices; unknown fields are ignored."""

from datetime import date, datetime

from msgspec import Struct

from dashboard.payloads import Json, Placeholder


class Account(Struct):
    id: str
    email: str
    name: str
    role: str
    created_at: datetime
    disabled_at: datetime | None = None


class Key(Struct):
    """`secret` is there once, when the key was made."""

    id: str
    name: str
    prefix: str
    role: str
    created_at: datetime
    revoked_at: datetime | None = None
    secret: str = ""


class Number(Struct):
    """One of the organisation's numbers."""

    id: str
    phone_number_id: str
    waba_id: str
    display_number: str
    name: str
    messages_per_second: int
    verified_name: str | None = None
    quality: str = "UNKNOWN"
    limit_tier: str | None = None
    paused_at: datetime | None = None
    pause_reason: str | None = None
    pause_on_red: bool = False
    pause_on_orphans: bool = True


class Card(Struct):
    source: str
    currency: str
    effective_from: date
    markets: int
    prices: int
    loaded_at: datetime
    is_demo: bool = False


class Rate(Struct):
    market: str
    category: str
    currency: str
    price_micros: int
    effective_from: date
    source: str


class Loaded(Struct):
    rows: int


class Synced(Struct):
    created: int
    updated: int


class Definition(Struct):
    """A template with its newest version."""

    id: str
    name: str
    language: str
    category: str
    purpose: str
    status: str
    version: int
    created_at: datetime
    status_reason: str | None = None
    quality: str | None = None
    components: list[Json] = []
    placeholders: list[Placeholder] = []
