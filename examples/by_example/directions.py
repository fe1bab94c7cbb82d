"""Who may only send, and who may only receive? Go writes it into the type of the channel.

In Python a Protocol says it to the type checker. It costs nothing while the program runs.
"""

from collections.abc import Awaitable
from typing import Protocol

import gort


class Sender(Protocol):
    def send(self, value: str, /) -> Awaitable[None]: ...


class Receiver(Protocol):
    def recv(self) -> Awaitable[str]: ...


async def ping(pings: Sender, message: str) -> None:
    await pings.send(message)


async def pong(pings: Receiver, pongs: Sender) -> None:
    await pongs.send(await pings.recv())


async def main() -> None:
    pings, pongs = gort.Chan[str](1), gort.Chan[str](1)
    await ping(pings, "passed on")
    await pong(pings, pongs)
    print(await pongs.recv())


if __name__ == "__main__":
    gort.run(main)
