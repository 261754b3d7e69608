"""`gate`: permits per second for batches of 50, each held as long as it takes to look at it."""

import asyncio
import time
from uuid import UUID, uuid4

from benchmarks.harness import FIRST_NUMBER, Stack, running
from benchmarks.people import seed
from benchmarks.report import Report
from core.consent.gate import BATCH, SendRequest, permits
from core.errors import Unavailable
from core.statuses import MessageKind

PERMITS_PER_S = 5_000
AT_ONCE = 4  # batches, as a worker has them under way


async def gate(sizes: list[int]) -> Report:
    """`gate [PEOPLE]`: everybody is asked about once, 50,000 unless told."""
    count = sizes[0] if sizes else 50_000
    report = Report("gate")
    async with running() as stack:
        await seed(stack, count)
        async with stack.database() as database:
            people = [row["id"] for row in await database.fetch("SELECT id FROM contacts ORDER BY id")]
        for at_once, target in ((1, None), (AT_ONCE, PERMITS_PER_S)):
            cpu, began = time.process_time(), time.perf_counter()
            given = await _asked(stack, people, at_once)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            if given != len(people):
                raise Unavailable(f"{len(people) - given} people were refused a permit")
            report.add(f"permits, {at_once} batches at once", given / seconds, "1/s", at_least=target)
            report.add(f"CPU of the asking process, {at_once} at once", cpu / given * 1000, "s per 1,000")
            report.add(f"batch of {BATCH}, {at_once} at once", seconds / given * BATCH * at_once * 1000, "ms")
    return report


async def _asked(stack: Stack, people: list[UUID], at_once: int) -> int:
    """Ask about everybody; how many permits were given."""
    waiting = [people[at : at + BATCH] for at in range(0, len(people), BATCH)]
    given = 0

    async def ask() -> None:
        nonlocal given
        while waiting:
            requests = [
                SendRequest(uuid4(), contact_id, "marketing", MessageKind.CAMPAIGN, str(FIRST_NUMBER))
                for contact_id in waiting.pop()
            ]
            async with permits(stack.sessions, requests, keyring=stack.keyring) as (allowed, _):
                given += len(allowed)

    await asyncio.gather(*(ask() for _ in range(at_once)))
    return given
