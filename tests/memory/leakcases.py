"""What the leak tests do millions of times: one function per primitive and way of using it.

Each `async def case(n, v)` does its operation about n times, passes the sentinel v through every place that can hold a
user's object (channel values, arguments, results, exceptions, context variables), and has ended everything that it
started when it returns. CASES has them with the divisor of n for those that cost more than a switch.
"""

from __future__ import annotations

import contextlib
import contextvars
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import gort
from gort import ChannelClosed, context
from gort.sync import Cond, Mutex, Once, Pool, RWMutex, Semaphore, WaitGroup

Case = Callable[[int, Any], Awaitable[None]]
CASES: dict[str, tuple[Case, int]] = {}
BATCH = 50  # goroutines at a time


def case(name: str, divisor: int = 1) -> Callable[[Case], Case]:
    def enter(fn: Case) -> Case:
        CASES[name] = (fn, divisor)
        return fn

    return enter


async def nothing(*_args: Any) -> None:
    pass


class Boom(Exception):
    """Raised on purpose; carries the sentinel."""


# ---- goroutines ---------------------------------------------------------------------------------------------


@case("gosched")
async def _(n: int, v: Any) -> None:
    for _ in range(n):
        await gort.gosched()


@case("go an async function")
async def _(n: int, v: Any) -> None:
    done = gort.Chan[Any](BATCH)

    async def body(x: Any, *, key: Any) -> None:
        await done.send(key)

    for _ in range(n // BATCH):
        for _ in range(BATCH):
            gort.go(body, v, key=v)
        for _ in range(BATCH):
            await done.recv()


@case("go a plain function")
async def _(n: int, v: Any) -> None:
    for _ in range(n // BATCH):
        wg = WaitGroup()
        for _ in range(BATCH):
            wg.go(lambda x: None, v)
        await wg.wait()


@case("contextvars", 2)
async def _(n: int, v: Any) -> None:
    var: contextvars.ContextVar[Any] = contextvars.ContextVar("var")

    async def body() -> None:
        var.set([v])
        await gort.gosched()
        var.get()

    for _ in range(n // BATCH):
        wg = WaitGroup()
        for _ in range(BATCH):
            wg.go(body)
        await wg.wait()


# ---- channels -----------------------------------------------------------------------------------------------


async def _feed(ch: gort.Chan[Any], n: int, v: Any) -> None:
    for _ in range(n):
        await ch.send(v)
    ch.close()


@case("unbuffered channel")
async def _(n: int, v: Any) -> None:
    ch = gort.Chan[Any]()
    gort.go(_feed, ch, n, v)
    async for _ in ch:
        pass


@case("buffered channel")
async def _(n: int, v: Any) -> None:
    ch = gort.Chan[Any](64)
    gort.go(_feed, ch, n, v)
    ok = True
    while ok:
        _, ok = await ch.recv_ok()


@case("try_send and try_recv")
async def _(n: int, v: Any) -> None:
    ch = gort.Chan[Any](1)
    for _ in range(n):
        assert ch.try_send(v)
        assert not ch.try_send(v)
        assert ch.try_recv() == (v, True)
        ch.try_recv()


@case("channels made and dropped, full")
async def _(n: int, v: Any) -> None:
    for _ in range(n):
        ch = gort.Chan[Any](4)
        await ch.send(v)
        await ch.send((v, ch))  # a cycle through the buffer: the collector's


@case("close with receivers waiting", 2)
async def _(n: int, v: Any) -> None:
    for _ in range(n // 5):
        ch = gort.Chan[Any]()
        wg = WaitGroup()
        for _ in range(5):
            wg.go(_recv_closed, ch)
        await gort.gosched()
        ch.close()
        await wg.wait()


async def _recv_closed(ch: gort.Chan[Any]) -> None:
    with contextlib.suppress(ChannelClosed):
        await ch.recv()


@case("close with senders waiting", 2)
async def _(n: int, v: Any) -> None:
    async def sender(ch: gort.Chan[Any]) -> None:
        with contextlib.suppress(ChannelClosed):
            await ch.send(v)

    for _ in range(n // 5):
        ch = gort.Chan[Any]()
        wg = WaitGroup()
        for _ in range(5):
            wg.go(sender, ch)
        await gort.gosched()
        ch.close()
        await wg.wait()


@case("send_many and recv_many")
async def _(n: int, v: Any) -> None:
    for capacity in (0, 7, 64):
        ch = gort.Chan[Any](capacity)

        async def sender(ch: gort.Chan[Any] = ch) -> None:
            for _ in range(n // 150):
                await ch.send_many([v] * 50)
                await ch.send(v)
            ch.close()

        gort.go(sender)
        while True:
            if not await ch.recv_many(30):
                break
            await gort.select(ch.recv_many(2), default=True)


@case("close with send_many and recv_many waiting", 2)
async def _(n: int, v: Any) -> None:
    async def sender(ch: gort.Chan[Any]) -> None:
        with contextlib.suppress(ChannelClosed):
            await ch.send_many([v, v, v])

    for waits in (sender, lambda ch: ch.recv_many(5)):
        for _ in range(n // 10):
            ch = gort.Chan[Any](0)
            wg = WaitGroup()
            for _ in range(5):
                wg.go(waits, ch)
            await gort.gosched()
            if waits is sender:
                await ch.recv()
            ch.close()
            await wg.wait()


# ---- select -------------------------------------------------------------------------------------------------


def _select(cases: int) -> Case:
    async def select(n: int, v: Any) -> None:
        chans = [gort.Chan[Any](i % 2) for i in range(cases)]

        async def peer() -> None:
            for i in range(n):
                await chans[i % cases].send(v)

        wg = WaitGroup()
        wg.go(peer)
        for _ in range(n):
            await gort.select(*[ch.recv() for ch in chans])
        await wg.wait()

    return select


for _cases in (2, 4, 16):
    case(f"select of {_cases}, one wins", max(1, _cases // 2))(_select(_cases))


@case("select of 2 sends, one wins", 2)
async def _(n: int, v: Any) -> None:
    a, b = gort.Chan[Any](), gort.Chan[Any]()

    async def peer() -> None:
        for _ in range(n):
            await gort.select(a.recv(), b.recv())

    wg = WaitGroup()
    wg.go(peer)
    for _ in range(n):
        await gort.select(a.send(v), b.send([v]))
    await wg.wait()


for _cases in (2, 4, 16):

    @case(f"select of {_cases}, the default runs", max(1, _cases // 2))
    async def _(n: int, v: Any, cases: int = _cases) -> None:
        chans = [gort.Chan[Any]() for _ in range(cases)]
        for _ in range(n):
            i, _, _ = await gort.select(*[ch.send(v) for ch in chans], default=True)
            assert i == -1


@case("select with a timeout that passes", 20)
async def _(n: int, v: Any) -> None:
    ch = gort.Chan[Any]()
    for _ in range(n):
        i, _, _ = await gort.select(ch.send(v), None, gort.after(0.00001).recv())
        assert i == 2


# ---- cancellation -------------------------------------------------------------------------------------------


def _cancelled(make: Callable[[Any], tuple[Callable[[], Awaitable[Any]], Any]]) -> Case:
    """Goroutines that wait for what `make(v)` gives are cancelled there."""

    async def cancelled(n: int, v: Any) -> None:
        for _ in range(n // 10):
            wait, keep = make(v)

            async def body(x: Any, wait: Callable[[], Awaitable[Any]] = wait) -> None:
                await wait()

            async with gort.Group() as group:
                handles = [group.go(body, v) for _ in range(10)]
                await gort.gosched()
                for h in handles:
                    h.cancel()
            del keep

    return cancelled


def _locked(mutex: Any) -> Any:
    assert mutex.try_lock()
    return mutex


def _taken() -> Semaphore:
    semaphore = Semaphore(1)
    assert semaphore.try_acquire()
    return semaphore


async def _cond_wait(cond: Cond) -> None:
    async with cond:
        await cond.wait()


def _held(make: Callable[[], Any], wait: Callable[[Any, Any], Awaitable[Any]]) -> Case:
    def held(v: Any) -> tuple[Callable[[], Awaitable[Any]], Any]:
        thing = make()
        return (lambda: wait(thing, v)), thing

    return _cancelled(held)


def _counted() -> WaitGroup:
    wg = WaitGroup()
    wg.add(1)
    return wg


async def _select_two(ch: gort.Chan[Any], v: Any) -> None:
    await gort.select(ch.send(v), gort.Chan[Any]().recv())


for _name, _make, _wait in [
    ("chan recv", gort.Chan, lambda ch, v: ch.recv()),
    ("chan send", gort.Chan, lambda ch, v: ch.send(v)),
    ("recv_many", gort.Chan, lambda ch, v: ch.recv_many(3)),
    ("send_many", lambda: gort.Chan(2), lambda ch, v: ch.send_many([v, v, v])),
    ("select", gort.Chan, _select_two),
    ("Mutex.lock", lambda: _locked(Mutex()), lambda m, v: m.lock()),
    ("RWMutex.rlock", lambda: _locked(RWMutex()), lambda m, v: m.rlock()),
    ("RWMutex.lock", lambda: _locked(RWMutex()), lambda m, v: m.lock()),
    ("WaitGroup.wait", _counted, lambda wg, v: wg.wait()),
    ("Semaphore.acquire", _taken, lambda s, v: s.acquire()),
    ("Cond.wait", Cond, lambda c, v: _cond_wait(c)),
    ("sleep", lambda: None, lambda _, v: gort.sleep(3600)),
    ("a timer's channel", lambda: None, lambda _, v: gort.after(3600).recv()),
]:
    case(f"cancelled in {_name}", 4)(_held(_make, _wait))


# ---- timers -------------------------------------------------------------------------------------------------


@case("sleep", 20)
async def _(n: int, v: Any) -> None:
    for _ in range(n):
        await gort.sleep(0.000001)


@case("Timer made and stopped")
async def _(n: int, v: Any) -> None:
    for _ in range(n):
        gort.Timer(3600).stop()


@case("after_func stopped")
async def _(n: int, v: Any) -> None:
    for _ in range(n):
        gort.after_func(3600, nothing, v).stop()


@case("after_func fires", 4)
async def _(n: int, v: Any) -> None:
    done = gort.Chan[Any](BATCH)
    for _ in range(n // BATCH):
        for _ in range(BATCH):
            gort.after_func(0.000001, done.try_send, v)
        for _ in range(BATCH):
            await done.recv()


@case("Ticker", 40)
async def _(n: int, v: Any) -> None:
    for _ in range(n // 5):
        ticker = gort.Ticker(0.00001)
        for _ in range(5):
            await ticker.c.recv()
        ticker.stop()


# ---- sync ---------------------------------------------------------------------------------------------------


async def _among(k: int, n: int, body: Callable[[], Awaitable[None]]) -> None:
    async def repeat() -> None:
        for _ in range(n // k):
            await body()

    wg = WaitGroup()
    for _ in range(k):
        wg.go(repeat)
    await wg.wait()


@case("Mutex")
async def _(n: int, v: Any) -> None:
    mutex = Mutex()

    async def body() -> None:
        async with mutex:
            await gort.gosched()

    await _among(5, n, body)


@case("RWMutex", 2)
async def _(n: int, v: Any) -> None:
    rw = RWMutex()

    async def body() -> None:
        async with rw.reader():
            await gort.gosched()
        async with rw:
            pass

    await _among(5, n, body)


@case("Semaphore")
async def _(n: int, v: Any) -> None:
    semaphore = Semaphore(2)

    async def body() -> None:
        async with semaphore:
            await gort.gosched()

    await _among(5, n, body)


@case("Cond", 2)
async def _(n: int, v: Any) -> None:
    turns = {"n": 0}
    cond = Cond()

    async def body(me: int) -> None:
        while turns["n"] < n:
            async with cond:
                while turns["n"] % 2 != me and turns["n"] < n:
                    await cond.wait()
                turns["n"] += 1
            cond.broadcast()

    async with gort.Group() as group:
        group.go(body, 0)
        group.go(body, 1)


@case("Once and Pool")
async def _(n: int, v: Any) -> None:
    pool: Pool[Any] = Pool(lambda: [v])
    for _ in range(n):
        once = Once()
        await once.do(nothing, v)
        await once.do(nothing, v)
        pool.put(pool.get())


# ---- groups, failures, panics that are caught ---------------------------------------------------------------


async def _result(v: Any) -> Any:
    await gort.gosched()
    return v


async def _fails(v: Any) -> None:
    await gort.gosched()
    raise Boom(v)


@case("Group with results", 2)
async def _(n: int, v: Any) -> None:
    for _ in range(n // 10):
        async with gort.Group(limit=5) as group:
            handles = [group.go(_result, v) for _ in range(10)]
        assert all(h.result() is v for h in handles)


@case("Group that fails", 10)
async def _(n: int, v: Any) -> None:
    for _ in range(n // 5):
        try:
            async with gort.Group() as group:
                for _ in range(4):
                    group.go(_wait_for_ever, v)
                group.go(_fails, v)
        except* Boom:
            pass


async def _wait_for_ever(v: Any) -> None:
    await gort.Chan[Any]().send(v)


@case("exceptions that cross awaits", 2)
async def _(n: int, v: Any) -> None:
    closed = gort.Chan[Any]()
    closed.close()
    for _ in range(n):
        try:
            try:
                await closed.recv()
            except ChannelClosed as e:
                raise Boom(v) from e
        except Boom:
            await gort.gosched()


@case("operations used wrongly", 2)
async def _(n: int, v: Any) -> None:
    ch = gort.Chan[Any](1)
    for _ in range(n):
        op = ch.send(v)
        await op
        ch.try_recv()
        with contextlib.suppress(RuntimeError):
            await op
        with contextlib.suppress(TypeError):
            await gort.select(ch, v)  # type: ignore[arg-type]


@case("cancelled before its first step", 4)
async def _(n: int, v: Any) -> None:
    for _ in range(n // 10):
        async with gort.Group() as group:
            for _ in range(10):
                group.go(_wait_for_ever, v).cancel()


# ---- threads ------------------------------------------------------------------------------------------------


def _raises(v: Any) -> None:
    raise Boom(v)


@case("blocking", 10)
async def _(n: int, v: Any) -> None:
    for _ in range(n):
        assert await gort.blocking(lambda x: x, v) is v
        try:
            await gort.blocking(_raises, v)
        except Boom:
            pass


@case("wait in a plain function", 20)
async def _(n: int, v: Any) -> None:
    ch = gort.Chan[Any]()

    def plain() -> None:
        for _ in range(n):
            gort.wait(ch.send(v))
        with contextlib.suppress(TimeoutError):
            gort.wait(ch.send(v), timeout=0)
        gort.wait(_result(v))

    wg = WaitGroup()
    wg.go(plain)
    for _ in range(n):
        await ch.recv()
    await wg.wait()


@case("wait in a thread outside", 20)
async def _(n: int, v: Any) -> None:
    ch = gort.Chan[Any]()

    def outside() -> None:
        for _ in range(n):
            gort.wait(ch.recv())
        with contextlib.suppress(TimeoutError):
            gort.wait(ch.send(v), timeout=0)

    thread = threading.Thread(target=outside)
    thread.start()
    for _ in range(n):
        await ch.send(v)
    await gort.blocking(thread.join)


# ---- contexts, sockets --------------------------------------------------------------------------------------


@case("contexts", 4)
async def _(n: int, v: Any) -> None:
    root = context.with_value(context.background(), "key", v)
    for _ in range(n):
        with context.with_timeout(root, 3600) as parent, context.with_cancel(parent) as child:
            child.done()
            child.value("key")


if sys.platform == "linux":

    def _pair() -> tuple[Any, Any]:
        a, b = socket.socketpair()
        return gort.net.from_socket(a), gort.net.from_socket(b)

    @case("socket reads and writes", 4)
    async def _(n: int, v: Any) -> None:
        a, b = _pair()

        async def writer() -> None:
            for _ in range(n):
                await a.write(b"x" * 100)
                await a.read(100)

        async with a, b:
            wg = WaitGroup()
            wg.go(writer)
            for _ in range(n):
                await b.write(await b.read(100))
            await wg.wait()

    @case("socket reads that are cancelled or late", 10)
    async def _(n: int, v: Any) -> None:
        a, b = _pair()

        async def reader(x: Any) -> None:
            await b.read(100)

        async with a, b:
            for _ in range(n // 2):
                async with gort.Group() as group:
                    handle = group.go(reader, v)
                    await gort.gosched()
                    handle.cancel()
                b.set_read_deadline(0.00001)
                try:
                    await b.read(100)
                except gort.net.DeadlineExceeded:
                    b.set_read_deadline(None)

    @case("buffered reads and writes", 20)
    async def _(n: int, v: Any) -> None:
        a, b = _pair()
        reader = gort.bufio.Reader(b)

        async def part(x: Any) -> None:
            await reader.read_until(b"--")

        async with a, b, gort.bufio.Writer(a, 64) as w:
            for _ in range(n):
                await w.write(b"a line\nof several words\n" + b"x" * 100 + b"-")
                await w.flush()
                assert await reader.peek(3) == b"a l"
                assert await reader.read_line() == b"a line\n"
                async for word in gort.bufio.Scanner(b, gort.bufio.scan_words):
                    assert word == b"of"
                    break
                async with gort.Group() as group:
                    handle = group.go(part, v)
                    await gort.gosched()
                    handle.cancel()
                reader.unread(b"more")
                await w.write(b"-\n")
                await w.flush()
                assert (await reader.read_until(b"--")).startswith(b"moreseveral")
                assert await reader.discard(1) == 1
                assert reader.buffered == 0

    @case("sockets made and closed under a reader", 20)
    async def _(n: int, v: Any) -> None:
        async def reader(conn: Any, x: Any) -> None:
            try:
                await conn.read(10)
            except gort.net.Closed:
                pass

        for _ in range(n):
            a, b = _pair()
            async with a, gort.Group() as group:
                group.go(reader, b, v)
                await gort.gosched()
                b.close()
