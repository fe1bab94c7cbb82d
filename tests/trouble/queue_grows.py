"""Producers start a goroutine for each item, which waits for a full channel; the consumer is too slow."""

import gort


async def consume(q):
    async for _ in q:
        await gort.sleep(0.005)


async def put(q):
    await q.send(b"")  # here


async def main():
    q = gort.Chan(100)
    gort.go(consume, q)
    while True:
        gort.go(put, q)  # made here
        await gort.sleep(0.002)
