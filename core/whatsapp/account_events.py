"""What the provider says about templates, numbers and the account → facts; pure.

Source: developers.facebook.com/documentation/business-messaging/whatsapp, webhooks reference, read 2026-11. Values may
lack any member, and an id may be a number or a text; what is not understood is kept whole and named `unreadable`.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.statuses import AccountEventKind, Severity
from core.whatsapp.payloads import Raw, instant, read, texts

Kind = AccountEventKind

FIELDS = {
    "message_template_status_update": Kind.TEMPLATE_STATUS,
    "message_template_quality_update": Kind.TEMPLATE_QUALITY,
    "template_category_update": Kind.TEMPLATE_CATEGORY,
    "message_template_components_update": Kind.TEMPLATE_CONTENT,
    "phone_number_quality_update": Kind.NUMBER_LIMIT,
    "phone_number_name_update": Kind.NUMBER_NAME,
    "business_username_update": Kind.NUMBER_NAME,
    "business_capability_update": Kind.CAPABILITY,
    "account_alerts": Kind.ALERT,
    "account_review_update": Kind.REVIEW,
    "account_update": Kind.ACCOUNT,
    "security": Kind.SECURITY,
}
MOST_BYTES = 20_000  # of a value that is kept as it came; real ones have a few hundred
MOST_IN_WORD = 200

_WARNING_WORDS = frozenset({"paused", "flagged", "yellow", "downgrade", "pending_deletion", "in_appeal", "deferred"})
_CRITICAL_WORDS = frozenset(
    {"disabled", "rejected", "red", "account_violation", "account_restriction", "disabled_update", "account_deleted"}
    | {"partner_removed", "account_offboarded"}
)

_SCORES = frozenset({"green", "yellow", "red", "unknown"})
_CATEGORIES = frozenset({"marketing", "utility", "authentication"})
_DECISIONS = frozenset({"approved", "rejected", "pending", "deferred"})
# Every word of the reference, older ones included; of alerts there is no complete list.
_KNOWN_WORDS: dict[AccountEventKind, frozenset[str]] = {
    Kind.TEMPLATE_STATUS: frozenset(
        {"approved", "archived", "deleted", "disabled", "flagged", "in_appeal", "limit_exceeded", "locked", "paused"}
        | {"pending", "pending_deletion", "reinstated", "rejected", "unarchived"}
    ),
    Kind.TEMPLATE_QUALITY: _SCORES,
    Kind.TEMPLATE_CATEGORY: _CATEGORIES,
    Kind.TEMPLATE_CATEGORY_NOTICE: _CATEGORIES,
    Kind.NUMBER_LIMIT: frozenset({"onboarding", "throughput_upgrade", "upgrade", "downgrade", "flagged", "unflagged"}),
    Kind.NUMBER_NAME: _DECISIONS | {"reserved", "deleted"},
    Kind.REVIEW: _DECISIONS,
    Kind.SECURITY: frozenset({"pin_changed", "pin_reset_request", "pin_request_success"}),
    Kind.ACCOUNT: frozenset(
        {"account_deleted", "account_offboarded", "account_reconnected", "account_restriction", "account_violation"}
        | {"ad_account_linked", "auth_intl_price_eligibility_update", "business_primary_location_country_update"}
        | {"disabled_update", "mm_lite_terms_signed", "partner_added", "partner_app_installed"}
        | {"partner_app_uninstalled", "partner_removed", "volume_based_pricing_tier_update"}
    ),
}


@dataclass(frozen=True)
class AccountEvent:
    """One thing the provider says about a template, a number or a whole account.

    `word` is its event, decision or score in lower case. `subject` names what is concerned for people. Of two events
    with the same `aspect` the later one holds. `key` is the same whenever the same event comes again.
    """

    kind: AccountEventKind
    word: str
    account: str
    subject: str
    aspect: str
    occurred_at: datetime
    key: UUID
    severity: Severity
    value: dict[str, Any]

    @property
    def is_known(self) -> bool:
        """Whether the provider's word is one we have met; an alert may be of any type."""
        return self.word != "unreadable" and self.word in _KNOWN_WORDS.get(self.kind, {self.word})


def read_account_event(field: str, account: str, raw: Raw, *, time: Raw, received_at: datetime) -> AccountEvent | None:
    """The event in the `value` of one of `FIELDS`; None when it is no object.

    `received_at` stands in for an entry without a time: then the same bytes posted twice are two events, and the
    second changes nothing because it says the same.
    """
    value = read(raw, dict[str, Any])
    if value is None:
        return None
    kind = _kind(field, value)
    word = _word(kind, value)
    occurred_at = min(_time(time) or received_at, received_at)  # one from the future would hold for ever
    subject = _subject(kind, value) or account
    stamp = occurred_at.isoformat()
    digest = hashlib.blake2b(b"\0".join((field.encode(), account.encode(), stamp.encode(), bytes(raw))), digest_size=16)
    return AccountEvent(
        kind=kind,
        word=word,
        account=account[:MOST_IN_WORD],
        subject=subject[:MOST_IN_WORD],
        aspect=f"{_aspect(kind, word)}|{_subject_id(kind, value) or account}"[:MOST_IN_WORD],
        occurred_at=occurred_at,
        key=UUID(bytes=digest.digest()),
        severity=_severity(kind, word, value),
        value=value if len(bytes(raw)) <= MOST_BYTES else {"left_out": f"{len(bytes(raw))} bytes"},
    )


def template_id(event: AccountEvent) -> str | None:
    return texts(event.value.get("message_template_id"))


def language(event: AccountEvent) -> str | None:
    """The template's language in the provider's own spelling: en_US, though webhooks also say en-US."""
    spelled = texts(event.value.get("message_template_language"))
    return spelled.replace("-", "_") if spelled else None


def display_number(event: AccountEvent) -> str | None:
    """+ and digits, as senders keep it."""
    spelled = texts(event.value.get("display_phone_number"))
    digits = "".join(character for character in spelled or "" if character in "0123456789")
    return f"+{digits}" if digits else None


def limit_tier(event: AccountEvent) -> str | None:
    """How many people a day the portfolio may reach, as TIER_250 … TIER_UNLIMITED; None when nothing is said.

    The member is a word today and was a number (-1 without a limit) before; older events carry `current_limit`.
    """
    for name in ("max_daily_conversations_per_business", "current_limit"):
        said = texts(event.value.get(name))
        if said is None:
            continue
        if said.startswith("TIER_"):
            return said[:MOST_IN_WORD]
        if said.removeprefix("-").isdecimal():
            return _tier(int(said)) if len(said) < 12 else None
    return None


def _tier(people: int) -> str:
    if people < 0:
        return "TIER_UNLIMITED"
    return f"TIER_{people // 1000}K" if people >= 1000 and people % 1000 == 0 else f"TIER_{people}"


def _kind(field: str, value: dict[str, Any]) -> AccountEventKind:
    """By the field, but the provider's own sample sends quality under the status field, so the keys decide."""
    if "message_template_id" in value and "new_quality_score" in value:
        return Kind.TEMPLATE_QUALITY
    if field == "template_category_update" and "correct_category" in value:
        return Kind.TEMPLATE_CATEGORY_NOTICE
    return FIELDS[field]


_WORD_AT = {
    Kind.TEMPLATE_QUALITY: "new_quality_score",
    Kind.TEMPLATE_CATEGORY: "new_category",
    Kind.TEMPLATE_CATEGORY_NOTICE: "correct_category",
    Kind.NUMBER_NAME: "decision",
    Kind.REVIEW: "decision",
}


def _word(kind: AccountEventKind, value: dict[str, Any]) -> str:
    if kind is Kind.TEMPLATE_CONTENT:
        return "edited"
    if kind is Kind.CAPABILITY:
        return "limits"
    if kind is Kind.ALERT:
        said = texts(_inside(value, "alert_info").get("alert_type"))
    elif kind is Kind.NUMBER_NAME and "username" in value:
        said = texts(value.get("status"))
    else:
        said = texts(value.get(_WORD_AT.get(kind, "event")))
    return (said or "unreadable").lower()[:MOST_IN_WORD]


def _inside(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _subject(kind: AccountEventKind, value: dict[str, Any]) -> str | None:
    if kind.is_about_template:
        name = texts(value.get("message_template_name")) or texts(value.get("message_template_id"))
        spelled = texts(value.get("message_template_language"))
        return " ".join(part for part in (name, spelled and spelled.replace("-", "_")) if part) or None
    if kind is Kind.ALERT:
        return texts(value.get("entity_id"))
    return texts(value.get("display_phone_number"))


def _subject_id(kind: AccountEventKind, value: dict[str, Any]) -> str | None:
    return texts(value.get("message_template_id")) if kind.is_about_template else _subject(kind, value)


def _aspect(kind: AccountEventKind, word: str) -> str:
    """What an event settles: a flag says nothing about throughput, and a ban nothing about a restriction."""
    if kind is Kind.NUMBER_LIMIT:
        if word in ("flagged", "unflagged"):
            return f"{kind}/flag"
        return f"{kind}/throughput" if word == "throughput_upgrade" else f"{kind}/tier"
    if kind in (Kind.ACCOUNT, Kind.ALERT, Kind.SECURITY):
        return f"{kind}/{word}"
    return str(kind)


def _severity(kind: AccountEventKind, word: str, value: dict[str, Any]) -> Severity:
    if kind is Kind.ALERT:
        told = texts(_inside(value, "alert_info").get("alert_severity")) or ""
        return {"CRITICAL": Severity.CRITICAL, "INFORMATIONAL": Severity.INFO}.get(told.upper(), Severity.WARNING)
    if kind is Kind.ACCOUNT and texts(_inside(value, "ban_info").get("waba_ban_state")) == "REINSTATE":
        return Severity.INFO
    if word in _CRITICAL_WORDS:
        return Severity.CRITICAL
    is_new = word not in _KNOWN_WORDS.get(kind, {word})  # somebody should look at it
    if (
        is_new
        or word in _WARNING_WORDS
        or kind in (Kind.SECURITY, Kind.TEMPLATE_CATEGORY_NOTICE, Kind.TEMPLATE_CONTENT)
    ):
        return Severity.WARNING
    return Severity.INFO


def _time(raw: Raw) -> datetime | None:
    stamp = read(raw, object)
    if isinstance(stamp, bool) or not isinstance(stamp, str | int):
        return None
    try:
        return instant(stamp)
    except ValueError:
        return None
