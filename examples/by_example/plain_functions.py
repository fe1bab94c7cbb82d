"""A goroutine may be a plain function. It keeps its thread until it returns, and others go on beside it.

So a function of a library, which knows nothing of gort, can be a goroutine. Inside it `gort.wait` waits for an operation
without `await`.
"""

import hashlib

import gort


def digest(data: bytes, out: gort.Chan[str]) -> None:
    gort.wait(out.send(hashlib.sha256(data).hexdigest()[:8]))


async def main() -> None:
    out = gort.Chan[str]()
    gort.go(digest, b"gort", out)
    print(await out.recv())


if __name__ == "__main__":
    gort.run(main)
