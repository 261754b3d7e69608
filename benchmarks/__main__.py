"""`python -m benchmarks NAME [sizes…]`: run one benchmark on servers and processes of its own."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rich.console import Console

from benchmarks import machine
from benchmarks.audience import audience
from benchmarks.crash import crash
from benchmarks.expand import expand
from benchmarks.full_loop import full_loop
from benchmarks.gate import gate
from benchmarks.growth import growth
from benchmarks.imports import imports
from benchmarks.ingest import ingest
from benchmarks.ingest_batch import ingest_batch
from benchmarks.ledger import ledger
from benchmarks.optout import optout
from benchmarks.optout_race import optout_race
from benchmarks.pause import pause
from benchmarks.report import Report
from benchmarks.send import send
from benchmarks.throttle import throttle
from core.collector import look_seldom
from core.errors import AppError, Unavailable

Options = argparse.Namespace


@dataclass(frozen=True)
class Benchmark:
    """One question; it is given up after `minutes`."""

    measures: str
    sizes: str
    run: Callable[[Options], Awaitable[Report]]
    minutes: int


BENCHMARKS = {
    "send": Benchmark(
        "messages per second of one worker with full bookkeeping; a bare loop and pywa at the same simulator",
        "[MESSAGES=30000]",
        lambda given: send(given.sizes),
        30,
    ),
    "expand": Benchmark(
        "seconds from a launch to the last row, and the worker's memory",
        "[RECIPIENTS=1000000]",
        lambda given: expand(given.sizes),
        60,
    ),
    "pause": Benchmark(
        "seconds from pause to the last request started, at full load",
        "[PRESSES=3]",
        lambda given: pause(given.sizes),
        15,
    ),
    "throttle": Benchmark(
        "the fullest second and the share of the limit used, two workers on one number",
        "[SECONDS=60 [LIMIT=80 1000]]",
        lambda given: throttle(given.sizes),
        30,
    ),
    "growth": Benchmark(
        "cost per message and peak memory by the number of queued rows",
        "[MESSAGES=5000 ROWS=10000 100000 1000000]",
        lambda given: growth(given.sizes),
        90,
    ),
    "optout-race": Benchmark(
        "sends begun after a withdrawal had committed, with the gate's lock and without",
        "[PEOPLE=10000]",
        lambda given: optout_race(given.sizes),
        30,
    ),
    "ingest": Benchmark(
        "webhooks of one status each at a steady pace: losses, latency, the lag of recording; storing off beside it",
        "[SECONDS=60 [PER_SECOND=3300]]",
        lambda given: ingest(given.sizes),
        15,
    ),
    "audience": Benchmark(
        "seconds to count and to list a rule with an attribute, a consent and clicks",
        "[PEOPLE=1000000 [EVENTS=20000000]]",
        lambda given: audience(given.sizes),
        90,
    ),
    "import": Benchmark(
        "rows per second of a CSV with consents, and the worker's memory; libphonenumber alone and an ORM loop",
        "[ROWS=1000000]",
        lambda given: imports(given.sizes),
        60,
    ),
    "ledger": Benchmark(
        "events per second sealed by 16 writers and in bulk, and checked by verify.py",
        "[EVENTS=1000000]",
        lambda given: ledger(given.sizes),
        60,
    ),
    "gate": Benchmark(
        "permits per second for batches of 50",
        "[PEOPLE=50000]",
        lambda given: gate(given.sizes),
        30,
    ),
    "ingest-batch": Benchmark(
        "statuses recorded a second when they come a thousand in a body",
        "[STATUSES=300000]",
        lambda given: ingest_batch(given.sizes),
        15,
    ),
    "optout": Benchmark(
        "milliseconds until a STOP is in the ledger and answered, while statuses pour in",
        "[SECONDS=30 [STATUSES_PER_SECOND=3300 [STOPS_PER_SECOND=10]]]",
        lambda given: optout(given.sizes),
        15,
    ),
    "full-loop": Benchmark(
        "a campaign at the ceiling while every status comes back: pace, losses, the lag of recording",
        "[MESSAGES=30000]",
        lambda given: full_loop(given.sizes),
        30,
    ),
    "crash": Benchmark(
        "duplicates and silent losses when a part is killed in mid-campaign (--seed, --write)",
        "[ROUNDS=50 [RECIPIENTS=5000]]",
        lambda given: crash(given.sizes, chance_seed=given.seed, write=given.write),
        240,
    ),
}


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the product.")
    parser.add_argument("name", nargs="?", choices=sorted(BENCHMARKS), help="which one; see --list")
    parser.add_argument("sizes", nargs="*", type=int, help="sizes, as --list names them")
    parser.add_argument("--json", action="store_true", help="one JSON line at the end, the table on stderr")
    parser.add_argument("--seed", type=int, default=1, help="crash: what decides which part dies, and when")
    parser.add_argument("--write", action="store_true", help="crash: put the table into docs/crash-proof.md")
    parser.add_argument("--list", action="store_true", help="say what each measures, and end")
    given = parser.parse_args(arguments)
    if not given.list and given.name is None:
        parser.error("which benchmark? --list shows them")
    return given


def main() -> int:
    given = read_arguments()
    out = Console(stderr=given.json)
    if given.list:
        for name, each in BENCHMARKS.items():
            out.print(f"{name} {each.sizes}: {each.measures}", markup=False, highlight=False)
        return 0
    out.print(machine.describe(), highlight=False)
    look_seldom()  # some benchmarks do in this process what a worker does in its own
    try:
        report = asyncio.run(_bounded(BENCHMARKS[given.name], given))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except AppError as refused:
        print(refused.message, file=sys.stderr)
        return 1
    report.show(out)
    if given.json:
        print(report.as_json())
    return 0


async def _bounded(benchmark: Benchmark, given: Options) -> Report:
    """The benchmark, ended in good order by SIGTERM, a closed terminal or its time limit."""
    task = asyncio.current_task()
    assert task is not None
    for each in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(each, task.cancel)
    try:
        async with asyncio.timeout(benchmark.minutes * 60) as limit:
            return await benchmark.run(given)
    except TimeoutError as late:
        if not limit.expired():
            raise
        raise Unavailable(f"{given.name} was given up after {benchmark.minutes} minutes") from late


if __name__ == "__main__":
    sys.exit(main())
