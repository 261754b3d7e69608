"""The summary of an audit package for people who read rather than verify: two pages of PDF, and a workbook.

Every page and sheet names the export, why it was made and for whom. Cells are typed text or numbers: what looks like
a formula stays text.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

import xlsxwriter
from reportlab.graphics.charts.barcharts import HorizontalBarChart
from reportlab.graphics.shapes import Drawing
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle
from xlsxwriter.worksheet import Worksheet

LATIN, WIDE = "Helvetica", "HeiseiKakuGo-W5"  # the second is drawn by the reader's own font: Japanese and Latin
ACCENT = "#0072B2"
GLOSSARY = (
    ("subscribed", "the person agreed, and the consent is in force"),
    ("withdrawn", "the person said stop, or is treated as if they had"),
    ("expired, none", "the consent was older than its validity; or nothing given counts"),
    ("invalid", "what the consent rested on turned out bad: its notice, file or collection point"),
    (
        "grade A to E",
        "how well a consent is proven: A is confirmed from the person's own WhatsApp account, E proves nothing",
    ),
    ("permit", "the record of the consent a message relied on, written before the message was sent"),
    ("checkpoint", "a signed statement of how many records there were, and of a hash that stands for all of them"),
)


@dataclass
class Findings:
    """What the package holds, counted while it is written."""

    states: Counter[tuple[str, str]] = field(default_factory=Counter)  # purpose, state
    grades: Counter[str] = field(default_factory=Counter)  # of consents in force
    methods: Counter[str] = field(default_factory=Counter)
    countries: Counter[str] = field(default_factory=Counter)
    sends: Counter[str] = field(default_factory=Counter)  # message status
    erased: int = 0
    unproven: int = 0  # consents in force whose grade proves too little to send on

    def consent(self, row: Sequence[object], country: str) -> None:
        """Count one row of consents.csv, from `purpose` on."""
        purpose, state, grade, method = (str(value or "-") for value in row[:4])
        self.states[purpose, state] += 1
        if state == "subscribed":
            self.grades[grade] += 1
            self.methods[method] += 1
            self.countries[country or "-"] += 1
            self.unproven += grade in ("D", "E")


@dataclass(frozen=True)
class About:
    """Which export it is, and what it is a part of."""

    export_id: str
    reason: str
    requested_by: str
    made_at: datetime
    brand: str
    size: int
    root: str
    fingerprint: str
    filters: Mapping[str, str]  # in words
    counts: Mapping[str, int]

    def lines(self) -> list[tuple[str, str]]:
        asked = ", ".join(f"{name}: {value}" for name, value in self.filters.items()) or "everybody"
        return [
            ("Export", self.export_id),
            ("Made for", self.requested_by),
            ("Because of", self.reason),
            ("Made at", f"{self.made_at:%Y-%m-%d %H:%M} UTC"),
            ("Controller", self.brand),
            ("Whose consents", asked),
            ("Records in the ledger", f"{self.size:,}"),
            ("Root of the checkpoint", self.root),
            ("Fingerprint of the key", self.fingerprint),
        ]


def tables(findings: Findings, counts: Mapping[str, int]) -> list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
    """Title, heads and rows of every table; the same in the PDF and in the workbook."""
    held = [(name.replace("_", " ").capitalize(), number) for name, number in counts.items()]
    exceptions = [
        ("Consents in force that prove too little to send on (grade D or E)", findings.unproven),
        ("People erased since: their records are sealed, their evidence is gone", findings.erased),
    ]
    return [
        ("What the package holds", ("Kind", "Number"), held),
        ("Permissions", ("Purpose", "State", "People"), [(*key, n) for key, n in sorted(findings.states.items())]),
        ("Consents in force by grade", ("Grade", "People"), sorted(findings.grades.items())),
        ("Consents in force by how they were given", ("Method", "People"), findings.methods.most_common()),
        ("Consents in force by country", ("Country", "People"), findings.countries.most_common(30)),
        ("Messages sent to these people", ("Status", "Messages"), findings.sends.most_common()),
        ("Exceptions", ("What", "Number"), exceptions),
    ]


def workbook(about: About, findings: Findings) -> bytes:
    """The summary as XLSX, one sheet a table."""
    target = io.BytesIO()
    book = xlsxwriter.Workbook(target, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    book.set_properties({"title": "Consent audit", "created": about.made_at.replace(tzinfo=None)})
    bold = book.add_format({"bold": True})
    first = book.add_worksheet("Summary")
    for at, (name, value) in enumerate(about.lines()):
        first.write_string(at, 0, name, bold)
        first.write_string(at, 1, value)
    first.set_column(0, 0, 26)
    first.set_column(1, 1, 80)
    _one_page_wide(first)
    for number, (title, heads, rows) in enumerate(tables(findings, about.counts), start=1):
        sheet = book.add_worksheet(f"{number} {title}"[:31])
        sheet.set_header(f"&LExport {about.export_id}&RMade for {_plain(about.requested_by)}")
        sheet.write_string(0, 0, title, bold)
        for at, head in enumerate(heads):
            sheet.write_string(2, at, head, bold)
        for line, row in enumerate(rows, start=3):
            for at, value in enumerate(row):
                (sheet.write_number if isinstance(value, int) else sheet.write_string)(line, at, value)
        sheet.set_column(0, 0, max(24, *(len(str(row[0])) for row in rows)) + 2 if rows else 32)
        sheet.set_column(1, len(heads) - 1, 24)
        _one_page_wide(sheet)
    book.close()
    return target.getvalue()


def _one_page_wide(sheet: Worksheet) -> None:
    """However it is printed, no column stands on a page of its own."""
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)


def _plain(text: str) -> str:
    """Without what a sheet's header reads as a code."""
    return text.replace("&", "+")


def document(about: About, findings: Findings) -> bytes:
    """The summary as PDF."""
    pdfmetrics.registerFont(UnicodeCIDFont(WIDE))
    target = io.BytesIO()
    margins = {"leftMargin": 18 * mm, "rightMargin": 18 * mm, "topMargin": 18 * mm, "bottomMargin": 20 * mm}
    file = SimpleDocTemplate(target, pagesize=A4, title="Consent audit", invariant=1, **margins)
    style = getSampleStyleSheet()
    style["Heading3"].keepWithNext = 1
    story: list[Flowable] = [
        Paragraph("Consent audit", style["Title"]),
        _finding(about, findings, style["BodyText"]),
        Spacer(1, 4 * mm),
        _table(("", ""), about.lines(), [48 * mm, 126 * mm], heads_shown=False),
    ]
    for title, heads, rows in tables(findings, about.counts):
        story += [Spacer(1, 5 * mm), Paragraph(title, style["Heading3"])]
        if title.startswith("Consents in force by grade") and rows:
            story += [_bars(rows), Spacer(1, 3 * mm)]
        widths = [174 * mm / len(heads)] * len(heads)
        story.append(_table(heads, rows, widths) if rows else Paragraph("None.", style["BodyText"]))
    story += [Spacer(1, 5 * mm), Paragraph("Words", style["Heading3"])]
    story.append(_table(("Word", "Meaning"), list(GLOSSARY), [30 * mm, 144 * mm]))

    def mark(canvas: Any, page: Any) -> None:
        said = f"Export {about.export_id}, made for {about.requested_by}. Page {page.page}"
        canvas.setFont(_font(said), 7.5)
        canvas.setFillColor(colors.grey)
        canvas.drawString(18 * mm, 11 * mm, said)

    file.build(story, onFirstPage=mark, onLaterPages=mark)
    return target.getvalue()


def _finding(about: About, findings: Findings, style: ParagraphStyle) -> Flowable:
    """What the package comes to, first."""
    people, sends = about.counts.get("people", 0), about.counts.get("sends", 0)
    inforce = sum(number for (_, state), number in findings.states.items() if state == "subscribed")
    return Paragraph(
        f"The package lists {people:,} people with {inforce:,} consents in force, and {sends:,} messages sent to them, "
        "each with the record of the consent it relied on. Whether all of it is as it was written can be checked "
        "offline with the program in the folder verify; this summary proves nothing by itself.",
        style,
    )


def _bars(rows: Sequence[tuple[Any, ...]]) -> Drawing:
    drawing = Drawing(174 * mm, (8 * len(rows) + 10) * mm)
    chart = HorizontalBarChart()
    chart.x, chart.y, chart.width, chart.height = 12 * mm, 5 * mm, 150 * mm, 8 * len(rows) * mm
    chart.data = [[number for _, number in reversed(rows)]]
    chart.categoryAxis.categoryNames = [str(word) for word, _ in reversed(rows)]
    chart.valueAxis.valueMin = 0
    chart.bars[0].fillColor = colors.HexColor(ACCENT)
    chart.bars[0].strokeColor = None
    drawing.add(chart)
    return drawing


def _font(text: str) -> str:
    """Latin where it will do, the wide font for what Latin-1 cannot write."""
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return WIDE
    return LATIN


def _marked_up(text: str) -> str:
    """The text as markup, each stretch in the font that can write it: the wide font spaces Latin letters badly."""
    stretches = ((font, "".join(letters)) for font, letters in groupby(text, key=_font))
    return "".join(f'<font name="{font}">{escape(stretch)}</font>' for font, stretch in stretches)


def _table(
    heads: Sequence[str], rows: Sequence[tuple[Any, ...]], widths: list[float], *, heads_shown: bool = True
) -> Table:
    plain = ParagraphStyle("cell", fontSize=8.5, leading=11)

    def cell(value: Any) -> Any:
        if isinstance(value, int):
            return f"{value:,}"
        return Paragraph(_marked_up(str(value)), plain)

    body = [[cell(value) for value in row] for row in rows]
    table = Table([list(heads), *body] if heads_shown else body, colWidths=widths, repeatRows=int(heads_shown))
    table.setStyle(
        TableStyle(
            [
                ("FONTSIZE", (0, 0), (-1, -1), 8.5),
                ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold" if heads_shown else LATIN),
                ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.lightgrey),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
                ("TOPPADDING", (0, 0), (-1, -1), 2.5),
            ]
        )
    )
    return table
