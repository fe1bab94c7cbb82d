"""Datagrams: each `write_to` sends one, each `read_from` receives one and says who sent it."""

import gort
from gort import net


async def main() -> None:
    async with await net.listen_packet("udp", "127.0.0.1:0") as server:
        async with await net.dial_packet("udp", str(server.addr)) as client:
            await client.write(b"ping")
            data, sender = await server.read_from()
            await server.write_to(data + b" pong", sender)
            print((await client.read()).decode())


if __name__ == "__main__":
    gort.run(main)
