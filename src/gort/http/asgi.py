"""ASGI applications (ASGI 3: https://asgi.readthedocs.io): lifespan, HTTP and, in ws.py, websockets.

An application that uses asyncio runs in a loop of gort.aio (loops.py); a native one, which awaits gort's operations or
nothing, runs in the connection's goroutine.  This file works in both: what it awaits are gort's operations, and a task of
such a loop can await them too.

What does not live here: framing (h1.py), what is done with an error (server.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gort._runtime.sched.blocking import blocking
from gort._runtime.wait.chan import Chan
from gort._runtime.web.view import VERSION, fields_of, scope_of
from gort.http.exchange import Disconnected
from gort.http.fields import known, lowered

if TYPE_CHECKING:
    from collections.abc import Callable

    from gort.http.exchange import Exchange, Headers


class LifespanError(RuntimeError):
    """The application says that it cannot start, or could not end in order."""


class Asgi:
    """The adapter of an ASGI application, for one loop, or for goroutines.

    pause: in a loop, makes way for its other callbacks (asyncio.sleep(0))."""

    pause: Callable[[], Any] | None = None
    caller: None = None  # each request is served by serve()

    def __init__(self, app: Any, root_path: str = "") -> None:
        self.app = app
        self.root: str = root_path.rstrip("/")
        self.state: dict[str, Any] = {}
        self._lifespan: _Lifespan | None = None

    async def startup(self, spawn: Callable[..., Any]) -> None:
        """Starts the application, if it has a lifespan.  Raises LifespanError if it says that it cannot start."""
        lifespan = _Lifespan(self.app, self.state)
        spawn(lifespan.run)
        if await lifespan.begun():
            self._lifespan = lifespan

    async def shutdown(self) -> None:
        """Ends the application.  Raises LifespanError if it says that it could not."""
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None:
            await lifespan.end()

    def scope(self, exchange: Exchange, kind: str) -> dict[str, Any]:
        """The scope of a request or a websocket."""
        return scope_of(exchange, kind, self.root, self.state)

    async def serve(self, exchange: Exchange) -> None:
        """Serves one request.  Raises what the application raises."""
        if exchange.upgrade == b"websocket":
            from gort.http.ws import WebSocket

            await WebSocket(self, exchange).run()
            return
        if self.pause is not None:  # a request that has just come goes behind those that have waited, for a pool, say
            await self.pause()
        http = _Http(exchange, self.pause)
        await self.app(scope_of(exchange, "http", self.root, self.state), http.receive, http.send)


class _Http:
    """receive() and send() of one request.

    _read: the whole body was read.  _trailers: those that have come, where the application has said that some will."""

    __slots__ = ("_exchange", "_pause", "_read", "_trailers")

    def __init__(self, exchange: Exchange, pause: Callable[[], Any] | None) -> None:
        self._exchange = exchange
        self._pause = pause
        self._read = False
        self._trailers: Headers | None = None

    async def receive(self) -> dict[str, Any]:
        """The next message for the application."""
        exchange = self._exchange
        if self._read:
            await exchange.gone()
            if self._pause is not None:
                # A task that was cancelled at the same moment gets the cancellation here, and not the message: Django
                # cancels the task that waits for it when the response is made, and expects just that.
                await self._pause()
            return {"type": "http.disconnect"}
        try:
            body = await exchange.read()
        except Disconnected:
            self._read = True
            return {"type": "http.disconnect"}
        self._read = exchange.at_end
        return {"type": "http.request", "body": body, "more_body": not self._read}

    async def send(self, message: dict[str, Any]) -> None:
        """Takes a message of the application's.  Raises OSError when the client has gone, RuntimeError and ValueError
        for messages that are not in order."""
        exchange = self._exchange
        kind = message["type"]
        if kind == "http.response.body":
            if not exchange.started:
                raise RuntimeError("http.response.body before http.response.start")
            more = message.get("more_body", False)
            await exchange.send(message.get("body", b""), more or self._trailers is not None)
        elif kind == "http.response.start":
            exchange.start(message["status"], b"", headers_of(message))
            if message.get("trailers", False):
                self._trailers = []
        elif kind == "http.response.pathsend":
            await _send_path(exchange, message["path"])
        elif kind == "http.response.trailers":
            if self._trailers is None:
                raise RuntimeError("http.response.trailers, but http.response.start said that there are none")
            self._trailers += headers_of(message)
            if not message.get("more_trailers", False):
                await exchange.end(self._trailers)
        elif kind == "http.response.early_hint":
            await exchange.inform(103, [(b"link", bytes(link)) for link in message["links"]])
        else:
            raise RuntimeError(f"a message that is not known here: {kind!r}")


def headers_of(message: dict[str, Any]) -> Headers:
    """The headers of an application's message, names in lower case.  Raises ValueError for a name that is none."""
    return fields_of(message.get("headers", ()), known, lowered)


async def _send_path(exchange: Exchange, path: Any) -> None:
    fd = await blocking(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        await exchange.send_file(fd, 0, os.fstat(fd).st_size)
    finally:
        os.close(fd)


class _Lifespan:
    """The lifespan of an application: a goroutine or a task of its own."""

    def __init__(self, app: Any, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state
        self._in: Chan[str] = Chan(2)
        self._out: Chan[tuple[str, str]] = Chan(4)
        self._over: Chan[None] = Chan()
        self._error: BaseException | None = None
        self._in.try_send("startup")

    async def run(self) -> None:
        """Calls the application."""
        scope = {"type": "lifespan", "asgi": VERSION.copy(), "state": self._state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as e:
            self._error = e
        finally:
            self._over.close()
            self._out.close()

    async def _receive(self) -> dict[str, Any]:
        return {"type": f"lifespan.{await self._in.recv()}"}

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind not in (
            "lifespan.startup.complete",
            "lifespan.startup.failed",
            "lifespan.shutdown.complete",
            "lifespan.shutdown.failed",
        ):
            raise RuntimeError(f"a message that is not known here: {kind!r}")
        self._out.try_send((kind, message.get("message", "")))

    async def begun(self) -> bool:
        """Waits for the application's start; False: it knows no lifespan."""
        said, _ = await self._out.recv_ok()
        if said is None:
            self._error = None
            return False
        if said[0] == "lifespan.startup.failed":
            await self._over.recv_ok()
            raise LifespanError(f"the application has not started: {said[1]}") from self._error
        return True

    async def end(self) -> None:
        """Waits for its end."""
        self._in.try_send("shutdown")
        said, _ = await self._out.recv_ok()
        await self._over.recv_ok()
        if self._error is not None if said is None else said[0] == "lifespan.shutdown.failed":
            raise LifespanError(f"the application has not ended in order: {said[1] if said else ''}") from self._error
