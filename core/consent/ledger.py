"""The append-only ledger: seals events on top of each other, signs its size and root."""

import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.canonical import MerkleTree, jcs, leaf_hash, timestamp
from core.errors import AppError
from core.keys import Keyring
from core.models import ChainHead, Checkpoint, ConsentEvent

SCHEMA = "consent-event/1"
_PAGE = 5_000  # rows read at a time while a root is computed


class LedgerDamaged(AppError):
    """The ledger does not agree with itself or with what was signed."""

    code: ClassVar[str] = "ledger_damaged"


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a place: `fields` is the core without position, time, tenant and subject."""

    event_id: UUID
    contact_id: UUID | None  # null on system events
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class SealedEvent:
    """An event in its place; `core` is exactly what was hashed."""

    seq: int
    event_id: UUID
    contact_id: UUID | None
    core: str
    leaf_hash: str
    recorded_at: datetime


def new_event_id() -> UUID:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then random."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def new_salt() -> bytes:
    """32 random bytes that keep a commitment to guessable evidence from being guessed."""
    return secrets.token_bytes(32)


def origin(installation_id: UUID) -> str:
    """The name the ledger signs under."""
    return f"kairan/{installation_id}"


_BUMP = text("""
    UPDATE contacts SET consent_version = consent_version + added.events
      FROM unnest(CAST(:ids AS uuid[]), CAST(:counts AS bigint[])) AS added (id, events)
     WHERE contacts.id = added.id
    RETURNING contacts.id, consent_version - added.events
""")

# The clock is read after the lock is held, and never runs backwards.
_LOCK_HEAD = text("""
    SELECT head_seq, head_hash, greatest(head_at, clock_timestamp()) AS recorded_at, installation
      FROM lock_chain_head()
""")

_INSERT = text("""
    INSERT INTO consent_events (seq, core)
    SELECT seq, core FROM unnest(CAST(:seqs AS bigint[]), CAST(:cores AS text[])) AS sealed (seq, core) ORDER BY seq
""")


async def append(session: AsyncSession, drafts: Sequence[Draft]) -> list[SealedEvent]:
    """Seal drafts on top of the ledger, in their order; the head stays locked until the transaction ends.

    The caller holds the contacts' row locks (taken in id order) and takes no other lock afterwards: the head is the
    last one everybody takes. Numbers each contact's events and bumps `contacts.consent_version`.
    """
    if not drafts:
        return []
    counts = Counter(draft.contact_id for draft in drafts if draft.contact_id is not None)
    numbers: dict[UUID, int] = {}
    if counts:
        bumped = await session.execute(_BUMP, {"ids": list(counts), "counts": list(counts.values())})
        numbers = dict(bumped.all())
    if len(numbers) != len(counts):
        raise ValueError("a draft names a contact that does not exist")
    head = (await session.execute(_LOCK_HEAD)).one()
    recorded_at: datetime = head.recorded_at
    sealed: list[SealedEvent] = []
    previous, at, tenant = head.head_hash, timestamp(recorded_at), str(head.installation)
    for seq, draft in enumerate(drafts, start=head.head_seq + 1):
        core: dict[str, object] = {
            **draft.fields,
            "schema": SCHEMA,
            "tenant_id": tenant,
            "seq": seq,
            "prev": previous,
            "event_id": str(draft.event_id),
            "recorded_at": at,
        }
        if draft.contact_id is not None:
            numbers[draft.contact_id] += 1
            core |= {"subject_id": str(draft.contact_id), "subject_event_no": numbers[draft.contact_id]}
        line = jcs(core)
        previous = leaf_hash(line)
        sealed.append(SealedEvent(seq, draft.event_id, draft.contact_id, line, previous, recorded_at))
    await session.execute(_INSERT, {"seqs": [event.seq for event in sealed], "cores": [e.core for e in sealed]})
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
