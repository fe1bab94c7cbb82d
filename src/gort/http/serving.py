"""gort.http.serve: a server at an address, which ends at SIGTERM.

What does not live here: the server itself (server.py), the options of the command (gort/cli/serve.py).
"""

from __future__ import annotations

import os
import socket
import ssl
from _collections_abc import Callable, Iterable
from typing import Any

from gort import net
from gort import signal as _signal
from gort._runtime.sched.newproc import go
from gort._runtime.wait.chan import Chan
from gort._runtime.wait.select import select
from gort.http.server import Server

LISTEN_FDS_START = 3  # of sd_listen_fds(3)


def inherited(environ: Any = None) -> list[socket.socket]:
    """The listening sockets that the parent process has left open, by systemd's protocol: LISTEN_PID, LISTEN_FDS.  They
    are taken once: the variables are removed."""
    environ = os.environ if environ is None else environ
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for fd in range(LISTEN_FDS_START, LISTEN_FDS_START + int(count)):
        os.set_inheritable(fd, False)
        found.append(socket.socket(fileno=fd))
    return found


def listener_of(sock: socket.socket) -> net.Listener:
    """A listener on a socket that listens already.  The socket object is detached."""
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(f"{sock!r} does not listen")
    sock.setblocking(False)
    return net.Listener(sock, "unix" if sock.family == socket.AF_UNIX else "tcp")


async def listeners_of(
    addresses: str | Iterable[str | socket.socket], backlog: int, mode: int | None, tls: ssl.SSLContext | None
) -> tuple[list[Any], list[Any]]:
    """Listeners at addresses: "host:port", "unix:/path", "systemd" for the sockets of the parent process, or sockets; and
    those of them whose sockets others may have, too."""
    made: list[Any] = []
    shared: list[Any] = []
    try:
        for address in [addresses] if isinstance(addresses, str) else addresses:
            if isinstance(address, socket.socket):
                shared.append(listener_of(address))
            elif address == "systemd":
                socks = inherited()
                if not socks:
                    raise ValueError("no sockets were inherited: LISTEN_FDS is not set for this process")
                shared += [listener_of(sock) for sock in socks]
            elif address.startswith("unix:"):
                made.append(await net.listen("unix", address[5:], backlog=backlog, mode=mode))
            else:
                made.append(await net.listen("tcp", address, backlog=backlog))
    except BaseException:
        for ln in made + shared:
            ln.close()
        raise
    if tls is not None:
        made, shared = ([net.TLSListener(ln, tls) for ln in some] for some in (made, shared))
    return made + shared, shared


async def serve(
    app: Any,
    address: str | Iterable[str | socket.socket] = "127.0.0.1:8000",
    *,
    tls: ssl.SSLContext | None = None,
    backlog: int = 2048,
    mode: int | None = None,
    signals: bool = True,
    started: Callable[[Server, list[Any]], object] | None = None,
    **options: Any,
) -> None:
    """Serves a WSGI or an ASGI application until SIGTERM or SIGINT has come and what was begun has ended:

        gort.run(gort.http.serve, app, "127.0.0.1:8000")

    address: "host:port", "unix:/path", "systemd" for the sockets of the parent process, a listening socket, or several
    of them.  tls: the certificate, for https.  backlog: connections that may wait to be accepted.  mode: a Unix socket's
    permissions.  started(server, listeners) is called when the listeners are there; the application has not yet begun.
    options: those of gort.http.Server.

    signals=False: the program itself calls server.stop().  A second signal ends the wait for what was begun.

    Raises OSError for an address that cannot be had, ValueError for
    options that are none, and what the application raises at its start."""
    server = Server(app, **options)
    listeners, server.shared = await listeners_of(address, backlog, mode, tls)
    if started is not None:
        started(server, listeners)
    if not signals:
        await server.serve(*listeners)
        return
    came: Chan[Any] = Chan(2)
    over: Chan[None] = Chan()
    _signal.notify(came, _signal.SIGTERM, _signal.SIGINT)
    go(_watch, server, came, over)
    try:
        await server.serve(*listeners)
    finally:
        _signal.stop(came)
        over.close()


async def _watch(server: Server, came: Chan[Any], over: Chan[None]) -> None:
    """The first signal is for the graceful end, the second for the end at once."""
    for end in (server.stop, server.abort):
        i, _, _ = await select(came.recv(), over.recv())
        if i == 1:
            return
        end()
