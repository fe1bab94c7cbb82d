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

What does not live here: the environ, and a response of one list (_runtime/web/view.py); framing (h1.py), what is done
with an error (server.py).
"""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from gort._runtime.boot.wait import wait
from gort._runtime.sched.blocking import blocking, calls_user
from gort._runtime.wait.chan import Chan
from gort._runtime.web.view import CACHED, LONG_S, Caller, View
from gort.http.fields import lowered
from gort.scope import move_on_after, shield

if TYPE_CHECKING:
    from gort.http.exchange import Exchange

BODY = 65536  # bytes of a body up to which it is read before the application is called: no thread waits for it

_lower: dict[str, bytes] = {}  # the names of a response's headers, as they go out; at most CACHED
# Habits: so many calls in a row that take longer than LONG_S make a habit; one call in _LOOK is made in the ordinary way.
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


class Rules:
    """The responses that View has not (class View says what is asked of it)."""

    @staticmethod
    def enter(call: View) -> None:
        """What the goroutine of a request runs."""
        call.timed()

    @staticmethod
    def iterate(call: View, parts: Any) -> None:
        """Sends what the application makes part by part."""
        try:
            _iterate(call, parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()

    @staticmethod
    def write(call: View, data: bytes) -> None:
        """The callable that start_response returns; waits while the client is slow."""
        exchange = call.exchange
        if call.body is not None:  # it would go out before the body, which is a whole response by now
            raise RuntimeError("write() was called after the last part of the response")
        _check(data)  # before the head goes out
        if not exchange.started:
            if not call.status:
                raise RuntimeError("the application has not called start_response")
            exchange.start(call.status, call.reason, call.headers)
        wait(exchange.send(data, True))

    @staticmethod
    def name(name: str) -> bytes:
        """The name of a response's header in lower case.  Raises ValueError for one that cannot be sent."""
        low = lowered(name.encode("latin-1", "replace"))
        if len(_lower) < CACHED:
            _lower[name] = low
        return low


calls_user.add(Rules.enter.__code__)


def _check(part: Any) -> None:
    """Raises TypeError for what is no bytes, such as a part of bytes that stand where a list of them should."""
    if not isinstance(part, (bytes, bytearray, memoryview)):
        raise TypeError(f"a part of the response is {type(part).__name__}, not bytes")


def _iterate(call: View, parts: Any) -> None:
    exchange = call.exchange
    one = hasattr(parts, "__len__") and len(parts) == 1
    for part in parts:
        if not part:
            continue
        if one and not exchange.started:
            if not call.status:
                raise RuntimeError("the application has not called start_response")
            _check(part)
            call.body = bytes(part)
            return
        call.write(part)
    if not call.status:
        raise RuntimeError("the application has not called start_response")
    if not exchange.started:
        call.body = b""
    else:
        wait(exchange.send(b"", False))


class Habits:
    """Which paths block.  Where a view has blocked several times in a row, it is called by gort.blocking: its P is handed
    on before, and not when sysmon has seen that the thread sleeps.  That costs a view that does not block twice its time,
    so now and then one is called in the ordinary way, to see if it still does.

    A path is known by its beginning, without digits (/item/17 and /item/18 are one).  Threads may overwrite each other's
    counts: they are guesses."""

    def __init__(self) -> None:
        self.scores: dict[bytes, int] = {}
        self._turn = 0

    def blocks(self, target: bytes) -> bool:
        """Whether the next call for this target is made by gort.blocking."""
        if self.scores.get(target[:_PREFIX].translate(None, _DIGITS), 0) < _BLOCKS:
            return False
        self._turn += 1
        return self._turn % _LOOK != 0

    def learn(self, target: bytes, took: float) -> None:
        """A call in the ordinary way took so many seconds."""
        scores = self.scores
        key = target[:_PREFIX].translate(None, _DIGITS)
        if took > LONG_S:
            if len(scores) >= CACHED:
                scores.clear()
            scores[key] = min(scores.get(key, 0) + 1, _BLOCKS)
        elif key in scores:
            scores.pop(key, None)


class Wsgi:
    """The adapter of a WSGI application."""

    pause = None  # as Asgi has it

    def __init__(self, app: Any, root_path: str = "", multiprocess: bool = False) -> None:
        self._habits = Habits()
        root = root_path.rstrip("/")
        base: dict[str, Any] = {
            "SCRIPT_NAME": root,
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
            "SERVER_SOFTWARE": "gort",
        }
        habits = self._habits
        self.caller: Caller = Caller(app, base, root, Rules, FileWrapper, _lower, Chan, habits.scores, habits.learn)

    async def serve(self, exchange: Exchange) -> None:
        """Serves one request.  Raises what the application raises.

        H1Connection has the same for the ordinary request of HTTP/1.1, by Caller.ask() and answer()."""
        body: Any = exchange.ready
        if body is None:
            body = await _body(exchange)
        call = self.caller.begin(exchange, body)
        habits = self._habits
        if habits.scores and habits.blocks(exchange.target):
            await blocking(call.run)
        else:
            call.start()
            try:
                await call.over.recv()
            except BaseException:
                await self.cancelled(call)
                raise
            self.caller.finish(call)
            if call.took > LONG_S or habits.scores:
                habits.learn(exchange.target, call.took)
        await self.rest(exchange, call)

    @staticmethod
    async def cancelled(call: View) -> None:
        """Cancels a view that runs, and gives it the time to clean up."""
        call.cancel()
        async with shield(), move_on_after(END_S):
            await call.over.recv()

    @staticmethod
    async def rest(exchange: Exchange, call: View) -> None:
        """A view has ended: sends what is to be sent of its response.  Raises what the application has raised."""
        error = call.error
        if error is not None:
            call.error = None
            try:
                raise error
            finally:
                del error
        if call.body is not None:
            if exchange.started:
                await exchange.send(call.body, False)
            else:
                await exchange.respond(call.status, call.reason, call.headers, call.body)
        elif call.file is not None:
            await _send_file(exchange, call)

    # ---- what ASGI has and WSGI does not ----------------------------------------------------------------------------

    async def startup(self, spawn: Any) -> None:
        """Nothing."""

    async def shutdown(self) -> None:
        """Nothing."""


async def _body(exchange: Exchange) -> Any:
    """wsgi.input of a body that has not come as a whole."""
    if exchange.length is None or exchange.length > BODY or exchange.expects:
        return io.BufferedReader(Input(exchange), BODY)
    begun = bytearray()
    while part := await exchange.read():
        begun += part
    return io.BytesIO(begun)


async def _send_file(exchange: Exchange, call: View) -> None:
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
