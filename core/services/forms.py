"""Opt-in forms: made and changed by compliance, shown to anybody, filled in without knowing who fills them in.

 form shown ─▶ boxes ticked ─▶ request with a code ─▶ the person sends the code from WhatsApp ─▶ confirmed

Until the code arrives nobody is written to and nothing is granted, so a form cannot be used to pester somebody else.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core import phone
from core.consent.registry import Registry, load_registry
from core.consent.state import REQUEST_TTL
from core.errors import Conflict, NotFound, RuleViolation
from core.form_code import code_hash, new_code
from core.keys import Keyring
from core.models import Notice, OptInForm, OptInRequest, Sender
from core.services.paging import Page, page

LANGUAGES = ("en", "de", "es", "fr", "ja")  # the page's own words are written in these
KEEP_UNUSED = timedelta(days=30)  # how long what a visitor's request said is kept when nobody ever confirmed it
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
_LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Offer:
    """One box of a form, in one language."""

    purpose: str
    label: str
    notice: Notice


@dataclass(frozen=True)
class Figures:
    """Of one form: requests made, confirmed from WhatsApp, and codes that came but did not count."""

    requested: int = 0
    confirmed: int = 0
    refused: int = 0


class NoticeChanged(Conflict):
    """A notice was replaced between the page and its answer: the person has to see the new one."""

    code = "notice_changed"


async def create(
    session: AsyncSession,
    *,
    slug: str,
    name: str,
    sender_id: UUID,
    offers: Sequence[Mapping[str, str]],
    languages: Sequence[str],
    origins: Sequence[str],
    asks_number: bool,
) -> OptInForm:
    """A form that is shown at once; raises RuleViolation, and Conflict for an address that is taken."""
    if not _SLUG.fullmatch(slug):
        raise RuleViolation("the address has small letters, digits and hyphens, 60 at most", field="slug")
    if await session.scalar(select(OptInForm.id).where(OptInForm.slug == slug)):
        raise Conflict("another form has this address", slug=slug)
    form = OptInForm(slug=slug, is_active=True)
    await _fill(session, form, name, sender_id, offers, languages, origins, asks_number)
    session.add(form)
    await session.flush()
    await session.refresh(form)
    return form


async def change(
    session: AsyncSession,
    form_id: UUID,
    *,
    name: str | None = None,
    sender_id: UUID | None = None,
    offers: Sequence[Mapping[str, str]] | None = None,
    languages: Sequence[str] | None = None,
    origins: Sequence[str] | None = None,
    asks_number: bool | None = None,
    is_active: bool | None = None,
) -> OptInForm:
    """The form with what was given changed; codes already handed out keep what was ticked. Raises as `create`."""
    form = await get(session, form_id, lock=True)
    await _fill(
        session,
        form,
        form.name if name is None else name,
        form.sender_id if sender_id is None else sender_id,
        form.offers if offers is None else offers,
        form.languages if languages is None else languages,
        form.origins if origins is None else origins,
        form.asks_number if asks_number is None else asks_number,
    )
    form.is_active = form.is_active if is_active is None else is_active
    await session.flush()
    return form


async def _fill(
    session: AsyncSession,
    form: OptInForm,
    name: str,
    sender_id: UUID,
    offers: Sequence[Mapping[str, str]],
    languages: Sequence[str],
    origins: Sequence[str],
    asks_number: bool,
) -> None:
    if not name.strip():
        raise RuleViolation("give the form a name", field="name")
    if await session.get(Sender, sender_id) is None:
        raise RuleViolation("there is no such number", field="sender_id")
    unknown = [each for each in languages if each not in LANGUAGES]
    if unknown or not languages:
        raise RuleViolation(f"the page speaks {', '.join(LANGUAGES)}: name at least one", field="languages")
    _check_offers(await load_registry(session), offers)
    form.name, form.sender_id, form.asks_number = name.strip(), sender_id, asks_number
    form.offers = [{"purpose": each["purpose"], "notice": each["notice"]} for each in offers]
    form.languages, form.origins = list(dict.fromkeys(languages)), list(dict.fromkeys(map(_origin, origins)))


def _check_offers(registry: Registry, offers: Sequence[Mapping[str, str]]) -> None:
    """Every box names a purpose people consent to, once, under a notice in force that covers it."""
    codes = [each["purpose"] for each in offers]
    if not codes or len(set(codes)) != len(codes):
        raise RuleViolation("a form offers at least one purpose, each once", field="offers")
    for each in offers:
        purpose = registry.purposes.get(each["purpose"])
        if purpose is None or not purpose.needs_consent:
            raise RuleViolation(f"{each['purpose']!r} is no purpose people consent to", field="offers")
        if not _in_force(registry, each):
            raise RuleViolation(
                f"no notice {each['notice']!r} in force covers {each['purpose']}: publish one first", field="offers"
            )


def _in_force(registry: Registry, offer: Mapping[str, str]) -> list[Notice]:
    """The notices in force an offer may be shown under, one per language."""
    notices = [
        notice
        for notice in registry.notices.values()
        if notice.code == offer["notice"] and notice.effective_to is None and offer["purpose"] in notice.purposes
    ]
    return sorted(notices, key=lambda notice: (notice.language != "en", notice.language))


def _origin(origin: str) -> str:
    """`https://shop.example`: what a browser compares; raises RuleViolation for anything longer or unsafe."""
    try:
        parts = urlsplit(origin.strip())
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError as broken:
        raise RuleViolation(f"{origin!r} is no address of a site", field="origins") from broken
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host in _LOCAL)
    is_bare = parts.path in ("", "/") and not parts.query and not parts.fragment and not parts.username
    if not (is_safe and is_bare and re.fullmatch(r"[a-z0-9.-]+", host)):
        raise RuleViolation(f"{origin!r} is no site: write it as https://shop.example", field="origins")
    return f"{parts.scheme}://{host}{port}"


async def get(session: AsyncSession, form_id: UUID, *, lock: bool = False) -> OptInForm:
    """The form; raises NotFound."""
    form = await session.get(OptInForm, form_id, with_for_update=lock)
    if form is None:
        raise NotFound("no such form", form_id=str(form_id))
    return form


async def shown(session: AsyncSession, slug: str) -> OptInForm:
    """The active form at this address; raises NotFound."""
    form = await session.scalar(select(OptInForm).where(OptInForm.slug == slug, OptInForm.is_active))
    if form is None:
        raise NotFound("there is no form at this address")
    return form


async def list_page(session: AsyncSession, *, words: str | None, limit: int, cursor: str | None) -> Page[OptInForm]:
    """Newest first; `words` are a part of the name or of the address."""
    statement = select(OptInForm)
    if words:
        found = OptInForm.name.icontains(words, autoescape=True) | OptInForm.slug.icontains(words, autoescape=True)
        statement = statement.where(found)
    return await page(session, statement, OptInForm.id.expression, limit=limit, cursor=cursor)


async def figures(session: AsyncSession, form_ids: Sequence[UUID]) -> dict[UUID, Figures]:
    """What became of each form's requests."""
    counted = (
        select(
            OptInRequest.form_id,
            func.count().label("requested"),
            func.count(OptInRequest.used_at).label("confirmed"),
            func.coalesce(func.sum(OptInRequest.refusals), 0).label("refused"),
        )
        .where(OptInRequest.form_id.in_(form_ids))
        .group_by(OptInRequest.form_id)
    )
    found = dict.fromkeys(form_ids, Figures())
    for row in await session.execute(counted):
        found[row.form_id] = Figures(row.requested, row.confirmed, int(row.refused))
    return found


async def offers(session: AsyncSession, form: OptInForm, language: str) -> list[Offer]:
    """The boxes in this language, each under the notice in force; another language where there is none in this one.

    A box whose notice has ended, or whose purpose is halted, is left out.
    """
    registry = await load_registry(session)
    found = []
    for each in form.offers:
        purpose, notices = registry.purposes.get(each["purpose"]), _in_force(registry, each)
        if purpose is None or purpose.halted or not notices:
            continue
        notice = next((one for one in notices if one.language.split("-")[0] == language), notices[0])
        described = purpose.description
        label = described.get(language) or described.get("en") or next(iter(described.values()), purpose.code)
        found.append(Offer(purpose.code, label, notice))
    return found


async def request(
    session: AsyncSession,
    form: OptInForm,
    *,
    language: str,
    ticked: Mapping[str, str],
    number: str,
    visitor: Mapping[str, str],
    region: str,
    keyring: Keyring,
    now: datetime,
) -> str:
    """Keep what was ticked (purpose → id of the notice shown) and return the code that confirms it.

    `visitor` is kept as evidence. Raises RuleViolation when nothing was ticked, NoticeChanged when a notice was
    replaced meanwhile, PhoneError for a number that is none. Whose number was typed is not looked up, so the answer
    tells a stranger nothing.
    """
    boxes = {offer.purpose: offer for offer in await offers(session, form, language)}
    if not ticked:
        raise RuleViolation("tick at least one box", field="purpose")
    if any(purpose not in boxes or str(boxes[purpose].notice.id) != shown for purpose, shown in ticked.items()):
        raise NoticeChanged("the form was changed in the meantime")
    typed = phone.parse(number, region=region) if number else None
    code = new_code()
    labels = {purpose: offer.label for purpose, offer in boxes.items()}
    made = OptInRequest(
        form_id=form.id,
        code_hash=code_hash(code),
        language=language,
        ticked=[
            {"purpose": purpose, "notice_id": shown, "label": labels[purpose]} for purpose, shown in ticked.items()
        ],
        number_ref=keyring.address_refs(typed.match_key)[0] if typed else None,
        evidence={**visitor, "form": form.slug, "boxes_offered": labels, "number_was_typed": typed is not None},
        expires_at=now + REQUEST_TTL,
        created_at=now,
    )
    session.add(made)
    await session.flush()
    return code


def chat_link(display_number: str, words: str) -> str:
    """Opens a chat with our number, the words ready to be sent (WhatsApp's click to chat: wa.me/NUMBER?text=…)."""
    digits = "".join(letter for letter in display_number if letter.isdecimal())
    return f"https://wa.me/{digits}?text={quote(words)}"


_LAPSED = text("""
    UPDATE opt_in_requests SET evidence = '{}', number_ref = NULL
     WHERE used_at IS NULL AND expires_at < :before AND (evidence <> '{}' OR number_ref IS NOT NULL)
    RETURNING id
""")


async def forget_unused(session: AsyncSession, *, now: datetime) -> int:
    """Blank requests nobody confirmed in time; how many there were stays known. Returns how many were blanked."""
    return len((await session.execute(_LAPSED, {"before": now - KEEP_UNUSED})).all())


_PART = text("""
    UPDATE opt_in_requests SET evidence = '{}', number_ref = NULL, contact_id = NULL
     WHERE contact_id = :contact OR number_ref = ANY(CAST(:refs AS text[]))
    RETURNING id
""")


async def forget_person(session: AsyncSession, contact_id: UUID, number_refs: Sequence[str]) -> int:
    """Part requests from the person who made them, or whose number was typed; returns how many."""
    blank: dict[str, Any] = {"contact": contact_id, "refs": list(number_refs)}
    return len((await session.execute(_PART, blank)).all())
