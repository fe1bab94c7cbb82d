"""Requests of HTTP/1.1, parsed by h11: for interpreters for which httptools has no wheel.

h11 keeps the state of a whole connection, but only its half that reads is used: each request gets an h11.Connection of
its own, and what h11 has left over is given to the next.

What does not live here: what is checked of a head (incoming.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import h11

from gort._runtime.web.request import Incoming, Parser, Refusal

if TYPE_CHECKING:
    from gort.http.config import Limits


_LENGTH = re.compile(rb"\ncontent-length[ \t]*:([^\r\n]*)", re.IGNORECASE)


class H11Parser(Parser):
    """The requests of one connection."""

    failed: Refusal | None

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._h11 = self._fresh()
        self._now: Incoming | None = None  # the request that is being parsed
        self._held = 0  # bytes of the head that have come
        self._raw = bytearray()  # they, for what h11 repairs and does not tell
        self._upgraded = False
        self._rest = b""

    def _fresh(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.head_bytes)

    def feed(self, data: bytes) -> None:
        """Takes what the client has sent."""
        if self.failed is not None or not data:
            return
        if self._upgraded:
            self._rest += data
            return
        try:
            self._feed(data)
        except Refusal as e:
            self.failed = e
        except h11.RemoteProtocolError as e:
            # What is too long is the target, where not even its line has ended.
            long = e.error_status_hint == 431 and b"\n" not in self._raw
            self.failed = Refusal(414 if long else e.error_status_hint, str(e))
        self.partial: bool = self._held > 0 and self.failed is None

    def _feed(self, data: bytes) -> None:
        while data:
            if self._now is None and not self._held:
                # h11 takes an empty line before a request for an empty request (RFC 9112, section 2.2).
                data = data.lstrip(b"\r\n")
                if not data:
                    return
            if self._now is None:
                self._held += len(data)
                self._raw += data
            self._h11.receive_data(data)
            data = b""
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    break
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    assert self._now is not None
                    self._now.body.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    data = self._end(event)
                    break
                else:
                    raise Refusal(400, "malformed")

    def _strict(self) -> None:
        """Refuses what h11 repairs: folded headers, lines that end without a carriage return, a Content-Length that is
        there twice or is a list."""
        end = self._raw.find(b"\r\n\r\n")
        head = bytes(self._raw[: end + 2 if end >= 0 else None])
        if b"\n " in head or b"\n\t" in head or head.count(b"\n") != head.count(b"\r\n"):
            raise Refusal(400, "a malformed head")
        lengths = _LENGTH.findall(head)
        if len(lengths) > 1 or b"," in b"".join(lengths):
            raise Refusal(400, "more than one content-length")

    def _begin(self, event: h11.Request) -> None:
        self._strict()
        request = Incoming()
        request.method = event.method.decode("ascii")
        request.target = bytes(event.target)
        request.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        request.version = event.http_version.decode("ascii")
        if request.version not in ("1.1", "1.0"):
            raise Refusal(505, "a version that is not known here")
        if len(request.target) > self.limits.head_bytes:
            raise Refusal(414, "the target is too long")
        if sum(len(n) + len(v) + 4 for n, v in request.headers) + len(request.target) > self.limits.head_bytes:
            raise Refusal(431, "the head is too large")
        self.check(request)
        tokens = {t.strip() for n, v in request.headers if n == b"connection" for t in v.lower().split(b",")}
        request.keep_alive = b"keep-alive" in tokens if request.version == "1.0" else b"close" not in tokens
        self._now = request
        self._held = 0
        self._raw.clear()
        self.queue.append(request)

    def _end(self, event: h11.EndOfMessage) -> bytes:
        """The body is whole.  Returns what follows it."""
        request = self._now
        assert request is not None
        request.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        request.complete = True
        self._now = None
        data, _ = self._h11.trailing_data
        if request.upgrade == b"websocket":
            self._upgraded = True
            self._rest = bytes(data)
            return b""
        self._h11 = self._fresh()
        return bytes(data)

    def rest(self) -> bytes:
        """What came after the head of an upgrade."""
        data, self._rest = self._rest, b""
        return data
