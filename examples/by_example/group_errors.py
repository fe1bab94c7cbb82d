"""The first member that fails cancels the others. The block raises all failures together, as an ExceptionGroup."""

import gort


async def fetch(page: int) -> None:
    if page == 3:
        raise ValueError("no page 3")
    try:
        await gort.sleep(3600)
    except gort.Cancelled:
        print("page", page, "given up")
        raise


async def main() -> None:
    try:
        async with gort.Group() as group:
            group.go(fetch, 1)
            await gort.sleep(0.001)
            group.go(fetch, 3)
    except* ValueError as errors:
        print("failed:", *errors.exceptions)


if __name__ == "__main__":
    gort.run(main)
