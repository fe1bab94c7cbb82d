"""Queues, Ps and threads; threads outside the runtime; the end of everything."""

from __future__ import annotations

from typing import Any

import pytest

import gort
import gort.sync
from explore.scenarios.base import MS, QUICK_SYSMON, WITH_SYSMON, equal, scenario
from explore.standins import Event, Thread
from explore.standins import sleep as blocks
from gort._runtime.core.op import PREEMPT_LOOK

# ---- queues, Ps and threads -----------------------------------------------------------------------------------------


@scenario()
def last_look() -> None:
    """A goroutine is made while the other thread goes to sleep, and its maker then blocks: it must have been seen."""

    async def main() -> None:
        seen = Event()

        async def work() -> None:
            seen.set()

        gort.go(lambda: None)  # wakes the other thread
        gort.go(work)
        seen.wait()  # blocks this thread: only another one can run work

    gort.run(main, procs=2)


@scenario()
def last_look_again() -> None:
    """The same once the other thread has worked and goes to sleep anew."""

    async def main() -> None:
        for _ in range(2):
            seen = Event()

            async def work(seen: Event = seen) -> None:
                seen.set()

            gort.go(work)
            seen.wait()

    gort.run(main, procs=2)


@scenario()
def woken_by_send() -> None:
    """The same with a parked goroutine that is made ready while the other thread goes to sleep."""

    async def main() -> None:
        ch = gort.Chan[int]()
        seen = Event()

        async def work() -> None:
            await ch.recv()
            seen.set()

        gort.go(work)
        await ch.send(1)
        seen.wait()

    gort.run(main, procs=2)


@scenario()
def steal_and_hand_off() -> None:
    """Goroutines are stolen from a P that is being handed off, before and after a blocking call."""

    async def main() -> list[int]:
        out: list[int] = []
        wg = gort.sync.WaitGroup()

        async def work(v: int) -> None:
            out.append(v)

        for v in range(3):
            wg.go(work, v)
        await gort.blocking(blocks, MS)
        wg.go(work, 3)
        await wg.wait()
        return sorted(out)

    equal(gort.run(main, procs=2), [0, 1, 2, 3])


@scenario()
def blocking_calls() -> None:
    """Two blocking calls and one P: each comes back, and the P is never with two."""

    async def main() -> list[int]:
        wg = gort.sync.WaitGroup()
        out: list[int] = []

        async def call(v: int) -> None:
            await gort.blocking(blocks, v * MS)
            out.append(v)

        wg.go(call, 0)
        wg.go(call, 1)
        await wg.wait()
        return sorted(out)

    equal(gort.run(main, procs=1), [0, 1])


@scenario(QUICK_SYSMON)
def sysmon_hands_off() -> None:
    """One P; a goroutine blocks its thread without a word: sysmon gives the P to another thread, for the others."""

    async def main() -> None:
        order: list[str] = []
        wg = gort.sync.WaitGroup()

        async def blocker() -> None:
            blocks(50 * MS)
            order.append("blocker")
            await gort.gosched()

        async def other() -> None:
            await gort.sleep(MS)
            order.append("other")

        wg.go(other)
        await gort.gosched()
        wg.go(blocker)
        await wg.wait()
        equal(order, ["other", "blocker"])

    gort.run(main, procs=1)


@scenario(QUICK_SYSMON)
def sysmon_takes_ps() -> None:
    """Goroutines that make and wake others while sysmon may take their P at any moment, since time passes as it likes."""

    async def main() -> list[int]:
        ch = gort.Chan[int](1)
        out: list[int] = []
        wg = gort.sync.WaitGroup()

        async def work(v: int) -> None:
            blocks(2 * MS)
            await ch.send(v)

        for v in range(3):
            wg.go(work, v)
        for _ in range(3):
            out.append(await ch.recv())
        await wg.wait()
        return sorted(out)

    equal(gort.run(main, procs=2), [0, 1, 2])


def expect_calls() -> None:
    """From now on each stretch hands its P on (GODEBUG=predict=2)."""
    s = gort._runtime.boot.main._running[-1]
    s.predictor.always = True
    s.predicting = PREEMPT_LOOK


@scenario(QUICK_SYSMON)
def calls_that_are_expected() -> None:
    """One P, which each goroutine hands on before it blocks, and before it does anything else: channels, locks, a call
    that is announced after all, a plain function that waits."""

    async def main() -> list[int]:
        expect_calls()
        ch = gort.Chan[int](1)
        mutex = gort.sync.Mutex()
        wg = gort.sync.WaitGroup()
        out: list[int] = []

        async def work(v: int) -> None:
            blocks(MS)
            async with mutex:
                blocks(MS)
                await ch.send(v)

        def plain() -> None:
            blocks(MS)
            gort.wait(ch.send(2))

        for v in range(2):
            wg.go(work, v)
        wg.go(plain)
        await gort.blocking(blocks, MS)
        for _ in range(3):
            out.append(await ch.recv())
        await wg.wait()
        return sorted(out)

    equal(gort.run(main, procs=1), [0, 1, 2])


@scenario()
def expected_calls_on_two_ps() -> None:
    """Without sysmon only the goroutines themselves hand their Ps on: who blocks must not hold up whom it waits for."""

    async def main() -> list[int]:
        expect_calls()
        ch = gort.Chan[int]()
        seen = Event()
        wg = gort.sync.WaitGroup()

        async def work(v: int) -> None:
            await gort.gosched()
            if v == 0:
                seen.wait()  # a call that blocks until another goroutine has run
            elif v == 1:
                seen.set()
            await ch.send(v)

        for v in range(3):
            wg.go(work, v)
        found = [await ch.recv() for _ in range(3)]
        await wg.wait()
        return sorted(found)

    equal(gort.run(main, procs=2), [0, 1, 2])


@scenario()
def gomaxprocs() -> None:
    """The number of Ps goes down and up while goroutines run, wait and sleep."""

    async def main() -> list[int]:
        ch = gort.Chan[int]()
        wg = gort.sync.WaitGroup()

        async def work(v: int) -> None:
            await gort.sleep(v * MS)
            await ch.send(v)

        for v in range(2):
            wg.go(work, v)
        gort.runtime.gomaxprocs(1)
        out = [await ch.recv()]
        gort.runtime.gomaxprocs(3)
        out.append(await ch.recv())
        await wg.wait()
        return sorted(out)

    equal(gort.run(main, procs=2), [0, 1])


@scenario()
def world_stops() -> None:
    """The world stops while a thread looks for work; afterwards work is found as before."""

    async def main() -> None:
        async def nothing() -> None:
            pass

        gort.go(nothing)
        for n in (1, 2):
            gort.runtime.gomaxprocs(n)
        seen = Event()

        async def work() -> None:
            seen.set()

        gort.go(work)
        seen.wait()

    gort.run(main, procs=2)


@scenario()
def locked_thread() -> None:
    """A goroutine that is tied to its thread goes on there, and nothing else runs there."""

    async def main() -> None:
        ch = gort.Chan[int]()
        wg = gort.sync.WaitGroup()

        async def locked() -> None:
            gort.runtime.lock_os_thread()
            here = gort._runtime.boot.main.threading.current_thread()
            for _ in range(2):
                await ch.recv()
                assert gort._runtime.boot.main.threading.current_thread() is here
            gort.runtime.unlock_os_thread()

        wg.go(locked)
        await ch.send(1)
        await ch.send(2)
        await wg.wait()

    gort.run(main, procs=2)


@scenario()
def locked_threads_that_poll() -> None:
    """Goroutines tied to their threads wait for timers and for each other, beside one that is not: whoever polls, each
    goes on in its own thread, and what a thread finds that is not its own goes on elsewhere."""

    async def main() -> None:
        ch = gort.Chan[int](1)
        wg = gort.sync.WaitGroup()

        async def locked(n: int) -> None:
            gort.runtime.lock_os_thread()
            here = gort._runtime.boot.main.threading.current_thread()
            await gort.sleep(n * MS / 1000)
            assert gort._runtime.boot.main.threading.current_thread() is here
            await ch.send(n)
            await gort.sleep(MS / 1000)
            assert gort._runtime.boot.main.threading.current_thread() is here
            gort.runtime.unlock_os_thread()

        wg.go(locked, 1)
        wg.go(locked, 2)
        await gort.sleep(MS / 1000)
        equal(sorted([await ch.recv(), await ch.recv()]), [1, 2])
        await wg.wait()

    gort.run(main, procs=2)


@scenario()
def main_returns() -> None:
    """main returns while others run, wait, sleep and block: each is closed once, no thread is left."""
    closed: list[int] = []

    async def main() -> int:
        ch = gort.Chan[int]()

        async def wait(v: int) -> None:
            try:
                if v == 1:
                    await gort.sleep(1)
                elif v == 2:
                    await gort.blocking(blocks, MS)
                await ch.recv()
            finally:
                closed.append(v)

        for v in range(3):
            gort.go(wait, v)
        await gort.gosched()
        return 5

    equal(gort.run(main, procs=2), 5)
    assert len(closed) == len(set(closed)), closed


@scenario()
def locked_thread_and_gomaxprocs() -> None:
    """A goroutine tied to its thread is woken, blocks and changes the number of Ps, which others do too."""

    async def main() -> None:
        ch = gort.Chan[int]()
        wg = gort.sync.WaitGroup()

        async def locked() -> None:
            gort.runtime.lock_os_thread()
            await ch.recv()
            await gort.blocking(blocks, MS)
            gort.runtime.gomaxprocs(2)
            await ch.recv()

        wg.go(locked)
        await ch.send(1)
        gort.runtime.gomaxprocs(1)
        await ch.send(2)
        await wg.wait()

    gort.run(main, procs=2)


@scenario(WITH_SYSMON)
def ctrl_c() -> None:
    """What the signal handler leaves word of: main gets its KeyboardInterrupt while it waits, is woken, or goes on."""

    async def main() -> None:
        ch = gort.Chan[int](1)
        s = gort._runtime.boot.main._running[-1]

        def signal() -> None:
            s.interrupted = True
            s.sysmonnote.wakeup()

        gort.go(lambda: None)  # wakes the other thread
        thread = Thread(target=signal)
        thread.start()

        async def other() -> None:
            ch.try_send(1)

        gort.go(other)
        await ch.recv()
        await gort.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        gort.run(main, procs=2)


@scenario()
def goexit_of_main() -> None:
    """main leaves with goexit: the others go on, and the last one's end is a deadlock."""
    ran: list[int] = []

    async def main() -> None:
        async def other() -> None:
            await gort.sleep(MS)
            ran.append(1)

        gort.go(other)
        gort.runtime.goexit()

    with pytest.raises(gort.Deadlock, match="Goexit"):
        gort.run(main, procs=2)
    equal(ran, [1])


@scenario()
def async_generators() -> None:
    """A generator that was left half-way is closed by a goroutine, as the program ends."""
    closed: list[int] = []

    async def main() -> None:
        async def numbers() -> Any:
            try:
                for v in range(3):
                    await gort.gosched()
                    yield v
            finally:
                await gort.gosched()
                closed.append(1)

        async for _ in numbers():
            break
        kept = numbers()
        await kept.__anext__()

    gort.run(main, procs=2)
    equal(closed, [1, 1])


# ---- threads outside ------------------------------------------------------------------------------------------------


@scenario()
def foreign_send() -> None:
    """A thread outside the runtime sends to a goroutine while every thread of the runtime goes to sleep."""

    async def main() -> int:
        ch = gort.Chan[int](1)
        thread = Thread(target=lambda: ch.try_send(7))
        thread.start()
        return await ch.recv()

    equal(gort.run(main, procs=2), 7)


@scenario()
def foreign_wait() -> None:
    """gort.wait in threads outside: one receives, one sends."""
    got: list[int] = []

    async def main() -> None:
        ch = gort.Chan[int]()
        threads = [
            Thread(target=lambda: got.append(gort.wait(ch.recv()))),
            Thread(target=lambda: gort.wait(ch.send(5))),
        ]
        for t in threads:
            t.start()
        await gort.blocking(lambda: [t.join() for t in threads])

    gort.run(main, procs=1)
    equal(got, [5])


@scenario()
def foreign_wait_timeout() -> None:
    """gort.wait gives up as somebody sends: sent means received."""

    async def main() -> None:
        ch = gort.Chan[int]()
        got: list[Any] = []

        def outside() -> None:
            try:
                got.append(gort.wait(ch.recv(), timeout=MS))
            except TimeoutError:
                got.append("timeout")

        thread = Thread(target=outside)
        thread.start()
        await gort.sleep(MS)
        sent = ch.try_send(3)
        await gort.blocking(thread.join)
        equal(got, [3] if sent else ["timeout"])

    gort.run(main, procs=1)


@scenario()
def plain_goroutine_waits() -> None:
    """gort.wait in a plain-function goroutine: its P goes on with others meanwhile."""

    async def main() -> list[int]:
        a, b = gort.Chan[int](), gort.Chan[int]()

        def plain() -> None:
            for _ in range(2):
                gort.wait(b.send(gort.wait(a.recv()) + 1))

        gort.go(plain)
        out = []
        for v in range(2):
            await a.send(v)
            out.append(await b.recv())
        return out

    equal(gort.run(main, procs=1), [1, 2])


@scenario()
def plain_goroutine_waits_for_coroutine() -> None:
    """The same for a coroutine."""

    async def main() -> int:
        out = gort.Chan[int](1)

        async def inner() -> int:
            await gort.gosched()
            return 3

        def plain() -> None:
            out.try_send(gort.wait(inner()))

        gort.go(plain)
        return await out.recv()

    equal(gort.run(main, procs=1), 3)


@scenario()
def blocking_call_waits() -> None:
    """gort.wait in gort.blocking: the thread has no P to give up, and takes none until the call is over."""

    async def main() -> list[int]:
        a, b = gort.Chan[int](), gort.Chan[int]()

        def call() -> None:
            gort.wait(b.send(gort.wait(a.recv()) + 1))

        async def caller() -> None:
            await gort.blocking(call)

        async with gort.Group() as group:
            group.go(caller)
            await a.send(1)
            return [await b.recv()]

    equal(gort.run(main, procs=1), [2])


def cancelled_waiter(blocking: bool) -> None:
    async def main() -> None:
        ch = gort.Chan[int]()
        got: list[Any] = []
        sent: list[bool] = []

        def plain() -> None:
            try:
                got.append(gort.wait(ch.recv()))
            except gort.Cancelled:
                got.append("cancelled")
                raise

        async def caller() -> None:
            await gort.blocking(plain)

        async def sender() -> None:
            sent.append(ch.try_send(7))

        async with gort.Group() as group:
            h = group.go(caller if blocking else plain)
            await gort.gosched()
            group.go(sender)
            h.cancel()
        # Cancelled before it had begun: it has not run at all.
        assert got == [7] if sent == [True] else got in ([], ["cancelled"]), (got, sent)

    gort.run(main, procs=2)


@scenario()
def cancel_plain_wait() -> None:
    """A plain goroutine in gort.wait is cancelled while somebody sends to it: one of the two happens."""
    cancelled_waiter(False)


@scenario()
def cancel_blocking_wait() -> None:
    """The same in gort.blocking."""
    cancelled_waiter(True)


# ---- the end of everything ------------------------------------------------------------------------------------------


@scenario()
def deadlock() -> None:
    """Nobody can go on: told as that, at once, whatever the threads are doing."""

    async def main() -> None:
        ch = gort.Chan[int]()

        async def other() -> None:
            await ch.recv()

        gort.go(other)
        await ch.recv()

    with pytest.raises(gort.Deadlock):
        gort.run(main, procs=2)


@scenario()
def deadlock_after_a_locked_thread() -> None:
    """The last thread that could run anything ends, because its goroutine has ended without unlock_os_thread."""

    async def main() -> None:
        async def locked() -> None:
            gort.runtime.lock_os_thread()
            await gort.gosched()

        gort.runtime.lock_os_thread()  # the main thread cannot end
        gort.go(locked)
        await gort.Chan[int]().recv()

    with pytest.raises(gort.Deadlock):
        gort.run(main, procs=1)


@scenario()
def deadlock_of_plain_goroutine() -> None:
    """The same when a plain goroutine waits in its thread."""

    async def main() -> None:
        ch = gort.Chan[int]()

        def plain() -> None:
            gort.wait(ch.recv())

        gort.go(plain)
        await gort.gosched()
        await ch.recv()

    with pytest.raises(gort.Deadlock):
        gort.run(main, procs=1)


@scenario()
def panic() -> None:
    """A goroutine panics while others work: that ends the program, once."""

    async def main() -> None:
        async def bad() -> None:
            raise ValueError("bad")

        async def good() -> None:
            await gort.gosched()

        gort.go(good)
        gort.go(bad)
        await gort.Chan[int]().recv()

    with pytest.raises(gort.Panic) as raised:
        gort.run(main, procs=2)
    assert isinstance(raised.value.__cause__, ValueError)
