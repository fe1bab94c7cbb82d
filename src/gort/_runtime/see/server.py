"""The server of the live page: a raw thread with plain sockets, and server-sent events.

Not gort.net: a page on the scheduler that it shows answers late just when somebody wants to look, and its listener would
look like something that may still wake a goroutine, so that no deadlock would be found.

Who may read.  It listens on 127.0.0.1 alone.  Each address needs the token of this process (a parameter, or a bearer
token), compared in constant time.  A request must name this host (against DNS rebinding) and must not come from another
site (Origin, Sec-Fetch-Site).  The page may load nothing from anywhere and run no script but its own (a nonce), and no
other page may frame it.  A request changes nothing in the program: there are GET and HEAD, and POST for the page's own
flight recorder.

What does not live here: the looks (watcher.py), the page's own text (page.py), metrics (metrics.py), what is recorded
(record.py), how a request is read (request.py).
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time

from gort._runtime.core import traceback
from gort._runtime.see import looks, metrics, page, record
from gort._runtime.see.request import Refused, Request, receive
from gort._runtime.see.watcher import Watcher, thread
from gort._runtime.watch import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATIENCE_S = 10.0  # for a request
CONNECTIONS_MAX = 32
BEAT_S = 10.0  # an event stream sends something at least so often, so that it learns when the reader has gone
AGAIN_S = 0.1  # until the next try to accept
GONE = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)  # nobody listens at this descriptor any more
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = (
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
           503: "Service Unavailable"}  # fmt: skip


def hosts(port: int) -> tuple[str, ...]:
    """What a request may call this host.  A browser does not name port 80."""
    names = ("127.0.0.1", "localhost")
    return (*(f"{name}:{port}" for name in names), *(names if port == 80 else ()))


class Page:
    """The live page of this process.  url: where a browser finds it, with the token."""

    def __init__(self, port: int) -> None:
        self.token: str = secrets.token_urlsafe(18)
        self.pid: int = os.getpid()
        self._watcher = Watcher()
        self._open: set[socket.socket] = set()  # the connections
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen(16)
            self.port: int = self._socket.getsockname()[1]
            self._hosts = hosts(self.port)
            self._closed = False
            thread(self._accept)
        except BaseException:
            self._socket.close()
            raise

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def __repr__(self) -> str:
        return f"<gort.debug.Page on port {self.port}>"

    def close(self) -> None:
        """Ends it: nobody can connect any more, and who watches is cut off.  A second call does nothing."""
        global _page
        with _mu:
            if _page is self:
                _page = None
        if not self._closed:
            self._closed = True
            if os.getpid() == self.pid:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
                except OSError:
                    pass
            self._socket.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                c, _ = self._socket.accept()
            except OSError as e:
                if e.errno in GONE:  # closed
                    return
                time.sleep(AGAIN_S)  # no descriptor is left, or who connected has gone: others are still served
                continue
            if not self._room.acquire(blocking=False):
                c.close()
                continue
            try:
                thread(self._serve, c)
            except RuntimeError:
                self._room.release()
                c.close()

    def _serve(self, c: socket.socket) -> None:
        self._open.add(c)
        try:
            with c:
                c.settimeout(PATIENCE_S)
                try:
                    request = receive(c, PATIENCE_S)
                    c.settimeout(PATIENCE_S)
                    if request is not None:
                        self._check(request)
                        self._answer(c, request)
                except OSError:
                    raise  # the other side has gone
                except Exception as e:
                    if not isinstance(e, Refused) and signals.running:
                        raise
                    # Else the program has ended meanwhile, and its structures have been taken apart.
                    status, why = e.args if isinstance(e, Refused) else (503, "the program has ended")
                    send(c, status, f"{why}\n".encode(), "text/plain; charset=utf-8")
        finally:
            self._open.discard(c)
            self._room.release()

    def _check(self, request: Request) -> None:
        """Refuses who may not read."""
        if request.method not in ("GET", "HEAD") and (request.method, request.path) not in CHANGES:
            raise Refused(405, "only GET and HEAD")
        if request.headers.get("host", "").lower() not in self._hosts:
            raise Refused(403, "another host")
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in [f"http://{host}" for host in self._hosts]:
            raise Refused(403, "another origin")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            # A link on another site may lead here, but nothing of that site can read the answer; it has no token anyway.
            raise Refused(403, "another site")
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else request.query.get("token", "")
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            raise Refused(403, "wrong token")

    def _answer(self, c: socket.socket, request: Request) -> None:
        answer = ANSWERS.get(request.path)
        if answer is None:
            raise Refused(404, "no such page")
        body = request.method != "HEAD"
        if answer is events:
            if body:
                events(self, c)
            return
        kind, content, *more = answer(self, request)
        headers = tuple(more) if more else ()
        send(c, 200, content, kind, headers, body)


def send(
    c: socket.socket,
    status: int,
    content: bytes,
    kind: str,
    more: tuple[tuple[str, str], ...] = (),
    body: bool = True,
) -> None:
    """Sends an answer."""
    headers = (*ALWAYS, ("Content-Type", kind), ("Content-Length", str(len(content))), *more)
    if not any(name == "Content-Security-Policy" for name, _ in more):
        headers = (*headers, ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"))
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    c.sendall(head.encode("latin-1") + b"\r\n" + (content if body else b""))


def running() -> Any:
    """The runtime that is shown: the first one."""
    found = list(signals.running)
    if not found:
        raise Refused(503, "no program of gort's runs in this process now")
    return found[0]


def as_json(value: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(value).encode()


def the_page(its: Page, request: Request) -> tuple[Any, ...]:
    nonce = secrets.token_urlsafe(12)
    policy = ("Content-Security-Policy", POLICY.format(nonce=nonce))
    try:
        text = page.text(nonce)
    except OSError as e:  # no descriptor is left, or a file of the package is missing
        raise Refused(503, f"the page cannot be read: {e}") from None
    return "text/html; charset=utf-8", text.encode(), policy


def look(its: Page, request: Request) -> tuple[str, bytes]:
    return "application/json", its._watcher.newest(0)[1]


def goroutine(its: Page, request: Request) -> tuple[str, bytes]:
    number = request.query.get("goid", "")
    found = looks.goroutine(running(), int(number)) if number.isdecimal() and len(number) < 19 else None
    if found is None:
        raise Refused(404, "no such goroutine: it has ended")
    return as_json(found)


def boot(its: Page, request: Request) -> tuple[str, bytes]:
    return as_json(running().record.steps)


def dump(its: Page, request: Request) -> tuple[str, bytes]:
    text = traceback.dump(running(), None, group=True)
    return "text/plain; charset=utf-8", text.encode(errors="backslashreplace")


def scrape(its: Page, request: Request) -> tuple[str, bytes]:
    return metrics.exposition(list(signals.running), request.headers.get("accept", ""))


def download(name: str, content: bytes) -> tuple[Any, ...]:
    return "application/octet-stream", content, (("Content-Disposition", f'attachment; filename="{name}"'))


def profile(its: Page, request: Request) -> tuple[Any, ...]:
    kind = request.query.get("kind", "goroutine")
    return download(f"{kind}.pb.gz", record.profile(kind, record.seconds(request.query)).packed())


def flame(its: Page, request: Request) -> tuple[str, bytes]:
    kind = request.query.get("kind", "cpu")
    return as_json(record.flame(record.profile(kind, record.seconds(request.query))))


def trace(its: Page, request: Request) -> tuple[Any, ...]:
    return download("gort.trace", record.trace(record.seconds(request.query)))


def flight(its: Page, request: Request) -> tuple[Any, ...]:
    if request.method == "POST":
        its._watcher.begin()  # whose thread ends it
        return as_json(its._watcher.recorder.switch(request.query.get("on") == "1"))
    return download("flight.trace", its._watcher.recorder.written())


def events(its: Page, c: socket.socket) -> None:
    """Sends each new look, until the reader goes."""
    headers = (*ALWAYS, ("Content-Type", "text/event-stream"))
    head = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    c.sendall(head.encode() + b"\r\n")
    seen = 0
    while not its._closed:
        number, text = its._watcher.newest(seen, BEAT_S)
        c.sendall(b"data: " + text + b"\n\n" if number > seen else b": still there\n\n")
        seen = number


ANSWERS: dict[str, Callable[..., Any]] = {
    "/": the_page,
    "/events": events,
    "/look": look,
    "/goroutine": goroutine,
    "/boot": boot,
    "/dump": dump,
    "/metrics": scrape,
    "/profile": profile,
    "/flame": flame,
    "/trace": trace,
    "/flight": flight,
}
CHANGES = {("POST", "/flight")}  # all that changes something in the process
_mu = threading.RLock()  # reentrant: a handler or a finalizer may call serve, too.  Guards _page
_page: Page | None = None


def serve(port: int = 0) -> Page:
    """The live page of this process, begun where there is none.  Raises OSError where the port is taken."""
    global _page
    with _mu:
        if _page is None or _page.pid != os.getpid():
            _page = Page(port)
            if forget not in signals.at_fork:
                signals.at_fork.append(forget)
        elif port not in (0, _page.port):
            raise OSError(f"the live page is on port {_page.port} already")
        return _page


def forget() -> None:
    """In a forked child: the page is its parent's."""
    global _page, _mu
    _mu = threading.RLock()  # another thread may have held it
    record.forget()
    its, _page = _page, None
    if its is not None:
        its._closed = True
        its._socket.close()
        for c in its._open:  # else who watches the parent would not see its end while this child lives
            c.close()
