"""A webhook body → facts; pure. Nothing the provider sends makes it raise: what is not understood is counted."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from core.services.folding import Report
from core.statuses import EventKind
from core.whatsapp import payloads
from core.whatsapp.account_events import FIELDS, AccountEvent, read_account_event
from core.whatsapp.errors import explain
from core.whatsapp.payloads import read, texts

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
KNOWN_MOVES = frozenset({"user_changed_number", "user_changed_user_id"})
# Left alone on purpose: what the business typed in its own app, its old chats and its address book are no sends of ours
# and nobody's answer to them.
LEFT_ALONE = frozenset({"smb_message_echoes", "message_echoes", "history", "smb_app_state_sync"})
# The second half: a key whose letters are escaped may be either of them.
_FOR_PEOPLE = re.compile(rb'"(messages|user_preferences)"\s*:|\\u00[67]')
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
# A sign-up names a wish, not a consent with its notice: it is counted and kept, and grants nothing.
KNOWN_CHOICES = frozenset({"stop", "resume", "signup"})
AHEAD = timedelta(minutes=5)  # of our clock, which the provider's may be
MOST_IN_CODE = 1_000_000_000
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
    """A person stopped, resumed or asked for marketing inside WhatsApp."""

    phone_number_id: str
    wa_id: str | None
    user_id: str | None
    value: str  # stop, resume or signup
    occurred_at: datetime
    source_key: str
    raw: bytes


@dataclass(frozen=True)
class Move:
    """The account behind an address changed: the person has a new number, a new user id, or both."""

    provider_id: str
    phone_number_id: str
    old_wa_id: str | None
    old_user_id: str | None
    new_wa_id: str | None
    new_user_id: str | None
    occurred_at: datetime
    raw: bytes


@dataclass
class Parsed:
    """Everything one body says; `fields` counts what arrived as (name, whether we know it)."""

    reports: list[Report] = field(default_factory=list)
    inbound: list[Inbound] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    account: list[AccountEvent] = field(default_factory=list)
    fields: Counter[tuple[str, bool]] = field(default_factory=Counter)
    problem: str | None = None  # the body as a whole could not be read

    @property
    def concerns_people(self) -> bool:
        """Whether people wrote, chose or moved, and not only messages went their way."""
        return bool(self.inbound or self.preferences or self.moves)


def speaks_for_people(body: bytes) -> bool:
    """Whether a body may carry what people wrote or chose: cheap, and never wrong in the direction of no."""
    return _FOR_PEOPLE.search(body) is not None


def parse(body: bytes, *, received_at: datetime) -> Parsed:
    """Read one body. A part that is not understood is counted under its name and left out."""
    parsed = Parsed()
    if b"\\u0000" in body:  # PostgreSQL's texts cannot hold it, and it says nothing
        body = _NUL.sub(rb"\1", body)
    if _read_plain(parsed, body, received_at):
        return parsed
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
                _read_change(parsed, entry, change, received_at)
    return parsed


_PLAIN = msgspec.json.Decoder(payloads.PlainEnvelope)


def _read_plain(parsed: Parsed, body: bytes, received_at: datetime) -> bool:
    """Take in a body that holds statuses as documented and nothing else; False, and nothing, when it is not one."""
    try:
        envelope = _PLAIN.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    values = [change.value for entry in envelope.entry for change in entry.changes]
    if not all(value.is_only_statuses() for value in values):
        return False
    for value in values:
        _take_statuses(parsed, value.metadata.phone_number_id, value.statuses, received_at)
    return True


def _read_change(parsed: Parsed, entry: payloads.Entry, change: payloads.Change, received_at: datetime) -> None:
    name = change.field
    if name in ("messages", "user_preferences"):
        value = read(change.value, payloads.MessagesValue)
        if value is None:
            parsed.fields[name, False] += 1
            return
        _read_messages(parsed, str(entry.id), value, received_at)
    elif name in FIELDS:
        event = read_account_event(name, str(entry.id), change.value, time=entry.time, received_at=received_at)
        if event is None:
            parsed.fields[name, False] += 1
        else:
            parsed.account.append(event)
            parsed.fields[f"{name}/{event.word}"[:100], event.is_known] += 1
    else:
        parsed.fields[name[:100] or "(none)", name in LEFT_ALONE] += 1


def _read_messages(parsed: Parsed, account: str, value: payloads.MessagesValue, received_at: datetime) -> None:
    metadata = read(value.metadata, payloads.Metadata)
    number = metadata.phone_number_id if metadata else ""
    _read_statuses(parsed, number, value.statuses, received_at)
    inbound = payloads.items(value.messages)
    cards = (
        [card for raw in payloads.items(value.contacts) if (card := read(raw, payloads.ContactCard))] if inbound else []
    )
    names = {card.wa_id or card.user_id: card.name() for card in cards}
    ids = {card.wa_id: card.user_id for card in cards if card.wa_id}
    for raw in inbound:
        item = read(raw, payloads.InboundItem)
        # What a person says counts even when the provider garbles when they said it.
        occurred_at = (_instant(item.timestamp) or received_at) if item else None
        if item is None or occurred_at is None or not 0 < len(item.id) <= MOST_IN_ID:
            parsed.fields["messages/(unreadable)", False] += 1
            continue
        sender = _id(str(item.from_)) if item.from_ is not None else None
        user_id = _id(item.from_user_id) or (_id(ids.get(sender)) if sender else None)
        if item.type == "system":
            _read_system(parsed, number, item, sender, user_id, occurred_at, bytes(raw))
            continue
        parsed.fields[f"messages/{item.type}"[:100], item.type in KNOWN_TYPES] += 1
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
    for raw in payloads.items(value.user_actions):
        # They carry a token of the provider's, but no message id: counted, and kept in the raw body.
        action = read(raw, payloads.UserAction)
        kind = action.action_type if action else "(unreadable)"
        parsed.fields[f"user_actions/{kind}"[:100], kind == "marketing_messages_link_click"] += 1
    for raw in payloads.items(value.errors):
        error = read(raw, payloads.ErrorItem)
        parsed.fields[f"messages/error/{error.code if error else '(unreadable)'}"[:100], error is not None] += 1


def _read_statuses(parsed: Parsed, number: str, raw: msgspec.Raw, received_at: datetime) -> None:
    """All at once when every one is as documented; one by one, each as far as it goes, when one is not."""
    plain = read(raw, list[payloads.PlainStatus])
    if plain is None:
        items = [read(each, payloads.StatusItem) for each in payloads.items(raw)]
        plain = [_plain(item) for item in items if item]
        if len(plain) < len(items):
            parsed.fields["messages/status/(unreadable)", False] += len(items) - len(plain)
    _take_statuses(parsed, number, plain, received_at)


def _take_statuses(
    parsed: Parsed, number: str, statuses: Sequence[payloads.PlainStatus], received_at: datetime
) -> None:
    counted: dict[tuple[str, bool], int] = {}
    for status in statuses:
        report = _plain_report(status, number, received_at)
        key = (status.status, report is not None)
        counted[key] = counted.get(key, 0) + 1
        if report is not None:
            parsed.reports.append(report)
    for (word, known), count in counted.items():
        parsed.fields[f"messages/status/{word}"[:100], known] += count


def _plain(item: payloads.StatusItem) -> payloads.PlainStatus:
    """What is understood of a status that is not quite as documented."""
    code = item.error_code()
    return payloads.PlainStatus(
        id=item.id,
        status=item.status,
        timestamp=texts(read(item.timestamp, object)) or "",
        biz_opaque_callback_data=read(item.biz_opaque_callback_data, str),
        pricing=read(item.pricing, payloads.PlainPricing),
        errors=None if code is None else [payloads.PlainError(code)],
    )


def _plain_report(status: payloads.PlainStatus, number: str, received_at: datetime) -> Report | None:
    kind = KNOWN_STATUSES.get(status.status)
    if kind is None or not 0 < len(status.id) <= MOST_IN_ID:
        return None
    try:
        occurred_at = payloads.instant(status.timestamp)
    except ValueError:  # that it happened counts even when the provider garbles when
        occurred_at = received_at
    if occurred_at > received_at + AHEAD:  # a clock that is wrong: it cannot have happened after we heard of it
        occurred_at = received_at
    pricing, code = status.pricing, status.errors[0].code if status.errors else None
    if code is not None and not 0 <= code < MOST_IN_CODE:
        code = 0
    return Report(
        kind=kind,
        occurred_at=occurred_at,
        message_id=_uuid(status.biz_opaque_callback_data),
        wamid=status.id,
        error_code=code,
        error=explain(code).meaning if code is not None else None,
        pricing_type=pricing.type if pricing else None,
        pricing_category=payloads.priced_as(pricing.category) if pricing else None,
        billable=pricing.billable if pricing else None,
        received_at=received_at,
        phone_number_id=number or None,
    )


def _read_system(
    parsed: Parsed,
    number: str,
    item: payloads.InboundItem,
    sender: str | None,
    user_id: str | None,
    occurred_at: datetime,
    raw: bytes,
) -> None:
    body = read(item.system, payloads.SystemBody)
    kind = body.type if body else "(unreadable)"
    # A changed identity key means a reinstalled app as often as a new holder: known, and nothing follows from it.
    known = kind in KNOWN_MOVES or kind == "customer_identity_changed"
    parsed.fields[f"messages/system/{kind}"[:100], known] += 1
    if body is None or kind not in KNOWN_MOVES:
        return
    parsed.moves.append(
        Move(
            provider_id=item.id,
            phone_number_id=number,
            old_wa_id=sender,
            old_user_id=_id(body.previous_user_id) or (user_id if user_id != body.user_id else None),
            new_wa_id=_id(body.wa_id) if body.wa_id != sender else None,
            new_user_id=_id(body.user_id),
            occurred_at=occurred_at,
            raw=raw,
        )
    )


def _id(text: str | None) -> str | None:
    """An identifier, or None when it is empty or too long to be one."""
    return text if text and len(text) <= MOST_IN_ID else None


def _instant(raw: msgspec.Raw) -> datetime | None:
    stamp = read(raw, object)
    try:
        return payloads.instant(stamp) if isinstance(stamp, str | int) else None
    except ValueError:
        return None


def _read_preference(parsed: Parsed, account: str, number: str, raw: msgspec.Raw, received_at: datetime) -> None:
    item = read(raw, payloads.Preference)
    occurred_at = (_instant(item.timestamp) or received_at) if item else None
    if item is None or occurred_at is None:
        parsed.fields["user_preferences/(unreadable)", False] += 1
        return
    known = item.value in KNOWN_CHOICES and item.category == "marketing_messages"
    parsed.fields[f"user_preferences/{item.category}/{item.value}"[:100], known] += 1
    if known:
        # These carry no id of their own, so what they say is their identity.
        wa_id, user_id = _id(item.wa_id), _id(item.user_id)
        stamp = bytes(item.timestamp).decode("utf-8", "replace")[:50].strip('"')
        key = "|".join(str(part) for part in (account, number, wa_id or user_id, item.category, item.value, stamp))
        parsed.preferences.append(Preference(number, wa_id, user_id, item.value, occurred_at, key, bytes(raw)))


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
