"""What the API answers about conversations, automatic answers and webhooks we send; unknown fields are ignored."""

from datetime import datetime

from msgspec import Struct

from dashboard.payloads import Json, Placeholder


class Refused(Struct):
    """A purpose, or a scope such as `marketing.*`, for which nothing may be sent to a person."""

    purpose: str
    why: str


class File(Struct):
    """What came with a message; `status` is waiting, stored, too_large, lost or removed."""

    status: str
    mime_type: str | None = None
    filename: str | None = None
    bytes: int | None = None
    error: str | None = None


class Offer(Struct):
    """A template for one person; `refusal` is null when it may be sent."""

    template_id: str
    name: str
    language: str
    category: str
    purpose: str
    components: list[Json] = []
    placeholders: list[Placeholder] = []
    refusal: str | None = None
    refusal_words: str | None = None


class Conversation(Struct):
    """A chat with one person over one of our numbers."""

    id: str
    contact_id: str
    sender: str
    status: str
    unread: int
    handed_over: bool
    last_inbound_at: datetime
    window_ends_at: datetime  # free text may be sent until then
    name: str | None = None
    phone_masked: str | None = None
    assignee_id: str | None = None
    assignee: str | None = None
    campaign: str | None = None
    last_words: str | None = None
    last_type: str | None = None
    sender_id: str = ""
    refusals: list[Refused] = []


class Line(Struct):
    """One message of a conversation, in either direction."""

    id: str
    is_inbound: bool
    kind: str
    at: datetime
    words: str | None = None
    status: str | None = None
    skip_reason: str | None = None
    error: str | None = None
    campaign: str | None = None
    author: str | None = None
    file: File | None = None


class Agent(Struct):
    id: str
    name: str


class Hold(Struct):
    """Somebody wrote what may have been a stop."""

    contact_id: str
    purpose: str
    name: str | None = None
    phone_masked: str | None = None
    language: str | None = None
    reason: str | None = None
    words: str | None = None
    placed_at: datetime | None = None
    decided_at: datetime | None = None


class Wording(Struct):
    """What an automatic answer says in one language."""

    kind: str
    language: str
    body: str
    buttons: list[str]
    is_own: bool
    placeholders: list[str]


class Hours(Struct, rename={"from_": "from"}):
    days: list[str]
    from_: str
    until: str


class Conditions(Struct, omit_defaults=True):
    """What a routing rule looks for; what is left out does not matter to it."""

    words: list[str] = []
    match: str = "contains"
    payloads: list[str] = []
    outside_hours: Hours | None = None
    first_message: bool = False
    sender_id: str | None = None
    languages: list[str] = []


class Actions(Struct, omit_defaults=True):
    reply: str | None = None
    tag: str | None = None
    hand_over: bool = False


class RoutingRule(Struct):
    id: str
    name: str
    position: int
    enabled: bool
    conditions: Conditions
    actions: Actions
    pause_minutes: int


class Tried(Struct):
    name: str
    misses: list[str]


class Rehearsal(Struct):
    """What would happen if somebody wrote something."""

    intent: str
    effect: str
    hands_over: bool
    tried: list[Tried]
    word: str | None = None
    rule: str | None = None
    reply: str | None = None
    tag: str | None = None


class EventType(Struct):
    name: str
    meaning: str


class Hook(Struct):
    """An address of somebody else's that is told about facts."""

    id: str
    url: str
    events: list[str]
    description: str
    include_phone: bool
    created_at: datetime
    rotated_at: datetime | None = None
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


class Secret(Struct):
    secret: str


class Delivery(Struct):
    id: str
    event_id: str
    event_type: str
    status: str
    attempts: int
    created_at: datetime
    next_at: datetime | None = None
    delivered_at: datetime | None = None
    http_status: int | None = None
    error: str | None = None
    duration_ms: int | None = None
