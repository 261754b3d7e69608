"""A conversation as HTML: who said what, when, and what became of it; pure, and everything from outside is escaped."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from core.statuses import DeliveryStatus
from dashboard import format, markup, words
from dashboard.chat_payloads import Line

PICTURES = frozenset({"image/jpeg", "image/png", "image/webp"})
ANSWER_FILES = ("jpg", "jpeg", "png", "mp4", "3gp", "pdf", "txt", "doc", "docx", "xls", "xlsx", "ppt", "pptx")
LARGEST_MB = 100
LARGEST_SHOWN = 2_000_000  # bytes; larger ones are downloaded
_TYPES = {
    "image": "a picture",
    "video": "a video",
    "audio": "a voice message",
    "document": "a file",
    "sticker": "a sticker",
    "location": "a place",
    "contacts": "a contact card",
    "reaction": "a reaction",
    "order": "an order",
    "interactive": "a form",
    "revoke": "a message taken back",
    "unsupported": "something WhatsApp does not pass on",
    "text": "no text",
    "button": "a tap",
    "edit": "a correction",
    "system": "a change of account",
}


def thread(lines: Sequence[Line], zone: str, pictures: Mapping[str, str] = {}) -> str:
    """The lines (newest first, as the API has them) from top to bottom, theirs on the left, ours on the right.

    `pictures` are `data:` addresses by the line's id, made by `picture`.
    """
    bubbles = "".join(_bubble(line, zone, pictures.get(line.id)) for line in reversed(lines))
    return (
        '<div role="log" style="background:#ECE7DC;border-radius:10px;padding:14px;display:flex;flex-direction:column;'
        f'gap:8px;max-height:58vh;overflow-y:auto">{bubbles}</div>'
    )


def is_picture(line: Line) -> bool:
    """Whether a line's file is shown in its bubble."""
    file = line.file
    return bool(file and file.status == "stored" and file.mime_type in PICTURES and (file.bytes or 0) <= LARGEST_SHOWN)


def picture(line: Line, content: bytes) -> str:
    """The file as an address that needs no request; its type is one of ours, whatever was sent."""
    kind = line.file.mime_type if line.file else None
    return f"data:{kind if kind in PICTURES else 'image/png'};base64,{base64.b64encode(content).decode()}"


def file_name(line: Line) -> str:
    """What to save a line's file as."""
    file = line.file
    if file and file.filename:
        return file.filename
    subtype = (file.mime_type or "").partition("/")[2] if file else ""
    return f"{line.kind}-{line.id[-6:]}.{subtype if subtype.isalnum() else 'bin'}"


def file_words(line: Line) -> str:
    """What a line brought and whether it is here, for people."""
    file = line.file
    if file is None:
        return ""
    name = file.filename or _TYPES.get(line.kind, "a file")
    size = f", {format.size(file.bytes)}" if file.bytes else ""
    said = {
        "stored": f"{name}{size}",
        "waiting": f"{name}: being fetched from WhatsApp" + (f" (last try: {file.error})" if file.error else ""),
        "too_large": f"{name}{size}: not fetched, {file.error}",
        "lost": f"{name}: WhatsApp did not give it ({file.error})",
        "removed": f"{name}: deleted, its time is over",
    }
    return said.get(file.status, name)


def _bubble(line: Line, zone: str, shown: str | None) -> str:
    side = "flex-start" if line.is_inbound else "flex-end"
    colour = "#FFFFFF" if line.is_inbound else "#DCEFD9"
    said = markup.formatted(line.words) if line.words else ""
    if line.file is not None and shown is None:
        said = f"<i>{escape(file_words(line))}</i>" + (f"<br>{said}" if said else "")
    elif not said and shown is None:
        said = f"<i>{escape(_unsaid(line))}</i>"
    if shown is not None:
        style = "display:block;max-width:100%;max-height:260px;border-radius:6px;margin-bottom:4px"
        said = f'<img alt="{escape(_TYPES.get(line.kind, "a picture"))}" src="{escape(shown)}" style="{style}">{said}'
    if line.campaign and line.words and not line.is_inbound:
        said = f'<div style="font-size:.78rem;color:#5B6168">Campaign: {escape(line.campaign)}</div>{said}'
    return (
        f'<div style="align-self:{side};max-width:82%;background:{colour};color:#24292E;border-radius:10px;'
        'padding:8px 11px;box-shadow:0 1px 1px rgba(0,0,0,.12);overflow-wrap:anywhere;line-height:1.4">'
        f"<div>{said}</div>"
        f'<div style="font-size:.78rem;color:#5B6168;margin-top:3px">{escape(_footer(line, zone))}</div></div>'
    )


def kind_words(kind: str | None) -> str:
    """What a message without text was."""
    return _TYPES.get(kind, "a message of a new kind") if kind else "no text"


def _unsaid(line: Line) -> str:
    """What stands where there is no text: media, a campaign's template, or what erasure took."""
    if line.campaign:
        return f"Campaign: {line.campaign}"
    if line.is_inbound:
        return kind_words(line.kind)
    return "Template message" if line.kind in ("test", "triggered", "campaign") else "text removed"


def _footer(line: Line, zone: str) -> str:
    parts = [format.instant(line.at, zone)]
    if not line.is_inbound:
        parts.append(line.author or words.REPLIES.get(line.kind, (words.plain(line.kind), ""))[0].replace("*", ""))
        if line.status:
            parts.append(_outcome(line))
    return " · ".join(parts)


def _outcome(line: Line) -> str:
    if line.skip_reason:
        return f"not sent: {words.reason(line.skip_reason)}"
    status = str(line.status)
    said = words.DELIVERY[DeliveryStatus(status)][0].lower() if status in set(DeliveryStatus) else status
    return f"{said}: {line.error}" if status == DeliveryStatus.FAILED and line.error else said
