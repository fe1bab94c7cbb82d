"""What both ends of an HTTP/2 connection have in common (RFC 9113).  The protocol is h2's; here are the goroutines.

One goroutine reads the connection and gives each stream what is its own; one writes.  Whoever has something to send puts
its frames into `_out`, which the writer takes.  So a goroutine that is cancelled never leaves half a frame behind, and
frames go out in the order in which h2 has made them.

`mu` guards the state of h2 and every field of Mux and Stream.  It is held for a few steps, never across an await.  Frames
are taken from h2 and put into `_out` under the same `mu` under which they were made.

Flow control.  What comes is acknowledged when somebody takes it (take), so a stream that nobody reads stops its sender,
and a connection holds no more than its window.  What goes out waits for the peer's windows and for room in `_out`.

What a hostile peer costs: frames that make work and carry nothing (PING, SETTINGS, RST_STREAM, PRIORITY, empty DATA) are
counted; who sends more than FLOOD of them, and then more than FLOOD_PER_S a second, is sent away.  h2 bounds CONTINUATION
frames, and hpack the size of a header list.

What does not live here: requests (client_h2.py, h2server.py).
"""

from __future__ import annotations

import threading
from _collections_abc import Callable
from collections import deque
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    StreamEnded,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from gort._runtime.poll.neterrors import DeadlineExceeded
from gort._runtime.sched.timers import monotonic
from gort._runtime.wait.chan import Chan
from gort._runtime.wait.select import select
from gort._runtime.wait.timechan import Timer
from gort.http.pace import Pace, write_all

READ = 1 << 16
OUT_MAX = 1 << 17  # bytes of bodies that wait for the writer
OUT_FLOOD = 1 << 20  # bytes of anything: the peer takes nothing, and makes us answer
FLOOD = 1000
FLOOD_PER_S = 100.0
_CHEAP = (PingReceived, PriorityUpdated, RemoteSettingsChanged, StreamReset, UnknownFrameReceived)


class Reset(ConnectionError):
    """The peer, or this end, has ended the stream.  code: of HTTP/2."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the stream was reset: {_name(code)}")
        self.code = code


class Flood(ConnectionError):
    """The peer makes work, and asks for nothing."""


class Late(Exception):
    """Inside: the peer has not sent, or taken, anything in time."""


def _name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return str(code)


class Stream:
    """One stream.  parts: of the body, come and not taken; ended: no more will come; error: why it is over before that.
    local_ended: this end has sent its last frame.  changed: something has come; room: something may go out.  gone: closed
    when it is over."""

    __slots__ = (
        "changed",
        "ended",
        "error",
        "gone",
        "head",
        "id",
        "informed",
        "local_ended",
        "parts",
        "room",
        "trailers",
    )

    def __init__(self, id: int) -> None:
        self.id: int = id
        self.parts: deque[bytes] = deque()
        self.ended: bool = False
        self.local_ended: bool = False
        self.error: Exception | None = None
        self.head: list[tuple[bytes, bytes]] | None = None
        self.informed: int = 0  # informational responses
        self.trailers: list[tuple[bytes, bytes]] = []
        self.changed: Chan[None] = Chan(1)
        self.room: Chan[None] = Chan(1)
        self.gone: Chan[None] = Chan()  # closed when the stream is over


class _H2(H2Connection):
    """h2, which goes on after a GOAWAY without an error: what was begun before it is still answered."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        state = self.state_machine.state
        result = super()._receive_goaway_frame(frame)
        if frame.error_code == 0:
            self.state_machine.state = state
        return result


class Mux:
    """A connection.  on_event: called under `mu` with each event that is not Mux's own."""

    def __init__(
        self, conn: Any, client: bool, settings: dict[int, int], window: int, header_bytes: int, write_s: float | None
    ) -> None:
        self.conn = conn
        self.mu: Any = threading.RLock()
        config = H2Configuration(client_side=client, header_encoding=None)
        self.h2: Any = _H2(config)
        self.h2.local_settings = Settings(
            client=client, initial_values={SettingCodes(code): value for code, value in settings.items()}
        )
        self.h2.decoder.max_header_list_size = header_bytes
        self.streams: dict[int, Stream] = {}
        self.error: Exception | None = None  # why the connection is over
        self.closing: bool = False  # the writer ends when it has sent everything
        self.written: Chan[None] = Chan()  # closed when the writer has ended
        self.write_s = write_s
        self._client = client
        self._window = window
        self._out: list[bytes] = []
        self._out_bytes = 0  # also what the writer is sending just now
        self._wake: Chan[None] = Chan(1)
        self._full: list[Stream] = []  # wait for windows, or for room in _out
        self._allowed, self._counted = float(FLOOD), monotonic()

    def start(self) -> None:
        """Sends what a connection begins with."""
        with self.mu:
            self.h2.initiate_connection()
            self.h2.increment_flow_control_window(self._window - 65535)
            self.pull()

    # ---- out --------------------------------------------------------------------------------------------------------

    def pull(self) -> None:
        """Gives the writer what h2 has made.  `mu` is held."""
        if data := self.h2.data_to_send():
            self.put(data)

    def put(self, data: bytes) -> None:
        """Gives the writer bytes.  `mu` is held."""
        self._out.append(data)
        self._out_bytes += len(data)
        self._wake.try_send(None)

    async def write_loop(self) -> None:
        """The writer: runs until the connection is over, or closing and everything sent."""
        try:
            while True:
                with self.mu:
                    data = b"".join(self._out)
                    self._out.clear()
                    done = self.closing or self.error is not None
                if not data:
                    if done:
                        return
                    await self._wake.recv()
                    continue
                await write_all(self.conn, data, Pace(self.write_s, None))
                with self.mu:
                    self._out_bytes -= len(data)
                    self._let_in()
        except DeadlineExceeded:
            self.fail(ConnectionError("the peer takes nothing"))
        except OSError as e:
            self.fail(e)
        finally:
            self.written.close()
            with self.mu:
                failed = self.error is not None
            if failed:
                self.conn.close()

    def _let_in(self) -> None:
        """Wakes who waits to send.  `mu` is held."""
        full, self._full = self._full, []
        for stream in full:
            stream.room.try_send(None)

    def check(self, stream: Stream) -> None:
        """Raises what has ended the stream or the connection.  `mu` is held."""
        if stream.error is not None:
            raise stream.error
        if self.error is not None:
            raise self.error

    def send_headers(self, stream: Stream, headers: list[tuple[bytes, bytes]], end: bool) -> None:
        """Sends headers, or trailers.  `mu` is held.  Raises ValueError for what h2 refuses."""
        self.check(stream)
        try:
            self.h2.send_headers(stream.id, headers, end_stream=end)
        except H2Error as e:
            raise ValueError(f"headers that cannot be sent: {e}") from None
        stream.local_ended = stream.local_ended or end
        self.pull()

    async def send_data(self, stream: Stream, data: Any, end: bool, pace: Pace) -> None:
        """Sends a part of a body; waits for the peer's windows, as long as the pace lets it.  Raises Late,
        ConnectionError."""
        view = memoryview(data)
        began = monotonic()  # since when nothing has moved
        while True:
            left = len(view)
            with self.mu:
                self.check(stream)
                while self._out_bytes < OUT_MAX:
                    n = min(len(view), self.h2.max_outbound_frame_size)
                    if n:
                        n = min(n, self.h2.local_flow_control_window(stream.id))
                        if n <= 0:
                            break
                    last = end and n == len(view)
                    if n or last:
                        try:
                            self.h2.send_data(stream.id, bytes(view[:n]), end_stream=last)
                        except H2Error as e:
                            raise ConnectionError(f"the stream is over: {e}") from None
                        self.pull()
                    view = view[n:]
                    if not view:
                        stream.local_ended = stream.local_ended or end
                        pace.add(left, began)
                        return
                self._full.append(stream)
            if moved := left - len(view):
                pace.add(moved, began)
                began = monotonic()
            timeout = pace.left()
            if timeout is not None:  # other streams wake this one, too
                timeout -= monotonic() - began
                if timeout <= 0:
                    raise Late
            await self._wait(stream.room, timeout)

    async def for_room(self, stream: Stream, timeout: float | None) -> None:
        """Waits until something has changed that may let a stream begin.  Raises Late."""
        with self.mu:
            self._full.append(stream)
        await self._wait(stream.room, timeout)

    async def _wait(self, signal: Chan[None], timeout: float | None) -> None:
        if timeout is None:
            await signal.recv()
            return
        timer = Timer(timeout)
        try:
            i, _, _ = await select(signal.recv(), timer.c.recv())
        finally:
            timer.stop()
        if i == 1:
            raise Late

    # ---- in ---------------------------------------------------------------------------------------------------------

    async def read_loop(self, on_event: Callable[[Event], object], after: Callable[[], object] | None = None) -> None:
        """The reader: runs until the connection is over, which fails every stream.  after: called without `mu` when the
        events of a read have been handled.  Raises nothing that the peer may cause."""
        error: Exception = ConnectionError("the peer has closed the connection")
        try:
            while data := await self.conn.read(READ):
                with self.mu:
                    try:
                        for event in self.h2.receive_data(data):
                            self._handle(event, on_event)
                        if self._out_bytes > OUT_FLOOD:
                            raise Flood("the peer makes us answer, and takes nothing")
                    except Flood as e:
                        self.h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                        error = e
                        break
                    except H2Error as e:
                        error = ConnectionError(f"the peer breaks HTTP/2: {e}")
                        break
                    finally:
                        self.pull()
                if after is not None:
                    after()
        except OSError as e:
            error = e
        finally:
            self.fail(error)

    def _handle(self, event: Event, on_event: Callable[[Event], object]) -> None:
        if isinstance(event, _CHEAP) or (isinstance(event, DataReceived) and not event.data):
            self._count()
        if isinstance(event, DataReceived):
            size = event.flow_controlled_length
            stream = self.streams.get(event.stream_id)
            if stream is None or stream.error is not None:
                self.h2.acknowledge_received_data(size, event.stream_id)
                return
            if padding := size - len(event.data):
                self.h2.acknowledge_received_data(padding, event.stream_id)
            if event.data:
                stream.parts.append(event.data)
                stream.changed.try_send(None)
        elif isinstance(event, StreamEnded):
            if (stream := self.streams.get(event.stream_id)) is not None:
                stream.ended = True
                stream.changed.try_send(None)
        elif isinstance(event, StreamReset):
            if (stream := self.streams.get(event.stream_id)) is not None:
                # A server that has answered may tell the client by a reset that it wants no more of the request.
                self.end_stream(stream, Reset(event.error_code))
            on_event(event)
        elif isinstance(event, WindowUpdated):
            self._let_in()
        else:
            if isinstance(event, RemoteSettingsChanged):
                self._let_in()
            on_event(event)

    def _count(self) -> None:
        """Counts a frame that carries nothing.  Raises Flood."""
        self._allowed -= 1
        if self._allowed < 0:
            now = monotonic()
            self._allowed = min(float(FLOOD), (now - self._counted) * FLOOD_PER_S)
            self._counted = now
            if self._allowed < 1:
                raise Flood("too many frames that carry nothing")

    async def wait_change(self, stream: Stream, timeout: float | None) -> None:
        """Waits until something has come for the stream.  Raises Late."""
        await self._wait(stream.changed, timeout)

    async def take(self, stream: Stream, timeout: float | None) -> bytes:
        """The next part of the body; b"" at its end.  Raises Late, ConnectionError."""
        while True:
            with self.mu:
                if stream.parts:
                    data = b"".join(stream.parts)
                    stream.parts.clear()
                    if self.error is None:
                        self.h2.acknowledge_received_data(len(data), stream.id)
                        self.pull()
                    return data
                if stream.ended:
                    return b""
                self.check(stream)
            await self._wait(stream.changed, timeout)

    # ---- the end ----------------------------------------------------------------------------------------------------

    def end_stream(self, stream: Stream, error: Exception) -> None:
        """The stream is over, by an error.  `mu` is held."""
        if stream.error is None:
            stream.error = error
        stream.changed.try_send(None)
        stream.room.try_send(None)
        if not stream.gone.closed:
            stream.gone.close()

    def drop(self, stream: Stream, code: int) -> None:
        """Nobody here wants the stream any more.  code: what the peer is told if it has not ended."""
        with self.mu:
            self.streams.pop(stream.id, None)
            if self.error is None:
                size = sum(map(len, stream.parts))
                if size:
                    self.h2.acknowledge_received_data(size, stream.id)
                if stream.error is None and not (stream.ended and stream.local_ended):
                    try:
                        self.h2.reset_stream(stream.id, code)
                    except H2Error:
                        pass  # it is over already
                self.pull()
            stream.parts.clear()
            self.end_stream(stream, Reset(code))
            self._let_in()

    def fail(self, error: Exception) -> None:
        """The connection is over: everybody who waits gets the error."""
        with self.mu:
            if self.error is None:
                self.error = error
            self._let_in()
            for stream in list(self.streams.values()):
                if not stream.gone.closed:
                    stream.gone.close()
                if not stream.ended:
                    self.end_stream(stream, self.error)
                stream.room.try_send(None)
                stream.changed.try_send(None)
            self._wake.try_send(None)

    def close(self) -> None:
        """Has the writer end when it has sent everything."""
        with self.mu:
            self.closing = True
            self._wake.try_send(None)
