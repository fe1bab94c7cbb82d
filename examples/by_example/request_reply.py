"""A request may carry the channel on which its answer is wanted. So one goroutine serves many, and mixes nothing up."""

from typing import NamedTuple

import gort


class Request(NamedTuple):
    number: int
    answer: gort.Chan[int]


async def square(requests: gort.Chan[Request]) -> None:
    async for request in requests:
        await request.answer.send(request.number * request.number)


async def ask(requests: gort.Chan[Request], number: int) -> int:
    answer = gort.Chan[int](1)
    await requests.send(Request(number, answer))
    return await answer.recv()


async def main() -> None:
    requests = gort.Chan[Request]()
    gort.go(square, requests)
    for number in (3, 5, 7):
        print(number, await ask(requests, number))


if __name__ == "__main__":
    gort.run(main)
