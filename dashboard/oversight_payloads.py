"""What the API answers at the compliance desk, as far as the dashboard shows it; unknown fields are ignored."""

from datetime import datetime

from msgspec import Struct

from dashboard.payloads import Import, Json


class Day(Struct):
    """A UTC day: consents given and taken back."""

    day: str
    given: int
    taken_back: int


class Overview(Struct):
    """dimension → purpose → word → people."""

    by: dict[str, dict[str, dict[str, int]]]
    days: list[Day]


class Proof(Struct):
    """`holds` when every fault is 0."""

    holds: bool
    recipients: int
    sent: int
    allowed: int
    unsent: int
    skipped: dict[str, int]
    erased: int
    faults: dict[str, int]


class Check(Struct):
    at: datetime
    size: int
    passed: bool
    findings: list[str]
    took_ms: int


class Anchor(Struct):
    at: datetime
    size: int
    kind: str
    reference: str


class Fork(Struct):
    """The database has another ledger than the one signed last."""

    since: datetime
    found_size: int
    signed_size: int
    signed_at: datetime
    reason: str


class Integrity(Struct):
    latest: Check | None = None
    anchors: list[Anchor] = []
    fork: Fork | None = None
    unsigned_since: datetime | None = None


class Recovery(Struct):
    """What recovering comes to; `seq` is null until it is done."""

    found_size: int
    signed_size: int
    people: int
    numbers: int
    erased: int
    left: int
    waiting: list[str]
    seq: int | None = None


class Purpose(Struct):
    code: str
    version: int
    controller: str
    min_grade: str
    validity_days: int
    needs_consent: bool
    halted: bool
    description: dict[str, str] = {}


class Notice(Struct):
    id: str
    code: str
    version: int
    language: str
    purposes: list[str]
    text: str
    withdrawal_info: str
    effective_from: datetime
    effective_to: datetime | None = None
    invalid_at: datetime | None = None


class InvalidationPreview(Struct):
    """Whom it would reach; the last five but `messages` add up to `people`."""

    kind: str
    target: str
    people: int
    in_force: int
    waiting: int
    expired: int
    elsewhere: int
    ended: int
    messages: int


class Invalidation(Struct):
    """Consents being made invalid; `people` is null until they are counted."""

    id: str
    kind: str
    target: str
    reason: str
    status: str
    people: int | None
    people_done: int
    invalid: int
    kept: int
    ended: int
    besides: int
    messages: int
    created_at: datetime
    finished_at: datetime | None = None
    name: str | None = None
    asked_by: str | None = None


class Draft(Struct):
    id: str
    kind: str
    content: Json
    status: str
    mine: bool
    created_at: datetime
    reason: str | None = None


class Entry(Struct):
    """Who did what."""

    at: datetime
    actor: str
    action: str
    object_kind: str
    object_id: str | None = None
    object_name: str | None = None
    reason: str | None = None


class FormOffer(Struct):
    """One box of an opt-in form: the purpose, and the code of the notice beside it."""

    purpose: str
    notice: str


class Form(Struct):
    """`shown` is null while it cannot be counted; only `confirmed` are consents."""

    id: str
    slug: str
    name: str
    url: str
    sender_id: str
    offers: list[FormOffer]
    languages: list[str]
    origins: list[str]
    asks_number: bool
    is_active: bool
    shown: int | None
    requested: int
    confirmed: int
    refused: int


class Sampled(Struct):
    row_number: int
    raw: dict[str, str | float | bool] | None = None
    finding: str | None = None
    note: str | None = None


class Approval(Struct):
    job: Import
    mine: bool
    sample: list[Sampled]
