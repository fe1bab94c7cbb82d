"""Ask several, take the first answer. The others must be able to end: the channel has room for all answers."""

import gort


async def ask(server: str, seconds: float, answers: gort.Chan[str]) -> None:
    await gort.sleep(seconds)
    await answers.send(server)


async def main() -> None:
    servers = {"north": 3600.0, "south": 0.001, "west": 3600.0}
    answers = gort.Chan[str](len(servers))
    for server, seconds in servers.items():
        gort.go(ask, server, seconds, answers)
    print("first:", await answers.recv())


if __name__ == "__main__":
    gort.run(main)
