"""The transport of a TCP or Unix stream socket: asyncio's own, but that messages pass through a compiled Stream.

Invariants
- The state is asyncio's: its fields, its functions.  After each that may change whether a write may send at once, the
  stream is told (`_settle`).
- `write` of the object is the stream's.  It comes back here (`_write`) with what is not plain: other types than bytes, a
  write beside one that waits, after write_eof or the end.

Rejected: a class of C alone (isinstance(transport, asyncio.Transport) would be false, and asyncio's own code uses fields
of a transport that has a socket: start_tls, sendfile).

What does not live here: the stream (stream.py); datagrams and pipes, which are asyncio's.
"""

from __future__ import annotations

import socket
from asyncio import protocols, selector_events, trsock
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gort.aio.loop import Loop

_INTERNET = (socket.AF_INET, socket.AF_INET6)
_HIGH_WATER = 65536  # asyncio's own
_Stock: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]


class HeldSocket(trsock.TransportSocket):
    """What a program gets as a transport's socket.  It may have kept that, and may shut it down or write to its number
    after a write to the transport: whatever asks for the socket sends first what the stream holds."""

    __slots__ = ("_of", "_real")

    def __init__(self, sock: socket.socket, stream: Any) -> None:
        self._real = sock
        self._of = stream

    @property
    def _sock(self) -> socket.socket:  # all of asyncio's methods use it
        self._of.let_go()
        return self._real


class SocketTransport(_Stock):  # type: ignore[misc]
    """A stream socket's transport on a gort.aio.Loop."""

    max_size = 65536  # where asyncio itself reads
    _context = None  # of CPython 3.15 on: the contextvars in which its protocol is called

    def __init__(self, loop: Loop, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        stream: Any = loop._make_stream(self, sock.fileno(), sock.family in _INTERNET)
        self._stream: Any = stream
        self._ours = loop
        try:
            super().__init__(loop, sock, *args, **kwargs)
        except BaseException:
            loop._end_stream(stream)
            raise
        if sock.proto == 0 and sock.family in _INTERNET:
            # A server's socket that was made without a protocol, as socket.create_server makes it.  asyncio leaves such
            # connections with Nagle's algorithm: a second write waits 40 ms for the peer's acknowledgement.
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._extra["socket"] = HeldSocket(sock, stream)
        self.__dict__["write"] = stream.write  # found before the method
        self._settle()

    def _let_go(self) -> None:
        """Sends what the stream holds of the writes of the callback that runs."""
        self._stream.let_go()

    def get_extra_info(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What is known of the connection."""
        if name == "socket":  # who shuts that down, say, has written before
            self._let_go()
        return super().get_extra_info(name, *args, **kwargs)

    def _settle(self) -> None:
        """Tells the stream whether a write may send at once."""
        self._stream.set_direct(not (self._buffer or self._eof or self._conn_lost or self._empty_waiter is not None))

    def set_protocol(self, protocol: Any) -> None:
        """Who gets what comes, from now on."""
        super().set_protocol(protocol)
        self._stream.set_protocol(protocol, isinstance(protocol, protocols.BufferedProtocol))

    # ---- reading ------------------------------------------------------------------------------------------------------

    def _add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        if not self.is_reading():
            return
        loop = self._ours
        if loop._watches.find(fd) is not None:  # somebody else does, with add_reader
            super()._add_reader(fd, callback, *args)
        else:
            loop._watch_stream(self._stream)
            self._stream.start(self._context)

    # ---- writing ------------------------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Sends data, and keeps what does not go at once."""
        self._stream.write(data)

    def _write(self, data: Any) -> None:
        """asyncio's write."""
        self._let_go()
        try:
            _Stock.write(self, data)
        finally:
            self._settle()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Sends all of them, as one write does."""
        self._let_go()
        try:
            super().writelines(list_of_data)
        finally:
            self._settle()

    def write_eof(self) -> None:
        """Ends the stream, when all has gone."""
        self._let_go()
        try:
            super().write_eof()
        finally:
            self._settle()

    def get_write_buffer_size(self) -> Any:
        """How many bytes have not gone yet."""
        self._let_go()
        return super().get_write_buffer_size()

    def set_write_buffer_limits(self, *args: Any, **kwargs: Any) -> None:
        """From how many bytes on the protocol is paused, and resumed."""
        self._let_go()
        super().set_write_buffer_limits(*args, **kwargs)
        self._stream.set_holds(self._high_water >= _HIGH_WATER)

    def _make_empty_waiter(self) -> Any:
        self._let_go()
        waiter = super()._make_empty_waiter()
        self._settle()
        return waiter

    def _reset_empty_waiter(self) -> None:
        super()._reset_empty_waiter()
        self._settle()

    # ---- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes it when all has gone.  Data that comes is dropped."""
        self._let_go()
        try:
            super().close()
        finally:
            self._settle()

    def _force_close(self, exc: BaseException | None) -> None:
        self._let_go()
        try:
            super()._force_close(exc)
        finally:
            self._settle()

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        self._ours._rest_stream(self._stream)  # while the number is the socket's
        try:
            super()._call_connection_lost(exc)
        finally:
            self._ours._end_stream(self._stream)
            self.__dict__.pop("write", None)
