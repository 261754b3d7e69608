"""`growth`: does a message cost more, or the worker take more memory, when the campaign is larger?

For each size a fresh stack with that many queued rows; the number is paused until they are there, then a fixed
number of messages is sent out of them. Every figure of a larger campaign stands beside the smallest one's.
"""

import asyncio
from dataclasses import dataclass

from benchmarks import office as setting
from benchmarks.harness import running
from benchmarks.machine import Cpu, watched_memory
from benchmarks.people import seed
from benchmarks.provider import per_second, provider
from benchmarks.report import Report

LIMIT = 1000
SIZES = [10_000, 100_000, 1_000_000]
SEND = 5000
CONSENTING_MOST = 50_000  # of people; rows are sent in the order of the people, so the others are never reached
COST_FLAT, MEMORY_FLAT = 1.1, 1.2


@dataclass(frozen=True)
class Point:
    """What one size cost: CPU in seconds per 1,000 messages."""

    rows: int
    worker_cpu: float
    postgres_cpu: float
    all_cpu: float
    peak_mib: float
    pace: float


async def growth(sizes: list[int]) -> Report:
    """`growth [SEND ROWS…]`: 5,000 messages out of 10,000, 100,000 and 1,000,000 rows unless told."""
    send, rows = (sizes[0], sizes[1:]) if len(sizes) > 1 else (SEND, SIZES)
    report = Report("growth")
    points = [await _point(each, send) for each in rows]
    smallest = points[0]
    for point in points:
        title = f"of {point.rows:,} rows"
        report.add(f"messages per second, {title}", point.pace, "1/s")
        report.add(f"CPU of all processes, {title}", point.all_cpu, "s per 1,000")
        report.add(f"CPU of the worker, {title}", point.worker_cpu, "s per 1,000")
        report.add(f"CPU of PostgreSQL, {title}", point.postgres_cpu, "s per 1,000")
        report.add(f"worker peak memory, {title}", point.peak_mib, "MiB")
    for point in points[1:]:
        title = f"{point.rows:,} / {smallest.rows:,} rows"
        report.add(f"cost, {title}", point.all_cpu / smallest.all_cpu, "ratio", at_most=COST_FLAT)
        report.add(f"memory, {title}", point.peak_mib / smallest.peak_mib, "ratio", at_most=MEMORY_FLAT)
    return report


async def _point(rows: int, send: int) -> Point:
    async with running(throughputs=(LIMIT,)) as stack, setting.office(stack) as office:
        await seed(stack, rows, consenting=min(rows, max(CONSENTING_MOST, 2 * send)))
        sender = await office.sender(LIMIT)
        campaign = await office.campaign(sender, await office.template(sender), await office.audience())
        await office.call("POST", f"/api/senders/{sender['id']}/pause", {"reason": "benchmark"})
        await office.launch(campaign)
        await setting.until_expanded(stack, campaign)
        async with stack.database() as database:
            await database.execute("ANALYZE messages")
            await database.execute("CHECKPOINT")
        pid = await stack.new_worker()
        await office.warm_up()
        cpu = Cpu(stack.pids).start()
        async with watched_memory(pid) as memory:
            await office.call("POST", f"/api/senders/{sender['id']}/resume")
            async with provider(stack) as log:
                await log.until_accepted(send)
                await office.call("POST", f"/api/senders/{sender['id']}/pause", {"reason": "benchmark"})
                await asyncio.sleep(2)
                await log.until_settled(60 + send / 100)
                await setting.until_recorded(stack)
                accepted = await log.accepted()
        spent, per = cpu.spent(), 1000 / len(accepted)
    return Point(
        rows,
        spent[stack.worker_name()] * per,
        spent["postgres"] * per,
        sum(spent.values()) * per,
        memory.peak_mib,
        per_second([each.at for each in accepted]),
    )
