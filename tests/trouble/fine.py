"""Nothing is wrong here: workers with a queue, a lock that is held for moments, tickers, idle goroutines."""

import gort
from gort import sync

mu = sync.Mutex()


async def work(jobs):
    async for _ in jobs:
        async with mu:
            pass
        await gort.sleep(0.002)


async def idle(ch):
    await ch.recv()


async def main():
    jobs, never = gort.Chan(10), gort.Chan()
    for _ in range(20):
        gort.go(work, jobs)
    for _ in range(200):
        gort.go(idle, never)
    ticker = gort.Ticker(0.01)
    while True:
        await ticker.c.recv()
        await jobs.send(None)
