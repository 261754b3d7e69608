"""The lock of a data directory, and processes that outlived a killed supervisor."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cli.lock import Children, DataDirLock, is_running
from core.errors import Conflict

HOLD = "import sys, time; from pathlib import Path; from cli.lock import DataDirLock; "
HOLD += "lock = DataDirLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"


def test_a_lock_is_had_once(tmp_path: Path) -> None:
    with DataDirLock(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(Conflict, match="already runs"):
            DataDirLock(tmp_path).acquire()

    assert not is_running(tmp_path)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_running(tmp_path)

        holder.send_signal(signal.SIGKILL)
        holder.wait()

    with DataDirLock(tmp_path):
        pass


def test_leftovers_are_ended_with_what_they_started(tmp_path: Path) -> None:
    shell = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"], start_new_session=True)
    children = Children(tmp_path / "stack.json")
    children.write({"worker": shell.pid})
    while not psutil.Process(shell.pid).children():
        pass
    (sleeper,) = psutil.Process(shell.pid).children()

    assert children.end_leftovers() == ["worker"]

    shell.wait()
    assert not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE
    assert children.end_leftovers() == []


def test_what_a_dead_leader_started_is_ended_too(tmp_path: Path) -> None:
    shell = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & sleep 0.3"], start_new_session=True)
    children = Children(tmp_path / "stack.json")
    children.write({"api": shell.pid})
    while len(psutil.Process(shell.pid).children()) < 2:
        pass
    sleepers = psutil.Process(shell.pid).children()
    shell.wait()

    assert children.end_leftovers() == ["api"]

    assert all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in sleepers)


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        path = tmp_path / "stack.json"
        path.write_text(f'[{{"name": "api", "pid": {stranger.pid}, "began": 1.0}}]')

        assert Children(path).end_leftovers() == []

        assert stranger.poll() is None
        stranger.kill()
