"""The functions that net.pxd declares, for the uncompiled core: the same names and contracts as the C in gort_net.h.

Each makes one system call that does not block (except net_epoll_wait) and decides nothing; poll/netpoll.py and
poll/fd.py decide.  Only the uncompiled core imports this file.
"""

from __future__ import annotations

import os
import re
import select
import socket
import sys
from typing import Any

NET_AGAIN = -2
_PRINTED = re.compile(b"[ -~]*")
_WAKE = (1).to_bytes(8, sys.byteorder)  # eight bytes: an eventfd takes nothing else, and a pipe takes them too
NET_EPOLL = hasattr(select, "epoll") and hasattr(os, "eventfd")  # whether there is epoll

net_close = os.close


def net_dup(fd: int) -> int:
    """Another descriptor of the same file, or the negative error."""
    try:
        return os.dup(fd)
    except OSError as e:
        return -(e.errno or 0)


def net_eventfd() -> int:
    """Makes the eventfd that wakes a sleeping poller."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def net_epoll_create() -> Any:
    """Makes an epoll object, where the C function makes a descriptor."""
    return select.epoll(flags=select.EPOLL_CLOEXEC)


def net_epoll_add(ep: Any, fd: int, mask: int) -> None:
    """Registers fd for the events in mask.  Raises OSError."""
    ep.register(fd, mask)


def net_epoll_mod(ep: Any, fd: int, mask: int) -> None:
    """Watches fd for the events in mask instead.  Raises OSError."""
    ep.modify(fd, mask)


def net_epoll_del(ep: Any, fd: int) -> None:
    """Removes fd.  No error if it is not registered."""
    try:
        ep.unregister(fd)
    except (OSError, ValueError):
        pass


def net_epoll_wait(ep: Any, delay: int) -> list[tuple[int, int]]:
    """Returns the events.  delay in ns; 0: does not wait, -1: waits without limit."""
    try:
        return list(ep.poll(None if delay < 0 else delay / 1e9, 256))
    except (InterruptedError, ValueError):  # ValueError: the program's end has closed the epoll object
        return []


def net_event_write(fd: int) -> None:
    """Wakes the sleeping poller.  An error means that the program's end has closed fd, or that a wake-up is pending
    already."""
    try:
        os.write(fd, _WAKE)
    except OSError:
        pass


def net_event_clear(fd: int) -> None:
    """Consumes the wake-up."""
    try:
        os.read(fd, len(_WAKE))
    except BlockingIOError:
        pass


def net_read(fd: int, n: int, sock: bool) -> bytes | None:
    """Reads up to n bytes.  None when the call would block."""
    try:
        return os.read(fd, n)
    except BlockingIOError:
        return None


def net_readinto(fd: int, target: Any, sock: bool) -> int:
    """Reads into target and returns the number of bytes; NET_AGAIN when the call would block."""
    try:
        return os.readv(fd, [target])
    except BlockingIOError:
        return NET_AGAIN


def _flat(data: Any) -> memoryview:
    return memoryview(data).cast("B")


def net_write(fd: int, data: Any, skip: int, sock: bool) -> int:
    """Writes data[skip:] and returns the number of bytes that the kernel took; NET_AGAIN when the call would block."""
    try:
        return os.write(fd, _flat(data)[skip:])
    except BlockingIOError:
        return NET_AGAIN


def net_find(data: bytes, start: int, delimiter: bytes, limit: int) -> int:
    """Where in data the delimiter that begins at or after `start` ends; -1 if there is none that ends within `limit`
    bytes."""
    at = data.find(delimiter, start, start + limit) if delimiter and limit > 0 else -1
    return at if at < 0 else at + len(delimiter)


def net_has(data: bytes, at: int, text: bytes) -> bool:
    """Whether `text` is what data has at `at`."""
    return at >= 0 and data.startswith(text, at)


def net_printed(data: bytes, start: int) -> int:
    """Where in data, from `start` on, the first byte is that is neither a space nor a visible character of ASCII; the end
    of data where there is none."""
    found = _PRINTED.match(data, start)
    assert found is not None
    return found.end()


def net_head(line: bytes, parts: list[Any], last: bytes) -> bytes | None:
    """The head of a response: `line`, a line "name: value" for each two of `parts`, and `last`.  None where something in
    `parts` is not bytes.  Raises ValueError where there is a line end or a NUL inside one of those lines; `last` is not
    looked at."""
    if any(type(part) is not bytes for part in parts):
        return None
    lines = [line[:-2], *parts]
    if any(end in each for each in lines for end in (b"\r", b"\n", b"\0")):
        raise ValueError("a header of the response has a line end in it")
    named = [b"%s: %s\r\n" % (parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
    return b"".join((line, *named, last))


def net_unmask(data: bytes, at: int, n: int) -> bytes:
    """The n bytes of a websocket's frame that begin at `at`, without the mask: the four bytes before them."""
    mask = (data[at - 4 : at] * (n // 4 + 1))[:n]
    return (int.from_bytes(data[at : at + n], "big") ^ int.from_bytes(mask, "big")).to_bytes(n, "big")


def net_writev(fd: int, parts: tuple[Any, ...], skip: int, sock: bool) -> int:
    """net_write for several buffers; skip counts from the start of the first."""
    left = []
    for part in parts:
        view = _flat(part)
        if skip >= len(view):
            skip -= len(view)
            continue
        left.append(view[skip:])
        skip = 0
        if len(left) == 64:
            break
    try:
        return os.writev(fd, left)
    except BlockingIOError:
        return NET_AGAIN


def net_accept(fd: int, sock: socket.socket) -> tuple[int, Any] | None:
    """Accepts a connection and returns (descriptor, address).  None when no connection is pending."""
    while True:
        try:
            conn, addr = sock._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return None
        except ConnectionAbortedError:
            continue
        os.set_blocking(conn, False)
        return conn, addr


def _compiled_only(*args: Any) -> Any:
    raise NotImplementedError("only the compiled core calls this; see gort_net.h")


net_event_fd = net_event_mask = net_load = net_store = net_swap = net_add = net_item = net_epoll_spin = _compiled_only
