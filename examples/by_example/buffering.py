"""A channel with a capacity takes that many values before a sender must wait."""

import gort


async def main() -> None:
    messages = gort.Chan[str](2)
    await messages.send("buffered")
    await messages.send("channel")
    print(len(messages), "of", messages.capacity)
    print(await messages.recv())
    print(await messages.recv())


if __name__ == "__main__":
    gort.run(main)
