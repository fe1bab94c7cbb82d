"""Talk to a running program: its input and output are streams, as connections are."""

import gort
from gort.exec import PIPE, start


async def main() -> None:
    async with await start("tr", "a-z", "A-Z", stdin=PIPE, stdout=PIPE) as cmd:
        assert cmd.stdin is not None
        assert cmd.stdout is not None
        await cmd.stdin.write(b"park\nhand off\n")
        cmd.stdin.close()
        async for line in cmd.stdout.lines():
            print(line.decode().strip())
        print("status", await cmd.wait())


if __name__ == "__main__":
    gort.run(main)
