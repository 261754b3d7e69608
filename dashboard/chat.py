"""A conversation as HTML: who said what, when, and what became of it; pure, and everything from outside is escaped."""

from collections.abc import Sequence
from html import escape

from core.statuses import DeliveryStatus
from dashboard import format, markup, words
from dashboard.chat_payloads import Line

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
}


def thread(lines: Sequence[Line], zone: str) -> str:
    """The lines (newest first, as the API has them) from top to bottom, theirs on the left, ours on the right."""
    bubbles = "".join(_bubble(line, zone) for line in reversed(lines))
    return (
        '<div role="log" style="background:#ECE7DC;border-radius:10px;padding:14px;display:flex;flex-direction:column;'
        f'gap:8px;max-height:58vh;overflow-y:auto">{bubbles}</div>'
    )


def _bubble(line: Line, zone: str) -> str:
    side = "flex-start" if line.is_inbound else "flex-end"
    colour = "#FFFFFF" if line.is_inbound else "#DCEFD9"
    said = markup.formatted(line.words) if line.words else f"<i>{escape(_unsaid(line))}</i>"
    return (
        f'<div style="align-self:{side};max-width:82%;background:{colour};color:#24292E;border-radius:10px;'
        'padding:8px 11px;box-shadow:0 1px 1px rgba(0,0,0,.12);overflow-wrap:anywhere;line-height:1.4">'
        f"<div>{said}</div>"
        f'<div style="font-size:.78rem;color:#5B6168;margin-top:3px">{escape(_footer(line, zone))}</div></div>'
    )


def _unsaid(line: Line) -> str:
    """What stands where there is no text: media, a campaign's template, or what erasure took."""
    if line.campaign:
        return f"Campaign: {line.campaign}"
    if line.is_inbound:
        return _TYPES.get(line.kind, "no text")
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
