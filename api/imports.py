"""Imports: upload a table of contacts and consents, watch it, fetch what was rejected."""

import csv
import hashlib
import io
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
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.sentences import COUNTRY, decoding_error
from api.state import Db, Held, Parts
from core.errors import AppError, RuleViolation
from core.export_text import harmless
from core.models import Import, ImportRow
from core.services import audiences, imports, people
from core.statuses import AudienceKind, WorkStatus

MOST_BYTES = 2 << 30


class OptionsIn(Struct, forbid_unknown_fields=True):
    """How to read the file and where its people go."""

    region: Annotated[str, msgspec.Meta(pattern=COUNTRY)] | None = None
    columns: dict[str, str] = msgspec.field(default_factory=dict)
    audience_id: UUID | None = None
    audience_name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None


class ImportIn(Struct):
    file: UploadFile
    options: str = "{}"


class ImportOut(Struct):
    id: UUID
    filename: str
    bytes: int
    sha256: str
    status: WorkStatus
    error: str | None
    rows_total: int | None
    rows_done: int
    verdicts: dict[str, int]
    options: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Import) -> Self:
        return cls(
            id=job.id,
            filename=job.filename,
            bytes=job.bytes,
            sha256=job.sha256,
            status=job.status,
            error=job.error,
            rows_total=job.rows_total,
            rows_done=job.rows_done,
            verdicts=job.verdicts,
            options=job.options,
            created_at=job.created_at,
            finished_at=job.finished_at,
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


class ImportController(Controller):
    path = "/imports"
    tags = ("Imports",)

    @get(guards=[READ_PEOPLE])
    async def list_imports(self, session: Db, limit: Limit = 50, cursor: Cursor = None) -> PageOut[ImportOut]:
        """Newest first."""
        found = await imports.list_page(session, limit=limit, cursor=cursor)
        return PageOut([ImportOut.of(job) for job in found.items], found.next)

    @post(guards=[MARKETING], request_max_body_size=MOST_BYTES)
    async def upload(
        self,
        data: MultipartBody[ImportIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
    ) -> Response[ImportOut]:
        """Take in a CSV, TSV or XLSX file; a worker gives every row its verdict."""
        try:
            options = msgspec.json.decode(data.options, type=OptionsIn)
        except msgspec.DecodeError as wrong:
            told = decoding_error(str(wrong), field="options")
            raise RuleViolation(told.message, field=told.field) from wrong

        async def make() -> ImportOut:
            import_id = uuid4()
            filename = Path(data.file.filename or "upload").name[:200]
            path, digest = await _keep(data.file, parts.settings.data_dir / "imports", import_id)
            try:
                read = imports.read_options(
                    path,
                    region=options.region or parts.settings.country,
                    columns=options.columns,
                    audience_id=await _audience(session, options, request),
                )
            except AppError:
                path.unlink()
                raise
            job = await imports.add(
                session,
                import_id=import_id,
                path=path,
                filename=filename,
                sha256=digest,
                options=read,
                created_by=request.user.user_id,
            )
            await people.note(session, request.user, "import.uploaded", "import", job.id)
            return ImportOut.of(job)

        return await once(request, session, ImportOut, make, digest=await _digest(data))

    @get("/{import_id:uuid}", guards=[READ_PEOPLE])
    async def read(self, import_id: FromPath[UUID], session: Db) -> ImportOut:
        """Progress, and the verdicts so far; at the end they add up to the rows."""
        return ImportOut.of(await imports.get(session, import_id))

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

    @get("/{import_id:uuid}/rejects.csv", guards=[READ_PEOPLE], media_type="text/csv")
    async def rejects(self, import_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db) -> Stream:
        """Rejected and not sendable rows as CSV, each with its row number and reason."""
        job = await imports.get(session, import_id)
        await people.note(session, request.user, "import.rejects_downloaded", "import", job.id)
        headers = {"content-disposition": f'attachment; filename="rejects-{import_id}.csv"'}
        return Stream(_rejects(parts, import_id), media_type="text/csv; charset=utf-8", headers=headers)


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


async def _audience(session: AsyncSession, options: OptionsIn, request: AuthedRequest) -> UUID | None:
    if options.audience_id is not None:
        audience = await audiences.get(session, options.audience_id)
        if audience.kind is not AudienceKind.STATIC:
            raise RuleViolation("people can be put on a static list only", field="options.audience_id")
        return audience.id
    if options.audience_name:
        made = await audiences.add(
            session,
            name=options.audience_name,
            kind=AudienceKind.STATIC,
            rule=None,
            created_by=request.user.user_id,
        )
        return made.id
    return None


async def _rejects(parts: Parts, import_id: UUID) -> AsyncIterator[str]:
    """CSV text, a page of rows at a time."""
    columns: list[str] | None = None
    for verdict in imports.DOWNLOADED:
        cursor: str | None = None
        while True:
            async with parts.sessions() as session:
                found = await imports.rows_page(session, import_id, verdict=verdict, limit=200, cursor=cursor)
            if columns is None and found.items:
                columns = sorted({name for row in found.items for name in row.raw or {}})
                yield _line(["row_number", "verdict", "reason", *columns])
            for row in found.items:
                raw = row.raw or {}
                yield _line(
                    [str(row.row_number), row.verdict, row.reason or "", *(raw.get(c, "") for c in columns or [])]
                )
            cursor = found.next
            if cursor is None:
                break
    if columns is None:
        yield _line(["row_number", "verdict", "reason"])


def _line(cells: list[str]) -> str:
    target = io.StringIO()
    csv.writer(target).writerow([harmless(cell) for cell in cells])
    return target.getvalue()
