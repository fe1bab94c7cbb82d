"""How a listener ends without a client that has connected and is not answered.

When a listening socket is closed, the kernel resets the connections that nobody has accepted, with the requests that may
be in them.  To accept until there is none is not enough: another may come just before the close.  So first the kernel
stops taking new ones (a filter on the socket drops packets that ask for a connection; a Unix socket's file is removed),
then those that are there are accepted, then the socket is closed.  Who asks for a connection meanwhile asks again a
second later, as for any packet that is lost, and is refused, or reaches the server that has taken this one's place.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import Any

QUIET_S = 0.02  # without another connection, after which there is none
_SO_ATTACH_FILTER = 26
# A program of the classic BPF: load the flags of the TCP header; with SYN drop the packet, else take it.
_NO_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


def take_no_more(ln: Any) -> None:
    """Has the kernel take no more connections for a listener.  Does nothing where it cannot be asked to."""
    if ln.network == "unix":
        path = ln.addr.host
        if not path.startswith("@"):
            try:
                os.unlink(path)
            except OSError:
                pass
        return
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    # struct sock_fprog: the number of instructions, and where they are.
    fprog = struct.pack("HL", len(_NO_SYN) // 8, ctypes.addressof(program))
    try:
        ln.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError:
        pass


async def last_ones(ln: Any, begin: Any) -> None:
    """Calls begin(conn, ln) with each connection that waits, and returns when there is none."""
    take_no_more(ln)
    try:
        while True:
            ln.set_read_deadline(QUIET_S)
            begin(await ln.accept(), ln)
    except OSError:
        pass  # none for QUIET_S; or out of descriptors, and they cannot be served
