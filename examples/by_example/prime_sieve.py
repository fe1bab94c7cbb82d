"""The sieve of goroutines: each of them lets pass what its prime does not divide."""

import gort


async def generate(out: gort.Chan[int]) -> None:
    n = 2
    while True:
        await out.send(n)
        n += 1


async def sieve(prime: int, numbers: gort.Chan[int], out: gort.Chan[int]) -> None:
    async for n in numbers:
        if n % prime:
            await out.send(n)


async def main() -> None:
    numbers = gort.Chan[int]()
    gort.go(generate, numbers)
    for _ in range(8):
        prime = await numbers.recv()
        print(prime)
        rest = gort.Chan[int]()
        gort.go(sieve, prime, numbers, rest)
        numbers = rest


if __name__ == "__main__":
    gort.run(main)
