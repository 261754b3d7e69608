"""The machine under a benchmark: what it is, and what each process takes of it."""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psutil

SAMPLE_S = 0.1
MIB = 1024 * 1024

Pids = Callable[[], Mapping[str, int]]


def describe() -> str:
    """Cores, Python and the load average (1, 5, 15 minutes) as they are now, in one sentence."""
    load = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    cores = psutil.cpu_count() or 1
    memory = psutil.virtual_memory().total / MIB / 1024
    return (
        f"{cores} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load average at start {load}"
    )


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and everything it started; 0 when it has ended."""
    try:
        root = psutil.Process(pid)
        own = root.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in root.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:  # ended in between: its parent has its time now
                continue
            total += times.user + times.system
    except psutil.NoSuchProcess:
        return 0.0
    return float(total)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and everything it started; 0 when it has ended."""
    try:
        root = psutil.Process(pid)
        return sum(_rss(each) for each in (root, *root.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@dataclass
class Cpu:
    """CPU seconds per process between two instants."""

    pids: Pids
    before: dict[str, float] = field(default_factory=dict)

    def start(self) -> "Cpu":
        self.before = {name: cpu_seconds(pid) for name, pid in self.pids().items()}
        return self

    def spent(self) -> dict[str, float]:
        """Seconds since `start`, by process; a process that was started later counts from its start."""
        return {name: cpu_seconds(pid) - self.before.get(name, 0.0) for name, pid in self.pids().items()}


@dataclass
class Memory:
    """Resident memory of one process while it was watched, in bytes."""

    first: int = 0
    peak: int = 0

    @property
    def peak_mib(self) -> float:
        return self.peak / MIB


@asynccontextmanager
async def watched_memory(pid: int) -> AsyncIterator[Memory]:
    """Sample a process's memory ten times a second until the block ends."""
    seen = Memory(first=resident_bytes(pid))

    async def look() -> None:
        while True:
            seen.peak = max(seen.peak, resident_bytes(pid))
            await asyncio.sleep(SAMPLE_S)

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        task.cancel()
        seen.peak = max(seen.peak, resident_bytes(pid))
