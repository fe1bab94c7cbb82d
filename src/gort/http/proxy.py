"""What trusted proxies say of a client: X-Forwarded-For and X-Forwarded-Proto.

Only what comes from a trusted address is believed.  The list of addresses in X-Forwarded-For grows at its end: each proxy
adds whom it has seen.  So the client is the last one that is not itself a trusted proxy; what stands before it may be
anything, for the client has sent it.

What does not live here: the header Forwarded (RFC 7239), which few proxies send.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gort.http.exchange import Exchange


class Trusted:
    """Addresses and networks ("10.0.0.0/8"), "unix" for who connects by a Unix socket, "*" for everybody.

    Raises ValueError for what is none of these."""

    def __init__(self, proxies: Iterable[str]) -> None:
        names = [proxies] if isinstance(proxies, str) else list(proxies)
        self.everybody: bool = "*" in names
        self.unix: bool = "unix" in names or self.everybody
        self.networks: list[Any] = [ipaddress.ip_network(n, strict=False) for n in names if n not in ("*", "unix")]

    def __contains__(self, host: str) -> bool:
        if self.everybody:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.networks)

    def apply(self, exchange: Exchange) -> None:
        """Sets the exchange's client and scheme."""
        client = exchange.client
        if (client[0] not in self) if client is not None else not self.unix:
            return
        names: list[str] = []
        for name, value in exchange.headers:
            if name == b"x-forwarded-for":
                names += [part.strip() for part in value.decode("latin-1").split(",")]
            elif name == b"x-forwarded-proto":
                proto = value.rpartition(b",")[2].strip().lower()
                if proto in (b"http", b"https"):
                    exchange.scheme = proto.decode()
        found = ""
        for text in reversed(names):
            host = _host(text)
            if host is None:
                break  # what stands before it is not to be believed either
            found = host
            if found not in self:
                break
        if found:
            exchange.client = (found, 0)


def _host(text: str) -> str | None:
    """The address of an entry, which may have a port; None for what is no address."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
