"""Name resolution off the scheduler's threads.  Follows Go's net/lookup.go.

The system's resolver blocks, perhaps for a minute, so it runs in a thread of its own: whoever waits for it can be
cancelled, and has deadlines.  Numeric addresses need none and are answered here.
"""

from __future__ import annotations

import socket
from typing import Any

from gort._apart import apart


async def lookup(host: str, port: str | int, family: int, kind: int) -> list[tuple[int, Any]]:
    """[(family, address as sockets take it)] in the resolver's order.

    Raises socket.gaierror, with the name in its message, where the name is unknown."""
    if isinstance(port, str) and port.isdigit():
        port = int(port)
    if isinstance(port, int) and not 0 <= port <= 65535:
        raise ValueError(f"invalid port {port}: 0 to 65535")
    numeric = _numeric(host, port, family) if isinstance(port, int) else None
    if numeric is not None:
        return [numeric]
    try:
        found = await apart(f"lookup {host}", socket.getaddrinfo, host, port, family, kind)
    except socket.gaierror as e:
        raise socket.gaierror(e.errno, f"lookup {host}: {e.strerror}") from None
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, f"lookup {host!r}: no valid host name") from None
    result: list[tuple[int, Any]] = []
    for fam, _kind, _proto, _name, sockaddr in found:
        if (fam, sockaddr) not in result:
            result.append((int(fam), sockaddr))
    return result


def is_numeric(host: str, port: str | int) -> bool:
    """Whether lookup answers without asking anybody, and so always the same."""
    return str(port).isdigit() and _numeric(host, int(port), socket.AF_UNSPEC) is not None


def _numeric(host: str, port: int, family: int) -> tuple[int, Any] | None:
    """The address, if host is one of IPv4 or of IPv6 without a zone, and of the family asked for."""
    for fam in (socket.AF_INET, socket.AF_INET6):
        if family not in (socket.AF_UNSPEC, fam):
            continue
        try:
            socket.inet_pton(fam, host)
        except (OSError, ValueError):
            continue
        return int(fam), (host, port)
    return None
