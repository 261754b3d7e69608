"""`send`: how fast one worker sends with full bookkeeping, beside a bare loop and pywa at the same simulator."""

import time
from collections.abc import Mapping

from benchmarks import office as setting
from benchmarks import rivals
from benchmarks.harness import Stack, running
from benchmarks.machine import Cpu, watched_memory
from benchmarks.people import seed
from benchmarks.provider import Accepted, fullest_window, per_second, provider
from benchmarks.report import Grid, Report

LIMIT = 1000  # messages per second, the provider's ceiling for an upgraded number
ROUNDS = 3  # of each loop; the best counts
LOOP = 5000  # messages of a round of the bare loop at most
PYWA_LOOP = 2000


async def send(sizes: list[int]) -> Report:
    """`send [MESSAGES]`, 30,000 unless told."""
    count = sizes[0] if sizes else 30_000
    report = Report("send")
    async with running(throughputs=(LIMIT,)) as stack:
        await _campaign(stack, report, count)
        await _rivals(stack, report, count)
    return report


async def _campaign(stack: Stack, report: Report, count: int) -> None:
    await seed(stack, count)
    async with setting.office(stack) as office, provider(stack) as log:
        sender = await office.sender(LIMIT)
        campaign = await office.campaign(sender, await office.template(sender), await office.audience())
        cpu = Cpu(stack.pids).start()
        began = time.time()
        async with watched_memory(stack.pids()[stack.worker_name()]) as memory:
            await office.launch(campaign)
            await setting.until_sent(stack, campaign)
        await log.until_settled(60 + count / 100)
        await setting.until_recorded(stack)
        spent = cpu.spent()
        settled = time.time()
        accepted = await log.accepted()
        found = await office.call("GET", f"/api/campaigns/{campaign['id']}")
        refused = (await log.summary())["refused_by_code"]
    _pace(report, accepted, began, settled)
    _losses(report, accepted, found["balance"], count)
    report.add("worker peak memory", memory.peak_mib, "MiB")
    report.grids.append(cpu_grid(spent, count))
    report.add("worker CPU", spent[stack.worker_name()] / count * 1000, "s per 1,000 messages")
    report.add("all processes CPU", sum(spent.values()) / count * 1000, "s per 1,000 messages")
    for word in ("skipped", "failures"):
        if found[word]:
            report.notes.append(f"{word}: {found[word]}")
    if refused:
        report.notes.append(f"refused by the simulator, by code: {refused}")


def _pace(report: Report, accepted: list[Accepted], began: float, settled: float) -> None:
    instants = [each.at for each in accepted]
    report.add("messages per second, first to last", per_second(instants), "1/s", at_least=LIMIT * 0.985)
    report.add("best second", fullest_window(instants), "messages")
    report.add("launch to first message", instants[0] - began if instants else 0.0, "s")
    report.add("last message to last webhook recorded", settled - instants[-1] if instants else 0.0, "s")


def _losses(report: Report, accepted: list[Accepted], balance: Mapping[str, int], count: int) -> None:
    labels = {each.label for each in accepted}
    report.add("accepted by the simulator", len(accepted), "messages")
    report.add("sent twice", len(accepted) - len(labels), "messages", at_most=0)
    accounted = sum(n for word, n in balance.items() if word in ("failed", "skipped", "cancelled", "unknown"))
    report.add("lost", count - len(labels) - accounted, "messages", at_most=0)
    report.add("not delivered though accepted", len(labels) - balance["delivered"] - balance["read"], "messages")


async def _rivals(stack: Stack, report: Report, count: int) -> None:
    """The loops, with the product idle beside them."""
    ours = report.value("messages per second, first to last")
    async with rivals.arena(stack) as arena:
        rounds = [await rivals.bare(arena.job(min(count, LOOP), first=at * LOOP)) for at in range(ROUNDS)]
        bare = max(rounds, key=lambda done: done.accepted / done.seconds)
        report.add("bare loop (floor)", bare.accepted / bare.seconds, "1/s")
        report.add("bare loop CPU", bare.cpu_seconds / bare.accepted * 1000, "s per 1,000 messages")
        report.add("ours / bare loop", ours / (bare.accepted / bare.seconds), "ratio", at_least=0.6)
        python = await rivals.install_pywa(stack.folder / "pywa")
        if python is None:
            report.notes.append("pywa: not measured (it could not be installed)")
            return
        each = min(count, PYWA_LOOP)
        turns = [await rivals.pywa(python, arena.job(each, first=(ROUNDS + at) * LOOP)) for at in range(ROUNDS)]
        pywa = max(turns, key=lambda done: done.accepted / done.seconds)
        report.add("pywa (alternative)", pywa.accepted / pywa.seconds, "1/s")
        report.add("pywa CPU", pywa.cpu_seconds / pywa.accepted * 1000, "s per 1,000 messages")
        report.add("ours / pywa", ours / (pywa.accepted / pywa.seconds), "ratio", at_least=3)


def cpu_grid(spent: Mapping[str, float], count: int) -> Grid:
    """CPU seconds of each process for 1,000 messages."""
    rows = [(name, f"{seconds:.2f}", f"{seconds / count * 1000:.3f}") for name, seconds in sorted(spent.items())]
    total = sum(spent.values())
    rows.append(("all", f"{total:.2f}", f"{total / count * 1000:.3f}"))
    return Grid("CPU, from launch until the last webhook is recorded", ("Process", "s", "s per 1,000"), rows)
