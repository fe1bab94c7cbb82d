"""A Mutex guards what several goroutines change. It may be held across an `await`, and goes to who waits longest.

Without it some additions would be lost: others run between the read and the write.
"""

import gort
from gort.sync import Mutex


async def main() -> None:
    mutex = Mutex()
    balance = {"a": 0, "b": 0}

    async def pay(name: str) -> None:
        for _ in range(100):
            async with mutex:
                before = balance[name]
                await gort.gosched()
                balance[name] = before + 1

    async with gort.Group() as group:
        for name in ("a", "b", "a"):
            group.go(pay, name)
    print(balance["a"], balance["b"])


if __name__ == "__main__":
    gort.run(main)
