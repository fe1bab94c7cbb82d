"""What an idle connection costs: bytes of this process for each of 10,000 connections whose goroutine waits in read.

    python idle.py [CONNECTIONS]

The clients are plain sockets in a child process.  Counted is what the process has in memory (statm, RSS): connection,
goroutine, coroutine, the waiting operation and the poller's entry.  The kernel's own memory for sockets is not in it.
Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import gort
from gort import net

CLIENT = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
host, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
held = [socket.create_connection((host, port)) for _ in range(n)]
print("connected", flush=True)
sys.stdin.read()
"""


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def wait_idle(conn: net.Conn) -> None:
    """A server's goroutine whose client says nothing."""
    async with conn:
        await conn.read(4096)


async def main(n: int) -> None:
    ln = await net.listen("tcp", "127.0.0.1:0")
    accepted = 0
    all_here: Any = gort.Chan()

    async def accept(total: int) -> None:
        nonlocal accepted
        while accepted < total:
            gort.go(wait_idle, await ln.accept())
            accepted += 1
        await all_here.send(None)

    def clients(count: int) -> subprocess.Popen[str]:
        host, _, port = str(ln.addr).rpartition(":")
        command = [sys.executable, "-c", CLIENT, host, port, str(count)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    held = [clients(100)]  # warms up what is allocated once
    gort.go(accept, 100)
    await all_here.recv()
    before = resident()
    held.append(clients(n))
    gort.go(accept, 100 + n)
    await all_here.recv()
    await gort.gosched()  # each goroutine has run to its read
    after = resident()
    print(json.dumps({"connections": n, "bytes_per_connection": round((after - before) / n)}), flush=True)
    for process in held:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gort.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
