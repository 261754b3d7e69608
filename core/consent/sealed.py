"""The sealed core of a ledger event: its fields in the order of their canonical text."""

import re
import secrets
import unicodedata
from collections.abc import Sequence
from copy import copy

import msgspec
from msgspec import UNSET, UnsetType

from core.consent.canonical import leaf_hash


class Core(msgspec.Struct, kw_only=True, gc=False):
    """What is hashed. Absent fields are UNSET and left out; names stand in the order RFC 8785 sorts them.

    The types are the canonical profile's: text, integers below 2^53, lists of text, and text by ASCII keys.
    """

    actor_ref: str | UnsetType = UNSET
    actor_type: str
    channel: str
    clock_flags: list[str] | UnsetType = UNSET
    collection_point: str | UnsetType = UNSET
    consent_kind: str | UnsetType = UNSET
    controller_id: str
    event_id: str
    event_type: str
    evidence_commit: str | UnsetType = UNSET
    evidence_kinds: list[str] | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    grade: str | UnsetType = UNSET
    jurisdiction: str
    kept: list[str] | UnsetType = UNSET
    language: str | UnsetType = UNSET
    lawful_basis: str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    min_grade: str | UnsetType = UNSET
    next_state: str | UnsetType = UNSET
    notice_hash: str | UnsetType = UNSET
    notice_id: str | UnsetType = UNSET
    occurred_at: str
    policy_hash: str
    prev: str = ""
    prev_state: str | UnsetType = UNSET
    purpose: str
    reason: str | UnsetType = UNSET
    received_at: str
    recorded_at: str = ""
    refs: dict[str, str] | UnsetType = UNSET
    rule_id: str = ""
    schema: str = "consent-event/1"
    sender_scope: str | UnsetType = UNSET
    seq: int = 0
    source: str
    source_event_ref: str
    subject_event_no: int | UnsetType = UNSET
    subject_id: str | UnsetType = UNSET
    tenant_id: str = ""
    withdrawal_info: str | UnsetType = UNSET


_ENCODER = msgspec.json.Encoder(order="deterministic")


def seal(core: Core) -> tuple[str, str]:
    """(canonical text, leaf hash) of a finished core; raises ValueError for text that is not in normal form C."""
    text = _canonical(core)
    return text, leaf_hash(text)


def _canonical(core: Core) -> str:
    text = _ENCODER.encode(core).decode()
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        raise ValueError("text is not in normal form C")
    return text


_OWN_TEXTS = (
    *("event_id", "evidence_commit", "expires_at", "occurred_at", "prev", "recorded_at", "source_event_ref"),
    *("subject_id", "tenant_id"),
)
_HOLE = secrets.token_hex(16)  # what no field says: each process draws its own
_NUMBER = 2**53 - 1  # nor has any event this place
_HOLES = re.compile(f'(?<="){_HOLE}(?=")|(?<="seq":){_NUMBER}(?=,)|(?<="subject_event_no":){_NUMBER}(?=,)')


class Pattern:
    """The text of events that differ in nothing but who, when, the proof and the place: encoded once, filled often.

    It is the text of one such event's core with holes in it, so `fill` writes what `seal` would. What goes into the
    holes are ids, hashes, instants and numbers, which JSON writes as they are.
    """

    __slots__ = ("_pieces",)

    def __init__(self, core: Core) -> None:
        blank = copy(core)
        for name in _OWN_TEXTS:
            if getattr(core, name) is not UNSET:
                setattr(blank, name, _HOLE)
        blank.seq = blank.subject_event_no = _NUMBER
        between = _HOLES.split(_canonical(blank))
        self._pieces = [piece for text in between for piece in (text, "")][:-1]

    def fill(self, own: Sequence[str]) -> tuple[str, str]:
        """(canonical text, leaf hash); raises ValueError when there are not as many values as holes.

        `own` are, where they are not UNSET and in this order: event_id, evidence_commit, expires_at, occurred_at,
        prev, recorded_at, seq, source_event_ref, subject_event_no, subject_id, tenant_id.
        """
        pieces = self._pieces.copy()
        pieces[1::2] = own
        text = "".join(pieces)
        return text, leaf_hash(text)


def unset(value: str | None) -> str | UnsetType:
    """Text in normal form C; nothing when there is none."""
    if value is None:
        return UNSET
    return value if value.isascii() else unicodedata.normalize("NFC", value)
