"""Requests of HTTP/1.1, parsed by httptools, which is llhttp.

httptools calls the methods on_… (Events, in _runtime/web/request.py) from feed_data.  It cannot be halted: what one read
has brought is parsed as a whole, and several requests may be in it.  A read brings 64 KiB, so that bounds the queue.

What does not live here: what is checked of a head; requests so plain that llhttp is not asked (both in request.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools

from gort._runtime.web.request import Events, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gort._runtime.web.request import Incoming
    from gort.http.config import Limits


class LlhttpParser(Events):
    """The requests of one connection."""

    __slots__ = ("_rest",)

    llhttp: Any
    take: Callable[[bytes], object] | None
    resumed: Incoming | None

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._rest = b""
        self._fresh()

    def _fresh(self) -> None:
        self.llhttp = httptools.HttpRequestParser(self)
        self.take = self.llhttp.feed_data

    def failure(self, e: Exception, data: bytes) -> Refusal | None:
        """feed_data has raised e for data."""
        while True:
            if isinstance(e, httptools.HttpParserUpgrade):
                data = data[e.args[0] :]
                try:
                    if self._upgrade(data) or not data:
                        return None
                    self.llhttp.feed_data(data)
                except (httptools.HttpParserError, httptools.HttpParserUpgrade) as again:
                    e = again
                    continue
                return None
            if isinstance(e, httptools.HttpParserCallbackError):
                cause = e.__context__
                return cause if isinstance(cause, Refusal) else Refusal(400, str(e))
            if isinstance(e, httptools.HttpParserError):
                return Refusal(400, str(e) or "malformed")
            raise e

    def _upgrade(self, data: bytes) -> bool:
        """llhttp has stopped after the head of a request that wants to change to another protocol, even where that has
        a body.  True: to websockets, and `data` are theirs.  False: nobody changes to it, so the body and the next
        requests follow; they are another parser's, which is told how long the body is."""
        request = self.now
        assert request is not None
        if request.upgrade == b"websocket":
            self._rest = data
            self.take = self._keep
            return True
        self._fresh()
        if request.length != 0:
            framing = (
                b"transfer-encoding: chunked" if request.length is None else b"content-length: %d" % request.length
            )
            request.complete = False
            self.resumed = request
            self.llhttp.feed_data(b"POST / HTTP/1.1\r\nhost: x\r\n%s\r\n\r\n" % framing)
        return False

    def _keep(self, data: bytes) -> None:
        self._rest += data

    def close(self) -> None:
        """Lets httptools' parser go, which refers to this object: no circle is left for the collector."""
        self.llhttp = self.take = None

    def rest(self) -> bytes:
        """What came after the head of an upgrade."""
        data, self._rest = self._rest, b""
        return data
