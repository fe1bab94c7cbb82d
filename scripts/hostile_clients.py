#!/usr/bin/env python3
"""Hostile clients of `gort serve`: while each kind of them is at work, other clients are served, and measured.

    python scripts/hostile_clients.py                    # all kinds
    python scripts/hostile_clients.py slow-head bombs --seconds 10

For each kind it prints how long the others waited (the 50th and the 99th percentile, in calm and under the attack), the
memory of the server (before, at most, after), its descriptors before and after, and what it said on standard error, which
should be nothing.  It needs openssl, wsproto, and descriptors for as many connections as it makes (ulimit -n).

A part of it is in tests/http/test_hostile_clients.py.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import gort
from gort import net

APP = """
PART = b"x" * 50_000
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
    elif scope["type"] == "http":
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message["more_body"]
        n = 10_000_000 if scope["path"] == "/large" else 5
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % n)]})
        while n:
            part = PART[:n]
            n -= len(part)
            await send({"type": "http.response.body", "body": part, "more_body": n > 0})
"""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


class Attack:
    """What an attack needs: where the server is, how many connections, when it is over."""

    def __init__(self, address: str, tls: str, connections: int, until: float) -> None:
        self.address, self.tls, self.connections, self.until = address, tls, connections, until
        self.made = 0  # connections, also those that the server has ended

    @property
    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.until

    async def trickle(self, first: bytes, byte: bytes) -> None:
        """One connection after the other: sends `first`, and a byte a second until the server ends it."""
        while self.goes_on:
            try:
                async with await net.dial("tcp", self.address) as conn:
                    self.made += 1
                    await conn.write(first)
                    while self.goes_on:
                        await gort.sleep(1.0)
                        await conn.write(byte)
            except OSError:
                await gort.sleep(0.1)

    async def slow_read(self) -> None:
        """Asks for a large response, and takes a byte a second."""
        while self.goes_on:
            try:
                async with await net.dial("tcp", self.address) as conn:
                    self.made += 1
                    conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                    await conn.write(GET.replace(b"/ ", b"/large "))
                    while self.goes_on and await conn.read(1):
                        await gort.sleep(1.0)
            except OSError:
                await gort.sleep(0.1)

    async def half_open(self) -> None:
        """Connects to the port of TLS, and says nothing."""
        while self.goes_on:
            try:
                async with await net.dial("tcp", self.tls) as conn:
                    self.made += 1
                    conn.set_read_deadline(max(0.01, self.until - time.monotonic()))
                    await conn.read(1)
            except OSError:
                await gort.sleep(0.1)

    async def flood(self, first: bytes, again: bytes) -> None:
        """Sends `first`, and then `again` as fast as it is taken."""
        while self.goes_on:
            try:
                async with await net.dial("tcp", self.address) as conn, gort.Group() as group:
                    self.made += 1
                    conn.set_deadline(max(0.01, self.until - time.monotonic()))
                    reader = group.go(self._read, conn)
                    await conn.write(first)
                    while self.goes_on:
                        await conn.write(again)
                    reader.cancel()
            except (OSError, ExceptionGroup):
                await gort.sleep(0.01)

    async def _read(self, conn: Any) -> None:
        try:
            while await conn.read():
                pass
        except OSError:
            pass

    async def once(self, make: Any) -> None:
        """Sends what make() gives, reads what comes, and begins again."""
        while self.goes_on:
            try:
                async with await net.dial("tcp", self.address) as conn:
                    self.made += 1
                    conn.set_deadline(max(0.01, min(2.0, self.until - time.monotonic())))
                    await conn.write(make())
                    conn.close_write()
                    await self._read(conn)
            except OSError:
                await gort.sleep(0.01)


def frame(opcode: int, data: bytes, first: int = 0x80) -> bytes:
    """A frame of a websocket's client, masked by zeros."""
    size = bytes([128 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([first | opcode]) + size + bytes(4) + data


def bomb() -> bytes:
    """A websocket's frame that becomes 60 MiB."""
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = c.compress(bytes(60 << 20)) + c.flush(zlib.Z_SYNC_FLUSH)
    return UPGRADE + frame(2, data[:-4], 0xC0)


BOMB = bomb()


def wrong_frames() -> bytes:
    """Frames, some of which are wrong."""
    return UPGRADE + b"".join(
        frame(random.randrange(16), random.randbytes(random.randrange(120)), random.choice((0, 0x80, 0xC0, 0xF0)))
        for _ in range(random.randrange(1, 20))
    )


def fuzz() -> bytes:
    """A request with bytes that are changed, left out or too many."""
    data = bytearray(random.choice((GET, UPGRADE, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"")) * random.randrange(1, 4))
    for _ in range(random.randrange(1, 8)):
        at = random.randrange(len(data) + 1)
        data[at : at + random.randrange(3)] = random.choice((random.randbytes(3), b"\r\n", b":", b" ", b"\0"))
    return bytes(data)


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
# name -> (how many connections, what each does)
KINDS: dict[str, tuple[int, Any]] = {
    "nobody": (0, None),
    "busy": (4, lambda a: a.once(lambda: GET)),  # no attack: what as many ordinary clients do to the others
    "slow-head": (2000, lambda a: a.trickle(b"GET / HTTP/1.1\r\nX: ", b"x")),
    "slow-body": (2000, lambda a: a.trickle(LENGTH, b"x")),
    "slow-chunks": (2000, lambda a: a.trickle(CHUNKED, b"1\r\nx\r\n")),
    "slow-read": (500, lambda a: a.slow_read()),
    "half-open": (10_000, lambda a: a.half_open()),
    "headers": (4, lambda a: a.flood(b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 1000)),
    "chunks": (4, lambda a: a.flood(CHUNKED, b"1\r\nx\r\n" * 10_000)),
    "chunk-extensions": (4, lambda a: a.flood(CHUNKED, b"1;" + b"e" * 16000 + b"\r\nx\r\n")),
    "pipelining": (4, lambda a: a.flood(GET, GET * 1000)),
    "pings": (4, lambda a: a.flood(UPGRADE, frame(9, b"x" * 100) * 1000)),
    "bombs": (4, lambda a: a.once(lambda: BOMB)),
    "frames": (4, lambda a: a.once(wrong_frames)),
    "fuzz": (4, lambda a: a.once(fuzz)),
}


async def attack(kind: str, address: str, tls: str, seconds: float, scale: float) -> int:
    """Attacks for so many seconds; returns how many connections were made."""
    count, what = KINDS[kind]
    count = max(min(count, 1), round(count * scale))
    a = Attack(address, tls, count, time.monotonic() + seconds)
    if not count:
        await gort.sleep(seconds)
    async with gort.Group() as group:
        for i in range(count):
            group.go(what, a)
            if i % 100 == 99:
                await gort.sleep(0.01)
    return a.made


def others(address: str, seconds: float) -> list[float]:
    """The times of the requests of other clients, in seconds, sorted: four, each with a request every 5 ms."""
    host, _, port = address.rpartition(":")
    times: list[float] = []

    def one() -> None:
        with socket.create_connection((host, int(port))) as s:
            s.settimeout(30)
            until = time.monotonic() + seconds
            while (began := time.monotonic()) < until:
                s.sendall(GET)
                data = b""
                while not data.endswith(b"xxxxx"):
                    part = s.recv(65536)
                    if not part:
                        raise ConnectionError("the server has ended the connection of a client that does no harm")
                    data += part
                times.append(time.monotonic() - began)
                time.sleep(0.005)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sorted(times)


class Served:
    """`gort serve` in a process of its own, at two ports, the second with TLS; in a folder for its files."""

    def __init__(self, folder: Path) -> None:
        (folder / "hostile_app.py").write_text(APP)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        self.errors = open(folder / "stderr", "w+")  # noqa: SIM115
        self.tls, self.tls_address = self._start(folder, "--certfile", "cert.pem", "--keyfile", "key.pem")
        self.plain, self.address = self._start(folder)

    def _start(self, folder: Path, *more: str) -> tuple[Any, str]:
        with socket.create_server(("127.0.0.1", 0)) as s:
            address = f"127.0.0.1:{s.getsockname()[1]}"
        limits = ("--head-timeout", "5", "--body-timeout", "5", "--write-timeout", "5")
        args = [sys.executable, "-m", "gort", "serve", "hostile_app:app", "--loop", "native", "-b", address]
        child = subprocess.Popen([*args, *limits, *more], cwd=folder, stderr=self.errors)
        host, _, port = address.rpartition(":")
        while True:
            try:
                socket.create_connection((host, int(port))).close()
                return child, address
            except ConnectionRefusedError:
                if child.poll() is not None:
                    raise RuntimeError("the server has not started") from None
                time.sleep(0.05)

    def said(self) -> str:
        """What the servers have said on standard error, without that they serve."""
        self.errors.seek(0)
        return "".join(line for line in self.errors if "serving hostile_app" not in line)

    def end(self) -> list[int]:
        """Ends both; their statuses."""
        for child in (self.plain, self.tls):
            child.terminate()
        try:
            return [child.wait(20) for child in (self.plain, self.tls)]
        finally:
            for child in (self.plain, self.tls):
                child.kill()
            self.errors.close()


def memory(pid: int) -> int:
    """The resident memory of a process, in KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def percentile(times: list[float], p: float) -> float:
    """In milliseconds."""
    return times[min(len(times) - 1, int(len(times) * p))] * 1000


def measure(kind: str, served: Served, seconds: float, scale: float) -> dict[str, Any]:
    """Attacks, and measures the others: before, and meanwhile."""
    victim = served.tls if kind == "half-open" else served.plain
    address = served.address
    if kind == "half-open":
        address = "tls"
    pid = victim.pid
    ask = others_tls if address == "tls" else others
    where = served.tls_address if address == "tls" else served.address
    ask(where, 0.5)
    calm = ask(where, seconds / 2)
    before, fds = memory(pid), descriptors(pid)
    args = [sys.executable, __file__, "--attack", kind, served.address, served.tls_address, str(seconds), str(scale)]
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as attacker:
        assert attacker.stdout is not None
        time.sleep(seconds / 4)
        most = memory(pid)
        stormy = ask(where, seconds / 2)
        most = max(most, memory(pid))
        made = int(attacker.stdout.read())
    until = time.monotonic() + 20
    while descriptors(pid) > fds and time.monotonic() < until:
        time.sleep(0.1)
    return {
        "calm": (percentile(calm, 0.5), percentile(calm, 0.99)),
        "attacked": (percentile(stormy, 0.5), percentile(stormy, 0.99)),
        "memory": (before, most, memory(pid)),
        "descriptors": (fds, descriptors(pid)),
        "connections": made,
        "answers": len(stormy),
    }


def others_tls(address: str, seconds: float) -> list[float]:
    """The times of the handshakes of other clients, with a request each."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    times: list[float] = []
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        with socket.create_connection((host, int(port))) as raw, context.wrap_socket(raw) as s:
            s.sendall(GET)
            data = b""
            while not data.endswith(b"xxxxx"):
                data += s.recv(65536)
        times.append(time.monotonic() - began)
        time.sleep(0.01)
    return sorted(times)


def main() -> int:
    """Runs the kinds that are asked for; 1 where the server has failed, or has said something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--seconds", type=float, default=8.0, help="of each attack")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of connections")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bad = False
    for kind in args.kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            served = Served(Path(folder))
            try:
                r = measure(kind, served, args.seconds, args.scale)
            finally:
                said = served.said()
                statuses = served.end()
        fds, mem = r["descriptors"], r["memory"]
        print(
            f"{kind:17} p50 {r['calm'][0]:6.2f} -> {r['attacked'][0]:6.2f} ms   p99 {r['calm'][1]:6.2f} -> "
            f"{r['attacked'][1]:7.2f} ms ({r['attacked'][1] / r['calm'][1]:.1f})   memory {mem[0] >> 10} -> "
            f"{mem[1] >> 10} -> {mem[2] >> 10} MiB   descriptors {fds[0]} -> {fds[1]}   "
            f"{r['connections']} connections, {r['answers']} answers",
            flush=True,
        )
        if said or any(statuses) or fds[1] > fds[0]:
            bad = True
            print(f"  statuses {statuses}; standard error: {said[:2000]!r}")
    return int(bad)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--attack"]:
        kind, address, tls, seconds, scale = sys.argv[2:]
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        print(gort.run(attack, kind, address, tls, float(seconds), float(scale)))
    else:
        sys.exit(main())
