"""From its deadline on a read fails, until another deadline is set. The connection stays usable."""

import gort
from gort import net


async def main() -> None:
    async with await net.listen("tcp", "127.0.0.1:0") as ln:
        async with await net.dial("tcp", str(ln.addr)) as client, await ln.accept() as server:
            client.set_read_deadline(0.01)
            try:
                await client.read()
            except net.DeadlineExceeded:
                print("nothing came in time")
            client.set_read_deadline(None)
            await server.write(b"late\n")
            print((await client.read_line()).decode().strip())


if __name__ == "__main__":
    gort.run(main)
