"""A channel can say that something is done. Closing it wakes everybody who waits for it, however many they are."""

import gort


async def prepare(ready: gort.Chan[None]) -> None:
    print("preparing")
    await gort.sleep(0.01)
    print("ready")
    ready.close()


async def main() -> None:
    ready = gort.Chan[None]()
    gort.go(prepare, ready)
    await ready.recv_ok()  # (None, False): closed
    print("going on")


if __name__ == "__main__":
    gort.run(main)
