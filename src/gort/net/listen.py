"""Listeners.  Follows Go's net.Listener (net/tcpsock.go, net/unixsock.go) and the accept loop of net/http.

An accept that fails because the process or the system is out of descriptors or memory says nothing about the listener:
`async for` reports it, waits a little longer each time, and goes on.
"""

from __future__ import annotations

import errno
import os
import socket
from _collections_abc import Callable, Coroutine
from typing import Any

from gort import _networks
from gort._runtime.core.mistakes import say
from gort._runtime.poll.neterrors import Closed
from gort._runtime.sched.timers import sleep
from gort._runtime.wait.cases import OpArm, Selectable
from gort.net.addr import (
    STREAMS,
    Addr,
    check_address,
    check_network,
    failed,
    split_host_port,
    unix_path,
)
from gort.net.conn import Conn, Descriptor
from gort.net.resolve import lookup
from gort.net.sock import Lent, set_defaults

TEMPORARY = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
UNUSABLE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # no such family or address here: the next one may do
BACKOFF_MIN_S = 0.005
BACKOFF_MAX_S = 1.0


def _say(text: str) -> None:
    say(text + "\n")


class Listener(Descriptor):
    """Accepts connections: `async for conn in ln`, or `await ln.accept()`, from any number of goroutines.  Follows
    Go's net.Listener."""

    __slots__ = ("_unlink", "on_error")
    noun = "listener"

    def __init__(self, sock: socket.socket, network: str, unlink: tuple[str, int, int] | None = None) -> None:
        fd = sock.detach()
        super().__init__(fd, network)
        self.set_lsock(Lent(fd, sock.family, sock.type, sock.proto))
        self._unlink = unlink
        self.on_error: Callable[[str], None] = _say

    @property
    def addr(self) -> Addr:
        """The address it listens on."""
        return self.local_addr

    def describe(self) -> str:
        """How messages name it."""
        try:
            return f"{self.network} {self.addr}"
        except OSError:  # it is closed, and nobody asked before
            return self.network

    def __repr__(self) -> str:
        return f"<gort.net.Listener {self.describe()}{' closed' if self.closing else ''}>"

    def accept(self) -> Coroutine[Any, Any, Conn]:
        """`conn = await ln.accept()`: the next connection.  A case of gort.select, too.

        Raises Closed when the listener is, or gets, closed; DeadlineExceeded; OSError (EMFILE: out of descriptors) after
        which the listener is as good as before."""
        return Selectable(self._accept(), lambda: OpArm(self.accept_op(), lambda got, ok: (self._conn(got), True)))

    async def _accept(self) -> Conn:
        return self._conn(await self.accept_op())

    def _conn(self, got: Any) -> Conn:
        fd, raddr = got.take()
        return accepted(fd, self.network, raddr)

    def close(self) -> None:
        """Stops listening; waiting accepts raise Closed, `async for` ends.  Connections stay.  A Unix socket's file is
        removed if it still is this listener's."""
        if not self.closing and self._unlink is not None:
            path, dev, ino = self._unlink
            try:
                now = os.stat(path)
                if (now.st_dev, now.st_ino) == (dev, ino):
                    os.unlink(path)
            except OSError:
                pass
        if not self.closing:
            _ = self.addr  # known afterwards too
        self.shut()

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Conn:
        delay = 0.0
        while True:
            try:
                return self._conn(await self.accept_op())
            except Closed:
                raise StopAsyncIteration from None
            except OSError as e:
                if e.errno not in TEMPORARY:
                    raise
                delay = min(BACKOFF_MAX_S, delay * 2) if delay else BACKOFF_MIN_S
                self.on_error(f"gort: {e.strerror}; retrying in {delay * 1000:.0f} ms")
            await sleep(delay)


def accepted(fd: int, network: str, raddr: Any) -> Conn:
    """The connection of an accepted descriptor, which has the listener's options."""
    return Conn(fd, network, raddr if network != "unix" else None)


async def listen(
    network: str, address: str | Addr, *, backlog: int = 0, reuse_port: bool = False, mode: int | None = None
) -> Listener:
    """Listens on "host:port" (port 0: any free one; no host: every interface, IPv6 and IPv4), or on a Unix socket's path.

    network: tcp, tcp4, tcp6 or unix.  backlog: how many connections may wait (default: the system's maximum).
    reuse_port: several processes or listeners share the port.  mode: a Unix socket's permissions.
    Raises OSError ("listen tcp 127.0.0.1:80: Address already in use"), ValueError for a malformed address or unknown
    network, socket.gaierror for a name that does not resolve.  Follows Go's net.Listen."""
    address = check_address(address, "listen")
    if network in ("udp", "udp4", "udp6", "unixgram"):
        raise ValueError(f"listen: {network} has no connections to accept: use `await gort.net.listen_packet(...)`")
    family = check_network(network, STREAMS, "listen")
    if (memory := _networks.found()) is not None:
        return await memory.listen(network, address)  # type: ignore[no-any-return]
    try:
        if network == "unix":
            return _listen_unix(address, backlog, mode)
        return _listen_tcp(network, await local_addresses(network, address, family), backlog, reuse_port)
    except socket.gaierror:
        raise
    except OSError as e:
        raise failed(f"listen {network} {address}", e) from None


async def local_addresses(network: str, address: str, family: int) -> list[tuple[int, Any]]:
    """What to bind to, the first choice first."""
    host, port = split_host_port(address)
    if host:
        found = await lookup(host, port, family, socket.SOCK_STREAM if network.startswith("tcp") else socket.SOCK_DGRAM)
        return sorted(found, key=lambda a: a[0] != socket.AF_INET)  # Go listens on IPv4 where a name has both
    number = (await lookup("127.0.0.1", port, socket.AF_INET, socket.SOCK_STREAM))[0][1][1]
    both = [(socket.AF_INET6, ("::", number)), (socket.AF_INET, ("0.0.0.0", number))]
    return [a for a in both if family in (socket.AF_UNSPEC, a[0])]


def _listen_tcp(network: str, addresses: list[tuple[int, Any]], backlog: int, reuse_port: bool) -> Listener:
    error: OSError | None = None
    for family, sockaddr in addresses:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as e:  # no IPv6 here
            error = e
            continue
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                only = network == "tcp6" or sockaddr[0] != "::"
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only))
            set_defaults(sock)
            sock.bind(sockaddr)
            sock.listen(backlog or 65535)
            return Listener(sock, network)
        except OSError as e:
            error = e
            sock.close()
            if e.errno not in UNUSABLE:
                break
    assert error is not None
    raise error


def _listen_unix(address: str, backlog: int, mode: int | None) -> Listener:
    if mode is not None and (isinstance(mode, bool) or not isinstance(mode, int)):
        raise TypeError(f"listen: mode is an int such as 0o660, not {type(mode).__name__}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    bound = False
    try:
        sock.bind(unix_path(address))
        unlink = None
        if not address.startswith("@"):
            bound = True
            if mode is not None:
                os.chmod(address, mode)
            st = os.stat(address)
            unlink = (os.path.abspath(address), st.st_dev, st.st_ino)
        sock.listen(backlog or 65535)
        return Listener(sock, "unix", unlink)
    except BaseException:
        sock.close()
        if bound:
            os.unlink(address)
        raise
