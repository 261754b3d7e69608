"""What a row of a file says about consent: the act it is, what its evidence lacks, and the reason of its verdict."""

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

from core.consent.acts import MARKETING, Act, ActorType, Method
from core.consent.imports import ImportOutcome
from core.consent.registry import Registry
from core.consent.state import EventType, Grade, is_scope
from core.models import Import
from core.services.imports_rows import Row

SOURCE = "import"
REQUIRED_EVIDENCE = ("method", "collection_point", "source_record_id", "evidence_ref")
_METHODS = frozenset(method.value for method in Method)
_SAID_BY_FILES = (Method.WEB_FORM, Method.PAPER, Method.CALL, Method.IN_PERSON, Method.PREF_CENTRE)
# What people write instead, as NFKC and small letters write it; English, Japanese, German.
_METHOD_WORDS = {
    word: method.value
    for method, words in {
        Method.WEB_FORM: "web-form webform website online webフォーム ウェブフォーム フォーム ウェブ formular",
        Method.PAPER: "紙 用紙 書面 申込書 papier schriftlich",
        Method.CALL: "phone telephone 電話 telefon telefonisch",
        Method.IN_PERSON: "in-person store 店頭 店舗 対面 persönlich",
    }.items()
    for word in words.split()
} | {"web form": "web_form", "in person": "in_person"}
_NOT_EVIDENCE = frozenset({"name", "country", "language"})


class Notices(dict[tuple[str, str], UUID | None]):
    """(what a row cites, purpose) → the notice, by id or by code; one that does not cover the purpose is none."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.registry = registry

    def __missing__(self, asked: tuple[str, str]) -> UUID | None:
        cited, purpose = asked
        matching = [
            notice
            for notice in self.registry.notices.values()
            if cited in (notice.code, str(notice.id)) and purpose in notice.purposes
        ]
        found = max(matching, key=lambda notice: notice.version, default=None)
        self[asked] = found.id if found else None
        return self[asked]


_REASONS = {
    ImportOutcome.PENDING_CONFIRM: "the evidence is too weak to send on: ask the person to confirm",
    ImportOutcome.EXPIRED_ON_ARRIVAL: "the consent is older than its validity",
    ImportOutcome.REFUSED_SUPPRESSED: "refused",  # says nothing about the person to those who import
    ImportOutcome.DUPLICATE: "this very record was imported before",
}


def why(verdict: ImportOutcome, row: Row, act: Act) -> str | None:
    if verdict is ImportOutcome.NOT_SENDABLE:
        return f"the consent's evidence is incomplete: {', '.join(missing(row, act)) or 'it proves too little'}"
    return _REASONS.get(verdict)


def missing(row: Row, act: Act) -> list[str]:
    """What an opt-in's evidence lacks, and what of it is nothing we know."""
    lacking = [name for name in REQUIRED_EVIDENCE if name not in row.values]
    if act.method is None and "method" in row.values:
        lacking.append(f"method (it is none of {', '.join(_SAID_BY_FILES)})")
    if act.notice_id is None:
        cited = "notice_id" in row.values
        lacking.append("notice_id (there is no such notice for the purpose)" if cited else "notice_id")
    return lacking


def act_of(job: Import, row: Row, contact_id: UUID, refs: Mapping[str, str], notices: Notices, now: datetime) -> Act:
    values = row.values
    record = values.get("source_record_id")
    evidence = {name: value for name, value in values.items() if name not in _NOT_EVIDENCE}
    # A record of a source system is the same record in every file, as long as it says the same: what was incomplete
    # may come again with what was missing. Without an id it is this row of this file.
    key = f"{job.sha256}|{row.number}"
    if record:
        said = blake2b(repr(sorted(evidence.items())).encode(), digest_size=16).hexdigest()
        key = f"{values.get('source_system', '')}|{record}|{row.action}|{row.match_key}|{said}"
    if row.action == "opt_out":
        return Act(
            contact_id=contact_id,
            event_type=EventType.WITHDRAWN,
            purpose=_withdrawn(values.get("purpose"), notices.registry),
            source=SOURCE,
            source_key=key,
            occurred_at=now,
            actor=ActorType.IMPORT,
            method=Method.IMPORT,
            reason="import",
            evidence=evidence,
            refs=refs,
            declared_import=True,
        )
    method = _method(values.get("method", ""))
    purpose = values.get("purpose", "marketing")
    return Act(
        contact_id=contact_id,
        event_type=EventType.GRANTED,
        purpose=purpose,
        source=SOURCE,
        source_key=key,
        occurred_at=row.occurred_at or now,
        actor=ActorType.IMPORT,
        method=method,
        collection_point=values.get("collection_point"),
        notice_id=notices[values.get("notice_id", ""), purpose],
        language=values.get("language"),
        evidence=evidence,
        refs=refs,
        declared_import=True,
        weakest_grade=None if record and "evidence_ref" in values else Grade.E,
    )


@lru_cache(maxsize=1024)  # a file says few different things, millions of times
def _method(written: str) -> Method | None:
    """How they agreed, by our word or one that people use for it."""
    word = unicodedata.normalize("NFKC", written).lower()
    word = _METHOD_WORDS.get(word, word)
    return Method(word) if word in _METHODS else None


def _withdrawn(named: str | None, registry: Registry) -> str:
    """What an opt-out ends: the purpose named, and all marketing when none is or it does not exist."""
    return named if named and (named in registry.purposes or is_scope(named)) else MARKETING
