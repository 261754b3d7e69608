"""The simulator as a process of its own, on a real socket."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sandbox.__main__ import read_arguments
from sandbox.config import SandboxConfig
from tests.sandbox.conftest import NUMBER, WABA, a_send, a_template

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def served() -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.subprocess.Process]]:
    port = free_port()
    arguments = ["-m", "sandbox", "--port", str(port), "--template-review-s", "0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    headers = {"Authorization": "Bearer EAAsandboxtoken"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
        async with asyncio.timeout(30):
            while True:
                try:
                    await client.get("/_sandbox/health")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield client, process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_a_process_sends_drops_connections_and_stops_when_told(
    served: tuple[httpx.AsyncClient, asyncio.subprocess.Process],
) -> None:
    client, process = served
    created = await client.post(f"/v26.0/{WABA}/message_templates", json=a_template())
    sent = await client.post(f"/v26.0/{NUMBER}/messages", json=a_send("+4915112345678"))
    await client.put("/_sandbox/faults", json={"drop_response": {"count": 1}})
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(f"/v26.0/{NUMBER}/messages", json=a_send("+4915112345679"))
    summary = (await client.get("/_sandbox/summary")).json()

    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        code = await process.wait()

    assert (created.status_code, sent.status_code) == (200, 200)
    assert summary["accepted"] == 2
    assert code == 0


def test_flags_change_what_they_name_and_leave_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.json"
    file.write_text('{"seed": 3, "profile": "realistic", "wabas": [{"id": "1", "numbers": [{"id": "2"}]}]}')

    plain, host, port = read_arguments([])
    config, _, other = read_arguments(
        ["--config", str(file), "--port", "9", "--seed", "5", "--throughput", "1000", "--webhook-url", "http://x/hook"]
    )

    assert (plain, host, port) == (SandboxConfig(), "127.0.0.1", 8900)
    assert (config.seed, config.profile, other) == (5, "realistic", 9)
    assert config.wabas[0].numbers[0].throughput == 1000
    assert (config.wabas[0].id, config.webhooks.url) == ("1", "http://x/hook")
