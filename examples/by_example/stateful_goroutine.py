"""In place of a lock: one goroutine owns the state, and the others send it what they want done."""

from typing import NamedTuple

import gort


class Read(NamedTuple):
    key: str
    answer: gort.Chan[int]


async def owner(reads: gort.Chan[Read], writes: gort.Chan[tuple[str, int]]) -> None:
    state: dict[str, int] = {}
    while True:
        match await gort.select(reads.recv(), writes.recv()):
            case 0, (key, answer), True:
                await answer.send(state.get(key, 0))
            case 1, (key, value), True:
                state[key] = value


async def main() -> None:
    reads, writes = gort.Chan[Read](), gort.Chan[tuple[str, int]]()
    gort.go(owner, reads, writes)
    await writes.send(("a", 1))
    await writes.send(("b", 2))
    for key in ("a", "b", "c"):
        answer = gort.Chan[int](1)
        await reads.send(Read(key, answer))
        print(key, await answer.recv())


if __name__ == "__main__":
    gort.run(main)
