"""Everything the simulator remembers, in memory: accounts, numbers, templates, people, messages, media, clicks."""

import base64
import secrets
import struct
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Literal

import msgspec

from sandbox.config import NumberConfig, SandboxConfig, WabaConfig
from sandbox.limits import SlidingWindow
from sandbox.phones import country

if TYPE_CHECKING:
    from sandbox.people import Pin, Traits
    from sandbox.templates import Compiled
    from sandbox.webhooks import Target

_ID = struct.Struct(">BQ")
_EVENT = struct.Struct("<Bid")


class Status(IntEnum):
    """What webhooks have said, or would say, about a message."""

    SENT = 1
    DELIVERED = 2
    READ = 3
    FAILED = 4

    @property
    def word(self) -> str:
        """The provider's spelling."""
        return _WORDS[self]


_WORDS = {status: status.name.lower() for status in Status}


@dataclass(slots=True)
class Thread:
    """One person's relation to one business number; instants are Unix seconds."""

    pair_busy_until: float = 0.0
    window_until: float = 0.0
    stopped_marketing: bool = False


@dataclass(slots=True)
class Person:
    """Someone with a WhatsApp id; `received` counts the messages the business sent, the counter of their fate."""

    wa_id: str
    received: int = 0
    pin: "Pin | None" = None
    traits: "Traits | None" = None
    limited_until: float = 0.0

    @property
    def country(self) -> str:
        """ISO 3166 code, "ZZ" when unknown."""
        return self.wa_id[:2] if "." in self.wa_id else country(self.wa_id)


@dataclass(slots=True)
class Number:
    """A business phone number at run time."""

    config: NumberConfig
    waba: "Waba"
    window: SlidingWindow
    threads: dict[str, Thread] = field(default_factory=dict)
    target: "Target | None" = None
    service_month: str = ""
    service_delivered: int = 0

    def thread(self, wa_id: str) -> Thread:
        """The relation to a person, made on first contact."""
        thread = self.threads.get(wa_id)
        if thread is None:
            thread = self.threads[wa_id] = Thread()
        return thread


@dataclass(slots=True)
class Waba:
    """A WhatsApp Business Account at run time."""

    config: WabaConfig
    calls: SlidingWindow
    creations: SlidingWindow
    templates: "dict[tuple[str, str], Template]" = field(default_factory=dict)
    target: "Target | None" = None
    subscribed: bool = True


TemplateStatus = Literal["PENDING", "APPROVED", "REJECTED", "PAUSED", "DISABLED", "PENDING_DELETION", "DELETED"]


@dataclass(slots=True)
class Template:
    """A message template in one language. `held` are messages kept back for quality assessment."""

    id: str
    waba: Waba
    name: str
    language: str
    category: str
    parameter_format: str
    components: list[dict[str, object]]
    compiled: "Compiled"
    status: TemplateStatus = "PENDING"
    quality: str = "UNKNOWN"
    quality_at: float = 0.0
    rejected_reason: str = "NONE"
    pauses: int = 0
    previous_category: str | None = None
    ttl_s: int | None = None
    edited_at: deque[float] = field(default_factory=deque)
    sent: int = 0
    held: "list[Message]" = field(default_factory=list)


class Message:
    """A message the API accepted. Kept small: `events` packs one record per status.

    `outcome` is how far it got: accepted, held, sent, failed, delivered or read. `content` is what a text or an
    interactive message holds, for people to read and to tap on.
    """

    __slots__ = (
        "accepted_at",
        "buttons",
        "callback_data",
        "content",
        "events",
        "held",
        "kind",
        "number",
        "ordinal",
        "outcome",
        "person",
        "priced",
        "sequence",
        "template",
        "to",
    )

    def __init__(
        self,
        *,
        sequence: int,
        number: Number,
        person: Person,
        to: str,
        kind: str,
        template: Template | None,
        callback_data: str | None,
        buttons: tuple[str | None, ...] | None,
        accepted_at: float,
        content: dict[str, object] | None = None,
    ) -> None:
        self.sequence, self.number, self.person, self.to = sequence, number, person, to
        self.kind, self.template, self.callback_data, self.buttons = kind, template, callback_data, buttons
        self.content = content
        self.accepted_at, self.ordinal = accepted_at, person.received
        self.events, self.held, self.priced = b"", False, False
        self.outcome = "accepted"

    def record(self, status: Status, at: float, code: int = 0) -> None:
        """Note that a status was reached at `at` (Unix seconds)."""
        self.events += _EVENT.pack(status, code, at)
        if (
            status is Status.READ
            or (status is Status.DELIVERED and self.outcome != "read")
            or self.outcome not in ("read", "delivered")
        ):
            self.outcome = status.word

    def history(self) -> list[tuple[Status, int, float]]:
        """Every status so far as (status, error code or 0, Unix seconds), in the order it happened."""
        return [(Status(status), code, at) for status, code, at in _EVENT.iter_unpack(self.events)]

    @property
    def marketing(self) -> bool:
        """Whether this is a marketing template."""
        return self.template is not None and self.template.category == "MARKETING"


class Inbound(msgspec.Struct, frozen=True):
    """Something a person wrote, tapped or chose, as the business was told."""

    sequence: int
    wamid: str
    wa_id: str
    phone_number_id: str
    kind: str
    text: str | None
    payload: str | None
    in_reply_to: str | None
    at: float


class Click(msgspec.Struct, frozen=True):
    """A visit to a URL button's link by a person or a crawler; `status` is None when nothing was fetched."""

    sequence: int
    wamid: str
    wa_id: str
    url: str
    bot: bool
    user_agent: str
    at: float
    status: int | None
    location: str | None
    note: str | None


@dataclass(slots=True)
class Media:
    """An uploaded file."""

    id: str
    number: Number
    content: bytes
    mime_type: str
    sha256: str
    created_at: float


@dataclass(slots=True)
class Upload:
    """A resumable upload session (samples for template headers)."""

    id: str
    length: int
    mime_type: str
    received: bytearray = field(default_factory=bytearray)


class Store:
    """The simulator's memory. `boot` makes message ids differ between runs, as a business never sees one twice."""

    def __init__(self, config: SandboxConfig) -> None:
        self.boot = secrets.token_bytes(12)
        self.wabas: dict[str, Waba] = {}
        self.numbers: dict[str, Number] = {}
        for waba_config in config.wabas:
            waba = Waba(
                waba_config,
                calls=SlidingWindow(config.management_calls_per_hour, 3600),
                creations=SlidingWindow(config.templates_per_hour, 3600),
            )
            self.wabas[waba_config.id] = waba
            for number in waba_config.numbers:
                self.numbers[number.id] = Number(number, waba, SlidingWindow(number.throughput))
        self.templates: dict[str, Template] = {}
        self.people: dict[str, Person] = {}
        self._users: dict[str, dict[str, str]] = {}  # portfolio: business-scoped user id: WhatsApp id
        self.messages: list[Message] = []
        self.inbound: list[Inbound] = []
        self.clicks: list[Click] = []
        self.media: dict[str, Media] = {}
        self.uploads: dict[str, Upload] = {}
        self.outcomes: Counter[str] = Counter()
        self.template_outcomes: Counter[str] = Counter()  # the same without free-form messages
        self.failures: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()

    def moved(self, message: Message, before: str | None) -> None:
        """Count a message under its present outcome, and no longer under `before`."""
        for counter in (self.outcomes, self.template_outcomes)[: 2 if message.template is not None else 1]:
            if before is not None:
                counter[before] -= 1
            counter[message.outcome] += 1

    def person(self, wa_id: str) -> Person:
        """The person with this WhatsApp id, made on first contact."""
        person = self.people.get(wa_id)
        if person is None:
            person = self.people[wa_id] = Person(wa_id)
        return person

    def wa_id_of_user(self, user_id: str, portfolio: str) -> str:
        """The WhatsApp id behind a business-scoped user id; the user id itself for someone never seen by phone."""
        known = self._users.setdefault(portfolio, {})
        for person in islice(self.people.values(), len(known), None):  # people only ever join, at the end
            known[bsuid(person, portfolio)] = person.wa_id
        return known.get(user_id, user_id)

    def wamid(self, sequence: int, *, inbound: bool = False) -> str:
        """The opaque id of a message; `sequence` counts accepted and inbound messages separately, from 0."""
        return "wamid." + base64.b64encode(self.boot + _ID.pack(inbound, sequence)).decode()

    def message_of(self, wamid: str) -> Message | None:
        """The accepted message with this id."""
        sequence = self._sequence_of(wamid, inbound=False)
        return self.messages[sequence] if sequence is not None and sequence < len(self.messages) else None

    def inbound_of(self, wamid: str) -> Inbound | None:
        """The inbound message with this id."""
        sequence = self._sequence_of(wamid, inbound=True)
        return self.inbound[sequence] if sequence is not None and sequence < len(self.inbound) else None

    def _sequence_of(self, wamid: str, *, inbound: bool) -> int | None:
        try:
            raw = base64.b64decode(wamid.removeprefix("wamid."), validate=True)
        except ValueError:
            return None
        if len(raw) != len(self.boot) + _ID.size or not raw.startswith(self.boot):
            return None
        kind, sequence = _ID.unpack(raw[len(self.boot) :])
        return int(sequence) if bool(kind) is inbound else None


def bsuid(person: Person, portfolio: str) -> str:
    """The business-scoped user id: `CC.` and an opaque part, one per person and business portfolio."""
    return person.wa_id if "." in person.wa_id else _bsuid(person.wa_id, portfolio)


@lru_cache(maxsize=8192)
def _bsuid(wa_id: str, portfolio: str) -> str:
    return f"{country(wa_id)}.{blake2b(f'{portfolio}:{wa_id}'.encode(), digest_size=10).hexdigest()}"


def numeric_id(prefix: str, *parts: str) -> str:
    """A 15-digit id that starts with `prefix` and depends only on `parts`: stable across restarts."""
    digest = int.from_bytes(blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "big")
    return prefix + str(digest % 10 ** (15 - len(prefix))).zfill(15 - len(prefix))
