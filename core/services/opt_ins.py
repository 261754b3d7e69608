"""A form's code that came back from WhatsApp: it confirms what was ticked, once, or says why it does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import stored
from core.consent.acts import MARKETING, WEBHOOK, Act, ActorType, Method
from core.consent.registry import Registry, load_registry
from core.consent.state import HOLD, EventType, State, covers
from core.form_code import code_hash
from core.keys import Keyring
from core.models import ConsentState, OptInForm, OptInRequest
from core.services import consents
from core.services.meanings import Heard, evidence_of
from core.settings import Settings

log = structlog.get_logger()

FORM = "web_form"  # the source of what was ticked; its clock is ours


class Fate(StrEnum):
    """What became of a code that somebody sent."""

    CONFIRMED = "confirmed"
    REPEATED = "repeated"  # by the one who used it, and it still holds
    USED = "used"
    EXPIRED = "expired"
    OTHER_NUMBER = "other_number"  # than the one typed into the form
    REPLACED = "replaced"  # the form was taken down, or its notices have newer versions
    OVERRULED = "overruled"  # a withdrawal that is not older
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Redeemed:
    """`purposes`: of a confirmed or repeated code what is subscribed now, else what had been ticked."""

    fate: Fate
    purposes: tuple[str, ...] = ()
    language: str | None = None


async def redeem(
    session: AsyncSession, heard: Heard, code: str, *, keyring: Keyring, settings: Settings, now: datetime
) -> Redeemed:
    """Record what a code confirms in the caller's transaction; one that does not count grants nothing, and is noted.

    Two people who send the same code wait for each other here; the first one has it.
    """
    statement = select(OptInRequest).where(OptInRequest.code_hash == code_hash(code))
    request = await session.scalar(statement.with_for_update().execution_options(populate_existing=True))
    if request is None:
        log.info("form.code_refused", because=Fate.UNKNOWN)
        return Redeemed(Fate.UNKNOWN)
    registry = await load_registry(session)
    ticked = [each for each in request.ticked if _holds(registry, each)]
    fate = await _fate(session, heard, request, ticked, keyring)
    purposes = tuple(each["purpose"] for each in ticked)
    if fate is Fate.CONFIRMED:
        purposes = await _confirm(session, heard, request, ticked, keyring=keyring, settings=settings, now=now)
        fate = Fate.CONFIRMED if purposes else Fate.OVERRULED
    if fate not in (Fate.CONFIRMED, Fate.REPEATED):
        request.refusals, request.refused_because = request.refusals + 1, fate.value
        log.info("form.code_refused", because=fate, request_id=str(request.id))
        purposes = tuple(each["purpose"] for each in request.ticked)
    await session.flush()
    return Redeemed(fate, purposes, request.language)


def _holds(registry: Registry, ticked: dict[str, Any]) -> bool:
    """Whether the notice somebody was shown is still in force, for a purpose that still exists."""
    notice = registry.notices.get(UUID(ticked["notice_id"]))
    return notice is not None and notice.effective_to is None and ticked["purpose"] in registry.purposes


async def _fate(
    session: AsyncSession, heard: Heard, request: OptInRequest, ticked: Sequence[dict[str, Any]], keyring: Keyring
) -> Fate:
    contact = heard.contact
    if request.used_at is not None:
        if request.contact_id != contact.id:
            return Fate.USED
        states = await _states(session, contact.id)
        live = {purpose for purpose, row in states.items() if row.state == State.SUBSCRIBED}
        return Fate.REPEATED if {each["purpose"] for each in request.ticked} <= live else Fate.USED
    if heard.inbound.occurred_at > request.expires_at:
        return Fate.EXPIRED
    if request.number_ref is not None:
        addresses = await stored.address_refs(session, [contact.id], keyring)
        if request.number_ref not in [ref for versions in addresses.get(contact.id, []) for ref in versions]:
            return Fate.OTHER_NUMBER
    form = await session.get_one(OptInForm, request.form_id)
    return Fate.CONFIRMED if ticked and form.is_active else Fate.REPLACED


async def _confirm(
    session: AsyncSession,
    heard: Heard,
    request: OptInRequest,
    ticked: Sequence[dict[str, Any]],
    *,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
) -> tuple[str, ...]:
    """What was ticked becomes part of this person's history, and confirmed; returns what is subscribed now."""
    form = await session.get_one(OptInForm, request.form_id)
    acts = [act for each in ticked for act in _acts(heard, request, form, each)]
    held = [row for purpose, row in (await _states(session, heard.contact.id)).items() if covers(MARKETING, purpose)]
    if any(HOLD in row.overlays for row in held):
        acts.append(_released(heard))
    outcomes = await consents.record(session, acts, keyring=keyring, settings=settings, now=now)
    live = {
        act.purpose
        for act, outcome in zip(acts, outcomes, strict=True)
        if act.event_type is EventType.CONFIRMED and outcome.state is State.SUBSCRIBED
    }
    request.used_at, request.contact_id = now, heard.contact.id
    request.evidence, request.number_ref = {}, None  # the ledger's evidence has it now
    if heard.contact.language is None:
        heard.contact.language = request.language
    return tuple(each["purpose"] for each in ticked if each["purpose"] in live)


async def _states(session: AsyncSession, contact_id: UUID) -> dict[str, ConsentState]:
    statement = select(ConsentState).where(ConsentState.contact_id == contact_id)
    rows = await session.scalars(statement.execution_options(populate_existing=True))
    return {row.purpose: row for row in rows}


def _acts(heard: Heard, request: OptInRequest, form: OptInForm, ticked: dict[str, Any]) -> tuple[Act, Act]:
    """The tick on the page, and its confirmation from the account."""
    inbound, purpose = heard.inbound, ticked["purpose"]
    shared: dict[str, Any] = {
        "contact_id": heard.contact.id,
        "purpose": purpose,
        "actor": ActorType.DATA_SUBJECT,
        "collection_point": f"form/{form.slug}",
        "notice_id": UUID(ticked["notice_id"]),
        "refs": {"request_id": str(request.id)},
    }
    asked = Act(
        event_type=EventType.REQUESTED,
        source=FORM,
        source_key=f"{request.id}|{purpose}",
        occurred_at=request.created_at,
        received_at=request.created_at,
        method=Method.WEB_FORM,
        evidence={**request.evidence, "box_ticked": ticked["label"], "page_language": request.language},
        **shared,
    )
    confirmed = Act(
        event_type=EventType.CONFIRMED,
        source=WEBHOOK,
        source_key=f"{inbound.provider_id}|{purpose}",
        occurred_at=inbound.occurred_at,
        method=Method.WA_CODE,
        sender_scope=inbound.phone_number_id or None,
        evidence=evidence_of(inbound),
        **shared,
    )
    return asked, confirmed


def _released(heard: Heard) -> Act:
    """Who asks for messages in so many words has answered what was unclear before."""
    return Act(
        contact_id=heard.contact.id,
        event_type=EventType.HOLD_RELEASED,
        purpose=MARKETING,
        source=WEBHOOK,
        source_key=f"{heard.inbound.provider_id}|hold",
        occurred_at=heard.inbound.occurred_at,
        actor=ActorType.DATA_SUBJECT,
        method=Method.WA_CODE,
        reason="answered",
        evidence=evidence_of(heard.inbound),
    )
