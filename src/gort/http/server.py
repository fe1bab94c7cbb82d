"""The server: it accepts connections, has each served, and ends gracefully.

The end.  stop() lets the listeners take what waits for them already, and closes them.  A request that is being served,
or whose first byte has come, is answered; its response says that the connection ends.  A connection without a request
gets `linger_s` for one that may be on its way.  After grace_s what is left is cancelled.

What does not live here: a connection's protocol (h1.py), the interfaces of applications (wsgi.py, asgi.py), addresses,
signals and options (serving.py).
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import traceback
from _collections_abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.core.errors import Cancelled
from gort._runtime.core.handoff import cancel
from gort._runtime.core.mistakes import say
from gort._runtime.core.runtime2 import current_m
from gort._runtime.poll.neterrors import DeadlineExceeded
from gort._runtime.sched.blocking import blocking
from gort._runtime.sched.newproc import Done, go, newproc_from
from gort._runtime.sched.timers import monotonic
from gort._runtime.wait.chan import Chan
from gort._runtime.web.request import Parser
from gort._runtime.web.view import Caller
from gort.group import Group
from gort.http.closing import last_ones
from gort.http.config import Limits
from gort.http.counts import Counts
from gort.http.exchange import Disconnected, Exchange
from gort.http.h1 import H1Connection
from gort.http.proxy import Trusted
from gort.net import Listener
from gort.scope import move_on_after, shield

HANDSHAKE_S = 1.0  # for a handshake that has begun when the server ends
LAST_S = 5.0  # for what is cancelled at the end
HASTE_S = 3.0  # a handshake's, where there are too many: also for one that waits for this server, which is busy


def parser_of(name: str) -> Callable[[Limits], Parser]:
    """The parser of HTTP/1.1: "httptools", "h11", or "auto": httptools where it is installed."""
    if name in ("auto", "httptools"):
        try:
            from gort.http.llhttp import LlhttpParser

            return LlhttpParser
        except ImportError:
            if name == "httptools":
                raise
    elif name != "h11":
        raise ValueError(f"parser: {name!r} is neither auto, httptools nor h11")
    from gort.http.h11parser import H11Parser

    return H11Parser


class Connection(Done):
    """A connection, and the goroutine or task that serves it.  What a protocol needs to know of its surroundings.

    protocol: what reads and writes the connection; it has `await run()`, drain(), and `exchange`, the request that is
    being served, or None.  adapter: of the application.  client, where: as Exchange.client and Exchange.server."""

    def __init__(self, server: Server, runner: Runner, conn: Any, listener: Any) -> None:
        self.server = server
        self.runner = runner
        self.conn = conn
        self.listener = listener
        self.adapter: Any = runner.adapter
        self.protocol: Any = None
        self.scheme: str = "http"
        self.client: tuple[str, int | None] | None = None
        self.where: tuple[str, int | None] | None = None
        self.its: Any = None  # what runs it, for the runner

    @property
    def label(self) -> str:
        """What a dump says of the goroutine: the request that it serves."""
        exchange = getattr(self.protocol, "exchange", None)
        return "" if exchange is None else str(exchange.label)

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """The goroutine has ended."""
        self.server._ended(self)

    def abandoned(self, goid: int) -> None:
        """The program has ended before it."""

    def spawn(self, fn: Callable[..., Any], *args: Any) -> None:
        """Starts another goroutine, or task, for this connection: of the kind that run() runs in."""
        self.runner.spawn(fn, *args)

    def spawn_cancellable(self, fn: Callable[..., Any], *args: Any) -> Callable[[], object]:
        """The same; what it returns cancels it, from any goroutine."""
        return self.runner.spawn_cancellable(fn, *args)

    async def run(self) -> None:
        """Serves the connection, and closes it."""
        try:
            self._look()
            if hasattr(self.conn, "handshake"):
                await self._handshake()
            self.protocol = self._protocol()
            if self.server.stopping:
                self.protocol.drain()
            await self.protocol.run()
        except OSError:
            pass  # the client has gone, or the handshake has failed
        except Exception:
            self.server.report("a connection failed", None)
        finally:
            self.protocol = None
            self.conn.close()

    async def _handshake(self) -> None:
        """TLS's.  Raises OSError."""
        conn = self.conn
        self.scheme = "https"
        self.server.handshake_begins(conn)
        try:
            conn.set_deadline(HANDSHAKE_S if self.server.stopping else self.server.limits.head_s)
            await conn.handshake()
        finally:
            self.server.handshake_ends(conn)
        conn.set_deadline(None)

    def _look(self) -> None:
        """Who is at the two ends."""
        if self.conn.network == "unix":
            self.where = (self.listener.addr.host, None)
            return
        far, near = self.conn.remote_addr, self.listener.addr
        if near.host in ("0.0.0.0", "::"):
            near = self.conn.local_addr
        self.client = (far.host, far.port)
        self.where = (near.host, near.port)

    def _protocol(self) -> Any:
        """What the two ends speak."""
        if self.scheme == "https" and self.conn.alpn_protocol == "h2":
            from gort.http.h2server import H2Server

            return H2Server(self)
        return H1Connection(self)

    async def handle(self, exchange: Exchange) -> None:
        """Has a request served: the response has begun when this returns, or the client has gone."""
        await self.server.handle(exchange, self.adapter)

    def serve(self) -> Callable[[Exchange], Any]:
        """What a protocol may await for each request in place of handle: the adapter's own method, where the server has
        nothing to count, to log or to refuse.  The caller then calls failed() and unanswered()."""
        return self.handle if self.server.watches else self.adapter.serve

    def caller(self) -> Caller | None:
        """What calls a WSGI application for an ordinary request, in place of serve(); None where serve() is awaited for
        each.  A protocol that uses it calls the adapter's cancelled() and rest() for what is not ordinary."""
        return None if self.server.watches else self.adapter.caller


class Runner:
    """Where connections run: each in a goroutine of its own."""

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter

    async def begin(self) -> None:
        """Starts the application."""
        await self.adapter.startup(self.spawn)

    async def end(self) -> None:
        """Ends the application."""
        await self.adapter.shutdown()

    def spawn(self, fn: Callable[..., Any], *args: Any) -> None:
        """Starts a goroutine."""
        go(fn, *args)

    def spawn_cancellable(self, fn: Callable[..., Any], *args: Any) -> Callable[[], object]:
        """Starts a goroutine; what it returns cancels it."""
        scope = move_on_after(None)
        go(_scoped, scope, fn, *args)
        return scope.cancel

    def start(self, c: Connection) -> None:
        """Starts the goroutine of a connection."""
        # No scope: it would take 400 bytes for as long as the connection is idle.
        c.its = newproc_from(current_m().sched, Connection.run, (c,), None, c, Connection.run.__code__, 0)

    def cancel(self, c: Connection) -> None:
        """Cancels what runs a connection.  From any thread."""
        if c.its is None:
            c.conn.close()  # it has not begun
        else:
            g, goid = c.its
            cancel(g, goid, Cancelled("the server ends"))


async def _scoped(scope: Any, fn: Callable[..., Any], *args: Any) -> None:
    async with scope:
        await fn(*args)


class Server:
    """A server of one application.

        server = gort.http.Server(app)
        ln = await gort.net.listen("tcp", "127.0.0.1:8000")
        await server.serve(ln)             # until server.stop()

    gort.http.serve() does this, with signals.  app: a WSGI or an ASGI application.  docs/serve.md has the options.
    Go's http.Server."""

    def __init__(
        self,
        app: Any,
        *,
        interface: str = "auto",
        loop: str = "asyncio",
        loops: int = 1,
        limits: Limits | None = None,
        parser: str = "auto",
        root_path: str = "",
        access_log: Callable[[Exchange, float], object] | None = None,
        proxies: Iterable[str] = (),
        metrics: str = "",
        grace_s: float = 30.0,
        linger_s: float = 1.0,
    ) -> None:
        self.limits: Limits = limits or Limits()
        self.new_parser: Callable[[Limits], Parser] = parser_of(parser)
        self.parsers: list[Parser] | None = [] if gil_enabled() else None  # Line.spare
        self.stopping: bool = False
        self.grace_s = grace_s
        self.linger_s = linger_s
        self.access_log = access_log
        self._runner = _runner(app, interface, loop, loops, root_path)
        self._listeners: list[Listener] = []
        self._open: set[Connection] = set()
        self._room: Chan[None] = Chan(1)  # a connection has ended
        self.shared: list[Listener] = []  # listeners whose sockets others have too: they are not closed to clients
        self._grace = move_on_after(None)
        self._mu = threading.Lock()  # guards what follows, where somebody wants it
        self._handshakes: dict[Any, float] = {}  # when those began that are not whole, by connection, the oldest first
        self._served = 0  # requests that are being served
        self._counts = Counts() if metrics else None
        self._metrics = metrics.encode()
        self._trusted = Trusted(proxies) if proxies else None
        # Whether each request passes through handle().
        self.watches: bool = bool(access_log or metrics or proxies) or self.limits.requests is not None

    # ---- connections ------------------------------------------------------------------------------------------------

    async def serve(self, *listeners: Listener) -> None:
        """Serves what the listeners accept, until stop() is called and what was begun has ended; closes them.

        Raises what the application's start raises.  When the goroutine is cancelled, connections are not waited for."""
        runner = self._runner
        self._listeners = list(listeners)
        try:
            await runner.begin()
            try:
                if self.stopping:
                    return
                async with Group() as group:
                    for ln in listeners:
                        group.go(self._accept, ln)
                await self._drain()
            finally:
                async with shield():
                    for c in list(self._open):
                        runner.cancel(c)
                    async with move_on_after(LAST_S):
                        while self._open:
                            await self._room.recv()
                    await runner.end()
                    if (flush := getattr(self.access_log, "flush", None)) is not None:
                        await blocking(flush)
        finally:
            for ln in listeners:
                ln.close()
            while self.parsers:
                self.parsers.pop().close()

    def stop(self) -> None:
        """Begins the graceful end.  From any goroutine or thread; again does nothing."""
        if self.stopping:
            return
        self.stopping = True
        for ln in self._listeners:
            try:
                ln.set_read_deadline(0)
            except OSError:
                pass  # closed already

    def abort(self) -> None:
        """The end at once: what is being served is cancelled.  From any goroutine or thread."""
        self._grace.cancel()
        self.stop()

    async def _accept(self, ln: Listener) -> None:
        limit = self.limits.connections
        try:
            while not self.stopping:
                if limit is not None:
                    while len(self._open) >= limit and not self.stopping:
                        async with move_on_after(1.0):
                            await self._room.recv()
                self._begin(await ln.__anext__(), ln)
        except (DeadlineExceeded, StopAsyncIteration):
            pass
        if ln not in self.shared:
            await last_ones(ln, self._begin)
            ln.close()

    def _begin(self, conn: Any, ln: Listener) -> None:
        c = Connection(self, self._runner, conn, ln)
        self._open.add(c)
        try:
            self._runner.start(c)
        except BaseException:
            self._open.discard(c)
            conn.close()
            raise

    def handshake_begins(self, conn: Any) -> None:
        """Ends the oldest handshakes where there are too many: a client that means it needs some milliseconds.  Those
        that have not had HASTE_S stay: they may all mean it, and have come at once."""
        limit, now = self.limits.handshakes, monotonic()
        late: list[Any] = []
        with self._mu:
            handshakes = self._handshakes
            if limit is not None:
                for old, began in handshakes.items():
                    if len(handshakes) - len(late) < limit or now - began < HASTE_S:
                        break
                    late.append(old)
            for old in late:
                del handshakes[old]
            handshakes[conn] = now
        for old in late:
            old.close()

    def handshake_ends(self, conn: Any) -> None:
        """It is whole, or has failed."""
        with self._mu:
            self._handshakes.pop(conn, None)

    def _ended(self, c: Connection) -> None:
        """A connection is over.  Called on the scheduler's stack: it only counts."""
        self._open.discard(c)
        self._room.try_send(None)

    async def _drain(self) -> None:
        """Waits until what was begun has ended, or grace_s are over."""
        for c in list(self._open):
            if (protocol := c.protocol) is not None:
                protocol.drain()
            elif c.conn in self._handshakes:
                try:
                    c.conn.set_deadline(HANDSHAKE_S)
                except OSError:
                    pass  # it is closed
        async with self._grace:
            self._grace.deadline = monotonic() + self.grace_s
            while self._open:
                await self._room.recv()

    async def finish_writing(self, conn: Any) -> None:
        """Tells the client that nothing more comes."""
        ended = conn.close_write()
        if ended is not None:
            await ended

    # ---- requests ---------------------------------------------------------------------------------------------------

    async def handle(self, exchange: Exchange, adapter: Any) -> None:
        """Has the application serve a request, and sees to the rest: limits, errors, the access log."""
        if self._trusted is not None:
            self._trusted.apply(exchange)
        log, counts, limit = self.access_log, self._counts, self.limits.requests
        if log is None and counts is None and limit is None:
            await self._serve(exchange, adapter)
            return
        begun = monotonic()
        with self._mu:
            self._served += 1
            full = limit is not None and self._served > limit
        try:
            if full:
                await self._answer(exchange, 503, "too many requests", ((b"retry-after", b"1"),))
            elif counts is not None and exchange.target.partition(b"?")[0] == self._metrics:
                kind, text = counts.exposition(exchange, self._served, len(self._open))
                await exchange.respond(200, b"", [(b"content-type", kind)], text)
            else:
                await self._serve(exchange, adapter)
        except Disconnected:
            pass
        finally:
            seconds = monotonic() - begun
            with self._mu:
                self._served -= 1
                if counts is not None:
                    counts.add(exchange.status, seconds, exchange.sent)
            if log is not None:
                log(exchange, seconds)

    async def _serve(self, exchange: Exchange, adapter: Any) -> None:
        try:
            await adapter.serve(exchange)
        except Exception as e:
            await self.failed(exchange, e)
        else:
            if not exchange.started:
                await self.unanswered(exchange)

    async def failed(self, exchange: Exchange, e: Exception) -> None:
        """The adapter has raised e, which is being handled: says so, and answers where nothing was answered."""
        if exchange.refusal is None:
            if isinstance(e, Disconnected):
                return  # the client has gone, which is no failure of the application's
            self.report("the application has failed", exchange)
        await self._instead(exchange)

    async def unanswered(self, exchange: Exchange) -> None:
        """The adapter is done and has begun no response."""
        if not exchange.lost and exchange.refusal is None:
            self.report("the application has given no response", exchange)
        await self._instead(exchange)

    async def _instead(self, exchange: Exchange) -> None:
        """The server's own response, where the application's has not begun and a client is there."""
        if exchange.started or exchange.lost:
            return
        refusal = exchange.refusal
        try:
            if refusal is not None:
                await self._answer(exchange, refusal.status, str(refusal))
            else:
                await self._answer(exchange, 500, "")
        except Disconnected:
            pass

    async def _answer(
        self, exchange: Exchange, status: int, text: str, more: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """The server's own response."""
        phrase = HTTPStatus(status).phrase
        body = f"{status} {phrase}{': ' if text else ''}{text}\n".encode("latin-1", "replace")
        await exchange.respond(status, b"", [(b"content-type", b"text/plain; charset=utf-8"), *more], body)

    def refused(self, status: int) -> None:
        """A protocol has answered what was no request."""
        if self._counts is not None:
            with self._mu:
                self._counts.add(status, 0.0, 0)

    def report(self, what: str, exchange: Exchange | None) -> None:
        """Says on standard error what has failed, with the traceback of the exception that is being handled."""
        where = "" if exchange is None else f" ({exchange.method} {exchange.target[:200].decode('ascii', 'replace')})"
        text = f"gort.http: {what}{where}\n"
        if sys.exc_info()[0] is not None:
            text += traceback.format_exc()
        say(text)


def _runner(app: Any, interface: str, loop: str, loops: int, root_path: str) -> Runner:
    kind = interface_of(app) if interface == "auto" else interface
    if kind == "wsgi":
        from gort.http.wsgi import Wsgi

        return Runner(Wsgi(app, root_path))
    if kind != "asgi":
        raise ValueError(f"interface: {interface!r} is neither auto, wsgi nor asgi")
    from gort.http.asgi import Asgi

    if loop == "native":
        return Runner(Asgi(app, root_path))
    if loop != "asyncio":
        raise ValueError(f"loop: {loop!r} is neither asyncio nor native")
    from gort.http.loops import Loops

    return Loops([Asgi(app, root_path) for _ in range(loops)])


def interface_of(app: Any) -> str:
    """ "asgi" where calling the application makes a coroutine, else "wsgi"."""
    call = app if inspect.isroutine(app) else getattr(app, "__call__", app)  # noqa: B004
    while isinstance(call, functools.partial):
        call = call.func
    return "asgi" if inspect.iscoroutinefunction(call) else "wsgi"
