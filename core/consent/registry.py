"""Purposes and notices: what people agree to, and what they were shown; versions never change."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger
from core.consent.acts import POLICY_HASH, ActorType
from core.consent.canonical import jcs, timestamp
from core.consent.sealed import Core, unset
from core.consent.state import EventType
from core.db import fetch
from core.errors import Conflict, RuleViolation
from core.keys import Keyring
from core.models import Notice, Purpose
from core.settings import Settings

KINDS = ("marketing", "transactional", "service")
_VALIDITY_DAYS = 730
_DEFAULTS = {
    "marketing": "Offers and news about our products",
    "transactional": "Messages about an order or an appointment of yours",
    "service": "Answers to messages you sent us",
}


@dataclass(frozen=True, slots=True)
class Registry:
    """What is in force: the newest version of every purpose by code, and every notice by id."""

    purposes: Mapping[str, Purpose]
    notices: Mapping[UUID, Notice]


# Versions are only added, or found defective. The tables are tiny, so this stays quick however large the ledger is.
_NEWEST = """
    SELECT (SELECT count(*) FROM purposes), (SELECT id FROM purposes ORDER BY id DESC LIMIT 1),
           (SELECT count(*) FROM notices), (SELECT id FROM notices ORDER BY id DESC LIMIT 1),
           (SELECT count(invalid_at) FROM notices)
"""
_loaded: dict[tuple[object, ...], Registry] = {}  # the newest versions → what is in force with them


async def load_registry(session: AsyncSession) -> Registry:
    """What is in force now; read again only after a change. Its objects belong to no session: they are only read."""
    newest = tuple((await fetch(session, _NEWEST))[0])
    if (known := _loaded.get(newest)) is not None:
        return known
    purposes = select(Purpose.__table__).where(Purpose.retired_at.is_(None)).order_by(Purpose.version)
    in_force = [Purpose(**row) for row in (await session.execute(purposes)).mappings()]
    notices = [Notice(**row) for row in (await session.execute(select(Notice.__table__))).mappings()]
    registry = Registry({purpose.code: purpose for purpose in in_force}, {notice.id: notice for notice in notices})
    _loaded.clear()
    _loaded[newest] = registry
    return registry


async def list_purposes(session: AsyncSession) -> list[Purpose]:
    """The purposes in force, by code."""
    return sorted((await load_registry(session)).purposes.values(), key=lambda purpose: purpose.code)


async def list_notices(session: AsyncSession) -> list[Notice]:
    """Every version of every notice, newest first within a code and language."""
    query = select(Notice).order_by(Notice.code, Notice.language, Notice.version.desc())
    return list(await session.scalars(query))


async def current_notice(session: AsyncSession, purpose: str, *, language: str | None = None) -> Notice | None:
    """The newest notice in force that covers a purpose, in the language asked for if there is one."""
    notices = [n for n in await list_notices(session) if n.effective_to is None and purpose in n.purposes]
    wanted = [n for n in notices if language is not None and n.language.split("-")[0] == language.split("-")[0]]
    return next(iter(wanted or notices), None)


async def ensure_defaults(session: AsyncSession, settings: Settings, *, keyring: Keyring, now: datetime) -> None:
    """The three default purposes and an English notice, when they are missing.

    Marketing's weakest grade follows the setting: a change of it makes a new version of the purpose.
    """
    await _only_one(session)
    purposes = (await load_registry(session)).purposes
    for code, description in _DEFAULTS.items():
        is_marketing = code == "marketing"
        grade = settings.marketing_min_grade if is_marketing else "C"
        known = purposes.get(code)
        if known is None or (is_marketing and known.min_grade != grade):
            await put_purpose(
                session,
                code=code,
                controller=settings.brand if known is None else known.controller,
                description={"en": description} if known is None else known.description,
                min_grade=grade,
                validity_days=_VALIDITY_DAYS if known is None else known.validity_days,
                needs_consent=is_marketing if known is None else known.needs_consent,
                keyring=keyring,
                now=now,
            )
    if not any(notice.code == "default" for notice in await list_notices(session)):
        await publish_notice(
            session,
            code="default",
            language="en",
            controller=settings.brand,
            purposes=list(_DEFAULTS),
            text=f"I agree that {settings.brand} sends me offers and news by WhatsApp to this number. "
            "I can stop at any time.",
            withdrawal_info="Reply STOP to any message.",
            keyring=keyring,
            now=now,
        )


async def put_purpose(
    session: AsyncSession,
    *,
    code: str,
    controller: str,
    description: Mapping[str, str],
    min_grade: str,
    validity_days: int,
    needs_consent: bool,
    keyring: Keyring,
    now: datetime,
    halted: bool = False,
) -> Purpose:
    """A new version of a purpose, which replaces the one in force; sealed in the ledger.

    Raises RuleViolation for a code whose first word is none of the kinds, or a marketing purpose without consent.
    """
    kind = code.split(".", maxsplit=1)[0]
    if kind not in KINDS or not all(word.isidentifier() for word in code.split(".")):
        raise RuleViolation(f"a purpose's first word is one of {', '.join(KINDS)}", field="code")
    if kind == "marketing" and not needs_consent:
        raise RuleViolation("marketing needs consent", field="needs_consent")
    if min_grade not in ("A", "B", "C"):
        raise RuleViolation("the weakest grade is A, B or C", field="min_grade")
    await _only_one(session)
    versions = select(Purpose.version).where(Purpose.code == code).order_by(Purpose.version.desc()).limit(1)
    latest = (await session.scalars(versions)).first() or 0
    await session.execute(
        update(Purpose).where(Purpose.code == code, Purpose.retired_at.is_(None)).values(retired_at=now)
    )
    purpose = Purpose(
        code=code,
        version=latest + 1,
        controller=controller,
        description=dict(description),
        min_grade=min_grade,
        validity_days=validity_days,
        needs_consent=needs_consent,
        halted=halted,
    )
    session.add(purpose)
    await session.flush()
    content = {"min_grade": min_grade, "needs_consent": needs_consent, "validity_days": validity_days, "halted": halted}
    await record_system(
        session,
        EventType.PURPOSE_CHANGED,
        source_key=f"{code}|{purpose.version}",
        refs={"purpose_id": str(purpose.id), "purpose_hash": hashlib.sha256(jcs(content).encode()).hexdigest()},
        purpose=code,
        controller=controller,
        keyring=keyring,
        now=now,
    )
    return purpose


async def halt_purpose(session: AsyncSession, code: str, *, halted: bool, keyring: Keyring, now: datetime) -> Purpose:
    """The kill switch: nothing of a halted purpose is sent. Raises RuleViolation for an unknown purpose."""
    known = (await load_registry(session)).purposes.get(code)
    if known is None:
        raise RuleViolation(f"there is no purpose {code!r}", field="purpose")
    return await put_purpose(
        session,
        code=code,
        controller=known.controller,
        description=known.description,
        min_grade=known.min_grade,
        validity_days=known.validity_days,
        needs_consent=known.needs_consent,
        halted=halted,
        keyring=keyring,
        now=now,
    )


def notice_hash(notice: Notice) -> str:
    """SHA-256 of the canonical content, hex: what a grant cites."""
    content = {
        "code": notice.code,
        "version": notice.version,
        "language": notice.language,
        "controller": notice.controller,
        "purposes": sorted(notice.purposes),
        "text": notice.text,
        "withdrawal_info": notice.withdrawal_info,
    }
    return hashlib.sha256(jcs(content).encode()).hexdigest()


async def publish_notice(
    session: AsyncSession,
    *,
    code: str,
    language: str,
    controller: str,
    purposes: Sequence[str],
    text: str,
    withdrawal_info: str,
    keyring: Keyring,
    now: datetime,
    published_by: UUID | None = None,
) -> Notice:
    """A new version of a notice, in force from `now`; its predecessor in that language ends. Sealed in the ledger.

    Raises RuleViolation when it covers a purpose that does not exist, or says nothing; Conflict when nothing changed.
    """
    await _only_one(session)
    registry = await load_registry(session)
    unknown = [purpose for purpose in purposes if purpose not in registry.purposes]
    if unknown or not purposes:
        raise RuleViolation(f"there is no purpose {', '.join(unknown) or 'named'}", field="purposes")
    if not text.strip() or not withdrawal_info.strip():
        raise RuleViolation("a notice says what is agreed to and how to withdraw", field="text")
    versions = [n for n in registry.notices.values() if n.code == code and n.language == language]
    latest = max(versions, key=lambda notice: notice.version, default=None)
    notice = Notice(
        code=code,
        version=1 if latest is None else latest.version + 1,
        language=language,
        controller=_nfc(controller),
        purposes=sorted(purposes),
        text=_nfc(text),
        withdrawal_info=_nfc(withdrawal_info),
        effective_from=now,
        published_by=published_by,
    )
    if latest is not None and _wording(latest) == _wording(notice):
        raise Conflict("the notice already says this", notice_id=str(latest.id))
    notice.content_hash = notice_hash(notice)
    if latest is not None and latest.effective_to is None:
        await session.execute(update(Notice).where(Notice.id == latest.id).values(effective_to=now))
    session.add(notice)
    await session.flush()
    await record_system(
        session,
        EventType.NOTICE_PUBLISHED,
        source_key=f"{code}|{language}|{notice.version}",
        refs={"notice_id": str(notice.id), "notice_hash": notice.content_hash},
        controller=notice.controller,
        keyring=keyring,
        now=now,
        actor_id=published_by,
    )
    return notice


async def record_system(
    session: AsyncSession,
    event_type: EventType,
    *,
    source_key: str,
    refs: Mapping[str, str],
    keyring: Keyring,
    now: datetime,
    purpose: str = "*",
    controller: str = "*",
    actor_id: UUID | None = None,
) -> ledger.SealedEvent:
    """Seal an event that belongs to no contact: a notice, a purpose, an import's totals, an export."""
    event_id = ledger.new_event_id()
    core = Core(
        actor_ref=unset(None if actor_id is None else str(actor_id)),
        actor_type=(ActorType.SYSTEM if actor_id is None else ActorType.STAFF).value,
        channel="whatsapp",
        controller_id=_nfc(controller),
        event_id=str(event_id),
        event_type=event_type.value,
        jurisdiction="*",
        occurred_at=timestamp(now),
        policy_hash=POLICY_HASH,
        purpose=purpose,
        received_at=timestamp(now),
        refs=dict(refs),
        rule_id="system",
        source="system",
        source_event_ref=keyring.source_ref("system", f"{event_type.value}|{source_key}"),
    )
    (sealed,) = await ledger.append(session, [ledger.Draft(event_id, None, core)])
    return sealed


def _wording(notice: Notice) -> tuple[object, ...]:
    return notice.controller, sorted(notice.purposes), notice.text, notice.withdrawal_info


def _nfc(value: str) -> str:
    return unicodedata.normalize("NFC", value)


async def _only_one(session: AsyncSession) -> None:
    """One transaction at a time changes the registry: versions are counted, not drawn."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('kairan.registry', 0))"))
