"""What a row of a file says about consent: the act it is, what its evidence lacks, and the reason of its verdict."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

from msgspec import structs

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
_NOT_EVIDENCE = ("name", "country", "language")


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


def why(verdict: ImportOutcome, lacking: Sequence[str]) -> str | None:
    if verdict is ImportOutcome.NOT_SENDABLE:
        return f"the consent's evidence is incomplete: {', '.join(lacking) or 'it proves too little'}"
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


_OWN = frozenset({"phone", "name", "occurred_at", "source_record_id", "evidence_ref"})


@dataclass(frozen=True, slots=True)
class Saying:
    """What rows say that differ in nothing but who, when and the proof, from the first of them."""

    act: Act
    missing: Sequence[str]
    heads: Sequence[tuple[str, str]]  # of the evidence as repr() shows its sorted items: what is before each value
    verdicts: dict[tuple[object, ...], tuple[ImportOutcome, str | None]] = field(default_factory=dict)


class Sayings:
    """Acts of rows; what many of them say alike is worked out once."""

    def __init__(self, job: Import, registry: Registry, now: datetime) -> None:
        self._job, self._now, self._notices = job, now, Notices(registry)
        self._refs = {"import_batch": str(job.id)}
        self._known: dict[tuple[str | None, ...], Saying] = {}

    def act_of(self, row: Row, contact_id: UUID) -> tuple[Act, Saying]:
        """The act of a row that says something about consent, and what it says alike with others."""
        said = (row.action, *row.values, None, *[value for name, value in row.values.items() if name not in _OWN])
        known = self._known.get(said)
        if known is None:
            act = act_of(self._job, row, contact_id, self._refs, self._notices, self._now)
            act = structs.replace(act, kind=len(self._known))
            heads = [(f"({name!r}, ", name) for name in sorted(act.evidence)]
            self._known[said] = known = Saying(act, missing(row, act), heads)
            return act, known
        evidence = _evidence(row)
        shown = ", ".join([f"{head}{evidence[name]!r})" for head, name in known.heads])
        act = structs.replace(
            known.act,
            contact_id=contact_id,
            source_key=_source_key(self._job, row, f"[{shown}]"),
            occurred_at=row.occurred_at if row.occurred_at is not None and known.act.is_grant else self._now,
            evidence=evidence,
        )
        return act, known


def _evidence(row: Row) -> dict[str, str]:
    evidence = row.values.copy()
    for name in _NOT_EVIDENCE:
        evidence.pop(name, None)
    return evidence


def _source_key(job: Import, row: Row, shown: str) -> str:
    """What makes the row the same one when it comes again.

    A record of a source system is the same record in every file, as long as it says the same: what was incomplete may
    come again with what was missing. Without an id it is this row of this file. `shown` is the evidence in
    the order of its names, as repr() shows it.
    """
    record = row.values.get("source_record_id")
    if not record:
        return f"{job.sha256}|{row.number}"
    digest = blake2b(shown.encode(), digest_size=16).hexdigest()
    return f"{row.values.get('source_system', '')}|{record}|{row.action}|{row.match_key}|{digest}"


def act_of(job: Import, row: Row, contact_id: UUID, refs: Mapping[str, str], notices: Notices, now: datetime) -> Act:
    values = row.values
    evidence = _evidence(row)
    key = _source_key(job, row, repr(sorted(evidence.items())))
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
        weakest_grade=None if values.get("source_record_id") and "evidence_ref" in values else Grade.E,
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
