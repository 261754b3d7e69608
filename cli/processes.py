"""The processes of a stack: how each is started, what it is told, how one sees that it is well."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cli.embedded import database_url, die_with_parent, log_file, valkey_url
from core.errors import SettingsError
from core.settings import ROOT, Settings


def api_command(settings: Settings) -> list[str]:
    """The API on Granian; one process is enough for one machine, more run behind a load balancer."""
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--no-ws", "--workers", "1"]
    return [*command, "--host", settings.api_host, "--port", str(settings.api_port), "api.app:app"]


def worker_command(_: Settings) -> list[str]:
    return [sys.executable, "-m", "worker"]


def dashboard_command(settings: Settings) -> list[str]:
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "server.py")]
    command += ["--server.address", settings.api_host, "--server.port", str(settings.dashboard_port)]
    return [*command, "--server.headless", "true", "--browser.gatherUsageStats", "false"]


def sandbox_command(settings: Settings) -> list[str]:
    """The simulator of the Cloud API with this installation's own secrets; raises SettingsError without them."""
    for name in ("whatsapp_app_id", "whatsapp_app_secret", "whatsapp_verify_token", "whatsapp_access_token"):
        if not getattr(settings, name):
            raise SettingsError(f"KAIRAN_{name.upper()} is not set: give the simulator any made-up value")
    command = [sys.executable, "-m", "sandbox", "--host", settings.api_host, "--port", str(settings.sandbox_port)]
    command += ["--webhook-url", f"{settings.links_url}/webhooks/whatsapp", "--profile", "demo"]
    command += ["--app-secret", settings.app_secrets[0], "--verify-token", settings.whatsapp_verify_token]
    command += ["--click-host", urlsplit(settings.links_url).hostname or "127.0.0.1"]
    return [*command, "--access-token", settings.whatsapp_access_token, "--app-id", settings.whatsapp_app_id]


COMMANDS: dict[str, Callable[[Settings], list[str]]] = {
    "sandbox": sandbox_command,
    "api": api_command,
    "worker": worker_command,
    "dashboard": dashboard_command,
}


def child_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting spelled out: a child finds no other `.env` and no other default.

    Empty server addresses become those of the embedded servers of the data directory.
    """
    servers = {
        "database_url": settings.database_url or database_url(settings.data_dir),
        "valkey_url": settings.valkey_url or valkey_url(settings.data_dir),
    }
    return settings.model_copy(update=servers).as_environment() | {"PYTHONUNBUFFERED": "1"}


@dataclass
class Child:
    """One process of the stack; `healthy` reads the answer of `health_url`."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    health_url: str
    healthy: Callable[[int, bytes], bool]
    stop_timeout_s: float = 15.0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the supervisor only."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env=self.environment,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - started from one thread
            )

    def exit_status(self) -> int | None:
        """None while it runs."""
        return None if self.process is None else self.process.poll()

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def finish(self) -> None:
        """Wait for its end; what does not end in time is killed, with all it started."""
        if self.process is None:
            return
        try:
            self.process.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self._signal_group(signal.SIGKILL)
            self.process.wait()
        self._signal_group(signal.SIGKILL)
        self.process = None

    def _signal_group(self, with_signal: signal.Signals) -> None:
        """The child leads a process group; killing it reaches what the child left behind."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, with_signal)
            except (ProcessLookupError, PermissionError):  # macOS says the latter of a group that has ended
                return


def _answers_ok(status: int, _: bytes) -> bool:
    return status == 200


def _worker_is_ready(_: int, body: bytes) -> bool:
    """The worker has no port: the API sees its heartbeat."""
    return b'"worker":"ok"' in body.replace(b" ", b"")


def children(settings: Settings, *, with_sandbox: bool) -> list[Child]:
    """The processes in the order they are started; the sandbox first, so that nothing waits for it."""
    environment = child_environment(settings)
    api = f"http://{loopback(settings.api_host)}:{settings.api_port}"
    dashboard = f"http://{loopback(settings.api_host)}:{settings.dashboard_port}/_stcore/health"
    sandbox = f"http://{loopback(settings.api_host)}:{settings.sandbox_port}/_sandbox/health"
    signs: dict[str, tuple[str, Callable[[int, bytes], bool], float]] = {
        "sandbox": (sandbox, _answers_ok, 5.0),
        "api": (f"{api}/health/live", _answers_ok, 15.0),
        "worker": (f"{api}/health/ready", _worker_is_ready, 30.0),
        "dashboard": (dashboard, _answers_ok, 5.0),
    }
    return [
        Child(name, COMMANDS[name](settings), environment, log_file(settings.data_dir, name), *sign)
        for name, sign in signs.items()
        if with_sandbox or name != "sandbox"
    ]


def loopback(host: str) -> str:
    """An address to connect to for an address to listen on."""
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not listened on


def check_ports(settings: Settings, *, with_sandbox: bool) -> None:
    """Raise SettingsError naming the setting of the first port that cannot be listened on, or that is given twice."""
    wanted = {"KAIRAN_API_PORT": settings.api_port, "KAIRAN_DASHBOARD_PORT": settings.dashboard_port}
    if with_sandbox:
        wanted["KAIRAN_SANDBOX_PORT"] = settings.sandbox_port
    if len(set(wanted.values())) < len(wanted):
        raise SettingsError(f"{' and '.join(wanted)} must be different ports")
    for name, port in wanted.items():
        problem = port_problem(settings.api_host, port)
        if problem:
            raise SettingsError(f"port {port} {problem}: set {name} to a free port")


def port_problem(host: str, port: int) -> str | None:
    """Why nothing can listen there, or None when it can."""
    with socket.socket() as connection:
        connection.settimeout(1.0)
        if connection.connect_ex((loopback(host), port)) == 0:
            return "is in use by another program"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as refused:
            return f"cannot be listened on at {host} ({(refused.strerror or 'refused').lower()})"
    return None
