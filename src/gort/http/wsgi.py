"""WSGI applications (PEP 3333).

The application is called in a goroutine of its own for each request, a plain one (or, where it is known to block, by
gort.blocking: class Habits).  It keeps its thread until the response is made, also while the response's iterable is asked
for its parts.  While it blocks, its thread waits, and the scheduler gives the P on; so a view that sleeps, or asks a
database, holds up nobody else.  It may use gort.wait.

The connection's goroutine waits meanwhile.  It also writes what is there as a whole: a response of one list, and a file.
What an iterable makes part by part is written from the application's own thread, which waits while the client is slow.

Rejected: to call the application in the connection's goroutine.  That saves half a microsecond of some fifteen, but a
goroutine that awaits may change its thread between two parts, and objects of a database driver do not like that; and an
async goroutine may not use gort.wait, which reading a long body and write() need.

What does not live here: framing (h1.py), what is done with an error (server.py).
"""

from __future__ import annotations

import io
import os
import stat
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from gort._runtime.boot.wait import wait
from gort._runtime.core import handoff
from gort._runtime.core.errors import Cancelled
from gort._runtime.core.runtime2 import current_m
from gort._runtime.sched.blocking import blocking
from gort._runtime.sched.newproc import Done, newproc
from gort._runtime.wait.chan import Chan
from gort.http.fields import lowered
from gort.scope import move_on_after, shield

if TYPE_CHECKING:
    from gort.http.exchange import Exchange

BODY = 65536  # bytes of a body up to which it is read before the application is called: no thread waits for it

_names: dict[bytes, str] = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": "CONTENT_LENGTH",
}  # of headers in environ
_lower: dict[str, bytes] = {}  # the names of a response's headers, as they go out
_CACHED = 1000  # entries in each of them: their number is in the hands of clients and applications
# Habits: a call that takes longer has blocked, or has computed for so long that gort.blocking costs nothing beside it; so
# many in a row make a habit; one call in _LOOK is made in the ordinary way.
_LONG_S = 0.001
_BLOCKS = 3
_LOOK = 64
_PREFIX = 48
END_S = 1.0  # for a view that is cancelled to clean up, before its connection is closed
_DIGITS = b"0123456789"


class FileWrapper:
    """wsgi.file_wrapper: a response that is an open file.  Where it has a descriptor the system sends it (sendfile)."""

    def __init__(self, file: Any, block_size: int = 65536) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close: Any = file.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.file.read(self.block_size)
        if not data:
            raise StopIteration
        return data


class Input(io.RawIOBase):
    """wsgi.input of a body that has not come as a whole: reads more when it is asked."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._data = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, or a part of it; 0 at the end.  Raises Disconnected."""
        if not self._data:
            self._data = memoryview(wait(self._exchange.read()))
        n = min(len(buffer), len(self._data))
        buffer[:n] = self._data[:n]
        self._data = self._data[n:]
        return n


class Call(Done):
    """One call of the application: what it has said and made, for the connection's goroutine, which waits on `over`.

    It is the goroutine's Done too, so a dump shows which request the goroutine serves."""

    __slots__ = (
        "app",
        "body",
        "cancelled",
        "environ",
        "error",
        "exchange",
        "file",
        "headers",
        "its",
        "over",
        "reason",
        "status",
        "took",
    )

    def __init__(self, app: Any, environ: dict[str, Any], exchange: Exchange, over: Chan[None]) -> None:
        self.app: Any = app
        self.environ: dict[str, Any] = environ
        self.exchange: Exchange = exchange
        self.over: Chan[None] = over
        self.status: int = 0
        self.reason: bytes = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: bytes | None = None  # the whole body
        self.file: FileWrapper | None = None
        self.error: BaseException | None = None
        self.took: float = 0.0  # seconds, where timed() has run
        # The view's own goroutine sets `its` and then looks at `cancelled`; cancel() does it the other way round.  So
        # whichever comes second sees the other.
        self.its: tuple[Any, int] | None = None  # the goroutine and its number
        self.cancelled: bool = False

    @property
    def label(self) -> str:
        """What a dump says of the goroutine."""
        return self.exchange.label

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """The application has returned."""
        self.error = exc
        self.over.try_send(None)

    # ---- on the application's thread --------------------------------------------------------------------------------

    def timed(self) -> None:
        """run(), and how long it takes."""
        g = current_m().curg
        self.its = (g, g.goid)
        if self.cancelled:
            raise Cancelled("the server ends")
        begun = perf_counter()
        try:
            self.run()
        finally:
            self.took = perf_counter() - begun

    def cancel(self) -> None:
        """Cancels the view that timed() runs: its gort.wait raises Cancelled.  One that has not begun does not."""
        self.cancelled = True
        its = self.its
        if its is not None:
            handoff.cancel(*its, Cancelled("the server ends"))

    def run(self) -> None:
        """Calls the application, and iterates its response."""
        parts = self.app(self.environ, self.start_response)
        if type(parts) is list or type(parts) is tuple:
            if not self.status:
                raise RuntimeError("the application has not called start_response")
            if not self.exchange.started:
                self.body = parts[0] if len(parts) == 1 else b"".join(parts)
                if type(self.body) is not bytes:
                    raise TypeError(f"a part of the response is {type(self.body).__name__}, not bytes")
                return
        if type(parts) is FileWrapper and self.status and not self.exchange.started:
            self.file = parts  # which is closed when it has been sent
            return
        try:
            self._iterate(parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()

    def _iterate(self, parts: Any) -> None:
        exchange = self.exchange
        one = hasattr(parts, "__len__") and len(parts) == 1
        for part in parts:
            if not part:
                continue
            if one and not exchange.started:
                if not self.status:
                    raise RuntimeError("the application has not called start_response")
                self.body = bytes(part)
                return
            self.write(part)
        if not self.status:
            raise RuntimeError("the application has not called start_response")
        if not exchange.started:
            self.body = b""
        else:
            wait(exchange.send(b"", False))

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """start_response of PEP 3333."""
        if exc_info is not None:
            try:
                if self.exchange.started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status:
            raise AssertionError("start_response was called twice")
        number, _, reason = status.partition(" ")
        if len(number) != 3 or not number.isdigit():
            raise ValueError(f"{status!r} is no status")
        self.status = int(number)
        self.reason = reason.encode("latin-1")
        lower = _lower
        self.headers = [(lower.get(name) or _name(name), value.encode("latin-1")) for name, value in headers]
        return self.write

    def write(self, data: bytes) -> None:
        """The callable that start_response returns; waits while the client is slow."""
        exchange = self.exchange
        if not exchange.started:
            if not self.status:
                raise RuntimeError("the application has not called start_response")
            exchange.start(self.status, self.reason, self.headers)
        wait(exchange.send(data, True))


def _name(name: str) -> bytes:
    """The name of a response's header in lower case.  Raises ValueError for one that cannot be sent."""
    low = lowered(name.encode("latin-1", "replace"))
    if len(_lower) < _CACHED:
        _lower[name] = low
    return low


def _variable(name: bytes) -> str:
    """The key of a request's header in the environ; "" for one that is left out: a proxy's X-Real-Ip and a client's
    X_Real_Ip would be the same key."""
    key = "" if b"_" in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(_names) < _CACHED:
        _names[name] = key
    return key


class Habits:
    """Which paths block.  Where a view has blocked several times in a row, it is called by gort.blocking: its P is handed
    on before, and not when sysmon has seen that the thread sleeps.  That costs a view that does not block twice its time,
    so now and then one is called in the ordinary way, to see if it still does.

    A path is known by its beginning, without digits (/item/17 and /item/18 are one).  Threads may overwrite each other's
    counts: they are guesses."""

    def __init__(self) -> None:
        self._scores: dict[bytes, int] = {}
        self._turn = 0

    def blocks(self, target: bytes) -> bool:
        """Whether the next call for this target is made by gort.blocking."""
        if not self._scores or self._scores.get(target[:_PREFIX].translate(None, _DIGITS), 0) < _BLOCKS:
            return False
        self._turn += 1
        return self._turn % _LOOK != 0

    def learn(self, target: bytes, took: float) -> None:
        """A call in the ordinary way took so many seconds."""
        scores = self._scores
        if took <= _LONG_S and not scores:
            return
        key = target[:_PREFIX].translate(None, _DIGITS)
        if took > _LONG_S:
            if len(scores) >= _CACHED:
                scores.clear()
            scores[key] = min(scores.get(key, 0) + 1, _BLOCKS)
        elif key in scores:
            scores.pop(key, None)


class Wsgi:
    """The adapter of a WSGI application."""

    def __init__(self, app: Any, root_path: str = "", multiprocess: bool = False) -> None:
        self.app = app
        self._habits = Habits()
        self._spare: list[Chan[None]] = []  # channels on which nobody waits
        self.root: str = root_path.rstrip("/")
        self._base: dict[str, Any] = {
            "SCRIPT_NAME": self.root,
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
            "SERVER_SOFTWARE": "gort",
        }

    def environ(self, exchange: Exchange, body: Any) -> dict[str, Any]:
        """The environ of a request."""
        e = self._base.copy()
        e["REQUEST_METHOD"] = exchange.method
        target = exchange.target
        path, _, query = target.partition(b"?")
        raw = path.decode("latin-1")
        if b"%" in path:
            raw = unquote_to_bytes(path).decode("latin-1")
        if self.root and (raw == self.root or raw.startswith(self.root + "/")):
            raw = raw[len(self.root) :]
        e["PATH_INFO"] = raw
        e["QUERY_STRING"] = query.decode("latin-1")
        e["RAW_URI"] = e["REQUEST_URI"] = exchange.target.decode("latin-1")
        e["SERVER_PROTOCOL"] = "HTTP/" + exchange.version
        e["wsgi.url_scheme"] = exchange.scheme
        server, client = exchange.server, exchange.client
        e["SERVER_NAME"] = server[0] if server is not None else "localhost"
        e["SERVER_PORT"] = str(server[1]) if server is not None and server[1] is not None else ""
        if client is not None:
            e["REMOTE_ADDR"] = client[0]
            if client[1] is not None:
                e["REMOTE_PORT"] = str(client[1])
        e["wsgi.input"] = body
        names = _names
        for name, value in exchange.headers:
            key = names.get(name)
            if key is None:
                key = _variable(name)
            if not key:
                continue
            text = value.decode("latin-1")
            if key in e:
                text = f"{e[key]}{';' if key == 'HTTP_COOKIE' else ','}{text}"
            e[key] = text
        return e

    async def __call__(self, exchange: Exchange) -> None:
        """Serves one request.  Raises what the application raises."""
        ready = exchange.ready
        if ready is not None:
            body: Any = io.BytesIO(ready)
        elif exchange.length is None or exchange.length > BODY or exchange.expects:
            body = io.BufferedReader(Input(exchange), BODY)
        else:
            begun = bytearray()
            while part := await exchange.read():
                begun += part
            body = io.BytesIO(begun)
        spare = self._spare
        try:
            over = spare.pop()
        except IndexError:
            over = Chan(1)
        call = Call(self.app, self.environ(exchange, body), exchange, over)
        if self._habits.blocks(exchange.target):
            await blocking(call.run)
        else:
            newproc(current_m().sched, call.timed, (), None, call, False)
            try:
                await over.recv()
            except BaseException:
                call.cancel()
                async with shield(), move_on_after(END_S):
                    await over.recv()
                raise
            spare.append(over)
            self._habits.learn(exchange.target, call.took)
            error = call.error
            if error is not None:
                call.error = None
                try:
                    raise error
                finally:
                    del error
        if call.body is not None:
            await exchange.respond(call.status, call.reason, call.headers, call.body)
        elif call.file is not None:
            await _send_file(exchange, call)

    # ---- what ASGI has and WSGI does not ----------------------------------------------------------------------------

    async def startup(self, spawn: Any) -> None:
        """Nothing."""

    async def shutdown(self) -> None:
        """Nothing."""


async def _send_file(exchange: Exchange, call: Call) -> None:
    wrapper = call.file
    assert wrapper is not None
    try:
        exchange.start(call.status, call.reason, call.headers)
        try:
            fd = wrapper.file.fileno()
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            at = wrapper.file.tell() if regular else 0
        except (AttributeError, OSError, ValueError):
            regular = False
        if regular:
            left = os.fstat(fd).st_size - at
            for name, value in call.headers:
                if name == b"content-length":
                    left = min(left, int(value))
            await exchange.send_file(fd, at, max(0, left))
            return
        while data := await blocking(wrapper.file.read, wrapper.block_size):
            await exchange.send(data, True)
        await exchange.send(b"", False)
    finally:
        if hasattr(wrapper, "close"):
            await blocking(wrapper.close)
