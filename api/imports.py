"""Imports: upload a table of contacts and consents, watch it, fetch what was rejected."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery, JSONBody, MultipartBody, QueryParameter
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import MARKETING, READ_PEOPLE, AuthedRequest
from api.downloads import csv_stream, line
from api.idempotency import once
from api.import_shapes import (
    ConfirmIn,
    FormatOut,
    ImportIn,
    ImportOut,
    ImportRowOut,
    OptionsIn,
    PreviewOut,
    PreviewRowOut,
    StatementOut,
    WhyOut,
)
from api.paging import Cursor, Limit, PageOut
from api.sentences import decoding_error
from api.state import Db, Held, Now, Parts
from core import tabular
from core.consent.registry import load_registry
from core.errors import AppError, RuleViolation
from core.models import Import
from core.services import attributes, audiences, imports, imports_approval, people
from core.services.imports_approval import STATEMENT, STATEMENT_TEXT, Attestation
from core.services.imports_columns import HEADERS, VERDICT_COLUMNS, Options, checked_zone, mapped_columns
from core.services.imports_reading import preview
from core.services.imports_recording import DOWNLOADED
from core.services.people import Actor
from core.statuses import AudienceKind, ImportStatus
from core.tabular import Format

MOST_BYTES = 2 << 30
PREVIEWED = 20  # rows
MOST_REASONS = 20


class ImportController(Controller):
    path = "/imports"
    tags = ("Imports",)

    @get(guards=[READ_PEOPLE])
    async def list_imports(
        self,
        session: Db,
        parts: Held,
        status: FromQuery[ImportStatus | None] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[ImportOut]:
        """Newest first, all or those of one status: `awaiting` are those that wait for a second person."""
        found = await imports.list_page(session, status=status, limit=limit, cursor=cursor)
        return PageOut([ImportOut.of(job, parts.settings) for job in found.items], found.next)

    @get("/statement", guards=[READ_PEOPLE])
    async def statement(self) -> StatementOut:
        """What you say with `attestation`."""
        return StatementOut(STATEMENT, STATEMENT_TEXT)

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
        self, data: MultipartBody[ImportIn], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> Response[ImportOut]:
        """Take in a CSV, TSV, XLSX or Parquet file; a worker gives every row its verdict.

        Opt-ins are recorded once somebody vouches for them (`attestation`), and many of them once a second person
        has approved; until then the file is only checked.
        """
        options = _options(data)
        said = await _attested(session, options.attestation, request.user, now)

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
                    created_by=await imports_approval.behind(session, request.user),
                    attestation=said,
                )
            except AppError:
                path.unlink()
                raise
            await people.note(session, request.user, "import.uploaded", "import", job.id)
            return ImportOut.of(job, parts.settings)

        return await once(request, session, ImportOut, make, digest=await _digest(data))

    @get("/{import_id:uuid}", guards=[READ_PEOPLE])
    async def read(self, import_id: FromPath[UUID], session: Db, parts: Held) -> ImportOut:
        """Progress, and the verdicts so far; at the end they add up to the rows."""
        return ImportOut.of(await imports.get(session, import_id), parts.settings)

    @post("/{import_id:uuid}/confirm", guards=[MARKETING], status_code=200)
    async def confirm(
        self,
        import_id: FromPath[UUID],
        request: AuthedRequest,
        session: Db,
        parts: Held,
        now: Now,
        data: JSONBody[ConfirmIn | None] = None,
    ) -> ImportOut:
        """Import for real what was checked; many opt-ins wait for a second person first."""
        said = await _attested(session, data.attestation if data else None, request.user, now)
        job = await imports.confirm(session, import_id, attestation=said, settings=parts.settings)
        await people.note(session, request.user, "import.confirmed", "import", import_id)
        return ImportOut.of(job, parts.settings)

    @post("/{import_id:uuid}/pause", guards=[MARKETING], status_code=200)
    async def pause(self, import_id: FromPath[UUID], request: AuthedRequest, session: Db, parts: Held) -> ImportOut:
        """Stop after the rows in hand; what was recorded stays, and `resume` goes on behind it."""
        job = await imports.pause(session, import_id)
        await people.note(session, request.user, "import.paused", "import", import_id)
        return ImportOut.of(job, parts.settings)

    @post("/{import_id:uuid}/resume", guards=[MARKETING], status_code=200)
    async def resume(self, import_id: FromPath[UUID], request: AuthedRequest, session: Db, parts: Held) -> ImportOut:
        job = await imports.resume(session, import_id)
        await people.note(session, request.user, "import.resumed", "import", import_id)
        return ImportOut.of(job, parts.settings)

    @post("/{import_id:uuid}/cancel", guards=[MARKETING], status_code=200)
    async def cancel(
        self, import_id: FromPath[UUID], request: AuthedRequest, session: Db, parts: Held, now: Now
    ) -> ImportOut:
        """Leave the rest of the file out; what was recorded stays until it is undone."""
        job = await imports.cancel(session, import_id, keyring=parts.keyring, now=now)
        await people.note(session, request.user, "import.cancelled", "import", import_id)
        return ImportOut.of(job, parts.settings)

    @post("/{import_id:uuid}/undo", guards=[MARKETING], status_code=200)
    async def undo(
        self, import_id: FromPath[UUID], request: AuthedRequest, session: Db, parts: Held, now: Now
    ) -> ImportOut:
        """Take back people, values, memberships and consents the import brought, within 7 days of its end.

        Nobody is messaged on its consents any more. Opt-outs stay, and whoever said something or was written to.
        """
        job = await imports.undo(session, import_id, actor=request.user, keyring=parts.keyring, now=now)
        await people.note(session, request.user, "import.undone", "import", import_id)
        return ImportOut.of(job, parts.settings)

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


async def _attested(
    session: AsyncSession, said: Attestation | None, actor: Actor, now: datetime
) -> dict[str, Any] | None:
    return None if said is None else await imports_approval.attested(session, said, actor, now=now)


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
        columns = await imports.columns_of_rejects(session, job.id, verdicts=DOWNLOADED)
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
