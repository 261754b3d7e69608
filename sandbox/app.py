"""The application: the Graph API at `/`, the inspection API at `/_sandbox/`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

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


def create_app(
    config: SandboxConfig | None = None,
    *,
    webhook_transport: httpx.AsyncBaseTransport | None = None,
    click_transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
) -> Litestar:
    """A simulator; its state is at `app.state.sandbox`, and its events run while the app's lifespan does.

    Webhooks go over `webhook_transport` and visits to links over `click_transport` (by default the same); given
    transports may be in-process (`httpx.ASGITransport`), and every host may then be visited.
    """
    config = config or SandboxConfig()
    webhook_client = _client(webhook_transport)
    links = click_transport or webhook_transport
    click_client = _client(links)
    sandbox = Sandbox(
        config,
        clock=clock or Clock(),
        webhook_client=webhook_client,
        click_client=click_client,
        clicks_anywhere=links is not None,
    )

    @asynccontextmanager
    async def life(app: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(webhook_client)
            await stack.enter_async_context(click_client)
            running = asyncio.create_task(sandbox.run())
            try:
                yield
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
                await sandbox.close()

    versions = range(OLDEST, NEWEST + 1)
    graph = [_mounted(f"/v{version}.0", Graph(sandbox, version)) for version in versions]
    return Litestar(
        [*graph, _mounted("/whatsapp_business", Graph(sandbox, NEWEST)), Inspection, AccountLife],
        lifespan=[life],
        state=State({"sandbox": sandbox}, deep_copy=False),
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


def _mounted(path: str, graph: Graph) -> ASGIRouteHandler:
    @asgi(path, is_mount=True, copy_scope=False)
    async def graph_api(scope: Scope, receive: Receive, send: Send) -> None:
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
