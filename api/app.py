"""create_app: routes, dependencies, refusals as problem documents."""

import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog
from litestar import Controller, Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import OpenAPIMediaType
from litestar.exceptions import HTTPException, ValidationException
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from api import problems
from api.accounts import KeyController, UserController
from api.audiences import AudienceController
from api.auth import BearerAuth
from api.bodies import CheckedRequest
from api.campaigns import CampaignController
from api.consents import AuditController, ConsentController, LedgerController
from api.contacts import ContactController
from api.conversation_sends import ConversationSendController
from api.conversations import ConversationController
from api.conversions import ConversionController
from api.events import EventController
from api.form_pages import FormPageController
from api.forms import FormController
from api.health import HealthController
from api.hooks import HookController
from api.import_approvals import ImportApprovalController
from api.imports import ImportController
from api.ingest import Ingest
from api.invalidations import InvalidationController
from api.links import LinkController
from api.oversight import DraftController, IntegrityController, OversightController
from api.privacy import PrivacyController, RequestController
from api.profiles import AttributeController, ProfileController
from api.rates import RateController
from api.replies import HoldController, WordingController
from api.routing import RoutingController
from api.senders import SenderController
from api.session import SessionController
from api.source_door import AT_ONCE, IN_LINE, SourceDoorController
from api.sources import SourceController
from api.state import Parts, provide_now, provide_parts, provide_session
from api.stats import StatsController
from api.templates import MediaController, TemplateController
from api.turns import Turns
from api.webhook_log import WebhookLogController
from api.webhooks import WebhookController, WithDoor
from core import queue
from core.clock import utc_now
from core.collector import look_seldom
from core.db import make_engine, make_sessions
from core.errors import AppError, SettingsError
from core.keys import Keyring
from core.log import set_up_logging
from core.queue import Ringer
from core.services import consents, holding, recovery
from core.settings import Settings, get_settings
from core.whatsapp.calls import CallBudget
from core.whatsapp.client import WhatsAppClient

log = structlog.get_logger()

MAX_BODY = 10 << 20
DOCS_ASSETS = "/docs/assets"


CONTROLLERS: tuple[type[Controller], ...] = (
    SessionController,
    UserController,
    KeyController,
    SenderController,
    ContactController,
    ProfileController,
    AttributeController,
    PrivacyController,
    RequestController,
    ImportApprovalController,
    ImportController,
    AudienceController,
    ConsentController,
    LedgerController,
    AuditController,
    FormController,
    HoldController,
    WordingController,
    ConversationController,
    ConversationSendController,
    RoutingController,
    HookController,
    SourceController,
    OversightController,
    InvalidationController,
    IntegrityController,
    DraftController,
    TemplateController,
    MediaController,
    CampaignController,
    ConversionController,
    EventController,
    RateController,
    StatsController,
    WebhookLogController,
)


@dataclass(frozen=True)
class Wiring:
    """What an API runs on.

    `provider` replaces the network to the Cloud API, `ringer` the queue, and `engine`, which stays open, the database's
    connections.
    """

    settings: Settings
    provider: httpx.AsyncBaseTransport | None = None
    ringer: Ringer | None = None
    engine: AsyncEngine | None = None


def create_app(wiring: Wiring | None = None) -> Litestar:
    """The API. Without a wiring it runs on `app.state.wiring`, as it is when it starts; it may start again on another.

    What a request needs is opened when the app starts: making one and starting one are two things.
    """
    return WithDoor(
        route_handlers=[
            Router("/api", route_handlers=CONTROLLERS),
            WebhookController,
            SourceDoorController,
            LinkController,
            FormPageController,
            HealthController,
            _docs_assets(),
        ],
        dependencies={
            "session": Provide(provide_session),
            "parts": Provide(provide_parts, sync_to_thread=False),
            "now": Provide(provide_now, sync_to_thread=False),
        },
        middleware=[DefineMiddleware(BearerAuth, exclude=["^/docs", "^/openapi.json"])],
        exception_handlers={
            AppError: problems.on_app_error,
            ValidationException: problems.on_validation_error,
            HTTPException: problems.on_http_error,
            DBAPIError: problems.on_database_down,
            OSError: problems.on_connection_refused,
            Exception: problems.on_bug,
        },
        lifespan=[_running],
        openapi_config=_openapi(),
        request_class=CheckedRequest,
        request_max_body_size=MAX_BODY,
        logging_config=None,
        state=State({"wiring": wiring}),
    )


def app() -> Litestar:
    """What an ASGI server starts. Raises SettingsError."""
    settings = get_settings()
    if not settings.database_url or not settings.valkey_url:
        raise SettingsError("set KAIRAN_DATABASE_URL and KAIRAN_VALKEY_URL, or start everything with `kairan up`")
    set_up_logging(settings.log_level)
    os.umask(0o077)  # uploads and packages hold personal data
    made = create_app(Wiring(settings))
    look_seldom()
    return made


@asynccontextmanager
async def _running(app: Litestar) -> AsyncIterator[None]:
    wiring: Wiring = app.state.wiring
    engine = wiring.engine or make_engine(wiring.settings.database_url, pool_size=30)
    pool = await queue.connect(wiring.settings.valkey_url)
    whatsapp = WhatsAppClient.connect(
        wiring.settings.whatsapp_url,
        wiring.settings.whatsapp_access_token,
        version=wiring.settings.whatsapp_version,
        app_id=wiring.settings.whatsapp_app_id,
        connections=10,
        budget=CallBudget(pool),
        transport=wiring.provider,
    )
    parts = Parts(
        settings=wiring.settings,
        sessions=make_sessions(engine),
        ringer=wiring.ringer or queue.Doorbell(pool),
        valkey=pool,
        whatsapp=whatsapp,
        keyring=Keyring.load(wiring.settings.data_dir),
    )
    holding.key_of(wiring.settings, parts.keyring)  # a wrong key stops the start, not the first erasure
    log.info("ledger.key", fingerprint=parts.keyring.fingerprint)
    async with parts.sessions.begin() as session:
        await recovery.watch(session, parts.keyring, now=utc_now())  # before anything is sealed on top
        await consents.ensure_defaults(session, wiring.settings, keyring=parts.keyring, now=utc_now())
    app.state.parts, app.state.ingest = parts, Ingest(parts.sessions, parts.ringer)
    app.state.source_turns = Turns(AT_ONCE, IN_LINE)
    app.state.ingest.start()
    try:
        yield
    finally:
        await app.state.ingest.stop()
        await whatsapp.aclose()
        await pool.aclose()
        if wiring.engine is None:
            await engine.dispose()


def _docs_assets() -> Router:
    """Swagger UI's files, out of a wheel: nothing is fetched from anywhere else."""
    found = importlib.util.find_spec("flask_swagger_ui")
    if found is None or not found.submodule_search_locations:
        raise SettingsError("the Python package flask-swagger-ui is missing: run make install again")
    folder = Path(found.submodule_search_locations[0]) / "dist"
    return create_static_files_router(DOCS_ASSETS, directories=[folder], include_in_schema=False, name="docs")


def _openapi() -> OpenAPIConfig:
    swagger = SwaggerRenderPlugin(
        path="/docs",
        js_url=f"{DOCS_ASSETS}/swagger-ui-bundle.js",
        css_url=f"{DOCS_ASSETS}/swagger-ui.css",
        standalone_preset_js_url=f"{DOCS_ASSETS}/swagger-ui-standalone-preset.js",
        favicon=f'<link rel="icon" href="{DOCS_ASSETS}/favicon-32x32.png">',
    )
    return OpenAPIConfig(
        title="Kairan",
        use_handler_docstrings=True,
        version="1",
        description="WhatsApp campaigns and their analytics. Sign in with POST /api/session, or use an API key.",
        path="/",
        render_plugins=[swagger, JsonRenderPlugin(path="/openapi.json", media_type=OpenAPIMediaType.OPENAPI_JSON)],
        components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"bearer": []}],
    )
