"""Whom the product is measured against: loops with the same client and with pywa, at a simulator of their own.

The second simulator is the same program with the same template; it has several numbers, so that no limit slows a
loop down, and calls nobody back, so that the loops' webhooks burden nobody.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from benchmarks.bare_loop import Done, Job
from benchmarks.harness import WABA, Stack, free_port, sandbox_config, until
from benchmarks.office import COMPONENTS, TEMPLATE
from cli.embedded import log_file
from cli.processes import Child
from core.errors import Unavailable
from core.settings import ROOT
from core.template import Form

THROUGHPUTS = (1000, 1000, 1000, 1000, 1000, 1000)
READY_WITHIN_S = 30.0
INSTALL_WITHIN_S = 120.0
FILLED = {"body.1": "Person 1", "body.2": "20 %", "button.0": "optout:marketing"}


@dataclass(frozen=True)
class Arena:
    """A simulator for loops only."""

    url: str
    token: str
    version: str
    numbers: list[str]

    def job(self, count: int, *, first: int = 0, per_second: float | None = None) -> Job:
        """The same template as the campaign's, filled the same way."""
        content = Form.of(TEMPLATE, "en", "positional", COMPONENTS).content(FILLED)
        return Job(self.url, self.token, self.version, self.numbers, content, count, first, per_second)


@asynccontextmanager
async def arena(stack: Stack, throughputs: tuple[int, ...] = THROUGHPUTS) -> AsyncIterator[Arena]:
    """A second simulator with an approved template, ended with the block."""
    config = sandbox_config(stack.settings, throughputs, None)
    path, port = stack.folder / "arena.json", free_port()
    path.write_bytes(msgspec.json.encode(config))
    command = [sys.executable, "-m", "sandbox", "--port", str(port), "--config", str(path)]
    log = log_file(stack.folder, "arena")
    child = Child("arena", command, {"PYTHONUNBUFFERED": "1"}, log, "", lambda status, _: status == 200)
    settings = stack.settings
    version, token = settings.whatsapp_version, settings.whatsapp_access_token
    child.start()
    try:
        url = f"http://127.0.0.1:{port}"
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
            await _until_ready(http, version)
        yield Arena(url, token, version, [number.id for number in config.wabas[0].numbers])
    finally:
        child.ask_to_stop()
        child.finish()


async def _until_ready(http: httpx.AsyncClient, version: str) -> None:
    async def is_up() -> bool:
        try:
            return (await http.get("/_sandbox/health")).is_success
        except httpx.TransportError:
            return False

    async def is_approved() -> bool:
        return bool((await http.get("/_sandbox/templates")).json()[0]["status"] == "APPROVED")

    async with asyncio.timeout(READY_WITHIN_S):
        await until(is_up)
        body = {"name": TEMPLATE, "language": "en", "category": "MARKETING", "components": COMPONENTS}
        answer = await http.post(f"/{version}/{WABA}/message_templates", json=body)
        answer.raise_for_status()
        await until(is_approved)


async def bare(job: Job) -> Done:
    """The bare loop in a process of its own; raises Unavailable when it fails."""
    return await _loop([sys.executable, "-m", "benchmarks.bare_loop"], job)


async def pywa(python: Path, job: Job) -> Done:
    """pywa's loop under the Python of its environment; raises Unavailable when it fails."""
    return await _loop([str(python), str(ROOT / "benchmarks" / "pywa_loop.py")], job)


async def _loop(command: list[str], job: Job) -> Done:
    process = await asyncio.create_subprocess_exec(
        *command,
        msgspec.json.encode(job).decode(),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = complaints.decode(errors="replace").strip().splitlines()
        raise Unavailable(f"a loop ended with status {process.returncode}: {words[-1] if words else 'it said nothing'}")
    return msgspec.json.decode(printed, type=Done)


async def install_pywa(folder: Path) -> Path | None:
    """The Python of a new environment with pywa; None when it cannot be installed (no network, no installer)."""
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    if uv is not None:
        steps = [[uv, "venv", "-q", "--python", sys.executable, str(folder)]]
        steps += [[uv, "pip", "install", "-q", "--python", str(python), "pywa"]]
    else:
        steps = [[sys.executable, "-m", "venv", str(folder)], [str(python), "-m", "pip", "install", "-q", "pywa"]]
    for step in steps:
        process = await asyncio.create_subprocess_exec(
            *step, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(INSTALL_WITHIN_S):
                status = await process.wait()
        except TimeoutError:
            process.kill()
            status = await process.wait()
        if status != 0:
            return None
    return python
