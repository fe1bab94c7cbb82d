"""Each request starts a goroutine that loops on a ticker and is never told to stop."""

import gort


async def heartbeat():
    ticker = gort.Ticker(0.5)
    while True:
        await ticker.c.recv()  # here


async def handle():
    gort.go(heartbeat)  # made here
    await gort.sleep(0.001)


async def main():
    while True:
        gort.go(handle)
        await gort.sleep(0.01)
