"""`pause`: how long requests still start after somebody pressed pause, at full load."""

import asyncio
import time

from benchmarks import office as setting
from benchmarks.harness import Stack, running
from benchmarks.office import Json, Office
from benchmarks.people import seed
from benchmarks.provider import Provider, per_second, provider
from benchmarks.report import Report

LIMIT = 1000
LOAD_S = 2.0  # of sending before each stop
QUIET_S = 5.0  # watched afterwards
WITHIN_S = 2.0
FLOOR_CALLS = 20


async def pause(sizes: list[int]) -> Report:
    """`pause [PRESSES]`: pause, watch and resume this often, 3 unless told."""
    presses = sizes[0] if sizes else 3
    report = Report("pause")
    async with running(throughputs=(LIMIT,)) as stack:
        await seed(stack, int((presses + 1) * (LOAD_S + WITHIN_S) * LIMIT))
        async with setting.office(stack) as office, provider(stack) as log:
            sender = await office.sender(LIMIT)
            campaign = await office.campaign(sender, await office.template(sender), await office.audience())
            await office.launch(campaign)
            await setting.until_expanded(stack, campaign)
            stops = [await _one(office, log, campaign) for _ in range(presses)]
            _report(report, stops)
            await _floor(report, office)
            await _alternative(stack, report, log)
    return report


class Stop:
    """One press of pause: when it was asked for and answered, and when requests arrived around it."""

    def __init__(self, asked_at: float, answered_at: float, before: list[float], after: list[float]) -> None:
        self.answer_s = answered_at - asked_at
        self.load = per_second(before)
        self.last_s = max((at - asked_at for at in after), default=0.0)
        self.late = sum(at > asked_at + WITHIN_S for at in after)
        self.after = len(after)


async def _one(office: Office, log: Provider, campaign: Json) -> Stop:
    """Let it run, pause, watch, resume."""
    seen = await log.accepted()
    await asyncio.sleep(LOAD_S)
    asked_at = time.time()
    await office.call("POST", f"/api/campaigns/{campaign['id']}/pause", {"reason": "benchmark"})
    answered_at = time.time()
    await asyncio.sleep(QUIET_S)
    instants = [each.at for each in await log.accepted(seen[-1].sequence if seen else -1)]
    await office.call("POST", f"/api/campaigns/{campaign['id']}/resume")
    return Stop(
        asked_at, answered_at, [at for at in instants if at <= asked_at], [at for at in instants if at > asked_at]
    )


def _report(report: Report, stops: list[Stop]) -> None:
    report.add("load when paused", min(stop.load for stop in stops), "messages/s")
    report.add("pause to the last request started, worst", max(stop.last_s for stop in stops), "s", at_most=WITHIN_S)
    report.add("pause to its answer, worst", max(stop.answer_s for stop in stops), "s")
    report.add("requests started after the press, most", max(stop.after for stop in stops), "messages")
    report.add("requests started later than 2 s", sum(stop.late for stop in stops), "messages", at_most=0)


async def _floor(report: Report, office: Office) -> None:
    """What an answer of the API takes at the same load."""
    seconds = []
    for _ in range(FLOOR_CALLS):
        began = time.perf_counter()
        await office.call("GET", "/health/live")
        seconds.append(time.perf_counter() - began)
    report.add("an answer of the API under the same load (floor), worst", max(seconds), "s")


async def _alternative(stack: Stack, report: Report, log: Provider) -> None:
    """What an operator without a button would do: SIGTERM to the worker, in mid-campaign."""
    await asyncio.sleep(LOAD_S)
    seen = await log.accepted()
    asked_at = time.time()
    worker = stack.children[stack.worker_name()]
    worker.ask_to_stop()
    worker.finish()
    ended_at = time.time()
    late = [each.at for each in await log.accepted(seen[-1].sequence) if each.at > asked_at]
    report.add("SIGTERM to the last request started (alternative)", max(late, default=asked_at) - asked_at, "s")
    report.add("SIGTERM to the worker's end", ended_at - asked_at, "s")
    async with stack.database() as database:
        left = await database.fetchval("SELECT count(*) FROM messages WHERE phase = 'sending'")
    report.add("rows left in sending by SIGTERM", left, "messages", at_most=0)
