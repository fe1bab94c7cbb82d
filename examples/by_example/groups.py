"""A Group waits for its members, and gives their results. The block ends when all of them have ended.

Go's own library has no such type: golang.org/x/sync/errgroup comes nearest.
"""

import gort


async def length(word: str) -> int:
    await gort.sleep(0.001)
    return len(word)


async def main() -> None:
    async with gort.Group() as group:
        handles = [group.go(length, word) for word in ("park", "hand-off", "steal")]
    print(*[h.result() for h in handles])


if __name__ == "__main__":
    gort.run(main)
