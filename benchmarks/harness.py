"""The product as real processes on embedded servers in a temporary folder, for one benchmark; never anything else's.

PostgreSQL and Valkey listen on Unix sockets, API and sandbox on free ports of the loopback address. Everything is
ended and removed when the block is left, also after Ctrl-C: on Linux the kernel ends the children even if this
process is killed.
"""

import asyncio
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import msgspec

from cli.database import migrate
from cli.embedded import EmbeddedPostgres, EmbeddedValkey, database_url, end, last_words, log_file, valkey_url
from cli.processes import Child, api_command, child_environment, worker_command
from core.clock import utc_now
from core.db import Sessions, make_engine, make_sessions
from core.errors import Unavailable
from core.keys import Keyring
from core.services import consents, people
from core.settings import Settings
from core.statuses import Role
from sandbox.config import NumberConfig, SandboxConfig, WabaConfig, WebhookConfig

START_TIMEOUT_S = 90.0
POLL_S = 0.1
FIRST_NUMBER = 200000000000002  # phone_number_id of the first number; the others count on
WABA = "100000000000001"


def free_port() -> int:
    """A port of the loopback address that nothing listens on at this instant."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Look until something is so; the caller bounds the time. What is awaited happens in other processes."""
    while not await holds():  # noqa: ASYNC110 - nobody there could set an event of ours
        await asyncio.sleep(POLL_S)


@dataclass
class Stack:
    """PostgreSQL, Valkey, API, sandbox and workers; `start` brings them up, `stop` takes them down in any state."""

    folder: Path
    throughputs: tuple[int, ...] = (1000,)  # messages per second, one number each
    workers: int = 1
    settings: Settings = field(init=False)
    children: dict[str, Child] = field(default_factory=dict, init=False)
    postgres: EmbeddedPostgres = field(init=False)
    valkey: EmbeddedValkey = field(init=False)
    sessions: Sessions = field(init=False)
    keyring: Keyring = field(init=False)
    api_key: str = field(default="", init=False)

    def __post_init__(self) -> None:
        api, sandbox = f"http://127.0.0.1:{free_port()}", free_port()
        self.settings = Settings.load(
            _env_file=None,
            data_dir=self.folder,
            database_url=database_url(self.folder),
            valkey_url=valkey_url(self.folder),
            api_host="127.0.0.1",
            api_port=int(api.rsplit(":", 1)[1]),
            sandbox_port=sandbox,
            api_url=api,
            public_url=api,
            whatsapp_url=f"http://127.0.0.1:{sandbox}",
            whatsapp_app_id="700000000000001",
            whatsapp_app_secret=secrets.token_hex(16),
            whatsapp_verify_token=secrets.token_hex(8),
            whatsapp_access_token="EAA" + secrets.token_hex(16),
            country="DE",
            import_approval_above=100_000_000,  # what an import costs, not what it waits for
        )
        self.postgres, self.valkey = EmbeddedPostgres(self.folder), EmbeddedValkey(self.folder)

    async def start(self) -> None:
        """Everything up, schema migrated, default purposes and an API key made; raises Unavailable or SettingsError."""
        self._child("sandbox", self._sandbox_command())
        self.postgres.start()
        self.valkey.start()
        await migrate(self.postgres.url)
        self.engine = make_engine(self.postgres.url, pool_size=20)
        self.sessions = make_sessions(self.engine)
        self.keyring = Keyring.load(self.folder)
        async with self.sessions.begin() as session:
            await consents.ensure_defaults(session, self.settings, keyring=self.keyring, now=utc_now())
            _, self.api_key = await people.add_key(session, name="benchmark", role=Role.ADMIN, created_by=None)
        self._child("api", api_command(self.settings))
        for number in range(1, self.workers + 1):
            self._child(self.worker_name(number), worker_command(self.settings))
        await self.until_up()

    def worker_name(self, number: int = 1) -> str:
        return "worker" if self.workers == 1 else f"worker-{number}"

    def _sandbox_command(self) -> list[str]:
        told = sandbox_config(self.settings, self.throughputs, f"{self.settings.links_url}/webhooks/whatsapp")
        path = self.folder / "sandbox.json"
        path.write_bytes(msgspec.json.encode(told))
        port = str(self.settings.sandbox_port)
        return [sys.executable, "-m", "sandbox", "--host", "127.0.0.1", "--port", port, "--config", str(path)]

    def _child(self, name: str, command: list[str]) -> None:
        log = log_file(self.folder, name)
        child = Child(name, command, child_environment(self.settings), log, "", lambda status, _: status == 200)
        child.start()
        self.children[name] = child

    async def until_up(self) -> None:
        """Wait until API and sandbox answer and every worker has said that it has started."""
        ends = time.monotonic() + START_TIMEOUT_S
        urls = {
            "sandbox": f"{self.settings.whatsapp_url}/_sandbox/health",
            "api": f"{self.settings.own_api_url}/health/live",
        }
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            for child in self.children.values():
                while not await self._is_up(http, child, urls.get(child.name)):
                    if child.exit_status() is not None or time.monotonic() > ends:
                        raise Unavailable(f"{child.name} did not start: {last_words(child.log)}")
                    await asyncio.sleep(POLL_S)

    async def _is_up(self, http: httpx.AsyncClient, child: Child, url: str | None) -> bool:
        if url is None:
            return "worker.started" in child.log.read_text(errors="replace")
        try:
            return (await http.get(url)).status_code == 200
        except httpx.TransportError:
            return False

    def pids(self) -> Mapping[str, int]:
        """The processes that run now, by name; PostgreSQL's and the API's own children belong to them."""
        found = {
            name: child.process.pid
            for name, child in self.children.items()
            if child.process is not None and child.exit_status() is None
        }
        for name, server in (("postgres", self.postgres), ("valkey", self.valkey)):
            if server.process is not None and server.process.poll() is None:
                found[name] = server.process.pid
        return found

    async def new_worker(self) -> int:
        """A fresh worker process instead of the running one, in good order; returns its process id."""
        name = self.worker_name()
        old = self.children[name]
        old.ask_to_stop()
        old.finish()
        old.log.unlink()
        self._child(name, worker_command(self.settings))
        await self.until_up()
        return self.pids()[name]

    def kill(self, name: str) -> None:
        """`kill -9` of a process and all it started; raises KeyError when there is none of that name."""
        servers = {"postgres": self.postgres.process, "valkey": self.valkey.process}
        process = servers[name] if name in servers else self.children[name].process
        if process is None:
            raise KeyError(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start_again(self, name: str) -> None:
        """Start what was killed."""
        if name == "postgres":
            self.postgres.start()
        elif name == "valkey":
            self.valkey.start()
        else:
            self.children[name].start()

    def revive(self) -> None:
        """Start processes again that ended by themselves, as the supervisor of a stack does."""
        for child in self.children.values():
            if child.exit_status() is not None:
                child.start()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the benchmark's own, as the owner of the tables."""
        connection = await asyncpg.connect(self.postgres.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def stop(self) -> None:
        """End everything; what does not end in time is killed."""
        for child in self.children.values():
            if child.process is not None and child.exit_status() is None:
                child.process.send_signal(signal.SIGCONT)  # one that was stopped cannot end
            child.ask_to_stop()
        for child in self.children.values():
            child.finish()
        if hasattr(self, "engine"):
            await self.engine.dispose()
        for server, how in ((self.valkey, signal.SIGTERM), (self.postgres, signal.SIGINT)):
            if server.process is not None:
                end(server.process, how)


def sandbox_config(settings: Settings, throughputs: tuple[int, ...], webhook_url: str | None) -> SandboxConfig:
    """A simulated installation with the stack's secrets and a number for each throughput; people stay quiet."""
    numbers = tuple(
        NumberConfig(
            id=str(FIRST_NUMBER + place),
            display_phone_number=f"1555000{place:04}",
            throughput=throughput,
            messaging_limit="TIER_UNLIMITED",
        )
        for place, throughput in enumerate(throughputs)
    )
    return SandboxConfig(
        wabas=(WabaConfig(id=WABA, numbers=numbers),),
        app_id=settings.whatsapp_app_id,
        app_secret=settings.app_secrets[0],
        access_token=settings.whatsapp_access_token,
        profile="quiet",
        template_review_s=0.05,
        webhooks=WebhookConfig(url=webhook_url, verify_token=settings.whatsapp_verify_token),
    )


@asynccontextmanager
async def running(*, throughputs: tuple[int, ...] = (1000,), workers: int = 1) -> AsyncIterator[Stack]:
    """A stack that is up, in a folder of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="kairan-bench-", ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder), throughputs, workers)
        try:
            await stack.start()
            yield stack
        finally:
            await stack.stop()
