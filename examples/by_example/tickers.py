"""A Ticker sends the time again and again, until it is stopped. A tick that nobody takes is dropped, not collected."""

import gort


async def main() -> None:
    ticker = gort.Ticker(0.005)
    for n in range(3):
        await ticker.c.recv()
        print("tick", n)
    ticker.stop()
    case, _, _ = await gort.select(ticker.c.recv(), gort.after(0.02).recv())
    print("stopped" if case == 1 else "another tick")


if __name__ == "__main__":
    gort.run(main)
