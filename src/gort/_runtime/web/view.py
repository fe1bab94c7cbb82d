"""A WSGI request: the environ, and the call of the application in a goroutine of its own.  An ASGI request: the scope,
and the headers of the response.

View has what an application says of an ordinary response: a list of parts.  gort/http/wsgi.py has the others, and says
why a goroutine calls the application.

The application's thread alone uses a View until the goroutine has ended, and then the goroutine that waits on `over`.
cancel() may come from another thread at any time: the application's goroutine sets `its` and then looks at `cancelled`,
and cancel() does it the other way round, each with a fence in between, so whichever comes second sees the other.

What does not live here: how the response goes out (response.py), the adapter (gort/http/wsgi.py).
"""

from __future__ import annotations

from _io import BytesIO
from urllib.parse import unquote_to_bytes

import cython
from cython.cimports.gort._runtime.c.net import net_find
from cython.cimports.gort._runtime.c.rt import nanotime, rt_fence, rt_import
from cython.cimports.gort._runtime.core.handoff import cancel
from cython.cimports.gort._runtime.core.runtime2 import G, M, getm
from cython.cimports.gort._runtime.sched.newproc import newproc_plain
from cython.cimports.gort._runtime.web.response import Answer, Fields

from gort._runtime.core.errors import Cancelled
from gort._runtime.web.request import NAME, USUAL

rt_import()

CACHED = 1000  # entries in each of these: their number is in the hands of clients and applications
_CACHED = cython.declare(cython.Py_ssize_t, CACHED)
_variables = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}  # of a request's headers
_statuses = {}  # "200 OK" -> (200, b"OK")
_ports = {}  # of clients -> text: to make it takes 500 instructions
_PORTS = cython.declare(cython.Py_ssize_t, 4096)
LONG_S = 0.001  # a call that takes longer has blocked, or gort.blocking would cost nothing beside it
_LONG_S = cython.declare(cython.double, LONG_S)
_VARY = ("PATH_INFO", "QUERY_STRING", "RAW_URI", "REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL", "wsgi.input")
_ROOM = ("gort.1", "gort.2", "gort.3", "gort.4")
VERSION = {"version": "3.0", "spec_version": "2.4"}
EXTENSIONS = {"http.response.pathsend": {}, "http.response.trailers": {}, "http.response.early_hint": {}}
# What the template has, the objects that request.py uses: another string with the same text is set like any other.
_GET = cython.declare(str, "GET")
_USUAL = cython.declare(str, USUAL)
_protocols = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0", "2": "HTTP/2"}


def variable(name):
    """The key of a request's header in the environ; "" for one that is left out: a proxy's X-Real-Ip and a client's
    X_Real_Ip would be the same key."""
    key = "" if b"_" in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(name) <= NAME and len(_variables) < _CACHED:
        _variables[name] = key
    return key


def port_of(port):
    """The number as text."""
    ports: dict = _ports
    text: object = ports.get(port)
    if text is None:
        text = str(port)
        if len(ports) >= _PORTS:
            ports.clear()
        ports[port] = text
    return text


def status_of(status):
    """The number and the reason of "200 OK".  Raises ValueError."""
    number, _, reason = status.partition(" ")
    if len(number) != 3 or not number.isdigit():
        raise ValueError(f"{status!r} is no status")
    pair = (int(number), reason.encode("latin-1"))
    if len(_statuses) < _CACHED:
        _statuses[status] = pair
    return pair


class View:
    """One call of the application: what it has said and made, for the connection's goroutine, which waits on `over`.

    names: those of a response's headers, as they go out.  wrapper: the class of wsgi.file_wrapper.  rules: has what is
    rare: iterate(view, parts), write(view, data) and name(text), for a name that is not in `names`.  enter(view): what
    the goroutine runs, a function of Python's that calls timed().  body: the whole body; file: a response that is an open
    file.  took: seconds, where timed() has run.  its: the goroutine and its number.  It
    is the goroutine's Done too (newproc.py), so a dump shows which request the goroutine serves."""

    panics = False

    if not cython.compiled:
        app = None
        environ = None
        exchange = None
        over = None
        names = None
        wrapper = None
        rules = None
        enter = None
        status = 0
        reason = None
        headers = None
        body = None
        file = None
        error = None
        took = 0.0
        its = None
        cancelled = False

    @property
    def label(self):
        """What a dump says of the goroutine."""
        return self.exchange.label

    def start(self):
        """Starts the goroutine.  When the application has returned, `over` gets a value."""
        newproc_plain(self.enter, self, self)

    def finished(self, goid, value, exc):
        """The application has returned."""
        self.error = exc
        self.over.try_send(None)

    def abandoned(self, goid):
        """The program has ended before it."""

    def timed(self):
        """run(), and how long it takes."""
        m: M = getm()
        g: G = m.curg
        began: cython.longlong
        self.its = (g, g.goid)
        if cython.compiled:
            rt_fence()
        if self.cancelled:
            raise Cancelled("the server ends")
        began = nanotime()
        try:
            self.run()
        finally:
            self.took = (nanotime() - began) / 1e9

    def cancel(self):
        """Cancels the view that timed() runs: its gort.wait raises Cancelled.  One that has not begun does not."""
        self.cancelled = True
        if cython.compiled:
            rt_fence()
        its = self.its
        if its is not None:
            cancel(its[0], its[1], Cancelled("the server ends"))

    def run(self):
        """Calls the application, and takes its response."""
        parts = self.app(self.environ, self.start_response)
        if (type(parts) is list or type(parts) is tuple) and self.status and not self.exchange.started:
            self.body = parts[0] if len(parts) == 1 else b"".join(parts)
            if type(self.body) is not bytes:
                raise TypeError(f"a part of the response is {type(self.body).__name__}, not bytes")
        elif type(parts) is self.wrapper and self.status and not self.exchange.started:
            self.file = parts  # which is closed when it has been sent
        else:
            self.rules.iterate(self, parts)

    def write(self, data):
        """The callable that start_response returns."""
        self.rules.write(self, data)

    def start_response(self, status, headers, exc_info=None):
        """start_response of PEP 3333."""
        low: object
        value: object
        text: str
        fields: list = []
        if exc_info is not None:
            try:
                if self.exchange.started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status:
            raise AssertionError("start_response was called twice")
        statuses: dict = _statuses
        pair = statuses.get(status)
        if pair is None:
            pair = status_of(status)
        self.status = pair[0]
        self.reason = pair[1]
        for name, value in headers:
            low = self.names.get(name)
            if low is None:
                low = self.rules.name(name)
            if type(value) is str:
                text = value
                fields.append((low, text.encode("latin-1")))
            else:  # of a class of the application's, such as Markup
                fields.append((low, value.encode("latin-1")))
        self.headers = fields
        return self.write


def scope_of(exchange: Fields, kind, root, state):
    """The scope of an ASGI request: "http", or of a websocket.  root: where the application is mounted, "" or
    "/prefix"."""
    target: bytes = exchange.target
    path: bytes = target
    query: bytes = b""
    at: cython.Py_ssize_t = net_find(target, 0, b"?", len(target)) - 1
    web: cython.bint = kind == "http"
    scheme: object = exchange.scheme
    if at >= 0:
        path = target[:at]
        query = target[at + 1 :]
    text = (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8", "replace")
    if root:
        text = root + text
        path = root.encode() + path
    if not web:
        scheme = "wss" if scheme == "https" else "ws"
    scope = {
        "type": kind,
        "asgi": VERSION.copy(),
        "http_version": exchange.version,
        "scheme": scheme,
        "path": text,
        "raw_path": path,
        "query_string": query,
        "root_path": root,
        "headers": exchange.headers,
        "client": exchange.client,
        "server": exchange.server,
        "state": state.copy(),
    }
    if web:
        scope["method"] = exchange.method
        scope["extensions"] = EXTENSIONS.copy()
    return scope


def fields_of(headers, known, lowered):
    """The headers of an ASGI message, names in lower case, all of them bytes: an application may give any bytes-like
    objects.  known: names that are; lowered(name) is asked for others, and raises ValueError."""
    fields: list = []
    low: object
    for name, value in headers:
        if type(name) is not bytes:
            name = bytes(memoryview(name))
        if type(value) is not bytes:
            value = bytes(memoryview(value))
        low = known.get(name)
        if low is None:
            low = lowered(name)
        fields.append((low, value))
    return fields


class Caller:
    """Makes the environ of each request, and its View.

    An environ is a copy of a dict that has all its keys already, so that it need not grow.  made: what that was made for,
    and the dict: a copy is right for all connections of one address and scheme, and for clients that have a name or have
    none (Unix sockets).  They are one tuple, so that no thread sees one without the other.

    spare: channels on which nobody waits, and that have nothing in them.  scores: not empty while a path is known to
    block (class Habits).  learn(target, seconds) is told how long a call took, where that says something."""

    def __init__(self, app, base, root, rules, wrapper, names, channel, scores, learn):
        self.app = app
        self.base = base
        self.root = root  # where the application is mounted: "" or "/prefix"
        self.rules = rules
        self.enter = rules.enter
        self.wrapper = wrapper
        self.names = names
        self.channel = channel  # makes a channel of 1
        self.spare = []
        self.made = ((), None, False, base)
        self.scores = scores
        self.learn = learn

    def ask(self, exchange: Answer):
        """Has the application called for a request whose body has come: returns the View, whose `over` gets a value.
        None: it is to be called in another way."""
        body: object = exchange.arrived()
        if body is None or self.scores:
            return None
        view: View = self.begin(exchange, body)
        view.start()
        return view

    def answer(self, view: View):
        """The View's goroutine has ended: returns the whole response, which the caller writes.  None: there is more to
        do than that, and Wsgi.rest() does it."""
        exchange: Answer = view.exchange
        self.finish(view)
        if view.took > _LONG_S or self.scores:
            self.learn(exchange.target, view.took)
        if view.error is not None or view.body is None:
            return None
        return exchange.whole(view.status, view.reason, view.headers, view.body)

    def begin(self, exchange: Fields, body):
        """The View of a request, which the caller starts.  body: wsgi.input, or the whole body."""
        view: View = View.__new__(View)
        if type(body) is bytes:
            body = BytesIO(body)
        view.app = self.app
        view.names = self.names
        view.wrapper = self.wrapper
        view.rules = self.rules
        view.enter = self.enter
        view.environ = self.environ(exchange, body)
        view.exchange = exchange
        try:
            view.over = self.spare.pop()
        except IndexError:
            view.over = self.channel(1)
        return view

    def finish(self, view: View):
        """The View's goroutine has ended, and its channel is empty again."""
        self.spare.append(view.over)

    def template(self, near, scheme, named):
        """The dict to copy."""
        e = dict.fromkeys(_VARY, "")
        e["REQUEST_METHOD"] = _GET
        e["SERVER_PROTOCOL"] = _protocols[_USUAL]
        e.update(self.base)
        e["wsgi.url_scheme"] = scheme
        e["SERVER_NAME"] = near[0] if near is not None else "localhost"
        e["SERVER_PORT"] = str(near[1]) if near is not None and near[1] is not None else ""
        if named:
            e["REMOTE_ADDR"] = e["REMOTE_PORT"] = ""
        for spare in _ROOM:  # a copy is as large as this dict has been: it has room for the request's headers
            e[spare] = ""
        for spare in _ROOM:
            del e[spare]
        self.made = (near, scheme, named, e)
        return e

    def environ(self, exchange: Fields, body):
        """The environ of a request."""
        near: object = exchange.server
        client: tuple = exchange.client
        scheme: object = exchange.scheme
        made: tuple = self.made
        e: dict
        target: bytes = exchange.target
        path: bytes = target
        raw: object = target.decode("latin-1")
        query: object = ""
        at: cython.Py_ssize_t = net_find(target, 0, b"?", len(target)) - 1
        variables: dict = _variables
        name: object
        value: bytes
        key: object
        if made[0] == near and (made[1] is scheme or made[1] == scheme) and made[2] is (client is not None):
            e = made[3]
        else:
            e = self.template(near, scheme, client is not None)
        e = e.copy()
        e["RAW_URI"] = raw
        e["REQUEST_URI"] = raw
        if at >= 0:
            path = target[:at]
            query = raw[at + 1 :]
            raw = raw[:at]
        if b"%" in path:
            raw = unquote_to_bytes(path).decode("latin-1")
        if self.root and (raw == self.root or raw.startswith(self.root + "/")):
            raw = raw[len(self.root) :]
        e["PATH_INFO"] = raw
        if at >= 0:
            e["QUERY_STRING"] = query
        if exchange.method is not _GET:  # as the template has it
            e["REQUEST_METHOD"] = exchange.method
        if exchange.version is not _USUAL:
            e["SERVER_PROTOCOL"] = _protocols[exchange.version]
        e["wsgi.input"] = body
        if client is not None:
            e["REMOTE_ADDR"] = client[0]
            if client[1] is not None:
                e["REMOTE_PORT"] = port_of(client[1])
            else:
                del e["REMOTE_PORT"]
        for name, value in exchange.headers:
            key = variables.get(name)
            if key is None:
                key = variable(name)
            if not key:
                continue
            text = value.decode("latin-1")
            if key in e:
                text = f"{e[key]}{';' if key == 'HTTP_COOKIE' else ','}{text}"
            e[key] = text
        return e
