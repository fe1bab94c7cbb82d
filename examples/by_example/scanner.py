"""A Scanner takes a stream apart: into lines, words, or what a function of yours finds."""

import gort
from gort import bufio, net


async def main() -> None:
    async with await net.listen("tcp", "127.0.0.1:0") as ln:
        async with await net.dial("tcp", str(ln.addr)) as client, await ln.accept() as server:
            await client.write(b"the quick\nbrown fox\n")
            client.close_write()
            async for word in bufio.Scanner(server, bufio.scan_words):
                print(word.decode())


if __name__ == "__main__":
    gort.run(main)
