"""Timers and descriptors."""

from __future__ import annotations

import errno
import socket
from typing import Any

import gort
import gort.context
import gort.net
import gort.sync
from explore.scenarios.base import MS, WITH_SYSMON, equal, scenario
from explore.standins import Event, Thread
from explore.standins import sleep as blocks
from gort._runtime.poll import netpoll

# ---- timers ---------------------------------------------------------------------------------------------------------


@scenario()
def earlier_timer() -> None:
    """A timer is armed while the poller goes to sleep for a later one: it does not come late."""

    async def main() -> None:
        wg = gort.sync.WaitGroup()
        order: list[int] = []

        async def sleeper() -> None:
            await gort.sleep(MS)
            order.append(1)

        wg.go(sleeper)
        await gort.sleep(400 * MS)
        equal(order, [1])
        await wg.wait()

    gort.run(main, procs=2)


@scenario()
def timer_for_sleepers() -> None:
    """A goroutine arms a timer and its thread then blocks: somebody else fires it."""

    async def main() -> None:
        seen = Event()

        async def sleeper() -> None:
            await gort.sleep(MS)
            seen.set()

        wg = gort.sync.WaitGroup()
        wg.go(sleeper)
        await gort.gosched()
        await gort.blocking(seen.wait)
        await wg.wait()

    gort.run(main, procs=1)


@scenario()
def stop_timer() -> None:
    """stop() and firing: True means that nothing is received, False that one value is there."""

    async def main() -> None:
        t = gort.Timer(MS)
        got: list[Any] = []
        wg = gort.sync.WaitGroup()
        quit = gort.Chan[None]()

        async def waiter() -> None:
            got.append((await gort.select(t.c.recv(), quit.recv_ok()))[0])

        wg.go(waiter)
        await gort.sleep(MS)
        stopped = t.stop()
        quit.close()
        await wg.wait()
        assert got == [1] if stopped else got in ([0], [1]), (got, stopped)
        if stopped:
            assert not t.c.try_recv()[1]

    gort.run(main, procs=2)


@scenario()
def stop_func_timer() -> None:
    """after_func: stop() true means that the function does not run, false that it runs once."""

    async def main() -> None:
        ran = gort.Chan[int](4)
        t = gort.after_func(MS, ran.try_send, 1)
        stopped: list[bool] = []
        thread = Thread(target=lambda: (blocks(MS), stopped.append(t.stop())))
        thread.start()
        await gort.blocking(thread.join)
        await gort.sleep(5 * MS)
        equal(len(ran), 0 if stopped == [True] else 1)

    gort.run(main, procs=2)


@scenario()
def reset_timer() -> None:
    """reset() and firing: the new duration holds for whoever waits, and it fires once."""

    async def main() -> None:
        t = gort.Timer(MS)
        got: list[float] = []
        wg = gort.sync.WaitGroup()

        async def waiter() -> None:
            got.append(await t.c.recv())

        wg.go(waiter)
        await gort.sleep(MS)
        active = t.reset(3 * MS)
        await wg.wait()
        if active:
            equal(t.c.try_recv(), (None, False))
        else:
            await t.c.recv()  # it had fired for the waiter; this is the second time
        equal(len(got), 1)

    gort.run(main, procs=2)


@scenario()
def ticker() -> None:
    """Two receivers and a ticker."""

    async def main() -> None:
        t = gort.Ticker(MS)
        wg = gort.sync.WaitGroup()

        async def waiter() -> None:
            await t.c.recv()

        wg.go(waiter)
        wg.go(waiter)
        await wg.wait()
        t.stop()

    gort.run(main, procs=2)


@scenario()
def stop_timer_as_its_p_goes() -> None:
    """The P whose heap a timer lies in goes away while the timer is stopped, reset or its sleeper cancelled."""

    async def main() -> None:
        ran = gort.Chan[int](4)
        slept: list[str] = []

        async def sleeper() -> None:
            try:
                await gort.sleep(50 * MS)
                slept.append("slept")
            except gort.Cancelled:
                slept.append("cancelled")

        async with gort.Group() as group:
            h = group.go(sleeper)
            t = gort.after_func(50 * MS, ran.try_send, 1)
            u = gort.after_func(50 * MS, ran.try_send, 2)
            await gort.gosched()
            await gort.gosched()
            changed: list[bool] = []

            def outside() -> None:
                changed.append(t.stop())
                changed.append(u.reset(60 * MS))
                h.cancel()

            thread = Thread(target=outside)
            thread.start()
            gort.runtime.gomaxprocs(1)
            await gort.blocking(thread.join)
        await gort.sleep(200 * MS)
        equal(changed, [True, True])
        assert slept in ([], ["cancelled"]), slept
        equal(ran.try_recv(), (2, True))
        equal(len(ran), 0)

    gort.run(main, procs=3)


@scenario()
def context_timeout() -> None:
    """A context is cancelled by its timer, by hand and by its parent at once: its channel closes once, for one reason."""

    async def main() -> None:
        parent, cancel_parent = gort.context.with_cancel(gort.context.background())
        ctx, cancel = gort.context.with_timeout(parent, MS)
        thread = Thread(target=lambda: (blocks(MS), cancel()))
        thread.start()
        wg = gort.sync.WaitGroup()

        async def other() -> None:
            await gort.sleep(MS)
            cancel_parent()

        wg.go(other)
        await ctx.done().recv_ok()
        assert ctx.err() is not None
        await wg.wait()
        await gort.blocking(thread.join)
        assert parent.err() is not None

    gort.run(main, procs=2)


@scenario()
def foreign_wait_for_timer() -> None:
    """gort.wait in a thread outside for a timer's channel or a value: one of the two, and the value is not lost."""

    async def main() -> None:
        ch = gort.Chan[int]()
        got: list[int] = []

        def outside() -> None:
            got.append(gort.wait(gort.select(ch.recv(), gort.after(MS).recv()))[0])

        thread = Thread(target=outside)
        thread.start()
        await gort.sleep(MS)
        sent = ch.try_send(3)
        await gort.blocking(thread.join)
        equal(got, [0 if sent else 1])

    gort.run(main, procs=1)


# ---- descriptors ----------------------------------------------------------------------------------------------------


@scenario()
def read_as_all_sleep() -> None:
    """Bytes come from outside while every thread goes to sleep."""

    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        conn = gort.net.from_socket(ours)
        thread = Thread(target=lambda: theirs.send(b"x"))
        thread.start()
        try:
            return await conn.read(10)
        finally:
            await gort.blocking(thread.join)
            conn.close()
            theirs.close()

    equal(gort.run(main, procs=2), b"x")


@scenario()
def first_descriptor() -> None:
    """The poller is made while a thread sleeps for a timer: it must come to wait for descriptors."""

    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        wg = gort.sync.WaitGroup()

        async def sleeper() -> None:
            await gort.sleep(900 * MS)

        wg.go(sleeper)
        await gort.gosched()
        conn = gort.net.from_socket(ours)
        thread = Thread(target=lambda: (blocks(MS), theirs.send(b"x")))
        thread.start()
        try:
            return await conn.read(10)
        finally:
            await gort.blocking(thread.join)
            conn.close()
            theirs.close()
            assert gort._runtime.boot.main.time.monotonic() < 1000.5, "read late"

    equal(gort.run(main, procs=2), b"x")


@scenario()
def echo() -> None:
    """Two goroutines over a pair of sockets."""

    async def main() -> bytes:
        a, b = (gort.net.from_socket(x) for x in socket.socketpair())

        async def peer() -> None:
            await b.write(await b.read(10))

        wg = gort.sync.WaitGroup()
        wg.go(peer)
        await a.write(b"x")
        got = await a.read(10)
        await wg.wait()
        a.close()
        b.close()
        return got

    equal(gort.run(main, procs=2), b"x")


@scenario()
def close_or_read() -> None:
    """A connection is closed, or its reader cancelled, as bytes come: the bytes are read, or nothing is."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        conn = gort.net.from_socket(ours)
        got: list[Any] = []

        async def reader() -> None:
            try:
                got.append(await conn.read(10))
            except (gort.Cancelled, gort.net.Closed) as e:
                got.append(type(e).__name__)

        async with gort.Group() as group:
            h = group.go(reader)
            await gort.gosched()
            theirs.send(b"x")
            h.cancel()
            conn.close()
        theirs.close()
        assert got in ([b"x"], ["Cancelled"], ["Closed"], []), got

    gort.run(main, procs=2)


@scenario()
def read_what_cannot_be_polled() -> None:
    """Two goroutines read a connection that the poller refuses: each is told, whatever the other is at."""

    def refuse(self: Any, pd: Any) -> None:
        raise OSError(errno.ENOSPC, "no more watches")

    async def main() -> None:
        ours, theirs = socket.socketpair()
        conn = gort.net.from_socket(ours)
        told: list[int | None] = []

        async def reader() -> None:
            try:
                await conn.read(10)
            except OSError as e:
                told.append(e.errno)

        async with gort.Group() as group:
            group.go(reader)
            group.go(reader)
        conn.close()
        theirs.close()
        equal(len(told), 2)
        assert set(told) <= {errno.ENOSPC, errno.EPERM}, told

    register = netpoll.Netpoll.register
    netpoll.Netpoll.register = refuse
    try:
        gort.run(main, procs=2)
    finally:
        netpoll.Netpoll.register = register


@scenario()
def read_deadline() -> None:
    """Bytes, a deadline and its extension come at about the same time: the bytes are read, now or by the next read."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        conn = gort.net.from_socket(ours)
        conn.set_read_deadline(MS)
        thread = Thread(target=lambda: (blocks(MS), theirs.send(b"x")))
        thread.start()
        try:
            got = await conn.read(10)
        except gort.net.DeadlineExceeded:
            conn.set_read_deadline(None)
            got = await conn.read(10)
        equal(got, b"x")
        await gort.blocking(thread.join)
        conn.close()
        theirs.close()

    gort.run(main, procs=2)


@scenario(WITH_SYSMON)
def two_pollers() -> None:
    """sysmon looks at the poller while a thread sleeps in it, and another one arms a timer."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        conn = gort.net.from_socket(ours)
        wg = gort.sync.WaitGroup()
        order: list[str] = []

        async def reader() -> None:
            await conn.read(1)
            order.append("read")
            await conn.read(1)

        async def sleeper() -> None:
            await gort.sleep(12 * MS)
            theirs.send(b"x")
            await gort.sleep(MS)
            theirs.send(b"x")

        wg.go(reader)
        wg.go(sleeper)
        await wg.wait()
        equal(order, ["read"])
        conn.close()
        theirs.close()

    gort.run(main, procs=2)
