"""An HTTP/1.1 server that serves a directory, and a client, both built on h11 (pip install h11).

    gort run examples/httpd.py serve 127.0.0.1:8000 DIRECTORY
    gort run examples/httpd.py get 127.0.0.1:8000 /index.html

h11 implements the protocol and does no input or output; gort.net does those.  The server supports keep-alive, HEAD and
ranges of one part, and sends files without a copy (sendfile).
"""

from __future__ import annotations

import email.utils
import mimetypes
import os
import sys
import traceback
import urllib.parse
from typing import Any

import h11

import gort
import gort.os
from gort import net

IDLE_S = 30.0
SMALL = 64 * 1024  # a file up to this size is read and goes out with its header


class Http:
    """A connection and its h11 state."""

    def __init__(self, conn: net.Conn, role: Any) -> None:
        self.conn = conn
        self.h11 = h11.Connection(role)

    async def next_event(self) -> Any:
        """The next event of the protocol that the peer sends."""
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(await self.conn.read())
        return event

    async def send(self, *events: Any) -> None:
        """Sends several events with one write."""
        await self.conn.write(b"".join([self.h11.send(event) or b"" for event in events]))


def find(root: str, target: bytes) -> str | None:
    """The file that a request is for, or None when it is outside of root."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(target.decode("ascii", "replace")).path)
    if "\0" in path:
        return None
    full = os.path.realpath(os.path.join(root, path.lstrip("/")))
    if full != root and not full.startswith(root + os.sep):
        return None
    return os.path.join(full, "index.html") if os.path.isdir(full) else full


def one_range(value: str, size: int) -> tuple[int, int] | None:
    """Returns (start, end) of a Range such as "bytes=2-5"; None where it is not one range of this file."""
    unit, _, spec = value.partition("=")
    first, dash, last = spec.partition("-")
    if unit.strip() != "bytes" or not dash or "," in spec or not (first or last).isdigit():
        return None
    if not first:
        return (max(0, size - int(last)), size)
    end = min(size, int(last) + 1) if last.isdigit() else size
    return (int(first), end) if int(first) < end else None


async def answer(http: Http, request: Any, root: str) -> None:
    """Answers one request of a client."""
    headers = {k.decode(): v.decode("latin-1") for k, v in request.headers}
    if request.method not in (b"GET", b"HEAD"):
        return await plain(http, 405, "only GET and HEAD")
    path = find(root, request.target)
    if path is None:
        return await plain(http, 403, "outside of the directory", request)
    try:
        f = await gort.blocking(open, path, "rb")
    except OSError:
        return await plain(http, 404, "no such file", request)
    with f:
        st = os.fstat(f.fileno())
        start, end, status = 0, st.st_size, 200
        extra = []
        if "range" in headers:
            part = one_range(headers["range"], st.st_size)
            if part is None:
                return await plain(http, 416, "no such range", request)
            (start, end), status = part, 206
            extra.append(("Content-Range", f"bytes {start}-{end - 1}/{st.st_size}"))
        head = h11.Response(
            status_code=status,
            headers=[
                ("Content-Type", mimetypes.guess_type(path)[0] or "application/octet-stream"),
                ("Content-Length", str(end - start)),
                ("Last-Modified", email.utils.formatdate(st.st_mtime, usegmt=True)),
                ("Accept-Ranges", "bytes"),
                *extra,
            ],
        )
        if request.method == b"HEAD":
            await http.send(head, h11.EndOfMessage())
        elif end - start <= SMALL:
            body = await gort.blocking(os.pread, f.fileno(), end - start, start) if end > start else b""
            await http.send(head, h11.Data(data=body), h11.EndOfMessage())
        else:
            await http.send(head)
            # h11 counts the bytes; the system moves them.
            http.h11.send_with_data_passthrough(h11.Data(data=Blank(end - start)))
            if await http.conn.sendfile(f, start, end - start) != end - start:
                raise ConnectionError("the file became shorter")
            http.h11.send(h11.EndOfMessage())
    return None


class Blank:
    """Stands for bytes that h11 counts but need not see."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n


async def plain(http: Http, status: int, text: str, request: Any = None) -> None:
    """Answers with a short text; a HEAD gets only the text's length."""
    body = text.encode() + b"\n"
    head = h11.Response(
        status_code=status, headers=[("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    )
    if request is not None and request.method == b"HEAD":
        await http.send(head, h11.EndOfMessage())
    else:
        await http.send(head, h11.Data(data=body), h11.EndOfMessage())


async def serve_client(conn: net.Conn, root: str) -> None:
    """Answers the requests of one connection."""
    async with conn:
        http = Http(conn, h11.SERVER)
        try:
            while True:
                conn.set_read_deadline(IDLE_S)
                request = await http.next_event()
                if type(request) is not h11.Request:
                    return  # the client is done
                while type(await http.next_event()) is not h11.EndOfMessage:
                    pass  # a body that nobody wants
                await answer(http, request, root)
                if http.h11.our_state is not h11.DONE:
                    return
                http.h11.start_next_cycle()
        except h11.RemoteProtocolError as e:
            if http.h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                try:
                    await plain(http, e.error_status_hint, str(e))
                except OSError:
                    pass
        except OSError:
            pass  # the client went away, or sent nothing for too long
        except Exception:
            traceback.print_exc()  # a mistake of ours must not end the others' connections: net/http recovers too


async def serve(address: str, root: str) -> None:
    """Serves until it is interrupted."""
    root = os.path.realpath(root)
    async with await net.listen("tcp", address) as ln:
        print(f"serving {root} on http://{ln.addr}/", flush=True)
        async for conn in ln:
            gort.go(serve_client, conn, root)


async def fetch(address: str, target: str, timeout: float = 30.0) -> tuple[int, dict[str, str], bytes]:
    """Sends one GET.  Returns (status, headers, body)."""
    async with await net.dial("tcp", address, timeout=timeout) as conn:
        conn.set_deadline(timeout)
        http = Http(conn, h11.CLIENT)
        await http.send(
            h11.Request(method="GET", target=target, headers=[("Host", address), ("Connection", "close")]),
            h11.EndOfMessage(),
        )
        response = await http.next_event()
        body = bytearray()
        while type(event := await http.next_event()) is h11.Data:
            body += event.data
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
