"""The least that a call in another process can take: two Python processes and one connection, for the row cluster-go.

    python _cluster_floor.py serve KIND PORT        answers pairs of numbers with their sums, until the connection ends

socket: a blocking socket, with nothing around it.  asyncio: its streams.  Both send a pickle with its length before it,
know one function, and have one call under way.  What does not live here: the others, and what is measured (cluster_.py).
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import subprocess
import sys
from time import perf_counter_ns as now
from typing import Any

from _common import check

HEAD = 4  # bytes of the length


def framed(value: Any) -> bytes:
    data = pickle.dumps(value, 5)
    return len(data).to_bytes(HEAD, "little") + data


# ---- a blocking socket -----------------------------------------------------------------------------------------------


def exactly(sock: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def received(sock: socket.socket) -> Any:
    return pickle.loads(exactly(sock, int.from_bytes(exactly(sock, HEAD), "little")))


def call_by_socket(sock: socket.socket, n: int) -> list[int]:
    times = []
    for i in range(n):
        start = now()
        sock.sendall(framed((i, 1)))
        check(received(sock) == i + 1, "a wrong result")
        times.append(now() - start)
    return times


def serve_by_socket(sock: socket.socket) -> None:
    while True:
        a, b = received(sock)
        sock.sendall(framed(a + b))


# ---- asyncio ---------------------------------------------------------------------------------------------------------


async def streamed(reader: asyncio.StreamReader) -> Any:
    return pickle.loads(await reader.readexactly(int.from_bytes(await reader.readexactly(HEAD), "little")))


async def call_by_streams(sock: socket.socket, n: int) -> list[int]:
    reader, writer = await asyncio.open_connection(sock=sock)
    times = []
    for i in range(n):
        start = now()
        writer.write(framed((i, 1)))
        check(await streamed(reader) == i + 1, "a wrong result")
        times.append(now() - start)
    writer.close()
    return times


async def serve_by_streams(sock: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=sock)
    while True:
        a, b = await streamed(reader)
        writer.write(framed(a + b))


# ---- both ------------------------------------------------------------------------------------------------------------


def measure(kind: str, n: int) -> list[int]:
    """The ns of n calls, one after another, in a process that is started for them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = subprocess.Popen([sys.executable, __file__, "serve", kind, str(listener.getsockname()[1])])
        listener.settimeout(60)
        sock, _ = listener.accept()
    with sock, child:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = call_by_socket(sock, n) if kind == "socket" else asyncio.run(call_by_streams(sock, n))
        sock.close()
    return times


def serve(kind: str, port: int) -> None:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if kind == "socket":
            serve_by_socket(sock)
        else:
            asyncio.run(serve_by_streams(sock))
    except EOFError:
        pass  # asyncio's IncompleteReadError is one


if __name__ == "__main__":
    serve(sys.argv[2], int(sys.argv[3]))
