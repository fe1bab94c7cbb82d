"""What Go defers, Python writes as `with`, `async with` or `finally`.

An AsyncExitStack takes what comes up on the way.
"""

from contextlib import AsyncExitStack

import gort


async def close(name: str) -> None:
    await gort.gosched()
    print("close", name)


async def main() -> None:
    async with AsyncExitStack() as stack:
        for name in ("first", "second"):
            print("open", name)
            stack.push_async_callback(close, name)
        print("work")


if __name__ == "__main__":
    gort.run(main)
