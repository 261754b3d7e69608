"""Small pieces of HTML that Streamlit has no widget for; pure, and everything from outside is escaped."""

import re
from collections.abc import Mapping, Sequence
from html import escape

from core.statuses import DeliveryStatus
from dashboard import format, words
from dashboard.campaign_payloads import Shown

# Okabe and Ito's palette (jfly.uni-koeln.de/color), which colour-blind readers can tell apart; the hatching tells
# apart what is not final, so that no status is known by its colour alone.
STATUS_COLOURS: dict[DeliveryStatus, tuple[str, bool]] = {
    DeliveryStatus.READ: ("#009E73", False),
    DeliveryStatus.DELIVERED: ("#0072B2", False),
    DeliveryStatus.SENT: ("#56B4E9", False),
    DeliveryStatus.ACCEPTED: ("#56B4E9", True),
    DeliveryStatus.HELD: ("#F0E442", True),
    DeliveryStatus.SENDING: ("#E69F00", True),
    DeliveryStatus.QUEUED: ("#D9D6CC", False),
    DeliveryStatus.FAILED: ("#D55E00", False),
    DeliveryStatus.UNKNOWN: ("#CC79A7", True),
    DeliveryStatus.SKIPPED: ("#8C8C8C", True),
    DeliveryStatus.CANCELLED: ("#4D4D4D", False),
}


def markdown_text(text: str) -> str:
    """Text from outside, made safe to stand inside Markdown: nothing in it is formatting, a link or a colour."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>$:~])", r"\\\1", text)


# 1,234 · 75.0 % · 12.50 EUR · 40.9–92.9 % · 75.0 % (6 / 8 delivered) · –
LONGEST_WORD = 32  # characters that a column may be made as wide as
_INSTANT = re.compile(r"\d{1,2} \w+ \d{4}, \d\d:\d\d \S+")  # as `format.instant` writes them
_FIGURE = re.compile(rf"[{format.DASH}{format.MINUS}]?([\d,.{format.DASH}]+( %| [A-Z]{{3}})?)?( \([\d,]+ / [^)]*\))?")


def table(columns: Mapping[str, Sequence[str]]) -> str:
    """A plain table; columns of nothing but amounts, rates and dashes are set to the right."""
    heads, rows = [], list(zip(*columns.values(), strict=True))
    right = [
        all(_FIGURE.fullmatch(cell) for cell in cells) and any(cell != format.DASH for cell in cells)
        for cells in columns.values()
    ]
    for title, is_number in zip(columns, right, strict=True):
        heads.append(f'<th scope="col" style="{_cell(is_number)};font-weight:600;opacity:.82">{escape(title)}</th>')
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{_cell(n)}">{_unbroken(c)}</td>' for c, n in zip(row, right, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;width:100%;font-size:.93rem">'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _unbroken(cell: str) -> str:
    """Escaped; amounts and rates break only between figure and denominator, instants only between day and time."""
    if _INSTANT.fullmatch(cell):
        return escape(cell).replace(" ", "&nbsp;").replace(",&nbsp;", ", ")
    figure, bracket, rest = cell.partition(" (")
    if any(len(word) > LONGEST_WORD for word in cell.split()):  # a hash, an address: it may break anywhere
        return f'<span style="overflow-wrap:anywhere">{escape(cell)}</span>'
    if not bracket or not cell[:1].isdigit():
        return escape(cell).replace(" %", "&nbsp;%")
    keep = '<span style="white-space:nowrap">'
    return f"{keep}{escape(figure)}</span> {keep}({escape(rest)}</span>"


def _cell(is_number: bool) -> str:
    side = "right;font-variant-numeric:tabular-nums" if is_number else "left"
    return f"padding:5px 10px 5px 0;border-bottom:1px solid rgba(128,128,128,.22);vertical-align:top;text-align:{side}"


def _fill(status: DeliveryStatus) -> str:
    colour, hatched = STATUS_COLOURS[status]
    if not hatched:
        return f"background:{colour}"
    stripes = f"repeating-linear-gradient(45deg,{colour} 0 5px,rgba(255,255,255,.65) 5px 8px)"
    return f"background:{stripes};background-color:{colour}"


def balance_total(balance: Mapping[str, int]) -> int:
    """The sum of the eleven statuses; equals `balance["audience"]` once every recipient has a row."""
    return sum(balance.get(status, 0) for status in DeliveryStatus)


def balance_bar(balance: Mapping[str, int], *, height_px: int = 22) -> str:
    """One bar for the whole audience, a segment a status; its text alternative says the numbers."""
    audience = max(balance.get("audience", 0), balance_total(balance))
    said, parts = [], []
    for status in STATUS_COLOURS:
        number = balance.get(status, 0)
        if not number or not audience:
            continue
        label = f"{words.DELIVERY[status][0]} {format.count(number)} ({format.share(number / audience)})"
        said.append(label)
        style = f"width:{100 * number / audience:.3f}%;min-width:2px;{_fill(status)}"
        parts.append(f'<div title="{escape(label)}" style="{style}"></div>')
    frame = (
        f"display:flex;height:{height_px}px;width:100%;border-radius:4px;overflow:hidden;"
        "border:1px solid rgba(128,128,128,.45);background:rgba(128,128,128,.08);box-sizing:border-box"
    )
    text = escape("; ".join(said) or "no recipients yet")
    return f'<div role="img" aria-label="{text}" style="{frame}">{"".join(parts)}</div>'


def balance_table(balance: Mapping[str, int]) -> str:
    """All eleven statuses with their number and share, and the sum beneath."""
    total, rows = balance_total(balance), []
    for status, (label, meaning) in words.DELIVERY.items():
        number = balance.get(status, 0)
        faded = "" if number else "opacity:.72;"
        swatch = (
            '<span style="display:inline-block;width:14px;height:14px;border-radius:3px;'
            f'border:1px solid rgba(128,128,128,.6);vertical-align:-2px;margin-right:8px;{_fill(status)}"></span>'
        )
        rows.append(
            f'<div style="{faded}display:grid;grid-template-columns:7.5em 4em 4em minmax(0,1fr);column-gap:.6em;'
            'padding:3px 0;border-bottom:1px solid rgba(128,128,128,.18)">'
            f"<span>{swatch}{escape(label)}</span>"
            f'<span style="text-align:right;font-variant-numeric:tabular-nums">{format.count(number)}</span>'
            f'<span style="text-align:right;font-variant-numeric:tabular-nums">'
            f"{format.share(number / total) if total else format.DASH}</span>"
            f'<span style="opacity:.85">{escape(meaning)}</span></div>'
        )
    rows.append(
        '<div style="display:grid;grid-template-columns:7.5em 4em 4em minmax(0,1fr);column-gap:.6em;padding:5px 0;'
        f'font-weight:600"><span>Audience</span><span style="text-align:right">{format.count(total)}</span>'
        f'<span style="text-align:right">{format.share(1.0) if total else format.DASH}</span><span></span></div>'
    )
    return f'<div style="font-size:.95rem">{"".join(rows)}</div>'


# WhatsApp's own marks (faq.whatsapp.com, "How to format your messages"): the mark hugs the words it formats.
_MARKS = (
    (re.compile(r"```(.+?)```", re.S), r"<code>\1</code>"),
    (re.compile(r"(?<![\w*])\*(?!\s)([^*\n]+?)(?<!\s)\*(?![\w*])"), r"<b>\1</b>"),
    (re.compile(r"(?<![\w_])_(?!\s)([^_\n]+?)(?<!\s)_(?![\w_])"), r"<i>\1</i>"),
    (re.compile(r"(?<![\w~])~(?!\s)([^~\n]+?)(?<!\s)~(?![\w~])"), r"<s>\1</s>"),
)


def formatted(text: str) -> str:
    """Escaped text with WhatsApp's bold, italic, strike and monospace, and its line breaks."""
    marked = escape(text)
    for pattern, replacement in _MARKS:
        marked = pattern.sub(replacement, marked)
    return marked.replace("\n", "<br>")


_MEDIA_HEADER = re.compile(r"\[(image|video|document)\]")


def bubble(shown: Shown) -> str:
    """A filled-in message as the phone shows it: header, body, footer, buttons."""
    header = footer = buttons = ""
    media = _MEDIA_HEADER.fullmatch(shown.header or "")
    if media:
        header = (
            '<div style="background:#D9D6CC;color:#3B3F44;border-radius:6px;padding:28px 0;text-align:center;'
            f'margin-bottom:6px">{media[1]}</div>'
        )
    elif shown.header:
        header = f'<div style="font-weight:600;margin-bottom:4px">{escape(shown.header)}</div>'
    if shown.footer:
        footer = f'<div style="color:#5B6168;font-size:.82rem;margin-top:6px">{escape(shown.footer)}</div>'
    for label in shown.buttons:
        buttons += (
            '<div style="border-top:1px solid #E3E0D6;text-align:center;color:#165E83;padding:8px 0;font-weight:600">'
            f"{escape(label)}</div>"
        )
    return (
        '<div style="background:#ECE7DC;border-radius:10px;padding:16px;max-width:360px;box-sizing:border-box">'
        '<div style="background:#FFFFFF;color:#24292E;border-radius:2px 10px 10px 10px;padding:10px 12px 6px;'
        'box-shadow:0 1px 1px rgba(0,0,0,.15);overflow-wrap:anywhere;line-height:1.4">'
        f"{header}<div>{formatted(shown.body)}</div>{footer}"
        f'<div style="margin-top:8px">{buttons}</div></div></div>'
    )
