"""Requests of people about their data: taken in, with a clock, until somebody answers or refuses with a reason."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import Conflict, NotFound, RuleViolation
from core.log import mask_text
from core.models import DataRequest
from core.services import contacts
from core.services.paging import Page, page
from core.services.people import Actor
from core.statuses import RequestKind, RequestStatus

# Days to answer in. GDPR and UK GDPR article 12(3) give a month, here its shortest; the others are what we apply for
# those countries until counsel says otherwise: Brazil (LGPD) 15, Canada (PIPEDA) and Singapore (PDPA) 30.
DAYS = {"BR": 15, "CA": 30, "SG": 30}
DEFAULT_DAYS = 28
EXTENSION = timedelta(days=59)  # two further months, their shortest
CHANNELS = ("whatsapp", "email", "letter", "phone", "in_person", "form")
NO_PROOF_NEEDED = frozenset({RequestKind.OBJECTION})


async def add(
    session: AsyncSession,
    *,
    contact_id: UUID,
    kind: RequestKind,
    received_at: datetime,
    channel: str,
    identity_proof: str | None,
    note: str | None,
    actor: Actor,
    now: datetime,
) -> DataRequest:
    """Take a request in; the clock runs from when it arrived. Raises NotFound and RuleViolation."""
    contact = await contacts.get(session, contact_id)
    if received_at.tzinfo is None:
        raise RuleViolation("received_at needs its time zone", field="received_at")
    if received_at > now:
        raise RuleViolation("received_at is in the future", field="received_at")
    if channel not in CHANNELS:
        raise RuleViolation(f"channel is one of {', '.join(CHANNELS)}", field="channel")
    request = DataRequest(
        kind=kind,
        status=RequestStatus.OPEN,
        contact_id=contact_id,
        received_at=received_at,
        due_at=received_at + timedelta(days=DAYS.get(contact.country or "", DEFAULT_DAYS)),
        channel=channel,
        identity_proof=_kept(identity_proof),
        note=_kept(note),
        opened_by=actor.user_id,
    )
    session.add(request)
    await session.flush()
    await session.refresh(request)
    return request


def _kept(words: str | None) -> str | None:
    """Free text without numbers in it."""
    return mask_text(words.strip()) or None if words else None


async def get(session: AsyncSession, request_id: UUID, *, lock: bool = False) -> DataRequest:
    """The request; raises NotFound."""
    request = await session.get(DataRequest, request_id, with_for_update=lock)
    if request is None:
        raise NotFound("no such request", request_id=str(request_id))
    return request


async def list_page(
    session: AsyncSession,
    *,
    status: RequestStatus | None,
    contact_id: UUID | None,
    limit: int,
    cursor: str | None,
) -> Page[DataRequest]:
    statement = select(DataRequest)
    if status is not None:
        statement = statement.where(DataRequest.status == status)
    if contact_id is not None:
        statement = statement.where(DataRequest.contact_id == contact_id)
    return await page(session, statement, DataRequest.id.expression, limit=limit, cursor=cursor)


async def extend(session: AsyncSession, request_id: UUID, *, reason: str) -> DataRequest:
    """Two more months, once, with a reason that the person is told (GDPR 12(3)). Raises Conflict."""
    request = await _open(session, request_id)
    if "extended_because" in request.facts:
        raise Conflict("the request was extended before: it can be extended once")
    request.due_at += EXTENSION
    request.facts = {**request.facts, "extended_because": mask_text(reason)}
    await session.flush()
    return request


async def close(
    session: AsyncSession,
    request_id: UUID,
    *,
    status: RequestStatus,
    outcome: str,
    actor: Actor,
    now: datetime,
) -> DataRequest:
    """Answered, or refused with the reason in `outcome`. Raises Conflict, and RuleViolation without proof of identity.

    Who wants data, or wants it gone, proves who they are; to object nobody has to.
    """
    if status is RequestStatus.OPEN:
        raise RuleViolation("a request is closed as done or refused", field="status")
    request = await _open(session, request_id)
    if status is RequestStatus.DONE and request.kind not in NO_PROOF_NEEDED and not request.identity_proof:
        raise RuleViolation("say how the person proved who they are before you answer", field="identity_proof")
    request.status, request.outcome = status, _kept(outcome)
    request.closed_by, request.closed_at = actor.user_id, now
    await session.flush()
    return request


async def prove(session: AsyncSession, request_id: UUID, *, identity_proof: str) -> DataRequest:
    """Write down how the person proved who they are."""
    request = await _open(session, request_id)
    request.identity_proof = _kept(identity_proof)
    await session.flush()
    return request


async def _open(session: AsyncSession, request_id: UUID) -> DataRequest:
    request = await get(session, request_id, lock=True)
    if request.status is not RequestStatus.OPEN:
        raise Conflict("this request is closed", status=request.status)
    return request
