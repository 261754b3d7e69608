"""The supervisor: starts everything on one data directory, keeps it running, stops it without leaving anything behind.

sandbox, dashboard → PostgreSQL → Valkey → migrations → api, worker → healthy
stop: api, dashboard, sandbox → worker (finishes its batch) → Valkey → PostgreSQL
"""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import httpx

from cli.database import check_database, check_valkey, migrate
from cli.embedded import EmbeddedPostgres, EmbeddedValkey, last_words
from cli.lock import DataDirLock
from cli.output import say
from cli.processes import Child, child_environment, children
from core.errors import Unavailable
from core.settings import Settings

HEALTHY_TIMEOUT_S = 90.0
FIRST_RESTART_S, LONGEST_RESTART_S = 1.0, 30.0
STEADY_AFTER_S = 60.0  # a process that ran this long starts again without delay


@dataclass
class _Restart:
    """When a process that died is started again: at once, then later and later."""

    delay_s: float = 0.0
    due_at: float | None = None
    started_at: float = field(default_factory=time.monotonic)

    def plan(self) -> float:
        steady = time.monotonic() - self.started_at > STEADY_AFTER_S
        self.delay_s = FIRST_RESTART_S if steady or not self.delay_s else min(LONGEST_RESTART_S, self.delay_s * 2)
        self.due_at = time.monotonic() + self.delay_s
        return self.delay_s

    def begun(self) -> None:
        self.due_at, self.started_at = None, time.monotonic()


class Stack:
    """PostgreSQL, Valkey, api, worker, dashboard and, when asked, the sandbox: on one data directory.

    Everything is started from the thread that runs the event loop, because on Linux a child ends with the
    thread that started it.
    """

    def __init__(self, settings: Settings, lock: DataDirLock, *, with_sandbox: bool = False) -> None:
        """`lock` is held already and is let go when the stack has stopped."""
        self.settings = settings
        self.lock = lock
        self.with_sandbox = with_sandbox
        self.children: list[Child] = []
        self.postgres: EmbeddedPostgres | None = None
        self.valkey: EmbeddedValkey | None = None
        self._restarts: dict[str, _Restart] = {}

    async def start(self) -> None:
        """Start everything and wait until it is healthy.

        Raises SettingsError (a URL leads nowhere, a server cannot start) or Unavailable (a process does not come
        up), each with what to do; `stop` cleans up in every case.
        """
        self._start("sandbox", "dashboard")  # they need no database, and import for seconds
        self._start_servers()
        environment = child_environment(self.settings)
        await check_database(environment["KAIRAN_DATABASE_URL"])
        await check_valkey(environment["KAIRAN_VALKEY_URL"])
        await migrate(environment["KAIRAN_DATABASE_URL"])
        self._start("api", "worker")
        await self._until_healthy()
        self._restarts = {child.name: _Restart() for child in self.children}

    def _start(self, *names: str) -> None:
        for child in children(self.settings, with_sandbox=self.with_sandbox):
            if child.name in names:
                self.children.append(child)
                child.start()
        self._remember()

    def _start_servers(self) -> None:
        """The embedded servers, where no URL of another server is set."""
        if not self.settings.database_url:
            self.postgres = EmbeddedPostgres(self.settings.data_dir)
            self.postgres.start()
        if not self.settings.valkey_url:
            self.valkey = EmbeddedValkey(self.settings.data_dir)
            self.valkey.start()
            self._remember()

    def _remember(self) -> None:
        pids = {child.name: child.process.pid for child in self.children if child.process is not None}
        if self.valkey is not None and self.valkey.process is not None:
            pids["valkey"] = self.valkey.process.pid
        self.lock.children.write(pids)

    async def _until_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            for child in self.children:
                while not await _is_healthy(http, child):
                    self._stop_waiting_for_the_dead(deadline, child)
                    await asyncio.sleep(0.1)

    def _stop_waiting_for_the_dead(self, deadline: float, waiting_for: Child) -> None:
        for child in self.children:
            if child.exit_status() is not None:
                raise Unavailable(f"{child.name} did not start: {last_words(child.log)} (see {child.log})")
        if time.monotonic() > deadline:
            words = last_words(waiting_for.log)
            raise Unavailable(f"{waiting_for.name} is not healthy after {HEALTHY_TIMEOUT_S:.0f} s: {words}")

    async def watch(self) -> None:
        """Start again what dies, later each time; runs until cancelled."""
        while True:
            await asyncio.sleep(0.25)
            self._revive_servers()
            for child in self.children:
                self._revive(child, self._restarts[child.name])

    def _revive(self, child: Child, restart: _Restart) -> None:
        status = child.exit_status()
        if status is None:
            return
        if restart.due_at is None:
            delay_s = restart.plan()
            say(f"{child.name} ended with status {status}; starting it again in {delay_s:.0f} s (see {child.log})")
        elif time.monotonic() >= restart.due_at:
            child.finish()  # ends what the dead process may have left behind
            child.start()
            restart.begun()
            self._remember()

    def _revive_servers(self) -> None:
        for server in (self.postgres, self.valkey):
            if server is not None and server.process is not None and server.process.poll() is not None:
                say(f"{type(server).__name__.removeprefix('Embedded')} ended; starting it again")
                server.start()
                self._remember()

    async def stop(self) -> None:
        """Stop in the order that loses nothing; safe to call in any state."""
        front = [child for child in self.children if child.name != "worker"]
        for group in (front, [child for child in self.children if child.name == "worker"]):
            for child in group:
                child.ask_to_stop()
            for child in group:
                child.finish()
        if self.valkey is not None:
            self.valkey.stop()
        if self.postgres is not None:
            self.postgres.stop()
        if self.children:
            self.lock.children.forget()
        self.lock.release()


async def _is_healthy(http: httpx.AsyncClient, child: Child) -> bool:
    try:
        answer = await http.get(child.health_url)
    except httpx.TransportError:
        return False
    return child.healthy(answer.status_code, answer.content)


async def run(stack: Stack, work: Callable[[], Coroutine[None, None, int]]) -> int:
    """Start the stack, do `work` while it is watched, stop everything; returns the exit status.

    Ctrl-C, SIGTERM and a closed terminal stop it in good order: `work` is cancelled and may still return its
    own status; otherwise it is 130.
    """
    stopping = False

    def interrupt() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            say("Stopping…")
            main.cancel()

    async def start_and_work() -> int:
        await stack.start()
        watching, working = asyncio.create_task(stack.watch()), asyncio.create_task(work())
        try:
            await asyncio.wait((watching, working), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()  # raises what ended the watch: a server that cannot be started again
            return working.result()
        except asyncio.CancelledError:
            working.cancel()
            return await working
        finally:
            watching.cancel()
            working.cancel()

    main = asyncio.ensure_future(start_and_work())
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(each, interrupt)
    try:
        return await main
    except asyncio.CancelledError:
        return 130
    finally:
        stopping = True
        await stack.stop()
