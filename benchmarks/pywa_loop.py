"""The alternative: pywa's asynchronous client in a loop; run by the Python of an environment that has pywa.

Knows nothing of this project, so it is started by its path: `python pywa_loop.py JOB`, where JOB is the JSON of
`bare_loop.Job`; prints the same JSON. https://pypi.org/project/pywa/
"""

import asyncio
import importlib
import json
import sys
import time
from typing import Any
from uuid import uuid4

import httpx

CONCURRENCY = 50


async def run(job: dict[str, Any]) -> dict[str, float]:
    """Send the job's messages with `send_template`, 50 at a time."""
    pywa, templates = importlib.import_module("pywa_async"), importlib.import_module("pywa.types.templates")
    limits = httpx.Limits(max_connections=2 * CONCURRENCY, max_keepalive_connections=2 * CONCURRENCY)
    session = httpx.AsyncClient(limits=limits)
    client = pywa.WhatsApp(phone_id=job["numbers"][0], token=job["token"], session=session)
    session.base_url = httpx.URL(f"{job['url']}/{job['version']}")  # it knows Meta's address only
    template = job["content"]["template"]
    language = templates.TemplateLanguage(template["language"]["code"])
    left = iter(range(job["first"], job["first"] + job["count"]))
    accepted = 0
    began, cpu = time.perf_counter(), time.process_time()

    async def send_some() -> None:
        nonlocal accepted
        for place in left:
            sent = await client.send_template(
                to=f"+49151{place:08}",
                name=template["name"],
                language=language,
                params=template["components"],
                tracker=str(uuid4()),
                sender=job["numbers"][place % len(job["numbers"])],
            )
            accepted += bool(sent.id)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(send_some())
    done = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    await session.aclose()
    return {**done, "accepted": accepted, "refused": job["count"] - accepted}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
