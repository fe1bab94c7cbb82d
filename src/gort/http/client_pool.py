"""The connections of a client: which request gets which, and who waits for one.

A connection takes `room` requests at a time: one in HTTP/1.1, many in HTTP/2.  At most `limit` are open.  A request gets
a connection of its origin that has room, the one used last first; else a new one; else, at the limit, the place of an
idle one of another origin; else it waits, and those that wait are served in their order.

`_mu` guards the fields below it, and is held for a few steps, never across an await.  It is re-entrant, because a
finalizer that the collector runs in between may close the client.

A waiter is granted a connection, or the right to open one (None), under `_mu` and once.  Whoever stops waiting
(cancelled, timed out) takes himself out of the queue, or finds in his channel what he has been granted, and passes it on.
So no connection and no right is lost.

What does not live here: how a connection is opened (client.py), requests on it (client_h1.py, client_h2.py).
"""

from __future__ import annotations

import threading
from _collections_abc import Awaitable, Callable
from collections import deque
from typing import Any

from gort._runtime.sched.timers import monotonic
from gort._runtime.wait.chan import Chan
from gort._runtime.wait.select import select
from gort._runtime.wait.timechan import Timer
from gort.http.client_errors import PhaseTimeout
from gort.http.client_request import Origin

_CLOSED = RuntimeError("the client is closed")


class _Waiter:
    """A request that waits.  granted: what it gets: a connection, None, or _CLOSED."""

    __slots__ = ("granted", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.granted: Chan[Any] = Chan(1)


class Pool:
    """The connections of a client.  dial: opens one.  idle_s: how long one is kept without a request."""

    def __init__(self, limit: int | None, idle_s: float, dial: Callable[..., Awaitable[Any]]) -> None:
        self.limit = limit
        self.idle_s = idle_s
        self._dial = dial
        self._mu = threading.RLock()
        self._open = 0  # connections, and rights to open one
        self._by_origin: dict[Origin, list[Any]] = {}  # all connections; those used last at the end
        self._idle: dict[Any, float] = {}  # those without a request -> since when, the longest first
        self._waiting: deque[_Waiter] = deque()
        self._shared = False  # there is, or was, a connection with more room than one
        self._closed = False

    def __repr__(self) -> str:
        with self._mu:
            return f"<gort.http.Pool: {self._open} open, {len(self._idle)} idle, {len(self._waiting)} waiting>"

    @property
    def open(self) -> int:
        """How many connections are open or being opened."""
        return self._open

    async def take(self, origin: Origin, timeout: float | None, connect_s: float | None, fresh: bool) -> Any:
        """A connection of this origin for one request.  fresh: none that was used before.

        Raises PhaseTimeout when none is free in time, RuntimeError when the client is closed, what dialling raises."""
        c = await self._reserve(origin, timeout, fresh)
        if c is not None:
            return c
        try:
            c = await self._dial(origin, connect_s)
        except BaseException:
            with self._mu:
                self._open -= 1
                self._pass_on()
            raise
        with self._mu:
            if self._closed:
                self._open -= 1
            else:
                c.used = 1
                self._by_origin.setdefault(origin, []).append(c)
                if c.room > 1:
                    self._shared = True
                    self._pass_on()
                return c
        c.close()
        raise _CLOSED

    async def _reserve(self, origin: Origin, timeout: float | None, fresh: bool) -> Any:
        """A connection with one more request, or None: the right to open one."""
        with self._mu:
            if self._closed:
                raise _CLOSED
            self._expire()
            if not self._waiting or self._shared:  # who comes later does not overtake
                ok, c = self._find(origin, fresh)
                if ok:
                    return c
            waiter = _Waiter(origin)
            self._waiting.append(waiter)
        try:
            if timeout is None:
                c = await waiter.granted.recv()
            else:
                timer = Timer(timeout)
                try:
                    i, c, _ = await select(waiter.granted.recv(), timer.c.recv())
                finally:
                    timer.stop()
                if i == 1:
                    raise PhaseTimeout("pool", timeout)
        except BaseException:
            self._forget(waiter)
            raise
        if c is _CLOSED:
            raise _CLOSED
        return c

    def _forget(self, waiter: _Waiter) -> None:
        """Somebody waits no longer."""
        with self._mu:
            try:
                self._waiting.remove(waiter)
                return
            except ValueError:
                pass
            c, ok = waiter.granted.try_recv()
            if not ok or c is _CLOSED:
                return
            if c is None:
                self._open -= 1
                self._pass_on()
                return
        self.give(c, True)

    def _find(self, origin: Origin, fresh: bool = False) -> tuple[bool, Any]:
        """(True, a connection with room, or None for the right to open one); (False, None): there is neither."""
        if not fresh:
            for c in reversed(self._by_origin.get(origin, ())):
                if c.used < c.room:
                    if c.used == 0 and not c.usable:
                        self._drop(c)  # goes on: the list that is walked is another one then
                        return self._find(origin)
                    c.used += 1
                    self._idle.pop(c, None)
                    return True, c
        if self.limit is None or self._open < self.limit:
            self._open += 1
            return True, None
        if self._idle:
            self._drop(next(iter(self._idle)))
            self._open += 1
            return True, None
        return False, None

    def _drop(self, c: Any) -> None:
        """Closes a connection, and forgets it."""
        self._idle.pop(c, None)
        for origin, conns in self._by_origin.items():
            if c in conns:
                rest = [other for other in conns if other is not c]
                if rest:
                    self._by_origin[origin] = rest
                else:
                    del self._by_origin[origin]
                self._open -= 1
                break
        c.leave()

    def _expire(self) -> None:
        """Closes what has been idle for too long."""
        now = monotonic()
        while self._idle:
            c, since = next(iter(self._idle.items()))
            if now - since < self.idle_s:
                return
            self._drop(c)

    def give(self, c: Any, usable: bool) -> None:
        """A request on the connection is over.  usable: it may get another one."""
        with self._mu:
            c.used -= 1
            if not usable or self._closed:
                c.room = 0  # no more requests; others that it has go on
            if c.used <= 0:
                if c.room == 0:
                    self._drop(c)
                else:
                    self._idle[c] = monotonic()
            self._expire()
            self._pass_on()

    def _pass_on(self) -> None:
        """Grants what is free to those that wait, in their order.  Where some connections have room for many, who waits
        for another origin is overtaken: there is nothing for it."""
        left: deque[_Waiter] = deque()
        while self._waiting:
            waiter = self._waiting.popleft()
            ok, c = self._find(waiter.origin)
            if ok:
                waiter.granted.try_send(c)
                continue
            left.append(waiter)
            if not self._shared:
                break
        left.extend(self._waiting)
        self._waiting = left
        if self._closed:  # by a finalizer, meanwhile
            self._refuse()

    def _refuse(self) -> None:
        while self._waiting:
            self._waiting.popleft().granted.try_send(_CLOSED)

    def close(self) -> None:
        """Closes the connections without a request, and takes no more requests.  Others are closed when theirs end."""
        with self._mu:
            self._closed = True
            self._refuse()
            for c in list(self._idle):
                self._drop(c)
