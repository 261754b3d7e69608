"""Serving the simulator over HTTP: one process, one event loop."""

import asyncio
import os
import signal
import socket
from pathlib import Path

from granian.constants import Interfaces
from granian.server.embed import Server
from litestar.types import ASGIApp, Receive, Scope, Send

from sandbox.graph import ConnectionDropped

_OPEN_FILES = Path("/dev/fd")  # Linux and macOS: one entry for each open file of this process


def closing_sockets(app: ASGIApp) -> ASGIApp:
    """Turn `ConnectionDropped` into a connection that really closes without a byte of an answer."""

    async def serve_or_close(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except ConnectionDropped:
            host, port = scope["client"] or ("", 0)
            close_connection_from(host, int(port))  # the server gives the port as text

    return serve_or_close


def close_connection_from(host: str, port: int) -> None:
    """Shut down this process's connection from a client's address and port.

    An ASGI application has no handle on its socket, and the server keeps it in native code, so it is looked for among
    the process's open files.
    """
    for entry in list(_OPEN_FILES.iterdir()):
        try:
            descriptor = os.dup(int(entry.name))
        except OSError:  # closed in the meantime
            continue
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:  # not a socket
            os.close(descriptor)
            continue
        with connection:
            if _peer(connection) == (host, port):
                connection.shutdown(socket.SHUT_RDWR)
                return


def _peer(connection: socket.socket) -> tuple[str, int] | None:
    try:
        address = connection.getpeername()
    except OSError:  # listening, or not connected
        return None
    return (address[0], address[1]) if isinstance(address, tuple) else None


async def serve(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 8900) -> None:
    """Serve until SIGINT or SIGTERM."""
    server = Server(
        closing_sockets(app), address=host, port=port, interface=Interfaces.ASGI, log_access=False, websockets=False
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    await server.serve()
