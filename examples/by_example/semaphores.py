"""A Semaphore lets n in at a time. `acquire(k)` takes k places at once, as golang.org/x/sync/semaphore does.

Go's own library has none: there a channel with room for n does it, one place at a time.
"""

import gort
from gort.sync import Semaphore


async def main() -> None:
    places = Semaphore(2)
    print("first:", places.try_acquire())
    print("second:", places.try_acquire())
    print("third:", places.try_acquire())
    places.release()
    print("after a release:", places.try_acquire())


if __name__ == "__main__":
    gort.run(main)
