"""One row of a file: what its cells say, what is wrong with it alone, and what it is in working order."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from core import phone, tabular
from core.attributes import Definition, clean
from core.errors import RuleViolation
from core.phone import Phone, PhoneError
from core.services.imports_columns import CONSENT_FIELDS, COUNTRIES, Options

FIRST_YEAR = 2009  # nobody agreed to messages on WhatsApp before there was one
# What stands in a consent column, as NFKC and small letters write it.
_YES = (
    "opt_in optin opt-in yes y true 1 on ok agreed subscribe subscribed ja si sí sim oui ✓ ✔ ☑ ○ 〇 ◯ "
    "同意 同意する 同意します 同意済 同意済み はい 可 有 希望 希望する 承諾 許可 許諾 配信希望"
)
_NO = (
    "opt_out optout opt-out no n false 0 off stop unsubscribe unsubscribed nein não non × ✕ ✖ ✗ "
    "拒否 いいえ 不可 不要 無 同意しない 同意しません 希望しない 配信停止 配信拒否 停止 解除 退会"
)
_UNSAID = "- – — ― n/a #n/a na null none unknown pending ? 未 未同意 未確認 未回答 不明"
IN_WORDS, OUT_WORDS, UNSAID_WORDS = (frozenset(words.split()) for words in (_YES, _NO, _UNSAID))
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_MANY_DIGITS = re.compile(r"\d.*\d.*\d.*\d.*\d")
_BREAK = re.compile("[\t\n\r]")  # fine in a name or an attribute, never in what the ledger seals
# Zero-width characters and those that turn the direction of writing: they show nothing and make two names of one.
# The joiners U+200C and U+200D stay: Persian, Hindi and emoji are written with them.
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\u00ad]")
ZONE_FIELD = "occurred_at_zone"  # of the evidence, not of the file
LEFT_OUT = "value_left_out"  # the note of a row with a value that does not fit its attribute's kind
_IDS = ("source_record_id", "evidence_ref", "notice_id", "purpose")
_FORMULA = ("=", "+", "-", "@")
_TIMES = ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y")
_YEAR_FIRST = re.compile(r"(\d{4})[-./年] ?(\d{1,2})[-./月] ?(\d{1,2})日?(.*)")
_ERAS = {"令和": 2018, "R": 2018, "平成": 1988, "H": 1988}  # Japanese years: the one before the era's first
_IN_ERA = re.compile(r"(令和|平成|[RH])(元|\d{1,2})[./年] ?(.*)")
_SERIAL = re.compile(r"[34]\d{4}(\.\d+)?")  # days since 1899-12-30, which is how a spreadsheet keeps a date

Value: TypeAlias = str | int | float | bool


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of the file, ready to be recorded; `problem` says why it cannot be, and then it has no number."""

    number: int  # in the file, the header is row 1
    action: str  # opt_in, opt_out, or empty when no consent column is filled
    values: dict[str, str]  # our fields
    attributes: dict[str, Value]  # the file's other columns, each as its attribute's kind is kept
    problem: str | None = None
    e164: str = ""
    match_key: str = ""
    country: str = ""
    time_zone: str | None = None
    occurred_at: datetime | None = None
    remark: str | None = None  # which values were left out, and why; the rest of the row counts

    @property
    def raw(self) -> dict[str, Value]:
        return {**self.values, **self.attributes}


class Task(msgspec.Struct, frozen=True):
    """All that parsing needs to know besides the rows."""

    options: Options
    header: list[str]
    purposes: frozenset[str]
    now: datetime
    kinds: dict[str, Definition]  # attribute → what its values have to be; others are text


def parse_row(task: Task, number: int, cells: Sequence[str]) -> tuple[Row, tuple[str, ...]]:
    """The row, and what was mended in it."""
    values, attributes = _named(task, cells)
    action = _action(values, asked="action" in task.options.columns)
    region = _region(values.get("country", ""), task.options.region)
    written = values.get("phone", "")
    try:
        found = phone.parse(written, region=region)
    except PhoneError as bad:
        return Row(number, action, values, {**attributes}, bad.message), ()
    problem = None if action == "opt_out" else _wrong(values, attributes, action)
    at: datetime | None = None
    if problem is None and action == "opt_in":
        at, problem = _consent(values, task)
    if problem is not None:
        return Row(number, action, values, {**attributes}, problem), ()
    mended = phone.mended(written, found, region)
    fitting, remark = _fitting(attributes, task.kinds)
    row = Row(number, action, values, fitting, None, *_address(found), at, remark)
    notes = (mended, LEFT_OUT if remark else None)
    return row, tuple(note for note in notes if note is not None)


def _fitting(given: dict[str, str], kinds: Mapping[str, Definition]) -> tuple[dict[str, Value], str | None]:
    """The values in the form their attributes are kept in, without those that do not fit; and what was left out.

    A bad cell costs that cell and not the row: the person and what they agreed to are worth more than an attribute.
    """
    fitting: dict[str, Value] = {**given}
    wrong = []
    for name in given.keys() & kinds.keys():
        try:
            fitting[name] = clean(name, given[name], kinds[name], place=name[:40])
        except RuleViolation as bad:
            del fitting[name]
            wrong.append(bad.message)
    return fitting, f"left out: {'; '.join(sorted(wrong))}" if wrong else None


def _address(found: Phone) -> tuple[str, str, str, str | None]:
    return found.e164, found.match_key, found.country, found.time_zone


def _named(task: Task, cells: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(our fields, the others), without blanks and without what cannot be seen."""
    shown = [cell.strip() for cell in cells]
    if not "".join(shown).isascii():
        shown = [value if value.isascii() else _INVISIBLE.sub("", value).strip() for value in shown]
    ours, others = _places(task)
    count = len(shown)
    if count < len(task.header):
        shown += [""] * (len(task.header) - count)
    values = {our: value for place, our in ours if (value := shown[place])}
    attributes = {theirs: value for place, theirs in others if (value := shown[place])}
    if count > len(task.header):
        beyond = " ".join(cell for cell in cells[len(task.header) :] if cell.strip())
        if beyond:
            attributes[tabular.SURPLUS] = beyond
    return values, attributes


_Places: TypeAlias = list[tuple[int, str]]  # of columns: where, and what they are called
_columns: dict[int, tuple[Task, tuple[_Places, _Places]]] = {}


def _places(task: Task) -> tuple[_Places, _Places]:
    """The columns of our fields, and the others that have a name; worked out once a task."""
    known = _columns.get(id(task))
    if known is None or known[0] is not task:
        named = {theirs: our for our, theirs in task.options.columns.items()}
        columns = list(enumerate(task.header))
        ours = [(place, named[theirs]) for place, theirs in columns if theirs in named]
        others = [(place, theirs) for place, theirs in columns if theirs and theirs not in named]
        known = (task, (ours, others))
        _columns.clear()
        _columns[id(task)] = known
    return known[1]


def _action(values: Mapping[str, str], *, asked: bool) -> str:
    """opt_in, opt_out, the raw word when it is neither, or empty when nothing is said.

    A file that says of everybody how they agreed, and has no column that asks whether, is one of people who did. Where
    a column asks and a cell is blank, nobody said yes.
    """
    word = values.get("action", "")
    if not word.isascii():
        word = unicodedata.normalize("NFKC", word)
    word = word.lower()
    if word in IN_WORDS:
        return "opt_in"
    if word in OUT_WORDS:
        return "opt_out"
    if word in UNSAID_WORDS:
        return ""
    return word or ("opt_in" if not asked and any(name in values for name in CONSENT_FIELDS) else "")


def _region(written: str, default: str) -> str:
    """The country's code, from a code or a name; the default for what is neither."""
    if not written:
        return default
    if len(written) == 2 and written.isascii() and written.isalpha():
        return written.upper()
    return COUNTRIES.get(written.casefold(), default)


def _wrong(values: Mapping[str, str], attributes: Mapping[str, str], action: str) -> str | None:
    """What makes a whole row unusable. An opt-out needs a number and nothing else: it is never lost to a bad cell."""
    for name in _IDS:
        if name in values and values[name].startswith(_FORMULA):
            return "an identifier looks like a formula"
    if tabular.SURPLUS in attributes:
        return "the row has more cells than the header has columns: put quotes around a cell with a comma in it"
    if not "".join((*values.values(), *attributes, *attributes.values())).isprintable() and _unwritable(
        values, attributes
    ):
        return "a cell holds control characters"
    if action not in ("", "opt_in", "opt_out"):
        shown = "" if _MANY_DIGITS.search(action) else f" {action[:30]!r}"  # a number in the wrong column stays unsaid
        return f"the action{shown} is neither opt_in nor opt_out"
    return None


def _unwritable(values: Mapping[str, str], attributes: Mapping[str, str]) -> bool:
    """Whether a cell holds what is not to be written; much else is not printable, such as a joiner, and may be."""
    sealed = "|".join(value for name, value in values.items() if name not in ("phone", "name"))
    loose = "|".join((values.get("phone", ""), values.get("name", ""), *attributes, *attributes.values()))
    return any(map(_CONTROL.search, (sealed, loose))) or _BREAK.search(sealed) is not None


def _consent(values: dict[str, str], task: Task) -> tuple[datetime | None, str | None]:
    """(when the consent was given, what is wrong with it)."""
    if values.get("purpose", "marketing") not in task.purposes:
        return None, "there is no such purpose"
    written = values.get("occurred_at")
    if not written:
        return None, None
    try:
        at, zoned = instant(written, task.options.zone)
    except ValueError:
        if _SERIAL.fullmatch(written):
            return (
                None,
                "occurred_at is a spreadsheet's number for a day: format the column as a date and save it again",
            )
        return (
            None,
            "occurred_at is no time, or could be two: write it as 2026-05-01 09:30 or 2026-05-01T09:30:00+02:00",
        )
    except OverflowError:  # the first or the last day of the calendar, in another zone
        return None, f"occurred_at is before {FIRST_YEAR}" if written[0] == "0" else "occurred_at is in the future"
    if at > task.now:
        return None, "occurred_at is in the future"
    if at.year < FIRST_YEAR:
        return None, f"occurred_at is before {FIRST_YEAR}"
    if not zoned:
        values[ZONE_FIELD] = task.options.zone  # part of the evidence: the file did not say it
    return at, None


def instant(written: str, zone: str) -> tuple[datetime, bool]:
    """(the instant in UTC, whether it was written with a zone); without one it is read in `zone`.

    Takes ISO 8601, 2026/5/1 9:30, 2026.5.1, 01.05.2026 09:30, 2026年5月1日 9時30分 and 令和8年5月1日; raises
    ValueError for all else, so also for 05/01/2026, which is two dates.
    """
    at = _parsed(written)
    if at.tzinfo is not None:
        return at.astimezone(UTC), True
    return at.replace(tzinfo=_zone(zone)).astimezone(UTC), False


def _parsed(written: str) -> datetime:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        plain = _plain_time(written)
        for form in _TIMES:
            try:
                return datetime.strptime(plain, form)  # noqa: DTZ007 - the caller knows the zone
            except ValueError:
                continue
        raise


def _plain_time(written: str) -> str:
    """A day that begins with its year, as in `_TIMES`, whatever parts its numbers; other texts as they are."""
    text = unicodedata.normalize("NFKC", written)
    if era := _IN_ERA.fullmatch(text):
        text = f"{_ERAS[era[1]] + (1 if era[2] == '元' else int(era[2]))}/{era[3]}"
    day = _YEAR_FIRST.fullmatch(text)
    if day is None:
        return text
    time = day[4].strip().replace("時", ":").replace("分", ":").replace("秒", "").rstrip(":")
    return f"{day[1]}/{day[2]}/{day[3]} {time}".strip()


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
