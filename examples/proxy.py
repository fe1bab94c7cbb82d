"""A TCP proxy that keeps half-closed connections half-closed.

    gort run examples/proxy.py 127.0.0.1:9000 127.0.0.1:7000

It sends what one side writes to the other side.  When one side ends its stream, the proxy ends the stream to the other
side, and the opposite direction goes on until it ends too.  The sockets give the backpressure: a slow reader slows its
writer.
"""

from __future__ import annotations

import sys

import gort
from gort import net

DIAL_S = 10.0
BUFFER = 64 * 1024


async def pipe(source: net.Conn, target: net.Conn) -> int:
    """Copies until the end of the stream, and passes the end on.  Returns the number of bytes."""
    buffer = memoryview(bytearray(BUFFER))
    total = 0
    while n := await source.readinto(buffer):
        await target.write(buffer[:n])
        total += n
    try:
        target.close_write()
    except OSError:
        pass  # the target has gone already
    return total


async def forward(client: net.Conn, address: str) -> None:
    """Serves one client's connection."""
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
                # One side was reset.  Reset the other too: an ordinary end would say that everything was sent.
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
