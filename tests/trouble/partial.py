"""Two goroutines take two mutexes crosswise, while a ticker keeps the program alive."""

import gort
from gort import sync

a, b = sync.Mutex(), sync.Mutex()


async def transfer(first, second):
    async with first:
        await gort.sleep(0.01)
        async with second:  # here
            return


async def tick():
    ticker = gort.Ticker(0.2)
    while True:
        await ticker.c.recv()


async def main():
    gort.go(tick)
    gort.go(transfer, a, b)
    gort.go(transfer, b, a)
    await gort.sleep(1000)
