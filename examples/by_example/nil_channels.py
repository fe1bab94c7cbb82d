"""A case that is None never runs, as a nil channel in Go. So a loop drops a channel that has been closed."""

import gort


async def send(values: list[int], out: gort.Chan[int]) -> None:
    for value in values:
        await out.send(value)
    out.close()


async def main() -> None:
    odd, even = gort.Chan[int](), gort.Chan[int]()
    gort.go(send, [1, 3, 5], odd)
    gort.go(send, [2, 4], even)
    open_: list[gort.Chan[int] | None] = [odd, even]
    total = 0
    while any(ch is not None for ch in open_):
        case, value, ok = await gort.select(*(ch and ch.recv() for ch in open_))
        if ok:
            total += value
        else:
            open_[case] = None  # or it would be chosen again and again
    print("sum:", total)


if __name__ == "__main__":
    gort.run(main)
