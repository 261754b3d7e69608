"""Consents in a file: who vouches for them, and the second person who looks before many are recorded.

No opt-in of a file is recorded until somebody who is known has made the statement below. Nobody brings more than
`KAIRAN_IMPORT_APPROVAL_ABOVE` in a day alone: then somebody else, of compliance, has to open the proof of a random
sample of the file and find every one in order. Opt-outs wait for nobody: those of a file that somebody asked for are
recorded at once, and stay whatever becomes of the rest.
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any
from unicodedata import normalize
from uuid import UUID

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.canonical import jcs, timestamp
from core.consent.imports import ImportOutcome
from core.errors import Conflict, Forbidden, NotFound, RuleViolation
from core.log import mask_text
from core.models import ApiKey, Import, ImportRow, ImportSample
from core.services.imports_rows import Row
from core.services.people import Actor
from core.settings import Settings
from core.statuses import Finding, ImportStatus

STATEMENT = "1"  # the version of the words below; new words get a new one
STATEMENT_TEXT = (
    "I know where this file comes from. Everybody it marks as opted in agreed to messages from us, themselves and in "
    "the way their row says. No number was bought, rented, guessed or taken from public places. The proof of every "
    "row exists where the row says, and I will show it when asked."
)
BESIDES = "besides"  # of the claims: opt-ins the same person brought alone in the day before, in other files
SEEN = "seen"  # of the claims: opt-ins that could be used when a sample of them was approved
SAMPLE_SHARE = 0.02
SAMPLE_LEAST, SAMPLE_MOST = 10, 100  # rows; more than a hundred nobody opens with care


class Need(StrEnum):
    """What an import lacks before its consents may be recorded."""

    ATTESTATION = "attestation"
    APPROVAL = "approval"


class Attestation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That whoever is signed in makes the statement: in what role, and which version of it they read."""

    role: str
    statement: str = STATEMENT


async def attested(session: AsyncSession, said: Attestation, actor: Actor, *, now: datetime) -> dict[str, Any]:
    """The attestation as it is kept; raises RuleViolation for other words than the current ones, or no role.

    Behind a program's key stands whoever made it.
    """
    if said.statement != STATEMENT:
        raise RuleViolation(
            f"the statement has version {STATEMENT} now: read it again (GET /api/imports/statement)",
            field="attestation.statement",
        )
    role = normalize("NFC", " ".join(said.role.split()))
    if not 2 <= len(role) <= 100 or not role.isprintable():
        told = "say in which role you vouch for the file, such as CRM manager: 2 to 100 characters on one line"
        raise RuleViolation(told, field="attestation.role")
    user_id = await behind(session, actor)
    who = {"user_id": str(user_id)} if user_id else {}
    return {"name": normalize("NFC", actor.name), "role": role, "statement": STATEMENT, "at": timestamp(now), **who}


async def behind(session: AsyncSession, actor: Actor) -> UUID | None:
    """The user who acts: behind a program's key, whoever made it."""
    return actor.user_id or await session.scalar(select(ApiKey.created_by).where(ApiKey.id == actor.id))


def vouched(earlier: dict[str, Any] | None, said: dict[str, Any] | None) -> dict[str, Any] | None:
    """The newest attestation; it names the users who vouched before, for none of them approves it."""
    if earlier is None or said is None:
        return said or earlier
    known = {*earlier.get("before", "").split(), earlier.get("user_id", "")} - {"", said.get("user_id")}
    return {**said, "before": " ".join(sorted(known))} if known else said


async def besides(session: AsyncSession, job: Import) -> dict[str, int]:
    """Opt-ins whoever brought the file brought in a day without a second person: a file cut in pieces is one."""
    alone = (Import.created_by == job.created_by, Import.approved_at.is_(None), Import.dry_run.is_(False))
    same_day = Import.created_at.between(job.created_at - timedelta(days=1), job.created_at)
    claimed = func.sum(Import.claims["opt_ins"].as_integer())
    many = await session.scalar(select(claimed).where(*alone, same_day, Import.id != job.id))
    return {BESIDES: int(many)} if many else {}


def need(job: Import, settings: Settings) -> Need | None:
    """What the import lacks; None also while nobody knows yet what the file claims."""
    opt_ins = (job.claims or {}).get("opt_ins", 0)
    if opt_ins and job.attestation is None:
        return Need.ATTESTATION
    alone = opt_ins + (job.claims or {}).get(BESIDES, 0) if opt_ins else 0
    if alone > settings.import_approval_above and job.approved_at is None:
        return Need.APPROVAL
    return None


async def draw(session: AsyncSession, job: Import) -> list[int]:
    """Numbers of randomly chosen rows whose opt-ins would be accepted, and nobody knows beforehand which."""
    accepted = (ImportRow.import_id == job.id, ImportRow.verdict == ImportOutcome.ACCEPTED)
    count = (await session.scalars(select(func.count()).where(*accepted))).one()
    many = min(count, SAMPLE_MOST, max(SAMPLE_LEAST, ceil(count * SAMPLE_SHARE)))
    places = sorted(secrets.SystemRandom().sample(range(count), many))
    ranked = select(
        ImportRow.row_number, (func.row_number().over(order_by=ImportRow.row_number) - 1).label("place")
    ).where(*accepted)
    chosen = ranked.subquery()
    return list(await session.scalars(select(chosen.c.row_number).where(chosen.c.place.in_(places))))


async def keep(session: AsyncSession, job: Import, rows: Mapping[int, Row]) -> None:
    """Keep the drawn rows as they came, for whoever opens their proof; an earlier sample is forgotten."""
    await session.execute(delete(ImportSample).where(ImportSample.import_id == job.id))
    session.add_all(ImportSample(import_id=job.id, row_number=number) for number in sorted(rows))
    for number, row in rows.items():
        place = (ImportRow.import_id == job.id, ImportRow.row_number == number)
        await session.execute(update(ImportRow).where(*place).values(raw=row.raw))
    await session.flush()


@dataclass(frozen=True)
class Sampled:
    """A row of the sample; `raw` is null once its person was erased, and then nobody needs to find anything."""

    row_number: int
    raw: dict[str, Any] | None
    finding: Finding | None
    note: str | None
    found_at: datetime | None


async def sample(session: AsyncSession, import_id: UUID) -> list[Sampled]:
    """The rows drawn, in the order of the file."""
    same = (ImportRow.import_id == ImportSample.import_id) & (ImportRow.row_number == ImportSample.row_number)
    wanted = (ImportSample.row_number, ImportRow.raw, ImportSample.finding, ImportSample.note, ImportSample.found_at)
    query = select(*wanted).outerjoin(ImportRow, same).where(ImportSample.import_id == import_id)
    return [Sampled(*row) for row in await session.execute(query.order_by(ImportSample.row_number))]


async def find(
    session: AsyncSession,
    job: Import,
    row_number: int,
    finding: Finding,
    *,
    note: str | None,
    actor: Actor,
    now: datetime,
) -> None:
    """Write down what opening a row's proof showed; raises Forbidden for whoever brought the file, NotFound."""
    _check(job, actor)
    drawn = await session.get(ImportSample, (job.id, row_number), with_for_update=True)
    if drawn is None:
        raise NotFound("this row is not in the sample", row_number=row_number)
    drawn.finding, drawn.note = finding, mask_text(note) if note else None
    drawn.found_by, drawn.found_at = actor.user_id, now
    await session.flush()


async def approve(session: AsyncSession, job: Import, *, actor: Actor, now: datetime) -> None:
    """Let an import's consents be recorded; raises Conflict while a row of the sample is unopened or unproven."""
    _check(job, actor)
    rows = [row for row in await sample(session, job.id) if row.raw is not None]
    unproven = [row.row_number for row in rows if row.finding is Finding.UNPROVEN]
    open_rows = [row.row_number for row in rows if row.finding is None]
    if unproven:
        raise Conflict(f"{_rows(unproven)} not proven: refuse the file, or find the proof and say so", rows=unproven)
    if open_rows:
        raise Conflict(f"open the proof of every row of the sample first: {_rows(open_rows)} not", rows=open_rows)
    job.approved_by, job.approved_at = actor.user_id, now
    job.claims = {**(job.claims or {}), SEEN: job.verdicts.get(ImportOutcome.ACCEPTED, 0)}


def refuse_more(job: Import, settings: Settings) -> None:
    """Raise RuleViolation once so many more opt-ins were accepted than when it was approved that nobody saw them.

    A row that could not be used when the sample was drawn can be by now: its notice was published, say.
    """
    seen = (job.claims or {}).get(SEEN)
    if seen is not None and job.verdicts.get(ImportOutcome.ACCEPTED, 0) > seen + settings.import_approval_above:
        raise RuleViolation(f"more opt-ins can be used now than the {seen:,} that were approved: upload the file again")


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:5]) + (" and others" if len(numbers) > 5 else "")
    return f"row {shown} is" if len(numbers) == 1 else f"rows {shown} are"


def refusal(job: Import, *, reason: str, actor: Actor) -> str:
    """What whoever brought the file reads; raises as `find` does."""
    _check(job, actor)
    return f"refused by {actor.name}: {mask_text(reason.strip())}"


def is_own(job: Import, actor: Actor) -> bool:
    """Whether they brought the file or ever vouched for it, so that somebody else has to decide."""
    said = job.attestation or {}
    who = {str(job.created_by), said.get("user_id"), *said.get("before", "").split()}
    return actor.user_id is not None and str(actor.user_id) in who


def _check(job: Import, actor: Actor) -> None:
    if job.status is not ImportStatus.AWAITING:
        raise Conflict("this import does not wait for an approval", status=job.status)
    if actor.user_id is None or is_own(job, actor):
        raise Forbidden("somebody else than who brought or vouched for the file decides, signed in by name")


async def batch_refs(session: AsyncSession, job: Import) -> dict[str, str]:
    """What the ledger keeps of a file whose recording ended: ids, hashes and counts, nobody's name."""
    found = Counter(row.finding for row in await sample(session, job.id))
    outs = ImportOutcome.OPT_OUT_APPLIED
    recorded = {outs: job.verdicts.get(outs, 0)} if job.dry_run else job.verdicts
    refs = {
        "import_batch": str(job.id),
        "sha256": job.sha256,
        "rows": str(job.rows_total or job.rows_done),
        "verdicts": ",".join(f"{name}={many}" for name, many in sorted(recorded.items())),
        "outcome": job.status.value,
    }
    if job.attestation is not None:
        refs |= {
            "attestation_sha256": hashlib.sha256(jcs(job.attestation).encode()).hexdigest(),
            "statement": job.attestation["statement"],
            "attested_by": job.attestation.get("user_id", "api_key"),
        }
    if job.approved_by is not None:
        refs |= {"approved_by": str(job.approved_by), "sample": f"proven={found[Finding.PROVEN]}"}
    return refs
