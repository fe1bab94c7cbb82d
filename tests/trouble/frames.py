"""Goroutines that wait, and keep what they do not need any more."""

import gort


async def stage(events):
    page = bytearray(200_000)
    n = len(page)
    await events.recv()  # here
    return n


async def main():
    events = gort.Chan()
    for _ in range(100):
        gort.go(stage, events)
    await gort.sleep(1000)
