"""A webhook body → facts; pure. Nothing the provider sends makes it raise: what is not understood is counted."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from core.services.messages import Report
from core.statuses import EventKind
from core.whatsapp import payloads
from core.whatsapp.errors import explain
from core.whatsapp.payloads import read

KNOWN_STATUSES = {
    "sent": EventKind.SENT,
    "delivered": EventKind.DELIVERED,
    "read": EventKind.READ,
    "played": EventKind.PLAYED,
    "failed": EventKind.FAILED,
}
KNOWN_TYPES = frozenset(
    {"text", "button", "interactive", "image", "video", "audio", "document", "sticker", "location", "contacts"}
    | {"reaction", "order", "system", "unsupported", "edit", "revoke"}
)
# The second half: a key whose letters are escaped may be either of them.
_FOR_PEOPLE = re.compile(rb'"(messages|user_preferences)"\s*:|\\u00[67]')
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
MOST_IN_ID = 500  # characters; the provider's ids have about 60, a user id at most 131


@dataclass(frozen=True)
class Inbound:
    """One message a person sent to one of our numbers."""

    provider_id: str
    phone_number_id: str
    wa_id: str | None
    user_id: str | None
    profile_name: str | None
    type: str
    words: str | None
    payload_id: str | None
    context_wamid: str | None
    occurred_at: datetime
    raw: bytes


@dataclass(frozen=True)
class Preference:
    """A person stopped or resumed marketing inside WhatsApp."""

    phone_number_id: str
    wa_id: str | None
    user_id: str | None
    value: str  # stop, resume, or what is new
    occurred_at: datetime
    source_key: str
    raw: bytes


@dataclass(frozen=True)
class TemplateVerdict:
    """The provider changed a template's status, or its quality."""

    provider_id: str
    event: str | None
    quality: str | None
    reason: str | None


@dataclass
class Parsed:
    """Everything one body says; `fields` counts what arrived as (name, whether we know it)."""

    reports: list[Report] = field(default_factory=list)
    inbound: list[Inbound] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    templates: list[TemplateVerdict] = field(default_factory=list)
    fields: Counter[tuple[str, bool]] = field(default_factory=Counter)
    problem: str | None = None  # the body as a whole could not be read


def speaks_for_people(body: bytes) -> bool:
    """Whether a body may carry what people wrote or chose: cheap, and never wrong in the direction of no."""
    return _FOR_PEOPLE.search(body) is not None


def parse(body: bytes, *, received_at: datetime | None = None) -> Parsed:
    """Read one body. A part that is not understood is counted under its name and left out."""
    parsed = Parsed()
    if b"\\u0000" in body:  # PostgreSQL's texts cannot hold it, and it says nothing
        body = _NUL.sub(rb"\1", body)
    try:
        envelope = msgspec.json.decode(body, type=payloads.Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        parsed.problem = f"not understood: {wrong}"[:300]
        return parsed
    for raw_entry in payloads.items(envelope.entry):
        entry = read(raw_entry, payloads.Entry)
        for raw_change in payloads.items(entry.changes) if entry else [raw_entry]:
            change = read(raw_change, payloads.Change) if entry else None
            if entry is None or change is None:
                parsed.fields["(unreadable)", False] += 1
            else:
                _read_change(parsed, str(entry.id), change, received_at)
    return parsed


def _read_change(parsed: Parsed, account: str, change: payloads.Change, received_at: datetime | None) -> None:
    name = change.field
    if name in ("messages", "user_preferences"):
        value = read(change.value, payloads.MessagesValue)
        if value is None:
            parsed.fields[name, False] += 1
            return
        _read_messages(parsed, account, value, received_at)
    elif name in ("message_template_status_update", "message_template_quality_update"):
        _read_template(parsed, name, change.value)
    else:
        parsed.fields[name[:100] or "(none)", False] += 1


def _read_messages(parsed: Parsed, account: str, value: payloads.MessagesValue, received_at: datetime | None) -> None:
    metadata = read(value.metadata, payloads.Metadata)
    number = metadata.phone_number_id if metadata else ""
    cards = [card for raw in payloads.items(value.contacts) if (card := read(raw, payloads.ContactCard))]
    names = {card.wa_id or card.user_id: card.name() for card in cards}
    ids = {card.wa_id: card.user_id for card in cards if card.wa_id}
    for raw in payloads.items(value.statuses):
        status = read(raw, payloads.StatusItem)
        report = _report(status, received_at) if status else None
        known = report is not None
        parsed.fields[f"messages/status/{status.status if status else '(unreadable)'}"[:100], known] += 1
        if report is not None:
            parsed.reports.append(report)
    for raw in payloads.items(value.messages):
        item = read(raw, payloads.InboundItem)
        # What a person says counts even when the provider garbles when they said it.
        occurred_at = (_instant(item.timestamp) or received_at) if item else None
        if item is None or occurred_at is None or not 0 < len(item.id) <= MOST_IN_ID:
            parsed.fields["messages/(unreadable)", False] += 1
            continue
        parsed.fields[f"messages/{item.type}"[:100], item.type in KNOWN_TYPES] += 1
        sender = _id(str(item.from_)) if item.from_ is not None else None
        user_id = _id(item.from_user_id) or (_id(ids.get(sender)) if sender else None)
        parsed.inbound.append(
            Inbound(
                provider_id=item.id,
                phone_number_id=number,
                wa_id=sender,
                user_id=user_id,
                profile_name=names.get(sender or user_id),
                type=item.type[:100],
                words=item.words(),
                payload_id=item.payload_id(),
                context_wamid=item.context_id(),
                occurred_at=occurred_at,
                raw=bytes(raw),
            )
        )
    for raw in payloads.items(value.user_preferences):
        _read_preference(parsed, account, number, raw, received_at)


def _id(text: str | None) -> str | None:
    """An identifier, or None when it is empty or too long to be one."""
    return text if text and len(text) <= MOST_IN_ID else None


def _instant(raw: msgspec.Raw) -> datetime | None:
    stamp = read(raw, object)
    try:
        return payloads.instant(stamp) if isinstance(stamp, str | int) else None
    except ValueError:
        return None


def _read_preference(parsed: Parsed, account: str, number: str, raw: msgspec.Raw, received_at: datetime | None) -> None:
    item = read(raw, payloads.Preference)
    occurred_at = (_instant(item.timestamp) or received_at) if item else None
    if item is None or occurred_at is None:
        parsed.fields["user_preferences/(unreadable)", False] += 1
        return
    known = item.value in ("stop", "resume") and item.category == "marketing_messages"
    parsed.fields[f"user_preferences/{item.category}/{item.value}"[:100], known] += 1
    if known:
        # These carry no id of their own, so what they say is their identity.
        wa_id, user_id = _id(item.wa_id), _id(item.user_id)
        stamp = bytes(item.timestamp).decode("utf-8", "replace")[:50].strip('"')
        key = "|".join(str(part) for part in (account, number, wa_id or user_id, item.category, item.value, stamp))
        parsed.preferences.append(Preference(number, wa_id, user_id, item.value, occurred_at, key, bytes(raw)))


def _report(status: payloads.StatusItem, received_at: datetime | None) -> Report | None:
    kind = KNOWN_STATUSES.get(status.status)
    if kind is None or _id(status.id) is None:
        return None
    try:
        occurred_at = payloads.instant(status.timestamp)
    except ValueError:
        return None
    code, pricing = status.error_code(), read(status.pricing, payloads.Pricing)
    return Report(
        kind=kind,
        occurred_at=occurred_at,
        message_id=_uuid(read(status.biz_opaque_callback_data, str)),
        wamid=status.id,
        error_code=code,
        error=explain(code).meaning if code is not None else None,
        pricing_type=pricing.type if pricing else None,
        billable=pricing.billable if pricing else None,
        received_at=received_at,
    )


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _read_template(parsed: Parsed, name: str, raw: msgspec.Raw) -> None:
    # The provider's own sample sends quality under the status field, so the keys decide.
    quality = read(raw, payloads.TemplateQualityValue)
    status = read(raw, payloads.TemplateStatusValue)
    if quality is not None and quality.new_quality_score:
        parsed.fields["message_template_quality_update", True] += 1
        parsed.templates.append(
            TemplateVerdict(str(quality.message_template_id), None, quality.new_quality_score, None)
        )
    elif status is not None and status.event:
        parsed.fields["message_template_status_update", True] += 1
        parsed.templates.append(TemplateVerdict(str(status.message_template_id), status.event, None, status.reason))
    else:
        parsed.fields[name, False] += 1
