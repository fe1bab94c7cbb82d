"""A call that blocks its thread, in a hot path."""

import time

import gort


def lookup():
    time.sleep(0.02)  # here


async def serve():
    while True:
        lookup()
        await gort.gosched()


async def ping():
    while True:
        await gort.sleep(0.002)


async def main():
    for _ in range(8):
        gort.go(serve)
    gort.go(ping)
    await gort.sleep(1000)
