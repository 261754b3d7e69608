"""The dashboard against the real API, the real database and a real lake of the golden rows."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import streamlit as st
import uvicorn
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession
from streamlit.testing.v1 import AppTest

from analytics.lake import refresh
from api.app import Wiring, create_app
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from core.clock import utc_now
from core.db import Sessions, make_engine, make_sessions
from core.models import (
    AccountEvent,
    Audience,
    Campaign,
    CampaignVariant,
    Export,
    Import,
    ImportRow,
    ImportSample,
    Message,
    ParkedStatus,
    Template,
    TemplateVersion,
    WebhookEvent,
    WebhookField,
)
from core.services import people
from core.settings import Settings, get_settings
from core.statuses import CANARY_PRIORITY, Role
from tests.analytics import golden
from tests.conftest import _psql
from tests.dashboard import chat_rows

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")
PASSWORD = "correct horse battery staple"
DRAFT, LAUNCHED, EMPTY, FILE, AWAITED = uuid4(), uuid4(), uuid4(), uuid4(), uuid4()
CAREFUL = uuid4()  # waits for a verdict on its first few people
COMPONENTS = [
    {"type": "HEADER", "format": "TEXT", "text": "Autumn"},
    {"type": "BODY", "text": "Hello {{1}}, *20 %* off", "example": {"body_text": [["Aiko"]]}},
    {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Stop promotions"}]},
]


@dataclass(frozen=True)
class Stack:
    """A running API and what the dashboard needs to find it."""

    url: str
    settings: Settings


class Visit:
    """Opens the dashboard as somebody; without a role nobody is signed in."""

    def __call__(self, role: Role | None = None, page: str = "", *, campaign: UUID | None = None) -> AppTest:
        at = AppTest.from_file(APP, default_timeout=30).run()
        if role is None:
            return at
        at = sign_in(at, f"{role}@example.com", PASSWORD)
        if page:
            at.switch_page(f"views/{page}.py")
            if campaign:
                at.query_params["campaign"] = str(campaign)
            at.run()
        assert not at.exception
        return at


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def _rows(database_url: str, *, full: bool) -> None:
    """A user of every role; if `full`, also the golden campaigns, a draft, a campaign just launched, a file."""
    engine = make_engine(database_url)
    sessions = make_sessions(engine)
    password_hash = people.hash_password(PASSWORD)
    async with sessions.begin() as session:
        for role in Role:
            await people.add_user(
                session, email=f"{role}@example.com", name=f"Some {role}", role=role, password_hash=password_hash
            )
    if full:
        await golden.insert_all(sessions)
        await _more_rows(sessions)
    await engine.dispose()


async def _more_rows(sessions: Sessions) -> None:
    template, version = uuid4(), uuid4()
    common = {"purpose": "marketing", "sender_id": golden.an_id("sender"), "audience_id": EMPTY}
    async with sessions.begin() as session:
        await session.execute(
            insert(Template).values(
                id=template,
                waba_id="1",
                name="autumn_sale",
                language="en",
                purpose="marketing",
                category="marketing",
                status="approved",
            )
        )
        await session.execute(
            insert(TemplateVersion).values(
                id=version, template_id=template, version=1, parameter_format="positional", components=COMPONENTS
            )
        )
        await session.execute(insert(Audience).values(id=EMPTY, name="Nobody yet", kind="static"))
        await session.execute(
            insert(Campaign),
            [
                {"id": DRAFT, "name": "Winter <b>preview</b>", "status": "draft", **common},
                {"id": LAUNCHED, "name": "Just launched", "status": "expanding", **common},
            ],
        )
        await session.execute(
            insert(CampaignVariant).values(
                campaign_id=DRAFT,
                label="A",
                weight=1,
                template_version_id=version,
                parameters={"body.1": {"source": "contact.name", "fallback": "friend"}},
            )
        )
        await session.execute(
            insert(Import).values(
                id=FILE,
                filename="friends.csv",
                path="friends.csv",
                sha256="0" * 64,
                bytes=1234,
                status="done",
                options={},
                rows_total=10,
                rows_done=10,
                verdicts={"accepted": 7, "duplicate": 2, "rejected": 1},
            )
        )
        package = {"kind": "audit", "status": "done", "filters": {}, "path": "gone.zip"}
        await session.execute(insert(Export).values(**package, reason="asked by many", facts={"people": 1001}))
        await session.execute(
            insert(ImportRow).values(
                import_id=FILE, row_number=4, verdict="rejected", reason="12 is no phone number", raw={"phone": "12"}
            )
        )
        await _file_to_approve(session)
        await _webhook_rows(session)


async def _file_to_approve(session: AsyncSession) -> None:
    """A file of many opt-ins, brought by a marketer, with two rows whose proof is to be opened."""
    said = {"name": "Marketer", "role": "CRM <b>manager</b>", "statement": "1", "at": "2026-11-20T08:00:00.000000Z"}
    burst = {"at": "2026-05-01T07:30:00+00:00", "opt_ins": 501}
    claims = {"opt_ins": 501, "opt_outs": 0, "sayings": {"method": {"paper": 501}}, "fullest_second": burst}
    file = {"filename": "fair.csv", "path": "fair.csv", "sha256": "1" * 64, "bytes": 4321, "options": {}}
    await session.execute(
        insert(Import).values(
            id=AWAITED, **file, status="awaiting", dry_run=True, wanted=True, claims=claims, attestation=said,
            rows_total=501, rows_done=501, verdicts={"accepted": 501},
        )
    )  # fmt: skip
    for number in (7, 9):
        raw = {"phone": f"+49170123450{number}", "evidence_ref": f"box 4, sheet {number}"}
        row = {"import_id": AWAITED, "row_number": number}
        await session.execute(insert(ImportRow).values(**row, verdict="accepted", raw=raw))
        await session.execute(insert(ImportSample).values(**row))


async def _webhook_rows(session: AsyncSession) -> None:
    """Something set aside, something not ours, something new, and what was said about the account."""
    now = utc_now()
    await session.execute(
        insert(WebhookEvent).values(body=b"{", status="set_aside", error="not understood: it ends too early")
    )
    await session.execute(
        insert(ParkedStatus).values(
            wamid="wamid.NOT_OURS", status="delivered", phone_number_id="200000000000002", report={}, alerted_at=now
        )
    )
    fields = [("messages/text", True, 1200), ("group_lifecycle_update", False, 3)]
    await session.execute(
        insert(WebhookField), [{"name": name, "known": known, "count": count} for name, known, count in fields]
    )
    told = [
        ("template_status", "paused", "warning", "autumn_sale en", "The template is paused. 1 campaign paused."),
        ("account", "account_violation", "critical", "100000000000001", None),
        (
            "number_limit",
            "throughput_upgrade",
            "info",
            "15550001111",
            "The number sends up to 1,000 messages a second.",
        ),
    ]
    await session.execute(
        insert(AccountEvent),
        [
            {
                "kind": kind,
                "word": word,
                "severity": severity,
                "account": "100000000000001",
                "subject": subject,
                "aspect": f"{kind}|{subject}",
                "occurred_at": now,
                "event_key": uuid4(),
                "value": {},
                "effect": effect,
            }
            for kind, word, severity, subject, effect in told
        ],
    )


async def _careful_campaign(database_url: str) -> None:
    """Made after the lake, whose figures it would change: three people messaged, one without an answer, five wait."""
    engine = make_engine(database_url)
    common = {"purpose": "marketing", "sender_id": golden.an_id("sender")}
    states = ["read", "delivered", "unknown"] + 5 * ["queued"]
    at = utc_now() - timedelta(hours=2)
    async with make_sessions(engine).begin() as session:
        plan = {"canary_people": 3, "rest_waits": True, "expanded_at": at, "launched_at": at, "audience_size": 8}
        await session.execute(
            insert(Campaign).values(
                id=CAREFUL, name="Careful", status="sending", audience_id=EMPTY, **common, **plan, expanded_people=8
            )
        )
        await session.execute(
            insert(Message),
            [
                {
                    **common,
                    "kind": "campaign",
                    "priority": 5 if state == "queued" else CANARY_PRIORITY,
                    "campaign_id": CAREFUL,
                    "contact_id": golden.an_id(f"K{number}"),
                    "template_version_id": golden.an_id("version"),
                    "category": "marketing",
                    "time_zone": "Europe/Berlin",
                    "queued_on": at.date(),
                    "status": state,
                    "permitted_at": None if state == "queued" else at,
                    "error": "no answer came back" if state == "unknown" else None,
                }
                for number, state in enumerate(states, start=1)
            ],
        )
    await engine.dispose()


@contextmanager
def _running(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, template: str, folder: Path, full: bool
) -> Iterator[Stack]:
    name, port = f"dashboard_{uuid4().hex}", _free_port()
    _psql(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    database_url = f"postgresql://kairan@/{name}?host={postgres.sockets}"
    settings = Settings.load(
        data_dir=folder, database_url=database_url, valkey_url=valkey.url, api_port=port, time_zone="Europe/Berlin"
    )
    asyncio.run(_rows(database_url, full=full))
    refresh(settings)
    if full:
        asyncio.run(_careful_campaign(database_url))
    server = uvicorn.Server(uvicorn.Config(create_app(Wiring(settings)), port=port, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in range(300):
        if server.started:
            break
        time.sleep(0.05)
    yield Stack(f"http://127.0.0.1:{port}", settings)
    server.should_exit = True
    thread.join(timeout=10)
    _psql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def full_stack(
    servers: tuple[EmbeddedPostgres, EmbeddedValkey], template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The API on a port of its own with campaigns, a file and a lake; started once."""
    with _running(*servers, template_database, tmp_path_factory.mktemp("full"), full=True) as stack:
        yield stack


@pytest.fixture(scope="session")
def empty_stack(
    servers: tuple[EmbeddedPostgres, EmbeddedValkey], template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The API of an installation in its first minute: people, and nothing else."""
    with _running(*servers, template_database, tmp_path_factory.mktemp("empty"), full=False) as stack:
        yield stack


@pytest.fixture(scope="session")
def chat_stack(
    servers: tuple[EmbeddedPostgres, EmbeddedValkey], template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The API of an installation to which people wrote."""
    with _running(*servers, template_database, tmp_path_factory.mktemp("chat"), full=False) as stack:
        asyncio.run(chat_rows.insert(stack.settings))
        yield stack


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> Iterator[Callable[[Stack], Visit]]:
    """Points the dashboard's settings at a stack; Valkey, which counts sign-ins, is emptied afterwards."""

    def pointed(stack: Stack) -> Visit:
        monkeypatch.setenv("KAIRAN_API_URL", stack.url)
        monkeypatch.setenv("KAIRAN_DATABASE_URL", stack.settings.database_url)
        monkeypatch.setenv("KAIRAN_DATA_DIR", str(stack.settings.data_dir))
        monkeypatch.setenv("KAIRAN_TIME_ZONE", stack.settings.time_zone)
        _forget()
        return Visit()

    yield pointed
    _forget()


def _forget() -> None:
    """The caches live as long as the process; another test has another lake."""
    get_settings.cache_clear()
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def dashboard(full_stack: Stack, visit: Callable[[Stack], Visit]) -> Visit:
    """The dashboard of an installation with data."""
    return visit(full_stack)


@pytest.fixture
def busy_dashboard(chat_stack: Stack, visit: Callable[[Stack], Visit]) -> Visit:
    """The dashboard of an installation to which people wrote."""
    return visit(chat_stack)


@pytest.fixture
def new_dashboard(empty_stack: Stack, visit: Callable[[Stack], Visit]) -> Visit:
    """The dashboard of an installation without any."""
    return visit(empty_stack)


def sign_in(at: AppTest, email: str, password: str) -> AppTest:
    at.text_input(key="email").set_value(email)
    at.text_input(key="password").set_value(password)
    return at.button(key="sign_in_button").click().run()


def said(at: AppTest) -> str:
    """Everything the page says, in one string."""
    kinds = ("markdown", "caption", "info", "warning", "error", "success", "title", "subheader", "html", "metric")
    texts = []
    for kind in kinds:
        for element in at.get(kind):
            label = getattr(element, "label", "") or ""
            texts.append(f"{label} {getattr(element, 'value', '') or getattr(element, 'body', '')}")
    return "\n".join(texts)


@pytest.fixture
def dead_url() -> str:
    """An address where nothing answers."""
    return f"http://127.0.0.1:{_free_port()}"
