"""The bodies of `POST /{phone_number_id}/messages`, decoded strictly: unknown members are refused.

Shapes follow Meta's message reference
(https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages).
"""

import re

import msgspec

from sandbox.errors import GraphError


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Base of all request structs; they hold no cycles."""


class Language(_Body):
    """Template language; `policy` is legacy."""

    code: str
    policy: str | None = None


class MediaObject(_Body):
    """Media by uploaded `id` or by `link`."""

    id: str | None = None
    link: str | None = None
    caption: str | None = None
    filename: str | None = None
    voice: bool | None = None


class Location(_Body):
    """A place; template headers write the coordinates as strings."""

    latitude: float | str
    longitude: float | str
    name: str | None = None
    address: str | None = None


class Currency(_Body):
    """A localisable amount; the fallback is what renders."""

    fallback_value: str
    code: str
    amount_1000: int


class DateTime(_Body):
    """A localisable instant; the fallback is what renders."""

    fallback_value: str


class Product(_Body):
    """A catalogue item."""

    product_retailer_id: str
    catalog_id: str | None = None


class LimitedTimeOffer(_Body):
    """When an offer ends."""

    expiration_time_ms: int


class Parameter(_Body):
    """A template parameter; `type` names the member that carries it."""

    type: str
    parameter_name: str | None = None
    text: str | None = None
    payload: str | None = None
    image: MediaObject | None = None
    video: MediaObject | None = None
    document: MediaObject | None = None
    gif: MediaObject | None = None
    location: Location | None = None
    currency: Currency | None = None
    date_time: DateTime | None = None
    coupon_code: str | None = None
    action: dict[str, object] | None = None
    limited_time_offer: LimitedTimeOffer | None = None
    product: Product | None = None


class Component(_Body):
    """A part of a template send."""

    type: str
    sub_type: str | None = None
    index: int | str | None = None
    parameters: list[Parameter] | None = None
    cards: "list[Card] | None" = None


class Card(_Body):
    """A carousel card."""

    card_index: int
    components: list[Component]


class TemplateBody(_Body):
    """Which template, in which language, with what in it."""

    name: str
    language: Language
    components: list[Component] = msgspec.field(default_factory=list)
    namespace: str | None = None


class Text(_Body):
    """A text message."""

    body: str
    preview_url: bool = False


class Reaction(_Body):
    """A reaction to a message; an empty emoji removes it."""

    message_id: str
    emoji: str


class Words(_Body):
    """Body or footer of an interactive message."""

    text: str


class InteractiveHeader(_Body):
    """Header of an interactive message."""

    type: str
    text: str | None = None
    image: MediaObject | None = None
    video: MediaObject | None = None
    document: MediaObject | None = None


class Reply(_Body):
    """Id and title of a reply button."""

    id: str
    title: str


class ReplyButton(_Body):
    """A reply button."""

    type: str
    reply: Reply


class Row(_Body):
    """A row of a list."""

    id: str
    title: str
    description: str | None = None


class Section(_Body):
    """A section of a list."""

    rows: list[Row]
    title: str | None = None


class Action(_Body):
    """What an interactive message offers."""

    buttons: list[ReplyButton] | None = None
    button: str | None = None
    sections: list[Section] | None = None
    name: str | None = None
    parameters: dict[str, object] | None = None


class Interactive(_Body):
    """Buttons, a list or a link."""

    type: str
    action: Action
    body: Words | None = None
    header: InteractiveHeader | None = None
    footer: Words | None = None


class Context(_Body):
    """The message replied to."""

    message_id: str


class Typing(_Body):
    """The typing indicator."""

    type: str


class Message(_Body):
    """Any body of the messages endpoint: a message, or a read receipt (`status`)."""

    messaging_product: str | None = None
    recipient_type: str = "individual"
    to: str | None = None
    recipient: str | None = None
    type: str = "text"
    biz_opaque_callback_data: str | None = None
    context: Context | None = None
    recipient_identity_key_hash: str | None = None
    messaging_account_id: str | None = None
    text: Text | None = None
    template: TemplateBody | None = None
    image: MediaObject | None = None
    video: MediaObject | None = None
    audio: MediaObject | None = None
    document: MediaObject | None = None
    sticker: MediaObject | None = None
    location: Location | None = None
    contacts: list[dict[str, object]] | None = None
    reaction: Reaction | None = None
    interactive: Interactive | None = None
    status: str | None = None
    message_id: str | None = None
    typing_indicator: Typing | None = None


_DECODER = msgspec.json.Decoder(Message)
_AT = re.compile(r"`\$\.?(.*?)`$")
_FIELD = re.compile(r"field `(.*?)`")


def decode(raw: bytes) -> Message:
    """The decoded body; raises GraphError 100 (bad JSON, wrong type, unknown member) or 131008 (member missing)."""
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GraphError(100, message="(#100) Invalid parameter", details="The body is not valid JSON.") from error


def _explained(problem: str) -> GraphError:
    where = found.group(1) if (found := _AT.search(problem)) else "the body"
    name = found.group(1) if (found := _FIELD.search(problem)) else ""
    if "missing required field" in problem:
        return GraphError(131008, f"{where}: parameter {name} is missing")
    if "unknown field" in problem:
        return GraphError(100, message=f'(#100) Unexpected key "{name}" on param "{where}".')
    return GraphError(100, message=f"(#100) Param {where} has the wrong type: {problem}")
