"""A select with one more case limits a wait. `gort.timeout` limits a whole block, whatever it waits for."""

import gort


async def fetch(seconds: float, out: gort.Chan[str]) -> None:
    await gort.sleep(seconds)
    await out.send("result")


async def main() -> None:
    slow, fast = gort.Chan[str](1), gort.Chan[str](1)
    gort.go(fetch, 3600, slow)
    case, value, _ = await gort.select(slow.recv(), gort.after(0.01).recv())
    print("slow:", value if case == 0 else "timeout")
    gort.go(fetch, 0.001, fast)
    case, value, _ = await gort.select(fast.recv(), gort.after(60).recv())
    print("fast:", value if case == 0 else "timeout")
    try:
        async with gort.timeout(0.01):
            await slow.recv()
    except TimeoutError:
        print("the block took too long")


if __name__ == "__main__":
    gort.run(main)
