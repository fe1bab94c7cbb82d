"""A chat server: it sends every line to all other clients.

    gort run examples/chat.py 127.0.0.1:6000
    nc 127.0.0.1 6000

Each client has a goroutine that reads and one that writes, and a channel of lines from the room to the writer.  The
room never waits for a slow client.  A client is slow when it takes nothing for SLOW_S seconds, or when more than
BACKLOG_BYTES wait for it; a burst of lines makes nobody slow.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import gort
from gort import net

BACKLOG = 1 << 16  # lines that may wait for a client
BACKLOG_BYTES = 1 << 24
SLOW_S = 10.0
NAME_S = 30.0


@dataclass(eq=False)
class Client:
    """A client in the room."""

    name: str
    conn: net.Conn
    lines: Any = field(default_factory=lambda: gort.Chan(BACKLOG))
    given: int = 0  # bytes that the room has put into lines; only the room changes it
    taken: int = 0  # bytes that the client has got; only its writer changes it

    def give(self, line: bytes) -> bool:
        """A line for the client; False if it is too slow."""
        if self.given - self.taken > BACKLOG_BYTES or not self.lines.try_send(line):
            return False
        self.given += len(line)
        return True


class Room:
    """The clients in the room.  One goroutine owns the set, and the others send it events.  So no lock is needed."""

    def __init__(self) -> None:
        self.events: Any = gort.Chan()

    async def run(self) -> None:
        """Handles one event after another."""
        clients: set[Client] = set()
        async for kind, client, line in self.events:
            if kind == "join":
                here = ", ".join(sorted(other.name for other in clients)) or "nobody else"
                client.give(f"* here: {here}\n".encode())
                clients.add(client)
            elif kind == "leave":
                if client not in clients:
                    continue
                clients.remove(client)
                client.lines.close()
            for other in list(clients):
                if other is not client and not other.give(line):
                    clients.remove(other)
                    other.lines.close()
                    other.conn.reset()  # its writer and its reader end
                    print(f"{other.name} is too slow", file=sys.stderr, flush=True)


async def write(client: Client) -> None:
    """Sends the room's lines to one client."""
    try:
        async for line in client.lines:
            client.conn.set_write_deadline(SLOW_S)
            await client.conn.write(line)
            client.taken += len(line)
    except OSError:
        pass
    client.conn.close()


async def serve(conn: net.Conn, room: Room) -> None:
    """One client, from its name to its last line."""
    async with conn:
        try:
            await conn.write(b"your name?\n")
            conn.set_read_deadline(NAME_S)
            name = (await conn.read_until(b"\n", limit=100)).strip().decode(errors="replace")
            conn.set_read_deadline(None)
        except (OSError, EOFError, ValueError):
            return
        client = Client(name, conn)
        gort.go(write, client)
        await room.events.send(("join", client, f"* {name} has come\n".encode()))
        try:
            async for line in conn.lines():
                await room.events.send(("line", client, f"{name}: ".encode() + line.rstrip(b"\r\n") + b"\n"))
        except (OSError, ValueError):
            pass
        finally:
            await room.events.send(("leave", client, f"* {name} has left\n".encode()))


async def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    room = Room()
    gort.go(room.run)
    async with await net.listen("tcp", sys.argv[1]) as ln:
        print(f"listening on {ln.addr}", flush=True)
        async for conn in ln:
            gort.go(serve, conn, room)


if __name__ == "__main__":
    gort.run(main)
