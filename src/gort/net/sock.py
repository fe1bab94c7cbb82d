"""Socket objects of the standard library on descriptors that gort owns.

A number has one owner, which alone may close it: the PollDesc (gort/_runtime/poll/polldesc.py).  Where Python's socket is
needed beside it, for a call that os does not have, it is lent the number.  Here are also the options that sockets have
from the start.
"""

from __future__ import annotations

import socket

# Go's defaults: whether the peer is still there is asked after 15 s without traffic, up to 9 times.
KEEP_ALIVE_S = 15
KEEP_ALIVE_PROBES = 9


def set_defaults(sock: socket.socket) -> None:
    """What every TCP connection has in Go: small writes go at once, and a dead peer is noticed.  Set on a listener too:
    Linux gives what it accepts the same options."""
    sock.setsockopt(socket.SOL_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.SOL_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_S)
    sock.setsockopt(socket.SOL_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_S)
    sock.setsockopt(socket.SOL_TCP, socket.TCP_KEEPCNT, KEEP_ALIVE_PROBES)


class Lent(socket.socket):
    """A socket object that never closes its number, whatever happens to it: close, `with` and its end only let go.  Its
    owner may have closed the number before, and somebody else may have got it."""

    def __init__(self, fd: int, family: int = -1, type: int = -1, proto: int = -1) -> None:
        super().__init__(family, type, proto, fd)

    def close(self) -> None:
        """Lets the number go."""
        self.detach()

    def __del__(self) -> None:
        self.detach()
