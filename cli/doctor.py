"""`kairan doctor`: looks at everything a start needs and says, line by line, what is well and what to do."""

import os
import shutil
import stat
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import httpx

from cli.database import CONNECT_TIMEOUT_S, check_database, check_valkey, newest_revision, present_revision
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.lock import holder, is_running
from cli.output import console
from cli.processes import child_environment, loopback, port_problem
from core.db import make_engine, make_sessions
from core.errors import AppError
from core.services import recovery
from core.settings import Settings
from core.witness import Witness

ENOUGH_FREE_BYTES = 2 * 10**9
LARGEST_CLOCK_ERROR_S = 2.0
NOT_SETTINGS = {"KAIRAN_API_KEY"}  # read by commands, not by the servers


@dataclass(frozen=True)
class Finding:
    """One line of the report: `wrong` stops a start, a `hint` does not."""

    subject: str
    text: str
    level: str = "ok"


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, quick ones first; nothing is changed."""
    yield Finding("Python", f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}")
    for finding in (*_unknown_settings(), _data_dir(settings.data_dir), *_ports(settings)):
        yield finding
    for finding in (*_keys(settings.data_dir), *_whatsapp(settings)):
        yield finding
    yield await _valkey(settings)
    async for finding in _database(settings):
        yield finding


def _unknown_settings() -> list[Finding]:
    """A misspelt name would be ignored in silence."""
    known = {f"KAIRAN_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    unknown = sorted(name for name in os.environ if name.startswith("KAIRAN_") and name not in known)
    if not unknown:
        return [Finding("Settings", "all values are valid")]
    return [Finding("Settings", f"{name} is no setting of Kairan: check its spelling", "hint") for name in unknown]


def _data_dir(data_dir: Path) -> Finding:
    existing = data_dir.resolve()
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            "Data directory", f"{data_dir} cannot be written: set KAIRAN_DATA_DIR to a folder of yours", "wrong"
        )
    free = shutil.disk_usage(existing).free
    if free < ENOUGH_FREE_BYTES:
        return Finding("Data directory", f"{data_dir} has {free / 10**9:.1f} GB free: make room for 2 GB", "hint")
    return Finding("Data directory", f"{data_dir.resolve()}, {free / 10**9:,.0f} GB free")


def _ports(settings: Settings) -> list[Finding]:
    if is_running(settings.data_dir):
        return [Finding("Stack", f"runs ({holder(settings.data_dir)})")]
    findings = [Finding("Stack", "is not running here: kairan up starts it")]
    answers = {"api_port": "/health/live", "dashboard_port": "/_stcore/health", "sandbox_port": "/_sandbox/health"}
    for name, path in answers.items():
        port: int = getattr(settings, name)
        setting, problem = f"KAIRAN_{name.upper()}", port_problem(settings.api_host, port)
        if problem is None:
            findings.append(Finding(setting, f"{port} is free"))
        elif _is_ours(f"http://{loopback(settings.api_host)}:{port}{path}"):
            findings.append(Finding(setting, f"{port} answers"))
        else:
            findings.append(Finding(setting, f"{port} {problem}: set {setting} to a free port", "wrong"))
    return findings


def _is_ours(health_url: str) -> bool:
    """Whether a process of Kairan listens, started by itself and not by a stack."""
    try:
        return bool(httpx.get(health_url, timeout=2.0, trust_env=False).status_code == 200)
    except httpx.TransportError:
        return False


def _keys(data_dir: Path) -> list[Finding]:
    folder = data_dir / "keys"
    if not folder.exists():
        return [Finding("Keys", "are made at the first start")]
    files = [path for path in folder.iterdir() if path.is_file()]
    open_to_others = [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_to_others:
        names = ", ".join(sorted(str(path) for path in open_to_others))
        return [Finding("Keys", f"others may read {names}: chmod 600 them", "wrong")]
    return [Finding("Keys", f"{len(files)} files only their owner can read; keep a copy in a safe place")]


def _whatsapp(settings: Settings) -> list[Finding]:
    """What a start without a WhatsApp account may lack."""
    names = ("whatsapp_app_secret", "whatsapp_verify_token", "whatsapp_access_token")
    missing = [f"KAIRAN_{name.upper()}" for name in names if not getattr(settings, name)]
    findings = [Finding("WhatsApp", f"{name} is not set: needed before sending", "hint") for name in missing]
    if not settings.public_url.startswith("https://"):
        findings.append(
            Finding(
                "WhatsApp", "KAIRAN_PUBLIC_URL is no https:// address: Meta delivers webhooks to nothing else", "hint"
            )
        )
    return findings or [Finding("WhatsApp", f"{settings.whatsapp_url} {settings.whatsapp_version}")]


async def _valkey(settings: Settings) -> Finding:
    if not settings.valkey_url and not is_running(settings.data_dir):
        try:
            return Finding("Valkey", f"embedded, {EmbeddedValkey(settings.data_dir).binary.name} is installed")
        except AppError as missing:
            return Finding("Valkey", missing.message, "wrong")
    try:
        version = await check_valkey(child_environment(settings)["KAIRAN_VALKEY_URL"])
    except AppError as refused:
        return Finding("Valkey", refused.message, "wrong")
    return Finding("Valkey", f"{version} answers")


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.database_url and not is_running(settings.data_dir):
        try:
            has_data = (EmbeddedPostgres(settings.data_dir).pgdata / "PG_VERSION").exists()
        except AppError as missing:
            yield Finding("PostgreSQL", missing.message, "wrong")
            return
        yield Finding("PostgreSQL", f"embedded, {'with data' if has_data else 'set up at the first start'}")
        return
    url = child_environment(settings)["KAIRAN_DATABASE_URL"]
    try:
        yield Finding("PostgreSQL", f"{await check_database(url)} answers")
    except AppError as refused:
        yield Finding("PostgreSQL", refused.message, "wrong")
        return
    schema = await _schema(url)
    yield schema
    if schema.level == "ok":
        yield await ledger(settings.data_dir, url)
    yield await _clock(url)


async def _schema(url: str) -> Finding:
    newest, present = newest_revision(), await present_revision(url)
    if present != newest:
        return Finding(
            "Schema", f"is at {present or 'nothing'}, the program needs {newest}: run kairan migrate", "wrong"
        )
    return Finding("Schema", f"is at {newest}, the newest")


async def ledger(data_dir: Path, url: str) -> Finding:
    """A restored backup has another ledger than the one these keys signed last."""
    try:
        mark = Witness(data_dir / "keys").latest()
    except AppError as damaged:
        return Finding("Ledger", damaged.message, "wrong")
    engine = make_engine(url, pool_size=1)
    try:
        async with make_sessions(engine)() as session:
            wrong, fork = await recovery.differs(session, mark), await recovery.open_fork(session)
    finally:
        await engine.dispose()
    if wrong is not None or fork is not None:
        said = wrong or (fork.reason if fork else "")
        return Finding("Ledger", f"{said} Marketing waits: kairan ledger recover", "wrong")
    return Finding("Ledger", f"has the {mark.size:,} records that were signed last" if mark else "is not signed yet")


async def _clock(url: str) -> Finding:
    """Expiry of consents and sessions compares this machine's time with the database's."""
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    try:
        before = time.time()
        server: datetime = await connection.fetchval("SELECT clock_timestamp()")
        error_s = abs(server.timestamp() - (before + time.time()) / 2)
    finally:
        await connection.close()
    if error_s > LARGEST_CLOCK_ERROR_S:
        return Finding(
            "Clock", f"this machine and the database differ by {error_s:.0f} s: turn on NTP on both", "wrong"
        )
    return Finding("Clock", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, the same as the database's")


async def run(settings: Settings) -> int:
    """Print the report; 1 when something is wrong."""
    marks = {"ok": "[green]ok   [/]", "hint": "[yellow]hint [/]", "wrong": "[red]wrong[/]"}
    status = 0
    async for finding in examine(settings):
        console().print(f"{marks[finding.level]}  {finding.subject:<21} {finding.text}", markup=True)
        status = max(status, 1 if finding.level == "wrong" else 0)
    return status
