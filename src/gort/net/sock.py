"""Socket objects of the standard library on descriptors that gort owns.

A number has one owner, which alone may close it: the PollDesc (gort/_runtime/poll/polldesc.py).  Where Python's socket is
needed beside it, for a call that os does not have, it is lent the number.
"""

from __future__ import annotations

import socket


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
