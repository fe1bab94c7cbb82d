"""`gort.exec` runs programs. The poller waits for their pipes and their ends: a thousand of them need no thread."""

import gort


async def main() -> None:
    print((await gort.exec.output("echo", "hello from a child", text=True)).strip())
    print((await gort.exec.output("sort", input="b\na\n", text=True)).split())
    try:
        await gort.exec.output("sh", "-c", "exit 3")
    except gort.exec.ExitError as error:
        print("it ended with status", error.returncode)


if __name__ == "__main__":
    gort.run(main)
