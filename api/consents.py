"""Consent: one event at a time, the registries behind it, the ledger, and audit packages."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody
from litestar.response import File
from msgspec import Meta, Struct, field
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import AUDIT, CONSENT, EVERYBODY, READ_PEOPLE, AuthedRequest
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.sentences import WORDS
from api.state import Db, Held, Now
from api.state import Parts as ApiParts
from core.consent.acts import MARKETING, Act, ActorType, Method
from core.consent.state import EventType, Grade, State, is_scope
from core.errors import Conflict, RuleViolation
from core.models import Checkpoint, Export, Notice, Purpose
from core.services import consents, contacts, erased, exports, people
from core.services.erased import Standing
from core.services.people import Actor
from core.shapes import COUNTRY
from core.statuses import WorkStatus


class ConsentIn(Struct, forbid_unknown_fields=True):
    """An opt-in or opt-out. An opt-out needs a person and nothing more."""

    action: Literal["opt_in", "opt_out"]
    source_record_id: Annotated[str, Meta(min_length=1, max_length=200)]
    occurred_at: datetime
    phone: str | None = None
    contact_id: UUID | None = None
    purpose: str | None = None  # of an opt-out: a purpose, or all marketing when left out
    method: str = "api"
    notice_id: UUID | None = None
    collection_point: str | None = None
    language: str | None = None
    evidence: dict[str, str] = field(default_factory=dict)


class ConsentOut(Struct):
    contact_id: UUID
    seq: int
    state: str
    rule: str  # the rule that decided; 14: refused, because the person said stop
    grade: str | None
    is_duplicate: bool


class PurposeOut(Struct):
    code: str
    version: int
    controller: str
    description: dict[str, Any]
    min_grade: str
    validity_days: int
    needs_consent: bool
    halted: bool

    @classmethod
    def of(cls, purpose: Purpose) -> Self:
        return cls(
            purpose.code,
            purpose.version,
            purpose.controller,
            purpose.description,
            purpose.min_grade,
            purpose.validity_days,
            purpose.needs_consent,
            purpose.halted,
        )


class NoticeOut(Struct):
    id: UUID
    code: str
    version: int
    language: str
    controller: str
    purposes: list[Any]
    text: str
    withdrawal_info: str
    content_hash: str
    effective_from: datetime
    effective_to: datetime | None
    invalid_at: datetime | None  # found defective: no consent rests on it any more

    @classmethod
    def of(cls, notice: Notice) -> Self:
        return cls(
            notice.id,
            notice.code,
            notice.version,
            notice.language,
            notice.controller,
            notice.purposes,
            notice.text,
            notice.withdrawal_info,
            notice.content_hash,
            notice.effective_from,
            notice.effective_to,
            notice.invalid_at,
        )


class ConsentController(Controller):
    path = "/"
    tags = ("Consent",)

    @post("/consents", guards=[READ_PEOPLE])
    async def record(
        self, data: JSONBody[ConsentIn], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> Response[ConsentOut]:
        """Record an opt-in or an opt-out; the same source_record_id is recorded once.

        A number whose person was erased gets no contact: its opt-in is refused (409), since only they can begin again,
        by writing. Its opt-out is in force already: the answer is the event that says so, as a duplicate.
        """
        if (data.phone is None) == (data.contact_id is None):
            raise RuleViolation("name the person by phone or by contact_id", field="phone")
        if data.occurred_at.tzinfo is None:
            raise RuleViolation("occurred_at needs its time zone", field="occurred_at")
        codes = [purpose.code for purpose in await consents.list_purposes(session)]
        if data.purpose is not None and data.purpose not in codes and not is_scope(data.purpose):
            # An opt-out of a purpose that does not exist would stop nothing.
            raise RuleViolation(f"there is no such purpose: use one of {', '.join(codes)}", field="purpose")
        methods = {method.value for method in Method}
        if data.method not in methods:
            raise RuleViolation(f"method is one of {', '.join(sorted(methods))}", field="method")

        async def make() -> ConsentOut:
            gone = await _gone(session, data.phone, parts) if data.phone is not None else None
            if gone is not None and data.action == "opt_in":
                raise Conflict(erased.GONE)
            if gone is not None:
                return ConsentOut(gone.contact_id, gone.seq, State.WITHDRAWN.value, "23", None, is_duplicate=True)
            contact_id = data.contact_id or await contacts.find_or_make(
                session, str(data.phone), region=parts.settings.country
            )
            is_opt_out = data.action == "opt_out"
            act = Act(
                contact_id=contact_id,
                event_type=EventType.WITHDRAWN if is_opt_out else EventType.GRANTED,
                purpose=data.purpose or (MARKETING if is_opt_out else "marketing"),
                source="api",
                source_key=f"{request.user.id}|{data.source_record_id}",
                occurred_at=data.occurred_at,
                actor=ActorType.API if request.user.user_id is None else ActorType.STAFF,
                actor_id=request.user.id,
                method=Method(data.method),
                collection_point=data.collection_point,
                notice_id=data.notice_id,
                language=data.language,
                evidence=data.evidence,
            )
            (outcome,) = await consents.record(session, [act], keyring=parts.keyring, settings=parts.settings, now=now)
            await people.note(session, request.user, f"consent.{data.action}", "contact", contact_id)
            grade = outcome.grade.value if outcome.grade else None
            return ConsentOut(
                outcome.contact_id, outcome.seq, outcome.state.value, outcome.rule, grade, outcome.is_duplicate
            )

        return await once(request, session, ConsentOut, make)

    @get("/purposes", guards=[EVERYBODY])
    async def purposes(self, session: Db) -> PageOut[PurposeOut]:
        return PageOut([PurposeOut.of(purpose) for purpose in await consents.list_purposes(session)], None)

    @get("/notices", guards=[EVERYBODY])
    async def notices(self, session: Db) -> PageOut[NoticeOut]:
        return PageOut([NoticeOut.of(notice) for notice in await consents.list_notices(session)], None)


async def _gone(session: AsyncSession, number: str, parts: ApiParts) -> Standing | None:
    return await erased.standing(session, number, region=parts.settings.country, keyring=parts.keyring)


class CheckpointOut(Struct):
    size: int
    root: str
    created_at: datetime

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        return cls(checkpoint.size, checkpoint.root, checkpoint.created_at)


class LedgerOut(Struct):
    size: int
    checkpoint: CheckpointOut | None
    fingerprint: str  # of the public key that signs checkpoints: compare it with what you were told elsewhere


class LedgerController(Controller):
    path = "/ledger"
    tags = ("Consent",)

    @get(guards=[AUDIT])
    async def read(self, parts: Held, session: Db) -> LedgerOut:
        """How long the ledger is, and its newest signed checkpoint."""
        size, newest = await exports.ledger_standing(session)
        return LedgerOut(size, CheckpointOut.of(newest) if newest else None, parts.keyring.fingerprint)


class AuditIn(Struct, forbid_unknown_fields=True):
    """Which consents; without filters all of them."""

    reason: Annotated[str, Meta(min_length=5, max_length=300, pattern=WORDS)]
    purpose: str | None = None
    country: Annotated[str, Meta(pattern=COUNTRY)] | None = None
    state: State | None = None
    grade: Grade | None = None  # the following ask how the consent in force was given
    method: Method | None = None
    notice_id: UUID | None = None
    collection_point: Annotated[str, Meta(max_length=200)] | None = None
    import_id: UUID | None = None
    as_of_seq: Annotated[int, Meta(ge=1)] | None = None  # as the newest checkpoint of at most so many records saw it
    campaign_id: UUID | None = None
    contact_ids: Annotated[list[UUID], Meta(max_length=1000)] | None = None


class ExportOut(Struct):
    id: UUID
    kind: str
    status: WorkStatus
    filters: dict[str, Any]
    reason: str
    bytes: int | None
    sha256: str | None
    facts: dict[str, Any]
    error: str | None
    created_at: datetime
    finished_at: datetime | None
    needs_approval: bool  # it names more than 1,000 people, and nobody else has agreed yet
    approved_at: datetime | None
    mine: bool  # asked for by whoever reads this: somebody else has to approve it
    campaign_name: str | None  # of the campaign it is limited to

    @classmethod
    def of(cls, export: Export, reader: Actor, names: Mapping[str, str]) -> Self:
        return cls(
            export.id,
            export.kind,
            export.status,
            export.filters,
            export.reason,
            export.bytes,
            export.sha256,
            export.facts,
            export.error,
            export.created_at,
            export.finished_at,
            exports.waits_for_approval(export),
            export.approved_at,
            export.created_by is not None and export.created_by == reader.user_id,
            names.get(str(export.filters.get("campaign_id"))),
        )


async def _export(session: AsyncSession, export: Export, request: AuthedRequest) -> ExportOut:
    return ExportOut.of(export, request.user, await exports.campaign_names(session, [export]))


class AuditController(Controller):
    path = "/audits"
    tags = ("Consent",)

    @get(guards=[AUDIT])
    async def list_audits(
        self, request: AuthedRequest, session: Db, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[ExportOut]:
        found = await exports.list_page(session, limit=limit, cursor=cursor)
        names = await exports.campaign_names(session, found.items)
        return PageOut([ExportOut.of(export, request.user, names) for export in found.items], found.next)

    @post(guards=[CONSENT], status_code=202)
    async def create(self, data: JSONBody[AuditIn], request: AuthedRequest, session: Db) -> Response[ExportOut]:
        """Ask for a package an outsider can verify offline; a worker builds it."""

        async def make() -> ExportOut:
            asked = msgspec.to_builtins(data)
            filters = {name: value for name, value in asked.items() if name != "reason" and value not in (None, [])}
            export = await exports.add(session, filters=filters, reason=data.reason, actor=request.user)
            await people.note(session, request.user, "audit.requested", "export", export.id, reason=data.reason)
            return await _export(session, export, request)

        return await once(request, session, ExportOut, make, status=202)

    @get("/{export_id:uuid}", guards=[AUDIT])
    async def read(self, export_id: FromPath[UUID], request: AuthedRequest, session: Db) -> ExportOut:
        return await _export(session, await exports.get(session, export_id), request)

    @post("/{export_id:uuid}/approve", guards=[CONSENT], status_code=200)
    async def approve(self, export_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now) -> ExportOut:
        """Let a package of more than 1,000 people out; only somebody else than who asked for it may."""
        export = await exports.approve(session, export_id, actor=request.user, now=now)
        await people.note(session, request.user, "audit.approved", "export", export.id)
        return await _export(session, export, request)

    @get("/{export_id:uuid}/download", guards=[AUDIT])
    async def download(self, export_id: FromPath[UUID], request: AuthedRequest, session: Db) -> File:
        """The package as a ZIP file; who fetched it is on record."""
        export = await exports.get(session, export_id)
        path = exports.file_of(export)
        await people.note(session, request.user, "audit.downloaded", "export", export.id)
        return File(path, filename=path.name, media_type="application/zip")
