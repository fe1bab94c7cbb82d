"""A select may send and receive. This one produces numbers until it is told to stop."""

import gort
from gort.sync import WaitGroup


async def fibonacci(out: gort.Chan[int], quit_: gort.Chan[None]) -> None:
    a, b = 0, 1
    while True:
        match await gort.select(out.send(a), quit_.recv()):
            case 0, _, _:
                a, b = b, a + b
            case _:
                print("quit")
                return


async def main() -> None:
    numbers, quit_ = gort.Chan[int](), gort.Chan[None]()
    producer = WaitGroup()
    producer.go(fibonacci, numbers, quit_)
    for _ in range(8):
        print(await numbers.recv())
    quit_.close()
    await producer.wait()


if __name__ == "__main__":
    gort.run(main)
