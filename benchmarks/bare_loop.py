"""The floor: the same client library, the same body, and nothing else; run as a process of its own.

`python -m benchmarks.bare_loop JOB` where JOB is JSON (see `Job`); prints JSON: seconds, CPU seconds, accepted,
refused. With `per_second` it is the simplest throttle there is: a request every so often, counted by nobody else.
"""

import asyncio
import sys
import time
from uuid import uuid4

import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

CONCURRENCY = 50


class Job(msgspec.Struct, frozen=True):
    """What to send where; requests go to the numbers in turn, so that none of them is at its limit."""

    url: str
    token: str
    version: str
    numbers: list[str]
    content: dict[str, object]
    count: int
    first: int = 0
    per_second: float | None = None


class Done(msgspec.Struct, frozen=True):
    seconds: float
    cpu_seconds: float
    accepted: int
    refused: int


async def run(job: Job) -> Done:
    """Send `count` messages, 50 at a time."""
    limits = httpx.Limits(max_connections=2 * CONCURRENCY, max_keepalive_connections=2 * CONCURRENCY)
    left = iter(range(job.first, job.first + job.count))
    accepted = refused = 0
    async with httpx.AsyncClient(
        base_url=job.url, headers={"authorization": f"Bearer {job.token}"}, transport=AiohttpTransport(limits=limits)
    ) as http:
        began, cpu = time.perf_counter(), time.process_time()

        async def send_some() -> None:
            nonlocal accepted, refused
            for place in left:
                if job.per_second is not None:
                    await asyncio.sleep(began + (place - job.first) / job.per_second - time.perf_counter())
                body = {
                    "messaging_product": "whatsapp",
                    "recipient_type": "individual",
                    "to": f"+49151{place:08}",
                    "biz_opaque_callback_data": str(uuid4()),
                    **job.content,
                }
                answer = await http.post(
                    f"/{job.version}/{job.numbers[place % len(job.numbers)]}/messages",
                    content=msgspec.json.encode(body),
                    headers={"content-type": "application/json"},
                )
                if answer.is_success and msgspec.json.decode(answer.content)["messages"]:
                    accepted += 1
                else:
                    refused += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(send_some())
        return Done(time.perf_counter() - began, time.process_time() - cpu, accepted, refused)


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Job)))).decode())
