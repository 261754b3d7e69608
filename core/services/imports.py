"""Imports: a file of contacts and consents, read in chunks, a verdict for every row.

All opt-outs of a file come first, so that a person who is in it twice ends opted out. Every chunk is one transaction
that also moves the pointer, so a crash resumes where it stopped and no row counts twice.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone, queue, tabular
from core.consent.acts import MARKETING, Act, ActorType, Method
from core.consent.imports import ImportOutcome, RowFacts, classify
from core.consent.registry import Registry, load_registry
from core.consent.state import EventType, Grade, is_scope
from core.db import Sessions
from core.errors import NotFound, RuleViolation
from core.keys import Keyring
from core.models import Contact, ContactAddress, Import, ImportRow, Notice
from core.phone import Phone, PhoneError
from core.services import audiences, consents, contacts
from core.services.paging import Page, page
from core.settings import Settings
from core.statuses import WorkStatus
from core.tabular import Format

CHUNK = 1000
SOURCE = "import"
CONTACT_ONLY = "contact_only"
DOWNLOADED = ("rejected", "not_sendable")  # verdicts whose rows are kept as they came

# What a column may be called, lower case; English and Japanese.
HEADERS: dict[str, tuple[str, ...]] = {
    "phone": (
        *("phone", "phone number", "phone_number", "mobile", "tel", "telephone", "address", "whatsapp", "number"),
        *("電話番号", "携帯番号", "携帯電話", "電話"),
    ),
    "name": ("name", "full name", "full_name", "氏名", "名前", "お名前"),
    "language": ("language", "lang", "言語"),
    "country": ("country", "国"),
    "time_zone": ("time_zone", "timezone", "time zone", "タイムゾーン"),
    "action": ("action", "consent", "opt_in", "同意"),
    "purpose": ("purpose", "目的"),
    "occurred_at": ("occurred_at", "consent_at", "opted_in_at", "同意日時"),
    "method": ("method", "collection_method", "取得方法"),
    "collection_point": ("collection_point", "source", "取得場所"),
    "notice_id": ("notice_id", "notice"),
    "source_system": ("source_system",),
    "source_record_id": ("source_record_id", "record_id"),
    "evidence_ref": ("evidence_ref", "evidence"),
    "evidence_sha256": ("evidence_sha256",),
    "collected_by": ("collected_by",),
    "confirmed_at": ("confirmed_at",),
}
CONTACT_FIELDS = ("phone", "name", "language", "country", "time_zone")
CONSENT_FIELDS = tuple(name for name in HEADERS if name not in CONTACT_FIELDS)
REQUIRED_EVIDENCE = ("method", "collection_point", "source_record_id", "evidence_ref")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_BREAK = re.compile("[\t\n\r]")  # fine in a name or an attribute, never in what the ledger seals
FIRST_YEAR = 2009  # nobody agreed to messages on WhatsApp before there was one
_METHODS = frozenset(method.value for method in Method)
IN_WORDS = frozenset({"opt_in", "optin", "opt-in", "yes", "true", "1", "subscribe", "同意"})
OUT_WORDS = frozenset({"opt_out", "optout", "opt-out", "no", "false", "0", "unsubscribe", "stop", "拒否"})


def suggest_columns(header: Sequence[str]) -> dict[str, str]:
    """Our field → the file's column, by the names people use; other columns become attributes."""
    lower = {name.strip().lower(): name for name in header if name}
    found = {}
    for our, names in HEADERS.items():
        theirs = next((lower[name] for name in names if name in lower), None)
        if theirs is not None:
            found[our] = theirs
    return found


@dataclass(frozen=True)
class Options:
    """How a file is read and where its people go."""

    region: str
    columns: dict[str, str]
    form: Format
    audience_id: UUID | None

    @classmethod
    def of(cls, job: Import) -> "Options":
        saved = job.options
        audience = saved.get("audience_id")
        return cls(saved["region"], saved["columns"], Format(**saved["form"]), UUID(audience) if audience else None)


def read_options(path: Path, *, region: str, columns: Mapping[str, str] | None, audience_id: UUID | None) -> Options:
    """Look at the file's start; raises RuleViolation for one that cannot be imported."""
    form = tabular.detect(path)
    header = tabular.columns(path, form)
    mapped = suggest_columns(header) | dict(columns or {})
    for our, theirs in mapped.items():
        if our not in HEADERS:
            raise RuleViolation(f"there is no field {our!r} to map to", field="columns")
        if theirs not in header:
            raise RuleViolation(f"the file has no column {theirs!r}", field="columns")
    if "phone" not in mapped:
        shown = ", ".join(name[:30] for name in header[:10])
        raise RuleViolation(
            f"no column holds phone numbers: name one `phone`, or map it with columns (found: {shown})", field="file"
        )
    return Options(region, mapped, form, audience_id)


async def add(
    session: AsyncSession,
    *,
    import_id: UUID,
    path: Path,
    filename: str,
    sha256: str,
    options: Options,
    created_by: UUID | None,
) -> Import:
    """Take a file in; a worker reads it."""
    job = Import(
        id=import_id,
        filename=filename,
        path=str(path),
        sha256=sha256,
        bytes=path.stat().st_size,
        status=WorkStatus.WAITING,
        options={
            "region": options.region,
            "columns": options.columns,
            "form": {
                "kind": options.form.kind,
                "encoding": options.form.encoding,
                "delimiter": options.form.delimiter,
            },
            "audience_id": str(options.audience_id) if options.audience_id else None,
        },
        created_by=created_by,
    )
    session.add(job)
    await session.flush()
    await session.refresh(job)
    queue.ring_after_commit(session, queue.RUN_IMPORT, job.id)
    return job


async def get(session: AsyncSession, import_id: UUID, *, lock: bool = False) -> Import:
    """The import; raises NotFound."""
    job = await session.get(Import, import_id, with_for_update=lock)
    if job is None:
        raise NotFound("no such import", import_id=str(import_id))
    return job


async def list_page(session: AsyncSession, *, limit: int, cursor: str | None) -> Page[Import]:
    return await page(session, select(Import), Import.id.expression, limit=limit, cursor=cursor)


async def rows_page(
    session: AsyncSession, import_id: UUID, *, verdict: str | None, limit: int, cursor: str | None
) -> Page[ImportRow]:
    """Rows in the order of the file."""
    await get(session, import_id)
    statement = select(ImportRow).where(ImportRow.import_id == import_id)
    if verdict is not None:
        statement = statement.where(ImportRow.verdict == verdict)
    return await page(
        session, statement, ImportRow.row_number.expression, limit=limit, cursor=cursor, newest_first=False
    )


@dataclass(frozen=True)
class Row:
    """One row of the file, its consent columns apart from its attributes."""

    number: int
    values: dict[str, str]  # our fields
    attributes: dict[str, str]

    @property
    def action(self) -> str | None:
        """opt_in, opt_out, the raw word when it is neither, or None when no consent column is filled."""
        word = self.values.get("action", "").lower()
        if word in IN_WORDS:
            return "opt_in"
        if word in OUT_WORDS:
            return "opt_out"
        filled = any(self.values.get(name) for name in CONSENT_FIELDS)
        return word if word else ("opt_in" if filled else None)


def read_rows(path: Path, options: Options) -> Iterator[Row]:
    """Every row: opt-outs first, then the others, each in the order of the file."""
    return chain(_read(path, options, opt_outs=True), _read(path, options, opt_outs=False))


def _read(path: Path, options: Options, *, opt_outs: bool) -> Iterator[Row]:
    ours = {theirs: our for our, theirs in options.columns.items()}
    for number, cells in tabular.rows(path, options.form):
        values: dict[str, str] = {}
        attributes: dict[str, str] = {}
        for name, cell in cells.items():
            if value := cell.strip():
                (values if name in ours else attributes)[ours.get(name, name)] = value
        row = Row(number, values, attributes)
        if (row.action == "opt_out") == opt_outs:
            yield row


@dataclass
class _Verdicts:
    """What a chunk comes to."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    members: list[UUID] = field(default_factory=list)

    def add(
        self, job: Import, row: Row, verdict: str, *, reason: str | None = None, contact_id: UUID | None = None
    ) -> None:
        rejected = verdict in DOWNLOADED
        self.rows.append(
            {
                "import_id": job.id,
                "row_number": row.number,
                "verdict": verdict,
                "reason": reason,
                "contact_id": contact_id,
                "raw": {**row.values, **row.attributes} if rejected else None,
            }
        )


def count_rows(path: Path, options: Options) -> int:
    """Rows that are not blank; reads the file once."""
    return sum(1 for _ in tabular.rows(path, options.form))


class Reader:
    """The rest of a file from where the import stands; remembers which numbers it has seen."""

    def __init__(self, path: Path, options: Options, done: int) -> None:
        self.region = options.region
        self.rows = read_rows(path, options)
        self.seen: set[bytes] = set()
        for row in islice(self.rows, done):
            self.parse(row)

    def chunk(self, size: int = CHUNK) -> list[Row]:
        return list(islice(self.rows, size))

    def parse(self, row: Row) -> tuple[Phone | None, str | None, bool]:
        """(number, why it is none, whether this file had the number before)."""
        try:
            number = phone.parse(row.values.get("phone", ""), region=row.values.get("country", self.region)[:2].upper())
        except PhoneError as bad:
            return None, bad.message, False
        said = f"{row.action}|{row.values.get('purpose', '')}|{number.match_key}"
        mark = blake2b(said.encode(), digest_size=8).digest()
        again = mark in self.seen
        self.seen.add(mark)
        return number, None, again


async def work_chunk(
    session: AsyncSession,
    job: Import,
    rows: Sequence[Row],
    reader: Reader,
    *,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
) -> None:
    """Give each row its verdict, and move the pointer past them; all in the caller's transaction."""
    registry = await load_registry(session)
    verdicts = _Verdicts()
    good: list[tuple[Row, Phone]] = []
    for row in rows:
        number, why, again = reader.parse(row)
        if number is None:
            verdicts.add(job, row, ImportOutcome.REJECTED, reason=why)
        elif (problem := _problem(row, registry, now)) is not None:
            verdicts.add(job, row, ImportOutcome.REJECTED, reason=problem)
        elif again:
            verdicts.add(job, row, ImportOutcome.DUPLICATE, reason="the same number said the same before in this file")
        else:
            good.append((row, number))
    ids = await _contacts(session, job, good)
    await _consents(session, job, good, ids, registry, verdicts, keyring=keyring, settings=settings, now=now)
    if verdicts.rows:
        await session.execute(insert(ImportRow).values(verdicts.rows))
    options = Options.of(job)
    if options.audience_id is not None:
        await audiences.add_members(session, options.audience_id, list(ids.values()), import_id=job.id)
    counted = Counter(job.verdicts) + Counter(str(row["verdict"]) for row in verdicts.rows)
    job.verdicts = dict(sorted(counted.items()))
    job.rows_done += len(rows)


def _problem(row: Row, registry: Registry, now: datetime) -> str | None:
    """What makes a whole row unusable. An opt-out needs a number and nothing else: it is never lost to a bad cell."""
    if row.action == "opt_out":
        return None
    ids = [row.values.get(name, "") for name in ("source_record_id", "evidence_ref", "notice_id", "purpose")]
    if any(value[:1] in "=+-@" and value for value in ids):
        return "an identifier looks like a formula"
    if tabular.SURPLUS in row.attributes:
        return "the row has more cells than the header has columns: put quotes around a cell with a comma in it"
    sealed = [value for name, value in row.values.items() if name not in ("phone", "name")]
    loose = [row.values.get("phone", ""), row.values.get("name", ""), *row.attributes.values(), *row.attributes]
    if any(_CONTROL.search(value) for value in [*sealed, *loose]) or any(_BREAK.search(value) for value in sealed):
        return "a cell holds control characters"
    if row.action not in (None, "opt_in", "opt_out"):
        return f"the action {row.action[:30]!r} is neither opt_in nor opt_out"
    if row.action == "opt_in":
        if row.values.get("purpose", "marketing") not in registry.purposes:
            return "there is no such purpose"
        try:
            at = _instant(row.values.get("occurred_at"))
        except ValueError:
            return "occurred_at is no time with its zone, such as 2026-05-01T09:30:00+02:00"
        if at is not None and at > now:
            return "occurred_at is in the future"
        if at is not None and at.year < FIRST_YEAR:
            return f"occurred_at is before {FIRST_YEAR}"
    return None


def _instant(written: str | None) -> datetime | None:
    """None for a blank; raises ValueError for what is no instant with a zone."""
    if not written:
        return None
    instant = datetime.fromisoformat(written)
    if instant.tzinfo is None:
        raise ValueError("no zone")
    return instant


async def _contacts(session: AsyncSession, job: Import, good: Sequence[tuple[Row, Phone]]) -> dict[str, UUID]:
    """Match key → contact: people known in any spelling get their blanks filled, the others are made."""
    owners = await contacts.owners(session, [number.match_key for _, number in good])
    known = {
        contact.id: contact for contact in await session.scalars(select(Contact).where(Contact.id.in_(owners.values())))
    }
    made: dict[str, Contact] = {}
    for row, number in good:
        fresh = _facts(row, number)
        if number.match_key in owners:
            contact = known[owners[number.match_key]]
        elif number.match_key in made:
            contact = made[number.match_key]
        else:
            made[number.match_key] = Contact(**fresh, attributes=row.attributes, import_id=job.id)
            continue
        for name, value in fresh.items():
            if getattr(contact, name) in (None, "") and value:
                setattr(contact, name, value)
        if set(row.attributes) - set(contact.attributes):
            contact.attributes = {**row.attributes, **contact.attributes}
    session.add_all(made.values())
    await session.flush()
    numbers = {number.match_key: number for _, number in good}
    addresses = [
        {"contact_id": contact.id, "kind": "phone", "value": numbers[key].e164, "match_key": key}
        for key, contact in made.items()
    ]
    if addresses:
        await session.execute(insert(ContactAddress).values(addresses))
    return owners | {key: contact.id for key, contact in made.items()}


def _facts(row: Row, number: Phone) -> dict[str, str | None]:
    return {
        "name": row.values.get("name", "")[:200] or None,
        "language": row.values.get("language", "")[:35] or None,
        "country": number.country,
        "time_zone": _zone(row.values.get("time_zone")) or number.time_zone,
    }


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(name: str | None) -> str | None:
    return name if name in _zones() else None


async def _consents(
    session: AsyncSession,
    job: Import,
    good: Sequence[tuple[Row, Phone]],
    ids: Mapping[str, UUID],
    registry: Registry,
    verdicts: _Verdicts,
    *,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
) -> None:
    acts: list[tuple[Row, Act]] = []
    for row, number in good:
        contact_id = ids[number.match_key]
        if row.action is None:
            verdicts.add(job, row, CONTACT_ONLY, contact_id=contact_id)
            continue
        act = _act(job, row, number, contact_id, registry, now)
        if act is None:
            verdicts.add(job, row, ImportOutcome.NOT_SENDABLE, reason="occurred_at is missing", contact_id=contact_id)
            continue
        acts.append((row, act))
    outcomes = await consents.record(session, [act for _, act in acts], keyring=keyring, settings=settings, now=now)
    for (row, act), outcome in zip(acts, outcomes, strict=True):
        purpose = registry.purposes.get(act.purpose)
        verdict = classify(
            RowFacts(
                is_opt_out=not act.is_grant,
                number_is_good=True,
                occurred_at=act.occurred_at,
                received_at=now,
                is_complete=not _missing(row, act),
                grade=outcome.grade or Grade.E,
                min_grade=Grade(purpose.min_grade) if purpose else Grade.C,
                validity_days=purpose.validity_days if purpose else 0,
                is_suppressed=outcome.rule == "14",
                is_duplicate=outcome.is_duplicate,
            )
        )
        verdicts.add(job, row, verdict, reason=_why(verdict, row, act), contact_id=outcome.contact_id)


def _why(verdict: ImportOutcome, row: Row, act: Act) -> str | None:
    if verdict is ImportOutcome.NOT_SENDABLE:
        return f"the consent's evidence is incomplete: {', '.join(_missing(row, act)) or 'it proves too little'}"
    return {
        ImportOutcome.PENDING_CONFIRM: "the evidence is too weak to send on: ask the person to confirm",
        ImportOutcome.EXPIRED_ON_ARRIVAL: "the consent is older than its validity",
        ImportOutcome.REFUSED_SUPPRESSED: "refused",  # says nothing about the person to those who import
        ImportOutcome.DUPLICATE: "this very record was imported before",
    }.get(verdict)


def _missing(row: Row, act: Act) -> list[str]:
    missing = [name for name in REQUIRED_EVIDENCE if not row.values.get(name)]
    return missing if act.notice_id is not None else [*missing, "notice_id"]


def _act(job: Import, row: Row, number: Phone, contact_id: UUID, registry: Registry, now: datetime) -> Act | None:
    occurred_at = _instant(row.values.get("occurred_at")) if row.action == "opt_in" else None
    if row.action == "opt_in" and occurred_at is None:
        return None
    record = row.values.get("source_record_id")
    system = row.values.get("source_system", "")
    evidence = {name: value for name, value in row.values.items() if name not in ("name", "country", "language")}
    # A record of a source system is the same record in every file, as long as it says the same: what was incomplete
    # may come again with what was missing. Without an id it is this row of this file.
    said = blake2b(repr(sorted(evidence.items())).encode(), digest_size=16).hexdigest()
    key = f"{system}|{record}|{row.action}|{number.match_key}|{said}" if record else f"{job.sha256}|{row.number}"
    if row.action == "opt_out":
        return Act(
            contact_id=contact_id,
            event_type=EventType.WITHDRAWN,
            purpose=_withdrawn(row.values.get("purpose"), registry),
            source=SOURCE,
            source_key=key,
            occurred_at=now,
            actor=ActorType.IMPORT,
            method=Method.IMPORT,
            reason="import",
            evidence=evidence,
            refs={"import_batch": str(job.id)},
            declared_import=True,
        )
    method = row.values.get("method", "").lower()
    notice = _notice(row, registry)
    return Act(
        contact_id=contact_id,
        event_type=EventType.GRANTED,
        purpose=row.values.get("purpose", "marketing"),
        source=SOURCE,
        source_key=key,
        occurred_at=occurred_at or now,
        actor=ActorType.IMPORT,
        method=Method(method) if method in _METHODS else None,
        collection_point=row.values.get("collection_point"),
        notice_id=notice.id if notice else None,
        language=row.values.get("language"),
        evidence=evidence,
        refs={"import_batch": str(job.id)},
        declared_import=True,
        weakest_grade=None if row.values.get("evidence_ref") and record else Grade.E,
    )


def _withdrawn(named: str | None, registry: Registry) -> str:
    """What an opt-out ends: the purpose named, and all marketing when none is or it does not exist."""
    return named if named and (named in registry.purposes or is_scope(named)) else MARKETING


def _notice(row: Row, registry: Registry) -> Notice | None:
    """The notice a row cites, by id or by code; one that does not cover the purpose is none."""
    cited = row.values.get("notice_id")
    purpose = row.values.get("purpose", "marketing")
    matching = [
        notice
        for notice in registry.notices.values()
        if cited in (str(notice.id), notice.code) and purpose in notice.purposes
    ]
    return max(matching, key=lambda notice: notice.version, default=None)


@asynccontextmanager
async def turn(sessions: Sessions) -> AsyncIterator[bool]:
    """Whether it is this worker's turn to import; the others are told no until it ends, however it ends.

    The lock belongs to a connection without a transaction: one that idles in a transaction is closed after a
    minute, and files take longer.
    """
    async with sessions() as session:
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        mine = bool(await session.scalar(text("SELECT pg_try_advisory_lock(hashtext('imports'))")))
        try:
            yield mine
        finally:
            if mine:
                await session.execute(text("SELECT pg_advisory_unlock(hashtext('imports'))"))
