"""Many senders, one receiver: the channel is closed when the last sender has ended, by somebody who waits for them."""

import gort
from gort.sync import WaitGroup


async def produce(start: int, out: gort.Chan[int]) -> None:
    for n in range(start, start + 3):
        await out.send(n)


async def main() -> None:
    merged = gort.Chan[int]()
    producers = WaitGroup()
    for start in (0, 10, 20):
        producers.go(produce, start, merged)

    async def close_at_the_end() -> None:
        await producers.wait()
        merged.close()

    gort.go(close_at_the_end)
    print(sorted([n async for n in merged]))


if __name__ == "__main__":
    gort.run(main)
