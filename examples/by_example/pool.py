"""A Pool keeps what costs something to make, for the next one who needs it. It may let go of what nobody uses."""

import gort
from gort.sync import Pool


async def main() -> None:
    made = 0

    def make() -> bytearray:
        nonlocal made
        made += 1
        return bytearray(4096)

    buffers = Pool(make)
    buffer = buffers.get()
    print("made:", made, "bytes:", len(buffer))
    buffers.put(buffer)


if __name__ == "__main__":
    gort.run(main)
