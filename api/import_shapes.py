"""What goes in and out of `/api/imports`."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from litestar.datastructures import UploadFile
from msgspec import Struct

from api.sentences import WORDS
from core.models import Import, ImportRow
from core.services import imports, imports_approval
from core.services.imports_approval import Attestation, Need, Sampled
from core.services.imports_recording import DOWNLOADED
from core.services.imports_rows import LEFT_OUT, Row, Value
from core.settings import Settings
from core.shapes import COUNTRY
from core.statuses import Finding, ImportStatus, MergePolicy
from core.tabular import Format

BEFORE_RECORDING = (ImportStatus.CHECKED, ImportStatus.AWAITING)


class OptionsIn(Struct, forbid_unknown_fields=True):
    """How to read the file and where its people go.

    `columns` maps our fields to the file's columns; an empty name leaves a field out. `zone` is for times written
    without one, `region` for numbers written without a prefix, `encoding` (such as gb18030) for text whose bytes are
    taken for another. `dry_run` gives every row its verdict and writes nothing; confirm the import afterwards.
    """

    region: Annotated[str, msgspec.Meta(pattern=COUNTRY)] | None = None
    columns: dict[str, str] = msgspec.field(default_factory=dict)
    zone: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    encoding: Annotated[str, msgspec.Meta(max_length=20)] | None = None
    merge: MergePolicy = MergePolicy.FILL
    dry_run: bool = False
    audience_id: UUID | None = None
    audience_name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    attestation: Attestation | None = None


class ConfirmIn(Struct, forbid_unknown_fields=True):
    """Needed when the file has opt-ins and nobody made the statement at its upload."""

    attestation: Attestation | None = None


class ImportIn(Struct):
    file: UploadFile
    options: str = "{}"


class FormatOut(Struct):
    """What the file is; encoding and delimiter are of text only."""

    kind: str
    encoding: str | None
    delimiter: str | None

    @classmethod
    def of(cls, form: Format) -> Self:
        return cls(form.kind, form.encoding or None, form.delimiter or None)


class PreviewRowOut(Struct):
    """A row as it would be read: its number in E.164, or what is wrong with it; `mended` names repairs."""

    row_number: int
    phone: str | None
    country: str | None
    action: str | None
    occurred_at: datetime | None
    problem: str | None
    mended: list[str]
    values: dict[str, str]
    attributes: dict[str, Value]

    @classmethod
    def of(cls, row: Row, mended: tuple[str, ...]) -> Self:
        return cls(
            row.number,
            row.e164 or None,
            row.country or None,
            row.action or None,
            row.occurred_at,
            row.problem or row.remark,
            [each for each in mended if each != LEFT_OUT],
            row.values,
            row.attributes,
        )


class PreviewOut(Struct):
    format: FormatOut
    header: list[str]
    fields: list[str]  # what a column can be mapped to
    columns: dict[str, str]  # our field → the file's column, as named or suggested
    rows: list[PreviewRowOut]  # empty until a column holds phone numbers


class ImportOut(Struct):
    id: UUID
    filename: str
    bytes: int
    sha256: str
    status: ImportStatus
    dry_run: bool
    error: str | None
    rows_read: int
    rows_total: int | None
    rows_done: int
    verdicts: dict[str, int]
    notes: dict[str, int]
    options: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None
    undo_until: datetime | None
    undone: dict[str, int] | None
    claims: dict[str, Any] | None  # what it says about consent: opt-ins and -outs, how they were gathered, when
    attestation: dict[str, str] | None
    needs: Need | None  # what it lacks before its consents may be recorded
    approved_at: datetime | None

    @classmethod
    def of(cls, job: Import, settings: Settings) -> Self:
        return cls(
            id=job.id,
            filename=job.filename,
            bytes=job.bytes,
            sha256=job.sha256,
            status=job.status,
            dry_run=job.dry_run,
            error=job.error,
            rows_read=job.rows_read,
            rows_total=job.rows_total,
            rows_done=job.rows_done,
            verdicts=job.verdicts,
            notes=job.notes,
            options=job.options,
            created_at=job.created_at,
            finished_at=job.finished_at,
            undo_until=imports.undo_until(job),
            undone=job.undone,
            claims=job.claims,
            attestation=job.attestation,
            needs=imports_approval.need(job, settings) if job.status in BEFORE_RECORDING else None,
            approved_at=job.approved_at,
        )


class ImportRowOut(Struct):
    row_number: int
    verdict: str
    reason: str | None
    contact_id: UUID | None
    raw: dict[str, Any] | None

    @classmethod
    def of(cls, row: ImportRow) -> Self:
        """Of what is recorded only a sample is kept, and who brought the file is not to know which rows that is."""
        raw = row.raw if row.verdict in DOWNLOADED else None
        return cls(row.row_number, row.verdict, row.reason, row.contact_id, raw)


class WhyOut(Struct):
    """A reason for which rows were not used as they came: how many, and the first of them."""

    verdict: str
    reason: str | None
    rows: int
    first_row: int

    @classmethod
    def of(cls, why: imports.Why) -> Self:
        return cls(why.verdict, why.reason, why.rows, why.first_row)


class StatementOut(Struct):
    """What is said with `attestation`, in its current version."""

    version: str
    text: str


class FindingIn(Struct, forbid_unknown_fields=True):
    finding: Finding
    note: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class RefusalIn(Struct, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=500, pattern=WORDS)]


class SampledOut(Struct):
    """A row whose proof the second person opens; `raw` is null when its person was erased meanwhile."""

    row_number: int
    raw: dict[str, Any] | None
    finding: Finding | None
    note: str | None
    found_at: datetime | None

    @classmethod
    def of(cls, row: Sampled) -> Self:
        return cls(row.row_number, row.raw, row.finding, row.note, row.found_at)


class ApprovalOut(Struct):
    """An import that waits for a second person, with the rows they look at.

    `mine`: somebody else has to decide, and sees the rows.
    """

    job: ImportOut
    mine: bool
    sample: list[SampledOut]
