"""`throttle`: two workers share a number; is its limit kept in every second, and is it used?"""

import asyncio
from dataclasses import dataclass, replace

from benchmarks import office as setting
from benchmarks import rivals
from benchmarks.harness import Stack, running
from benchmarks.machine import Cpu
from benchmarks.office import Json, Office
from benchmarks.people import seed
from benchmarks.provider import Provider, fullest_window, provider
from benchmarks.report import Report
from benchmarks.send import cpu_grid

WORKERS = 2
LIMITS = (80, 1000)
USED = 0.97
THROTTLED = 130429
STARTED_WITHIN_S = 300.0


async def throttle(sizes: list[int]) -> Report:
    """`throttle [SECONDS [LIMIT…]]`: 60 s at 80 and at 1,000 messages a second unless told."""
    seconds = sizes[0] if sizes else 60
    limits = tuple(sizes[1:]) or LIMITS
    report = Report("throttle")
    async with running(throughputs=limits, workers=WORKERS) as stack:
        await seed(stack, int(max(limits) * (seconds + 2)))
        async with setting.office(stack) as office, provider(stack) as log:
            numbers = [await office.sender(limit, place) for place, limit in enumerate(limits)]
            template, audience = await office.template(numbers[0]), await office.audience()
            for sender, limit in zip(numbers, limits, strict=True):
                campaign = await office.campaign(sender, template, audience)
                await _one(stack, report, Run(office, log, campaign, sender["phone_number_id"], limit, seconds))
        await _alternative(stack, report, max(limits), min(seconds, 10))
    return report


@dataclass(frozen=True)
class Run:
    """One campaign from one number for some seconds."""

    office: Office
    log: Provider
    campaign: Json
    number: str
    limit: int
    seconds: int


async def _one(stack: Stack, report: Report, run: Run) -> None:
    """Send, then cancel; the simulator's log says the rest."""
    limit, seconds, log = run.limit, run.seconds, run.log
    refused, before = await log.refused(THROTTLED), await log.accepted()
    after = before[-1].sequence if before else -1
    await run.office.launch(run.campaign)
    async with asyncio.timeout(STARTED_WITHIN_S):
        await setting.until_expanded(stack, run.campaign)
        await log.until_accepted(1, behind=after)
    cpu = Cpu(stack.pids).start()
    await asyncio.sleep(seconds)
    spent = cpu.spent()
    await run.office.call("POST", f"/api/campaigns/{run.campaign['id']}/cancel")
    await asyncio.sleep(2)
    instants = sorted(each.at for each in await log.accepted(after) if each.number == run.number)
    refused = await log.refused(THROTTLED) - refused
    used = sum(at < instants[0] + seconds for at in instants) / (seconds * limit) if instants else 0.0
    report.add(f"fullest second at {limit}/s", fullest_window(instants), "messages", at_most=limit)
    report.add(f"refused by the provider's limiter at {limit}/s", refused, "messages", at_most=0)
    report.add(f"limit used at {limit}/s", used, "ratio", at_least=USED)
    grid = cpu_grid(spent, max(1, round(used * seconds * limit)))
    report.grids.append(replace(grid, title=f"CPU during {seconds} s at {limit}/s"))


async def _alternative(stack: Stack, report: Report, limit: int, seconds: int) -> None:
    """Two loops that keep half the limit each and share nothing; they count no other's requests, nor pauses."""
    async with rivals.arena(stack, (limit if limit in (80, 1000) else 1000,)) as arena:
        count = limit * seconds // WORKERS
        jobs = [arena.job(count, first=at * count, per_second=limit / WORKERS) for at in range(WORKERS)]
        done = await asyncio.gather(*(rivals.bare(job) for job in jobs))
    took = max(each.seconds for each in done)
    report.add(f"two unshared halves at {limit}/s (alternative)", sum(d.accepted for d in done) / took / limit, "ratio")
    report.add("refused by the provider's limiter (alternative)", sum(each.refused for each in done), "messages")
    report.add("the limit itself (floor)", 1.0, "ratio")
