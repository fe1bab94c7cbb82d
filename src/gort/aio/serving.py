"""gort.aio.serve: several loops serve one address.

Each loop is a goroutine's own (running.py) and has a listening socket of its own, bound to the same address with
SO_REUSEPORT.  The kernel gives each new connection to one of them, by a hash of the client's address; so it stays in one
loop, and no loop hands anything to another.

Rejected: one listening socket that all loops watch (the first that wakes accepts all that is there: one loop had all of
100 connections); a loop that accepts and hands out (a switch of threads for each connection).

What does not live here: a server.  The application brings asyncio's, uvicorn's, aiohttp's.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, TypeVar

from gort import runtime
from gort._runtime.sched.blocking import blocking
from gort.aio.running import run
from gort.group import Group

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gort.aio.loop import Loop

_T = TypeVar("_T")


def _listen(host: str, port: int, loops: int, backlog: int) -> list[socket.socket]:
    """As many sockets that listen on the address.  Port 0: on one port that is free."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    made: list[socket.socket] = []
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # With SO_REUSEPORT alone a second start of the program would get half of the connections of the first, silently.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
    try:
        for _ in range(loops):
            sock = socket.socket(family, socket.SOCK_STREAM)
            made.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
            address = sock.getsockname()
        for sock in made:  # when all are bound: a client that is early is not refused
            sock.listen(backlog)
            sock.setblocking(False)
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made


async def serve(
    app: Callable[[socket.socket], Coroutine[Any, Any, _T]],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    loops: int | None = None,
    backlog: int = 2048,
    loop_factory: Callable[[], Loop] | None = None,
) -> list[_T]:
    """Runs `await app(sock)` in several event loops at once, each driven by a goroutine on a thread of its own:

        async def app(sock):
            server = await asyncio.start_server(handle, sock=sock)
            await server.serve_forever()

        await gort.aio.serve(app, "127.0.0.1", 8000, loops=4)

    sock listens on the address, and the kernel spreads the connections over the loops (SO_REUSEPORT).  loops: as many as
    there are Ps when None.  port 0: a free one, the same for all, which sock.getsockname() tells.

    Returns the results when all have returned; the socket of one that has returned is closed.  When one raises, the
    others are cancelled and waited for, and its exception is raised in an ExceptionGroup.  When the goroutine is
    cancelled, so are all.  OSError where the address cannot be had; ValueError for loops below 1; RuntimeError outside a
    goroutine."""
    n = runtime.gomaxprocs() if loops is None else loops
    if n < 1:
        raise ValueError(f"gort.aio.serve: loops={loops}: at least 1")
    socks: list[socket.socket] = await blocking(_listen, host, port, n, backlog)
    try:
        async with Group() as group:
            handles = [group.go(_serve, app, sock, loop_factory) for sock in socks]
        return [handle.result() for handle in handles]
    finally:
        for sock in socks:
            sock.close()


async def _serve(
    app: Callable[[socket.socket], Coroutine[Any, Any, _T]],
    sock: socket.socket,
    loop_factory: Callable[[], Loop] | None,
) -> _T:
    try:
        return await run(app(sock), loop_factory=loop_factory)
    finally:
        sock.close()  # else the kernel goes on to give it connections, which nobody would accept
