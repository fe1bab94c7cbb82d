"""The concurrent prime sieve: a chain with one goroutine for each prime.

    gort run examples/sieve.py [COUNT]

Each filter passes on the numbers that its prime does not divide.  So the next number that the last filter passes on is
the next prime.  The filters never return: the runtime closes them when main returns.
"""

from __future__ import annotations

import sys

import gort


async def generate(out: gort.Chan[int]) -> None:
    """Sends 2, 3, 4, …"""
    n = 2
    while True:
        await out.send(n)
        n += 1


async def sieve(numbers: gort.Chan[int], out: gort.Chan[int], prime: int) -> None:
    """Passes on the numbers that prime does not divide."""
    async for n in numbers:
        if n % prime:
            await out.send(n)


async def primes(count: int) -> list[int]:
    """The first `count` primes."""
    numbers: gort.Chan[int] = gort.Chan()
    gort.go(generate, numbers)
    found: list[int] = []
    while len(found) < count:
        prime = await numbers.recv()
        found.append(prime)
        rest: gort.Chan[int] = gort.Chan()
        gort.go(sieve, numbers, rest, prime)
        numbers = rest
    return found


async def main() -> None:
    """Prints them."""
    text = sys.argv[1] if len(sys.argv) > 1 else "20"
    if not text.isdigit():
        sys.exit(f"sieve.py: COUNT is how many primes to print, a number of 0 or more, not {text!r}")
    print(*await primes(int(text)))


if __name__ == "__main__":
    gort.run(main)
