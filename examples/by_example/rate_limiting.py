"""A ticker lets one request through at a time. A channel with room lets a burst through, and then one at a time."""

import time

import gort


async def refill(tokens: gort.Chan[None], seconds: float) -> None:
    ticker = gort.Ticker(seconds)
    while True:
        await ticker.c.recv()
        tokens.try_send(None)


async def main() -> None:
    tokens = gort.Chan[None](3)
    for _ in range(3):
        await tokens.send(None)
    start = time.monotonic()
    gort.go(refill, tokens, 0.01)
    for request in range(1, 6):
        await tokens.recv()
        print("request", request)
    print("the last two had to wait:", time.monotonic() - start > 0.015)


if __name__ == "__main__":
    gort.run(main)
