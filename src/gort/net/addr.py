"""Network names and addresses.  Follows Go's net/dial.go (parseNetwork) and net/ipsock.go (SplitHostPort).

An address is one object for all families: `str(addr)` is what listen and dial take.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any, NamedTuple

STREAMS = ("tcp", "tcp4", "tcp6", "unix")
DATAGRAMS = ("udp", "udp4", "udp6", "unixgram")
_FAMILIES = {
    "tcp": socket.AF_UNSPEC,
    "tcp4": socket.AF_INET,
    "tcp6": socket.AF_INET6,
    "udp": socket.AF_UNSPEC,
    "udp4": socket.AF_INET,
    "udp6": socket.AF_INET6,
    "unix": socket.AF_UNIX,
    "unixgram": socket.AF_UNIX,
}
# How a socket of both families sees an IPv4 peer.  An Addr has the IPv4 address itself, as in Go.
MAPPED = "::ffff:"
_MAPPED = bytes(10) + b"\xff\xff"


class Addr(NamedTuple):
    """An end of a connection: network ("tcp", "udp", "unix", …), host and port, or for Unix sockets host as the path
    and port 0.  An abstract Unix name begins with "@"."""

    network: str
    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.network.startswith("unix"):
            return self.host
        return join_host_port(self.host, self.port)


def join_host_port(host: str, port: int | str) -> str:
    """ "host:port", or "[host]:port" for IPv6.  Follows Go's net.JoinHostPort."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(address: str) -> tuple[str, str]:
    """("host", "port") of "host:port", "[v6]:port" or ":port".  ValueError says what is missing.  Follows Go's
    net.SplitHostPort."""
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket:
            raise ValueError(f"address {address!r}: missing ']'")
        if not rest.startswith(":"):
            raise ValueError(f"address {address!r}: missing port, as in {address}:80")
        return host, rest[1:]
    host, colon, port = address.rpartition(":")
    if not colon:
        raise ValueError(f"address {address!r}: missing port, as in {address}:80")
    if ":" in host:
        raise ValueError(f"address {address!r}: too many colons; an IPv6 address goes in brackets: [{host}]:{port}")
    return host, port


def check_network(network: Any, allowed: tuple[str, ...], what: str) -> int:
    """The address family of a network's name; ValueError for an unknown one."""
    if network not in allowed:
        raise ValueError(f"{what}: unknown network {network!r}; there are {', '.join(allowed)}")
    return int(_FAMILIES[network])


def check_address(address: Any, what: str) -> str:
    """The address, if it is a str; TypeError otherwise."""
    if isinstance(address, Addr):
        return str(address)
    if not isinstance(address, str):
        raise TypeError(f'{what}: an address is a str such as "127.0.0.1:80", not {type(address).__name__}')
    return address


def failed(what: str, e: OSError) -> OSError:
    """The error of an operation, which its message begins with.  Python reports some mistakes in an address itself,
    without an errno: the system calls them EINVAL."""
    number = e.errno if e.errno is not None else errno.EINVAL
    return OSError(number, f"{what}: {e.strerror or e}")


def unix_path(name: str) -> str:
    """What bind and connect take: "@" marks Linux's abstract names."""
    return "\0" + name[1:] if name.startswith("@") else name


def from_sockname(network: str, name: Any) -> Addr:
    """An Addr of what Python's socket gives as an address, or of the kernel's own form."""
    if network.startswith("unix"):
        return Addr(network, _shown(name))
    if isinstance(name, bytes):
        return _from_kernel(network, name)
    host, port = name[0], name[1]
    if host.startswith(MAPPED) and "." in host:
        host = host[len(MAPPED) :]
    elif len(name) == 4 and name[3] and "%" not in host:
        host = f"{host}%{name[3]}"
    return Addr(network, host, port)


def _shown(name: Any) -> str:
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    name = name or ""
    return "@" + name[1:] if name.startswith("\0") else str(name)


def _from_kernel(network: str, raw: bytes) -> Addr:
    (family,) = struct.unpack_from("=H", raw)
    (port,) = struct.unpack_from("!H", raw, 2)
    if family == socket.AF_INET:
        return Addr(network, socket.inet_ntop(family, raw[4:8]), port)
    if raw[8:20] == _MAPPED:
        return Addr(network, socket.inet_ntop(socket.AF_INET, raw[20:24]), port)
    host = socket.inet_ntop(socket.AF_INET6, raw[8:24])
    (scope,) = struct.unpack_from("=I", raw, 24)
    return Addr(network, f"{host}%{scope}" if scope else host, port)
