"""One stack on one data directory: the lock, and the end of processes that outlived a killed supervisor."""

import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Self

import psutil

from core.errors import Conflict, SettingsError

LEFTOVER_STOP_S = 20.0


class DataDirLock:
    """DATA_DIR/stack.lock, held while a stack runs; the kernel lets go of it even after kill -9."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.path = data_dir / "stack.lock"
        self.children = Children(data_dir / "stack.json")
        self._descriptor: int | None = None

    def acquire(self) -> Self:
        """Take it; raises SettingsError when the directory cannot be written, Conflict when a stack runs on it."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)  # people's data lies in it
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as refused:
            reason = (refused.strerror or "it cannot be used").lower()
            raise SettingsError(
                f"{self.data_dir} cannot be written ({reason}): set KAIRAN_DATA_DIR to a folder of yours"
            ) from refused
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            os.close(descriptor)
            raise Conflict(
                f"Kairan already runs on {self.data_dir} ({holder(self.data_dir)}): "
                "stop it or set KAIRAN_DATA_DIR to another folder"
            ) from held
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(data_dir: Path) -> str:
    """The process that wrote its number into the lock, for people: "pid 123"."""
    written = (data_dir / "stack.lock").read_text().strip()
    return f"pid {written}" if written else "pid unknown"


def is_running(data_dir: Path) -> bool:
    """True when some process holds the lock."""
    path = data_dir / "stack.lock"
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Children:
    """The started processes on file, so that the next start can end those that outlived this one.

    Each child leads a process group of its own. A number alone may belong to somebody else by now, so the
    instant the process began is kept beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, pids: dict[str, int]) -> None:
        """Remember the processes that run now; one that has just ended is left out."""
        known = []
        for name, pid in pids.items():
            try:
                known.append({"name": name, "pid": pid, "began": psutil.Process(pid).create_time()})
            except psutil.NoSuchProcess:
                continue
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(known))
        beside.replace(self.path)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)

    def end_leftovers(self) -> list[str]:
        """End what a killed supervisor left behind; returns the names of what was found."""
        try:
            known = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return []
        found = {child["name"]: _group(child["pid"], child["began"]) for child in known}
        processes = [process for group in found.values() for process in group]
        for process in processes:
            _send(process, signal.SIGTERM)
        for process in _wait(processes, LEFTOVER_STOP_S):
            _send(process, signal.SIGKILL)
        _wait(processes, LEFTOVER_STOP_S)
        self.forget()
        return [name for name, group in found.items() if group]


def _group(leader: int, began: float) -> list[psutil.Process]:
    """What is left of the process group `leader` started at `began`.

    While a member lives, the system gives the group's number to nobody else; so if a process of that number
    exists it is either the leader itself or, begun at another instant, a stranger in a new group.
    """
    try:
        if abs(psutil.Process(leader).create_time() - began) > 0.1:
            return []
    except psutil.NoSuchProcess:
        pass  # the leader is gone, its children may not be
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == leader and _lives(process):
                members.append(process)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return members


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until they have ended; returns those that have not. A zombie has: only its parent can bury it."""
    deadline = time.monotonic() + timeout_s
    while alive := [process for process in processes if _lives(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return alive


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, with_signal: signal.Signals) -> None:
    try:
        process.send_signal(with_signal)
    except psutil.NoSuchProcess:
        return
