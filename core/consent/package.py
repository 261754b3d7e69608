"""Audit packages: a ZIP that an outsider can verify offline, with the program that does it inside.

Same filters and same checkpoint make the same data files, byte for byte: consents are replayed from the ledger as of
the checkpoint, rows are in a fixed order, and the archive carries no times. Whatever the filters, the ledger's cores
are there completely: they name nobody, and only the whole of them shows that no last opt-out was left out.
"""

import base64
import hashlib
import zipfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger, stored, verify
from core.consent.archive import HOWTO, Archive, inert
from core.consent.canonical import jcs, timestamp
from core.consent.package_filters import AuditFilters, in_words
from core.consent.package_registries import write_registries
from core.consent.registry import record_system
from core.consent.state import Event, EventType, Permission, covers, is_scope, replay
from core.consent.summary import About, Findings, document, workbook
from core.errors import RuleViolation
from core.keys import Keyring
from core.models import (
    ChainHead,
    Checkpoint,
    ConsentEvent,
    ConsentEvidence,
    Contact,
    ContactAddress,
    LedgerFork,
    Message,
)
from core.statuses import DeliveryStatus

FORMAT = "kairan-audit/1"
_PAGE = 1_000  # contacts at a time
_LINES = 5_000  # ledger rows at a time

CONSENT_COLUMNS = (
    "contact_id", "phone", "country", "purpose", "state", "grade", "method", "collection_point", "notice_id",
    "language", "granted_at", "recorded_at", "expires_at", "reason", "overlays", "grant_seq", "head_seq",
)  # fmt: skip
SEND_COLUMNS = (
    "message_id", "contact_id", "purpose", "permit_seq", "permit_head_seq", "permitted_at", "accepted_at", "status",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Built:
    """What a package holds, and how it may be recognised."""

    size: int  # ledger events
    root: str
    people: int
    consents: int
    sends: int
    evidence: int
    bytes: int
    sha256: str
    fingerprint: str

    def facts(self) -> dict[str, Any]:
        return asdict(self)


async def build(
    session: AsyncSession,
    *,
    keyring: Keyring,
    filters: AuditFilters,
    path: Path,
    export_id: UUID,
    reason: str,
    requested_by: str,
    now: datetime,
    brand: str = "",
) -> Built:
    """Write the package to `path` and seal in the ledger that it was made; commit afterwards.

    Raises RuleViolation while there is nothing to show, or nothing signed as long ago as `as_of_seq`.
    """
    checkpoint = await _checkpoint(session, keyring, filters.as_of_seq)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = part_of(path)
    with zipfile.ZipFile(unfinished, "w", allowZip64=True) as file:
        archive = Archive(file)
        findings = Findings()
        counts = await _contents(session, archive, filters, checkpoint, findings)
        about = About(
            export_id=str(export_id),
            reason=reason,
            requested_by=requested_by,
            made_at=now,
            brand=brand,
            size=checkpoint.size,
            root=checkpoint.root,
            fingerprint=keyring.fingerprint,
            filters=await in_words(session, filters),
            counts=counts,
        )
        archive.write("summary.pdf", document(about, findings))
        archive.write("summary.xlsx", workbook(about, findings))
        manifest = {
            "format": FORMAT,
            "export_id": str(export_id),
            "reason": reason,
            "requested_by": requested_by,
            "made_at": timestamp(now),
            "filters": _plain(filters),
            "origin": ledger.origin((await session.scalars(select(ChainHead.installation_id))).one()),
            "size": checkpoint.size,
            "root": checkpoint.root,
            "public_key": keyring.public_key.hex(),
            "counts": counts,
            "files": archive.hashes,
        }
        text = msgspec.json.encode(manifest, order="sorted").decode()
        archive.write("manifest.json", text)
        archive.write("manifest.sig", base64.b64encode(keyring.sign(text.encode())).decode() + "\n")
    unfinished.replace(path)
    digest = _file_hash(path)
    await record_system(
        session,
        EventType.EXPORT_CREATED,
        source_key=str(export_id),
        refs={"export_id": str(export_id), "sha256": digest},
        keyring=keyring,
        now=now,
    )
    built = (counts["people"], counts["consents"], counts["sends"], counts["evidence"])
    return Built(checkpoint.size, checkpoint.root, *built, path.stat().st_size, digest, keyring.fingerprint)


def part_of(path: Path) -> Path:
    """Where a package is written until it is whole."""
    return path.with_name(f".{path.name}.part")


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(filters: AuditFilters) -> dict[str, object]:
    return {name: value for name, value in msgspec.to_builtins(asdict(filters)).items() if value not in (None, [])}


async def _checkpoint(session: AsyncSession, keyring: Keyring, as_of_seq: int | None) -> Checkpoint:
    if await session.scalar(select(LedgerFork.id).where(LedgerFork.closed_at.is_(None))) is not None:
        raise RuleViolation(
            "the database was restored and nobody has decided about it yet: nothing is signed until then"
        )
    if as_of_seq is None:
        found = await ledger.checkpoint(session, keyring)
    else:
        found = await ledger.latest_checkpoint(session, at_most=as_of_seq)
    if found is None:
        raise RuleViolation("nothing has been recorded and signed yet", field="as_of_seq")
    return found


async def _contents(
    session: AsyncSession, archive: Archive, filters: AuditFilters, checkpoint: Checkpoint, findings: Findings
) -> dict[str, int]:
    size = checkpoint.size
    with archive.entry("ledger/cores.ndjson") as entry:
        async for core in _cores(session, size):
            entry.write(core + "\n")
    signed = select(Checkpoint).where(Checkpoint.size <= size).order_by(Checkpoint.size)
    for note in await session.scalars(signed):
        archive.write(f"checkpoints/{note.size:012}.note", note.note)
    await write_registries(session, archive, size)
    people, consents = await _consents(session, archive, filters, size, findings)
    sends = await _sends(session, archive, filters, people, size, findings)
    evidence = await _evidence(session, archive, people, size)
    counts = {"events": size, "people": len(people), "consents": consents, "sends": sends, "evidence": evidence}
    archive.write("verify/verify.py", Path(verify.__file__).read_text("utf-8"))
    archive.write("verify/HOWTO.txt", HOWTO)
    seen = {"chain": size, "states": consents, "sends": sends, "evidence": evidence}
    archive.write("verify/expected-report.json", jcs({"verdict": "PASS", "seen": seen}) + "\n")
    return counts


async def _cores(session: AsyncSession, size: int) -> AsyncIterator[str]:
    for start in range(0, size, _LINES):
        page = select(ConsentEvent.core).where(ConsentEvent.seq > start, ConsentEvent.seq <= min(size, start + _LINES))
        for core in await session.scalars(page.order_by(ConsentEvent.seq)):
            yield core


def _people(filters: AuditFilters) -> Select[UUID, str | None]:
    query = select(Contact.id, Contact.country)
    if filters.country is not None:
        query = query.where(Contact.country == filters.country)
    if filters.contact_ids:
        query = query.where(stored.among(Contact.id, filters.contact_ids))
    if filters.campaign_id is not None:
        members = select(Message.contact_id).where(Message.campaign_id == filters.campaign_id)
        query = query.where(Contact.id.in_(members))
    return query


async def _consents(
    session: AsyncSession, archive: Archive, filters: AuditFilters, size: int, findings: Findings
) -> tuple[list[UUID], int]:
    """Write the permissions as of the checkpoint; returns the people listed, in order, and the number of rows."""
    people: list[UUID] = []
    written, after = 0, UUID(int=0)
    with archive.entry("data/consents.csv") as entry:
        entry.rows([CONSENT_COLUMNS])
        while True:
            page = _people(filters).where(Contact.id > after).order_by(Contact.id).limit(_PAGE)
            countries: dict[UUID, str | None] = dict((await session.execute(page)).all())
            if not countries:
                return people, written
            after = max(countries)
            histories = await stored.histories(session, countries, at_most=size)
            phones = await _phones(session, list(countries))
            for contact_id in sorted(histories):
                rows = _rows(histories[contact_id], filters)
                known = [str(contact_id), phones.get(contact_id, ""), countries[contact_id] or ""]
                entry.rows([[*known, *row] for row in rows])
                for row in rows:
                    findings.consent(row, countries[contact_id] or "")
                findings.erased += any(event.event_type is EventType.ERASED for _, event in histories[contact_id])
                written += len(rows)
                if rows:
                    people.append(contact_id)


def _rows(history: list[tuple[int, Event]], filters: AuditFilters) -> list[list[object]]:
    events = {event.event_id: (seq, event) for seq, event in history}
    return [
        _row(purpose, permission, events, history[-1][0])
        for purpose, permission in sorted(replay(event for _, event in history).items())
        if _is_asked_for(purpose, permission, filters) and _is_given_so(permission, events, filters)
    ]


def _is_asked_for(purpose: str, permission: Permission, filters: AuditFilters) -> bool:
    asked = filters.purpose
    is_purpose = asked is None or purpose == asked or (is_scope(purpose) and covers(purpose, asked))
    return is_purpose and filters.state in (None, permission.state)


def _is_given_so(permission: Permission, events: dict[UUID, tuple[int, Event]], filters: AuditFilters) -> bool:
    """Whether the consent in force is one of those asked for, when a filter asks how it was given."""
    wanted = {
        "method": filters.method,
        "notice_id": filters.notice_id,
        "collection_point": filters.collection_point,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    if filters.grade is None and filters.import_id is None and not asked:
        return True
    if permission.grant_id is None or filters.grade not in (None, permission.grade):
        return False
    _, grant = events[permission.grant_id]
    from_import = filters.import_id is None or grant.refs.get("import_batch") == str(filters.import_id)
    return from_import and all(getattr(grant, name) == value for name, value in asked.items())


def _row(purpose: str, permission: Permission, events: dict[UUID, tuple[int, Event]], head: int) -> list[object]:
    facts: list[object] = ["", "", "", "", "", ""]
    seq: int | None = None
    if permission.grant_id is not None:
        seq, grant = events[permission.grant_id]
        facts = [
            grant.method,
            inert(grant.collection_point),
            grant.notice_id,
            inert(grant.language),
            timestamp(grant.occurred_at),
            grant.recorded_at and timestamp(grant.recorded_at),
        ]
    return [
        purpose,
        permission.state.value,
        permission.grade and permission.grade.value,
        *facts,
        permission.expires_at and timestamp(permission.expires_at),
        inert(permission.reason),
        " ".join(permission.overlays),
        seq,
        head,
    ]


async def _phones(session: AsyncSession, ids: list[UUID]) -> dict[UUID, str]:
    query = select(ContactAddress.contact_id, ContactAddress.value).where(
        stored.among(ContactAddress.contact_id, ids),
        ContactAddress.kind == "phone",
        ContactAddress.closed_at.is_(None),
    )
    return dict((await session.execute(query.order_by(ContactAddress.id.desc()))).all())


async def _sends(
    session: AsyncSession,
    archive: Archive,
    filters: AuditFilters,
    people: list[UUID],
    size: int,
    findings: Findings,
) -> int:
    written = 0
    with archive.entry("data/sends.csv") as entry:
        entry.rows([SEND_COLUMNS])
        for start in range(0, len(people), _PAGE):
            query = select(
                Message.id,
                Message.contact_id,
                Message.purpose,
                Message.permit_seq,
                Message.permit_head_seq,
                Message.permitted_at,
                Message.accepted_at,
                Message.status,
            ).where(
                stored.among(Message.contact_id, people[start : start + _PAGE]),
                Message.permitted_at.is_not(None),
                Message.permit_head_seq <= size,
            )
            if filters.campaign_id is not None:
                query = query.where(Message.campaign_id == filters.campaign_id)
            if filters.purpose is not None:
                query = query.where(Message.purpose == filters.purpose)
            rows = (await session.execute(query.order_by(Message.contact_id, Message.id))).all()
            entry.rows([_send(*row) for row in rows])
            findings.sends.update(row.status.value for row in rows)
            written += len(rows)
    return written


def _send(
    message_id: UUID,
    contact_id: UUID,
    purpose: str,
    permit_seq: int | None,
    head_seq: int | None,
    permitted_at: datetime | None,
    accepted_at: datetime | None,
    status: DeliveryStatus,
) -> list[object]:
    instants = [instant and timestamp(instant) for instant in (permitted_at, accepted_at)]
    return [message_id, contact_id, purpose, permit_seq, head_seq, *instants, status.value]


async def _evidence(session: AsyncSession, archive: Archive, people: list[UUID], size: int) -> int:
    written = 0
    with archive.entry("subjects/evidence.ndjson") as entry:
        for start in range(0, len(people), _PAGE):
            query = (
                select(ConsentEvidence.event_id, ConsentEvidence.salt, ConsentEvidence.payload)
                .join(ConsentEvent, ConsentEvent.event_id == ConsentEvidence.event_id)
                .where(
                    stored.among(ConsentEvidence.contact_id, people[start : start + _PAGE]), ConsentEvent.seq <= size
                )
                .order_by(ConsentEvidence.contact_id, ConsentEvent.seq)  # the order verify.py reads people in
            )
            for event_id, salt, payload in await session.execute(query):
                entry.write(jcs({"event_id": str(event_id), "salt": salt.hex(), "payload": payload}) + "\n")
                written += 1
    return written
