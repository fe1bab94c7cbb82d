"""gort.net: connections in straight-line code, one goroutine each.  Follows Go's package net.

    ln = await gort.net.listen("tcp", "127.0.0.1:0")
    async for conn in ln:
        gort.go(serve, conn)

This file only re-exports.  docs/net.md is the guide.  TLS (dial_tls, listen_tls, tls_client, tls_server, TLSConn,
TLSListener) is imported on first use: ssl is large.
"""

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("gort.net needs descriptors of Unix, and this is Windows: there is no poller for it yet")

from gort._runtime.core.public import adopt as _adopt
from gort._runtime.core.public import publish as _publish
from gort._start.cython import lent as _lent

with _lent():
    from gort._runtime.poll.neterrors import Closed, DeadlineExceeded
    from gort.bufio import IncompleteRead, LimitExceeded
    from gort.net.addr import Addr, join_host_port, split_host_port
    from gort.net.conn import Conn
    from gort.net.dial import Dialer, dial, from_socket
    from gort.net.listen import Listener, listen
    from gort.net.packet import PacketConn, dial_packet, listen_packet

__all__ = [
    "Addr",
    "Closed",
    "Conn",
    "DeadlineExceeded",
    "Dialer",
    "IncompleteRead",
    "LimitExceeded",
    "Listener",
    "PacketConn",
    "TLSConn",
    "TLSListener",
    "dial",
    "dial_packet",
    "dial_tls",
    "from_socket",
    "join_host_port",
    "listen",
    "listen_packet",
    "listen_tls",
    "split_host_port",
    "tls_client",
    "tls_server",
]

if TYPE_CHECKING:
    from gort.net.tls import TLSConn, TLSListener, dial_tls, listen_tls, tls_client, tls_server
else:
    _TLS = ("TLSConn", "TLSListener", "dial_tls", "listen_tls", "tls_client", "tls_server")

    def __getattr__(name: str) -> Any:
        """The names of TLS.  The first look for one imports ssl, and enters them all."""
        if name not in _TLS:
            raise AttributeError(f"module 'gort.net' has no attribute {name!r}")
        from gort.net import tls

        for other in _TLS:
            value = globals()[other] = getattr(tls, other)
            _adopt(value, __name__)
        return globals()[name]


_publish(globals())
