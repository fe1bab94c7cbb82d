"""`gort.signal.notify` sends signals to a channel. Then they do nothing else."""

import os

import gort
from gort import signal


async def main() -> None:
    signals = gort.Chan[signal.Signals](1)
    signal.notify(signals, signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)  # in place of somebody else
    print("received:", int(await signals.recv()))


if __name__ == "__main__":
    gort.run(main)
