"""The client: `await gort.http.get(url)`, and Client, which keeps connections.  Follows Go's net/http (Client, Transport)
where it decides: redirects, what may be sent twice.

    response = await gort.http.get("https://example.org/")

    async with gort.http.Client() as client:
        response = await client.post(url, json={"a": 1})
        async with client.stream("GET", url) as response:
            async for part in response: ...

It is small.  docs/http.md says what it leaves to httpx.

What does not live here: connections (client_pool.py), the protocols (client_h1.py, client_h2.py), what a request is made
of (client_request.py).
"""

from __future__ import annotations

import json as _json
import ssl
from _collections_abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from email.message import Message
from importlib.util import find_spec
from types import TracebackType
from typing import Any, NoReturn, TypedDict, TypeVar, Unpack
from urllib.parse import urljoin

from gort import context as _context
from gort import net
from gort._runtime.core.mistakes import Shared
from gort.group import Group
from gort.http.client_errors import (
    Malformed,
    PhaseTimeout,
    ProtocolError,
    RequestError,
    RequestTimeout,
    StatusError,
    Timeouts,
    TooManyRedirects,
    Unanswered,
)
from gort.http.client_h1 import H1Connection
from gort.http.client_pool import Pool
from gort.http.client_request import Body, Head, Headers, Origin, Request
from gort.scope import MoveOnAfter, move_on_after

_T = TypeVar("_T")
WHOLE = 1 << 16  # a body of bytes up to this size goes out with the head; a longer one while the response is awaited
DRAIN = 1 << 16  # bytes of a redirect's body that are read to keep the connection
_LOST = ("authorization", "cookie", "proxy-authorization")  # headers that do not go to another origin


class Options(TypedDict, total=False):
    """What a request may be given: see Client.stream."""

    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None
    json: Any
    redirects: int | None
    timeouts: Timeouts | None
    ctx: _context.Context | None


class PostOptions(Options, total=False):
    """The same, with a body."""

    body: Body


class Response(Shared):
    """A response.  status, reason, version ("1.0", "1.1", "2"), headers: as the server sent them.  url: whose it is,
    after redirects; history: the URLs that redirected, in their order.  trailers: the headers after the body.

    get, post and request give it with its body.  In `async with client.stream(…)` the body comes with read(), read_all()
    or `async for part in response`.  A body with a Content-Encoding (gzip) is given as it came: nobody has asked for
    one.  Follows Go's http.Response."""

    def __init__(self, call: _Call, head: Head, history: list[str]) -> None:
        status, reason, headers, version = head
        self.status = status
        self.reason: str = reason.decode("latin-1")
        self.version = version
        self.headers: Headers = _decoded(headers)
        self.trailers: Headers = Headers()
        self.method: str = call.request.method
        self.url: str = call.request.url
        self.history: tuple[str, ...] = tuple(history)
        self._call = call
        self._body: bytes | None = None
        self._at_end = False

    def __repr__(self) -> str:
        return f"<gort.http.Response {self.status} {self.reason} of {self.method} {self.url}>"

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    def check(self) -> Response:
        """Raises StatusError if the status is 400 or more; returns the response else."""
        if not self.ok:
            raise StatusError(f"{self.status} {self.reason} for {self.url}", self.method, self.url, self)
        return self

    @property
    def body(self) -> bytes:
        """The body.  Raises RuntimeError while it has not been read (read_all)."""
        if self._body is None:
            raise RuntimeError("the body has not been read: `await response.read_all()`")
        return self._body

    @property
    def text(self) -> str:
        """The body as text, in the charset that Content-Type says, else UTF-8.  What cannot be decoded becomes U+FFFD."""
        message = Message()
        message["content-type"] = self.headers.get("content-type", "")
        charset = message.get_content_charset() or "utf-8"
        try:
            return self.body.decode(charset, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """What the body is as JSON.  Raises ValueError if it is none."""
        return _json.loads(self.body)

    async def read(self) -> bytes:
        """The next part of the body, as it comes; b"" at its end.  Raises RequestError."""
        if self._at_end:
            return b""
        data, trailers = await self._call.read()
        if trailers is not None:
            self._at_end = True
            self.trailers = _decoded(trailers)
        return data

    async def read_all(self, limit: int | None = None) -> bytes:
        """The whole body; it is kept in `body`.  Raises RequestError, ProtocolError if it has more than `limit` bytes."""
        if self._body is not None:
            return self._body
        parts, size = [], 0
        while data := await self.read():
            parts.append(data)
            size += len(data)
            if limit is not None and size > limit:
                raise ProtocolError(
                    f"{self.method} {self.url}: the body has more than {limit} bytes", self.method, self.url
                )
        self._body = b"".join(parts)
        return self._body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if data := await self.read():
            return data
        raise StopAsyncIteration


def _decoded(headers: list[tuple[bytes, bytes]]) -> Headers:
    return Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])


class _Call:
    """One request on one connection, from the wait for the connection to the end of the response.

    ctx may end it at any time: that cancels the wait for the response's head (scope), or ends what reads the body
    (stream.abort).  Either way the error is ctx's."""

    def __init__(self, client: Client, request: Request, timeouts: Timeouts, ctx: _context.Context | None) -> None:
        self.client = client
        self.request = request
        self.timeouts = timeouts
        self.ctx = ctx
        self._connection: Any = None
        self._stream: Any = None
        self._group: Group | None = None  # of the goroutine that sends the body
        self._sender: Any = None
        self._failed: BaseException | None = None  # what the body's iterator, or sending it, raised
        self._scope: MoveOnAfter | None = None
        self._stop: Any = None

    async def begin(self) -> Head:
        """Sends the request; the head of the response.  Raises RequestError; the call is over then."""
        if self.ctx is None:
            return await self._guarded(self._begin)
        if (over := self.ctx.err()) is not None:
            raise over
        head = None
        async with move_on_after(None) as self._scope:
            self._stop = _context.after_func(self.ctx, self._ctx_ended)
            head = await self._guarded(self._begin)
        if head is None:
            await self.end()
            raise self.ctx.err() or AssertionError("the request was cancelled by nobody")
        return head

    def _ctx_ended(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
        if self._stream is not None:
            self._stream.abort()

    async def _begin(self) -> Head:
        request, timeouts = self.request, self.timeouts
        fresh = False
        while True:
            pool = self.client._pool
            connection = await pool.take(request.origin, timeouts.pool_s, timeouts.connect_s, fresh)
            again = connection.served > 0
            self._connection = connection
            try:
                self._stream = connection.begin()
                await self._send()
                return await self._stream.head(timeouts)  # type: ignore[no-any-return]
            except Unanswered:
                if not (again and request.replayable and request.idempotent) or self._group is not None:
                    raise
                await self._give_back()
                self._failed = None
                fresh = True

    async def _send(self) -> None:
        body = self.request.body
        if body is None or (isinstance(body, bytes) and len(body) <= WHOLE):
            try:
                await self._stream.send(self.request, self.timeouts, True)
            except ConnectionError as e:
                self._failed = e  # the server may have answered before it ended its side
            return
        await self._stream.send(self.request, self.timeouts, False)
        self._group = Group()
        await self._group.__aenter__()
        self._sender = self._group.go(self._send_body)

    async def _send_body(self) -> None:
        """The goroutine that sends the body.  What goes wrong is kept: whoever reads the response says it."""
        parts = _pieces(self.request)
        try:
            async for part in parts:
                await self._stream.send_part(part, self.timeouts)
            await self._stream.send_part(b"", self.timeouts)
        except ConnectionError as e:
            self._failed = e
        except Exception as e:
            self._failed = e
            self._stream.abort()
        finally:
            await parts.aclose()

    async def read(self) -> tuple[bytes, list[tuple[bytes, bytes]] | None]:
        """As the stream's read."""
        if self._stream is None:
            raise RuntimeError("the response is read in its block: async with client.stream(…) as response")
        return await self._guarded(self._stream.read, self.timeouts)

    async def _guarded(self, fn: Callable[..., Coroutine[Any, Any, _T]], *args: Any) -> _T:
        """Calls fn, and makes RequestErrors of what goes wrong."""
        try:
            return await fn(*args)
        except Exception as e:
            await self.end()
            self._raise(e)

    def _raise(self, e: Exception) -> NoReturn:
        request, failed = self.request, self._failed
        if self.ctx is not None and (over := self.ctx.err()) is not None:
            raise over from None
        if failed is not None and isinstance(e, OSError):
            if not isinstance(failed, OSError | PhaseTimeout):
                raise failed  # of the body's iterator
            if not isinstance(e, Unanswered) or not isinstance(failed, ConnectionError):
                e = failed
        name = f"{request.method} {request.url}"
        if isinstance(e, PhaseTimeout):
            raise RequestTimeout(f"{name}: {e}", request.method, request.url, e.phase) from None
        if isinstance(e, Malformed):
            raise ProtocolError(f"{name}: {e}", request.method, request.url) from None
        if isinstance(e, OSError) and not isinstance(e, RequestError):
            error = RequestError(f"{name}: {e.strerror or e}", request.method, request.url)
            error.errno = e.errno
            raise error from e
        raise e

    async def end(self) -> None:
        """The request is over, well or not: the connection goes back.  Again does nothing."""
        if self._stop is not None:
            self._stop()
        await self._give_back()

    async def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if self._group is not None:
                await self._end_sender()
        finally:
            stream, self._stream = self._stream, None
            self.client._pool.give(connection, stream is not None and stream.release())

    async def _end_sender(self) -> None:
        """Ends the goroutine that sends the body."""
        group, self._group = self._group, None
        assert group is not None
        if not self._sender.done:
            # A response may come before the request has ended: nobody wants the rest of that.
            self._sender.cancel()
        await group.__aexit__(None, None, None)


async def _pieces(request: Request) -> Any:
    """The parts of a body; long bytes in pieces, so that each has the time of Timeouts.write_s."""
    async for part in request.parts():
        for at in range(0, len(part), WHOLE):
            yield part[at : at + WHOLE]


class Streaming:
    """What Client.stream gives: `async with` it."""

    def __init__(self, client: Client, request: Request, redirects: int, timeouts: Timeouts, ctx: Any) -> None:
        self._client = client
        self._request = request
        self._redirects = redirects
        self._timeouts = timeouts
        self._ctx = ctx
        self._call: _Call | None = None

    async def __aenter__(self) -> Response:
        history: list[str] = []
        request = self._request
        while True:
            self._call = call = _Call(self._client, request, self._timeouts, self._ctx)
            try:
                response = Response(call, await call.begin(), history)
                further = _redirected(request, response) if self._redirects else None
                if further is None:
                    return response
                history.append(request.url)
                if len(history) > self._redirects:
                    text = f"{request.method} {self._request.url}: more than {self._redirects} redirects"
                    raise TooManyRedirects(f"{text}, the last to {further.url}", request.method, request.url)
                await _drain(response)
            except BaseException:
                await call.end()
                raise
            await call.end()
            request = further

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._call is not None
        await self._call.end()


async def _drain(response: Response) -> None:
    """Reads a short body that nobody wants, so that the connection can be used again."""
    size = 0
    try:
        while size <= DRAIN and (data := await response.read()):
            size += len(data)
    except RequestError:
        pass  # the redirect is known already


def _redirected(request: Request, response: Response) -> Request | None:
    """The request to which a response redirects, or None.  As Go's redirectBehavior: after 301, 302 and 303 only GET and
    HEAD stay what they are; 307 and 308 repeat the request, if its body can be."""
    status = response.status
    where = response.headers.get_all("location")
    if status not in (301, 302, 303, 307, 308) or not where:
        return None
    method, body = request.method, request.body
    headers = list(request.headers)
    if status < 304 and method not in ("GET", "HEAD"):
        method, body = "GET", None
    elif not request.replayable:
        return None
    if body is None:
        headers = [(name, value) for name, value in headers if not name.lower().startswith("content-")]
    try:
        url = urljoin(request.url, where[0].strip())
        further = Request(method, url, [], body, None)
    except ValueError as e:
        name = f"{request.method} {request.url}"
        raise ProtocolError(f"{name}: a redirect to what is no URL: {e}", request.method, request.url) from None
    if further.origin != request.origin:
        headers = [(name, value) for name, value in headers if name.lower() not in (*_LOST, "host")]
    given = {name.lower() for name, _ in headers}
    further.headers = headers + [(name, value) for name, value in further.headers if name.lower() not in given]
    return further


class Client(Shared):
    """A client that keeps its connections: `async with Client() as client`.  Goroutines may share it.

    connections: how many may be open at a time; more requests wait (None: no limit).  idle_s: how long one is kept
    without a request; that is looked at with each request of the client.  timeouts: for the phases of each request.
    redirects: how many are followed; 0: none.  max_body: how many bytes of a body get, post and request take.  headers:
    that each request gets, unless it has its own.

    context: an ssl.SSLContext; by default certificates are checked against the system's, and HTTP/2 is offered where h2
    is installed (http2=False: not).  With a context of your own, its set_alpn_protocols decides.

    Raises RequestError and its kinds.  The error of a context (ctx=…) is raised as it is.  Follows Go's
    http.Client."""

    def __init__(
        self,
        *,
        connections: int | None = 100,
        idle_s: float = 60.0,
        timeouts: Timeouts | None = None,
        redirects: int = 10,
        max_body: int | None = None,
        headers: Any = None,
        context: ssl.SSLContext | None = None,
        http2: bool = True,
    ) -> None:
        if connections is not None and connections < 1:
            raise ValueError(f"connections is a number of them, 1 or more, not {connections}")
        self.timeouts: Timeouts = timeouts or Timeouts()
        self.redirects = redirects
        self.max_body = max_body
        self.headers: Headers = Headers(Request("GET", "http://localhost/", headers, None, None).headers)
        self._context = context
        self._http2 = http2
        self._pool = Pool(connections, idle_s, self._dial)

    def __repr__(self) -> str:
        return f"<gort.http.Client, {self._pool!r}>"

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        body: Body = None,
        json: Any = None,
        redirects: int | None = None,
        timeouts: Timeouts | None = None,
        ctx: _context.Context | None = None,
    ) -> Streaming:
        """`async with client.stream("GET", url) as response:` gives the response when its head has come; the body is read
        in the block.  What is not read there ends the connection.

        body: bytes, str, an iterable of bytes (async or not), or a binary file; json: what is sent as JSON.  An iterable
        goes out while the response comes, in chunks, or with the Content-Length that headers say.  ctx: a gort.context;
        its end ends the request, with ctx's error.  Raises ValueError for what no request can have."""
        request = Request(method, url, headers, body, json)
        request.headers += [pair for pair in self.headers.pairs() if not request.has(pair[0])]
        limit = self.redirects if redirects is None else redirects
        return Streaming(self, request, limit, timeouts or self.timeouts, ctx)

    async def request(self, method: str, url: str, **options: Unpack[PostOptions]) -> Response:
        """Sends a request, and gives the response with its body.  The options are those of stream."""
        async with self.stream(method, url, **options) as response:
            await response.read_all(self.max_body)
        return response

    async def get(self, url: str, **options: Unpack[Options]) -> Response:
        """As request("GET", …)."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, body: Body = None, **options: Unpack[Options]) -> Response:
        """As request("POST", …)."""
        return await self.request("POST", url, body=body, **options)

    def close(self) -> None:
        """Closes the connections that have no request; those that have one are closed after it.  No request can be begun
        any more: RuntimeError.  From any thread; again does nothing."""
        self._pool.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    async def _dial(self, origin: Origin, timeout: float | None) -> Any:
        """Opens a connection."""
        try:
            if origin.scheme == "http":
                return H1Connection(await net.dial("tcp", origin.address, timeout))
            if self._context is None:
                self._context = _default_context(self._http2)
            conn = await net.dial_tls("tcp", origin.address, self._context, timeout=timeout)
        except net.DeadlineExceeded:
            raise PhaseTimeout("connect", timeout or 0) from None
        if conn.alpn_protocol != "h2":
            return H1Connection(conn)
        from gort.http.client_h2 import H2Connection

        return await H2Connection.start(conn)


def _default_context(http2: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 and find_spec("h2") is not None else ["http/1.1"])
    return context


async def request(
    method: str,
    url: str,
    *,
    context: ssl.SSLContext | None = None,
    http2: bool = True,
    max_body: int | None = None,
    **options: Unpack[PostOptions],
) -> Response:
    """One request with a connection of its own: gives the response with its body.

    context, http2, max_body: as Client has them; the other options are Client.stream's.  Raises RequestError and its
    kinds, and the error of ctx.  Who sends more than one request wants a Client, which keeps connections."""
    async with Client(context=context, http2=http2, max_body=max_body) as client:
        return await client.request(method, url, **options)


async def get(url: str, **options: Unpack[Options]) -> Response:
    """As request("GET", …): `response = await gort.http.get("https://example.org/")`.  Go's http.Get."""
    return await request("GET", url, **options)


async def post(url: str, body: Body = None, **options: Unpack[Options]) -> Response:
    """As request("POST", …): `response = await gort.http.post(url, json={"a": 1})`.  Go's http.Post."""
    return await request("POST", url, body=body, **options)
