"""A load test: connections that open, close, reset, time out and are cancelled at random, with every byte accounted for.

    python tests/net/test_load.py [SECONDS] [CONNECTIONS] [SEED] [PROCS]

pytest runs it for some seconds (GORT_LOAD_S, marked slow); by hand it runs for minutes.  Client and server keep, for
each connection, a count and a checksum of what they wrote and read.  What holds at the end:
- a connection that ended in order: both directions arrived whole;
- any other: what arrived is a prefix of what was sent, byte for byte;
- no descriptor and no goroutine is left, and the server has served a last connection as well as the first.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import pytest
from netkit import descriptors, pair

import gort
from gort import net
from support import FULL, PATIENCE_S, until

SECONDS = float(os.environ.get("GORT_LOAD_S", "3" if FULL else "1"))
BLOCK = 1 << 16


def content(key: int) -> bytes:
    """The endless stream of a connection, by its number: one block, repeated."""
    return random.Random(key).randbytes(BLOCK)


FATES = (
    "whole",
    "whole",
    "whole",
    "reset",
    "server resets",
    "times out",
    "closes",
    "cancelled",
    "local close",
)


class Checker:
    """Compares what arrives with the stream that was promised."""

    def __init__(self, key: int) -> None:
        self.block = content(key)
        self.seen = 0

    def check(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            at = self.seen % BLOCK
            n = min(len(left), BLOCK - at)
            if left[:n] != self.block[at : at + n]:
                raise AssertionError(f"byte {self.seen}: not what was sent")
            left = left[n:]
            self.seen += n


class Tally:
    """What happened."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}
        self.bytes = 0
        self.live = 0
        self.peak = 0

    def end(self, how: str) -> None:
        self.ends[how] = self.ends.get(how, 0) + 1


async def serve(conn: net.Conn, tally: Tally) -> None:
    """Sends back what comes, checked; answers a request for a reset or for silence."""
    async with conn:
        try:
            head = await conn.read_exactly(9)
            key, mode = int.from_bytes(head[:8]), head[8]
            checker = Checker(key)
            while data := await conn.read(8192):
                checker.check(data)
                if mode == 1 and checker.seen > 5000:
                    conn.reset()
                    return
                if mode == 2 and checker.seen > 5000:
                    continue  # silence: the client's deadline has to pass
                await conn.write(data)
        except (OSError, net.IncompleteRead):
            pass  # the client's doing


async def client(address: str, key: int, rng: random.Random, tally: Tally) -> None:
    """One connection with one of the fates."""
    fate = rng.choice(FATES)
    conn = await net.dial("tcp", address, timeout=PATIENCE_S)
    tally.live += 1
    tally.peak = max(tally.peak, tally.live)
    checker = Checker(key)
    mode = {"server resets": 1, "times out": 2}.get(fate, 0)
    total = rng.randrange(6000, 60_000) if mode else rng.randrange(1, 60_000)
    stream = content(key)
    stream = (stream * (total // BLOCK + 1))[:total]
    step = rng.randrange(100, 20_000)

    async def write() -> None:
        await conn.write(key.to_bytes(8) + bytes([mode]))
        for at in range(0, total, step):
            await conn.write(stream[at : at + step])
        if fate not in ("times out", "closes"):
            conn.close_write()

    async def read() -> None:
        if fate == "times out":
            conn.set_read_deadline(0.05)
        while data := await conn.read(rng.randrange(1, 8192)):
            checker.check(data)
            if fate == "closes" and checker.seen >= total // 2:
                return
            if fate == "reset" and checker.seen >= total // 2:
                conn.reset()
                return
            if fate == "local close" and checker.seen >= total // 2:
                conn.close()  # while the writer may wait

    try:
        async with gort.Group() as g:
            writer = g.go(write)
            reader = g.go(read)
            if fate == "cancelled":
                await gort.sleep(rng.random() / 100)
                writer.cancel()
                reader.cancel()
        if fate == "whole":
            assert checker.seen == total, f"{checker.seen} of {total} bytes came back"
        tally.end(fate)
    except* (OSError, net.IncompleteRead) as group:
        if fate in ("whole", "closes"):
            raise AssertionError(f"a connection that should end well: {group.exceptions}") from group
        if fate == "times out" and not any(isinstance(e, net.DeadlineExceeded) for e in group.exceptions):
            raise AssertionError(f"no deadline passed: {group.exceptions}") from group
        tally.end(fate)
    finally:
        conn.close()
        tally.live -= 1
        tally.bytes += checker.seen
    assert checker.seen <= total


async def load(seconds: float, connections: int, seed: int) -> Tally:
    """Keeps `connections` of them going for so long, and until each fate has been one's."""
    rng = random.Random(seed)
    tally = Tally()
    async with pair():
        pass  # the poller has its descriptors now
    before = descriptors()
    ln = await net.listen("tcp", "127.0.0.1:0")
    servers = gort.sync.WaitGroup()

    async def accept() -> None:
        async for conn in ln:
            servers.go(serve, conn, tally)

    servers.go(accept)
    end = time.monotonic() + seconds
    n = 0
    async with gort.Group(limit=connections) as group:
        slots = gort.sync.Semaphore(connections)

        async def one(key: int, own: random.Random) -> None:
            try:
                await client(str(ln.addr), key, own, tally)
            finally:
                slots.release()

        while (now := time.monotonic()) < end or (len(tally.ends) < len(set(FATES)) and now < end + PATIENCE_S):
            await slots.acquire()
            n += 1
            group.go(one, n, random.Random(rng.random()))
    await client(str(ln.addr), 0, Always(), tally)
    ln.close()
    await servers.wait()
    await until(lambda: descriptors() <= before, "no descriptor is left")
    return tally


class Always(random.Random):
    """Chooses the first fate."""

    def choice(self, seq: Any) -> Any:
        return seq[0]


@pytest.mark.slow
@pytest.mark.parametrize("procs", [1, 4])
def test_random_fates(procs: int) -> None:
    tally = gort.run(load, SECONDS, 200, 1, procs=procs)
    assert set(tally.ends) == {"whole", "reset", "server resets", "times out", "closes", "cancelled", "local close"}


if __name__ == "__main__":
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    arguments = [*sys.argv[1:], *["60", "1000", "1", "1"][len(sys.argv) - 1 :]]
    result = gort.run(load, float(arguments[0]), int(arguments[1]), int(arguments[2]), procs=int(arguments[3]))
    print(f"{sum(result.ends.values())} connections, at most {result.peak} at once, {result.bytes} bytes checked")
    for fate, number in sorted(result.ends.items()):
        print(f"{number:>8} {fate}")
