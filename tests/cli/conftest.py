"""A `kairan` command with an environment of its own, and ports nobody uses."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

Environment = dict[str, str]
Kairan = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = [sys.executable, "-c", "from cli.main import main; main()"]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """No setting but the data directory and three free ports."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        api, dashboard, sandbox = (str(each.getsockname()[1]) for each in sockets)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("KAIRAN_")}
    ports = {"KAIRAN_API_PORT": api, "KAIRAN_DASHBOARD_PORT": dashboard, "KAIRAN_SANDBOX_PORT": sandbox}
    return plain | ports | {"KAIRAN_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def kairan(environment: Environment, tmp_path: Path) -> Kairan:
    """Runs the command to its end; the working directory has no .env."""

    def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*COMMAND, *arguments],
            env=environment | settings | {"PYTHONPATH": str(Path(__file__).parents[2])},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run


@pytest.fixture
def listener() -> Iterator[int]:
    """A port another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def assert_one_sentence(ended: "subprocess.CompletedProcess[str]", status: int, *words: str) -> None:
    assert ended.returncode == status, ended.stderr
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("kairan: ")
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in lines[0]
