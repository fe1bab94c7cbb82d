"""A channel carries values from one goroutine to another.

Without a buffer the sender waits until a receiver takes the value: both are at that point at the same time.
"""

import gort


async def ping(messages: gort.Chan[str]) -> None:
    await messages.send("ping")


async def main() -> None:
    messages = gort.Chan[str]()
    gort.go(ping, messages)
    print(await messages.recv())


if __name__ == "__main__":
    gort.run(main)
