"""What users write, and the types they get.  Never run: mypy --strict and pyright's strict mode read it (make lint).

`assert_type` is an error when the type is another; an error anywhere here is one.  Mistakes are in mistakes.py.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable
from typing import Any, assert_type

import gort
from gort import bufio, context, debug, http, metrics, net, os, runtime, signal, testing
from gort import exec as processes
from gort.sync import Cond, Mutex, Once, Pool, Reader, RWMutex, Semaphore, WaitGroup


async def number(n: int, *, twice: bool = False) -> int:
    await gort.gosched()
    return n * 2 if twice else n


def plain(text: str) -> bytes:
    return text.encode()


async def main(port: int = 80) -> str:
    return str(port)


class Service:
    async def serve(self, port: int) -> bool:
        return port > 0

    async def __call__(self, port: int) -> float:
        return float(port)


async def channels() -> None:
    ch = gort.Chan[int](8)
    assert_type(ch, gort.Chan[int])
    assert_type(await ch.recv(), int)
    assert_type(await ch.recv_ok(), tuple[int | None, bool])
    assert_type(await ch.send(1), None)
    assert_type(ch.try_send(1), bool)
    assert_type(ch.try_recv(), tuple[int | None, bool])
    async for v in ch:
        assert_type(v, int)
    assert_type(len(ch), int)
    assert_type(ch.capacity, int)
    assert_type(ch.closed, bool)
    assert_type(ch.close(), None)
    inferred: gort.Chan[str] = gort.Chan()
    assert_type(await inferred.recv(), str)


async def selects(a: gort.Chan[int], b: gort.Chan[str] | None) -> None:
    i, v, ok = await gort.select(a.recv(), b.recv() if b is not None else None, a.send(1), default=True)
    assert_type(i, int)
    assert_type(v, Any)  # whose it is depends on i
    assert_type(ok, bool)


async def timers() -> None:
    assert_type(await gort.sleep(0.1), None)
    await gort.sleep(1)
    assert_type(await gort.gosched(), None)
    timer = gort.Timer(1.0)
    assert_type(timer.stop(), bool)
    assert_type(timer.reset(2), bool)
    assert_type(await timer.c.recv(), float)
    assert_type(await gort.after(1).recv(), float)
    ticker = gort.Ticker(1)
    async for now in ticker.c:
        assert_type(now, float)
    ticker.stop()
    assert_type(gort.after_func(1, plain, "x"), gort.Timer)
    assert_type(gort.after_func(1, number, 1).stop(), bool)


async def groups() -> None:
    async with gort.Group(limit=3) as group:
        assert_type(group, gort.Group)
        one = group.go(number, 1, twice=True)
        two = group.go(plain, "x")
        three = group.go(Service().serve, 80)
        four = group.go(main)
    assert_type(one, gort.Handle[int])
    assert_type(two, gort.Handle[bytes])
    assert_type(three.result(), bool)
    assert_type(await four, str)
    assert_type(one.done, bool)
    assert_type(one.exception(), BaseException | None)
    assert_type(one.cancel(), bool)
    group.cancel()


async def bulk(ch: gort.Chan[int]) -> None:
    assert_type(await ch.recv_many(10), list[int])
    assert_type(await ch.send_many([1, 2]), int)
    assert_type(await ch.send_many(n for n in range(3)), int)
    sending = ch.send_many(range(3))
    try:
        await sending
    except gort.ChannelClosed as e:
        assert_type(e.sent, int)
    assert_type(sending.sent, int)
    assert_type(await gort.select(ch.recv_many(3), default=True), tuple[int, Any, bool])
    assert_type(gort.wait(ch.recv_many(3)), list[int])


async def calls() -> None:
    gort.go(number, 1)
    gort.go(number, 1, twice=True)
    gort.go(plain, "x")
    gort.go(Service().serve, 80)
    gort.go(Service(), 80)
    gort.go(main)
    assert_type(await gort.blocking(plain, "x"), bytes)
    assert_type(await gort.blocking(int, "7"), int)


def waits(ch: gort.Chan[int], mu: Mutex) -> None:
    assert_type(gort.wait(ch.recv()), int)
    assert_type(gort.wait(number(1), timeout=2.0), int)
    assert_type(gort.wait(mu.lock()), None)
    assert_type(gort.wait(gort.select(ch.recv())), tuple[int, Any, bool])


def runs() -> None:
    assert_type(gort.run(main), str)
    assert_type(gort.run(main, 8080, procs=2), str)
    assert_type(gort.run(Service().serve, 80), bool)
    assert_type(gort.run(Service(), 80), float)


async def synchronisation() -> None:
    mu, rw, sem = Mutex(), RWMutex(), Semaphore(2)
    assert_type(await mu.lock(), None)
    mu.unlock()
    assert_type(mu.try_lock(), bool)
    assert_type(mu.locked, bool)
    async with mu, rw, rw.reader(), rw.writer(), sem:
        pass
    assert_type(rw.reader(), Reader)
    await sem.acquire(2)
    sem.release(2)
    assert_type(sem.try_acquire(), bool)
    wg = WaitGroup()
    wg.add(1)
    wg.done()
    wg.go(number, 1, twice=True)
    await wg.wait()
    cond = Cond(mu)
    async with cond, cond.mutex:
        await cond.wait()
    Cond(rw.reader()).signal()
    Cond().broadcast()
    await Once().do(number, 1)
    pool = Pool(lambda: [1])
    assert_type(pool.get(), list[int])
    pool.put([2])
    maybe: Pool[str | None] = Pool()
    assert_type(maybe.get(), str | None)


class Quiet(context.Context):
    """A context of the user's own."""

    def err(self) -> Exception | None:
        return None


async def contexts() -> None:
    ctx, cancel = context.with_timeout(context.background(), 1.0)
    assert_type(ctx, context.Context)
    assert_type(cancel, context.CancelFunc)
    cancel()
    assert_type(await ctx.done().recv_ok(), tuple[None, bool])
    assert_type(ctx.err(), Exception | None)
    assert_type(ctx.deadline(), float | None)
    assert_type(context.cause(ctx), BaseException | None)
    with context.with_cancel(Quiet()) as child:
        assert_type(child, context.Context)
    _, fail = context.with_cancel_cause(context.todo())
    assert_type(fail, context.CancelCauseFunc)
    fail(ValueError("no such user"))
    assert_type(context.with_value(ctx, "k", 1), context.Context)
    stop = context.after_func(ctx, plain, "x")
    assert_type(stop(), bool)


async def connections(tls: ssl.SSLContext) -> None:
    ln = await net.listen("tcp", "127.0.0.1:0")
    assert_type(ln, net.Listener)
    assert_type(ln.addr, net.Addr)
    assert_type(await ln.accept(), net.Conn)
    async with ln:
        async for conn in ln:
            assert_type(conn, net.Conn)
    async with await net.dial("tcp", str(ln.addr), timeout=1) as conn:
        assert_type(conn, net.Conn)
        assert_type(await conn.read(), bytes)
        assert_type(await conn.read(10), bytes)
        assert_type(await conn.readinto(bytearray(8)), int)
        assert_type(await conn.write(b"x"), None)
        await conn.write(memoryview(b"x"))
        await conn.writev([b"a", bytearray(b"b")])
        assert_type(await conn.read_exactly(4), bytes)
        assert_type(await conn.read_until(b"\n"), bytes)
        assert_type(await conn.read_line(), bytes)
        assert_type(await conn.peek(1), bytes)
        assert_type(await conn.discard(1), int)
        assert_type(conn.buffered, int)
        conn.unread(b"x")
        async for line in conn.lines():
            assert_type(line, bytes)
        async for data in conn:
            assert_type(data, bytes)
        assert_type(conn.remote_addr.port, int)
        conn.set_deadline(1.5)
        conn.set_deadline(None)
        assert_type(conn.closed, bool)
    secure = await net.dial_tls("tcp", "localhost:443", tls)
    assert_type(secure, net.TLSConn)
    assert_type(await secure.read(), bytes)
    assert_type(await secure.read_exactly(4), bytes)
    async for data in secure:
        assert_type(data, bytes)
    assert_type(secure.alpn_protocol, str | None)
    secure.set_read_deadline(1)
    async with await net.listen_tls("tcp", ":443", tls, backlog=10) as sln:
        assert_type(sln, net.TLSListener)
        async for each in sln:
            assert_type(each, net.TLSConn)
    assert_type(await net.tls_client(conn, "localhost"), net.TLSConn)
    assert_type(await net.tls_server(conn, tls), net.TLSConn)
    pc = await net.listen_packet("udp", ":0")
    assert_type(await pc.read_from(), tuple[bytes, net.Addr])
    await pc.write_to(b"x", pc.addr)
    assert_type(await net.Dialer(timeout=1).dial("unix", "/run/x"), net.Conn)


async def requests(ctx: context.Context) -> None:
    response = await http.get("https://x.test/", headers={"A": "b"}, ctx=ctx)
    assert_type(response, http.Response)
    assert_type(response.check().body, bytes)
    assert_type(response.headers["a"], str)
    async with http.Client(connections=10, timeouts=http.Timeouts(read_s=None)) as client:
        assert_type(await client.post("https://x.test/", b"x", redirects=0), http.Response)
        assert_type(await client.request("PUT", "https://x.test/", body="x"), http.Response)
        async with client.stream("GET", "https://x.test/") as stream:
            async for part in stream:
                assert_type(part, bytes)


class Upper:
    """A stream of the user's own."""

    async def read(self, n: int) -> bytes:
        return b"x".upper()

    async def write(self, data: bytes) -> int:
        return len(data)


def fields(data: bytes, start: int, at_end: bool) -> tuple[int, bytes | None] | None:
    """A split function of the user's own."""
    return len(data), None


async def buffered(conn: net.Conn, secure: net.TLSConn) -> None:
    r = bufio.Reader(conn)
    assert_type(await r.read(), bytes)
    assert_type(await r.readinto(bytearray(3)), int)
    assert_type(await r.read_line(limit=100), bytes)
    assert_type(await bufio.Reader(r).peek(3), bytes)
    async for line in bufio.Reader(secure).lines():
        assert_type(line, bytes)
    async with await os.open("notes.txt", "rb") as f:
        assert_type(await bufio.Reader(f).read_until(b"."), bytes)
    async for token in bufio.Scanner(Upper()):
        assert_type(token, bytes)
    assert_type(await bufio.Scanner(conn, b"--", limit=10).scan(), bytes | None)
    bufio.Scanner(conn, bufio.scan_words)
    bufio.Scanner(secure, fields)
    async with bufio.Writer(conn, 100) as w:
        assert_type(w, bufio.Writer)
        await w.write(memoryview(b"x"))
        await w.flush()
        assert_type(w.buffered + w.available, int)
    await bufio.Writer(Upper()).close()
    async with await os.open("notes.txt", "wb") as f:
        await bufio.Writer(f).write(b"x")


async def processes_and_files() -> None:
    assert_type(await processes.output("git", "status"), bytes)
    assert_type(
        await processes.run("cat", input=b"x", ctx=context.background()), tuple[int, bytes | None, bytes | None]
    )
    assert_type(await processes.output("git", "status", text=True, wait_delay=1.0), str)
    assert_type(await processes.run("cat", input="x", encoding="utf-8"), tuple[int, str | None, str | None])
    await processes.run("cat", ctx=context.background(), cancel=processes.Cmd.terminate, wait_delay=5.0)
    await processes.output("cat", ctx=context.background(), cancel=None)
    first = await processes.start("cat", stdout=processes.PIPE, process_group=0)
    await processes.start("sort", stdin=first.stdout)
    first.kill(group=True)
    async with await processes.start("sort", stdin=processes.PIPE, stdout=processes.PIPE) as cmd:
        assert_type(cmd, processes.Cmd)
        assert_type(await cmd.wait(), int)
        if cmd.stdout is not None:
            assert_type(await cmd.stdout.read_all(), bytes)
    async with await os.open("notes.txt") as text:
        assert_type(await text.read(), str)
        await text.write("x")
        async for line in text:
            assert_type(line, str)
    async with await os.open("notes.txt", "rb") as binary:
        assert_type(await binary.readline(), bytes)
        await binary.write(memoryview(b"x"))
        await binary.readinto(bytearray(8))
    assert_type(await os.read_file("notes.txt"), bytes)
    async for entry in os.walk("."):
        assert_type(entry.path, str)


async def signals() -> None:
    ch = gort.Chan[signal.Signals](1)
    signal.notify(ch, signal.SIGINT, signal.SIGTERM)
    assert_type(await ch.recv(), signal.Signals)
    signal.stop(ch)
    with signal.notify_context(context.background(), signal.SIGINT) as ctx:
        assert_type(ctx, context.Context)


async def the_runtime() -> None:
    assert_type(runtime.gomaxprocs(), int)
    assert_type(runtime.num_cpu(), int)
    assert_type(runtime.num_goroutine(), int)
    assert_type(runtime.stack(all=True), str)
    assert_type(runtime.stack(all=True, group=True), str)
    assert_type(runtime.stats(), dict[str, int])
    debug.write_profile("goroutine", "goroutines.pb.gz")
    with open("cpu.pb.gz", "wb") as file:
        debug.start_cpu_profile(file)
        debug.stop_cpu_profile()
    with_page: debug.Page = debug.serve()
    assert_type(with_page.url, str)
    assert_type(metrics.exposition(), tuple[str, bytes])
    assert_type(metrics.descriptions()[0].kind, str)
    assert_type(metrics.read()["/sched/latencies:seconds"], int | float | metrics.Histogram)
    assert_type(runtime.compiled, bool)
    runtime.lock_os_thread()
    runtime.unlock_os_thread()
    runtime.on_blocked(lambda goroutine, seconds, stack: print(goroutine, seconds, stack))
    runtime.goexit()


def errors() -> None:
    try:
        gort.run(main)
    except gort.Panic as e:
        assert_type(e.goroutine, int)
        assert_type(e.dump, str)
    except gort.Deadlock as e:
        assert_type(e.dump, str)
    except net.IncompleteRead as e:
        assert_type(e.partial, bytes)
    except processes.ExitError as e:
        assert_type(e.returncode, int)


async def generate(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await gort.gosched()
        yield i


def operations(ch: gort.Chan[int], conn: net.Conn) -> list[Awaitable[object]]:
    """Everything that is awaited is an Awaitable of what it gives."""
    sent: Awaitable[None] = ch.send(1)
    read: Awaitable[bytes] = conn.read()
    return [sent, read, gort.sleep(1), Mutex().lock(), gort.select(ch.recv())]


async def scopes() -> None:
    async with gort.timeout(1.5) as scope:
        assert_type(scope, gort.CancelScope)
        value = 1
    value.bit_length()
    with gort.move_on_after(None) as moved:
        assert_type(moved, gort.MoveOnAfter)
        moved.deadline = 3.0
    assert_type(moved.cancelled_caught, bool)
    assert_type(scope.expired(), bool)
    async with gort.shield():
        scope.cancel()


async def selects_of_all_kinds(ch: gort.Chan[int], h: gort.Handle[str], ln: net.Listener) -> None:
    assert_type(await gort.select(ch.recv(), gort.sleep(1), h, Mutex().lock(), None), tuple[int, Any, bool])
    assert_type(await gort.select(result=ch.recv(), conn=ln.accept(), timeout=gort.sleep(1)), tuple[str, Any, bool])
    assert_type(await ln.accept(), net.Conn)


async def bubbles() -> None:
    await testing.wait()


def virtual_time() -> None:
    assert_type(testing.run(number, 1), int)
    assert_type(testing.run(main, 80, procs=4), str)
    testing.run(bubbles)


async def memory() -> None:
    a, _ = testing.pipe(window=10)
    assert_type(await a.read(), bytes)
    with testing.Network(latency=0.1) as network:
        network.partition("a", "b")
