"""When no goroutine can ever go on, the program ends with status 2 and says what each of them waits for."""

import gort


async def main() -> None:
    messages = gort.Chan[str]()
    print("waiting")
    await messages.recv()  # nobody will send


if __name__ == "__main__":
    gort.run(main)
