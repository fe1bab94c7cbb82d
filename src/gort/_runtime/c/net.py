"""What net.pxd declares, for the uncompiled core: same names, same contracts.  The C is in gort_net.h.

Nothing here decides anything.  Only the uncompiled core imports this file.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Any

NET_AGAIN = -2

net_close = os.close


def net_eventfd() -> int:
    """What wakes a poller that sleeps."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def net_epoll_create() -> Any:
    """An epoll object in place of a descriptor."""
    return select.epoll(flags=select.EPOLL_CLOEXEC)


def net_epoll_add(ep: Any, fd: int, mask: int) -> None:
    """Registers fd."""
    ep.register(fd, mask)


def net_epoll_del(ep: Any, fd: int) -> None:
    """Takes fd out; no error where it is not in."""
    try:
        ep.unregister(fd)
    except (OSError, ValueError):
        pass


def net_epoll_wait(ep: Any, delay: int) -> list[tuple[int, int]]:
    """The events.  delay in ns: 0 looks, -1 waits."""
    try:
        return list(ep.poll(None if delay < 0 else delay / 1e9, 256))
    except (InterruptedError, ValueError):  # ValueError: closed by the end of the program
        return []


def net_event_write(fd: int) -> None:
    """Wakes the sleeper."""
    try:
        os.eventfd_write(fd, 1)
    except OSError:
        pass


def net_event_clear(fd: int) -> None:
    """Takes the wake-up."""
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        pass


def net_read(fd: int, n: int, sock: bool) -> bytes | None:
    """Up to n bytes; None when it would block."""
    try:
        return os.read(fd, n)
    except BlockingIOError:
        return None


def net_readinto(fd: int, target: Any, sock: bool) -> int:
    """How many bytes came."""
    try:
        return os.readv(fd, [target])
    except BlockingIOError:
        return NET_AGAIN


def _flat(data: Any) -> memoryview:
    return memoryview(data).cast("B")


def net_write(fd: int, data: Any, skip: int, sock: bool) -> int:
    """How many bytes of data[skip:] the kernel took."""
    try:
        return os.write(fd, _flat(data)[skip:])
    except BlockingIOError:
        return NET_AGAIN


def net_writev(fd: int, parts: tuple[Any, ...], skip: int, sock: bool) -> int:
    """The same for several buffers."""
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
    """(descriptor, address), or None when nobody waits to be accepted."""
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


net_event_fd = net_event_mask = net_load = net_store = net_swap = net_add = net_item = _compiled_only
