"""gort.http's client under answers that are broken at random: a RequestError, or a response; nothing is left open.

python tests/http/test_client_fuzz.py [SECONDS [SEED]]      goes on for longer"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
sys.path.append(str(Path(__file__).parents[1] / "net"))

from clientkit import scripted
from test_http_fuzz import RESPONSES, mutated, segments

import gort
from gort import http
from support import dose


async def fuzz(seconds: float, cases: int, seed: int) -> int:
    """Runs so many cases, or so long; gives the seed after the last."""
    rng = random.Random(seed)

    async def handle(conn: Any) -> None:
        while await conn.read():
            data = rng.choice(RESPONSES)
            for piece in segments(rng, mutated(rng, data) if rng.random() < 0.8 else data):
                await conn.write(piece)
            if rng.random() < 0.7:
                return

    quick = http.Timeouts(read_s=0.05)
    end = time.monotonic() + seconds
    async with scripted(handle) as url, http.Client(timeouts=quick, redirects=2) as client:
        while cases and time.monotonic() < end:
            rng.seed(seed)
            try:
                r = await client.get(url)
                assert 200 <= r.status <= 999
            except http.RequestError:
                pass
            except BaseException as e:
                e.add_note(f"seed {seed}")
                raise
            assert client._pool.open == len(client._pool._idle)
            cases -= 1
            seed += 1
    return seed


def test_client_under_fuzz() -> None:
    gort.run(fuzz, 1e9, dose(300), 1)


if __name__ == "__main__":
    seconds, first = [*map(int, sys.argv[1:]), *[60, 1000][len(sys.argv) - 1 :]]
    last = gort.run(fuzz, float(seconds), -1, first)
    print(f"{last - first} cases, seeds {first} to {last - 1}")
