"""A counter that any goroutine and any thread may raise. Python has no atomic integers: a `threading.Lock` that is held
for one line does the same, and nobody waits for it across an `await`.
"""

import threading

import gort


class Counter:
    def __init__(self) -> None:
        self.value = 0
        self.lock = threading.Lock()

    def add(self, n: int) -> None:
        with self.lock:
            self.value += n


async def main() -> None:
    counter = Counter()

    async def work() -> None:
        for _ in range(200):
            counter.add(1)
            await gort.gosched()

    async with gort.Group() as group:
        for _ in range(10):
            group.go(work)
    print("counted:", counter.value)


if __name__ == "__main__":
    gort.run(main)
