"""Bodies of requests and webhooks as the provider documents them; its spellings stop here.

Webhook structs read what is understood and ignore the rest: an unknown field is never an error.
Source: developers.facebook.com/documentation/business-messaging/whatsapp, webhooks reference, read 2026-11.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from core.statuses import Category

MAX_WEBHOOK_BYTES = 3 * 1024 * 1024


class Change(Struct):
    field: str = ""
    value: msgspec.Raw = msgspec.Raw(b"{}")


class Entry(Struct):
    id: str = ""
    changes: list[Change] = field(default_factory=list)


class Envelope(Struct):
    """A whole webhook body; `value` stays raw until its field is known."""

    object: str = ""
    entry: list[Entry] = field(default_factory=list)


class Metadata(Struct):
    display_phone_number: str = ""
    phone_number_id: str = ""


class Profile(Struct):
    name: str | None = None


class ContactCard(Struct):
    wa_id: str | None = None
    user_id: str | None = None
    profile: Profile = field(default_factory=Profile)


class ErrorItem(Struct):
    code: int = 0
    title: str = ""


class Pricing(Struct):
    billable: bool | None = None
    type: str | None = None
    category: str | None = None


class StatusItem(Struct):
    """One status of one message. `timestamp` is seconds as text; milliseconds have been seen."""

    id: str
    status: str
    timestamp: str | int
    recipient_id: str | None = None
    biz_opaque_callback_data: str | None = None
    pricing: Pricing | None = None
    errors: list[ErrorItem] = field(default_factory=list)


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
    type: str = ""
    button_reply: ReplyBody | None = None
    list_reply: ReplyBody | None = None


class InboundItem(Struct):
    """One message a person sent."""

    id: str
    timestamp: str | int
    type: str = "unknown"
    from_: str | None = field(name="from", default=None)
    from_user_id: str | None = None
    context: MessageContext | None = None
    text: TextBody | None = None
    button: ButtonBody | None = None
    interactive: InteractiveBody | None = None

    def words(self) -> str | None:
        """What the person said, in text or by the label they tapped."""
        if self.text is not None:
            return self.text.body
        if self.button is not None:
            return self.button.text
        if self.interactive is not None:
            tapped = self.interactive.button_reply or self.interactive.list_reply
            return tapped.title if tapped else None
        return None

    def payload_id(self) -> str | None:
        """The payload of a tapped button."""
        if self.button is not None:
            return self.button.payload
        if self.interactive is not None:
            tapped = self.interactive.button_reply or self.interactive.list_reply
            return tapped.id if tapped else None
        return None


class Preference(Struct):
    """`stop` or `resume` of marketing, chosen inside WhatsApp."""

    value: str
    category: str
    timestamp: int | str
    wa_id: str | None = None
    user_id: str | None = None


class MessagesValue(Struct):
    metadata: Metadata = field(default_factory=Metadata)
    contacts: list[ContactCard] = field(default_factory=list)
    messages: list[msgspec.Raw] = field(default_factory=list)
    statuses: list[msgspec.Raw] = field(default_factory=list)
    user_preferences: list[msgspec.Raw] = field(default_factory=list)


class TemplateStatusValue(Struct):
    event: str = ""
    message_template_id: int | str = ""
    message_template_name: str = ""
    message_template_language: str = ""
    reason: str | None = None


class TemplateQualityValue(Struct):
    message_template_id: int | str = ""
    new_quality_score: str = ""


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
    """A provider's time stamp: Unix seconds, or milliseconds when it is that large; raises ValueError."""
    number = int(timestamp)
    seconds = number / 1000 if number > 100_000_000_000 else number
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as beyond:
        raise ValueError(f"{timestamp} is no instant") from beyond


def category_of(word: str) -> Category:
    """The provider's category; `marketing_lite` is marketing, what is new counts as marketing, the strictest."""
    try:
        return Category(word.lower())
    except ValueError:
        return Category.MARKETING


def language_code(code: str) -> str:
    """`en-US` as `en_US`: both spellings are seen."""
    return code.replace("-", "_")
