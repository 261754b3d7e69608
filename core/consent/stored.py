"""The statements consent recording is made of: locks, lookups and set-wise writes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, any_, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from core.consent.state import Event, Permission
from core.db import copy_rows
from core.keys import Keyring
from core.models import ConsentEvent, Contact, ContactAddress, Suppression

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


async def lock_contacts(session: AsyncSession, ids: Iterable[UUID]) -> dict[UUID, str | None]:
    """Lock the contacts' rows in id order against the send gate and every other consent writer; id → country.

    NO KEY UPDATE excludes the gate's SHARE and other writers, and lets foreign keys to the contact pass.
    """
    query = select(Contact.id, Contact.country).where(among(Contact.id, sorted(set(ids)))).order_by(Contact.id)
    return dict((await session.execute(query.with_for_update(key_share=True))).all())


async def histories(
    session: AsyncSession, ids: Iterable[UUID], *, at_most: int | None = None
) -> dict[UUID, list[tuple[int, Event]]]:
    """Every event of the contacts (up to a place in the ledger), with its place, in the ledger's order."""
    query = select(ConsentEvent.subject_id, ConsentEvent.seq, ConsentEvent.core)
    if at_most is not None:
        query = query.where(ConsentEvent.seq <= at_most)
    found: dict[UUID, list[tuple[int, Event]]] = defaultdict(list)
    for contact_id, seq, core in await session.execute(
        query.where(among(ConsentEvent.subject_id, ids)).order_by(ConsentEvent.seq)
    ):
        if contact_id is not None:
            found[contact_id].append((seq, read_event(core)))
    return found


async def known_events(session: AsyncSession, source_refs: Iterable[str]) -> dict[str, Recorded]:
    """Events that came from the same things before, by their source reference."""
    query = select(
        ConsentEvent.source_event_ref,
        ConsentEvent.seq,
        ConsentEvent.event_id,
        ConsentEvent.subject_id,
        ConsentEvent.next_state,
    ).where(among(ConsentEvent.source_event_ref, source_refs))
    return {row[0]: Recorded(*row[1:]) for row in await session.execute(query)}


async def address_refs(session: AsyncSession, ids: Iterable[UUID], keyring: Keyring) -> dict[UUID, list[list[str]]]:
    """Per contact, per open address: its references under every key version, newest first."""
    query = select(ContactAddress.contact_id, ContactAddress.match_key).where(
        among(ContactAddress.contact_id, ids), ContactAddress.closed_at.is_(None)
    )
    found: dict[UUID, list[list[str]]] = defaultdict(list)
    for contact_id, match_key in await session.execute(query.order_by(ContactAddress.match_key)):
        found[contact_id].append(keyring.address_refs(match_key))
    return found


async def live_suppressions(session: AsyncSession, refs: Iterable[str]) -> dict[str, list[LiveSuppression]]:
    """Suppressions in force, by address reference."""
    query = select(
        Suppression.id,
        Suppression.ref,
        Suppression.scope,
        Suppression.reason,
        Suppression.created_at,
        Suppression.created_seq,
    ).where(among(Suppression.ref, refs), Suppression.lifted_at.is_(None))
    found: dict[str, list[LiveSuppression]] = defaultdict(list)
    for row in await session.execute(query.order_by(Suppression.id)):
        found[row.ref].append(LiveSuppression(*row))
    return found


_STATE_COLUMNS = (
    *("contact_id", "purpose", "state", "grade", "grant_seq", "expires_at", "reason", "overlays", "head_seq"),
)


async def add_states(session: AsyncSession, rows: Sequence[StateRow]) -> None:
    """Add rows of contacts who have none, by COPY."""
    if not rows:
        return
    records = (
        (
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
        for row in rows
        for permission in (row.permission,)
    )
    await copy_rows(session, "consent_state", _STATE_COLUMNS, records)


_WRITE_STATES = text("""
    INSERT INTO consent_state
           (contact_id, purpose, state, grade, grant_seq, expires_at, reason, overlays, head_seq)
    SELECT contact_id, purpose, state, grade, grant_seq, expires_at, reason, CAST(overlays AS jsonb), head_seq
      FROM unnest(CAST(:contacts AS uuid[]), CAST(:purposes AS text[]), CAST(:states AS text[]),
                  CAST(:grades AS text[]), CAST(:grants AS bigint[]), CAST(:ends AS timestamptz[]),
                  CAST(:reasons AS text[]), CAST(:overlays AS text[]), CAST(:heads AS bigint[]))
        AS new (contact_id, purpose, state, grade, grant_seq, expires_at, reason, overlays, head_seq)
    ON CONFLICT (contact_id, purpose) DO UPDATE
       SET state = excluded.state, grade = excluded.grade, grant_seq = excluded.grant_seq,
           expires_at = excluded.expires_at, reason = excluded.reason, overlays = excluded.overlays,
           head_seq = excluded.head_seq
""")


async def write_states(session: AsyncSession, rows: Sequence[StateRow]) -> None:
    """Put rows of the cache in place of what was there, in one statement."""
    if not rows:
        return
    permissions = [row.permission for row in rows]
    await session.execute(
        _WRITE_STATES,
        {
            "contacts": [row.contact_id for row in rows],
            "purposes": [row.purpose for row in rows],
            "states": [permission.state.value for permission in permissions],
            "grades": [permission.grade and permission.grade.value for permission in permissions],
            "grants": [row.grant_seq for row in rows],
            "ends": [permission.expires_at for permission in permissions],
            "reasons": [permission.reason for permission in permissions],
            "overlays": [msgspec.json.encode(permission.overlays).decode() for permission in permissions],
            "heads": [row.head_seq for row in rows],
        },
    )


_SUPPRESS = text("""
    INSERT INTO suppressions (ref, key_version, scope, reason, created_seq)
    SELECT ref, key_version, scope, reason, seq
      FROM unnest(CAST(:refs AS text[]), CAST(:versions AS bigint[]), CAST(:scopes AS text[]),
                  CAST(:reasons AS text[]), CAST(:seqs AS bigint[])) AS new (ref, key_version, scope, reason, seq)
     ORDER BY ref, scope, seq
    ON CONFLICT (ref, scope) WHERE lifted_at IS NULL DO NOTHING
""")


async def suppress(session: AsyncSession, rows: Sequence[Suppress]) -> None:
    """Add suppressions; an address that already has one of that scope keeps it."""
    if not rows:
        return
    await session.execute(
        _SUPPRESS,
        {
            "refs": [row.ref for row in rows],
            "versions": [row.key_version for row in rows],
            "scopes": [row.scope for row in rows],
            "reasons": [row.reason for row in rows],
            "seqs": [row.seq for row in rows],
        },
    )


_LIFT = text("""
    UPDATE suppressions SET lifted_at = :now, lifted_seq = lifted.seq
      FROM unnest(CAST(:ids AS uuid[]), CAST(:seqs AS bigint[])) AS lifted (id, seq)
     WHERE suppressions.id = lifted.id AND lifted_at IS NULL
""")


async def lift(session: AsyncSession, rows: Mapping[UUID, int], *, now: datetime) -> None:
    """Lift suppressions: id → the grant's place in the ledger."""
    if rows:
        await session.execute(_LIFT, {"now": now, "ids": list(rows), "seqs": list(rows.values())})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proves an event, and the salt that its commitment needs."""

    event_id: UUID
    contact_id: UUID
    salt: bytes
    payload: str


async def write_evidence(session: AsyncSession, rows: Sequence[Evidence]) -> None:
    if rows:
        records = [(row.event_id, row.contact_id, row.salt, row.payload) for row in rows]
        await copy_rows(session, "consent_evidence", ("event_id", "contact_id", "salt", "payload"), records)
