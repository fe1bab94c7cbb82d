"""A case that is None never runs, as a nil channel in Go. So a loop drops a channel that has been closed."""

import gort


async def send(values: list[int], out: gort.Chan[int]) -> None:
    for value in values:
        await out.send(value)
    out.close()


async def main() -> None:
    first, second = gort.Chan[int](), gort.Chan[int]()
    gort.go(send, [1, 3, 5], first)
    gort.go(send, [2, 4], second)
    odd: gort.Chan[int] | None = first
    even: gort.Chan[int] | None = second
    total = 0
    while odd or even:
        case, value, ok = await gort.select(odd.recv() if odd else None, even.recv() if even else None)
        if ok:
            total += value
        elif case == 0:
            odd = None  # or it would be chosen again and again
        else:
            even = None
    print("sum:", total)


if __name__ == "__main__":
    gort.run(main)
