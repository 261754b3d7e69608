"""A running simulator and a receiver of its webhooks, both in this process."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.types import Receive, Scope, Send

from sandbox.app import Wiring, create_app
from sandbox.config import NumberConfig, SandboxConfig, WabaConfig, WebhookConfig
from sandbox.simulation import Sandbox

WABA, NUMBER, APP = "100000000000001", "200000000000002", "700000000000001"
CALLBACK = "http://receiver.test/hook"
Json = dict[str, Any]


@dataclass
class Receiver:
    """An ASGI app that verifies the handshake, keeps every POST, and answers `statuses` in turn, then 200."""

    verify_token: str = "sandbox-verify-token"
    statuses: list[int] = field(default_factory=list)
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    visits: list[tuple[str, str]] = field(default_factory=list)
    handshakes: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        message = await receive()
        status, body, extra = 200, b"ok", []
        if scope["path"] != "/hook":
            self.visits.append((scope["path"], headers["user-agent"]))
            status, extra = 302, [(b"location", b"https://shop.test/landing")]
        elif scope["method"] == "GET":
            self.handshakes += 1
            query = parse_qs(scope["query_string"].decode())
            right = query["hub.verify_token"] == [self.verify_token] and query["hub.mode"] == ["subscribe"]
            status, body = (200, query["hub.challenge"][0].encode()) if right else (403, b"no")
        else:
            self.posts.append((headers, message["body"]))
            status = self.statuses.pop(0) if self.statuses else 200
        await send({"type": "http.response.start", "status": status, "headers": extra})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def changes(self) -> list[Json]:
        """Every change of every POST, in order of arrival."""
        bodies = [json.loads(body) for _, body in self.posts]
        return [change for body in bodies for entry in body["entry"] for change in entry["changes"]]

    def values(self, name: str) -> list[Json]:
        """Items of an array of `value` (`statuses`, `messages`, `user_preferences`) in order of arrival."""
        return [item for change in self.changes() for item in change["value"].get(name, [])]

    def fields(self, name: str) -> list[Json]:
        """The `value` of every change of a field."""
        return [change["value"] for change in self.changes() if change["field"] == name]


@dataclass
class Simulator:
    """The running app with a client that has the right token."""

    app: Litestar
    client: httpx.AsyncClient
    receiver: Receiver

    @property
    def sandbox(self) -> Sandbox:
        sandbox = self.app.state.sandbox
        assert isinstance(sandbox, Sandbox)
        return sandbox

    async def post(self, path: str, body: object = None, **kwargs: Any) -> httpx.Response:
        return await self.client.post(f"/v26.0/{path}", json=body, **kwargs)

    async def template(self, **changes: Any) -> str:
        """The id of a new template."""
        answer = await self.post(f"{WABA}/message_templates", a_template(**changes))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def send(self, to: str = "+4915112345678", **changes: Any) -> httpx.Response:
        """Send the default template."""
        return await self.post(f"{NUMBER}/messages", a_send(to, **changes))

    async def inspect(self, path: str) -> Any:
        answer = await self.client.get(f"/_sandbox/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def steer(self, method: str, path: str, body: object) -> Any:
        answer = await self.client.request(method, f"/_sandbox/{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def settle(self, *, step_s: float = 0.0) -> None:
        """Wait until nothing is due, pushing the clock `step_s` at a time if people take their time."""
        async with asyncio.timeout(20):
            while not (await self.inspect("summary"))["settled"]:
                if step_s:
                    await self.steer("POST", "clock", {"advance_s": step_s})
                await asyncio.sleep(0.002)


def a_template(**changes: Any) -> Json:
    return {
        "name": "spring_sale",
        "language": "en_US",
        "category": "MARKETING",
        "components": [
            {
                "type": "BODY",
                "text": "Hello {{1}}, enjoy {{2}} off all plants this week.",
                "example": {"body_text": [["Ana", "20%"]]},
            },
            {
                "type": "BUTTONS",
                "buttons": [
                    {"type": "URL", "text": "Shop now", "url": "http://receiver.test/r/{{1}}", "example": ["Ab3xK9"]},
                    {"type": "QUICK_REPLY", "text": "Stop promotions"},
                ],
            },
        ],
    } | changes


BODY = {"type": "body", "parameters": [{"type": "text", "text": "Asha"}, {"type": "text", "text": "20%"}]}
URL_BUTTON = {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "Ab3xK9"}]}
QUICK_BUTTON = {
    "type": "button",
    "sub_type": "quick_reply",
    "index": "1",
    "parameters": [{"type": "payload", "payload": "stop:cmp42"}],
}


def a_send(to: str, **changes: Any) -> Json:
    """A template send; `name`, `language` and `components` change the template, the rest the envelope."""
    template = {
        "name": changes.pop("name", "spring_sale"),
        "language": {"code": changes.pop("language", "en_US")},
        "components": changes.pop("components", [BODY, URL_BUTTON, QUICK_BUTTON]),
    }
    return {"messaging_product": "whatsapp", "to": to, "type": "template", "template": template} | changes


def a_config(*, webhooks: dict[str, Any] | None = None, throughput: int = 80, **changes: Any) -> SandboxConfig:
    """Quiet, templates approved at once, fast retries."""
    transport = WebhookConfig(
        **({"url": CALLBACK, "retry_first_s": 0.01, "retry_horizon_s": 60, "max_wait_ms": 5} | (webhooks or {}))
    )
    waba = WabaConfig(numbers=(NumberConfig(throughput=throughput),))
    config = SandboxConfig(wabas=(waba,), webhooks=transport, template_review_s=0)
    return msgspec.structs.replace(config, **changes)


@asynccontextmanager
async def alive(app: Litestar) -> AsyncIterator[None]:
    """The app's lifespan in a task of its own: fixtures are entered and left in different tasks."""
    started, finished = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await finished.wait()

    task = asyncio.create_task(live())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield
    finally:
        finished.set()
        await task


@cache
def simulator_app() -> Litestar:
    """The application, made once a run, for that takes more time than most tests; it starts anew for each."""
    return create_app()


@asynccontextmanager
async def simulate(config: SandboxConfig, receiver: Receiver | None = None) -> AsyncIterator[Simulator]:
    receiver = receiver or Receiver()
    app = simulator_app()
    app.state.wiring = Wiring(config, webhook_transport=httpx.ASGITransport(receiver))
    async with (
        alive(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://graph.test",
            headers={"Authorization": f"Bearer {config.access_token}"},
        ) as client,
    ):
        yield Simulator(app, client, receiver)


async def until(claim: Callable[[], bool]) -> None:
    """Wait at most five seconds for something to become true."""
    async with asyncio.timeout(5):
        while not claim():  # noqa: ASYNC110 - what is waited for happens in code that announces nothing
            await asyncio.sleep(0.002)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Quiet people, webhooks to a receiver, one approved template."""
    async with simulate(a_config()) as running:
        await running.template()
        yield running


@pytest.fixture
def simulated() -> Callable[..., AbstractAsyncContextManager[Simulator]]:
    """`async with simulated(receiver=…, **changes of a_config) as simulator`."""

    def start(receiver: Receiver | None = None, **changes: Any) -> AbstractAsyncContextManager[Simulator]:
        return simulate(a_config(**changes), receiver)

    return start
