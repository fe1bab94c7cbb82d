"""`gort.go(fn, *args)` starts a goroutine and goes on at once.

The program ends when main returns, whether goroutines are left or not. So main waits here for both.
"""

import gort


async def count(name: str, done: gort.Chan[str]) -> None:
    for i in range(3):
        await gort.sleep(0.001)
        print(name, i)
    await done.send(name)


async def main() -> None:
    done = gort.Chan[str]()
    gort.go(count, "first", done)
    print("ended:", await done.recv())
    gort.go(count, "second", done)
    print("ended:", await done.recv())


if __name__ == "__main__":
    gort.run(main)
