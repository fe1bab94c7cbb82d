"""Where the connections of an asyncio application run: as tasks of one event loop, or of several.

Each loop is a goroutine's own (gort.aio).  The server accepts in a goroutine and gives each new connection to the next
loop, which keeps it to its end.  Each loop has the application's lifespan, and a state, of its own: what is made at the
start, such as a pool of connections to a database, belongs to one loop.

Rejected: a listening socket that all loops watch (the first that wakes accepts all); a loop for each connection (no pool
that was made at the start could be used).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gort.aio import Service, call
from gort.http.server import Connection, Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    from gort.http.asgi import Asgi


class Loops(Runner):
    """Runs connections in loops, an adapter for each."""

    def __init__(self, adapters: list[Asgi]) -> None:
        super().__init__(adapters[0])
        for adapter in adapters:
            adapter.pause = _pause
        self._adapters = adapters
        self._services: list[Service] = []
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._next = 0
        self._tasks: set[Any] = set()  # a loop holds its tasks weakly

    async def begin(self) -> None:
        """Starts the loops, and the application in each."""
        for adapter in self._adapters:
            service = Service()
            loop = await service.__aenter__()
            self._services.append(service)
            self._loops.append(loop)
            await call(loop, adapter.startup(self.spawn))

    async def end(self) -> None:
        """Ends the application in each loop, and the loops."""
        try:
            for adapter, loop in zip(self._adapters, self._loops, strict=False):
                await call(loop, adapter.shutdown())
        finally:
            for service in self._services:
                await service.__aexit__(None, None, None)

    def spawn(self, fn: Callable[..., Any], *args: Any) -> None:
        """Starts a task in the loop that runs here."""
        self._keep(asyncio.get_running_loop().create_task(fn(*args)))

    def spawn_cancellable(self, fn: Callable[..., Any], *args: Any) -> Callable[[], object]:
        """Starts a task in the loop that runs here; what it returns cancels it."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(fn(*args))
        self._keep(task)
        return lambda: loop.call_soon_threadsafe(task.cancel)

    def _keep(self, task: Any) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def start(self, c: Connection) -> None:
        """Gives a connection to the next loop."""
        i = self._next = (self._next + 1) % len(self._loops)
        loop = self._loops[i]
        c.adapter = self._adapters[i]
        loop.call_soon_threadsafe(self._start, loop, c)

    def cancel(self, c: Connection) -> None:
        """Cancels a connection's task."""
        if c.its is None:
            c.conn.close()  # it has not begun
        else:
            loop, task = c.its
            loop.call_soon_threadsafe(task.cancel)

    def _start(self, loop: asyncio.AbstractEventLoop, c: Connection) -> None:
        task = loop.create_task(c.run())
        self._keep(task)
        c.its = (loop, task)
        task.add_done_callback(lambda _: c.finished(0, None, None))


async def _pause() -> None:
    await asyncio.sleep(0)
