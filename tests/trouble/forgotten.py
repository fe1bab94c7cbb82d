"""The first of three answers wins; those who have the other two wait for ever."""

import gort


async def ask(delay, out):
    await gort.sleep(delay)
    await out.send(delay)  # here


async def query():
    out = gort.Chan()
    for i in range(3):
        gort.go(ask, i * 0.002, out)  # made here
    return await out.recv()


async def main():
    while True:
        await query()
        await gort.sleep(0.01)
