"""The compliance desk: how consent stands, proof of a campaign, integrity of the ledger, drafts, and who did what."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta, Struct

from api.auth import AUDIT, CONSENT, EVERYBODY, AuthedRequest
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.sentences import WORDS
from api.state import Db, Held, Now
from core import queue
from core.consent import ledger
from core.errors import RuleViolation
from core.models import AuditEntry, LedgerAnchor, LedgerCheck, LedgerFork, RegistryDraft
from core.services import drafts, integrity, oversight, people, recovery

Word = Annotated[str | None, QueryParameter(max_length=100)]


class OverviewOut(Struct):
    """dimension → purpose → word → people; `days` are UTC days with what was given and taken back."""

    by: dict[str, dict[str, dict[str, int]]]
    days: list[dict[str, Any]]


class ProofOut(Struct):
    """`holds` when every fault is 0. `erased` people count by their sealed records only."""

    holds: bool
    recipients: int
    sent: int
    allowed: int
    unsent: int
    skipped: dict[str, int]
    erased: int
    faults: dict[str, int]


class CheckOut(Struct):
    at: datetime
    size: int
    passed: bool
    findings: list[Any]
    took_ms: int

    @classmethod
    def of(cls, check: LedgerCheck) -> Self:
        return cls(check.created_at, check.size, check.passed, check.findings, check.took_ms)


class AnchorIn(Struct, forbid_unknown_fields=True):
    size: Annotated[int, Meta(ge=1)]
    kind: str
    reference: Annotated[str, Meta(min_length=3, max_length=300)]


class AnchorOut(Struct):
    at: datetime
    size: int
    root: str
    kind: str
    reference: str

    @classmethod
    def of(cls, anchor: LedgerAnchor) -> Self:
        return cls(anchor.created_at, anchor.size, anchor.root, anchor.kind, anchor.reference)


class ForkOut(Struct):
    """The database has another ledger than the one signed last: a backup was restored. `reason` says what to do."""

    since: datetime
    found_size: int
    signed_size: int
    signed_at: datetime
    reason: str

    @classmethod
    def of(cls, fork: LedgerFork) -> Self:
        return cls(fork.created_at, fork.found_size, fork.signed_size, fork.signed_at, fork.reason)


class IntegrityOut(Struct):
    """`fork` is null while the ledger is the one that was signed last; while it is not, marketing waits.

    `unsigned_since` is null unless a record was not signed for ten minutes; after an hour marketing waits.
    """

    latest: CheckOut | None
    anchors: list[AnchorOut]
    fork: ForkOut | None
    unsigned_since: datetime | None


class RecoverIn(Struct, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=5, max_length=300, pattern=WORDS)]
    dry_run: bool = True


class RecoverOut(Struct):
    """`people` were erased and are there again; `numbers` were refused besides and are not.

    A call erases at most 100 people: while some are `left` call again, or later when `waiting` says why they cannot be
    erased now. `seq` is the event that says it was done, null until then.
    """

    rehearsal: bool
    found_size: int
    signed_size: int
    people: int
    numbers: int
    erased: int
    left: int
    waiting: list[str]
    seq: int | None

    @classmethod
    def of(cls, found: recovery.Plan, *, rehearsal: bool) -> Self:
        return cls(
            rehearsal,
            found.found_size,
            found.signed_size,
            len(found.erase),
            found.numbers,
            found.erased,
            len(found.erase) if rehearsal else found.left,
            sorted(set(found.waiting)),
            found.seq,
        )


class DraftIn(Struct, forbid_unknown_fields=True):
    kind: Literal["notice", "purpose"]
    content: dict[str, Any]


class DraftOut(Struct):
    id: UUID
    kind: str
    content: dict[str, Any]
    status: str
    mine: bool  # proposed by whoever asks, who therefore cannot publish it
    created_at: datetime
    decided_at: datetime | None
    reason: str | None
    published_id: UUID | None

    @classmethod
    def of(cls, draft: RegistryDraft, request: AuthedRequest) -> Self:
        return cls(
            draft.id,
            draft.kind,
            draft.content,
            draft.status,
            draft.proposed_by == request.user.user_id,
            draft.created_at,
            draft.decided_at,
            draft.reason,
            draft.published_id,
        )


class RejectIn(Struct, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=3, max_length=300, pattern=WORDS)]


class EntryOut(Struct):
    id: UUID
    at: datetime
    actor: str
    action: str
    object_kind: str
    object_id: str | None
    object_name: str | None  # null for people, for what was deleted, and where the id is a name
    address: str | None
    reason: str | None
    facts: dict[str, Any]

    @classmethod
    def of(cls, entry: AuditEntry, name: str | None) -> Self:
        return cls(
            entry.id,
            entry.created_at,
            entry.actor,
            entry.action,
            entry.object_kind,
            entry.object_id,
            name,
            entry.address,
            entry.reason,
            entry.facts,
        )


class OversightController(Controller):
    path = "/"
    tags = ("Compliance",)

    @get("/consents/overview", guards=[AUDIT])
    async def overview(self, session: Db) -> OverviewOut:
        """How many people agreed to what, how well it is proven, and how it came and went in 90 days."""
        found = await oversight.overview(session)
        return OverviewOut(dict(found.by), found.days)

    @get("/campaigns/{campaign_id:uuid}/proof", guards=[AUDIT])
    async def proof(self, campaign_id: FromPath[UUID], session: Db, now: Now) -> ProofOut:
        """Every message of the campaign held against the ledger: had everybody consented when it was sent?"""
        found = await oversight.campaign_proof(session, campaign_id, now=now)
        return ProofOut(
            found.holds,
            found.recipients,
            found.sent,
            found.allowed,
            found.unsent,
            found.by_reason,
            found.erased,
            found.faults,
        )

    @get("/audit-log", guards=[AUDIT])
    async def audit_log(
        self,
        session: Db,
        action: Word = None,
        object_kind: Word = None,
        object_id: Word = None,
        actor: Word = None,
        since: FromQuery[datetime | None] = None,
        until: FromQuery[datetime | None] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[EntryOut]:
        """Who did what, newest first; `action=audit.*` is every package made or fetched."""
        for name, instant in (("since", since), ("until", until)):
            if instant is not None and instant.tzinfo is None:
                raise RuleViolation(f"{name} needs its time zone", field=name)
        found = await oversight.audit_log(
            session,
            action=action,
            object_kind=object_kind,
            object_id=object_id,
            actor=actor,
            since=since,
            until=until,
            limit=limit,
            cursor=cursor,
        )
        names = await oversight.names_of(session, found.items)
        items = [EntryOut.of(entry, names.get((entry.object_kind, entry.object_id or ""))) for entry in found.items]
        return PageOut(items, found.next)


class IntegrityController(Controller):
    path = "/ledger"
    tags = ("Compliance",)

    @get("/integrity", guards=[AUDIT])
    async def integrity(self, session: Db, parts: Held, now: Now) -> IntegrityOut:
        """The newest check of the whole ledger, whether it is the one signed last, and who keeps checkpoints."""
        fork = await recovery.watch(session, parts.keyring, now=now)
        check = await integrity.latest_check(session)
        kept = [AnchorOut.of(each) for each in await integrity.anchors(session)]
        since = await ledger.unsigned_since(session, before=now - ledger.UNSIGNED_ALARM)
        return IntegrityOut(CheckOut.of(check) if check else None, kept, ForkOut.of(fork) if fork else None, since)

    @post("/recover", guards=[CONSENT], status_code=200)
    async def recover(self, data: JSONBody[RecoverIn], request: AuthedRequest, parts: Held, now: Now) -> RecoverOut:
        """Go on with a restored database: erase again who was erased, refuse again who said stop, then send again.

        `dry_run` (the default) only counts. Refused (409) while the ledger is the one that was signed last.
        """
        if data.dry_run:
            async with parts.sessions() as session:
                return RecoverOut.of(await recovery.plan(session, parts.keyring), rehearsal=True)
        done = await recovery.recover(
            parts.sessions,
            parts.ringer,
            actor=request.user,
            reason=data.reason,
            keyring=parts.keyring,
            settings=parts.settings,
            now=now,
        )
        return RecoverOut.of(done, rehearsal=False)

    @post("/verify", guards=[CONSENT], status_code=202)
    async def verify(self, request: AuthedRequest, session: Db) -> None:
        """Ask for a check of the whole ledger; a worker makes it, and it is the newest of `/integrity` then."""
        queue.ring_after_commit(session, queue.VERIFY_LEDGER)
        await people.note(session, request.user, "ledger.check_asked", "ledger")

    @get("/checkpoints/{size:int}", guards=[AUDIT], media_type="text/plain")
    async def checkpoint(self, size: FromPath[int], session: Db) -> Response[str]:
        """The signed note of a checkpoint, to be given to somebody outside who keeps it."""
        headers = {"content-disposition": f'attachment; filename="checkpoint-{size}.note"'}
        return Response(await integrity.note(session, size), media_type="text/plain; charset=utf-8", headers=headers)

    @post("/anchors", guards=[CONSENT])
    async def anchor(self, data: JSONBody[AnchorIn], request: AuthedRequest, session: Db) -> AnchorOut:
        """Write down who outside keeps a checkpoint."""
        made = await integrity.anchor(
            session, size=data.size, kind=data.kind, reference=data.reference, actor=request.user
        )
        await people.note(session, request.user, "ledger.anchored", "ledger", made.id, size=data.size)
        return AnchorOut.of(made)


class DraftController(Controller):
    path = "/registry-drafts"
    tags = ("Compliance",)

    @get(guards=[EVERYBODY])
    async def list_drafts(self, request: AuthedRequest, session: Db) -> PageOut[DraftOut]:
        found = await drafts.list_all(session)
        return PageOut([DraftOut.of(each, request) for each in found], None)

    @post(guards=[CONSENT])
    async def propose(self, data: JSONBody[DraftIn], request: AuthedRequest, session: Db) -> Response[DraftOut]:
        """Propose a notice or a purpose; somebody else publishes it."""

        async def make() -> DraftOut:
            made = await drafts.propose(session, data.kind, data.content, actor=request.user)
            await people.note(session, request.user, f"{data.kind}.proposed", "registry_draft", made.id)
            return DraftOut.of(made, request)

        return await once(request, session, DraftOut, make)

    @post("/{draft_id:uuid}/publish", guards=[CONSENT], status_code=200)
    async def publish(
        self, draft_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> DraftOut:
        """Put the draft in force; refused for the person who proposed it."""
        draft = await drafts.publish(session, draft_id, actor=request.user, keyring=parts.keyring, now=now)
        await people.note(session, request.user, f"{draft.kind}.published", "registry_draft", draft_id)
        return DraftOut.of(draft, request)

    @post("/{draft_id:uuid}/reject", guards=[CONSENT], status_code=200)
    async def reject(
        self, draft_id: FromPath[UUID], data: JSONBody[RejectIn], request: AuthedRequest, session: Db, now: Now
    ) -> DraftOut:
        """Give the draft up, with a reason."""
        draft = await drafts.reject(session, draft_id, reason=data.reason, actor=request.user, now=now)
        await people.note(session, request.user, f"{draft.kind}.rejected", "registry_draft", draft_id)
        return DraftOut.of(draft, request)
