"""A request of HTTP/1.1 as it comes: its head and the checks of it, which both parsers share, what is there of its body,
and what llhttp reports of it.

The parsers (llhttp.py and h11parser.py in gort/http) have the same methods:

    parser.feed(data)      what the client has sent; b"" at the end of the stream.  Raises nothing.
    parser.queue           requests whose heads are whole, in order; their bodies grow as more is fed
    parser.partial         a request has begun and its head is not whole
    parser.failed          None, or the Refusal that ends the connection; it comes after the requests in the queue
    parser.close()         nothing more is fed
    parser.only(data)      the request that data is, where it is a plain one; None: data is to be fed
    parser.clean           another connection may use it: it is as new.  Only while its queue is empty
    parser.rest()          after the head of an upgrade: the bytes that belong to the new protocol

What is not checked by a parser is checked here, so that both refuse the same.  Where RFC 9112 lets a server choose
between repair and refusal, a request is refused: proxies that repair in another way are what request smuggling lives on.

One goroutine, or task, at a time uses a parser and its requests: no lock guards them.

What does not live here: llhttp itself (gort/http/llhttp.py), how a response is framed (response.py).
"""

from __future__ import annotations

import re

import cython
from cython.cimports.gort._runtime.c.net import net_find, net_has, net_printed
from cython.cimports.gort._runtime.c.rt import rt_import

rt_import()

if not cython.compiled:  # the .pxd has the same for C, where a slice would make two more objects

    def part(data, at, end):
        """data[at:end], where both are inside data."""
        return data[at:end]


# A host and perhaps a port, as RFC 9110, section 7.2, and RFC 3986, section 3.2.2, have it.
_HOST = re.compile(
    rb"""(?: \[ (?: [0-9A-Fa-f:.]+ | v[0-9A-Fa-f]+ \. [-\w.~!$&'()*+,;=:]+ ) \]
           | (?: [-\w.~!$&'()*+,;=] | %[0-9A-Fa-f]{2} )* ) (?: :[0-9]* )?""",
    re.VERBOSE | re.ASCII,
)
_TARGET = re.compile(rb"[!-~]+")  # no spaces, no control characters, nothing beyond ASCII
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([/?][^#]*)?", re.IGNORECASE)
_LINKS = frozenset((b"connection", b"proxy-connection"))
_FRAMING = frozenset((b"transfer-encoding", b"content-length", b"expect", b"upgrade"))
_NUMBER = re.compile(rb"[0-9]{1,18}")
_METHODS = {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")}

# Names of headers as clients write them -> in lower case.  Their number and length are in the hands of clients, so both
# are bounded; a thread that finds no entry makes one, and it makes no difference which of two stays.
_names = {}
_NAMES = cython.declare(cython.Py_ssize_t, 1000)
NAME = 64  # bytes of a name up to which it is kept
_NAME = cython.declare(cython.Py_ssize_t, NAME)
_KEPT = cython.declare(cython.Py_ssize_t, 256)  # bytes of a host or a target up to which a connection keeps it


USUAL = "1.1"


class Refusal(Exception):
    """A request that is answered with an error, after which the connection ends."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Incoming:
    """A request.  body: the parts that have come and that nobody has taken; complete: no more will come.

    length: of the body, None where it is chunked.  expects: the client waits for 100 Continue.  upgrade: the protocol
    that it wants to change to, in lower case, or b""."""

    def __init__(self):
        self.method = ""
        self.target = b""
        self.headers = []
        self.version = "1.1"
        self.keep_alive = True
        self.body = []
        self.complete = False
        self.length = 0
        self.expects = False
        self.upgrade = b""
        self.trailers = []


class Parser:
    """What the two parsers have in common."""

    def __init__(self, limits):
        self.limits = limits
        self.queue = []  # a deque takes 700 bytes, also where nothing is in it
        self.partial = False
        self.failed = None
        self.host = b""  # the last ones that were found good
        self.target = b""
        self.linked = False  # a header of the last head may say that the connection ends
        self.framed = False  # a header of it says something of a body, or of an upgrade
        self.clean = False  # nothing was ever fed but whole requests without those, one at a time (Events.feed)
        self.most_headers = limits.headers
        self.most_bytes = limits.head_bytes

    def feed(self, data):
        """Takes what the client has sent."""
        raise NotImplementedError

    def only(self, data):
        """The request that data is, where nothing else is in it, and where that can be seen without the parser, which
        then is not fed.  None: it is to be fed."""
        return None

    def close(self):
        """The connection is over: nothing more is fed."""

    def rest(self):
        """What came after the head of an upgrade."""
        raise NotImplementedError

    def check(self, request: Incoming):
        """The head is whole: fills in what follows from the headers.  Raises Refusal."""
        headers: list = request.headers
        host: object = None
        framed: cython.bint = False
        linked: cython.bint = False
        n: cython.Py_ssize_t
        if len(headers) > self.most_headers:
            raise Refusal(431, "too many headers")
        for name, value in headers:
            n = len(name)
            if n == 4:
                if name == b"host":
                    if host is not None:
                        raise Refusal(400, "more than one host")
                    host = value
            elif (n == 6 or n == 7 or n == 14 or n == 17) and name in _FRAMING:
                framed = True
            elif (n == 10 or n == 16) and name in _LINKS and value != b"keep-alive":
                linked = True
        self.linked = linked
        self.framed = framed
        if host is None:
            if request.version == "1.1":
                raise Refusal(400, "no Host")
        elif host != self.host:
            if _HOST.fullmatch(host) is None:
                raise Refusal(400, "malformed Host")
            if len(host) <= _KEPT:
                self.host = host
        if request.target != self.target:
            if _TARGET.fullmatch(request.target) is None:
                raise Refusal(400, "malformed target")
            if len(request.target) <= _KEPT:
                self.target = request.target
        if framed:
            check_framing(request, self.limits.body_bytes)
        if request.target[:1] != b"/":
            check_form(request)


class Events(Parser):
    """What llhttp calls for the parts of a request (the methods on_…), and what becomes of them.

    A subclass sets `take`, which gives bytes to llhttp, and `llhttp`, which knows more of the request whose head is
    whole, and has failure(), for what `take` raises."""

    if not cython.compiled:
        llhttp = None
        take = None
        now = None
        head = False
        size = 0
        held = 0
        resumed = None
        data = None

    def __init__(self, limits):
        Parser.__init__(self, limits)
        self.now = None  # the request that is being parsed
        self.head = False  # its head is
        self.size = 0  # bytes of the head, or the trailers, up to now: those of whole headers
        self.held = 0  # bytes that came after the read in which the head began, which is not whole yet; -1 in that read
        self.resumed = None  # what is being parsed stands for the head of this request
        self.data = None  # what has been fed, while a request that begins with its first byte has no head
        self.clean = True

    def failure(self, e, data):
        """`take` has raised e for data.  Returns a Refusal; None: there is none."""
        raise NotImplementedError

    def only(self, data):
        """As Parser has it."""
        if not self.clean or self.queue or self.failed is not None or type(data) is not bytes:
            return None
        return plain(self, data)

    def feed(self, data):
        """Takes what the client has sent."""
        request: Incoming
        error: object = None
        if self.failed is not None or not data:
            return
        self.data = None if self.head else data
        clean: cython.bint = self.clean and not self.head and self.now is None
        self.clean = False
        try:
            self.take(data)
        except Exception as e:
            error = e
        if error is not None:  # outside the handler: what failure() has raised inside one would have e as its context
            self.failed = self.failure(error, data)
            error = None
            clean = False
        request = self.now
        if self.head and self.failed is None:
            # llhttp reports a header when it is whole, so what has come of a long one is counted here.
            self.held = 0 if self.held < 0 else self.held + len(data)
            large = self.held > self.most_bytes
            if large or self.size + (len(request.target) if request is not None else 0) > self.most_bytes:
                self.failed = Refusal(431, "the head is too large")
        self.partial = self.head and self.failed is None
        self.data = None
        if request is not None and request.complete:
            self.now = None  # it is in the queue, and nothing of it is needed here
            if clean and not self.head and len(self.queue) == 1 and self.failed is None:
                self.clean = is_clean(self, request, data)

    def on_message_begin(self):
        """A request begins."""
        if self.now is not None:
            self.data = None  # another has begun before in what was fed
        self.now = Incoming()
        self.head = True
        self.size = 0
        self.held = -1

    def on_url(self, url):
        """A part of the target."""
        request: Incoming = self.now
        request.target = request.target + url if request.target else url
        if len(request.target) > self.most_bytes:
            raise Refusal(414, "the target is too long")

    def on_header(self, name, value: bytes):
        """A header, or a trailer."""
        request: Incoming = self.now
        n: cython.Py_ssize_t = len(value)
        names: dict = _names
        low: object = names.get(name)
        if low is None:
            low = name.lower()
            if len(name) <= _NAME and len(names) < _NAMES:
                names[name] = low
        if self.head:
            if n and (value[n - 1] == 32 or value[n - 1] == 9):
                value = value.rstrip(b" \t")
            request.headers.append((low, value))
        else:
            request.trailers.append((low, value))
            if len(request.trailers) > self.most_headers:
                raise Refusal(431, "too many trailers")
        self.size += len(name) + n + 4
        if self.size > self.most_bytes:
            raise Refusal(431, "the head is too large")

    def on_headers_complete(self):
        """The head is whole."""
        request: Incoming
        if self.resumed is not None:
            self.now = self.resumed
            self.resumed = None
            self.head = False
            return
        request = self.now
        methods: dict = _METHODS
        data: bytes = self.data
        at: cython.Py_ssize_t = -1
        if data is not None and net_find(data, 0, b"GET ", 4) == 4:
            request.method = "GET"
        else:
            method = self.llhttp.get_method()
            request.method = methods.get(method) or method.decode("ascii")
        if self.data is not None:
            at = net_find(self.data, 0, b"\r\n", len(self.data))
        if at < 11 or net_find(self.data, at - 11, b" HTTP/1.1\r\n", 11) != at:
            request.version = self.llhttp.get_http_version()  # some 3,000 instructions
            if request.version != "1.1" and request.version != "1.0":
                raise Refusal(505, "a version that is not known here")
        self.check(request)
        # As llhttp has it: without such a header a connection of HTTP/1.1 stays.
        request.keep_alive = True if request.version == "1.1" and not self.linked else self.llhttp.should_keep_alive()
        self.head = False
        self.size = 0
        self.queue.append(request)

    def on_body(self, data):
        """A part of the body."""
        request: Incoming = self.now
        request.body.append(data)

    def on_message_complete(self):
        """The body is whole."""
        request: Incoming = self.now
        request.complete = True


def plain(parser: Events, data: bytes):
    """The request that data is, where all of this holds: data is the whole head of one GET and ends with it; llhttp has
    taken the names of its headers from somebody before, so they are good; no value has more than visible ASCII with
    spaces inside; no header says anything of a body, of an upgrade, or of the connection's end; and the checks of every
    head find nothing.  None for all else: llhttp is to say what it is, or why it is refused.  So nothing is taken here
    that llhttp would not take, and what it would report is the same.

    The caller knows that llhttp is as new, and so it remains."""
    request: Incoming
    n: cython.Py_ssize_t = len(data)
    at: cython.Py_ssize_t
    end: cython.Py_ssize_t
    size: cython.Py_ssize_t
    length: cython.Py_ssize_t
    names: dict = _names
    name: object
    low: object
    value: object
    if not net_has(data, 0, b"GET /"):
        return None
    at = net_find(data, 5, b" ", n)
    if at < 0 or not net_has(data, at, b"HTTP/1.1\r\n") or net_find(data, 5, b"#", at - 5) >= 0:
        return None
    headers: list = []
    target = part(data, 4, at - 1)
    size = at - 5
    at += 10
    while not net_has(data, at, b"\r\n"):
        end = net_find(data, at, b":", _NAME + 1)
        if end < 0:
            return None
        name = part(data, at, end - 1)
        low = names.get(name)
        if low is None:
            return None
        length = end - 1 - at
        at = end
        while net_has(data, at, b" "):
            at += 1
        end = net_printed(data, at)
        if end == at or data[end - 1] == 32 or not net_has(data, end, b"\r\n"):
            return None
        value = part(data, at, end)
        if (length == 6 or length == 7 or length == 14 or length == 17) and low in _FRAMING:
            return None
        if (length == 10 or length == 16) and low in _LINKS and value != b"keep-alive":
            return None
        headers.append((low, value))
        size += length + end - at + 4
        at = end + 2
    if at + 2 != n or size > parser.most_bytes:
        return None
    request = Incoming.__new__(Incoming)  # without its __init__, which costs more than all this
    request.method = "GET"
    request.target = target
    request.headers = headers
    request.version = USUAL
    request.keep_alive = True
    request.body = []
    request.complete = True
    request.length = 0
    request.expects = False
    request.upgrade = b""
    request.trailers = []
    try:
        parser.check(request)
    except Refusal:
        return None
    return request


def is_clean(parser: Parser, request: Incoming, data: bytes):
    """Whether llhttp, to which `data` was fed, is as new.  It was before, the request is all that was in data, and its
    head ends where data does.  So llhttp has reported its end, after which it keeps nothing of a message, and has seen
    no byte since.  Requests with a body, or that say how the connection goes on, are left out, so that this need not
    be asked of what llhttp knows of those."""
    n: cython.Py_ssize_t = len(data)
    if parser.framed or parser.linked or request.version != "1.1" or not request.keep_alive or request.upgrade:
        return False
    return net_find(data, n - 4, b"\r\n\r\n", 4) == n and net_find(data, 0, b"\r\n\r\n", n) == n


def check_form(request):
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


def check_framing(request, most):
    """What the headers say of the body, of which there may be `most` bytes (None: any number), and of what the client
    expects."""
    h = dict(request.headers)
    get = h.get
    if len(h) != len(request.headers):
        for once in (b"content-length", b"transfer-encoding"):
            if sum([name == once for name, _ in request.headers]) > 1:
                raise Refusal(400, f"more than one {once.decode()}")
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
        if most is not None and request.length > most:
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
