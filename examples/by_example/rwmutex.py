"""Many readers at a time, or one writer. Here two readers are inside together: each waits for the other."""

import gort
from gort.sync import RWMutex, WaitGroup


async def main() -> None:
    table = {"answer": 41}
    lock = RWMutex()
    both = WaitGroup()
    both.add(2)

    async def read() -> None:
        async with lock.reader():
            both.done()
            await both.wait()  # until the other one is inside too

    async with gort.Group() as group:
        group.go(read)
        group.go(read)
    async with lock:  # alone
        table["answer"] += 1
    print("read together, then written:", table["answer"])


if __name__ == "__main__":
    gort.run(main)
