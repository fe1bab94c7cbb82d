"""Do not rely on the order in which goroutines run. A channel says what must come before what.

Here each goroutine waits for the end of the one before it. They are started in the opposite order; that does not matter.
"""

import gort


async def say(word: str, before: gort.Chan[None], after: gort.Chan[None]) -> None:
    await before.recv_ok()  # until it is closed
    print(word)
    after.close()


async def main() -> None:
    words = ["first", "second", "third"]
    gates = [gort.Chan[None]() for _ in range(4)]
    for i in (2, 1, 0):
        gort.go(say, words[i], gates[i], gates[i + 1])
    gates[0].close()
    await gates[3].recv_ok()


if __name__ == "__main__":
    gort.run(main)
