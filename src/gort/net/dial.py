"""Dialling.  Follows Go's net/dial.go, with the racing of RFC 8305 ("happy eyeballs").

The addresses of a name are tried in turn, families alternating, each attempt FALLBACK_DELAY_S after the one before it or
as soon as that fails; the first that connects wins, the others are closed.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from typing import Any

from gort import _networks
from gort._runtime.core.errors import Cancelled
from gort._runtime.poll.neterrors import DeadlineExceeded
from gort._runtime.wait.chan import Chan
from gort._runtime.wait.select import select
from gort._runtime.wait.timechan import Timer
from gort.group import Group
from gort.net.addr import STREAMS, Addr, check_address, check_network, failed, from_sockname, split_host_port, unix_path
from gort.net.conn import Conn
from gort.net.resolve import lookup
from gort.net.sock import Lent, set_defaults

FALLBACK_DELAY_S = 0.25  # RFC 8305, section 5

SELF_CONNECTS = 3  # how often a connection to itself is tried again, and the first time

_CONNECTING = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)


class Dialer:
    """How to dial.  timeout: seconds for everything together; local_addr: where to come from ("127.0.0.1:0");
    fallback_delay: how long one address has before the next is tried beside it.  Follows Go's net.Dialer
    (net/dial.go)."""

    def __init__(
        self,
        timeout: float | None = None,
        local_addr: str | Addr | None = None,
        fallback_delay: float = FALLBACK_DELAY_S,
    ) -> None:
        self.timeout = timeout
        self.local_addr = local_addr
        self.fallback_delay = fallback_delay

    async def dial(self, network: str, address: str | Addr) -> Conn:
        """As gort.net.dial.  Raises DeadlineExceeded after `timeout` seconds, and what gort.net.dial raises."""
        address = check_address(address, "dial")
        family = check_network(network, STREAMS, "dial")
        what = f"dial {network} {address}"
        conn: Conn | None
        if self.timeout is None:
            return await self._dial(network, address, family, what)
        try:
            async with Group() as group:
                work = group.go(_outcome, self._dial, network, address, family, what)
                timer = Timer(self.timeout)
                try:
                    i, _, _ = await select(work._done.recv_ok(), timer.c.recv())
                finally:
                    timer.stop()
                if i == 1:
                    work.cancel()
        except BaseException:  # we are cancelled, perhaps just when it was done
            if work._value and work._value[0] is not None:
                work._value[0].close()
            raise
        conn, error = work._value or (None, None)
        if i == 1:
            if conn is not None:
                conn.close()
            raise DeadlineExceeded(f"{what}: timed out after {self.timeout} s")
        if error is not None:
            raise error
        assert conn is not None
        return conn  # type: ignore[no-any-return]

    async def _dial(self, network: str, address: str, family: int, what: str) -> Conn:
        if (memory := _networks.found()) is not None:
            return await memory.dial(network, address)  # type: ignore[no-any-return]
        if network == "unix":
            try:
                return await connect(network, socket.AF_UNIX, unix_path(address), None)
            except OSError as e:
                raise failed(what, e) from None
        host, port = split_host_port(address)
        addresses = interleave(await lookup(host or "localhost", port, family, socket.SOCK_STREAM))
        local = None
        if self.local_addr is not None:
            local = await self._local()
            suitable = [a for a in addresses if a[0] in local]
            if not suitable:
                why = f"no address of {host!r} is of the family of the local address {self.local_addr}"
                raise OSError(errno.EAFNOSUPPORT, f"{what}: {why}")
            addresses = suitable
        try:
            if len(addresses) == 1:
                return await connect(network, *addresses[0], local)
            return await self._race(network, addresses, local)
        except OSError as e:
            raise failed(what, e) from None

    async def _local(self) -> dict[int, Any]:
        """Where to come from, by family."""
        host, port = split_host_port(check_address(self.local_addr, "dial"))
        if host:
            return dict(reversed(await lookup(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)))
        number = (await lookup("127.0.0.1", port, socket.AF_INET, socket.SOCK_STREAM))[0][1][1]
        return {int(socket.AF_INET): ("", number), int(socket.AF_INET6): ("::", number)}

    async def _race(self, network: str, addresses: list[tuple[int, Any]], local: Any) -> Conn:
        results: Any = Chan(len(addresses))
        winner: Conn | None = None
        error: OSError | None = None
        async with Group() as group:
            waiting = 0
            todo = iter(addresses)
            nxt = next(todo, None)
            try:
                while nxt is not None or waiting:
                    timer = None
                    if nxt is not None:
                        group.go(_attempt, results, network, *nxt, local)
                        waiting += 1
                        nxt = next(todo, None)
                        if nxt is not None:
                            timer = Timer(self.fallback_delay)
                    i, got, _ = await select(results.recv(), timer.c.recv() if timer is not None else None)
                    if timer is not None:
                        timer.stop()
                    if i == 1:
                        continue
                    waiting -= 1
                    if isinstance(got, Conn):
                        winner = got
                        break
                    error = error or got
            finally:
                group.cancel()
        while True:  # others that connected just before they were cancelled
            got, ok = results.try_recv()
            if not ok:
                break
            if isinstance(got, Conn):
                got.close()
        if winner is None:
            assert error is not None
            raise error
        return winner


async def _attempt(results: Any, network: str, family: int, sockaddr: Any, local: Any) -> None:
    """One racer: puts its connection or its error into results, which has room."""
    try:
        results.try_send(await connect(network, family, sockaddr, local))
    except OSError as e:
        results.try_send(e)


async def _outcome(fn: Any, *args: Any) -> tuple[Conn | None, BaseException | None]:
    """(connection, None) or (None, exception): a group would wrap the exception."""
    try:
        return await fn(*args), None
    except Exception as e:
        return None, e
    except Cancelled:
        return None, None


def interleave(addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Families alternate, beginning with the resolver's first choice."""
    if not addresses:
        return []
    first = [a for a in addresses if a[0] == addresses[0][0]]
    other = [a for a in addresses if a[0] != addresses[0][0]]
    return [a for pair in itertools.zip_longest(first, other) for a in pair if a is not None]


async def connect(network: str, family: int, sockaddr: Any, local: dict[int, Any] | None) -> Conn:
    """Connects one socket.  Raises what the system reports.

    A port of this host where nobody listens may be the very one that the system chooses for our end; the connection then
    connects to itself.  That is tried again, as in Go's doDialTCP."""
    chosen = network != "unix" and (local is None or local[family][1] == 0)  # the system chooses our port
    for _ in range(SELF_CONNECTS):
        conn = await _connect(network, family, sockaddr, local)
        if not chosen:
            return conn
        with Lent(conn.fd, family, socket.SOCK_STREAM, 0) as sock:
            try:
                if sock.getsockname() != sock.getpeername():
                    return conn
            except OSError:  # the peer has gone already: the first read says so
                return conn
        conn.close()
    raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


async def _connect(network: str, family: int, sockaddr: Any, local: dict[int, Any] | None) -> Conn:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if network != "unix":
            set_defaults(sock)
        if local is not None:
            sock.bind(local[family])
        code = sock.connect_ex(sockaddr)
        if code == errno.EAGAIN:  # a Unix listener whose backlog is full: the system offers no way to wait
            raise OSError(code, "the listener's backlog is full")
        if code and code not in _CONNECTING:
            raise OSError(code, os.strerror(code))
        fd = sock.detach()
    except BaseException:
        sock.close()
        raise
    conn = Conn(fd, network, sockaddr)
    try:
        if code:
            try:
                await conn.call_op(_Connected(conn, family), True)
            except OSError as e:  # as the system says it: the caller says what it was for
                raise OSError(e.errno, os.strerror(e.errno or errno.EIO)) from None
    except BaseException:
        conn.close()
        raise
    return conn


class _Connected:
    """Whether a connect that is under way has come to its end.  Readiness alone does not say so."""

    def __init__(self, conn: Conn, family: int) -> None:
        self.conn = conn
        self.family = family

    def __call__(self) -> None:
        with Lent(self.conn.fd, self.family, socket.SOCK_STREAM, 0) as sock:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            try:
                sock.getpeername()
            except OSError as e:
                if e.errno == errno.ENOTCONN:
                    raise BlockingIOError from None
                raise


async def dial(
    network: str, address: str | Addr, timeout: float | None = None, local_addr: str | Addr | None = None
) -> Conn:
    """Connects to "host:port" or to a Unix socket's path.

    network: tcp, tcp4, tcp6 or unix.  Raises ConnectionRefusedError and other OSErrors ("dial tcp 127.0.0.1:1:
    Connection refused"), DeadlineExceeded after `timeout` seconds, socket.gaierror for a name that does not resolve,
    ValueError for a malformed address.  Follows Go's net.Dial (net/dial.go)."""
    if network in ("udp", "udp4", "udp6", "unixgram"):
        raise ValueError(f"dial: {network} has datagrams: use `await gort.net.dial_packet({network!r}, …)`")
    return await Dialer(timeout, local_addr).dial(network, address)


def from_socket(sock: socket.socket) -> Conn:
    """A Conn of a connected stream socket of the standard library, which gives its descriptor up.

    Raises ValueError for any other kind of socket, an ssl.SSLSocket too (a Conn of its descriptor would write what it
    should encrypt), OSError when it is not connected."""
    if hasattr(sock, "do_handshake"):
        raise ValueError("from_socket takes a plain socket: TLS is gort.net.tls_client or tls_server, over its Conn")
    if sock.type & 0xF != socket.SOCK_STREAM:
        raise ValueError("from_socket takes a connected stream socket")
    peer = sock.getpeername()
    networks = {socket.AF_UNIX: "unix", socket.AF_INET: "tcp", socket.AF_INET6: "tcp"}
    network = networks.get(sock.family)
    if network is None:
        raise ValueError(f"from_socket: no network of family {sock.family!r}")
    sock.setblocking(False)
    return Conn(sock.detach(), network, from_sockname(network, peer))
