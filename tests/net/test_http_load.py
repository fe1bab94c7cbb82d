"""examples/httpd.py holds 10,000 connections, and who is slow on purpose holds nobody up, in either direction.

    python tests/net/test_http_load.py [CONNECTIONS]

prints what each connection costs the server.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import pytest
from netkit import serving
from test_net_examples import EXAMPLES, address_in, connect, read_all

import gort
from gort import net, runtime
from support import FULL, PATIENCE_S, settles, sockets_of

pytest.importorskip("h11")
sys.path.insert(0, str(EXAMPLES))
CONNECTIONS = (10_000 if FULL else 4_000) if runtime.compiled else 1_000  # the uncompiled core takes as long for these
BYTES_EACH = 30_000  # 6 KB were measured; a thread for each would be more, and so would a buffer of 64 KiB
REQUEST = b"GET /ten HTTP/1.1\r\nHost: x\r\n\r\n"

# Opens n connections, makes a request on each, says so, and makes another on each when it is told to; then it ends.
CLIENT = """
import resource, socket, sys
sys.path.insert(0, sys.argv[4])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
import gort
from gort import bufio, net
REQUEST = b"GET /ten HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"

async def one(conn):
    await conn.write(REQUEST)
    head = await conn.read_until(b"\\r\\n\\r\\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert await conn.read_exactly(10) == b"0123456789"

async def main():
    address, n = sys.argv[1] + ":" + sys.argv[2], int(sys.argv[3])
    conns = []
    async def open_one():
        conns.append(await net.dial("tcp", address))
    async with gort.Group(limit=200) as g:
        for _ in range(n):
            g.go(open_one)
    for _ in range(2):
        async with gort.Group() as g:
            for conn in conns:
                g.go(one, conn)
        print("answered", len(conns), flush=True)
        await gort.blocking(sys.stdin.readline)
    for conn in conns:
        conn.close()

gort.run(main)
"""


@contextmanager
def httpd(
    folder: Path, descriptors: int | None = None, **settings: float
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """httpd with other limits; its address and process.  It must write nothing to standard error."""
    hard = descriptors or resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    program = f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, ({min(1024, hard)}, {hard})); "
    program += f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import httpd, gort; "
    program += "".join(f"httpd.{name} = {value}; " for name, value in settings.items())
    program += f"gort.run(httpd.serve, '127.0.0.1:0', {str(folder)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield address_in(line), process
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        said = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    assert said == "", said


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def answers_well(address: str) -> bool:
    with connect(address) as s:
        s.sendall(REQUEST)
        s.shutdown(socket.SHUT_WR)
        return read_all(s).endswith(b"\r\n\r\n0123456789")


def hold(folder: Path, n: int) -> float:
    """Has n connections with a request answered on each, all open at once; gives the server's bytes for each."""
    (folder / "ten").write_bytes(b"0123456789")
    with httpd(folder, IDLE_S=10 * PATIENCE_S) as (address, process):
        assert answers_well(address)
        before = resident(process.pid)
        host, _, port = address.rpartition(":")
        command = [sys.executable, "-c", CLIENT, host, port, str(n), str(Path(gort.__file__).parent.parent)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
            assert clients.stdin is not None
            assert clients.stdout is not None
            try:
                assert clients.stdout.readline() == f"answered {n}\n"
                assert sockets_of(process.pid) == n + 1
                each = (resident(process.pid) - before) / n
                assert answers_well(address)  # another one is served beside them
                clients.stdin.write("again\n")
                clients.stdin.flush()
                assert clients.stdout.readline() == f"answered {n}\n"
                clients.stdin.write("end\n")
                clients.stdin.flush()
                assert clients.wait(PATIENCE_S) == 0
            finally:
                clients.kill()
        assert settles(lambda: sockets_of(process.pid) == 1)
        assert answers_well(address)
    return each


@pytest.mark.slow
def test_httpd_holds_very_many_connections(tmp_path: Path) -> None:
    """Each with an answer, then idle, then with another answer; and the memory of all of them has a bound."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < CONNECTIONS + 100:
        pytest.skip(f"a process may have {hard} descriptors here, and cannot raise that")
    assert hold(tmp_path, CONNECTIONS) < BYTES_EACH


def test_too_many_files_are_no_missing_ones(tmp_path: Path) -> None:
    """When the process has no descriptors left, the answer is that, and not that there is no such file."""
    (tmp_path / "ten").write_bytes(b"0123456789")
    (tmp_path / "large").write_bytes(bytes(16 << 20))
    with httpd(tmp_path, descriptors=80, WRITE_S=10 * PATIENCE_S) as (address, process):
        clients = [connect(address) for _ in range(50)]  # each takes one descriptor, and another for its file
        # All are accepted before the first asks for its file.  Else the first 36 and their files are all 80 descriptors,
        # and as no one of them reads, accept has none for the others.
        assert settles(lambda: sockets_of(process.pid) == 51)
        for s in clients:
            s.sendall(REQUEST.replace(b"ten", b"large"))
        statuses = [s.recv(12) for s in clients]
        assert set(statuses) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        for s in clients:
            s.close()
        assert settles(lambda: sockets_of(process.pid) == 1)
        assert answers_well(address)


@contextmanager
def dribbling(send: Callable[[], None]) -> Iterator[threading.Event]:
    """Calls send every few milliseconds, until it fails; the event is set then."""
    ended = threading.Event()
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.wait(0.01):
                send()
        except OSError:
            pass
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"G"),
        (b"GET /ten HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n"),
        (b"GET /ten HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"GET /ten HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"\r\n"),
    ],
)
def test_a_client_that_sends_slowly_is_let_go(tmp_path: Path, head: bytes, piece: bytes) -> None:
    """It always sends a little more before anything happens; what counts is the time of the whole request."""
    (tmp_path / "ten").write_bytes(b"0123456789")
    with httpd(tmp_path, IDLE_S=0.5, LINGER_S=0.1) as (address, process):
        with connect(address) as s:
            s.sendall(head)
            with dribbling(lambda: s.sendall(piece)) as ended:
                assert settles(lambda: answers_well(address))  # others are served meanwhile
                assert ended.wait(PATIENCE_S)
        assert settles(lambda: sockets_of(process.pid) == 1)


def test_a_client_that_reads_slowly_is_let_go(tmp_path: Path) -> None:
    """A few bytes at a time, for ever: the server waits for so long for so many bytes, and no longer."""
    (tmp_path / "ten").write_bytes(b"0123456789")
    (tmp_path / "large").write_bytes(bytes(64 << 20))
    with httpd(tmp_path, WRITE_S=0.5) as (address, process), socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = address.rpartition(":")
        s.connect((host, int(port)))
        s.sendall(REQUEST.replace(b"ten", b"large"))
        s.settimeout(PATIENCE_S)

        def read() -> None:
            s.recv(100)

        with dribbling(read):
            assert answers_well(address)
            assert settles(lambda: sockets_of(process.pid) == 1)


def test_a_client_that_asks_and_never_reads_is_let_go(tmp_path: Path) -> None:
    """Requests one after another without reading an answer: the server stops reading, and lets go."""
    (tmp_path / "ten").write_bytes(bytes(60_000))
    with httpd(tmp_path, WRITE_S=0.5, IDLE_S=PATIENCE_S) as (address, process), connect(address) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(OSError):  # a reset, or a broken pipe
            while True:
                s.sendall(REQUEST * 100)
        assert settles(lambda: sockets_of(process.pid) == 1)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b""),
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
def test_a_server_that_answers_slowly_is_left(head: bytes, piece: bytes) -> None:
    """fetch has one limit for the whole answer, however it dribbles; so has a crawl."""
    from crawler import crawl
    from httpd import fetch

    async def slow(conn: net.Conn) -> None:
        async with conn:
            try:
                await conn.read_until(b"\r\n\r\n")
                await conn.write(head)
                while True:
                    await gort.sleep(0.01)
                    if piece:
                        await conn.write(piece)
                    elif not await conn.read():
                        return
            except (OSError, net.IncompleteRead):
                pass  # the client has had enough

    async def main() -> None:
        async with serving(slow) as address:
            with pytest.raises((net.DeadlineExceeded, ConnectionError)):
                await fetch(address, "/", timeout=0.3)
            assert await crawl(address, "/", 4, 0.3) == ({}, False)

    gort.run(main)


if __name__ == "__main__":
    import tempfile

    number = int(sys.argv[1]) if len(sys.argv) > 1 else CONNECTIONS
    with tempfile.TemporaryDirectory() as name:
        print(f"{number} connections at once, {hold(Path(name), number):.0f} bytes of the server's memory for each")
