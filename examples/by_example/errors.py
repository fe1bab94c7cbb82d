"""An exception passes from a member of a group to whoever asks for its result. Go returns an error beside the value."""

import gort


async def parse(text: str) -> int:
    await gort.gosched()
    return int(text)


async def attempt(text: str) -> str:
    try:
        return f"{await parse(text)} is a number"
    except ValueError:
        return f"{text} is none"


async def main() -> None:
    async with gort.Group() as group:
        handles = [group.go(attempt, text) for text in ("12", "twelve")]
    for h in handles:
        print(h.result())


if __name__ == "__main__":
    gort.run(main)
