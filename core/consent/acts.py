"""What somebody did about consent, before it is sealed: its grade, its clock flags, its core; pure."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from msgspec import UNSET, Struct, field

from core.consent import keywords
from core.consent.canonical import jcs, timestamp
from core.consent.sealed import Core, unset
from core.consent.state import (
    NEGATIVE,
    POSITIVE,
    REQUEST_TTL,
    STATE_RULES,
    TOLERANCE,
    Event,
    EventType,
    Grade,
    is_scope,
)
from core.errors import RuleViolation
from core.models import Notice, Purpose
from core.phone import EQUIVALENCES

FUTURE = timedelta(minutes=5)
BACKDATED = timedelta(hours=24)
CHANNEL = "whatsapp"
MARKETING = keywords.MARKETING


class ActorType(StrEnum):
    DATA_SUBJECT = "data_subject"
    GUARDIAN = "guardian"
    STAFF = "staff"
    SYSTEM = "system"
    PLATFORM = "platform"
    IMPORT = "import"
    API = "api"
    CONSENT_MANAGER = "consent_manager"


class Method(StrEnum):
    """How it was said."""

    WEB_FORM = "web_form"
    WA_FLOW = "wa_flow"
    WA_BUTTON = "wa_button"
    WA_KEYWORD = "wa_keyword"
    WA_CODE = "wa_code"
    PAPER = "paper"
    CALL = "call"
    IN_PERSON = "in_person"
    IMPORT = "import"
    API = "api"
    META_PREF = "meta_pref"
    PREF_CENTRE = "pref_centre"
    DSAR = "dsar"
    STAFF = "staff"


WEBHOOK = "wa_webhook"  # the source of everything the provider reports
TRUSTED_SOURCES = frozenset({WEBHOOK, "web_form", "dashboard", "system", "suppression"})  # clocks we believe
_IN_ACCOUNT = frozenset({Method.WA_FLOW, Method.WA_BUTTON, Method.WA_KEYWORD, Method.WA_CODE})
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSPECIFIC = frozenset({Method.IMPORT, Method.API})  # the transport, not the way the person said it

# Names the rules that decided, so that an event says under which version it was judged.
POLICY_HASH = hashlib.sha256(
    jcs(
        {
            "state_rules": STATE_RULES,
            "keywords": keywords.KEYWORDS,
            "equivalences": EQUIVALENCES,
            "tolerance_s": int(TOLERANCE.total_seconds()),
            "request_ttl_s": int(REQUEST_TTL.total_seconds()),
            "backdated_s": int(BACKDATED.total_seconds()),
            "future_s": int(FUTURE.total_seconds()),
        }
    ).encode()
).hexdigest()


class Act(Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened to one contact's consent.

    `purpose` is a code; withdrawals, holds and endings may name a scope (`marketing.*`, `*`). `source` and
    `source_key` name the thing it came from: the same pair is recorded once. `occurred_at` is what the source claims,
    `received_at` (default: now) when we heard of it. Grants need a notice, a method, a collection point and evidence
    to count for anything. `confirmed_at` is for imports: evidence says that the account itself confirmed.
    """

    contact_id: UUID
    event_type: EventType
    purpose: str
    source: str
    source_key: str
    occurred_at: datetime
    actor: ActorType
    received_at: datetime | None = None
    actor_id: UUID | None = None
    method: Method | None = None
    collection_point: str | None = None
    notice_id: UUID | None = None
    language: str | None = None  # BCP 47, as shown; default: the notice's
    jurisdiction: str | None = None  # ISO 3166; default: the contact's country
    lawful_basis: str = "express_consent"
    consent_kind: str = "explicit"
    sender_scope: str | None = None  # phone_number_id
    reason: str | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    refs: Mapping[str, str] = field(default_factory=dict)  # request_id, grant_id, notice_id, import_batch, campaign…
    declared_import: bool = False
    confirmed_at: datetime | None = None
    weakest_grade: Grade | None = None  # never better than this, whatever the evidence
    kind: int | None = None  # acts of one call with the same one differ in contact, key, instant and proof alone

    @property
    def is_grant(self) -> bool:
        return self.event_type in POSITIVE

    @property
    def needs_notice(self) -> bool:
        return self.is_grant or self.event_type is EventType.REQUESTED


def check(act: Act, purposes: Mapping[str, Purpose], notices: Mapping[UUID, Notice]) -> None:
    """Refuse what can never be recorded; raises RuleViolation. Withdrawals are refused for nothing but nonsense."""
    if act.occurred_at.tzinfo is None or (act.received_at is not None and act.received_at.tzinfo is None):
        raise RuleViolation("an instant needs its time zone", field="occurred_at")
    texts = (act.purpose, act.source, act.collection_point, act.reason, act.language, *act.refs.values())
    if any(_UNWRITABLE.search(text) for text in texts if text):
        raise RuleViolation("control characters are not allowed")
    if not act.needs_notice:
        return
    if is_scope(act.purpose) or act.purpose not in purposes:
        raise RuleViolation(f"there is no purpose {act.purpose!r}", field="purpose")
    if act.notice_id is not None:
        notice = notices.get(act.notice_id)
        if notice is None:
            raise RuleViolation("there is no such notice", field="notice_id")
        if act.purpose not in notice.purposes:
            raise RuleViolation("the notice does not cover this purpose", field="notice_id")
    if act.is_grant and act.actor is ActorType.STAFF and not act.evidence:
        raise RuleViolation("staff may record a grant only with its evidence", field="evidence")


def clock_flags(act: Act, received_at: datetime) -> list[str]:
    flags = []
    if act.source not in TRUSTED_SOURCES:
        flags.append("untrusted_source")
    if act.occurred_at > received_at + FUTURE:
        flags.append("future_clamped")
    if act.is_grant and not act.declared_import and received_at - act.occurred_at > BACKDATED:
        flags.append("backdated")
    return sorted(flags)


def grade_of(act: Act, notice: Notice | None, flags: list[str], asked_elsewhere: bool) -> Grade:
    """How well a grant is proven; `asked_elsewhere`: it confirms a request captured outside the account."""
    is_shown = notice is not None and notice.invalid_at is None  # a defective notice proves nothing
    complete = is_shown and act.method is not None and bool(act.collection_point) and bool(act.evidence)
    if not complete:
        grade = Grade.E
    elif act.source == WEBHOOK and act.method in _IN_ACCOUNT:
        grade = Grade.A if asked_elsewhere else Grade.B
    elif act.declared_import and act.confirmed_at is not None:
        grade = Grade.B
    elif act.method in _UNSPECIFIC:
        grade = Grade.D
    else:
        grade = Grade.C
    if "backdated" in flags:
        grade = max(grade, Grade.D)
    return max(grade, act.weakest_grade or Grade.A)


def draft(
    act: Act,
    *,
    event_id: UUID,
    number: int,
    received_at: datetime,
    source_ref: str,
    purpose: Purpose | None,
    notice: Notice | None,
    jurisdiction: str,
    asked_elsewhere: bool,
    commitment: str | None,
) -> tuple[Core, Event]:
    """The core of a contact's `number`th event but for its place and what the state machine makes of it, and the
    same event as the state machine reads it.
    """
    flags = clock_flags(act, received_at)
    reason = act.reason
    if reason is None and act.event_type in NEGATIVE:
        reason = act.event_type.value.lower()
    core = Core(
        actor_ref=unset(None if act.actor_id is None else str(act.actor_id)),
        actor_type=act.actor.value,
        channel=CHANNEL,
        clock_flags=flags or UNSET,
        collection_point=unset(act.collection_point),
        controller_id="*" if purpose is None else _nfc(purpose.controller),
        event_id=str(event_id),
        event_type=act.event_type.value,
        evidence_commit=unset(commitment),
        evidence_kinds=sorted(kind for kind in act.evidence if kind.isascii()) or UNSET,
        jurisdiction=_nfc(act.jurisdiction or jurisdiction),
        method=UNSET if act.method is None else act.method.value,
        occurred_at=timestamp(act.occurred_at),
        policy_hash=POLICY_HASH,
        purpose=_nfc(act.purpose),
        reason=unset(reason),
        received_at=timestamp(received_at),
        refs={name: _nfc(value) for name, value in act.refs.items()} or UNSET,
        sender_scope=unset(act.sender_scope),
        source=_nfc(act.source),
        source_event_ref=source_ref,
        subject_event_no=number,
        subject_id=str(act.contact_id),
    )
    grade, min_grade, expires_at = Grade.E, Grade.C, None
    if act.needs_notice and purpose is not None:
        core.lawful_basis, core.consent_kind = _nfc(act.lawful_basis), _nfc(act.consent_kind)
        core.language = unset(act.language)
        if notice is not None:
            core.notice_id, core.notice_hash = str(notice.id), notice.content_hash
            core.language = unset(act.language or notice.language)
            core.withdrawal_info = unset(notice.withdrawal_info)
        if act.is_grant:
            grade, min_grade = grade_of(act, notice, flags, asked_elsewhere), Grade(purpose.min_grade)
            expires_at = expiry(act, received_at, purpose)
            core.grade, core.min_grade, core.expires_at = grade.value, min_grade.value, timestamp(expires_at)
    return core, Event(
        event_id=event_id,
        event_type=act.event_type,
        purpose=core.purpose,
        occurred_at=act.occurred_at,
        received_at=received_at,
        source=core.source,
        actor_type=core.actor_type,
        sender_scope=core.sender_scope or "*",
        subject_event_no=number,
        grade=grade,
        min_grade=min_grade,
        expires_at=expires_at,
        method=core.method or None,
        reason=core.reason or None,
        notice_id=notice.id if core.notice_id and notice else None,
        language=core.language or None,
        collection_point=core.collection_point or None,
        clock_flags=tuple(flags),
        refs=dict(core.refs or {}),
    )


def expiry(act: Act, received_at: datetime, purpose: Purpose) -> datetime:
    """When a grant ends: its validity counts from when it was given, and never from later than we heard of it."""
    return min(act.occurred_at, received_at) + timedelta(days=purpose.validity_days)


def _nfc(value: str) -> str:
    return value if value.isascii() else unicodedata.normalize("NFC", value)
