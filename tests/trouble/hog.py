"""One goroutine that computes for long, among others that are quick."""

import gort


def crunch(n):
    x = 0
    for i in range(n):
        x = (x * 31 + i) % 1000003  # here
    return x


async def report():
    while True:
        crunch(2_000_000)
        await gort.sleep(0.05)


async def ping():
    while True:
        await gort.sleep(0.002)


async def main():
    gort.go(report)
    gort.go(ping)
    await gort.sleep(1000)
