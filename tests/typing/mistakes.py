"""Mistakes that a type checker finds, one a line.  Never run: mypy --strict and pyright's strict mode read it in
`make lint`.

Each carries `type: ignore` with mypy's code, which pyright honours too; both are told to complain of one that hides
nothing.  So a mistake that either of them no longer finds is an error.
"""

from __future__ import annotations

import ssl

import gort
from gort import bufio, context, http, net, os, signal
from gort import exec as processes
from gort.sync import Cond, Once, Pool, Semaphore, WaitGroup


async def number(n: int, *, twice: bool = False) -> int:
    return n * 2 if twice else n


def plain(text: str) -> bytes:
    return text.encode()


async def channels(ch: gort.Chan[int]) -> None:
    await ch.send("text")  # type: ignore[arg-type]
    ch.try_send("text")  # type: ignore[arg-type]
    await ch.send_many(["text"])  # type: ignore[list-item]
    await ch.send_many(3)  # type: ignore[arg-type]
    await ch.recv_many("3")  # type: ignore[arg-type]
    gort.Chan[int]("8")  # type: ignore[arg-type]
    text: str = await ch.recv()  # type: ignore[assignment]
    value: int = ch.recv()  # type: ignore[assignment]
    for _ in ch:  # type: ignore[attr-defined]
        pass
    ch.receive()  # type: ignore[attr-defined]
    await ch  # type: ignore[misc]
    async for v in ch:
        v.upper()  # type: ignore[attr-defined]
    print(text, value)


class MyChan(gort.Chan[int]):  # type: ignore[misc]
    """The compiled class cannot be derived from."""


async def selects(ch: gort.Chan[int]) -> None:
    await gort.select(ch)  # type: ignore[call-overload]
    await gort.select(3, gort.sleep(1))  # type: ignore[call-overload]
    await gort.select(ch.recv(), timeout=1)  # type: ignore[call-overload]


async def timers() -> None:
    await gort.sleep("1")  # type: ignore[arg-type]
    gort.Timer()  # type: ignore[call-arg]
    gort.after_func(1, plain, 2)  # type: ignore[arg-type]
    gort.Ticker(1).c = gort.Chan[float]()  # type: ignore[misc]


async def calls() -> None:
    gort.go(number)  # type: ignore[call-arg]
    gort.go(number, "1")  # type: ignore[arg-type]
    gort.go(number, 1, thrice=True)  # type: ignore[call-arg]
    gort.go(number(1))  # type: ignore[arg-type]
    gort.go(plain, 1)  # type: ignore[arg-type]
    await gort.blocking(plain, 1)  # type: ignore[arg-type]
    number(1)  # type: ignore[unused-coroutine]


async def groups() -> None:
    gort.Group(limit="3")  # type: ignore[arg-type]
    async with gort.Group() as group:
        group.go(number, "1")  # type: ignore[call-overload]
        group.go(number)  # type: ignore[call-overload]
        wrong: gort.Handle[str] = group.go(number, 1)  # type: ignore[call-overload]
    with gort.Group():  # type: ignore[attr-defined]
        pass
    text: str = group.go(number, 1).result()  # type: ignore[assignment]
    print(wrong, text)


def runs() -> None:
    gort.run(number, "1")  # type: ignore[arg-type]
    gort.run(number)  # type: ignore[arg-type]
    gort.run(plain, "x")  # type: ignore[arg-type]
    gort.run(number(1))  # type: ignore[arg-type]
    gort.run(number, 1, procs="2")  # type: ignore[arg-type]
    gort.wait(1)  # type: ignore[arg-type]


async def synchronisation() -> None:
    Semaphore("2")  # type: ignore[arg-type]
    with gort.sync.Mutex():  # type: ignore[attr-defined]
        pass
    Cond(gort.Chan[int]())  # type: ignore[arg-type]
    WaitGroup().go(number, "1")  # type: ignore[arg-type]
    await Once().do(number, "1")  # type: ignore[arg-type]
    Pool(lambda: [1]).put("x")  # type: ignore[arg-type]
    Once().do(number, 1)  # type: ignore[unused-coroutine]


def contexts(ctx: context.Context) -> None:
    context.with_timeout(ctx, "1")  # type: ignore[arg-type]
    context.with_cancel(None)  # type: ignore[arg-type]
    context.after_func(ctx, plain, 1)  # type: ignore[arg-type]
    _, cancel = context.with_cancel_cause(ctx)
    cancel("why")  # type: ignore[arg-type]
    for _ in ctx.done():  # type: ignore[attr-defined]
        pass


async def connections(conn: net.Conn, ln: net.Listener, tls: ssl.SSLContext) -> None:
    conn.nonsense  # type: ignore[attr-defined]
    conn.nonsense.at.all(1, 2)  # type: ignore[attr-defined]
    await conn.write("text")  # type: ignore[arg-type]
    await conn.writev(["text"])  # type: ignore[list-item]
    bufio.Reader(3)  # type: ignore[arg-type]
    bufio.Scanner(conn, "text")  # type: ignore[arg-type]
    bufio.Writer("text")  # type: ignore[arg-type]
    await bufio.Writer(conn).write("text")  # type: ignore[arg-type]
    await conn.readinto("text")  # type: ignore[arg-type]
    text: str = await conn.read()  # type: ignore[assignment]
    await conn.read("10")  # type: ignore[arg-type]
    conn.set_deadline("soon")  # type: ignore[arg-type]
    conn.fd = 3  # type: ignore[misc]
    async for other in ln:
        other.nonsense  # type: ignore[attr-defined]
    await net.dial("tcp", 80)  # type: ignore[arg-type]
    await net.listen("tcp", ":80", backlok=1)  # type: ignore[call-arg]
    secure = await net.dial_tls("tcp", "localhost:443", tls)
    await secure.write("text")  # type: ignore[arg-type]
    secure.nonsense  # type: ignore[attr-defined]
    await net.listen_tls("tcp", ":443")  # type: ignore[call-arg]
    net.nonsense  # type: ignore[attr-defined]
    conn.read_exactly(4)  # type: ignore[unused-coroutine]
    print(text)


async def processes_and_files() -> None:
    await processes.output(1)  # type: ignore[call-overload]
    await processes.run("cat", input="text")  # type: ignore[call-overload]
    text = await os.open("notes.txt")
    await text.write(b"x")  # type: ignore[arg-type]
    await text.readinto(bytearray(8))  # type: ignore[misc]
    binary = await os.open("notes.txt", "rb")
    await binary.write("x")  # type: ignore[arg-type]
    await os.write_file("notes.txt", "x")  # type: ignore[arg-type]


async def requests() -> None:
    await http.get("http://x.test/", body=b"x")  # type: ignore[call-arg]
    await http.post("http://x.test/", 7)  # type: ignore[arg-type]
    await http.get("http://x.test/", timeout=5)  # type: ignore[call-arg]


def signals(ch: gort.Chan[int]) -> None:
    signal.notify("SIGINT")  # type: ignore[arg-type]
    signal.notify(ch, "SIGINT")  # type: ignore[arg-type]
    gort.nonsense  # type: ignore[attr-defined]
