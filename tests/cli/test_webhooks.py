"""`kairan webhooks` against running processes: what is recorded again changes nothing, and what was mended is."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from core.db import make_engine
from core.whatsapp.signature import sign
from tests.cli.conftest import COMMAND, Environment, assert_one_sentence
from tests.conftest import _psql

ROOT = Path(__file__).parents[2]
SECRET = "a secret of the app"
TABLES = {
    "inbound_messages": "id, contact_id, text, intent, occurred_at",
    "conversations": "id, status, unread, last_inbound_at, position",
    "contacts": "id, name, first_seen_at, last_seen_at",
    "consent_events": "seq, leaf_hash",
    "consent_state": "contact_id || purpose, state, head_seq",
    "message_events": "id",
    "messages": "id, status, attempt",
    "replies": "id, kind",
    "account_events": "id, event_key",
}


@dataclass(frozen=True)
class Installation:
    """An API and a worker that run, started once: the tests take turns in it."""

    url: str
    database: str
    environment: Environment
    key: str

    def kairan(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return run_kairan(self.environment | {"KAIRAN_API_KEY": self.key} | settings, *arguments)


def run_kairan(environment: Environment, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment,
        cwd=environment["KAIRAN_DATA_DIR"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture(scope="module")
def here(
    servers: tuple[EmbeddedPostgres, EmbeddedValkey], template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    postgres, valkey = servers
    name, folder = f"cli_{uuid4().hex}", tmp_path_factory.mktemp("cli")
    _psql(postgres, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    database = f"postgresql://kairan@/{name}?host={postgres.sockets}"
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    environment = {each: value for each, value in os.environ.items() if not each.startswith("KAIRAN_")} | {
        "PYTHONPATH": str(ROOT),
        "KAIRAN_DATA_DIR": str(folder),
        "KAIRAN_API_PORT": str(port),
        "KAIRAN_DATABASE_URL": database,
        "KAIRAN_VALKEY_URL": valkey.url,
        "KAIRAN_WHATSAPP_APP_SECRET": SECRET,
        "KAIRAN_WHATSAPP_VERIFY_TOKEN": "verify me",
        "KAIRAN_WHATSAPP_ACCESS_TOKEN": "a token",
        "KAIRAN_WHATSAPP_URL": "http://127.0.0.1:9",  # nobody answers there
    }
    with (folder / "log").open("wb") as log:
        processes = [
            subprocess.Popen([*COMMAND, each], env=environment, cwd=folder, stdout=log, stderr=log)
            for each in ("api", "worker")
        ]
        made = run_kairan(environment, "keys", "add", "tests", "--role", "marketer")
        assert made.returncode == 0, made.stderr
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_alive(url))
        yield Installation(url, database, environment, made.stdout.strip())
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)
    _psql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def is_alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", trust_env=False).is_success
    except httpx.TransportError:
        return False


def told(words: str, wamid: str) -> bytes:
    """What the provider posts when somebody writes."""
    said = {"from": "491701234500", "id": wamid, "timestamp": "1793500100", "type": "text", "text": {"body": words}}
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001111", "phone_number_id": "200000000000002"},
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": "491701234500"}],
        "messages": [said],
    }
    entry = {"id": "100000000000001", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def post(url: str, body: bytes) -> None:
    headers = {"x-hub-signature-256": sign(SECRET, body), "content-type": "application/json"}
    answer = httpx.post(f"{url}/webhooks/whatsapp", content=body, headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text


def ask(database: str, *statements: str) -> list[list[tuple[object, ...]]]:
    """What each statement finds; committed."""

    async def run() -> list[list[tuple[object, ...]]]:
        engine = make_engine(database, role=None)
        async with engine.begin() as connection:
            done = [await connection.execute(text(statement)) for statement in statements]
            found = [[tuple(row) for row in each] if each.returns_rows else [] for each in done]
        await engine.dispose()
        return found

    return asyncio.run(run())


def everything(database: str) -> list[list[tuple[object, ...]]]:
    """All that webhooks leave behind, each table in an order of its own."""
    return ask(database, *(f"SELECT {columns} FROM {table} ORDER BY 1" for table, columns in TABLES.items()))


def wait_until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends, "it never was so"
        time.sleep(0.2)


def recorded(database: str) -> int:
    ((count,),) = ask(database, "SELECT count(*) FROM webhook_events WHERE status = 'recorded'")[0]
    assert isinstance(count, int)
    return count


def test_a_range_recorded_twice_changes_nothing(here: Installation) -> None:
    sender = "('200000000000002', '100000000000001', '+15550001111', 'Demo', 80)"
    columns = "phone_number_id, waba_id, display_number, name, messages_per_second"
    ask(here.database, f"INSERT INTO senders ({columns}) VALUES {sender}")
    since = datetime.now(UTC) - timedelta(minutes=1)
    for number, words in enumerate(("Hello", "STOP", "Is the shop open?")):
        post(here.url, told(words, f"wamid.{number}"))
    wait_until(lambda: recorded(here.database) == 3)
    before = everything(here.database)
    assert len(before[0]) == 3 and before[3]  # people's words, and the stop in the ledger
    until = datetime.now(UTC) + timedelta(minutes=1)
    period = ("--since", since.isoformat(), "--until", until.isoformat())

    counted = here.kairan("webhooks", "replay", *period, "--dry-run")
    assert (counted.returncode, "3 webhooks would be recorded again" in counted.stderr) == (0, True), counted.stderr
    for _ in range(2):
        again = here.kairan("webhooks", "replay", *period)
        assert again.returncode == 0, again.stderr
        assert "3 webhooks are to be recorded again" in again.stderr
        assert "Recorded; 0 wait still, 0 are set aside." in again.stderr
        assert recorded(here.database) == 3

    assert everything(here.database) == before


def test_what_was_set_aside_is_recorded_once_its_cause_is_mended(here: Installation) -> None:
    post(here.url, told("Mended", "wamid.mended")[:-1])  # breaks off
    aside = "SELECT count(*) FROM webhook_events WHERE status = 'set_aside'"
    wait_until(lambda: ask(here.database, aside)[0] == [(1,)])

    shown = here.kairan("webhooks", "status")
    assert shown.returncode == 0, shown.stderr
    assert "set aside" in shown.stdout and "kairan webhooks replay --set-aside" in shown.stderr
    ask(here.database, "UPDATE webhook_events SET body = body || '}'::bytea WHERE status = 'set_aside'")
    again = here.kairan("webhooks", "replay", "--set-aside")

    assert (again.returncode, "1 webhook is to be recorded again" in again.stderr) == (0, True), again.stderr
    mended = "SELECT text FROM inbound_messages WHERE provider_id = 'wamid.mended'"
    assert ask(here.database, mended)[0] == [("Mended",)]
    assert "0 webhooks are to be" in here.kairan("webhooks", "replay", "--set-aside").stderr


def test_a_replay_that_says_nothing_or_nonsense_is_refused_in_a_sentence(here: Installation) -> None:
    assert_one_sentence(here.kairan("webhooks", "replay"), 1, "a range of time")
    backwards = ("--since", "2026-11-22T10:00:00Z", "--until", "2026-11-22T09:00:00Z")
    assert_one_sentence(here.kairan("webhooks", "replay", *backwards), 1, "later than")
    assert_one_sentence(here.kairan("webhooks", "replay", "--since", "yesterday"), 1, "a time with its zone")
    assert_one_sentence(here.kairan("webhooks", "status", KAIRAN_API_KEY="kairan_wrong"), 1, "unknown or revoked")
