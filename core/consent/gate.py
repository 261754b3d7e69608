"""The send gate: no request to the provider starts after a withdrawal that affects it has committed.

The gate locks the contacts' rows (FOR SHARE) in one statement and reads everything it decides by in later statements
of the same READ COMMITTED transaction, which stays open while the requests are out. Every consent writer needs those
rows for itself, so a withdrawal commits either before the check, and is seen, or after the requests ended. Reading in
the locking statement would not do: after a lock wait the joined rows would still be from the older snapshot.

Consents that are being made invalid by the thousand are denied from the moment it is asked for: whoever asks waits at
the gate's door until the batches inside have ended (`shut`), and the batches that follow see it.
"""

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import ClassVar
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.ledger import UNSIGNED_HALT
from core.consent.state import HOLD, META_STOP, POSITIVE, REAFFIRM_DUE, REVOKING, UNREACHABLE, State, covers, scopes_of
from core.db import Driver, Sessions, driver, fetch
from core.errors import AppError, Unavailable
from core.keys import Keyring
from core.statuses import MessageKind, SkipReason
from core.witness import Mark

BATCH = 50  # contacts one transaction may hold while their requests are out
# Sent without a person at hand: a restored database has them queued again although they were sent.
_BY_THEMSELVES = frozenset({MessageKind.CAMPAIGN, MessageKind.TRIGGERED})
LIFETIME_S = 0.25  # from the decision to the start of the request
SERVICE_WINDOW = timedelta(hours=24)  # the provider's customer service window for free-form replies
_MINT = object()


class PermitExpired(AppError):
    """The permit was held for too long or its transaction has ended: nothing was sent, ask the gate again."""

    code: ClassVar[str] = "permit_expired"


@dataclass(frozen=True, slots=True)
class SendRequest:
    message_id: UUID
    contact_id: UUID
    purpose: str
    kind: MessageKind
    phone_number_id: str  # of the sender


@dataclass(frozen=True, slots=True)
class Refusal:
    message_id: UUID
    reason: SkipReason
    waits: bool = False  # nothing was decided about the person: ask again later


@dataclass(slots=True)
class _Window:
    """The time in which a batch's requests may start."""

    ends_at: float  # monotonic seconds
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class SendPermit:
    """Leave to start one request now; only `permits` can make one."""

    message_id: UUID
    contact_id: UUID
    purpose: str
    to: str  # E.164 with +, or a business-scoped user id
    grant_seq: int | None  # the ledger event relied on; null where the purpose needs no consent
    head_seq: int  # the contact's newest ledger event; 0 when there is none
    decided_at: datetime
    _window: _Window = field(repr=False)
    _mint: object = field(repr=False)

    def __post_init__(self) -> None:
        if self._mint is not _MINT:
            raise TypeError("a permit is made by the consent gate only")

    @property
    def left_s(self) -> float:
        """Seconds in which the request may still start; 0 or less when it may not."""
        return self._window.ends_at - time.monotonic() if self._window.is_open else 0.0

    def live(self) -> bool:
        """Whether a request may start: within 250 ms of the decision, while the gate's locks are held."""
        return self._window.is_open and self.left_s >= 0

    def check(self) -> None:
        """Raises PermitExpired unless the permit is live."""
        if not self.live():
            raise PermitExpired("the permit is no longer valid")

    def recipient(self) -> dict[str, str]:
        """The provider's fields that name the person: `to` for a number, `recipient` for a user id."""
        return {"to": self.to} if self.to.startswith("+") else {"recipient": self.to}


@asynccontextmanager
async def permits(
    sessions: Sessions, requests: Sequence[SendRequest], *, keyring: Keyring, now: datetime | None = None
) -> AsyncIterator[tuple[list[SendPermit], list[Refusal]]]:
    """Decide on up to 50 messages; their contacts stay locked against withdrawals until the block ends.

    Send inside the block and leave it as soon as the requests have ended. `now` replaces the database's clock where
    expiry is judged (tests). Raises ValueError for more than 50 requests, Unavailable when the server's clock is
    behind the ledger.
    """
    if len(requests) > BATCH:
        raise ValueError(f"at most {BATCH} requests are decided together")
    # The isolation is named, whatever the server's default: under a snapshot a withdrawal would stay hidden.
    async with driver(sessions) as connection, connection.transaction(isolation="read_committed"):
        await connection.fetch(_LOCK, list({request.contact_id for request in requests}))
        facts = await _facts(connection, requests, keyring.witness.latest())
        suppressed = await _suppressed(connection, facts.values(), keyring)
        window = _Window(time.monotonic() + LIFETIME_S)
        allowed: list[SendPermit] = []
        refused: list[Refusal] = []
        for number, request in enumerate(requests, start=1):
            row = facts.get(number)
            reason = SkipReason.TENURE_CLOSED if row is None else _refusal(request, row, suppressed, now or row.at)
            is_doubtful = row is not None and (row.is_forked or row.is_unsigned)
            if row is not None and is_doubtful and (row.needs_consent or request.kind in _BY_THEMSELVES):
                refused.append(Refusal(request.message_id, SkipReason.LEDGER_MISMATCH, waits=True))
            elif row is None or reason is not None:
                refused.append(Refusal(request.message_id, reason or SkipReason.TENURE_CLOSED))
            else:
                allowed.append(_permit(request, row, window))
        try:
            yield allowed, refused
        finally:
            window.is_open = False


_DOOR = "hashtextextended('kairan.gate', 0)"
_LOCK = f"""
    SELECT id FROM contacts
     WHERE id = ANY($1::uuid[]) AND (SELECT pg_advisory_xact_lock_shared({_DOOR})) IS NOT NULL
     ORDER BY id FOR SHARE
"""  # noqa: S608 - built from constants


async def shut(session: AsyncSession) -> None:
    """Wait until no request is out, and let no batch in before this transaction has ended.

    What it commits is seen by every batch that follows. It must end at once, take no contact's lock, and hold none
    that somebody who locks contacts takes afterwards.
    """
    await fetch(session, f"SELECT pg_advisory_xact_lock({_DOOR})")


# Open addresses are picked by FILTER: as a condition, before statistics exist, the planner would read the whole
# partial index of open addresses once per contact.
_FACTS = """
    SELECT asked.number, c.erased_at, c.closed_at, c.last_seen_at,
           p.needs_consent, p.halted, p.min_grade,
           own.state, own.grade, own.grant_seq, own.expires_at, own.overlays,
           wide.states, wide.overlays AS wide_overlays,
           address.kinds, address.addresses, address.keys,
           EXISTS (SELECT FROM pending_withdrawals w WHERE w.contact_id = c.id) AS has_pending,
           coalesce((SELECT seq FROM consent_events e WHERE e.subject_id = c.id ORDER BY seq DESC LIMIT 1), 0) AS head,
           EXISTS (
               SELECT FROM consent_events g
                WHERE g.seq = own.grant_seq AND g.subject_id = c.id AND g.purpose = asked.purpose
                  AND g.event_type = ANY($4::text[])
           ) AND NOT EXISTS (
               SELECT FROM consent_events n
                WHERE n.subject_id = c.id AND n.seq > own.grant_seq
                  AND n.event_type = ANY($5::text[])
                  AND n.purpose = ANY(string_to_array(asked.scopes, ' '))
                  AND NOT coalesce(jsonb_exists(CAST(n.core AS jsonb)->'kept', asked.purpose), false)
           ) AS is_in_ledger,
           own.grant_seq IS NOT NULL AND EXISTS (SELECT FROM invalidations WHERE finished_at IS NULL) AND EXISTS (
               SELECT FROM invalidations i JOIN consent_events g ON g.seq = own.grant_seq
                WHERE i.finished_at IS NULL AND strpos(g.core, i.mark) > 0
                  AND (i.kind <> 'collection_point' OR g.seq <= i.until_seq)) AS is_ending,
           clock_timestamp() AS at,
           (SELECT h.recorded_at > clock_timestamp() + interval '60 seconds' FROM consent_chain h WHERE h.name = 'main')
               AS clock_is_behind,
           EXISTS (SELECT FROM ledger_forks f WHERE f.closed_at IS NULL)
           OR $6::bigint IS NOT NULL AND NOT EXISTS (
               SELECT FROM consent_events s WHERE s.seq = $6::bigint AND s.leaf_hash = $7::text) AS is_forked,
           EXISTS (SELECT FROM consent_events u
                    WHERE u.seq = (SELECT coalesce(max(size), 0) + 1 FROM consent_checkpoints)
                      AND u.recorded_at < to_char((now() - $8::interval) AT TIME ZONE 'UTC',
                                                  'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) AS is_unsigned
      FROM unnest($1::uuid[], $2::text[], $3::text[])
           WITH ORDINALITY AS asked (contact_id, purpose, scopes, number)
      JOIN contacts c ON c.id = asked.contact_id
      LEFT JOIN purposes p ON p.code = asked.purpose AND p.retired_at IS NULL
      LEFT JOIN consent_state own ON own.contact_id = c.id AND own.purpose = asked.purpose
      LEFT JOIN LATERAL (
           SELECT array_agg(w.state) AS states, jsonb_agg(w.overlays) AS overlays
             FROM consent_state w
            WHERE w.contact_id = c.id AND w.purpose = ANY(string_to_array(asked.scopes, ' '))
              AND w.purpose <> asked.purpose) wide ON true
      LEFT JOIN LATERAL (
           SELECT array_agg(a.kind ORDER BY a.id) FILTER (WHERE a.closed_at IS NULL) AS kinds,
                  array_agg(a.value ORDER BY a.id) FILTER (WHERE a.closed_at IS NULL) AS addresses,
                  array_agg(a.match_key ORDER BY a.id) FILTER (WHERE a.closed_at IS NULL) AS keys
             FROM contact_addresses a WHERE a.contact_id = c.id) address ON true
"""

_POSITIVE, _REVOKING = sorted(POSITIVE), sorted(REVOKING)


class Facts(msgspec.Struct, frozen=True):
    """What is known about one asked message's person; the columns of _FACTS, in their order."""

    number: int
    erased_at: datetime | None
    closed_at: datetime | None
    last_seen_at: datetime | None
    needs_consent: bool | None  # null: no such purpose
    halted: bool | None
    min_grade: str | None
    state: str | None
    grade: str | None
    grant_seq: int | None
    expires_at: datetime | None
    overlays: list[str] | None
    states: list[str] | None
    wide_overlays: list[list[str]] | None
    kinds: list[str] | None
    addresses: list[str] | None
    keys: list[str] | None
    has_pending: bool
    head: int
    is_in_ledger: bool
    is_ending: bool  # the grant is being made invalid with others
    at: datetime
    clock_is_behind: bool | None
    is_forked: bool  # this is not the ledger that was signed last, or nobody has decided about one that was not
    is_unsigned: bool  # what was recorded too long ago could still be rewritten without anybody noticing


async def _facts(connection: Driver, requests: Sequence[SendRequest], signed: Mark | None) -> dict[int, Facts]:
    rows = await connection.fetch(
        _FACTS,
        [request.contact_id for request in requests],
        [request.purpose for request in requests],
        [_scopes(request.purpose) for request in requests],
        _POSITIVE,
        _REVOKING,
        signed and signed.size,
        signed and signed.leaf_hash,
        UNSIGNED_HALT,
    )
    found = {row["number"]: Facts(*row) for row in rows}
    if any(facts.clock_is_behind for facts in found.values()):
        raise Unavailable("the server's clock is behind the ledger: nothing is sent until it is right")
    return found


@cache
def _scopes(purpose: str) -> str:
    return " ".join(scopes_of(purpose))


_SUPPRESSED = "SELECT ref, scope FROM suppressions WHERE ref = ANY($1::text[]) AND lifted_at IS NULL"


async def _suppressed(connection: Driver, facts: Iterable[Facts], keyring: Keyring) -> Mapping[str, list[str]]:
    """Match key → scopes suppressed, under any version of the address key."""
    keys = {key for row in facts for key in row.keys or ()}
    refs = {ref: key for key in keys for ref in keyring.address_refs(key)}
    found: dict[str, list[str]] = {}
    for ref, scope in await connection.fetch(_SUPPRESSED, list(refs)):
        found.setdefault(refs[ref], []).append(scope)
    return found


def _refusal(request: SendRequest, row: Facts, suppressed: Mapping[str, list[str]], now: datetime) -> SkipReason | None:
    """The first reason that applies, or None."""
    if row.needs_consent is None:
        return SkipReason.UNKNOWN_PURPOSE
    state, overlays = _standing(row)
    blocked = any(covers(scope, request.purpose) for key in row.keys or () for scope in suppressed.get(key, ()))
    for applies, reason in (
        (row.halted, SkipReason.KILL_SWITCH),
        (row.erased_at is not None, SkipReason.ERASED),
        (row.closed_at is not None or state is State.CLOSED, SkipReason.TENURE_CLOSED),
        (blocked, SkipReason.SUPPRESSED),
        (row.needs_consent and _is_stopped(overlays, request.phone_number_id), SkipReason.META_STOP),
        (HOLD in overlays or row.has_pending, SkipReason.HOLD),
        (state is State.WITHDRAWN, SkipReason.WITHDRAWN),
        (not row.kinds, SkipReason.NO_ADDRESS),
        (request.kind is MessageKind.REPLY and not _window_is_open(row, now), SkipReason.WINDOW_CLOSED),
    ):
        if applies:
            return reason
    return _consent_refusal(row, state, overlays, now) if row.needs_consent else None


_STATES = {
    State.NONE: SkipReason.NO_CONSENT,
    State.PENDING: SkipReason.PENDING,
    State.INVALID: SkipReason.INVALID,
    State.EXPIRED: SkipReason.EXPIRED,
}


def _consent_refusal(row: Facts, state: State, overlays: frozenset[str], now: datetime) -> SkipReason | None:
    """What stands against a purpose that needs consent, once nothing else does."""
    if state is not State.SUBSCRIBED:
        return _STATES[state]
    grade = row.grade or "none"  # sorts behind every grade
    for applies, reason in (
        (row.is_ending, SkipReason.INVALID),
        (row.expires_at is None or row.expires_at <= now, SkipReason.EXPIRED),
        (grade > (row.min_grade or "A") or grade > "C", SkipReason.GRADE_TOO_LOW),
        (REAFFIRM_DUE in overlays and grade > "B", SkipReason.REAFFIRM_DUE),
        (UNREACHABLE in overlays, SkipReason.UNREACHABLE),
        (not row.is_in_ledger, SkipReason.LEDGER_MISMATCH),
    ):
        if applies:
            return reason
    return None


def _standing(row: Facts) -> tuple[State, frozenset[str]]:
    """State and overlays of the purpose; where nothing named it, what a wider scope says about it."""
    if row.state is not None:
        return State(row.state), frozenset(row.overlays or ())
    states = {State(state) for state in row.states or ()}
    overlays = frozenset(word for words in row.wide_overlays or () for word in words)
    for strict in (State.CLOSED, State.WITHDRAWN, State.INVALID):
        if strict in states:
            return strict, overlays
    return State.NONE, overlays


def _is_stopped(overlays: frozenset[str], phone_number_id: str) -> bool:
    return not overlays.isdisjoint({f"{META_STOP}:{phone_number_id}", f"{META_STOP}:*"})


def _window_is_open(row: Facts, now: datetime) -> bool:
    return row.last_seen_at is not None and now - row.last_seen_at < SERVICE_WINDOW


def _permit(request: SendRequest, row: Facts, window: _Window) -> SendPermit:
    addresses = dict(zip(reversed(row.kinds or ()), reversed(row.addresses or ()), strict=True))  # the oldest of a kind
    to = addresses.get("phone") or addresses.get("wa_id") or addresses["bsuid"]
    if "phone" not in addresses and "wa_id" in addresses:
        to = "+" + to.removeprefix("+")
    return SendPermit(
        request.message_id,
        request.contact_id,
        request.purpose,
        to,
        row.grant_seq if row.needs_consent else None,
        row.head,
        row.at,
        window,
        _MINT,
    )
