"""A pipeline: each stage is a goroutine that receives from the stage before it, and closes its own channel at the end."""

import gort


async def numbers(out: gort.Chan[int]) -> None:
    for n in range(1, 6):
        await out.send(n)
    out.close()


async def squares(numbers: gort.Chan[int], out: gort.Chan[int]) -> None:
    async for n in numbers:
        await out.send(n * n)
    out.close()


async def main() -> None:
    first, second = gort.Chan[int](), gort.Chan[int]()
    gort.go(numbers, first)
    gort.go(squares, first, second)
    total = 0
    async for n in second:
        total += n
    print("sum of the squares:", total)


if __name__ == "__main__":
    gort.run(main)
