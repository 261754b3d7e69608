"""Is the ledger what it was? Checked as a whole every night, and shown with what somebody outside keeps of it."""

import time
from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger
from core.consent.canonical import NO_LEAF, MerkleTree, evidence_commitment, leaf_hash
from core.consent.state import EventType
from core.consent.upkeep import rebuild
from core.errors import RuleViolation
from core.keys import Keyring
from core.log import mask_text
from core.models import ChainHead, Checkpoint, ConsentEvent, ConsentEvidence, LedgerAnchor, LedgerCheck
from core.services.people import Actor

PAGE = 5_000
MOST_FINDINGS = 100
ANCHOR_KINDS = ("email", "timestamp", "repository", "paper", "other")


class _Core(msgspec.Struct):
    """The fields of a sealed core that a check looks at."""

    seq: int
    prev: str
    recorded_at: str
    event_type: str
    subject_id: UUID | None = None
    subject_event_no: int = 0
    evidence_commit: str | None = None


_CORE = msgspec.json.Decoder(_Core)


class _Walk:
    """One pass over the sealed events, in their order."""

    def __init__(self, signed: dict[int, str]) -> None:
        self.signed = signed  # size → root, hex
        self.tree = MerkleTree()
        self.prev, self.recorded_at = NO_LEAF, ""
        self.numbers: dict[UUID, int] = {}
        self.erased: set[UUID] = set()
        self.unproven: dict[UUID, int] = {}  # subject → an event without its evidence
        self.findings: list[str] = []

    def find(self, sentence: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(sentence)

    def step(self, expected: int, core: str, kept_hash: str, evidence: tuple[bytes, str] | None) -> None:
        event, leaf = _CORE.decode(core), leaf_hash(core)
        if event.seq != expected or event.prev != self.prev:
            self.find(f"record {expected} does not follow the one before it")
        if leaf != kept_hash:
            self.find(f"record {expected} was changed")
        if event.recorded_at < self.recorded_at:
            self.find(f"record {expected} is dated before the one before it")
        self.prev, self.recorded_at = leaf, event.recorded_at
        self.tree.append(bytes.fromhex(leaf))
        if (root := self.signed.pop(self.tree.size, None)) is not None and root != self.tree.root.hex():
            self.find(f"the first {self.tree.size} records are not those that were signed")
        if event.subject_id is not None:
            self._of_person(event, event.subject_id, evidence)

    def _of_person(self, event: _Core, subject: UUID, evidence: tuple[bytes, str] | None) -> None:
        self.numbers[subject] = self.numbers.get(subject, 0) + 1
        if event.subject_event_no != self.numbers[subject]:
            self.find(f"record {event.seq}: one of the same person before it is missing")
        if event.event_type == EventType.ERASED:
            self.erased.add(subject)
        if event.evidence_commit is None:
            return
        if evidence is None:
            self.unproven.setdefault(subject, event.seq)
        elif evidence_commitment(*evidence) != event.evidence_commit:
            self.find(f"record {event.seq}: its evidence was changed")

    def end(self, size: int) -> None:
        if self.tree.size != size:
            self.find(f"{self.tree.size} records where there must be {size}")
        for gone in sorted(self.signed):
            self.find(f"{gone} records were signed once, and they are not there")
        for subject, seq in self.unproven.items():
            if subject not in self.erased:
                self.find(f"record {seq}: its evidence is missing")


async def verify(session: AsyncSession, keyring: Keyring) -> LedgerCheck:
    """Look at every record, checkpoint and piece of evidence, replay every permission, and keep what was found.

    A permission the ledger does not lead to is put right, and told.
    """
    began = time.monotonic()
    mark = keyring.witness.latest()  # outside the database, so that a restored one cannot agree with itself
    checkpoints = list(await session.scalars(select(Checkpoint).order_by(Checkpoint.size)))
    head = (await session.scalars(select(ChainHead))).one()  # last: what was signed so far is in it
    size, name = head.seq, ledger.origin(head.installation_id)
    walk = _Walk({each.size: each.root for each in checkpoints} | ({mark.size: mark.root} if mark else {}))
    for each in checkpoints:
        if not keyring.signed_by_us(each.note, name) or f"\n{each.size}\n" not in each.note:
            walk.find(f"the checkpoint of {each.size} records is not signed by us")
    last = 0
    while last < size:
        page = (
            select(
                ConsentEvent.seq,
                ConsentEvent.core,
                ConsentEvent.leaf_hash,
                ConsentEvidence.salt,
                ConsentEvidence.payload,
            )
            .outerjoin(ConsentEvidence, ConsentEvidence.event_id == ConsentEvent.event_id)
            .where(ConsentEvent.seq > last, ConsentEvent.seq <= min(size, last + PAGE))
            .order_by(ConsentEvent.seq)
        )
        for _, core, kept_hash, salt, payload in await session.execute(page):
            walk.step(walk.tree.size + 1, core, kept_hash, None if salt is None else (salt, payload))
        last += PAGE
    walk.end(size)
    if walk.tree.size == size and walk.prev != head.leaf_hash and size:
        walk.find("the head of the ledger is not its last record")
    repaired = (await rebuild(session)).repaired
    if repaired:
        walk.find(f"the permissions of {len(repaired)} people were not what the ledger says; they are put right")
    took = round((time.monotonic() - began) * 1000)
    check = LedgerCheck(size=size, passed=not walk.findings, findings=walk.findings, took_ms=took)
    session.add(check)
    await session.flush()
    await session.refresh(check)
    return check


async def latest_check(session: AsyncSession) -> LedgerCheck | None:
    return (await session.scalars(select(LedgerCheck).order_by(LedgerCheck.id.desc()).limit(1))).first()


async def anchors(session: AsyncSession, *, limit: int = 50) -> Sequence[LedgerAnchor]:
    """Checkpoints given to others, newest first."""
    return list(await session.scalars(select(LedgerAnchor).order_by(LedgerAnchor.id.desc()).limit(limit)))


async def anchor(session: AsyncSession, *, size: int, kind: str, reference: str, actor: Actor) -> LedgerAnchor:
    """Write down that somebody outside keeps the checkpoint of this size; raises RuleViolation."""
    if kind not in ANCHOR_KINDS:
        raise RuleViolation(f"kind is one of {', '.join(ANCHOR_KINDS)}", field="kind")
    found = (await session.scalars(select(Checkpoint).where(Checkpoint.size == size))).first()
    if found is None:
        raise RuleViolation("there is no checkpoint of this size", field="size")
    made = LedgerAnchor(
        size=size, root=found.root, kind=kind, reference=mask_text(reference.strip()), made_by=actor.user_id
    )
    session.add(made)
    await session.flush()
    await session.refresh(made)
    return made


async def note(session: AsyncSession, size: int) -> str:
    """The signed note of a checkpoint, to be given to somebody outside; raises RuleViolation."""
    found = (await session.scalars(select(Checkpoint).where(Checkpoint.size == size))).first()
    if found is None:
        raise RuleViolation("there is no checkpoint of this size", field="size")
    return found.note
