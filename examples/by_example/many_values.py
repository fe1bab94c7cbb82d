"""`send_many` and `recv_many` move many values with one operation.

Go has no counterpart, for there an operation costs less. The result is that of single sends and receives.
"""

import gort


async def produce(out: gort.Chan[int]) -> None:
    for start in range(0, 300, 100):
        await out.send_many(range(start, start + 100))
    out.close()


async def main() -> None:
    numbers = gort.Chan[int](64)
    gort.go(produce, numbers)
    total = count = 0
    while batch := await numbers.recv_many(64):
        total += sum(batch)
        count += len(batch)
    print(count, "numbers, their sum is", total)


if __name__ == "__main__":
    gort.run(main)
