"""The whole product in one process: API, worker jobs and sandbox, talking through ASGI, on a database of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
from argon2 import PasswordHasher
from litestar import Litestar

from core.db import Sessions
from core.queue import Bell
from core.services import people
from core.settings import Settings
from core.statuses import Role
from sandbox.simulation import Sandbox
from worker import counting, expanding, exporting, files, hooks, importing, invalidating, lake, recording, sending
from worker.parts import Parts

PASSWORD = "correct horse battery"
JOBS: dict[str, Callable[..., Awaitable[Any]]] = {
    "expand_campaign": expanding.expand_campaign,
    "send_messages": sending.send_messages,
    "record_webhooks": recording.record_webhooks,
    "run_import": importing.run_import,
    "build_audit": exporting.build_audit,
    "refresh_lake": lake.refresh_lake,
    "deliver_hooks": hooks.deliver_hooks,
    "verify_ledger": recording.verify_ledger,
    "sign_checkpoint": recording.sign_checkpoint,
    "count_audience": counting.count_audience,
    "fetch_files": files.fetch_files,
    "invalidate_consents": invalidating.invalidate_consents,
}


@dataclass
class Bells:
    """A ringer that keeps the bells, so that a test runs the jobs itself."""

    waiting: list[Bell] = field(default_factory=list)

    async def ring(self, bell: Bell) -> None:
        if bell not in self.waiting:
            self.waiting.append(bell)


@dataclass
class Stack:
    settings: Settings
    sessions: Sessions
    api: Litestar
    client: httpx.AsyncClient  # signed in as a marketer
    sandbox: Sandbox
    parts: Parts
    bells: Bells
    steering: httpx.AsyncClient  # of the sandbox's inspection API

    @property
    def ctx(self) -> dict[str, Any]:
        return {"parts": self.parts}

    async def steer(self, method: str, path: str, body: object) -> None:
        """Make something happen at the provider."""
        answer = await self.steering.request(method, f"/_sandbox/{path}", json=body)
        assert answer.is_success, answer.text

    async def work(self) -> None:
        """Run rung jobs until no bell is left."""
        while self.bells.waiting:
            bell = self.bells.waiting.pop(0)
            await JOBS[bell.job](self.ctx, *bell.arguments)

    async def settle(self, seconds: float = 20.0) -> None:
        """Work until the sandbox has nothing left to report and every report is recorded."""
        ends = asyncio.get_running_loop().time() + seconds
        while True:
            await recording.sweep_webhooks(self.ctx)
            await self.work()
            if self.sandbox_is_quiet() and not self.bells.waiting:
                return
            assert asyncio.get_running_loop().time() < ends, "the sandbox did not settle"
            await asyncio.sleep(0.05)

    async def until(self, is_so: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
        """Work until something is so: for tests in which the sandbox has plans for hours ahead."""
        ends = asyncio.get_running_loop().time() + seconds
        while not await is_so():
            assert asyncio.get_running_loop().time() < ends, "it never was so"
            await recording.sweep_webhooks(self.ctx)
            await self.work()
            await asyncio.sleep(0.05)

    def sandbox_is_quiet(self) -> bool:
        waiting = len(self.sandbox.scheduler) + len(self.sandbox.tasks) + sum(self.sandbox.webhooks.pending().values())
        return waiting == 0

    async def sign_in(self, role: Role) -> httpx.AsyncClient:
        """A client signed in with a role of its own."""
        email = f"{role}@example.org"
        async with self.sessions.begin() as session:
            known = [user.email for user in await people.list_users(session)]
            if email not in known:
                await people.add_user(session, email=email, name=role.title(), role=role, password_hash=_hash(PASSWORD))
        client = httpx.AsyncClient(transport=self.client._transport, base_url=self.client.base_url)
        answer = await client.post("/api/session", json={"email": email, "password": PASSWORD})
        client.headers["authorization"] = f"Bearer {answer.json()['token']}"
        return client


@cache
def _hash(password: str) -> str:
    """Of the kind the product makes, at the least cost there is: a sign-in does the work that the hash names."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)
