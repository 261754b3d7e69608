"""`optout`: people write STOP while statuses pour in; each is in the ledger before its POST is answered."""

import asyncio
from datetime import datetime

import msgspec

from benchmarks.harness import Stack, running
from benchmarks.ingest import job, load, percentile
from benchmarks.report import Report
from benchmarks.webhook_bodies import WORDS, accepted_messages, body, statuses, stop, write
from benchmarks.webhook_load import Done

SECONDS = 30
STATUSES_PER_SECOND = 3300
STOPS_PER_SECOND = 10


async def optout(sizes: list[int]) -> Report:
    """`optout [SECONDS [STATUSES_PER_SECOND [STOPS_PER_SECOND]]]`."""
    seconds, per_second, stops = (sizes + [SECONDS, STATUSES_PER_SECOND, STOPS_PER_SECOND][len(sizes) :])[:3]
    report = Report("optout")
    async with running() as stack:
        sent = await accepted_messages(stack, -(-seconds * per_second // len(WORDS)))
        each = [body(statuses=[one]) for word in WORDS for one in statuses(sent, word)][: seconds * per_second]
        noise = write(stack.folder / "noise", each)
        people = write(stack.folder / "stops", [stop(place) for place in range(seconds * stops)])
        beside, done = await asyncio.gather(
            load(job(stack, noise, per_second)), load(job(stack, people, stops, connections=16))
        )
        late, missing = await _judge(stack, done)
    report.add("statuses acknowledged beside", beside.statuses.get("200", 0) / beside.seconds, "1/s")
    report.add("stops acknowledged", done.statuses.get("200", 0), "stops", at_least=done.offered)
    report.add("answered before they were in the ledger", late, "stops", at_most=0)
    report.add("not in the ledger", missing, "stops", at_most=0)
    report.add("p50 to the answer", percentile(done.latencies_ms, 0.5), "ms")
    report.add("p99 to the answer", percentile(done.latencies_ms, 0.99), "ms", at_most=300)
    report.add("slowest answer", percentile(done.latencies_ms, 1.0), "ms")
    return report


async def _judge(stack: Stack, done: Done) -> tuple[int, int]:
    """(stops sealed after their answer, stops not sealed at all), by the ledger's own clock."""
    query = """
        SELECT a.value, e.core FROM consent_events e
          JOIN contact_addresses a ON a.contact_id = e.subject_id WHERE e.event_type = 'WITHDRAWN'
    """
    async with stack.database() as database:
        rows = await database.fetch(query)
    sealed = {
        row["value"]: datetime.fromisoformat(msgspec.json.decode(row["core"])["recorded_at"]).timestamp()
        for row in rows
    }
    numbers = [f"+49170{place:07}" for place in range(done.offered)]
    pairs = [(sealed.get(number), at) for number, at in zip(numbers, done.answered_at, strict=True)]
    late = sum(1 for instant, at in pairs if instant is not None and instant > at)
    return late, sum(1 for instant, _ in pairs if instant is None)
