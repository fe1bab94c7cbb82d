"""A fixed number of workers take jobs from one channel. Each job goes to whoever is free."""

import gort


async def work(jobs: gort.Chan[int], results: gort.Chan[int]) -> None:
    async for n in jobs:
        await gort.sleep(0.001)  # in place of work
        await results.send(n * 2)


async def main() -> None:
    jobs, results = gort.Chan[int](10), gort.Chan[int](10)
    for _ in range(3):
        gort.go(work, jobs, results)
    for n in range(1, 6):
        await jobs.send(n)
    jobs.close()
    print(sorted([await results.recv() for _ in range(5)]))


if __name__ == "__main__":
    gort.run(main)
