"""Imports: upload a table of contacts and consents, watch it, fetch what was rejected."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, MultipartBody, QueryParameter
from litestar.response import Stream
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import MARKETING, READ_PEOPLE, AuthedRequest
from api.downloads import csv_stream, line
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.sentences import decoding_error
from api.state import Db, Held, Now, Parts
from core import tabular
from core.consent.registry import load_registry
from core.errors import AppError, RuleViolation
from core.models import Import, ImportRow
from core.services import attributes, audiences, imports, people
from core.services.imports_columns import HEADERS, VERDICT_COLUMNS, Options, checked_zone, mapped_columns
from core.services.imports_reading import preview
from core.services.imports_recording import DOWNLOADED
from core.services.imports_rows import LEFT_OUT, Row, Value
from core.shapes import COUNTRY
from core.statuses import AudienceKind, ImportStatus, MergePolicy
from core.tabular import Format

MOST_BYTES = 2 << 30
PREVIEWED = 20  # rows
MOST_REASONS = 20


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

    @classmethod
    def of(cls, job: Import) -> Self:
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
        )


class ImportRowOut(Struct):
    row_number: int
    verdict: str
    reason: str | None
    contact_id: UUID | None
    raw: dict[str, Any] | None

    @classmethod
    def of(cls, row: ImportRow) -> Self:
        return cls(row.row_number, row.verdict, row.reason, row.contact_id, row.raw)


class WhyOut(Struct):
    """A reason for which rows were not used as they came: how many, and the first of them."""

    verdict: str
    reason: str | None
    rows: int
    first_row: int

    @classmethod
    def of(cls, why: imports.Why) -> Self:
        return cls(why.verdict, why.reason, why.rows, why.first_row)


class ImportController(Controller):
    path = "/imports"
    tags = ("Imports",)

    @get(guards=[READ_PEOPLE])
    async def list_imports(self, session: Db, limit: Limit = 50, cursor: Cursor = None) -> PageOut[ImportOut]:
        """Newest first."""
        found = await imports.list_page(session, limit=limit, cursor=cursor)
        return PageOut([ImportOut.of(job) for job in found.items], found.next)

    @post("/preview", guards=[MARKETING], request_max_body_size=MOST_BYTES, status_code=200)
    async def preview(self, data: MultipartBody[ImportIn], parts: Held, session: Db, now: Now) -> PreviewOut:
        """How a file would be read: its format, its columns and what they could be, its first rows. Keeps nothing.

        The start of a large text file is enough.
        """
        options = _options(data)
        path, _ = await _keep(data.file, parts.settings.data_dir / "imports", uuid4())
        try:
            form = tabular.detect(path, encoding=options.encoding)
            header = tabular.columns(path, form)
            columns = mapped_columns(header, options.columns, for_preview=True)
            shown = _read(options, parts, columns, form)
            purposes = frozenset((await load_registry(session)).purposes)
            kinds = await attributes.definitions(session)
            rows = []
            if "phone" in columns:
                rows = preview(path, shown, purposes=purposes, kinds=kinds, now=now, rows=PREVIEWED)
        finally:
            path.unlink()
        named = [name for name in header if name]
        return PreviewOut(FormatOut.of(form), named, list(HEADERS), columns, [PreviewRowOut.of(*each) for each in rows])

    @post(guards=[MARKETING], request_max_body_size=MOST_BYTES)
    async def upload(
        self,
        data: MultipartBody[ImportIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
    ) -> Response[ImportOut]:
        """Take in a CSV, TSV, XLSX or Parquet file; a worker gives every row its verdict."""
        options = _options(data)

        async def make() -> ImportOut:
            import_id = uuid4()
            filename = Path(data.file.filename or "upload").name[:200]
            path, digest = await _keep(data.file, parts.settings.data_dir / "imports", import_id)
            try:
                form = tabular.detect(path, encoding=options.encoding)
                columns = mapped_columns(tabular.columns(path, form), options.columns)
                read = _read(options, parts, columns, form)
                job = await imports.add(
                    session,
                    import_id=import_id,
                    path=path,
                    filename=filename,
                    sha256=digest,
                    options=msgspec.structs.replace(read, audience_id=await _audience(session, options)),
                    audience_name=options.audience_name,
                    dry_run=options.dry_run,
                    created_by=request.user.user_id,
                )
            except AppError:
                path.unlink()
                raise
            await people.note(session, request.user, "import.uploaded", "import", job.id)
            return ImportOut.of(job)

        return await once(request, session, ImportOut, make, digest=await _digest(data))

    @get("/{import_id:uuid}", guards=[READ_PEOPLE])
    async def read(self, import_id: FromPath[UUID], session: Db) -> ImportOut:
        """Progress, and the verdicts so far; at the end they add up to the rows."""
        return ImportOut.of(await imports.get(session, import_id))

    @post("/{import_id:uuid}/confirm", guards=[MARKETING], status_code=200)
    async def confirm(self, import_id: FromPath[UUID], request: AuthedRequest, session: Db) -> ImportOut:
        """Import for real what was checked."""
        job = await imports.confirm(session, import_id)
        await people.note(session, request.user, "import.confirmed", "import", import_id)
        return ImportOut.of(job)

    @post("/{import_id:uuid}/pause", guards=[MARKETING], status_code=200)
    async def pause(self, import_id: FromPath[UUID], request: AuthedRequest, session: Db) -> ImportOut:
        """Stop after the rows in hand; what was recorded stays, and `resume` goes on behind it."""
        job = await imports.pause(session, import_id)
        await people.note(session, request.user, "import.paused", "import", import_id)
        return ImportOut.of(job)

    @post("/{import_id:uuid}/resume", guards=[MARKETING], status_code=200)
    async def resume(self, import_id: FromPath[UUID], request: AuthedRequest, session: Db) -> ImportOut:
        job = await imports.resume(session, import_id)
        await people.note(session, request.user, "import.resumed", "import", import_id)
        return ImportOut.of(job)

    @post("/{import_id:uuid}/cancel", guards=[MARKETING], status_code=200)
    async def cancel(self, import_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now) -> ImportOut:
        """Leave the rest of the file out; what was recorded stays until it is undone."""
        job = await imports.cancel(session, import_id, now=now)
        await people.note(session, request.user, "import.cancelled", "import", import_id)
        return ImportOut.of(job)

    @post("/{import_id:uuid}/undo", guards=[MARKETING], status_code=200)
    async def undo(self, import_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now) -> ImportOut:
        """Take back people, values, memberships and consents the import brought, within 7 days of its end.

        Nobody is messaged on its consents any more. Opt-outs stay, and whoever said something or was written to.
        """
        job = await imports.undo(session, import_id, actor=request.user, now=now)
        await people.note(session, request.user, "import.undone", "import", import_id)
        return ImportOut.of(job)

    @get("/{import_id:uuid}/rows", guards=[READ_PEOPLE])
    async def rows(
        self,
        import_id: FromPath[UUID],
        session: Db,
        verdict: Annotated[str | None, QueryParameter(max_length=50)] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[ImportRowOut]:
        found = await imports.rows_page(session, import_id, verdict=verdict, limit=limit, cursor=cursor)
        return PageOut([ImportRowOut.of(row) for row in found.items], found.next)

    @get("/{import_id:uuid}/reasons", guards=[READ_PEOPLE])
    async def reasons(self, import_id: FromPath[UUID], session: Db) -> list[WhyOut]:
        """Why rows were rejected or cannot be messaged, the most frequent reasons first."""
        found = await imports.reasons(session, import_id, verdicts=DOWNLOADED, limit=MOST_REASONS)
        return [WhyOut.of(why) for why in found]

    @get("/{import_id:uuid}/rejects.csv", guards=[READ_PEOPLE], media_type="text/csv")
    async def rejects(self, import_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db) -> Stream:
        """Rejected and not sendable rows as CSV, each with its row number and reason."""
        job = await imports.get(session, import_id)
        await people.note(session, request.user, "import.rejects_downloaded", "import", job.id)
        return csv_stream(f"rejects-{import_id}", _rejects(parts, job))


async def _digest(data: ImportIn) -> str:
    """What makes two uploads the same: the file, its name and the options."""
    digest = hashlib.sha256(f"{data.file.filename}\0{data.options}\0".encode())
    while chunk := await data.file.read(1 << 20):
        digest.update(chunk)
    await data.file.seek(0)
    return digest.hexdigest()


async def _keep(upload: UploadFile, folder: Path, import_id: UUID) -> tuple[Path, str]:
    folder.mkdir(parents=True, exist_ok=True)
    path, digest = folder / f"{import_id}.upload", hashlib.sha256()
    with path.open("wb") as target:
        while chunk := await upload.read(1 << 20):
            digest.update(chunk)
            target.write(chunk)
    return path, digest.hexdigest()


def _options(data: ImportIn) -> OptionsIn:
    try:
        return msgspec.json.decode(data.options, type=OptionsIn)
    except msgspec.DecodeError as wrong:
        told = decoding_error(str(wrong), field="options")
        raise RuleViolation(told.message, field=told.field) from wrong


def _read(options: OptionsIn, parts: Parts, columns: dict[str, str], form: Format) -> Options:
    """How the file is to be read, with the organisation's own country and zone where none is named."""
    return Options(
        region=options.region or parts.settings.country,
        columns=columns,
        form=form,
        zone=checked_zone(options.zone or parts.settings.time_zone),
        merge=options.merge,
    )


async def _audience(session: AsyncSession, options: OptionsIn) -> UUID | None:
    """The list named by its id; one named anew is made when the import begins."""
    if options.audience_id is None:
        return None
    audience = await audiences.get(session, options.audience_id)
    if audience.kind is not AudienceKind.STATIC:
        raise RuleViolation("people can be put on a static list only", field="options.audience_id")
    return audience.id


async def _rejects(parts: Parts, job: Import) -> AsyncIterator[str]:
    """CSV text under the file's own column names, a page of rows at a time."""
    async with parts.sessions() as session:
        columns = await imports.columns_of_rejects(session, job.id)
    theirs: dict[str, str] = job.options.get("columns", {})
    yield line([*VERDICT_COLUMNS, *(theirs.get(name, name) for name in columns)])
    for verdict in DOWNLOADED:
        cursor: str | None = None
        while True:
            async with parts.sessions() as session:
                found = await imports.rows_page(session, job.id, verdict=verdict, limit=200, cursor=cursor)
            for row in found.items:
                raw = row.raw or {}
                yield line([row.row_number, row.verdict, row.reason, *(raw.get(name) for name in columns)])
            cursor = found.next
            if cursor is None:
                break
