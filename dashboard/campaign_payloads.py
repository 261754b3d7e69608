"""What the API answers about campaigns: their plan, review, progress and messages."""

from datetime import datetime

from msgspec import Struct

from dashboard.payloads import Json


class Variant(Struct):
    label: str
    weight: int
    template_id: str
    template_name: str
    template_language: str
    id: str | None = None
    parameters: dict[str, Json] = {}


class Failure(Struct):
    """`code` is the provider's, null when it gave none."""

    meaning: str
    count: int
    code: int | None = None
    next_step: str = ""


class Throughput(Struct):
    messages_per_second: float | None = None
    limit_per_second: float | None = None


class Waiting(Struct):
    """Why nothing moves at this moment; `until` is null when only a person can change it."""

    reason: str
    detail: str = ""
    until: datetime | None = None


class Stop(Struct):
    """What stands still: the `number` or the `campaign`. `code` is null when a person stopped it."""

    what: str
    reason: str
    next_step: str
    since: datetime
    code: str | None = None
    goes_on_alone: bool = False


class Expansion(Struct):
    """People who have their row, of those the audience had at the launch."""

    done: int
    expected: int


class Thresholds(Struct):
    after_minutes: int
    min_delivered: float
    max_failed: float
    max_opt_out: float


class Canary(Struct):
    """A few people first: so many `people`, or a `share`; `waits` for a verdict, which is go or stop."""

    people: int | None = None
    share: float | None = None
    thresholds: Thresholds | None = None
    waits: bool = False
    verdict: str | None = None


class CanarySlice(Struct):
    """How the first few people stand; `left` is how many of the `size` messages went out."""

    size: int
    left: int
    delivered: int
    read: int
    failed: int
    opted_out: int
    balance: dict[str, int] = {}
    shortfall: str | None = None


class Message(Struct):
    id: str
    status: str
    queued_at: datetime
    permitted_at: datetime | None = None
    name: str | None = None
    phone_masked: str | None = None
    error: str | None = None


class Settled(Struct):
    messages: int


class MarketCost(Struct):
    """`price_micros` per message is null where no price is known."""

    market: str
    recipients: int
    category: str = ""
    price_micros: int | None = None


class Cost(Struct):
    currency: str
    low_micros: int
    high_micros: int
    unpriced: int = 0
    by_market: list[MarketCost] = []


class Shown(Struct):
    """A filled-in message as the person sees it; a media header is its type in brackets, such as `[image]`."""

    body: str
    header: str | None = None
    footer: str | None = None
    buttons: list[str] = []


class ReviewVariant(Struct):
    label: str
    recipients: int
    sample: list[Shown] = []


class Problem(Struct):
    """`severity` is error (launch is refused) or warning; `count` is how often it was met."""

    severity: str
    message: str
    count: int = 1


class Review(Struct):
    fingerprint: str
    audience: int
    reachable: int
    unreachable: dict[str, int]
    holdout: int
    variants: list[ReviewVariant]
    problems: list[Problem]
    cost: Cost
    duration_s: float | None = None
    finishes_at: datetime | None = None
    by_time_zone: dict[str, int] = {}


class Campaign(Struct):
    """`balance` has the audience and the count of every delivery status; they add up."""

    id: str
    name: str
    status: str
    purpose: str = "marketing"
    sender_id: str = ""
    sender_name: str | None = None
    audience_id: str | None = None
    audience_name: str | None = None
    holdout: float = 0.0
    messages_per_minute: int | None = None
    quiet_from: str | None = None
    quiet_until: str | None = None
    send_at: datetime | None = None
    variants: list[Variant] = []
    created_at: datetime | None = None
    launched_at: datetime | None = None
    paused_at: datetime | None = None
    pause_reason: str | None = None
    balance: dict[str, int] = {}
    counted_at: datetime | None = None
    skipped: dict[str, int] = {}
    failures: list[Failure] = []
    throughput: Throughput | None = None
    eta_at: datetime | None = None
    waiting: Waiting | None = None
    stops: list[Stop] = []
    expansion: Expansion | None = None
    canary: Canary | None = None
    canary_slice: CanarySlice | None = None
    is_late: bool = False
