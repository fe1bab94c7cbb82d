"""With one P the order of goroutines is Go's: the one that was started last runs first, then the others in turn.

A P is the right to run goroutines; `gomaxprocs(1)` leaves one of them. Do not build a program on this order: use
channels to say what must come before what.
"""

import gort
from gort.sync import WaitGroup


async def say(name: str) -> None:
    print(name, "begins")
    await gort.gosched()  # lets the others run
    print(name, "ends")


async def main() -> None:
    gort.runtime.gomaxprocs(1)
    wg = WaitGroup()
    for name in ("a", "b", "c"):
        wg.go(say, name)
    await wg.wait()


if __name__ == "__main__":
    gort.run(main)
