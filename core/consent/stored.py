"""The statements consent recording is made of: locks, lookups and set-wise writes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, any_, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from core.consent.state import Event, Permission
from core.db import copy_rows, fetch
from core.keys import Keyring

T = TypeVar("T")
_EVENT = msgspec.json.Decoder(Event)


@dataclass(frozen=True, slots=True)
class LiveSuppression:
    id: UUID
    ref: str
    scope: str
    reason: str
    created_at: datetime
    created_seq: int | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event already in the ledger."""

    seq: int
    event_id: UUID
    contact_id: UUID | None
    next_state: str | None


@dataclass(frozen=True, slots=True)
class StateRow:
    """One row of the cache."""

    contact_id: UUID
    purpose: str
    permission: Permission
    grant_seq: int | None
    head_seq: int


def state_row(
    contact_id: UUID, purpose: str, permission: Permission, seqs: Mapping[UUID, int], head_seq: int
) -> StateRow:
    """The cache's row; `seqs` places the contact's events in the ledger."""
    grant_seq = None if permission.grant_id is None else seqs[permission.grant_id]
    return StateRow(contact_id, purpose, permission, grant_seq, head_seq)


def without_grant_id(row: StateRow) -> StateRow:
    """The row as the cache can tell it: a grant by its place alone."""
    return replace(row, permission=replace(row.permission, grant_id=None))


@dataclass(frozen=True, slots=True)
class Suppress:
    ref: str
    key_version: int
    scope: str
    reason: str
    seq: int


def read_event(core: str) -> Event:
    """The deciding fields of a sealed core."""
    return _EVENT.decode(core)


def among(column: ColumnElement[T] | InstrumentedAttribute[T], values: Iterable[T]) -> ColumnElement[bool]:
    """`column = ANY(values)`: one parameter however many values, so the statement stays prepared."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def among_page(column: InstrumentedAttribute[UUID], page: Sequence[UUID]) -> ColumnElement[bool]:
    """`among` for a page of ids in their order: its ends keep the planner from reading the whole table for it."""
    return column.between(page[0], page[-1]) & among(column, page)


_LOCK = "SELECT id, country FROM contacts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"


async def lock_contacts(session: AsyncSession, ids: Iterable[UUID]) -> dict[UUID, str | None]:
    """Lock the contacts' rows in id order against the send gate and every other consent writer; id → country.

    NO KEY UPDATE excludes the gate's SHARE and other writers, and lets foreign keys to the contact pass.
    """
    return {row["id"]: row["country"] for row in await fetch(session, _LOCK, list(set(ids)))}


# Put in order here: asked to sort, the planner may read the whole ledger in its order instead.
_HISTORIES = "SELECT subject_id, seq, core FROM consent_events WHERE subject_id = ANY($1::uuid[])"


async def histories(
    session: AsyncSession, ids: Iterable[UUID], *, at_most: int | None = None
) -> dict[UUID, list[tuple[int, Event]]]:
    """Every event of the contacts (up to a place in the ledger), with its place, in the ledger's order."""
    found: dict[UUID, list[tuple[int, Event]]] = defaultdict(list)
    rows = await fetch(session, _HISTORIES, list(ids))
    for subject_id, seq, core in sorted(rows, key=itemgetter("seq")):
        if at_most is None or seq <= at_most:
            found[subject_id].append((seq, read_event(core)))
    return found


_KNOWN = """
    SELECT source_event_ref, seq, event_id, subject_id, next_state FROM consent_events
     WHERE source_event_ref = ANY($1::text[])
"""


async def known_events(session: AsyncSession, source_refs: Iterable[str]) -> dict[str, Recorded]:
    """Events that came from the same things before, by their source reference."""
    return {row[0]: Recorded(*row[1:]) for row in map(tuple, await fetch(session, _KNOWN, list(source_refs)))}


_OPEN_ADDRESSES = """
    SELECT contact_id, match_key FROM contact_addresses
     WHERE contact_id = ANY($1::uuid[]) AND closed_at IS NULL ORDER BY match_key
"""


async def address_refs(session: AsyncSession, ids: Iterable[UUID], keyring: Keyring) -> dict[UUID, list[list[str]]]:
    """Per contact, per open address: its references under every key version, newest first."""
    found: dict[UUID, list[list[str]]] = defaultdict(list)
    for contact_id, match_key in await fetch(session, _OPEN_ADDRESSES, list(ids)):
        found[contact_id].append(keyring.address_refs(match_key))
    return found


_LIVE = """
    SELECT id, ref, scope, reason, created_at, created_seq FROM suppressions
     WHERE ref = ANY($1::text[]) AND lifted_at IS NULL ORDER BY id
"""


async def live_suppressions(session: AsyncSession, refs: Iterable[str]) -> dict[str, list[LiveSuppression]]:
    """Suppressions in force, by address reference."""
    found: dict[str, list[LiveSuppression]] = defaultdict(list)
    for row in await fetch(session, _LIVE, list(refs)):
        found[row["ref"]].append(LiveSuppression(*row))
    return found


_STATE_COLUMNS = (
    *("contact_id", "purpose", "state", "grade", "grant_seq", "expires_at", "reason", "overlays", "head_seq"),
)


def state_values(row: StateRow) -> tuple[object, ...]:
    """The row as the columns above hold it."""
    permission = row.permission
    return (
        row.contact_id,
        row.purpose,
        permission.state.value,
        permission.grade and permission.grade.value,
        row.grant_seq,
        permission.expires_at,
        permission.reason,
        msgspec.json.encode(permission.overlays).decode(),
        row.head_seq,
    )


async def add_states(session: AsyncSession, rows: Sequence[tuple[object, ...]]) -> None:
    """Add rows of contacts who have none, by COPY; as `state_values` gives them."""
    if rows:
        await copy_rows(session, "consent_state", _STATE_COLUMNS, rows)


_WRITE_STATES = """
    INSERT INTO consent_state
           (contact_id, purpose, state, grade, grant_seq, expires_at, reason, overlays, head_seq)
    SELECT contact_id, purpose, state, grade, grant_seq, expires_at, reason, CAST(overlays AS jsonb), head_seq
      FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::text[],
                  $8::text[], $9::bigint[])
        AS new (contact_id, purpose, state, grade, grant_seq, expires_at, reason, overlays, head_seq)
    ON CONFLICT (contact_id, purpose) DO UPDATE
       SET state = excluded.state, grade = excluded.grade, grant_seq = excluded.grant_seq,
           expires_at = excluded.expires_at, reason = excluded.reason, overlays = excluded.overlays,
           head_seq = excluded.head_seq
"""


async def write_states(session: AsyncSession, rows: Sequence[StateRow]) -> None:
    """Put rows of the cache in place of what was there, in one statement."""
    if rows:
        await fetch(session, _WRITE_STATES, *zip(*map(state_values, rows), strict=True))


_SUPPRESS = """
    INSERT INTO suppressions (ref, key_version, scope, reason, created_seq)
    SELECT ref, key_version, scope, reason, seq
      FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
        AS new (ref, key_version, scope, reason, seq)
     ORDER BY ref, scope, seq
    ON CONFLICT (ref, scope) WHERE lifted_at IS NULL DO NOTHING
"""


async def suppress(session: AsyncSession, rows: Sequence[Suppress]) -> None:
    """Add suppressions; an address that already has one of that scope keeps it."""
    if rows:
        values = [(row.ref, row.key_version, row.scope, row.reason, row.seq) for row in rows]
        await fetch(session, _SUPPRESS, *zip(*values, strict=True))


_LIFT = """
    UPDATE suppressions SET lifted_at = $1, lifted_seq = lifted.seq
      FROM unnest($2::uuid[], $3::bigint[]) AS lifted (id, seq)
     WHERE suppressions.id = lifted.id AND lifted_at IS NULL
"""


async def lift(session: AsyncSession, rows: Mapping[UUID, int], *, now: datetime) -> None:
    """Lift suppressions: id → the grant's place in the ledger."""
    if rows:
        await fetch(session, _LIFT, now, list(rows), list(rows.values()))


class Evidence(NamedTuple):
    """What proves an event, and the salt that its commitment needs."""

    event_id: UUID
    contact_id: UUID
    salt: bytes
    payload: str


async def write_evidence(session: AsyncSession, rows: Sequence[Evidence]) -> None:
    if rows:
        await copy_rows(session, "consent_evidence", Evidence._fields, rows)
