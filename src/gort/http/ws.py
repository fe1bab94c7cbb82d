"""Websockets of ASGI applications.  The protocol is wsproto's, which does no input or output; the most frequent kind of
frames is read and made in compiled code (_runtime/web/frames.py), in a tenth of the time.

A reader of its own, a goroutine or a task, takes what the client sends, answers pings and closes, and puts messages into
a channel of QUEUE places.  When the application does not take them, nothing more is read, and the client has to wait.

What does not live here: the handshake's HTTP (h1.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from h11 import ProtocolError as H11Error
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from gort._runtime.poll.neterrors import DeadlineExceeded
from gort._runtime.sched.timers import monotonic
from gort._runtime.wait.chan import Chan
from gort._runtime.web.frames import Frames, framed
from gort.http.asgi import headers_of
from gort.http.deflate import Deflate
from gort.http.exchange import Disconnected
from gort.http.fields import checked
from gort.http.pace import STEP as WHOLE
from gort.http.pace import Pace, goes_on, write_all
from gort.http.turns import make_way
from gort.sync import Mutex

if TYPE_CHECKING:
    from gort.http.asgi import Asgi
    from gort.http.exchange import Exchange

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes
QUEUE = 16  # messages that the application has not taken
READ = 65536
STEP = 1024
MUCH = 1 << 17  # bytes that a step has inflated, after which it is others' turn
TURN = 8  # pings that are answered, after which it is others' turn
SLACK_S = 1.0  # a deadline of writing is moved once in so long, as in h1.py
CLOSE_S = 5.0  # for the client to answer our close
NORMAL, AWAY, NO_STATUS, ABNORMAL, TOO_BIG, FAILED = 1000, 1001, 1005, 1006, 1009, 1011


class WebSocket:
    """One websocket: its handshake, and receive() and send() of the application.

    _closed: (code, reason) of the disconnect that the application is told of.  _done: the reader has ended."""

    def __init__(self, adapter: Asgi, exchange: Exchange) -> None:
        self._adapter = adapter
        self._exchange = exchange
        self._limits = exchange.limits
        self._ws = WSConnection(ConnectionType.SERVER)
        self._conn: Any = None
        self._told = False  # the application knows of the connect
        self._rejecting: list[Any] | None = None  # the response that the application gives instead
        self._closed: tuple[int, str] | None = None
        self._close_sent = False
        self._deflate: Deflate | None = None
        self._step = STEP  # bytes of compressed frames that are inflated at a time
        self._parts: list[Any] = []  # of the message that is coming
        self._size = 0  # of them
        self._in: Chan[dict[str, Any]] = Chan(QUEUE)
        self._done: Chan[None] = Chan()
        self._writing = Mutex()  # guards the order of what is sent
        self._write_until = 0.0  # no later deadline is needed before
        self._frames = Frames(self._limits.message_bytes)
        self._pings = 0  # that were answered
        self._early = b""  # what has come with the handshake

    async def run(self) -> None:
        """From the handshake to the end.  Raises what the application raises."""
        exchange = self._exchange
        try:
            self._ws.initiate_upgrade_connection(exchange.headers, exchange.target.decode("ascii"))
            request = next(iter(self._ws.events()))
            assert isinstance(request, Request)
            if any(n == b"sec-websocket-key" and _KEY.fullmatch(v) is None for n, v in exchange.headers):
                raise RemoteProtocolError("a malformed Sec-WebSocket-Key")
        except (
            RemoteProtocolError,
            LocalProtocolError,
            H11Error,
            ValueError,
        ) as e:  # ValueError: a header beyond ASCII
            version = any(n == b"sec-websocket-version" and v.strip() != b"13" for n, v in exchange.headers)
            more = [(b"sec-websocket-version", b"13")] if version else []
            body = f"{e}\n".encode("latin-1", "replace")
            await exchange.respond(426 if version else 400, b"", [(b"content-type", b"text/plain"), *more], body)
            return
        scope = self._adapter.scope(exchange, "websocket")
        scope["subprotocols"] = list(request.subprotocols)
        scope["extensions"] = {"websocket.http.response": {}}
        code = FAILED
        try:
            await self._adapter.app(scope, self.receive, self.send)
            code = NORMAL
        finally:
            if self._conn is not None:
                await self._end(code)
        if self._conn is None and not exchange.started:
            await exchange.respond(403, b"", [], b"")

    async def _end(self, code: int) -> None:
        """The application has returned: closes what it has left open, and waits for the client's close."""
        try:
            await self._close(code, "")
            self._conn.set_read_deadline(CLOSE_S)
            while (await self._in.recv_ok())[1]:
                pass  # nobody takes them any more
            await self._done.recv_ok()
        except OSError:
            pass

    # ---- the application's side ---------------------------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        """The next message for the application."""
        if not self._told:
            self._told = True
            return {"type": "websocket.connect"}
        if self._conn is None:
            await self._exchange.gone()
            return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
        message, _ = await self._in.recv_ok()
        if message is not None:
            return message
        code, reason = self._closed or (ABNORMAL, "")
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    async def send(self, message: dict[str, Any]) -> None:
        """Takes a message of the application's.  Raises OSError when the client has gone, RuntimeError for what is not
        in order."""
        kind = message["type"]
        if self._conn is None:
            await self._answer(kind, message)
        elif kind == "websocket.send":
            data = message.get("bytes")
            if data is None:
                data = message["text"]
            if self._deflate is None and (type(data) is bytes or type(data) is str):
                await self._write(None, data)
            else:
                await self._write(TextMessage(data=data) if isinstance(data, str) else BytesMessage(data=data))
        elif kind == "websocket.close":
            await self._close(message.get("code") or NORMAL, message.get("reason") or "")
        else:
            raise RuntimeError(f"{kind!r} is not in order: the websocket is open")

    async def _answer(self, kind: str, message: dict[str, Any]) -> None:
        """The answer to the handshake."""
        exchange = self._exchange
        if kind == "websocket.accept" and not exchange.started and self._rejecting is None:
            await self._accept(message)
        elif kind == "websocket.close" and not exchange.started and self._rejecting is None:
            await exchange.respond(403, b"", [], b"")
        elif kind == "websocket.http.response.start" and not exchange.started:
            headers = headers_of(message)
            exchange.start(message["status"], b"", headers)
            self._rejecting = headers
        elif kind == "websocket.http.response.body" and self._rejecting is not None:
            await exchange.send(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind!r} is not in order: the handshake is not answered yet, or was refused")

    async def _accept(self, message: dict[str, Any]) -> None:
        headers = checked(headers_of(message))
        if any(name == b"sec-websocket-protocol" for name, _ in headers):
            raise RuntimeError("the subprotocol is given by `subprotocol`, not by a header")
        deflate = Deflate(self._limits.message_bytes)
        data = self._ws.send(
            AcceptConnection(
                subprotocol=message.get("subprotocol"),
                extensions=[deflate],
                extra_headers=headers,
            )
        )
        self._deflate = deflate if deflate.enabled() else None
        self._conn, self._early = await self._exchange.hijack()
        try:
            await self._conn.write(data)
        except OSError as e:
            raise Disconnected(str(e)) from None
        finally:
            self._exchange.spawn(self._read)

    async def _close(self, code: int, reason: str) -> None:
        if self._close_sent:
            return
        self._close_sent = True
        if self._ws.state is ConnectionState.OPEN:
            try:
                await self._write(CloseConnection(code=code, reason=reason))
            except Disconnected:
                pass

    async def _write(self, event: Event | None, message: str | bytes = b"") -> None:
        """Sends an event; None: a message, which is not compressed.  Raises Disconnected."""
        async with self._writing:
            if self._closed is not None:
                raise Disconnected("the websocket is closed")
            try:
                if event is not None:
                    data = self._ws.send(event)
                elif self._ws.state is ConnectionState.OPEN:
                    data = framed(message)
                else:
                    raise Disconnected("the websocket is closed")
                await self._put(data)
            except (OSError, LocalProtocolError) as e:
                raise Disconnected(str(e)) from None

    async def _put(self, data: bytes) -> None:
        """Writes what was framed.  Raises OSError."""
        limit, rate = self._limits.write_s, self._limits.rate
        began = monotonic()
        if len(data) > WHOLE:
            self._write_until = 0.0
            await write_all(self._conn, data, Pace(limit, rate))
            return
        if began > self._write_until:
            self._write_until = began + SLACK_S
            self._conn.set_write_deadline(None if limit is None else limit + SLACK_S)
        try:
            await self._conn.write(data)
        except DeadlineExceeded as e:
            self._write_until = 0.0
            pace = Pace(limit, rate)
            n = goes_on(e, not hasattr(self._conn, "handshake"), pace, began)
            await write_all(self._conn, memoryview(data)[n:], pace)

    # ---- the client's side --------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """The reader."""
        closed = (ABNORMAL, "")
        waiting = False  # for the answer to our ping
        try:
            early, self._early = self._early, b""
            heard = await self._feed(early) if early else None
            if heard is not None:
                closed = heard
                return
            while True:
                try:
                    if not self._close_sent:
                        self._conn.set_read_deadline(self._limits.ping_s)
                        if self._exchange.stopping:  # or it has just begun to, and the deadline above has hidden it
                            await self._close(AWAY, "the server ends")
                            self._conn.set_read_deadline(CLOSE_S)
                    data = await self._conn.read(READ)
                except DeadlineExceeded:
                    if self._exchange.stopping and not self._close_sent:
                        continue
                    if waiting or self._close_sent:
                        return
                    waiting = True
                    await self._write(Ping())
                    continue
                waiting = False
                if not data:
                    return
                heard = await self._feed(data)
                if heard is not None:
                    closed = heard
                    return
        except RemoteProtocolError as e:
            hint = e.event_hint
            if isinstance(hint, CloseConnection):
                closed = (int(hint.code), hint.reason or "")
                await self._close(int(hint.code), hint.reason or "")
        except OSError:
            pass
        finally:
            self._closed = closed
            self._in.close()
            self._done.close()

    async def _feed(self, data: bytes) -> tuple[int, str] | None:
        """Handles what has been read; (code, reason) when the websocket has ended with it."""
        frames = self._frames
        frames.feed(data)
        while True:
            if frames.take():
                message = frames.message
                if not self._close_sent:
                    key = "text" if type(message) is str else "bytes"
                    await self._in.send({"type": "websocket.receive", key: message})
            elif not frames.piece:
                return None
            elif (heard := await self._feed_other(frames.piece)) is not None:
                return heard

    async def _feed_other(self, data: bytes) -> tuple[int, str] | None:
        """Handles what is more than whole messages.

        A few bytes of a compressed frame may become megabytes.  So they are inflated in steps, which become smaller where
        much comes out, and others get their turn between two of them."""
        deflate = self._deflate
        if deflate is None:
            self._ws.receive_data(data)
            return await self._take()
        at = 0
        while at < len(data):
            deflate.made = 0
            self._ws.receive_data(data[at : at + self._step])
            at += self._step
            heard = await self._take()
            if heard is not None:
                return heard
            if deflate.made < MUCH:
                self._step = min(2 * self._step, READ)
            else:
                self._step = STEP
                await make_way(self._adapter)
        return None

    async def _take(self) -> tuple[int, str] | None:
        """Handles what has come; (code, reason) when the websocket has ended with it."""
        parts = self._parts
        for event in self._ws.events():
            if isinstance(event, TextMessage | BytesMessage):
                parts.append(event.data)
                self._size += len(event.data) or 1  # frames without contents are kept as well
                if self._size > self._limits.message_bytes:
                    await self._close(TOO_BIG, "the message is too large")
                    return TOO_BIG, ""
                if event.message_finished:
                    text = isinstance(event, TextMessage)
                    whole = ("" if text else b"").join(parts)
                    parts.clear()
                    self._size = 0
                    message = {"type": "websocket.receive", "text" if text else "bytes": whole}
                    if not self._close_sent:
                        await self._in.send(message)
            elif isinstance(event, Ping):
                await self._write(event.response())
                self._pings += 1
                if self._pings % TURN == 0:  # a read brings thousands, and others wait
                    await make_way(self._adapter)
            elif isinstance(event, CloseConnection):
                if not self._close_sent:
                    self._close_sent = True
                    await self._write(event.response())
                return int(event.code), event.reason or ""
            else:
                assert isinstance(event, Pong)
        return None
