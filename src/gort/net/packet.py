"""Datagrams: UDP and Unix.  Follows Go's net.PacketConn and net.UDPConn (net/udpsock.go)."""

from __future__ import annotations

import os
import socket
from _collections_abc import Awaitable
from typing import Any

from gort._start.hints import Buffer
from gort.net.addr import (
    DATAGRAMS,
    MAPPED,
    Addr,
    check_address,
    check_network,
    failed,
    from_sockname,
    split_host_port,
    unix_path,
)
from gort.net.conn import Descriptor
from gort.net.listen import UNUSABLE, local_addresses
from gort.net.resolve import is_numeric, lookup
from gort.net.sock import Lent

READ_MAX = 65535  # bytes: no UDP datagram is longer; those of Unix sockets may be
ADDRESSES_MAX = 1024  # numeric addresses that a socket keeps in the form that the system takes


class PacketConn(Descriptor):
    """A datagram socket: `data, addr = await pc.read_from()`, `await pc.write_to(data, addr)`; connected to one peer (by
    dial_packet) also `read()` and `write(data)`, a datagram each.  Follows Go's net.PacketConn."""

    __slots__ = ("_addresses", "_sock", "remote_addr")

    def __init__(self, sock: socket.socket, network: str, remote: Addr | None = None) -> None:
        fd = sock.detach()
        super().__init__(fd, network)
        self._sock = Lent(fd, sock.family, sock.type, sock.proto)
        self.remote_addr: Addr | None = remote
        self._addresses: dict[str, Any] = {}

    @property
    def addr(self) -> Addr:
        """This end's address."""
        return self.local_addr

    def describe(self) -> str:
        """How messages name it."""
        far = f"->{self.remote_addr}" if self.remote_addr is not None else ""
        near = str(self.local_addr) if self.fd >= 0 or self._local is not None else ""
        return f"{self.network} {near}{far}"

    def __repr__(self) -> str:
        return f"<gort.net.PacketConn {self.describe()}{' closed' if self.closing else ''}>"

    def close(self) -> None:
        """Closes it at once; goroutines that wait on it get Closed."""
        if not self.closing:
            _ = self.local_addr
            self.shut()
            if self.network == "unixgram" and self._local is not None:
                path = self._local.host
                if path and not path.startswith("@"):
                    try:
                        os.unlink(path)
                    except OSError:
                        pass

    def read(self, n: int = READ_MAX) -> Awaitable[bytes]:  # type: ignore[override]  # an operation, or a coroutine
        """`data = await pc.read()`: one datagram of the peer's, whole by default; what is longer than n bytes is cut
        off.
        Raises as conn.read does."""
        if n == READ_MAX and self.network == "unixgram":
            return self._read_whole()
        return super().read(n)

    async def _read_whole(self) -> bytes:
        return (await self.read_from())[0]

    async def read_from(self, n: int = READ_MAX) -> tuple[bytes, Addr]:
        """One datagram and who sent it, whole by default; what is longer than n bytes is cut off.  Raises as conn.read
        does, and ValueError unless n is positive."""
        if n <= 0:
            raise ValueError(f"read_from(n) takes a positive number of bytes, not {n}")
        whole = n == READ_MAX and self.network == "unixgram"
        data, name = await self.call_op(_Receive(self, 0 if whole else n), False)
        return data, from_sockname(self.network, name)

    async def write_to(self, data: Buffer, addr: str | Addr) -> None:
        """Sends one datagram.  Raises OSError (EMSGSIZE: too long), as conn.write does, and for the address as dial."""
        key = str(addr)
        target = self._addresses.get(key)
        if target is None:
            target, fixed = await self._resolve(addr)
            if fixed:
                if len(self._addresses) >= ADDRESSES_MAX:
                    self._addresses.clear()
                self._addresses[key] = target
        await self.call_op(_Send(self, data, target), True)

    async def _resolve(self, addr: str | Addr) -> tuple[Any, bool]:
        """The address as the socket takes it, and whether it stays the same.  A name's does not."""
        if self.network == "unixgram":
            return unix_path(str(addr)), True
        if isinstance(addr, Addr):
            host, port = addr.host, str(addr.port)
        else:
            host, port = split_host_port(check_address(addr, "write_to"))
        family = self._sock.family
        found = await lookup(host, port, socket.AF_UNSPEC, socket.SOCK_DGRAM)
        fixed = is_numeric(host, port)
        for fam, sockaddr in found:
            if fam == family:
                return sockaddr, fixed
        if family == socket.AF_INET6:  # a socket of both families takes IPv4 addresses in this form
            return (MAPPED + found[0][1][0], found[0][1][1]), fixed
        raise OSError(97, f"write {self.network} {addr}: no address of this socket's family")


class _Receive:
    def __init__(self, pc: PacketConn, n: int) -> None:
        self.pc, self.n = pc, n

    def __call__(self) -> Any:
        n = self.n
        if n == 0:  # the whole datagram: the system says how long it is
            n = max(1, self.pc._sock.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC))
        return self.pc._sock.recvfrom(n)


class _Send:
    def __init__(self, pc: PacketConn, data: Any, target: Any) -> None:
        self.pc, self.data, self.target = pc, data, target

    def __call__(self) -> None:
        self.pc._sock.sendto(self.data, self.target)


def _socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if family != socket.AF_UNIX:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)  # as in Go
        except BaseException:
            sock.close()
            raise
    return sock


async def listen_packet(network: str, address: str | Addr, *, reuse_port: bool = False) -> PacketConn:
    """A datagram socket bound to "host:port" or to a Unix path.  network: udp, udp4, udp6, unixgram.  Raises as
    listen.  Follows Go's net.ListenPacket."""
    address = check_address(address, "listen_packet")
    family = check_network(network, DATAGRAMS, "listen_packet")
    if network == "unixgram":
        addresses: list[tuple[int, Any]] = [(int(socket.AF_UNIX), unix_path(address))]
    else:
        addresses = await local_addresses(network, address, family)
    error: OSError | None = None
    for family, sockaddr in addresses:
        try:
            return PacketConn(_bound(network, family, sockaddr, reuse_port), network)
        except OSError as e:
            error = e
            if e.errno not in UNUSABLE:
                break
    assert error is not None
    raise failed(f"listen {network} {address}", error)


def _bound(network: str, family: int, sockaddr: Any, reuse_port: bool) -> socket.socket:
    sock = _socket(family)
    try:
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            only = network == "udp6" or sockaddr[0] != "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only))
        sock.bind(sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


async def dial_packet(network: str, address: str | Addr) -> PacketConn:
    """A datagram socket connected to one peer: `read` and `write` go from and to it alone.  Raises as dial; a port where
    nobody listens shows as ConnectionRefusedError at a later read or write."""
    address = check_address(address, "dial_packet")
    family = check_network(network, DATAGRAMS, "dial_packet")
    if network == "unixgram":
        family, sockaddr = int(socket.AF_UNIX), unix_path(address)
    else:
        host, port = split_host_port(address)
        family, sockaddr = (await lookup(host or "localhost", port, family, socket.SOCK_DGRAM))[0]
    try:
        sock = _socket(family)
        try:
            sock.connect(sockaddr)
        except BaseException:
            sock.close()
            raise
    except OSError as e:
        raise failed(f"dial {network} {address}", e) from None
    return PacketConn(sock, network, from_sockname(network, sock.getpeername()))
