"""The append-only ledger: seals events on top of each other, signs its size and root."""

import json
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple, TypeAlias
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811
from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.canonical import MerkleTree, leaf_hash, timestamp
from core.consent.sealed import Core, Pattern, seal
from core.db import copy_rows, fetch
from core.errors import AppError
from core.keys import Keyring
from core.models import ChainHead, Checkpoint, ConsentEvent

_RANDOM_BITS = (1 << 80) - 1 & ~(0xF << 76) & ~(0x3 << 62)
_VERSION_BITS = 0x7 << 76 | 0x2 << 62
_PAGE = 5_000  # rows read at a time while a root is computed
SIGNED_EVERY = 1_000  # events, or five minutes, whichever comes first
UNSIGNED_ALARM = timedelta(minutes=10)  # of the oldest event that nobody signed: somebody should look
UNSIGNED_HALT = timedelta(minutes=60)  # after it nothing is sent that needs a consent: it could be rewritten unseen


class LedgerDamaged(AppError):
    """The ledger does not agree with itself or with what was signed."""

    code: ClassVar[str] = "ledger_damaged"


class Place(NamedTuple):
    """What an event learns when it is put on top of the ledger."""

    seq: int
    prev: str
    recorded_at: str
    number: int | None  # of the contact's events; null on system events
    tenant_id: str


_Row: TypeAlias = tuple[object, ...]  # of consent_events, in the order of `_COLUMNS`


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a place: its core lacks position, time and tenant."""

    event_id: UUID
    contact_id: UUID | None  # null on system events
    core: Core

    def put(self, place: Place) -> tuple[str, _Row]:
        """(its hash, its row) in that place."""
        core = self.core
        core.seq, core.prev = place.seq, place.prev
        core.recorded_at, core.tenant_id = place.recorded_at, place.tenant_id
        if place.number is not None:
            core.subject_event_no = place.number
        text, hashed = seal(core)
        own = (self.event_id, self.contact_id, core.expires_at or None, core.source_event_ref)
        return hashed, (place.seq, text, hashed, place.recorded_at, *own, *_shown(core))


class Kind:
    """What events that differ in nothing but who, when and the proof have in common, from the first one's core."""

    __slots__ = ("pattern", "shown")

    def __init__(self, core: Core) -> None:
        self.pattern, self.shown = Pattern(core), _shown(core)


class Twin(Struct, gc=False):
    """An event of that kind before it has a place; what the kind says of all is not said again."""

    kind: Kind
    event_id: UUID
    contact_id: UUID
    evidence_commit: str | None
    expires_at: str | None
    occurred_at: str
    source_event_ref: str

    def put(self, place: Place) -> tuple[str, _Row]:
        """(its hash, its row) in that place: what a draft with the whole core would come to."""
        seq, prev, recorded_at, number, tenant_id = place
        proof = (self.evidence_commit, self.expires_at)
        text, hashed = self.kind.pattern.fill(
            (
                str(self.event_id),
                *(proof if None not in proof else filter(None, proof)),
                *(self.occurred_at, prev, recorded_at, str(seq), self.source_event_ref, str(number)),
                *(str(self.contact_id), tenant_id),
            )
        )
        own = (self.event_id, self.contact_id, self.expires_at, self.source_event_ref)
        return hashed, (seq, text, hashed, recorded_at, *own, *self.kind.shown)


class SealedEvent(NamedTuple):
    """An event in its place."""

    seq: int
    event_id: UUID
    contact_id: UUID | None
    leaf_hash: str
    recorded_at: datetime


def new_event_id() -> UUID:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then random.

    The driver's own kind of UUID: it is made, hashed, written and sent several times as fast.
    """
    return next(new_event_ids(1))


def new_event_ids(count: int) -> Iterator[UUID]:
    """So many of them, whose random bits are asked for at once."""
    drawn, milliseconds = secrets.token_bytes(10 * count), (time.time_ns() // 1_000_000).to_bytes(6, "big")
    for at in range(0, 10 * count, 10):
        random = int.from_bytes(drawn[at : at + 10], "big") & _RANDOM_BITS | _VERSION_BITS
        yield FastUUID(milliseconds + random.to_bytes(10, "big"))


def new_salts(count: int) -> Iterator[bytes]:
    """Each 32 random bytes, which keep a commitment to guessable evidence from being guessed."""
    drawn = secrets.token_bytes(32 * count)
    return (drawn[at : at + 32] for at in range(0, 32 * count, 32))


def origin(installation_id: UUID) -> str:
    """The name the ledger signs under."""
    return f"kairan/{installation_id}"


_BUMP = """
    UPDATE contacts SET consent_version = consent_version + added.events
      FROM unnest($1::uuid[], $2::bigint[]) AS added (id, events)
     WHERE contacts.id = added.id
    RETURNING contacts.id, consent_version - added.events
"""

# The clock is read after the lock is held, and never runs backwards.
_LOCK_HEAD = """
    SELECT head_seq, head_hash, greatest(head_at, clock_timestamp()) AS recorded_at, installation
      FROM lock_chain_head()
"""

_COLUMNS = (
    *("seq", "core", "leaf_hash", "recorded_at", "event_id", "subject_id", "expires_at", "source_event_ref"),
    *("event_type", "purpose", "controller", "grade", "method", "next_state", "reason"),
)


def _shown(core: Core) -> _Row:
    """The last of `_COLUMNS`, which events of a kind share; UNSET is false, and stored as null."""
    optional = (core.grade, core.method, core.next_state, core.reason)
    return (core.event_type, core.purpose, core.controller_id, *(value or None for value in optional))


async def append(
    session: AsyncSession, drafts: Sequence[Draft | Twin], *, newcomers: Collection[UUID] = ()
) -> list[SealedEvent]:
    """Seal drafts on top of the ledger, in their order; the head stays locked until the transaction ends.

    The caller holds the contacts' row locks (taken in id order) and takes no other lock afterwards: the head is the
    last one everybody takes. Numbers each contact's events and bumps `contacts.consent_version`, but for newcomers:
    contacts made in this transaction, who were stored with the number of these drafts.
    """
    if not drafts:
        return []
    counts = Counter(draft.contact_id for draft in drafts if draft.contact_id is not None)
    numbers = {contact_id: 0 for contact_id in counts if contact_id in newcomers}
    known = {contact_id: count for contact_id, count in counts.items() if contact_id not in numbers}
    if known:
        numbers |= dict(map(tuple, await fetch(session, _BUMP, list(known), list(known.values()))))
    if len(numbers) != len(counts):
        raise ValueError("a draft names a contact that does not exist")
    (head,) = await fetch(session, _LOCK_HEAD)
    recorded_at: datetime = head["recorded_at"]
    sealed: list[SealedEvent] = []
    rows: list[_Row] = []
    previous, at, tenant = head["head_hash"], timestamp(recorded_at), str(head["installation"])
    for seq, draft in enumerate(drafts, start=head["head_seq"] + 1):
        number = None
        if draft.contact_id is not None:
            number = numbers[draft.contact_id] = numbers[draft.contact_id] + 1
        previous, row = draft.put(Place(seq, previous, at, number, tenant))
        sealed.append(SealedEvent(seq, draft.event_id, draft.contact_id, previous, recorded_at))
        rows.append(row)
    await copy_rows(session, "consent_events", _COLUMNS, rows)
    return sealed


async def checkpoint(session: AsyncSession, keyring: Keyring) -> Checkpoint | None:
    """Sign the ledger's size and root; the newest checkpoint when nothing was added, None while it is empty.

    Only events after the previous checkpoint are read: its peaks carry the rest, and they must still root to what was
    signed. Raises LedgerDamaged when the rows do not extend it, or another key signed it (keys lost or replaced).
    """
    head = (await session.scalars(select(ChainHead))).one()
    latest = await latest_checkpoint(session)
    if head.seq == 0 or (latest is not None and latest.size == head.seq):
        return latest
    name = origin(head.installation_id)
    tree = MerkleTree()
    if latest is not None:
        tree = MerkleTree(latest.size, [bytes.fromhex(peak) for peak in latest.peaks])
        if not keyring.signed_by_us(latest.note, name):
            raise LedgerDamaged("the ledger was signed with another key: restore DATA_DIR/keys from a backup")
        if tree.root.hex() != latest.root:
            raise LedgerDamaged("the previous checkpoint was changed", size=latest.size)
    leaves = await _extend(session, tree, head.seq)
    if leaves != head.leaf_hash:
        raise LedgerDamaged("the ledger's head is not its last event", seq=head.seq)
    root = tree.root
    signed = Checkpoint(
        size=tree.size,
        root=root.hex(),
        note=keyring.sign_checkpoint(name, tree.size, root),
        peaks=[peak.hex() for peak in tree.peaks],
    )
    session.add(signed)
    await session.flush()
    return signed


async def unsigned(session: AsyncSession) -> int:
    """How many events no checkpoint covers."""
    signed = select(func.coalesce(func.max(Checkpoint.size), 0)).scalar_subquery()
    return (await session.scalars(select(ChainHead.seq - signed))).one()


async def unsigned_since(session: AsyncSession, *, before: datetime) -> datetime | None:
    """When the oldest event was recorded that no checkpoint covers; None when all recorded before then are signed."""
    signed = select(func.coalesce(func.max(Checkpoint.size), 0)).scalar_subquery()
    oldest = (ConsentEvent.seq == signed + 1, ConsentEvent.recorded_at < timestamp(before))
    at = await session.scalar(select(ConsentEvent.recorded_at).where(*oldest))
    return None if at is None else datetime.fromisoformat(at)


async def latest_checkpoint(session: AsyncSession, *, at_most: int | None = None) -> Checkpoint | None:
    """The newest checkpoint, or the newest one of at most that size."""
    query = select(Checkpoint).order_by(Checkpoint.size.desc()).limit(1)
    if at_most is not None:
        query = query.where(Checkpoint.size <= at_most)
    return (await session.scalars(query)).first()


async def _extend(session: AsyncSession, tree: MerkleTree, size: int) -> str | None:
    """Add the rows after the tree's size; returns the last one's hash, recomputed from its text."""
    last: str | None = None
    while tree.size < size:
        page = select(ConsentEvent.seq, ConsentEvent.core, ConsentEvent.leaf_hash).where(
            ConsentEvent.seq > tree.size, ConsentEvent.seq <= min(size, tree.size + _PAGE)
        )
        rows = (await session.execute(page.order_by(ConsentEvent.seq))).all()
        for seq, core, stored in rows:
            hashed = leaf_hash(core)
            if seq != tree.size + 1 or hashed != stored or (last is not None and json.loads(core)["prev"] != last):
                raise LedgerDamaged("a row of the ledger was changed or removed", seq=seq)
            tree.append(bytes.fromhex(hashed))
            last = hashed
        if not rows:
            raise LedgerDamaged("rows of the ledger are missing", seq=tree.size + 1)
    return last
