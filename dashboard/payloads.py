"""What the API answers, as far as the dashboard shows it; unknown fields are ignored."""

from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")
Json = dict[str, object]


class Page(Struct, Generic[T]):
    """One page of a list; `next` is the cursor of the following page."""

    items: list[T]
    next: str | None = None


class User(Struct):
    name: str
    role: str


class Session(Struct):
    token: str
    expires_at: datetime
    user: User


class Sender(Struct):
    id: str
    display_number: str
    name: str
    messages_per_second: float | None = None
    paused_at: datetime | None = None
    pause_reason: str | None = None


class Purpose(Struct):
    code: str


class Placeholder(Struct):
    """One hole of a template; `key` is what a campaign's parameters call it (`body.1`, `header`, `button.0`).

    `type` is text, image, video, document, payload or coupon_code; `name` is what stands between the braces.
    """

    key: str
    component: str
    type: str = "text"
    name: str | None = None
    index: int | None = None
    example: str | None = None
    required: bool = True


class Template(Struct):
    id: str
    name: str
    language: str
    category: str
    purpose: str
    status: str
    components: list[Json] = []
    placeholders: list[Placeholder] = []


class Media(Struct):
    id: str
    filename: str


class Audience(Struct):
    id: str
    name: str
    kind: str
    created_at: datetime
    rule: Json | None = None
    size: int | None = None
    reachable: int | None = None
    unreachable: dict[str, int] | None = None
    counted_at: datetime | None = None
    count_ms: int | None = None
    count_error: str | None = None


class Person(Struct):
    """A contact as lists show it: the number is masked by the API."""

    id: str
    name: str | None = None
    phone_masked: str | None = None
    country: str | None = None
    language: str | None = None


class Preview(Struct):
    size: int
    reachable: int
    unreachable: dict[str, int]
    sample: list[Person] = []
    took_ms: int = 0


class Burst(Struct):
    at: datetime
    opt_ins: int


class Claims(Struct):
    """What a file says about consent; `sayings`: field → what rows say → opt-ins."""

    opt_ins: int = 0
    opt_outs: int = 0
    earliest: datetime | None = None
    latest: datetime | None = None
    sayings: dict[str, dict[str, int]] = {}
    fullest_second: Burst | None = None


class Attestation(Struct):
    name: str
    role: str
    statement: str
    at: datetime


class Statement(Struct):
    version: str
    text: str


class Import(Struct):
    id: str
    filename: str
    bytes: int
    status: str
    created_at: datetime
    dry_run: bool = False
    error: str | None = None
    rows_read: int = 0
    rows_total: int | None = None
    rows_done: int = 0
    verdicts: dict[str, int] = {}
    notes: dict[str, int] = {}
    undo_until: datetime | None = None
    undone: dict[str, int] | None = None
    claims: Claims | None = None
    attestation: Attestation | None = None
    needs: str | None = None
    approved_at: datetime | None = None


class ImportReason(Struct):
    verdict: str
    rows: int
    first_row: int
    reason: str | None = None


class FileFormat(Struct):
    kind: str
    encoding: str | None = None
    delimiter: str | None = None


class PreviewRow(Struct):
    row_number: int
    phone: str | None
    country: str | None
    action: str | None
    occurred_at: datetime | None
    problem: str | None
    mended: list[str]
    values: dict[str, str]
    attributes: dict[str, str | float | bool]


class FilePreview(Struct):
    format: FileFormat
    header: list[str]
    fields: list[str]
    columns: dict[str, str]
    rows: list[PreviewRow]


class ConsentState(Struct):
    purpose: str
    state: str
    grade: str | None = None
    expires_at: datetime | None = None
    reason: str | None = None
    overlays: list[str] = []


class ConsentEvent(Struct):
    seq: int
    event_type: str
    purpose: str
    occurred_at: datetime
    recorded_at: datetime
    leaf_hash: str
    next_state: str | None = None
    grade: str | None = None
    method: str | None = None
    reason: str | None = None


class ConsentTrail(Struct):
    states: list[ConsentState]
    events: list[ConsentEvent]


class Audit(Struct):
    """One audit package; `sha256` is that of the ZIP."""

    id: str
    status: str
    reason: str
    created_at: datetime
    filters: Json = {}
    bytes: int | None = None
    sha256: str | None = None
    facts: Json = {}
    error: str | None = None
    needs_approval: bool = False
    mine: bool = False
    campaign_name: str | None = None


class WebhookOverview(Struct):
    """Counts of this moment; `parked` are statuses that wait for their message, `orphans` those given up on."""

    waiting: int
    set_aside: int
    orphans: int
    parked: int
    unknown_fields: int
    recorded_last_hour: int
    oldest_waiting_at: datetime | None = None


class AccountEvent(Struct):
    """What WhatsApp said about a template, a number or the account, and what followed."""

    kind: str
    word: str
    severity: str
    subject: str
    occurred_at: datetime
    effect: str | None = None


class SetAside(Struct):
    id: int
    received_at: datetime
    bytes: int
    error: str | None = None


class Orphan(Struct):
    wamid: str
    status: str
    received_at: datetime
    phone_number_id: str | None = None


class WebhookField(Struct):
    name: str
    known: bool
    count: int
    first_at: datetime
    last_at: datetime


class Replayed(Struct):
    bodies: int


class Proof(Struct):
    """What proves one record of the ledger, as it was kept; nothing when there was none, or it was erased."""

    seq: int
    evidence: dict[str, Any] | None = None


class Checkpoint(Struct):
    size: int
    root: str
    created_at: datetime


class Ledger(Struct):
    size: int
    checkpoint: Checkpoint | None = None
    fingerprint: str | None = None


class Refusal(Struct):
    """A field the API wants corrected."""

    field: str
    message: str


class ProblemDetails(Struct):
    """RFC 9457 problem: title, detail for people, code for programs."""

    title: str = ""
    status: int = 0
    detail: str = ""
    code: str = ""
    errors: list[Refusal] = []
    retry_after_s: int | None = None


def decode(body: bytes, shape: type[T]) -> T:
    """The body as `shape`; raises msgspec.ValidationError or DecodeError when it is not."""
    return msgspec.json.decode(body, type=shape)
