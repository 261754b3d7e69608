"""What the inspection API takes and tells."""

from typing import Literal

import msgspec

from sandbox import template_life
from sandbox.people import Pin


class StatusOut(msgspec.Struct, omit_defaults=True):
    """A status a message reached; `at` is UTC with microseconds."""

    status: str
    at: str
    code: int | None = None


class MediaOut(msgspec.Struct):
    """The file of a free-form message; the type and the size of an uploaded one."""

    id: str | None
    link: str | None
    filename: str | None
    mime_type: str | None
    bytes: int | None


class MessageOut(msgspec.Struct):
    """A message the API accepted, even when its answer was dropped."""

    sequence: int
    wamid: str
    to: str
    wa_id: str
    type: str
    biz_opaque_callback_data: str | None
    template: str | None
    language: str | None
    phone_number_id: str
    accepted_at: str
    held: bool
    statuses: list[StatusOut]
    text: str | None = None  # of a text or an interactive message, or under a file
    media: MediaOut | None = None
    choices: list[str] = []  # labels a person may tap, of an interactive message


class Page(msgspec.Struct):
    """Accepted messages in order; `next` is the `after` of the following page, null at the end."""

    items: list[MessageOut]
    next: int | None


class PinOut(msgspec.Struct):
    """A pinned person."""

    wa_id: str
    pin: Pin


class InboundIn(msgspec.Struct, forbid_unknown_fields=True):
    """What a person does now. `wamid` is the message tapped, clicked or reacted to (the person's last one by default).

    `text` is what is written, or the emoji; `button` the index of the quick reply (any by default).
    `raw` is an inbound `messages[]` content of any type, for example `{"type": "location", "location": {…}}`.
    `file` sends a file, given as `content_base64` with its `mime_type`, and `filename` for a document; `text` is its
    caption. `opt_out` writes a stop word of the person's language; `stop` and `resume` are the app's own setting.
    `block`, `unblock`, `hide_number`, `show_number` and `change_number` (to `new_phone`) last.
    """

    phone: str
    kind: Literal[
        "text", "file", "tap", "click", "reaction", "stop", "resume", "raw", "opt_out", "block", "unblock",
        "hide_number", "show_number", "change_number",
    ]  # fmt: skip
    text: str | None = None
    button: int = -1
    wamid: str | None = None
    phone_number_id: str | None = None
    raw: dict[str, object] | None = None
    new_phone: str | None = None
    content_base64: str | None = None
    mime_type: str = "image/png"
    filename: str | None = None


class WebhookIn(msgspec.Struct, forbid_unknown_fields=True):
    """A webhook to send now: `value` of `field` in a right envelope, or `body` byte for byte.

    `signature` may be wrong or missing, for tests of the receiver; `field` and `value` are ignored with `body`.
    """

    field: str = "messages"
    value: dict[str, object] | None = None
    body: str | None = None
    waba_id: str | None = None
    signature: Literal["valid", "wrong", "missing"] = "valid"


class TemplateIn(msgspec.Struct, forbid_unknown_fields=True):
    """What happens to a template now. `quality` needs `score`; `reject` and `category` read `reason` or `category`."""

    action: Literal[
        "approve", "reject", "pause", "unpause", "disable", "quality", "category", "release_held", "drop_held"
    ]
    score: template_life.Quality = "GREEN"
    reason: str = "INVALID_FORMAT"
    category: Literal["MARKETING", "UTILITY", "AUTHENTICATION"] = "MARKETING"


class ResetIn(msgspec.Struct, forbid_unknown_fields=True):
    """What survives a reset."""

    keep_templates: bool = False


class ClockIn(msgspec.Struct, forbid_unknown_fields=True):
    """How far the clock jumps ahead, in seconds."""

    advance_s: float


LASTING: dict[str, dict[str, object]] = {
    "block": {"blocked": True},
    "unblock": {"blocked": False},
    "hide_number": {"hidden_phone": True},
    "show_number": {"hidden_phone": False},
}
