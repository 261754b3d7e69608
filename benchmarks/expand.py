"""`expand`: how long a launch takes to become rows, and whether the worker's memory stays flat meanwhile.

The audience is a rule. The number is paused before the launch, so that nothing is sent while rows are made.
"""

import time
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from benchmarks import office as setting
from benchmarks.harness import Stack, running
from benchmarks.machine import Cpu, Memory, watched_memory
from benchmarks.office import Json, Office
from benchmarks.people import seed
from benchmarks.report import Report
from benchmarks.send import cpu_grid

FEWER = 10  # the first campaign's share of the people, to compare the memory with
ONE_BY_ONE = 2_000  # rows of the alternative
WITHIN_S = 30.0
FLAT = 1.2

# The floor: PostgreSQL writes the same columns for the same people in one statement, without index or constraint.
_FLOOR = """
    CREATE TEMPORARY TABLE floor ON COMMIT DROP AS
    SELECT m.* FROM messages m WHERE m.campaign_id = $1
"""
_ALTERNATIVE = """
    INSERT INTO messages (kind, priority, campaign_id, variant_id, contact_id, sender_id, template_version_id, purpose,
                          category, parameters, country, time_zone, queued_on, status)
    SELECT kind, priority, campaign_id, variant_id, contact_id, sender_id, template_version_id, purpose, category,
           parameters, country, time_zone, queued_on, status FROM unsent WHERE contact_id = $1
"""


async def expand(sizes: list[int]) -> Report:
    """`expand [RECIPIENTS]`, 1,000,000 unless told; a campaign of a tenth of them goes first."""
    count = sizes[0] if sizes else 1_000_000
    report = Report("expand")
    few = max(1, count // FEWER)
    async with running() as stack, setting.office(stack) as office:
        await seed(stack, few, consenting=0)
        sender = await office.sender(1000)
        template = await office.template(sender)
        audience = await office.audience()
        await office.call("POST", f"/api/senders/{sender['id']}/pause", {"reason": "benchmark"})
        _, small = await _launched(stack, office, report, await office.campaign(sender, template, audience), few)
        await seed(stack, count - few, consenting=0)
        began = time.perf_counter()
        campaign = await office.campaign(sender, template, audience)
        report.add("review before it", time.perf_counter() - began, "s")
        cpu = Cpu(stack.pids)
        seconds, large = await _launched(stack, office, report, campaign, count, cpu)
        report.add("launch to last row", seconds, "s", at_most=WITHIN_S)
        report.add("rows per second", count / seconds, "1/s")
        report.add(f"worker peak memory, {few:,} rows", small.peak_mib, "MiB")
        report.add(f"worker peak memory, {count:,} rows", large.peak_mib, "MiB")
        report.add("memory, large / small", large.peak / small.peak, "ratio", at_most=FLAT)
        report.grids.append(replace(cpu_grid(cpu.spent(), count), title="CPU, from launch to the last row"))
        await _comparison(stack, report, campaign, count)
    return report


async def _launched(
    stack: Stack, office: Office, report: Report, campaign: Json, count: int, cpu: Cpu | None = None
) -> tuple[float, Memory]:
    """Launch with a fresh worker; seconds from the request to the last row, and the worker's memory."""
    pid = await stack.new_worker()
    await office.warm_up()
    if cpu is not None:
        cpu.start()
    began = time.time()
    async with watched_memory(pid) as memory:
        await office.launch(campaign)
        answered = time.time()
        await setting.until_expanded(stack, campaign)
    async with stack.database() as database:
        ended: datetime = await database.fetchval(
            "SELECT expanded_at FROM campaigns WHERE id = $1", UUID(campaign["id"])
        )
        rows = await database.fetchval("SELECT count(*) FROM messages WHERE campaign_id = $1", UUID(campaign["id"]))
    report.add(f"launch request answered, {count:,} people", answered - began, "s")
    report.add(f"people without a row, {count:,} people", count - rows, "people", at_most=0)
    return ended.timestamp() - began, memory


async def _comparison(stack: Stack, report: Report, campaign: Json, count: int) -> None:
    """The floor and the alternative: one statement for all rows, and one statement per row."""
    async with stack.database() as database:
        async with database.transaction():
            began = time.perf_counter()
            await database.execute(_FLOOR, UUID(campaign["id"]))
            report.add("copy of the rows in one statement (floor)", count / (time.perf_counter() - began), "rows/s")
        some = min(count, ONE_BY_ONE)
        await database.execute(
            "CREATE TEMPORARY TABLE unsent AS SELECT * FROM messages WHERE campaign_id = $1 ORDER BY id LIMIT $2",
            UUID(campaign["id"]),
            some,
        )
        await database.execute("CREATE UNIQUE INDEX ON unsent (contact_id)")
        await database.execute("DELETE FROM links USING unsent WHERE links.message_id = unsent.id")
        await database.execute("DELETE FROM messages USING unsent WHERE messages.id = unsent.id")
        people = await database.fetch("SELECT contact_id FROM unsent")
        began = time.perf_counter()
        for person in people:
            await database.execute(_ALTERNATIVE, person["contact_id"])
        report.add("a statement and commit per row (alternative)", some / (time.perf_counter() - began), "rows/s")
