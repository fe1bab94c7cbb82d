"""`close()` says that nothing more will come. What is in the buffer can still be received.

`recv_ok()` tells the two cases apart. `recv()` raises ChannelClosed at the end, since Python has no zero value.
"""

import gort


async def main() -> None:
    jobs = gort.Chan[int](3)
    for n in (1, 2, 3):
        await jobs.send(n)
    jobs.close()
    more = True
    while more:
        job, more = await jobs.recv_ok()
        print("job", job) if more else print("no more jobs")
    try:
        await jobs.send(4)
    except gort.ChannelClosed:
        print("nobody may send now")


if __name__ == "__main__":
    gort.run(main)
