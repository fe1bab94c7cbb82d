"""An HTTP/1.1 server that serves a directory, and a client, both built on h11 (pip install h11).

    gort run examples/httpd.py serve 127.0.0.1:8000 DIRECTORY
    gort run examples/httpd.py get 127.0.0.1:8000 /index.html

h11 implements the protocol and does no input or output; gort.net does those.  The server supports keep-alive, HEAD and
ranges of one part, and sends files without a copy (sendfile).  Each phase of a connection has a time limit, so clients
that send nothing, or read nothing, are not kept.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import mimetypes
import os
import re
import resource
import stat
import sys
import traceback
import urllib.parse
from typing import Any, BinaryIO

import h11

import gort
import gort.os
from gort import net

IDLE_S = 30.0  # for a request to come, from its first byte to its last
WRITE_S = 30.0  # for the client to take WRITE_STEP bytes
LINGER_S = 2.0  # for the client to read the answer to a request that was not read to its end
SMALL = 64 * 1024  # a file up to this size is read and goes out with its header
WRITE_STEP = 256 * 1024
BODY_MAX = 1 << 20  # bytes of a request's body, which nobody wants
FETCH_MAX = 1 << 26  # bytes of a response's body


class Http:
    """A connection and its h11 state."""

    def __init__(self, conn: net.Conn, role: Any) -> None:
        self.conn = conn
        self.h11 = h11.Connection(role)
        self.close = False  # the response says that it is the last one

    async def next_event(self) -> Any:
        """The next event of the protocol that the peer sends."""
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.receive(await self.conn.read())
        return event

    def receive(self, data: bytes) -> None:
        """Gives h11 what the peer has sent.  It takes an empty line before a request for an empty request, but those are
        to be passed over (RFC 9112, section 2.2)."""
        if data and self.h11.their_state is h11.IDLE and not self.h11.trailing_data[0]:
            data = data.lstrip(b"\r\n")
            if not data:
                return  # nothing would mean the end of the stream
        self.h11.receive_data(data)

    def start_next_cycle(self) -> None:
        """Begins with the next request, of which a part may be there already."""
        self.h11.start_next_cycle()
        rest, ended = self.h11.trailing_data
        if rest.startswith((b"\r", b"\n")):
            self.h11 = h11.Connection(h11.SERVER)
            self.receive(rest)
            if ended:
                self.receive(b"")

    async def send(self, *events: Any) -> None:
        """Sends several events with one write."""
        await self.conn.write(b"".join([self.h11.send(event) or b"" for event in events]))

    def response(self, status: int, *headers: tuple[str, str]) -> Any:
        """The head of a response."""
        last = [("Connection", "close")] if self.close else []
        date = ("Date", email.utils.formatdate(usegmt=True))
        return h11.Response(status_code=status, headers=[date, *headers, *last])


class Refused(Exception):
    """The request gets this answer instead of a file."""

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


# A host and perhaps a port, as RFC 9110, section 7.2, and RFC 3986, section 3.2.2, have it.
HOST = re.compile(
    rb"""(?: \[ (?: [0-9A-Fa-f:.]+ | v[0-9A-Fa-f]+ \. [-\w.~!$&'()*+,;=:]+ ) \]
           | (?: [-\w.~!$&'()*+,;=] | %[0-9A-Fa-f]{2} )* ) (?: :[0-9]* )?""",
    re.VERBOSE,
)


def path_of(target: bytes) -> str:
    """The path of a request's target, which is "/path?query" or "http://host/path?query"."""
    text = target.decode("ascii", "replace")
    if not text.startswith("/"):
        scheme, _, rest = text.partition("://")
        if scheme.lower() not in ("http", "https") or not rest:
            raise Refused(400, "this target is no path")
        text = "/" + rest.partition("/")[2]
    return urllib.parse.unquote(text.partition("?")[0].partition("#")[0])


def open_file(root: str, target: bytes) -> tuple[BinaryIO | None, bytes, os.stat_result, str]:
    """The file that a request is for: (it, its contents, its status, its name).  A small one is read, and closed again:
    as many clients as there are may ask for one at a time, and each would keep a descriptor.

    It is opened without waiting: a named pipe would wait for a writer, for ever."""
    path = path_of(target)
    if "\0" in path:
        raise Refused(403, "outside of the directory")
    full = os.path.realpath(os.path.join(root, path.lstrip("/")))
    if full != root and not full.startswith(root.rstrip(os.sep) + os.sep):
        raise Refused(403, "outside of the directory")
    if os.path.isdir(full):
        full = os.path.join(full, "index.html")
    try:
        fd = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as e:
        if isinstance(e, OSError) and e.errno in (errno.EMFILE, errno.ENFILE):
            raise Refused(503, "too many files are open", ("Retry-After", "1")) from None
        raise Refused(404, "no such file") from None
    f = os.fdopen(fd, "rb", buffering=0)
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode):
        f.close()
        raise Refused(404, "no such file")
    if st.st_size > SMALL:
        return f, b"", st, full
    with f:
        return None, f.read(SMALL), st, full


def one_range(value: str, size: int) -> tuple[int, int] | None:
    """Returns (start, end) of a Range such as "bytes=2-5"; None where it is to be ignored: another unit, several ranges,
    no range at all, or any range of an empty file (RFC 9110, section 14.2).

    Raises Refused with 416 for a range that lies outside of the file."""
    found = re.fullmatch(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", value, re.IGNORECASE | re.ASCII)
    if found is None or size == 0 or not any(found.groups()):
        return None
    first, last = (number_of(digits) for digits in found.groups())
    if first is None:
        start, end = max(0, size - (last or 0)), size
    else:
        if last is not None and last < first:
            return None
        start, end = first, size if last is None else min(size, last + 1)
    if start >= end:
        raise Refused(416, "no such range", ("Content-Range", f"bytes */{size}"))
    return start, end


def number_of(digits: str) -> int | None:
    """The number that the digits give; None without any.  One of thousands of digits is not computed: what counts is that
    no file is so large."""
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else 1 << 63


async def answer(http: Http, request: Any, root: str) -> None:
    """Answers one request of a client."""
    if request.method not in (b"GET", b"HEAD"):
        raise Refused(405, "only GET and HEAD", ("Allow", "GET, HEAD"))
    headers = {k.decode(): v.decode("latin-1") for k, v in request.headers}
    f, contents, st, path = await gort.blocking(open_file, root, request.target)
    with f if f is not None else contextlib.nullcontext():
        size = st.st_size if f is not None else len(contents)
        start, end, status = 0, size, 200
        modified = email.utils.formatdate(st.st_mtime, usegmt=True)
        extra = []
        if "range" in headers and request.method == b"GET" and headers.get("if-range", modified) == modified:
            part = one_range(headers["range"], size)
            if part is not None:
                (start, end), status = part, 206
                extra.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
        head = http.response(
            status,
            ("Content-Type", mimetypes.guess_type(path)[0] or "application/octet-stream"),
            ("Content-Length", str(end - start)),
            ("Last-Modified", modified),
            ("Accept-Ranges", "bytes"),
            *extra,
        )
        http.conn.set_write_deadline(WRITE_S)
        if request.method == b"HEAD":
            await http.send(head, h11.EndOfMessage())
        elif f is None:
            await http.send(head, h11.Data(data=contents[start:end]), h11.EndOfMessage())
        else:
            await http.send(head)
            # h11 counts the bytes; the system moves them.
            http.h11.send_with_data_passthrough(h11.Data(data=Blank(end - start)))
            while start < end:
                http.conn.set_write_deadline(WRITE_S)
                n = await http.conn.sendfile(f, start, min(WRITE_STEP, end - start))
                if n == 0:
                    raise ConnectionError("the file became shorter")
                start += n
            http.h11.send(h11.EndOfMessage())


class Blank:
    """Stands for bytes that h11 counts but need not see."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n


async def plain(http: Http, status: int, text: str, request: Any, *headers: tuple[str, str]) -> None:
    """Answers with a short text; a HEAD gets only the text's length."""
    body = text.encode() + b"\n"
    head = http.response(status, ("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers)
    http.conn.set_write_deadline(WRITE_S)
    if request is not None and request.method == b"HEAD":
        await http.send(head, h11.EndOfMessage())
    else:
        await http.send(head, h11.Data(data=body), h11.EndOfMessage())


async def one_request(http: Http, root: str) -> bool:
    """Reads one request and answers it; whether there may be another one."""
    http.conn.set_read_deadline(IDLE_S)
    request = await http.next_event()
    if type(request) is not h11.Request:
        return False  # the client is done
    names = {name for name, _ in request.headers}
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("only HTTP/1", error_status_hint=505)
    host = next((value for name, value in request.headers if name == b"host"), b"")
    if not HOST.fullmatch(host):
        raise h11.RemoteProtocolError("this Host is none", error_status_hint=400)  # RFC 9112, section 3.2
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
        http.close = True  # somebody between us may see another end of this request: RFC 9112, section 6.1
    try:
        if http.h11.they_are_waiting_for_100_continue:
            http.conn.set_write_deadline(WRITE_S)
            await http.send(h11.InformationalResponse(status_code=100, headers=[]))
        left = BODY_MAX
        while type(event := await http.next_event()) is not h11.EndOfMessage:
            left -= len(event.data)  # a body that nobody wants
            if left < 0:
                http.close = True
                raise Refused(413, "the body is too long")
        await answer(http, request, root)
    except Refused as e:
        await plain(http, e.status, str(e), request, *e.headers)
    if http.h11.our_state is h11.DONE and http.h11.their_state is h11.DONE:
        http.start_next_cycle()
        return True
    return False


async def serve_client(conn: net.Conn, root: str) -> None:
    """Answers the requests of one connection."""
    async with conn:
        http = Http(conn, h11.SERVER)
        try:
            while await one_request(http, root):
                pass
            await linger(conn)
        except h11.RemoteProtocolError as e:
            if http.h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                http.close = True
                try:
                    await plain(http, status_of(http, e), str(e), None)
                    await linger(conn)
                except OSError:
                    pass  # it has not waited for the answer
        except OSError:
            pass  # the client went away, or sent or read nothing for too long
        except Exception:
            traceback.print_exc()  # a mistake of ours must not end the others' connections: net/http recovers too


def status_of(http: Http, error: h11.RemoteProtocolError) -> int:
    """The status of the answer to what is no request."""
    if error.error_status_hint == 431 and http.h11.our_state is h11.IDLE:
        rest, _ = http.h11.trailing_data
        return 431 if b"\n" in rest.lstrip(b"\r\n") else 414  # RFC 9112, section 3: the target is too long
    # h11 says 501 to every transfer coding but chunked. It must be 400 where chunked is not the last one: section 6.3.
    return 400 if error.error_status_hint == 501 else error.error_status_hint


async def linger(conn: net.Conn) -> None:
    """Ends our side, and reads what the client still sends: closing at once would reset the connection, and the client
    might lose the answer (RFC 9112, section 9.6)."""
    conn.close_write()
    conn.set_read_deadline(LINGER_S)
    while await conn.read():
        pass


def allow_descriptors() -> None:
    """Raises the limit on descriptors as far as this user may; many systems begin with 1,024.  Go's runtime does that at
    its start; a library must not, as `select` fails with high numbers."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(address: str, root: str) -> None:
    """Serves until it is interrupted."""
    allow_descriptors()
    mimetypes.init()  # reads files, for which there may be no descriptor later
    root = os.path.realpath(root)
    async with await net.listen("tcp", address) as ln:
        print(f"serving {root} on http://{ln.addr}/", flush=True)
        async for conn in ln:
            gort.go(serve_client, conn, root)


async def fetch(address: str, target: str, timeout: float = 30.0) -> tuple[int, dict[str, str], bytes]:
    """Sends one GET.  Returns (status, headers, body).

    Raises OSError where the server cannot be reached, takes too long, or does not speak HTTP; ValueError for a target
    that no request can have."""
    async with await net.dial("tcp", address, timeout=timeout) as conn:
        conn.set_deadline(timeout)
        http = Http(conn, h11.CLIENT)
        try:
            request = h11.Request(method="GET", target=target, headers=[("Host", address), ("Connection", "close")])
        except h11.LocalProtocolError as e:
            raise ValueError(f"no request can have the target {target!r}: {e}") from None
        await http.send(request, h11.EndOfMessage())
        try:
            while type(response := await http.next_event()) is h11.InformationalResponse:
                pass  # 103 and the like come before the answer
            if type(response) is not h11.Response:
                raise ConnectionError("the server closed the connection without an answer")
            body = bytearray()
            while type(event := await http.next_event()) is h11.Data:
                body += event.data
                if len(body) > FETCH_MAX:
                    raise ConnectionError(f"the answer is longer than {FETCH_MAX} bytes")
        except h11.RemoteProtocolError as e:
            raise ConnectionError(f"the server does not speak HTTP/1.1: {e}") from None
        headers = {k.decode(): v.decode("latin-1") for k, v in response.headers}
        return response.status_code, headers, bytes(body)


async def main() -> None:
    match sys.argv[1:]:
        case ["serve", address, root]:
            await serve(address, root)
        case ["get", address, target]:
            status, _, body = await fetch(address, target)
            print(status, file=sys.stderr)
            sys.stdout.buffer.write(body)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    gort.run(main)
