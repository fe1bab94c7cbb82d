"""Requests of HTTP/1.1, parsed by httptools, which is llhttp.

httptools calls the methods on_… from feed_data.  It cannot be halted: what one read has brought is parsed as a whole, and
several requests may be in it.  A read brings 64 KiB, so that bounds the queue.

What does not live here: what is checked of a head (incoming.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools

from gort.http.incoming import Incoming, Parser, Refusal

if TYPE_CHECKING:
    from gort.http.config import Limits

_METHODS = {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")}


class LlhttpParser(Parser):
    """The requests of one connection."""

    failed: Refusal | None

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._llhttp: Any = httptools.HttpRequestParser(self)
        self._now: Incoming | None = None  # the request that is being parsed
        self._head = False  # its head is
        self._size = 0  # bytes of the head, or the trailers, up to now
        self._rest = b""
        self._upgraded = False
        self._resumed: Incoming | None = None  # what is being parsed stands for the head of this request

    def feed(self, data: bytes) -> None:
        """Takes what the client has sent."""
        if self.failed is not None or not data:
            return
        if self._upgraded:
            self._rest += data
            return
        try:
            while True:
                try:
                    self._llhttp.feed_data(data)
                except httptools.HttpParserUpgrade as e:
                    data = data[e.args[0] :]
                    if self._upgrade(data):
                        return
                    if data:
                        continue
                break
            if self._head and self._size + len(self._now.target if self._now else b"") > self.limits.head_bytes:
                raise Refusal(431, "the head is too large")
        except Refusal as e:
            self.failed = e
        except httptools.HttpParserCallbackError as e:
            cause = e.__context__
            self.failed = cause if isinstance(cause, Refusal) else Refusal(400, str(e))
        except httptools.HttpParserError as e:
            self.failed = Refusal(400, str(e) or "malformed")
        self.partial: bool = self._head and self.failed is None
        now = self._now
        if now is not None and now.complete:
            self._now = None  # it is in the queue, and nothing of it is needed here

    def _upgrade(self, data: bytes) -> bool:
        """llhttp has stopped after the head of a request that wants to change to another protocol, even where that has
        a body.  True: to websockets, and `data` are theirs.  False: nobody changes to it, so the body and the next
        requests follow; they are another parser's, which is told how long the body is."""
        request = self._now
        assert request is not None
        if request.upgrade == b"websocket":
            self._upgraded = True
            self._rest = data
            return True
        self._llhttp = httptools.HttpRequestParser(self)
        if request.length != 0:
            framing = (
                b"transfer-encoding: chunked" if request.length is None else b"content-length: %d" % request.length
            )
            request.complete = False
            self._resumed = request
            self._llhttp.feed_data(b"POST / HTTP/1.1\r\nhost: x\r\n%s\r\n\r\n" % framing)
        return False

    def close(self) -> None:
        """Lets httptools' parser go, which refers to this object: no circle is left for the collector."""
        self._llhttp = None

    def rest(self) -> bytes:
        """What came after the head of an upgrade."""
        data, self._rest = self._rest, b""
        return data

    # ---- httptools calls these ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._now = Incoming()
        self._head = True
        self._size = 0

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        request = self._now
        assert request is not None
        request.target += url
        if len(request.target) > self.limits.head_bytes:
            raise Refusal(414, "the target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        request = self._now
        assert request is not None
        if self._head:
            request.headers.append((name.lower(), value.rstrip(b" \t")))
        else:
            request.trailers.append((name.lower(), value))
            if len(request.trailers) > self.limits.headers:
                raise Refusal(431, "too many trailers")
        self._size += len(name) + len(value) + 4
        if self._size > self.limits.head_bytes:
            raise Refusal(431, "the head is too large")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._resumed is not None:
            self._now, self._resumed = self._resumed, None
            self._head = False
            return
        request, llhttp = self._now, self._llhttp
        assert request is not None
        method = llhttp.get_method()
        request.method = _METHODS.get(method) or method.decode("ascii")
        request.version = version = llhttp.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Refusal(505, "a version that is not known here")
        self.check(request)
        request.keep_alive = llhttp.should_keep_alive()
        self._head = False
        self._size = 0
        self.queue.append(request)

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        request = self._now
        assert request is not None
        request.body.append(data)

    def on_message_complete(self) -> None:
        """The body is whole."""
        request = self._now
        assert request is not None
        request.complete = True
