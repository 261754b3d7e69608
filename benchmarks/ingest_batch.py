"""`ingest-batch`: bodies of 1,000 statuses, from the first POST to the last fact."""

import time

from benchmarks.harness import running
from benchmarks.ingest import add_cpu, job, load, until_recorded
from benchmarks.machine import Cpu
from benchmarks.report import Report
from benchmarks.webhook_bodies import WORDS, accepted_messages, body, statuses, write

STATUSES = 300_000
IN_A_BODY = 1000
BODIES_PER_SECOND = 100.0  # faster than they can be recorded, so that the recording is what is measured


async def ingest_batch(sizes: list[int]) -> Report:
    """`ingest-batch [STATUSES]`."""
    count = sizes[0] if sizes else STATUSES
    report = Report("ingest-batch")
    async with running() as stack:
        sent = await accepted_messages(stack, -(-count // len(WORDS)))
        said = [each for word in WORDS for each in statuses(sent, word)][:count]
        parts = [body(statuses=said[at : at + IN_A_BODY]) for at in range(0, count, IN_A_BODY)]
        bodies = write(stack.folder / "bodies", parts)
        cpu = Cpu(stack.pids).start()
        done = await load(job(stack, bodies, BODIES_PER_SECOND, connections=8))
        await until_recorded(stack)
        seconds = time.time() - done.began_at
        spent = cpu.spent()
        async with stack.database() as database:
            facts = await database.fetchval("SELECT count(*) FROM message_events")
            aside = await database.fetchval("SELECT count(*) FROM webhook_events WHERE status = 'set_aside'")
    report.add("statuses recorded per second, first POST to last fact", facts / seconds, "1/s", at_least=20_000)
    report.add("facts recorded", facts, "facts", at_least=len(said))
    report.add("bodies set aside", aside, "bodies", at_most=0)
    report.add("bodies not acknowledged", done.offered - done.statuses.get("200", 0), "bodies", at_most=0)
    for name in ("worker", "postgres", "api"):
        report.add(f"{name} CPU", spent[name] / len(said) * 1000, "s per 1,000 statuses")
    add_cpu(report, spent, done.offered)
    return report
