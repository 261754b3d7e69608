"""Signed webhook POSTs at a steady pace, from a process of its own: `python -m benchmarks.webhook_load JOB`.

JOB is JSON (see `Job`). Requests are built and signed before the clock starts. They are offered at their instants
whether or not earlier ones were answered, and a latency is measured from that instant, so a server that falls behind
shows it. Prints `ready`, then JSON: see `Done`.
"""

import asyncio
import sys
import time
from collections import Counter, deque
from pathlib import Path

import msgspec

from core.whatsapp.signature import sign

SETTLED_WITHIN_S = 20.0


class Job(msgspec.Struct, frozen=True):
    """Which bodies (a file with one a line) go to where, how fast, over how many connections."""

    host: str
    port: int
    secret: str
    bodies: str
    per_second: float
    connections: int = 256


class Done(msgspec.Struct, frozen=True):
    """`latencies_ms` of the acknowledged ones, sorted; `answered_at` is Unix seconds by place in the file, 0 without
    a 200."""

    offered: int
    statuses: dict[str, int]
    seconds: float
    cpu_seconds: float
    began_at: float
    latencies_ms: list[float]
    answered_at: list[float]


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self, load: "_Load") -> None:
        self.load = load
        self.place = -1
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.load.free(self)

    def send(self, place: int) -> None:
        self.place = place
        self.transport.write(self.load.requests[place])

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        size = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        if len(rest) < size:
            return
        self.buffer = b""
        place, self.place = self.place, -1
        self.load.answered(place, head[9:12].decode())
        self.load.free(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self.place >= 0:
            self.load.answered(self.place, "lost")


class _Load:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.requests = [_request(job, line) for line in Path(job.bodies).read_bytes().splitlines()]
        self.due = [0.0] * len(self.requests)
        self.answers = [0.0] * len(self.requests)
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.idle: deque[_Connection] = deque()
        self.waiting: deque[int] = deque()
        self.open = 0
        self.all_answered = asyncio.Event()

    def free(self, connection: _Connection) -> None:
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.idle.append(connection)

    def offer(self, place: int) -> None:
        self.open += 1
        while self.idle:
            connection = self.idle.popleft()
            if not connection.transport.is_closing():
                connection.send(place)
                return
        self.waiting.append(place)

    def answered(self, place: int, status: str) -> None:
        now = time.perf_counter()
        self.statuses[status] += 1
        if status == "200":
            self.answers[place] = time.time()
            self.latencies.append((now - self.due[place]) * 1000)
        self.open -= 1
        if not self.open:
            self.all_answered.set()

    async def run(self) -> Done:
        """Offer everything, then wait until it is answered."""
        loop, job = asyncio.get_running_loop(), self.job
        for _ in range(job.connections):
            await loop.create_connection(lambda: _Connection(self), job.host, job.port)
        print("ready", flush=True)
        began_at, began, cpu = time.time(), time.perf_counter(), time.process_time()
        place = 0
        while place < len(self.requests):
            until = min(len(self.requests), int((time.perf_counter() - began) * job.per_second) + 1)
            while place < until:
                self.due[place] = began + place / job.per_second
                self.all_answered.clear()
                self.offer(place)
                place += 1
            await asyncio.sleep(max(0.001, began + place / job.per_second - time.perf_counter()))
        offered_s = time.perf_counter() - began
        if self.open:
            try:
                await asyncio.wait_for(self.all_answered.wait(), SETTLED_WITHIN_S)
            except TimeoutError:
                self.statuses["unanswered"] += self.open
        return Done(
            len(self.requests),
            dict(self.statuses),
            offered_s,
            time.process_time() - cpu,
            began_at,
            sorted(self.latencies),
            self.answers,
        )


def _request(job: Job, body: bytes) -> bytes:
    head = (
        f"POST /webhooks/whatsapp HTTP/1.1\r\nHost: {job.host}:{job.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Hub-Signature-256: {sign(job.secret, body)}\r\n\r\n"
    )
    return head.encode() + body


async def _main() -> Done:
    return await _Load(msgspec.json.decode(sys.argv[1], type=Job)).run()


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(_main())).decode())
