"""The supervisor with the real processes: health, revival, a clean end, and no orphan whatever happens."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cli.embedded import socket_dir
from tests.cli.conftest import COMMAND, Environment, Kairan, assert_one_sentence

ROOT = Path(__file__).parents[2]
PROCESSES = ("granian", "worker", "streamlit", "valkey-server", "postgres")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(environment: Environment, tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts `kairan up`, any number of times."""
    started = []

    def up() -> "subprocess.Popen[str]":
        told = environment | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([*COMMAND, "up"], env=told, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield up
    for process in started:
        with process:
            process.kill()


def wait_for_line(process: "subprocess.Popen[str]", words: str) -> list[str]:
    assert process.stderr is not None
    heard = []
    for line in process.stderr:
        heard.append(line)
        if words in line:
            return heard
    raise AssertionError(f"it ended without saying {words!r}: {heard}")


def of_this_stack(place: Path) -> list[psutil.Process]:
    """Processes that were told this data directory, or have it or its sockets on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            told = process.environ().get("KAIRAN_DATA_DIR") == str(place)
            told = told or str(place) in command or str(socket_dir(place)) in command
            if told and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(holds: Callable[[], object], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)


def is_ready(environment: Environment) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{environment['KAIRAN_API_PORT']}/health/ready", trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "ready"


def commands_work_beside_it(kairan: Kairan, folder: Path) -> None:
    (folder / "people.csv").write_text("phone,name\n+4915112345671,Ana\nnobody,Ben\n")
    package = str(folder / "audit.zip")
    key = kairan("keys", "add", "tests", "--role", "admin").stdout.strip()

    imported = kairan("import", str(folder / "people.csv"), KAIRAN_API_KEY=key)
    exported = kairan("audit", "export", "--reason", "for a test", "--to", package, KAIRAN_API_KEY=key)
    verified = kairan("audit", "verify", package)

    assert (imported.returncode, exported.returncode, verified.returncode) == (1, 0, 0), (
        imported.stderr + exported.stderr
    )
    assert "contact only" in imported.stdout and "kairan imports rejects" in imported.stderr
    assert "RESULT: PASS" in verified.stdout
    assert kairan("doctor").returncode == 0
    assert_one_sentence(kairan("lake", "refresh", KAIRAN_API_KEY="wrong"), 1, "refused")


def test_it_revives_what_dies_survives_kill_9_and_leaves_no_orphan(
    start: Callable[[], "subprocess.Popen[str]"], environment: Environment, place: Path, kairan: Kairan, tmp_path: Path
) -> None:
    first = start()
    wait_for_line(first, "Ctrl-C")
    assert is_ready(environment)
    commands = [" ".join(process.cmdline()) for process in of_this_stack(place)]
    assert all(any(name in command for command in commands) for name in PROCESSES)
    api = next(process for process in of_this_stack(place) if "granian" in " ".join(process.cmdline()))

    os.killpg(api.pid, signal.SIGKILL)
    wait_for_line(first, "api ended with status -9; starting it again")
    wait_until(lambda: is_ready(environment))

    first.kill()
    first.wait()
    wait_until(lambda: of_this_stack(place) == [])

    second = start()  # on the data the first left behind
    wait_for_line(second, "Ctrl-C")
    assert is_ready(environment)
    commands_work_beside_it(kairan, tmp_path)

    second.send_signal(signal.SIGINT)
    assert second.wait(30) == 0
    assert of_this_stack(place) == []
    assert not (place / "stack.json").exists()
