"""`optout-race`: people withdraw at random moments while they are being sent to; how many sends begin afterwards.

The gate and the ledger are the product's own, on a real database, in this process; a send is the instant at which the
request would start. The same race with the two usual shortcuts shows that it is one: a check before the lock instead
of after it, and no lock at all.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from uuid import UUID, uuid4

from benchmarks.harness import Stack, running
from benchmarks.people import seed
from benchmarks.report import Report
from core.clock import utc_now
from core.consent import gate
from core.consent.acts import WEBHOOK, Act, ActorType, Method
from core.consent.gate import SendRequest
from core.consent.state import EventType
from core.db import Sessions
from core.keys import Keyring
from core.services import consents
from core.settings import Settings
from core.statuses import MessageKind

SENDER = "200000000000002"
GROUP = 10  # people of one race; they withdraw in two transactions and are sent to in one batch
AT_ONCE = 6
LATEST_S = {"withdrawal": 0.1, "batch": 0.1, "start": 0.2, "request": 0.01}

Permits = Callable[[Sequence[UUID]], AbstractAsyncContextManager[list[UUID]]]


@dataclass(frozen=True)
class Raced:
    """People who withdrew, people who were sent to, and those of them whose request began after the commit."""

    withdrawn: int
    sent: int
    overtaken: int


async def race(
    sessions: Sessions, people: Sequence[UUID], permits: Permits, *, keyring: Keyring, settings: Settings, seed: int
) -> Raced:
    """Let everyone withdraw while they are sent to, in groups; `permits` says who may be sent to while it is open."""
    random, slots = Random(seed), asyncio.Semaphore(AT_ONCE)
    committed: dict[UUID, float] = {}
    started: dict[UUID, float] = {}

    async def withdraw(some: Sequence[UUID]) -> None:
        await asyncio.sleep(random.random() * LATEST_S["withdrawal"])
        scope = random.choice(["marketing.*", "marketing", "*"])
        async with sessions.begin() as session:
            acts = [_stop(person, scope) for person in some]
            await consents.record(session, acts, keyring=keyring, settings=settings, now=utc_now())
        committed.update(dict.fromkeys(some, time.monotonic()))

    async def send(person: UUID) -> None:
        started[person] = time.monotonic()
        await asyncio.sleep(random.random() * LATEST_S["request"])

    async def send_all(some: Sequence[UUID]) -> None:
        await asyncio.sleep(random.random() * LATEST_S["batch"])
        async with permits(some) as allowed:
            await asyncio.sleep(random.random() * LATEST_S["start"])
            await asyncio.gather(*(send(person) for person in allowed))

    async def group(some: Sequence[UUID]) -> None:
        cut = random.randint(1, len(some) - 1)
        async with slots:
            await asyncio.gather(withdraw(some[:cut]), withdraw(some[cut:]), send_all(random.sample(some, len(some))))

    await asyncio.gather(*(group(people[start : start + GROUP]) for start in range(0, len(people), GROUP)))
    return Raced(len(committed), len(started), sum(at > committed[person] for person, at in started.items()))


def _stop(person: UUID, scope: str) -> Act:
    return Act(
        contact_id=person,
        event_type=EventType.WITHDRAWN,
        purpose=scope,
        source=WEBHOOK,
        source_key=str(uuid4()),
        occurred_at=utc_now(),
        actor=ActorType.DATA_SUBJECT,
        method=Method.WA_KEYWORD,
        sender_scope=SENDER,
        reason="stop_word",
        evidence={"text": "STOP"},
    )


def gated(sessions: Sessions, keyring: Keyring) -> Permits:
    """The product's gate: the contacts stay locked while the block is open."""

    @asynccontextmanager
    async def permits(some: Sequence[UUID]) -> AsyncIterator[list[UUID]]:
        async with gate.permits(sessions, _requests(some), keyring=keyring) as (allowed, _):
            yield [permit.contact_id for permit in allowed if permit.live()]

    return permits


def unlocked(sessions: Sessions, keyring: Keyring) -> Permits:
    """The usual shortcut: ask, let go, then send."""

    @asynccontextmanager
    async def permits(some: Sequence[UUID]) -> AsyncIterator[list[UUID]]:
        async with gate.permits(sessions, _requests(some), keyring=keyring) as (allowed, _):
            people = [permit.contact_id for permit in allowed]
        yield people

    return permits


def _requests(some: Sequence[UUID]) -> list[SendRequest]:
    return [SendRequest(uuid4(), person, "marketing", MessageKind.CAMPAIGN, SENDER) for person in some]


async def optout_race(sizes: list[int]) -> Report:
    """`optout-race [PEOPLE]`, 10,000 unless told; then as many without the lock."""
    count = sizes[0] if sizes else 10_000
    report = Report("optout-race")
    async with running() as stack:
        await seed(stack, count)
        done = await _race(stack, gated, count)
        report.add("people who withdrew", done.withdrawn, "people")
        report.add("sent to before that", done.sent, "people")
        report.add("sends begun after the withdrawal had committed", done.overtaken, "sends", at_most=0)
        await seed(stack, count)
        loose = await _race(stack, unlocked, count)
        report.add("the same without the lock: sent to", loose.sent, "people")
        report.add("the same without the lock: begun afterwards", loose.overtaken, "sends")
    return report


async def _race(stack: Stack, how: Callable[[Sessions, Keyring], Permits], count: int) -> Raced:
    async with stack.database() as database:
        rows = await database.fetch("SELECT id FROM contacts ORDER BY id DESC LIMIT $1", count)
    people = [row["id"] for row in rows]
    permits = how(stack.sessions, stack.keyring)
    return await race(stack.sessions, people, permits, keyring=stack.keyring, settings=stack.settings, seed=20261122)
