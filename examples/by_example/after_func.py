"""`after_func` calls a function later, in a goroutine of its own. Its timer can be stopped or reset."""

import gort


async def main() -> None:
    done = gort.Chan[str]()

    async def remind(what: str) -> None:
        await done.send(what)

    gort.after_func(0.002, remind, "tea")
    never = gort.after_func(3600, remind, "the next ice age")
    print("reminder:", await done.recv())
    print("stopped:", never.stop())


if __name__ == "__main__":
    gort.run(main)
