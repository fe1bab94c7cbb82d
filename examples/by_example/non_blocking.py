"""With a default case a select does not wait. `try_send` and `try_recv` are the short forms for one channel."""

import gort


async def main() -> None:
    messages = gort.Chan[str](1)
    value, ok = messages.try_recv()
    print("received", value) if ok else print("no message")
    print("sent:", messages.try_send("hi"))
    print("sent:", messages.try_send("no room"))
    case, value, _ = await gort.select(messages.recv(), default=True)
    print("received", value) if case == 0 else print("no message")
    case, value, _ = await gort.select(messages.recv(), default=True)
    print("received", value) if case == 0 else print("no message")


if __name__ == "__main__":
    gort.run(main)
