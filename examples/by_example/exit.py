"""`sys.exit(3)` in main ends the program with status 3. Unlike Go's `os.Exit` it runs what is to be run at the end."""

import sys

import gort


async def main() -> None:
    try:
        sys.exit(3)
    finally:
        print("cleaned up")


if __name__ == "__main__":
    gort.run(main)
