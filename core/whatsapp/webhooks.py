"""A webhook body → facts; pure. Nothing the provider sends makes it raise: what is not understood is counted."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec

from core.services.messages import Report
from core.statuses import EventKind
from core.whatsapp import payloads
from core.whatsapp.errors import explain

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
_FOR_PEOPLE = re.compile(rb'"(messages|user_preferences)"\s*:')
Shape = TypeVar("Shape")


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
    try:
        envelope = msgspec.json.decode(body, type=payloads.Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        parsed.problem = f"not understood: {wrong}"[:300]
        return parsed
    for entry in envelope.entry:
        for change in entry.changes:
            _read_change(parsed, entry.id, change, received_at)
    return parsed


def _try(raw: bytes | msgspec.Raw, shape: type[Shape]) -> Shape | None:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _read_change(parsed: Parsed, account: str, change: payloads.Change, received_at: datetime | None) -> None:
    name = change.field
    if name in ("messages", "user_preferences"):
        value = _try(change.value, payloads.MessagesValue)
        if value is None:
            parsed.fields[name, False] += 1
            return
        _read_messages(parsed, account, value, received_at)
    elif name in ("message_template_status_update", "message_template_quality_update"):
        _read_template(parsed, name, change.value)
    else:
        parsed.fields[name or "(none)", False] += 1


def _read_messages(parsed: Parsed, account: str, value: payloads.MessagesValue, received_at: datetime | None) -> None:
    number = value.metadata.phone_number_id
    names = {card.wa_id or card.user_id: card.profile.name for card in value.contacts}
    ids = {card.wa_id: card.user_id for card in value.contacts if card.wa_id}
    for raw in value.statuses:
        status = _try(raw, payloads.StatusItem)
        report = _report(status, received_at) if status else None
        known = report is not None
        parsed.fields[f"messages/status/{status.status if status else '(unreadable)'}"[:100], known] += 1
        if report is not None:
            parsed.reports.append(report)
    for raw in value.messages:
        item = _try(raw, payloads.InboundItem)
        try:
            occurred_at = payloads.instant(item.timestamp) if item else None
        except ValueError:
            occurred_at = None
        if item is None or occurred_at is None:
            parsed.fields["messages/(unreadable)", False] += 1
            continue
        parsed.fields[f"messages/{item.type}"[:100], item.type in KNOWN_TYPES] += 1
        user_id = item.from_user_id or (ids.get(item.from_) if item.from_ else None)
        parsed.inbound.append(
            Inbound(
                provider_id=item.id,
                phone_number_id=number,
                wa_id=item.from_,
                user_id=user_id,
                profile_name=names.get(item.from_ or user_id),
                type=item.type,
                words=item.words(),
                payload_id=item.payload_id(),
                context_wamid=item.context.id if item.context else None,
                occurred_at=occurred_at,
                raw=bytes(raw),
            )
        )
    for raw in value.user_preferences:
        _read_preference(parsed, account, number, raw)


def _read_preference(parsed: Parsed, account: str, number: str, raw: msgspec.Raw) -> None:
    item = _try(raw, payloads.Preference)
    try:
        occurred_at = payloads.instant(item.timestamp) if item else None
    except ValueError:
        occurred_at = None
    if item is None or occurred_at is None:
        parsed.fields["user_preferences/(unreadable)", False] += 1
        return
    known = item.value in ("stop", "resume") and item.category == "marketing_messages"
    parsed.fields[f"user_preferences/{item.category}/{item.value}"[:100], known] += 1
    if known:
        # These carry no id of their own, so what they say is their identity.
        person = item.wa_id or item.user_id
        key = "|".join(str(part) for part in (account, number, person, item.category, item.value, item.timestamp))
        parsed.preferences.append(
            Preference(number, item.wa_id, item.user_id, item.value, occurred_at, key, bytes(raw))
        )


def _report(status: payloads.StatusItem, received_at: datetime | None) -> Report | None:
    kind = KNOWN_STATUSES.get(status.status)
    if kind is None:
        return None
    try:
        occurred_at = payloads.instant(status.timestamp)
    except ValueError:
        return None
    code = status.errors[0].code if status.errors else None
    return Report(
        kind=kind,
        occurred_at=occurred_at,
        message_id=_uuid(status.biz_opaque_callback_data),
        wamid=status.id,
        error_code=code,
        error=explain(code).meaning if code is not None else None,
        pricing_type=status.pricing.type if status.pricing else None,
        billable=status.pricing.billable if status.pricing else None,
        received_at=received_at,
    )


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _read_template(parsed: Parsed, name: str, raw: msgspec.Raw) -> None:
    # The provider's own sample sends quality under the status field, so the keys decide.
    quality = _try(raw, payloads.TemplateQualityValue)
    status = _try(raw, payloads.TemplateStatusValue)
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
