"""A TCP proxy that keeps half-closed connections half-closed.

    gort run examples/proxy.py 127.0.0.1:9000 127.0.0.1:7000

What one side sends goes to the other; when one side ends its stream, the other is told, and the opposite direction goes
on until it ends too.  Backpressure is the sockets' own: a slow reader slows its writer.
"""

from __future__ import annotations

import sys

import gort
from gort import net

DIAL_S = 10.0
BUFFER = 64 * 1024


async def pipe(source: net.Conn, target: net.Conn) -> int:
    """Copies until the end of the stream, and passes that on; how many bytes."""
    buffer = memoryview(bytearray(BUFFER))
    total = 0
    while n := await source.readinto(buffer):
        await target.write(buffer[:n])
        total += n
    try:
        target.close_write()
    except OSError:
        pass  # it has gone already
    return total


async def forward(client: net.Conn, address: str) -> None:
    """One client's connection."""
    async with client:
        try:
            server = await net.dial("tcp", address, timeout=DIAL_S)
        except OSError as e:
            print(f"{client.remote_addr}: {e.strerror}", file=sys.stderr, flush=True)
            client.reset()
            return
        async with server:
            try:
                async with gort.Group() as g:
                    g.go(pipe, client, server)
                    g.go(pipe, server, client)
            except* OSError:
                # One side was reset: so is the other, since an ordinary end would say that all was sent.
                for conn in (client, server):
                    if not conn.closed:
                        conn.reset()


async def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    async with await net.listen("tcp", sys.argv[1]) as ln:
        print(f"{ln.addr} -> {sys.argv[2]}", flush=True)
        async for conn in ln:
            gort.go(forward, conn, sys.argv[2])


if __name__ == "__main__":
    gort.run(main)
