"""`ingest`: webhooks of one status each at a steady pace, every one committed before it is answered."""

import asyncio
import sys
import time
from bisect import bisect_left
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from benchmarks.harness import START_TIMEOUT_S, Stack, free_port, running, until
from benchmarks.machine import Cpu
from benchmarks.report import Grid, Report
from benchmarks.webhook_bodies import WORDS, accepted_messages, body, statuses, write
from benchmarks.webhook_load import Done, Job
from cli.embedded import log_file
from cli.processes import Child, child_environment
from core.settings import ROOT

PER_SECOND = 3300  # three statuses a message at the provider's ceiling of 1,000 messages a second, and a tenth more
SECONDS = 60
RECORDED_WITHIN_S = 5.0
FLOOR_PER_SECOND = 6000  # more than can be answered, so that the floor is what the endpoint can do
FLOOR_SECONDS = 8


async def ingest(sizes: list[int]) -> Report:
    """`ingest [SECONDS [PER_SECOND]]`."""
    seconds = sizes[0] if sizes else SECONDS
    per_second = sizes[1] if len(sizes) > 1 else PER_SECOND
    report = Report("ingest")
    async with running() as stack:
        sent = await accepted_messages(stack, -(-seconds * per_second // len(WORDS)))
        each = [body(statuses=[one]) for word in WORDS for one in statuses(sent, word)][: seconds * per_second]
        bodies = write(stack.folder / "bodies", each)
        cpu = Cpu(stack.pids).start()
        done = await load(job(stack, bodies, per_second))
        lag_s = await until_recorded(stack)
        spent = cpu.spent()
        await _figures(stack, report, done, lag_s, per_second)
        add_cpu(report, spent, done.offered)
        report.add("load generator CPU", done.cpu_seconds, "s")
        floor = write(stack.folder / "floor", each[: FLOOR_SECONDS * FLOOR_PER_SECOND])
        async with storing_off(stack) as port:
            bare = await load(job(stack, floor, FLOOR_PER_SECOND, port=port))
        full = await load(job(stack, floor, FLOOR_PER_SECOND))
    _floor(report, bare, full)
    return report


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == 200
    except httpx.TransportError:
        return False


def job(stack: Stack, bodies: str, per_second: float, *, port: int | None = None, connections: int = 256) -> Job:
    settings = stack.settings
    return Job("127.0.0.1", port or settings.api_port, settings.app_secrets[0], bodies, per_second, connections)


async def load(what: Job) -> Done:
    """Run the generator in a process of its own and wait for what it found."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.webhook_load",
        msgspec.json.encode(what).decode(),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=256 << 20,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return msgspec.json.decode(out.splitlines()[-1], type=Done)


async def until_recorded(stack: Stack) -> float:
    """Seconds until nothing waits any more."""
    began = time.monotonic()
    over = "SELECT NOT EXISTS (SELECT FROM webhook_events WHERE status = 'waiting')"
    async with stack.database() as database:
        await until(lambda: database.fetchval(over))
    return time.monotonic() - began


async def _figures(stack: Stack, report: Report, done: Done, lag_s: float, per_second: float) -> None:
    acknowledged = done.statuses.get("200", 0)
    async with stack.database() as database:
        stored = await database.fetchval("SELECT count(*) FROM webhook_events")
        facts = await database.fetchval("SELECT count(*) FROM message_events")
        slowest = await database.fetchval(
            "SELECT max(extract(epoch FROM recorded_at - created_at)) FROM webhook_events"
        )
    report.add("offered", done.offered / done.seconds, "1/s")
    report.add("acknowledged", acknowledged, "POSTs", at_least=done.offered)
    report.add("acknowledged, but not in the table", acknowledged - stored, "POSTs", at_most=0)
    report.add("p50 to the answer", percentile(done.latencies_ms, 0.50), "ms", at_most=50)
    report.add("p99 to the answer", percentile(done.latencies_ms, 0.99), "ms", at_most=250)
    report.add("slowest answer", percentile(done.latencies_ms, 1.0), "ms")
    report.add("committed to recorded, slowest", float(slowest or 0), "s", at_most=RECORDED_WITHIN_S)
    report.add("last answer to everything recorded", lag_s, "s", at_most=RECORDED_WITHIN_S)
    report.add("facts recorded", facts, "facts", at_least=acknowledged)
    if set(done.statuses) - {"200"}:
        report.notes.append(f"answers: {done.statuses}")


def percentile(values: list[float], share: float) -> float:
    """The value below which this share lies; 0 for no values. `values` is sorted."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def add_cpu(report: Report, spent: dict[str, float], events: int) -> None:
    rows = [[name, f"{s:.1f}", f"{s / events * 1000:.3f}"] for name, s in sorted(spent.items(), key=lambda kv: -kv[1])]
    report.grids.append(Grid("CPU", ["Process", "s", "s per 1,000 POSTs"], rows))


def _floor(report: Report, bare: Done, full: Done) -> None:
    def capacity(done: Done) -> float:
        last = max(done.answered_at) - done.began_at
        return bisect_left(sorted(done.answered_at), done.began_at + last) / last

    report.add("as fast as it goes, storing off (floor)", capacity(bare), "1/s")
    report.add("as fast as it goes, committed", capacity(full), "1/s")
    report.add("committed / storing off", capacity(full) / capacity(bare), "ratio", at_least=0.5)


@asynccontextmanager
async def storing_off(stack: Stack) -> AsyncIterator[int]:
    """The same API on another port, which checks signatures and keeps nothing; yields the port."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--no-ws", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "benchmarks.bare_webhooks:app"]
    log: Path = log_file(stack.folder, "bare")
    child = Child("bare", command, child_environment(stack.settings), log, "", lambda status, _: status == 200)
    child.start()
    try:
        async with asyncio.timeout(START_TIMEOUT_S), httpx.AsyncClient(trust_env=False) as http:
            await until(lambda: _answers(http, f"http://127.0.0.1:{port}/health/live"))
        yield port
    finally:
        child.ask_to_stop()
        child.finish()
