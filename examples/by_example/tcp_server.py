"""One goroutine for each connection, in straight lines. `read` gives b"" at the end of the stream."""

import gort
from gort import net


async def echo(conn: net.Conn) -> None:
    async with conn:
        while data := await conn.read():
            await conn.write(data.upper())


async def serve(ln: net.Listener) -> None:
    async for conn in ln:
        gort.go(echo, conn)


async def main() -> None:
    async with await net.listen("tcp", "127.0.0.1:0") as ln:
        gort.go(serve, ln)
        async with await net.dial("tcp", str(ln.addr)) as conn:
            await conn.write(b"hello\n")
            print((await conn.read_line()).decode().strip())


if __name__ == "__main__":
    gort.run(main)
