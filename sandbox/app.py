"""The application: the Graph API at `/`, the inspection API at `/_sandbox/`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
from httpx_aiohttp import AiohttpTransport
from litestar import Litestar, MediaType, Request, Response, asgi
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.exceptions.responses import create_exception_response
from litestar.handlers import ASGIRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.status_codes import HTTP_500_INTERNAL_SERVER_ERROR
from litestar.types import Receive, Scope, Send

from sandbox.account_life import AccountLife
from sandbox.clock import Clock
from sandbox.config import SandboxConfig
from sandbox.errors import GraphError, unknown_path
from sandbox.graph import NEWEST, OLDEST, ConnectionDropped, Graph
from sandbox.inspection import Inspection
from sandbox.simulation import Sandbox

log = logging.getLogger("sandbox.app")


@dataclass(frozen=True)
class Wiring:
    """What a simulator runs on.

    Webhooks go over `webhook_transport` and visits to links over `click_transport` (by default the same); given
    transports may be in-process (`httpx.ASGITransport`), and every host may then be visited.
    """

    config: SandboxConfig = field(default_factory=SandboxConfig)
    webhook_transport: httpx.AsyncBaseTransport | None = None
    click_transport: httpx.AsyncBaseTransport | None = None
    clock: Clock = field(default_factory=Clock)

    def sandbox(self) -> Sandbox:
        """A simulator where nothing has happened; its clients are open."""
        links = self.click_transport or self.webhook_transport
        return Sandbox(
            self.config,
            clock=self.clock,
            webhook_client=_client(self.webhook_transport),
            click_client=_client(links),
            clicks_anywhere=links is not None,
        )


def create_app(wiring: Wiring | None = None) -> Litestar:
    """A simulator, on `app.state.wiring` when none is given; while it runs, its state is at `app.state.sandbox`.

    It may be started again, on another wiring: every start is a simulator where nothing has happened.
    """
    graph = [_mounted(f"/v{version}.0", version) for version in range(OLDEST, NEWEST + 1)]
    return Litestar(
        [*graph, _mounted("/whatsapp_business", NEWEST), Inspection, AccountLife],
        lifespan=[_running],
        state=State({"wiring": wiring}, deep_copy=False),
        exception_handlers={
            NotFoundException: _not_found,
            HTTP_500_INTERNAL_SERVER_ERROR: _broken,
        },
        openapi_config=OpenAPIConfig(
            title="Cloud API sandbox: inspection",
            version="1",
            path="/_sandbox/docs",
            render_plugins=[JsonRenderPlugin()],
        ),
        logging_config=None,
    )


@asynccontextmanager
async def _running(app: Litestar) -> AsyncIterator[None]:
    wiring: Wiring = app.state.wiring
    sandbox = wiring.sandbox()
    app.state.sandbox = sandbox
    app.state.graphs = {version: Graph(sandbox, version) for version in range(OLDEST, NEWEST + 1)}
    running = asyncio.create_task(sandbox.run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await sandbox.close()


def _mounted(path: str, version: int) -> ASGIRouteHandler:
    @asgi(path, is_mount=True, copy_scope=False)
    async def graph_api(scope: Scope, receive: Receive, send: Send) -> None:
        graph: Graph = scope["litestar_app"].state["graphs"][version]
        await graph(scope, receive, send)

    return graph_api


def _not_found(request: Request[object, object, State], error: NotFoundException) -> Response[object]:
    """Outside the inspection API an unknown path, an unsupported version included, is a Graph error."""
    path = request.url.path
    if path.startswith("/_sandbox"):
        return create_exception_response(request, error)
    status, body = unknown_path(path.lstrip("/")).reply()
    return Response(body, status_code=status, media_type=MediaType.JSON)


def _broken(request: Request[object, object, State], error: Exception) -> Response[object]:
    """A fault of the simulator itself: logged, and in the envelope of the Graph API where that is what is spoken.

    A dropped connection is no answer at all: the server, or an in-process client, gets the exception.
    """
    if isinstance(error, ConnectionDropped):
        raise error
    log.exception("request failed", exc_info=error)
    if request.url.path.startswith("/_sandbox"):
        return create_exception_response(request, error)
    status, body = GraphError(1, http_status=500).reply()
    return Response(body, status_code=status, media_type=MediaType.JSON)


def _client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport or AiohttpTransport(limits=httpx.Limits(max_connections=64, max_keepalive_connections=64))
    )
