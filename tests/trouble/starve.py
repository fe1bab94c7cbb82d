"""A goroutine that holds a lock waits for its turn behind busy ones, while an urgent one needs the lock."""

import gort
from gort import sync

mu = sync.Mutex()


async def middle():
    while True:
        x = 0
        for i in range(20000):
            x += i
        await gort.gosched()


async def low():
    while True:
        async with mu:
            for _ in range(20):
                await gort.gosched()  # here
        await gort.gosched()


async def urgent():
    while True:
        async with mu:
            pass
        await gort.sleep(0.01)


async def main():
    for _ in range(10):
        gort.go(middle)
    gort.go(low)
    gort.go(urgent)
    await gort.sleep(1000)
