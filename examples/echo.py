"""An echo server, and a client that talks to it.

    gort run examples/echo.py serve 127.0.0.1:7000
    gort run examples/echo.py talk 127.0.0.1:7000 hello world

Each connection has one goroutine, in straight-line code.  The server drops a client that is idle for a minute.
"""

from __future__ import annotations

import sys

import gort
from gort import net

IDLE_S = 60.0


async def echo(conn: net.Conn) -> None:
    """Sends back what it receives, until the client ends its side or sends nothing for a minute."""
    async with conn:
        try:
            while True:
                conn.set_read_deadline(IDLE_S)
                data = await conn.read()
                if not data:
                    return
                await conn.write(data)
        except OSError as e:  # reset, or idle for too long: only this client's connection ends
            print(f"{conn.remote_addr}: {e.strerror}", file=sys.stderr)


async def serve(address: str) -> None:
    """Serves until it is interrupted."""
    async with await net.listen("tcp", address) as ln:
        print(f"listening on {ln.addr}", flush=True)
        async for conn in ln:
            gort.go(echo, conn)


async def talk(address: str, words: list[str]) -> None:
    """Sends each word as a line and prints what comes back."""
    async with await net.dial("tcp", address, timeout=10) as conn:
        for word in words:
            await conn.write(word.encode() + b"\n")
            print((await conn.read_until(b"\n")).decode(), end="")


async def main() -> None:
    match sys.argv[1:]:
        case ["serve", address]:
            await serve(address)
        case ["talk", address, *words]:
            await talk(address, words)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    gort.run(main)
