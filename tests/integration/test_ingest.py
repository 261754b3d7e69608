"""The webhook door under load, in trouble and killed: every 200 is in the table, and nothing waits for ever."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from api import ingest as door
from api.ingest import Ingest
from benchmarks.harness import Stack as Processes
from benchmarks.harness import running, until
from benchmarks.ingest import job, load
from benchmarks.webhook_bodies import WORDS, accepted_messages, body, statuses, write
from core.db import make_engine, make_sessions
from core.errors import Unavailable
from core.whatsapp.signature import sign
from tests.integration.stack import Bells, Stack
from tests.integration.test_webhooks import body as a_body
from tests.integration.test_webhooks import change, count, deliver, said

SECONDS = 4
PER_SECOND = 150


@asynccontextmanager
async def an_ingest(own_database: str, **options: float) -> AsyncIterator[Ingest]:
    engine = make_engine(own_database)
    ingest = Ingest(make_sessions(engine), Bells(), **options)
    yield ingest
    await ingest.stop()
    await engine.dispose()


async def stored(ingest: Ingest) -> list[bytes]:
    async with ingest.sessions() as session:
        return [row.body for row in await session.execute(text("SELECT body FROM webhook_events ORDER BY id"))]


async def test_what_waits_is_bounded_in_number_and_in_bytes(own_database: str) -> None:
    async with an_ingest(own_database) as ingest:  # nobody commits yet
        large = b"x" * (3 << 20)
        waiting = [asyncio.create_task(ingest.put(large)) for _ in range(door.MOST_WAITING_BYTES // len(large))]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await ingest.put(large)
        for task in waiting:
            task.cancel()
        ingest.waiting, ingest.waiting_bytes = [], 0

        small = [asyncio.create_task(ingest.put(b"%d" % number)) for number in range(door.MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await ingest.put(b"one too many")

        ingest.start()
        await asyncio.gather(*small)
        assert await stored(ingest) == [b"%d" % number for number in range(door.MOST_WAITING)]
        assert ingest.waiting_bytes == 0


async def test_a_database_that_does_not_answer_costs_everybody_who_waits_one_time_out(
    own_database: str,
) -> None:
    async with an_ingest(own_database, patience_s=0.3) as ingest:
        ingest.start()
        async with ingest.sessions() as holding, holding.begin():
            await _lock(holding)
            first = asyncio.create_task(ingest.put(b"first"))
            await asyncio.sleep(0.1)
            rest = [asyncio.create_task(ingest.put(b"%d" % number)) for number in range(50)]
            answers = await asyncio.wait_for(asyncio.gather(first, *rest, return_exceptions=True), 2)
        assert all(isinstance(answer, Unavailable) for answer in answers)
        await ingest.put(b"afterwards")
        assert await stored(ingest) == [b"afterwards"]


async def _lock(session: AsyncSession) -> None:
    await session.execute(text("LOCK TABLE webhook_events IN SHARE ROW EXCLUSIVE MODE"))


async def test_withdrawals_beyond_the_bound_are_refused_at_once(stack: Stack) -> None:
    ingest: Ingest = stack.api.state.ingest
    ingest.speaking.here = door.MOST_SPEAKING + door.MOST_SPEAKING_WAITING
    answer = await deliver(stack, a_body(change(messages=[said("STOP")])))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    ingest.speaking.here = 0
    # What people say without withdrawing anything shares a commit like a status.
    assert (await deliver(stack, a_body(change(messages=[said("hello")])))).status_code == 200
    assert await count(stack, "webhook_events") == 1


async def test_a_body_in_pieces_is_one_body_and_a_sender_who_hangs_up_leaves_nothing(stack: Stack) -> None:
    content = a_body(change(messages=[said("hello")]))
    header = (b"x-hub-signature-256", sign(stack.settings.app_secrets[0], content).encode())
    scope = {"type": "http", "method": "POST", "path": "/webhooks/whatsapp", "headers": [header]}

    async def post(*messages: dict[str, object]) -> list[dict[str, object]]:
        left, answer = list(messages), []

        async def receive() -> dict[str, object]:
            return left.pop(0)

        async def send(message: dict[str, object]) -> None:
            answer.append(message)

        await stack.api(scope, receive, send)  # type: ignore[arg-type]
        return answer

    pieces = [
        {"type": "http.request", "body": content[:100], "more_body": True},
        {"type": "http.request", "body": content[100:], "more_body": False},
    ]
    assert (await post(*pieces))[0]["status"] == 200
    assert await post(pieces[0], {"type": "http.disconnect"}) == []
    assert await count(stack, "webhook_events") == 1


@pytest.fixture(scope="module")
async def processes() -> AsyncIterator[Processes]:
    """API and worker as processes of their own, on servers of their own that write durably."""
    async with running() as stack:
        yield stack


async def test_every_200_is_in_the_table_when_the_api_is_killed_in_mid_flow(processes: Processes) -> None:
    bodies = [b'{"object":"whatsapp_business_account","entry":[],"n":%d}' % n for n in range(SECONDS * PER_SECOND)]
    path = write(processes.folder / "killed", bodies)

    flow = asyncio.create_task(load(job(processes, path, PER_SECOND)))
    async with processes.database() as database:
        await until(lambda: database.fetchval("SELECT count(*) > 50 FROM webhook_events"))
        processes.kill("api")
        done = await flow
        kept = {json.loads(row["body"])["n"] for row in await database.fetch("SELECT body FROM webhook_events")}
    processes.start_again("api")
    await processes.until_up()

    acknowledged = {place for place, at in enumerate(done.answered_at) if at}
    assert acknowledged and len(acknowledged) < len(bodies)
    assert acknowledged <= kept


async def test_nothing_is_recorded_twice_or_lost_when_the_worker_is_killed(processes: Processes) -> None:
    sent = await accepted_messages(processes, 2000)
    bodies = [body(statuses=[one]) for word in WORDS for one in statuses(sent, word)]
    path = write(processes.folder / "recorded", bodies)

    flow = asyncio.create_task(load(job(processes, path, 1000)))
    async with processes.database() as database:
        await until(lambda: database.fetchval("SELECT count(*) > 200 FROM message_events"))
        processes.kill("worker")
        done = await flow
        processes.start_again("worker")
        await until(
            lambda: database.fetchval("SELECT NOT EXISTS (SELECT FROM webhook_events WHERE status = 'waiting')")
        )
        facts = await database.fetchval("SELECT count(*) FROM message_events")
        read = await database.fetchval("SELECT count(*) FROM messages WHERE status = 'read'")

    assert done.statuses == {"200": len(bodies)}
    assert (facts, read) == (len(bodies), len(sent))
