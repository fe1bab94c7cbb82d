"""A request of HTTP/1.1 that is being answered: what every response passes through and never waits for.

Answer has the request, as an application's adapter sees it (gort/http/exchange.py), and makes the head of the response.
H1Exchange (gort/http/h1exchange.py) adds what waits: it reads the body, and writes.

The goroutine that serves a request uses its Answer, and the thread of a WSGI application while that goroutine waits for
it: no lock guards it.

Rejected: an `async def` here.  What Cython makes of one has no frame, so a dump would not show where it waits.

What does not live here: parsing (request.py); the connection, its times and how it ends (gort/http/h1.py).
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

import cython
from cython.cimports.gort._runtime.c.net import net_head
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.web.line import Line
from cython.cimports.gort._runtime.web.request import Incoming

from gort._runtime.web.request import USUAL

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    # How a response's body is framed.
    NO_BODY = 0
    COUNTED = 1
    CHUNKED = 2
    TO_THE_END = 3

    def joined(head, end, body):
        """The three in one."""
        return head + end + body


JOIN = 65536  # bytes of a body up to which head and body are one write
DRAIN = 65536  # bytes of an unread body that are passed over for the sake of the connection
# The same for C.
_JOIN = cython.declare(cython.Py_ssize_t, JOIN)
_DRAIN = cython.declare(cython.Py_ssize_t, DRAIN)

STATUS_LINES = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode("ascii")) for s in HTTPStatus}
_REASONS = {s.value: s.phrase.encode("ascii") for s in HTTPStatus}
_USUAL = cython.declare(str, USUAL)
_OWN = frozenset((b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"proxy-connection"))

# Until when, on nanotime's clock, and the header: one object, so that no thread sees one without the other.
_date = (0, b"")


def date_line():
    """The header Date, made once a second."""
    global _date
    made: tuple = _date
    until: cython.longlong = made[0]
    now: cython.longlong = nanotime()
    if now < until:
        return made[1]
    wall = time.time_ns()
    line = b"date: %s\r\n" % formatdate(wall // 1_000_000_000, usegmt=True).encode("ascii")
    _date = (now + 1_000_000_000 - wall % 1_000_000_000, line)
    return line


def number_of(value: bytes):
    """The number that a content-length is.  Raises ValueError."""
    length: cython.longlong = 0
    n: cython.Py_ssize_t = len(value)
    c: cython.int
    if n == 0 or n > 18:
        raise ValueError(f"the response has a malformed content-length: {value!r}")
    for c in value:
        if c < 48 or c > 57:
            raise ValueError(f"the response has a malformed content-length: {value!r}")
        length = length * 10 + (c - 48)
    return length


class Fields:
    """What an Exchange has (gort/http/exchange.py says what each is), with the same fields for all protocols, so that
    view.py reads them without a look-up."""

    if not cython.compiled:
        method = None
        target = None
        headers = None
        version = None
        length = None
        upgrade = None
        scheme = None
        client = None
        server = None
        started = False
        status = 0
        sent = 0
        refusal = None
        lost = False


class Answer(Fields):
    """A request on a connection, and the head of its response.

    _mode, _left: how the response's body is framed, and how much of it is to come where that is counted.  _head: the
    head of the response while it waits for the first part of the body.  _over: closed when the response has ended, made
    by who waits for that; _watching: somebody reads, to notice that the client goes.  _comes, _goes: how slow the client
    is with the request's body, and with a response that goes out in several parts; made when they are needed."""

    def __init__(self, connection: Line, request: Incoming):
        self.method = request.method
        self.target = request.target
        self.headers = request.headers
        self.version = request.version
        self.length = request.length
        self.upgrade = request.upgrade
        self.scheme = connection.scheme
        self.client = connection.client
        self.server = connection.where
        self.started = False
        self.status = 0
        self.sent = 0
        self.refusal = None
        self.lost = False
        self._c = connection
        self._request = request
        self._got = 0
        self._head = b""
        self._mode = NO_BODY
        self._left = 0
        self._ended = False
        self._comes = None
        self._goes = None
        self._over = None
        self._idle = None
        self._watching = False

    @property
    def ready(self):
        """The whole body, where it has come and nothing of it was read; else None."""
        return self.arrived()

    def arrived(self):
        """The same."""
        request: Incoming = self._request
        if not request.complete or self._got:
            return None
        if not request.body:
            return b""
        data = request.body[0] if len(request.body) == 1 else b"".join(request.body)
        limit = self._c.server.limits.body_bytes
        return data if limit is None or len(data) <= limit else None  # read() refuses it

    @property
    def expects(self):
        """Whether the client waits for 100 Continue."""
        return self._request.expects

    @property
    def at_end(self):
        """Whether the whole body was read."""
        request: Incoming = self._request
        return request.complete and not request.body

    def start(self, status, reason, headers, known=-1):
        """The head.  known: the length of the body, where headers need not say it."""
        c: Line = self._c
        request: Incoming = self._request
        parts: list = []
        known_lines: dict = STATUS_LINES
        reasons: dict = _REASONS
        length: cython.longlong = -1
        n: cython.Py_ssize_t
        date: object = date_line()
        name: object
        value: object
        if self.started:
            raise RuntimeError("the response has begun already")
        if not 200 <= status <= 999:  # after a 1xx the client would take the next response for this one's
            raise ValueError(f"{status} is no status of a response")
        line = known_lines.get(status) if not reason or reason == reasons.get(status) else None
        if line is None:
            line = b"HTTP/1.1 %d %s\r\n" % (status, reason)
        for name, value in headers:
            n = len(name)
            if n == 14 and name == b"content-length":
                if length >= 0:
                    raise ValueError(f"the response has a second content-length: {value!r}")
                length = number_of(value if type(value) is bytes else bytes(memoryview(value)))
            elif name in _OWN:
                if name == b"connection" and b"close" in value.lower():
                    c.keep = False
                continue
            elif name == b"date":
                date = None
            parts.append(name)
            parts.append(value)
        if not request.complete and (request.expects or request.length is None or request.length - self._got > _DRAIN):
            c.keep = False
        if not request.keep_alive or c.server.stopping:
            c.keep = False
        if status == 204 or status == 304:
            self._mode = NO_BODY
            if length >= 0 and status != 304:
                raise ValueError(f"a response {status} has no body, and no content-length")
        elif length >= 0:
            self._mode = COUNTED
            self._left = length
        elif known >= 0:
            self._mode = COUNTED
            self._left = known
            date = b"content-length: %d\r\n%s" % (known, b"" if date is None else date)
        elif request.version == "1.1":
            self._mode = CHUNKED
        else:
            self._mode = TO_THE_END
            c.keep = False
        last: bytes = date if date is not None else b""
        head: object = net_head(line, parts, last)
        if head is None:  # an application of ASGI may give any buffers
            head = net_head(line, [bytes(part) for part in parts], last)
        self._head = head
        self.started = True
        self.status = status

    def take_head(self, body):
        """The rest of the head: how the body is framed, and whether the connection stays; and then `body`."""
        head: object = self._head
        request: Incoming = self._request
        end: object = b"\r\n"
        self._head = b""
        if not self._c.keep:
            end = b"connection: close\r\n\r\n"
        elif request.version is not _USUAL and request.version == "1.0":
            end = b"connection: keep-alive\r\n\r\n"
        if self._mode == CHUNKED:
            end = b"transfer-encoding: chunked\r\n" + end
        if type(body) is bytes:
            return joined(head, end, body)
        return b"".join((head, end, body))

    def whole(self, status, reason, headers, body):
        """The whole response as bytes, which the caller writes; nothing follows them.  None: the head has been made, and
        the body is to be sent."""
        n: cython.Py_ssize_t = len(body)
        self.start(status, reason, headers, n)
        if self._mode != COUNTED or self._left != n or n > _JOIN or self.method == "HEAD":
            return None
        self._ended = True
        self._left = 0
        self.sent = n
        return self.take_head(body)

    def last(self, data):
        """The head that waits and the only part of the body as bytes, which the caller writes; nothing follows them.
        None where it is not as simple as that."""
        n: cython.Py_ssize_t
        if not self._head or self._ended or type(data) is not bytes or self.method == "HEAD":
            return None
        n = len(data)
        if n > _JOIN or (self._left != n if self._mode == COUNTED else self._mode != CHUNKED):
            return None
        if self._mode == CHUNKED:  # it can be counted
            self._head = self._head + b"content-length: %d\r\n" % n
            self._mode = COUNTED
        self._ended = True
        self._left = 0
        self.sent = n
        return self.take_head(data)

    def settled(self):
        """Whether nothing is left to be done for this request: it has come whole, and its response has gone out whole."""
        request: Incoming = self._request
        return self._ended and self._left == 0 and request.complete and request.keep_alive and self._over is None
