"""`except` does what `recover` does in Go: a server catches what goes wrong in one request, and serves the next."""

import gort


async def handle(request: int) -> None:
    print(100 // request)


async def serve(requests: gort.Chan[int], done: gort.Chan[None]) -> None:
    async for request in requests:
        try:
            await handle(request)
        except ZeroDivisionError:
            print("request", request, "went wrong")
    done.close()


async def main() -> None:
    requests, done = gort.Chan[int](), gort.Chan[None]()
    gort.go(serve, requests, done)
    for request in (5, 0, 4):
        await requests.send(request)
    requests.close()
    await done.recv_ok()


if __name__ == "__main__":
    gort.run(main)
