"""A request of HTTP/1.1 as it comes: its head and the checks of it, which both parsers share, and what is there of its
body.

The parsers (llhttp.py, h11parser.py) have the same methods:

    parser.feed(data)      what the client has sent; b"" at the end of the stream.  Raises nothing.
    parser.queue           requests whose heads are whole, in order; their bodies grow as more is fed
    parser.partial         a request has begun and its head is not whole
    parser.failed          None, or the Refusal that ends the connection; it comes after the requests in the queue
    parser.close()         nothing more is fed
    parser.rest()          after the head of an upgrade: the bytes that belong to the new protocol

What is not checked by a parser is checked here, so that both refuse the same.  Where RFC 9112 lets a server choose
between repair and refusal, a request is refused: proxies that repair in another way are what request smuggling lives on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gort.http.config import Limits
    from gort.http.exchange import Headers

# A host and perhaps a port, as RFC 9110, section 7.2, and RFC 3986, section 3.2.2, have it.
_HOST = re.compile(
    rb"""(?: \[ (?: [0-9A-Fa-f:.]+ | v[0-9A-Fa-f]+ \. [-\w.~!$&'()*+,;=:]+ ) \]
           | (?: [-\w.~!$&'()*+,;=] | %[0-9A-Fa-f]{2} )* ) (?: :[0-9]* )?""",
    re.VERBOSE | re.ASCII,
)
_TARGET = re.compile(rb"[!-~]+")  # no spaces, no control characters, nothing beyond ASCII
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([/?][^#]*)?", re.IGNORECASE)
_FRAMING = frozenset((b"transfer-encoding", b"content-length", b"expect", b"upgrade"))
_NUMBER = re.compile(rb"[0-9]{1,18}")


class Refusal(Exception):
    """A request that is answered with an error, after which the connection ends."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Incoming:
    """A request.  body: the parts that have come and that nobody has taken; complete: no more will come.

    length: of the body, None where it is chunked.  expects: the client waits for 100 Continue.  upgrade: the protocol
    that it wants to change to, in lower case, or b""."""

    __slots__ = (
        "body",
        "complete",
        "expects",
        "headers",
        "keep_alive",
        "length",
        "method",
        "target",
        "trailers",
        "upgrade",
        "version",
    )

    def __init__(self) -> None:
        self.method: str = ""
        self.target: bytes = b""
        self.headers: Headers = []
        self.version: str = "1.1"
        self.keep_alive: bool = True
        self.body: list[bytes] = []
        self.complete: bool = False
        self.length: int | None = 0
        self.expects: bool = False
        self.upgrade: bytes = b""
        self.trailers: Headers = []


class Parser:
    """What the two parsers have in common."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.queue: list[Incoming] = []  # a deque takes 700 bytes, also where nothing is in it
        self.partial = False
        self.failed: Refusal | None = None
        self._host = b""  # the last ones that were found good
        self._target = b""

    def feed(self, data: bytes) -> None:
        """Takes what the client has sent."""
        raise NotImplementedError

    def close(self) -> None:
        """The connection is over: nothing more is fed."""

    def rest(self) -> bytes:
        """What came after the head of an upgrade."""
        raise NotImplementedError

    def check(self, request: Incoming) -> None:
        """The head is whole: fills in what follows from the headers.  Raises Refusal."""
        headers = request.headers
        if len(headers) > self.limits.headers:
            raise Refusal(431, "too many headers")
        h = dict(headers)
        get = h.get
        if len(h) != len(headers):
            seen: set[bytes] = set()
            for name, _ in headers:
                if name in seen and name in (b"host", b"content-length", b"transfer-encoding"):
                    raise Refusal(400, f"more than one {name.decode()}")
                seen.add(name)
        host = get(b"host")
        if host is None:
            if request.version == "1.1":
                raise Refusal(400, "no Host")
        elif host != self._host:
            if _HOST.fullmatch(host) is None:
                raise Refusal(400, "malformed Host")
            self._host = host
        if request.target != self._target:
            if _TARGET.fullmatch(request.target) is None:
                raise Refusal(400, "malformed target")
            self._target = request.target
        if not _FRAMING.isdisjoint(h):
            self._check_framing(request, h)
        if request.target[:1] != b"/":
            self._check_form(request)

    def _check_form(self, request: Incoming) -> None:
        """The target is no path (RFC 9112, section 3.2).  An absolute one becomes a path, and its host the request's:
        what Host says does not count beside it."""
        if request.method == "CONNECT":
            raise Refusal(501, "CONNECT is a proxy's")
        if request.target == b"*":
            if request.method != "OPTIONS":
                raise Refusal(400, "only OPTIONS asks for *")
            return
        absolute = _ABSOLUTE.fullmatch(request.target)
        host = absolute[1] if absolute is not None else b""
        if absolute is None or _HOST.fullmatch(host) is None:
            raise Refusal(400, "malformed target")
        path = absolute[2] or b"/"
        request.target = path if path[:1] == b"/" else b"/" + path
        request.headers = [(b"host", host), *(h for h in request.headers if h[0] != b"host")]

    def _check_framing(self, request: Incoming, h: dict[bytes, bytes]) -> None:
        """What the headers say of the body, and of what the client expects."""
        get = h.get
        coding, length = get(b"transfer-encoding"), get(b"content-length")
        if coding is not None:
            if length is not None:
                raise Refusal(400, "both Transfer-Encoding and Content-Length")
            if request.version == "1.0":
                raise Refusal(400, "Transfer-Encoding in HTTP/1.0")
            if coding.lower() != b"chunked":
                codings = [c.strip() for c in coding.lower().split(b",")]
                chunked_last = codings[-1] == b"chunked" and codings.count(b"chunked") == 1
                raise Refusal(501 if chunked_last else 400, "a transfer coding that is not known here")
            request.length = None
        elif length is not None:
            if _NUMBER.fullmatch(length) is None:
                raise Refusal(400, "malformed Content-Length")
            request.length = int(length)
            if self.limits.body_bytes is not None and request.length > self.limits.body_bytes:
                raise Refusal(413, "the body is too large")
        expect = get(b"expect")
        if expect is not None and request.version == "1.1":
            if expect.lower() != b"100-continue":
                raise Refusal(417, "an expectation that is not known here")
            request.expects = request.length != 0
        upgrade = get(b"upgrade")
        if upgrade is not None:
            tokens = [t.strip() for t in get(b"connection", b"").lower().split(b",")]
            if b"upgrade" in tokens and request.version == "1.1" and request.length == 0:
                request.upgrade = upgrade.lower()
