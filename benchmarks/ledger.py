"""`ledger`: events per second sealed by many writers at once and in bulk, and checked offline afterwards."""

import asyncio
import time
import zipfile
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

from benchmarks.harness import Stack, running
from benchmarks.people import act_of, seed
from benchmarks.report import Report
from core.clock import utc_now
from core.consent import ledger as chain
from core.consent.package import build
from core.consent.package_filters import AuditFilters
from core.consent.verify import verify
from core.errors import Unavailable
from core.services import consents

WRITERS = 16
TOGETHER = 50  # events of one transaction: what webhooks are recorded in
BULK = 5_000  # events of one transaction of an import
BULK_WRITERS = 2  # as an import does it: one chunk is judged while another is sealed
SINGLE = 100  # transactions of one event each, per writer
APPENDS_PER_S, BULK_PER_S, CHECKS_PER_S = 3_000, 15_000, 30_000


async def ledger(sizes: list[int]) -> Report:
    """`ledger [EVENTS]`: 1,000,000 unless told, in bulk; a tenth of them, at most 50,000, by 16 writers."""
    count = sizes[0] if sizes else 1_000_000
    shared = min(50_000, max(WRITERS * TOGETHER, count // 10))
    report = Report("ledger")
    async with running() as stack:
        bulk = -(-count // BULK) * BULK
        await seed(stack, shared + bulk, consenting=0)
        async with stack.database() as database:
            people = [row["id"] for row in await database.fetch("SELECT id FROM contacts ORDER BY id")]
        async with stack.sessions() as session:
            notice = await consents.current_notice(session, "marketing")
        if notice is None:
            raise Unavailable("the installation has no notice for marketing")
        seconds = await _written(stack, people[: WRITERS * SINGLE], notice.id, 1)
        report.add(f"{WRITERS} writers, one event a transaction", min(len(people), WRITERS * SINGLE) / seconds, "1/s")
        seconds = await _written(stack, people[:shared], notice.id, TOGETHER)
        report.add(
            f"{WRITERS} writers, {TOGETHER} events a transaction", shared / seconds, "1/s", at_least=APPENDS_PER_S
        )
        cpu = time.process_time()
        seconds = await _written(stack, people[shared:], notice.id, BULK, writers=BULK_WRITERS)
        report.add(
            f"{BULK_WRITERS} writers, {BULK:,} events a transaction, of people without a history",
            bulk / seconds,
            "1/s",
            at_least=BULK_PER_S,
        )
        report.add("CPU of those writers", (time.process_time() - cpu) / bulk * 1000, "s per 1,000")
        await _checked(stack, report)
    return report


async def _written(
    stack: Stack, people: list[UUID], notice_id: UUID, together: int, *, writers: int = WRITERS
) -> float:
    """Seconds in which the writers share the people out among them, a transaction for so many events."""
    waiting = [people[at : at + together] for at in range(0, len(people), together)]

    async def writer() -> None:
        while waiting:
            await _record(stack, waiting.pop(), notice_id)

    began = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(writers)))
    return time.perf_counter() - began


async def _record(stack: Stack, people: list[UUID], notice_id: UUID) -> None:
    acts = [act_of(contact_id, notice_id, str(uuid4())) for contact_id in people]
    async with stack.sessions.begin() as session:
        await consents.record(session, acts, keyring=stack.keyring, settings=stack.settings, now=utc_now())


async def _checked(stack: Stack, report: Report) -> None:
    """Sign the ledger, make the package an auditor gets, and check that with its own verify.py."""
    path = stack.folder / "audit.zip"
    began = time.perf_counter()
    async with stack.sessions.begin() as session:
        signed = await chain.checkpoint(session, stack.keyring)
    if signed is None:
        raise Unavailable("the ledger is empty")
    report.add("signing the ledger", signed.size / (time.perf_counter() - began), "events/s")
    async with stack.sessions.begin() as session:
        await build(
            session,
            keyring=stack.keyring,
            filters=AuditFilters(),
            path=path,
            export_id=uuid4(),
            reason="benchmark",
            requested_by="benchmark",
            now=utc_now(),
        )
    cpu = time.process_time()
    found = await asyncio.to_thread(verify, path, stack.keyring.fingerprint)
    if found.verdict != "PASS":
        raise Unavailable("the audit package does not verify: " + " ".join(found.lines()))
    report.add("verify.py, one core", signed.size / (time.process_time() - cpu), "events/CPU s", at_least=CHECKS_PER_S)
    report.add("SHA-256 alone: a leaf and a node for each event", signed.size / _hashing(path), "events/CPU s")
    report.add("events checked", signed.size, "")


def _hashing(path: Path) -> float:
    """CPU seconds that only the tree's hashes of a package's events take: no verifier in Python is faster."""
    seconds, node = 0.0, b"\x01" + bytes(64)
    with zipfile.ZipFile(path) as package, package.open("ledger/cores.ndjson") as cores:
        while lines := cores.readlines(1 << 20):
            cpu = time.process_time()
            for line in lines:
                sha256(b"\x00" + line).digest()
                sha256(node).digest()
            seconds += time.process_time() - cpu
    return seconds
