"""The `stack` fixture: the product in one process, on a database of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy.ext.asyncio import AsyncEngine

from api.app import Wiring, create_app
from core import queue
from core.clock import utc_now
from core.db import make_sessions
from core.keys import Keyring
from core.live import WORKER_HEARTBEAT
from core.services import consents
from core.settings import Settings
from core.statuses import Role
from core.whatsapp.client import WhatsAppClient
from sandbox.app import Wiring as SimulatorWiring
from sandbox.config import SandboxConfig, WebhookConfig
from tests.integration.stack import Bells, Stack
from tests.sandbox.conftest import simulator_app
from worker.parts import Parts


@pytest.fixture
def sandbox_config() -> SandboxConfig:
    """How people behave; a module may override it."""
    return SandboxConfig(profile="quiet", template_review_s=0.05, webhooks=WebhookConfig(max_wait_ms=5))


@pytest.fixture(scope="session")
def api_app() -> Litestar:
    """The API, made once a run, for that takes more time than most tests; it starts anew for each."""
    return create_app()


@pytest.fixture
def setting_changes() -> dict[str, Any]:
    """Settings that the tests of a module want otherwise."""
    return {}


@pytest.fixture
async def stack(
    own_database: str,
    own_engine: AsyncEngine,
    valkey_url: str,
    tmp_path: Path,
    sandbox_config: SandboxConfig,
    api_app: Litestar,
    setting_changes: dict[str, Any],
) -> AsyncIterator[Stack]:
    settings = Settings.load(
        _env_file=None,
        data_dir=tmp_path,
        database_url=own_database,
        valkey_url=valkey_url,
        public_url="http://kairan.test",
        whatsapp_url="http://sandbox.test",
        whatsapp_app_id=sandbox_config.app_id,
        whatsapp_app_secret=sandbox_config.app_secret,
        whatsapp_access_token=sandbox_config.access_token,
        whatsapp_verify_token="verify me",
        brand="Acme",
        currency="USD",
        country="DE",
        **setting_changes,
    )
    bells = Bells()
    sessions = make_sessions(own_engine)
    keyring = Keyring.load(tmp_path)
    async with AsyncExitStack() as open_parts:
        api = api_app
        simulator = simulator_app()
        simulator.state.wiring = SimulatorWiring(sandbox_config, webhook_transport=httpx.ASGITransport(api))
        api.state.wiring = Wiring(settings, provider=httpx.ASGITransport(simulator), ringer=bells, engine=own_engine)
        await open_parts.enter_async_context(running(api))
        await open_parts.enter_async_context(running(simulator))
        async with sessions.begin() as session:
            await consents.ensure_defaults(session, settings, keyring=keyring, now=utc_now())
        pool = await queue.connect(valkey_url)
        await pool.set(WORKER_HEARTBEAT, b"the tests work the jobs")
        whatsapp = WhatsAppClient.connect(
            settings.whatsapp_url,
            settings.whatsapp_access_token,
            version=settings.whatsapp_version,
            app_id=settings.whatsapp_app_id,
            transport=httpx.ASGITransport(simulator),
        )
        parts = Parts(settings, sessions, pool, bells, whatsapp, keyring)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://kairan.test")
        steering = httpx.AsyncClient(transport=httpx.ASGITransport(simulator), base_url="http://sandbox.test")
        stack = Stack(settings, sessions, api, client, simulator.state.sandbox, parts, bells, steering)
        stack.client = await stack.sign_in(Role.MARKETER)
        yield stack
        await whatsapp.aclose()
        await pool.aclose()


@asynccontextmanager
async def running(app: Litestar) -> AsyncIterator[None]:
    """The app's lifespan in a task of its own: a fixture ends in another task than it began in, which it must not."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    task = asyncio.create_task(live())
    await asyncio.wait([task, asyncio.create_task(started.wait())], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield
    finally:
        stop.set()
        await task
