"""Bodies of requests and webhooks as the provider documents them; its spellings stop here.

Webhook structs read what is understood and ignore the rest: an unknown field is never an error.
Source: developers.facebook.com/documentation/business-messaging/whatsapp, webhooks reference, read 2026-11.
"""

import re
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct, field

from core.statuses import Category, RateCategory

MAX_WEBHOOK_BYTES = 3 * 1024 * 1024
EARLIEST_S = 1_230_768_000  # 2009-01-01
LATEST_S = 4_102_444_800  # 2100-01-01


Raw = msgspec.Raw
ABSENT = Raw(b"null")
Shape = TypeVar("Shape")


def read(raw: bytes | Raw, shape: type[Shape]) -> Shape | None:
    """The JSON as `shape`; None when it is something else, so that one odd part never hides its neighbours."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def items(raw: Raw) -> list[Raw]:
    """The elements of a JSON array; none for anything else."""
    return read(raw, list[Raw]) or []


def texts(value: Any) -> str | None:
    """A text, or a number as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)


class Change(Struct):
    field: str = ""
    value: Raw = ABSENT


class Entry(Struct):
    id: str | int = ""
    time: Raw = ABSENT  # int; stands on fields about the account
    changes: Raw = ABSENT  # Change


class Envelope(Struct):
    """A whole webhook body; every part stays raw until it is looked at on its own."""

    object: Raw = ABSENT
    entry: Raw = ABSENT  # Entry


class Metadata(Struct):
    phone_number_id: str = ""


class Profile(Struct):
    name: str | None = None


class ContactCard(Struct):
    wa_id: str | None = None
    user_id: str | None = None
    profile: Raw = ABSENT  # Profile

    def name(self) -> str | None:
        profile = read(self.profile, Profile)
        return profile.name if profile else None


class ErrorItem(Struct):
    code: int | str = 0


class PlainError(Struct, gc=False):
    code: int


class PlainPricing(Struct, gc=False):
    billable: bool | None = None
    type: str | None = None
    category: str | None = None


class PlainStatus(Struct):
    """A status exactly as documented, which nearly all are: a thousand of them are read in one go."""

    id: str
    status: str
    timestamp: str
    biz_opaque_callback_data: str | None = None
    pricing: PlainPricing | None = None
    errors: list[PlainError] | None = None


class PlainValue(Struct):
    """`messages` with nothing but statuses in it, which most bodies are."""

    metadata: Metadata
    statuses: list[PlainStatus]
    messages: Raw = ABSENT
    user_preferences: Raw = ABSENT
    user_actions: Raw = ABSENT
    errors: Raw = ABSENT

    def is_only_statuses(self) -> bool:
        return self.messages is self.user_preferences is self.user_actions is self.errors is ABSENT


class PlainChange(Struct):
    field: Literal["messages"]
    value: PlainValue


class PlainEntry(Struct):
    changes: list[PlainChange]


class PlainEnvelope(Struct):
    """A body of statuses exactly as documented, read in one go; anything else is no `PlainEnvelope`."""

    entry: list[PlainEntry]


class StatusItem(Struct):
    """One status of one message, whatever shape its parts have."""

    id: str
    status: str
    timestamp: Raw = ABSENT  # str or int
    biz_opaque_callback_data: Raw = ABSENT  # str
    pricing: Raw = ABSENT  # PlainPricing
    errors: Raw = ABSENT  # ErrorItem

    def error_code(self) -> int | None:
        """The first error's code; 0, which means nothing, for one that is no code; None without errors."""
        found = items(self.errors)
        first = read(found[0], ErrorItem) if found else None
        if first is None:
            return 0 if found else None
        digits = str(first.code)
        return int(digits) if re.fullmatch(r"[0-9]{1,9}", digits) else 0


class MessageContext(Struct):
    id: str | None = None


class TextBody(Struct):
    body: str = ""


class ButtonBody(Struct):
    payload: str | None = None
    text: str = ""


class ReplyBody(Struct):
    id: str = ""
    title: str = ""


class InteractiveBody(Struct):
    button_reply: ReplyBody | None = None
    list_reply: ReplyBody | None = None


class Captioned(Struct):
    caption: str | None = None


class EditBody(Struct):
    """A message that replaces an earlier one of the same person."""

    message: Raw = ABSENT  # InboundItem, without an id of its own


class EditedItem(Struct):
    text: Raw = ABSENT  # TextBody


class SystemBody(Struct):
    """The account behind an address changed: a new number, a new user id, or both."""

    type: str = ""
    wa_id: str | None = None
    user_id: str | None = None
    previous_user_id: str | None = None


class InboundItem(Struct):
    """One message a person sent."""

    id: str
    timestamp: Raw = ABSENT  # str or int
    type: str = "unknown"
    from_: str | int | None = field(name="from", default=None)
    from_user_id: str | None = None
    context: Raw = ABSENT  # MessageContext
    text: Raw = ABSENT  # TextBody
    button: Raw = ABSENT  # ButtonBody
    interactive: Raw = ABSENT  # InteractiveBody
    image: Raw = ABSENT  # Captioned
    video: Raw = ABSENT  # Captioned
    document: Raw = ABSENT  # Captioned
    edit: Raw = ABSENT  # EditBody
    system: Raw = ABSENT  # SystemBody

    def words(self) -> str | None:
        """What the person said: in text, under a picture, in a correction, or by the label they tapped."""
        if (said := read(self.text, TextBody)) is not None:
            return said.body
        if (button := read(self.button, ButtonBody)) is not None:
            return button.text
        if (edit := read(self.edit, EditBody)) is not None:
            edited = read(edit.message, EditedItem)
            corrected = read(edited.text, TextBody) if edited else None
            return corrected.body if corrected else None
        for media in (self.image, self.video, self.document):
            if (shown := read(media, Captioned)) is not None:
                return shown.caption
        tapped = self._tapped()
        return tapped.title if tapped else None

    def payload_id(self) -> str | None:
        """The payload of a tapped button."""
        if (button := read(self.button, ButtonBody)) is not None:
            return button.payload
        tapped = self._tapped()
        return tapped.id if tapped else None

    def context_id(self) -> str | None:
        """The message this one answers."""
        context = read(self.context, MessageContext)
        return context.id if context else None

    def _tapped(self) -> ReplyBody | None:
        choice = read(self.interactive, InteractiveBody)
        return (choice.button_reply or choice.list_reply) if choice else None


class Preference(Struct):
    """`stop` or `resume` of marketing, chosen inside WhatsApp."""

    value: str
    category: str
    timestamp: Raw = ABSENT  # int or str
    wa_id: str | None = None
    user_id: str | None = None


class MessagesValue(Struct):
    metadata: Raw = ABSENT  # Metadata
    contacts: Raw = ABSENT  # ContactCard
    messages: Raw = ABSENT  # InboundItem
    statuses: Raw = ABSENT  # StatusItem
    user_preferences: Raw = ABSENT  # Preference
    user_actions: Raw = ABSENT  # UserAction
    errors: Raw = ABSENT  # ErrorItem: something is wrong with the app or the account


class UserAction(Struct):
    """What a person did with a message of the marketing endpoint; it names no message."""

    action_type: str = ""


class SentMessage(Struct):
    id: str
    message_status: str = "accepted"


class SentContact(Struct):
    input: str | None = None
    wa_id: str | None = None


class SendAnswer(Struct):
    messages: list[SentMessage]
    contacts: list[SentContact] = field(default_factory=list)


class ErrorBody(Struct):
    code: int = 0
    message: str = ""
    error_data: dict[str, Any] = field(default_factory=dict)
    error_subcode: int | None = None
    error_user_msg: str | None = None


class ErrorEnvelope(Struct):
    error: ErrorBody


class RemoteTemplate(Struct):
    """One template as the provider lists it."""

    id: str
    name: str
    language: str
    status: str
    category: str
    components: list[dict[str, Any]] = field(default_factory=list)
    parameter_format: str = "POSITIONAL"
    quality_score: dict[str, Any] | None = None
    rejected_reason: str | None = None


class Cursors(Struct):
    after: str | None = None


class Paging(Struct):
    cursors: Cursors = field(default_factory=Cursors)
    next: str | None = None


class TemplatePage(Struct):
    data: list[RemoteTemplate]
    paging: Paging = field(default_factory=Paging)


class CreatedTemplate(Struct):
    id: str
    status: str = "PENDING"
    category: str = ""


def instant(timestamp: str | int) -> datetime:
    """A provider's time stamp: Unix seconds, or milliseconds when it is that large.

    Raises ValueError for anything else, and for instants before WhatsApp (2009) or after this century.
    """
    number = int(timestamp)
    seconds = number / 1000 if number > 100_000_000_000 else number
    if not EARLIEST_S <= seconds < LATEST_S:
        raise ValueError("the time stamp is out of range")
    return datetime.fromtimestamp(seconds, UTC)


def priced_as(word: str | None) -> RateCategory | None:
    """What the provider charged a message as; None for what no rate card has, such as `referral_conversion`.

    Spelled with `-` or `_`; messages in groups are charged like others, and `marketing_lite` is marketing.
    """
    plain = (word or "").lower().replace("-", "_").removeprefix("group_")
    plain = _ALSO_CALLED.get(plain, plain)
    return RateCategory(plain) if plain in _PRICED else None


_ALSO_CALLED = {"marketing_lite": "marketing", "authentication_international": "authentication_abroad"}
_PRICED = frozenset(category.value for category in RateCategory)


def category_of(word: str) -> Category:
    """The provider's category; `marketing_lite` is marketing, what is new counts as marketing, the strictest."""
    try:
        return Category(word.lower())
    except ValueError:
        return Category.MARKETING
