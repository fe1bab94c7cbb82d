"""Cases may have names, and may be more than channel operations: a sleep, a lock, a read, the end of a process.

Go's select knows channels only, so there a goroutine must turn each of these into a channel.
"""

import gort


async def main() -> None:
    answers = gort.Chan[str](1)
    await answers.send("forty-two")
    for _ in range(2):
        match await gort.select(answer=answers.recv(), silence=gort.sleep(0.1)):
            case "answer", value, _:
                print("answer:", value)
            case "silence", _, _:
                print("nothing came")


if __name__ == "__main__":
    gort.run(main)
