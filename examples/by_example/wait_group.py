"""A WaitGroup waits for goroutines that give no result. `wg.go` counts one more, and one less when it ends."""

import gort
from gort.sync import WaitGroup


async def main() -> None:
    ended = [False] * 5

    async def work(n: int) -> None:
        await gort.sleep(0.001)
        ended[n] = True

    wg = WaitGroup()
    for n in range(5):
        wg.go(work, n)
    await wg.wait()
    print("all have ended:", all(ended))


if __name__ == "__main__":
    gort.run(main)
