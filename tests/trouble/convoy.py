"""One mutex that everybody takes, and some keep it over a slow call."""

import gort
from gort import sync

mu = sync.Mutex()


async def load():
    await gort.sleep(0.005)  # here


async def lookup():
    async with mu:
        await load()


async def cheap():
    async with mu:
        return


async def worker(i):
    while True:
        await (lookup() if i < 5 else cheap())


async def main():
    for i in range(50):
        gort.go(worker, i)
    await gort.sleep(1000)
