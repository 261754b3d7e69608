"""What people may ask about their data: access, portability, erasure; and the desk that answers in time."""

import hashlib
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import CONSENT, AuthedRequest
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.state import Db, Held, Now
from core.consent.state import EventType
from core.errors import RuleViolation
from core.models import DataRequest, SealedRecord
from core.services import consents, contacts, data_requests, erasure, holding, people, subject_access
from core.statuses import RequestKind, RequestStatus

Reason = Annotated[str, QueryParameter(min_length=5, max_length=300, description="Why; it is kept in the audit log")]
Text = Annotated[str, Meta(min_length=1, max_length=1000)]


class HeldOut(Struct):
    """What the law of the person's country keeps for a while: sealed, unreadable here, destroyed on `until`."""

    until: datetime
    rule: str
    evidence: int
    addresses: int

    @classmethod
    def of(cls, held: holding.Held | SealedRecord) -> Self:
        return cls(held.until, held.rule, held.evidence, held.addresses)


class ErasureOut(Struct):
    """What goes, and what stays; the certificate of an erasure. A rehearsal has no `seq`."""

    contact_id: UUID
    rehearsal: bool
    erased: dict[str, int]
    kept: dict[str, int]
    seq: int | None
    leaf_hash: str | None
    erased_at: datetime | None
    held: HeldOut | None = None


class RequestIn(Struct, forbid_unknown_fields=True):
    contact_id: UUID
    kind: RequestKind
    received_at: datetime
    channel: str
    identity_proof: Annotated[str, Meta(max_length=300)] | None = None
    note: Annotated[str, Meta(max_length=1000)] | None = None


class RequestOut(Struct):
    id: UUID
    kind: RequestKind
    status: RequestStatus
    contact_id: UUID
    phone_masked: str | None
    received_at: datetime
    due_at: datetime
    overdue: bool
    channel: str
    identity_proof: str | None
    note: str | None
    outcome: str | None
    closed_at: datetime | None
    facts: dict[str, Any]

    @classmethod
    def of(cls, request: DataRequest, number: str | None, now: datetime) -> Self:
        return cls(
            id=request.id,
            kind=request.kind,
            status=request.status,
            contact_id=request.contact_id,
            phone_masked=number,
            received_at=request.received_at,
            due_at=request.due_at,
            overdue=request.status is RequestStatus.OPEN and request.due_at < now,
            channel=request.channel,
            identity_proof=request.identity_proof,
            note=request.note,
            outcome=request.outcome,
            closed_at=request.closed_at,
            facts=request.facts,
        )


class CloseIn(Struct, forbid_unknown_fields=True):
    status: Literal["done", "refused"]
    outcome: Text


class ReasonIn(Struct, forbid_unknown_fields=True):
    reason: Text


class ProofIn(Struct, forbid_unknown_fields=True):
    identity_proof: Text


class PrivacyController(Controller):
    path = "/contacts"
    tags = ("Privacy",)

    @delete("/{contact_id:uuid}", guards=[CONSENT], status_code=200)
    async def erase(
        self,
        contact_id: FromPath[UUID],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
        reason: Reason,
        dry_run: Annotated[bool, QueryParameter(description="Only count what would go")] = False,
        request_id: Annotated[UUID | None, QueryParameter(description="The data request this answers")] = None,
    ) -> ErasureOut:
        """Erase a person for good: everything that names them, in every table, file and export."""
        asked = await data_requests.get(session, request_id) if request_id else None
        if asked is not None and (asked.contact_id != contact_id or asked.kind is not RequestKind.ERASURE):
            raise RuleViolation("this is not a request of that person to be erased", field="request_id")
        rehearsal = await session.begin_nested()
        if asked is not None and not dry_run:
            closed = RequestStatus.DONE
            await data_requests.close(session, asked.id, status=closed, outcome="", actor=request.user, now=now)
        done = await erasure.erase(
            session,
            contact_id,
            actor=request.user,
            keyring=parts.keyring,
            settings=parts.settings,
            now=now,
            request_id=request_id,
        )
        held = HeldOut.of(done.held) if done.held else None
        if dry_run:
            await rehearsal.rollback()
            return ErasureOut(contact_id, True, done.counts, done.kept, None, None, None, held)
        erasure.remove_files(done.files)
        if asked is not None:
            asked.facts = {**asked.facts, "seq": done.seq, "leaf_hash": done.leaf_hash, "erased": done.counts}
            asked.facts |= {"held": msgspec.to_builtins(held)} if held else {}
        await people.note(
            session, request.user, "contact.erased", "contact", contact_id, reason=reason, counts=done.counts
        )
        return ErasureOut(contact_id, False, done.counts, done.kept, done.seq, done.leaf_hash, now, held)

    @get("/{contact_id:uuid}/access", guards=[CONSENT])
    async def access(
        self,
        contact_id: FromPath[UUID],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
        reason: Reason,
        form: Annotated[Literal["json", "html"], QueryParameter(description="For programs, or to print")] = "json",
    ) -> Response[bytes]:
        """Everything held about the person, for the person (GDPR 15)."""
        document = await subject_access.access(session, contact_id, settings=parts.settings, now=now)
        return await _handed_out(document, form, contact_id, request, parts, session, now, reason)

    @get("/{contact_id:uuid}/portability", guards=[CONSENT])
    async def portability(
        self,
        contact_id: FromPath[UUID],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
        reason: Reason,
    ) -> Response[bytes]:
        """What the person gave, as JSON to take elsewhere (GDPR 20)."""
        document = await subject_access.portability(session, contact_id, settings=parts.settings, now=now)
        return await _handed_out(document, "json", contact_id, request, parts, session, now, reason)


async def _handed_out(
    document: dict[str, Any],
    form: str,
    contact_id: UUID,
    request: AuthedRequest,
    parts: Held,
    session: AsyncSession,
    now: datetime,
    reason: str,
) -> Response[bytes]:
    """The document as a download; that it was made is in the ledger and in the audit log."""
    is_html = form == "html"
    content = subject_access.readable(document).encode() if is_html else msgspec.json.encode(document)
    export_id = uuid4()
    digest = hashlib.sha256(content).hexdigest()
    await consents.record_system(
        session,
        EventType.EXPORT_CREATED,
        source_key=str(export_id),
        refs={"export_id": str(export_id), "sha256": digest},
        keyring=parts.keyring,
        now=now,
        actor_id=request.user.user_id,
    )
    action = f"contact.{document['kind']}_given"
    await people.note(session, request.user, action, "contact", contact_id, reason=reason, export_id=str(export_id))
    name = f"{document['kind']}-{contact_id}.{form}"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    media_type = "text/html; charset=utf-8" if is_html else "application/json"
    return Response(content, media_type=media_type, headers=headers)


class RequestController(Controller):
    path = "/data-requests"
    tags = ("Privacy",)

    @get(guards=[CONSENT])
    async def list_requests(
        self,
        session: Db,
        now: Now,
        status: FromQuery[RequestStatus | None] = None,
        contact_id: FromQuery[UUID | None] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[RequestOut]:
        """Newest first."""
        found = await data_requests.list_page(session, status=status, contact_id=contact_id, limit=limit, cursor=cursor)
        numbers = await contacts.masked_numbers(session, [each.contact_id for each in found.items])
        return PageOut([RequestOut.of(each, numbers[each.contact_id], now) for each in found.items], found.next)

    @post(guards=[CONSENT])
    async def create(
        self, data: JSONBody[RequestIn], request: AuthedRequest, session: Db, now: Now
    ) -> Response[RequestOut]:
        """Take a request in; `due_at` says until when it is to be answered."""

        async def make() -> RequestOut:
            made = await data_requests.add(
                session,
                contact_id=data.contact_id,
                kind=data.kind,
                received_at=data.received_at,
                channel=data.channel,
                identity_proof=data.identity_proof,
                note=data.note,
                actor=request.user,
                now=now,
            )
            await people.note(session, request.user, "data_request.opened", "data_request", made.id)
            return await _out(session, made, now)

        return await once(request, session, RequestOut, make)

    @get("/{request_id:uuid}", guards=[CONSENT])
    async def read(self, request_id: FromPath[UUID], session: Db, now: Now) -> RequestOut:
        return await _out(session, await data_requests.get(session, request_id), now)

    @post("/{request_id:uuid}/proof", guards=[CONSENT], status_code=200)
    async def prove(
        self, request_id: FromPath[UUID], data: JSONBody[ProofIn], request: AuthedRequest, session: Db, now: Now
    ) -> RequestOut:
        """Write down how the person proved who they are."""
        proven = await data_requests.prove(session, request_id, identity_proof=data.identity_proof)
        await people.note(session, request.user, "data_request.proven", "data_request", request_id)
        return await _out(session, proven, now)

    @post("/{request_id:uuid}/extend", guards=[CONSENT], status_code=200)
    async def extend(
        self, request_id: FromPath[UUID], data: JSONBody[ReasonIn], request: AuthedRequest, session: Db, now: Now
    ) -> RequestOut:
        """Two more months, once."""
        extended = await data_requests.extend(session, request_id, reason=data.reason)
        await people.note(session, request.user, "data_request.extended", "data_request", request_id)
        return await _out(session, extended, now)

    @post("/{request_id:uuid}/close", guards=[CONSENT], status_code=200)
    async def close(
        self, request_id: FromPath[UUID], data: JSONBody[CloseIn], request: AuthedRequest, session: Db, now: Now
    ) -> RequestOut:
        """Answered, or refused with the reason."""
        closed = await data_requests.close(
            session,
            request_id,
            status=RequestStatus(data.status),
            outcome=data.outcome,
            actor=request.user,
            now=now,
        )
        await people.note(session, request.user, f"data_request.{data.status}", "data_request", request_id)
        return await _out(session, closed, now)


async def _out(session: AsyncSession, request: DataRequest, now: datetime) -> RequestOut:
    numbers = await contacts.masked_numbers(session, [request.contact_id])
    return RequestOut.of(request, numbers[request.contact_id], now)
