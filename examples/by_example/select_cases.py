"""`gort.select` waits for several operations and does one of them: the first that can be done.

It returns which case ran, the value received, and whether the channel was still open. The cases that did not run have
had no effect. Where several can be done, one of them is taken at random.
"""

import gort


async def send(value: str, out: gort.Chan[str]) -> None:
    await gort.sleep(0.001)
    await out.send(value)


async def main() -> None:
    north, south = gort.Chan[str](), gort.Chan[str]()
    for value, ch in (("rain", south), ("snow", north)):
        gort.go(send, value, ch)
        match await gort.select(north.recv(), south.recv()):
            case 0, value, _:
                print("from the north:", value)
            case 1, value, _:
                print("from the south:", value)


if __name__ == "__main__":
    gort.run(main)
