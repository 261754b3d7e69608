"""What the API answers about people and their data, as far as the dashboard shows it; unknown fields are ignored."""

from datetime import datetime

import msgspec
from msgspec import Struct

from dashboard.payloads import ConsentState, Json


class Contact(Struct):
    """One person; the number is masked by the API."""

    id: str
    created_at: datetime
    name: str | None = None
    phone_masked: str | None = None
    country: str | None = None
    language: str | None = None
    time_zone: str | None = None
    attributes: Json = {}
    tags: list[str] = []
    last_seen_at: datetime | None = None
    erased_at: datetime | None = None
    closed_at: datetime | None = None
    merged_into: str | None = None


class Counts(Struct):
    messages: int
    delivered: int
    read: int
    clicks: int
    inbound: int
    orders: int
    revenue_micros: int


class Named(Struct):
    id: str
    name: str


class Profile(Struct):
    contact: Contact
    permissions: list[ConsentState]
    counts: Counts
    lists: list[Named]
    merged: list[str]
    currency: str


class Happening(Struct):
    """One entry of a timeline; `facts` depend on the kind."""

    at: datetime
    kind: str
    facts: Json


class Attribute(Struct):
    name: str
    kind: str
    choices: list[str] = []
    description: str | None = None
    misfits: int | None = None


class Held(Struct):
    """What is kept sealed of an erased person, until when and why."""

    until: datetime
    rule: str
    evidence: int
    addresses: int


class Erasure(Struct):
    """What goes and what stays; a rehearsal has no `seq`."""

    rehearsal: bool
    erased: dict[str, int]
    kept: dict[str, int]
    seq: int | None = None
    leaf_hash: str | None = None
    held: Held | None = None


class RequestFacts(Struct):
    """What answering a request came to."""

    seq: int | None = None
    held: Held | None = None


class SentThen(Struct):
    """A message to somebody since erased: facts alone."""

    purpose: str
    status: str
    permit_seq: int | None = None
    permitted_at: datetime | None = None


class Stub(Struct):
    """What is left of an erased person; `events` are the ledger's sealed cores."""

    contact_id: str
    erased_at: datetime
    reason: str
    cause: str | None
    events: list[Json]
    messages: list[SentThen]
    held: Held | None = None


class Event(Struct):
    """A name of what people did elsewhere."""

    name: str
    events: int


class Cost(Struct):
    """What running a rule would cost, as the database guesses; `guess` is people."""

    units: int
    guess: int
    weight: str


class DataRequest(Struct):
    id: str
    kind: str
    status: str
    contact_id: str
    received_at: datetime
    due_at: datetime
    overdue: bool
    channel: str
    phone_masked: str | None = None
    identity_proof: str | None = None
    note: str | None = None
    outcome: str | None = None
    closed_at: datetime | None = None
    facts: RequestFacts = msgspec.field(default_factory=RequestFacts)
