"""The scheduler itself: who runs next, gosched, goexit, the end of main, GOMAXPROCS, deadlocks, panics.

Twin of ../go/proc.go.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable

from kit import MS, flush, run_scenario, say, scenario, settle

import gort
from gort import runtime
from gort.sync import Mutex, WaitGroup


def fill(n: int, body: Callable[[int], Awaitable[None]]) -> WaitGroup:
    wg = WaitGroup()
    for i in range(n):
        wg.go(body, i)
    return wg


async def waits(ch: gort.Chan[int]) -> None:
    await ch.recv()


async def starts(ch: gort.Chan[int]) -> None:
    gort.go(waits, ch)
    await waits(ch)


async def begins() -> None:
    ch: gort.Chan[int] = gort.Chan()
    gort.go(starts, ch)
    await waits(ch)


async def say_number(i: int) -> None:
    say(i)


@scenario
async def runnext_order() -> None:
    await fill(10, say_number).wait()


@scenario
async def gosched_order() -> None:
    fill(4, say_number)
    say("main")
    await gort.gosched()
    say("main again")


@scenario
async def gosched_round_robin() -> None:
    async def body(i: int) -> None:
        for n in range(6):
            say(i, n)
            await gort.gosched()

    await fill(3, body).wait()


@scenario
async def spawn_chain_order() -> None:
    done: gort.Chan[bool] = gort.Chan()

    async def third(i: int) -> None:
        say("third", i)
        await done.send(True)

    async def second(i: int) -> None:
        say("second", i)
        gort.go(third, i)

    async def first(i: int) -> None:
        say("first", i)
        gort.go(second, i)

    fill(3, first)
    for _ in range(3):
        await done.recv()


@scenario
async def wake_goes_first() -> None:
    ch: gort.Chan[int] = gort.Chan()
    wg = WaitGroup()

    async def woken() -> None:
        await ch.recv()
        say("woken")

    async def queued(i: int) -> None:
        say("queued", i)

    wg.go(woken)
    await settle()
    for i in range(3):
        wg.go(queued, i)
    await ch.send(1)
    await wg.wait()


@scenario(any_procs=True)
async def queue_overflow() -> None:
    mu = Mutex()
    seen: set[int] = set()

    async def body(i: int) -> None:
        async with mu:
            seen.add(i)

    await fill(1000, body).wait()
    say(len(seen))


@scenario
async def global_queue_is_not_starved() -> None:
    links = 0
    stop = False

    async def nothing() -> None:
        pass

    async def link() -> None:
        nonlocal links
        if stop or links > 100_000:
            return
        links += 1
        gort.go(link)
        gort.go(nothing)

    gort.go(link)
    await gort.gosched()
    stop = True
    say(links < 1000)


@scenario(any_procs=True)
async def goexit_runs_deferred() -> None:
    done: gort.Chan[None] = gort.Chan()

    async def inner() -> None:
        try:
            runtime.goexit()
            say("not reached")
        finally:
            say("inner deferred")

    async def body() -> None:
        try:
            try:
                await inner()
                say("not reached either")
            finally:
                say("outer deferred")
        finally:
            done.close()

    gort.go(body)
    await done.recv_ok()
    say("others go on")


@scenario(any_procs=True)
async def goexit_is_not_recovered() -> None:
    done: gort.Chan[None] = gort.Chan()

    async def body() -> None:
        recovered: Exception | None = None
        try:
            runtime.goexit()
        except Exception as exc:
            recovered = exc
        finally:
            say("recovered", recovered)
            done.close()

    gort.go(body)
    await done.recv_ok()


@scenario
async def main_returns_first() -> None:
    ch: gort.Chan[int] = gort.Chan()

    async def for_ever() -> None:
        while True:
            await gort.sleep(MS)

    async def never() -> None:
        await ch.recv()
        say("never")

    for _ in range(5):
        gort.go(for_ever)
    gort.go(never)
    await settle()
    say("main is done")


@scenario(any_procs=True)
async def exit_status() -> None:
    say("leaving")
    flush()
    sys.exit(7)


@scenario
async def num_goroutine() -> None:
    ch: gort.Chan[int] = gort.Chan()
    say(runtime.num_goroutine())

    async def waiter() -> None:
        await ch.recv_ok()

    for _ in range(3):
        gort.go(waiter)
    say(runtime.num_goroutine())
    await settle()
    ch.close()
    await settle()
    say(runtime.num_goroutine())


@scenario
async def gomaxprocs_returns_previous() -> None:
    say(runtime.gomaxprocs(0), runtime.gomaxprocs(3), runtime.gomaxprocs(0))
    say(runtime.gomaxprocs(-1), runtime.gomaxprocs(2), runtime.gomaxprocs(1), runtime.gomaxprocs(0))


@scenario(any_procs=True)
async def max_threads_returns_previous() -> None:
    say(runtime.set_max_threads(5000), runtime.set_max_threads(1 << 40), runtime.set_max_threads(100))


@scenario(any_procs=True)
async def gomaxprocs_under_load() -> None:
    ch: gort.Chan[int] = gort.Chan()
    total: gort.Chan[int] = gort.Chan()

    async def collect() -> None:
        await total.send(sum([v async for v in ch]))

    async def produce(_: int) -> None:
        for j in range(50):
            await ch.send(j)

    gort.go(collect)
    wg = fill(8, produce)
    for n in (4, 1, 8, 2, 3, 1):
        runtime.gomaxprocs(n)
        await settle()
    await wg.wait()
    ch.close()
    say(await total.recv())


@scenario(mode="fatal", phrase="boom", any_procs=True)
async def panic_in_main() -> None:
    raise RuntimeError("boom")


async def for_ever() -> None:
    ch: gort.Chan[int] = gort.Chan()
    await ch.recv()


@scenario(mode="fatal", phrase="boom", any_procs=True)
async def panic_in_goroutine() -> None:
    async def body() -> None:
        say("about to panic")
        flush()
        raise RuntimeError("boom")

    gort.go(body)
    await for_ever()


@scenario(mode="fatal", phrase="boom", any_procs=True)
async def panic_runs_deferred() -> None:
    async def body() -> None:
        try:
            raise RuntimeError("boom")
        finally:
            say("deferred")
            flush()

    gort.go(body)
    await for_ever()


@scenario(any_procs=True)
async def panic_recovered() -> None:
    async def body(_: int) -> None:
        try:
            raise RuntimeError("boom")
        except RuntimeError as exc:
            say("recovered", exc)

    await fill(3, body).wait()


@scenario(mode="fatal", phrase="send on closed channel", any_procs=True)
async def panic_send_on_closed() -> None:
    ch: gort.Chan[int] = gort.Chan()
    ch.close()
    await ch.send(1)


@scenario(any_procs=True)
async def locked_thread_is_not_used_again() -> None:
    """Its goroutine has ended without unlock_os_thread."""
    locked: gort.Chan[int] = gort.Chan()

    async def body() -> None:
        runtime.lock_os_thread()
        await locked.send(threading.get_native_id())

    gort.go(body)
    tid = await locked.recv()
    again = False

    async def look(i: int) -> None:
        nonlocal again
        for _ in range(3):
            again = again or threading.get_native_id() == tid
            await gort.sleep(0.0001)

    await fill(50, look).wait()
    say("again", again, "main there", threading.get_native_id() == tid)


@scenario(mode="deadlock", any_procs=True)
async def deadlock_recv() -> None:
    ch: gort.Chan[int] = gort.Chan()
    await ch.recv()


@scenario(mode="deadlock", any_procs=True)
async def deadlock_send() -> None:
    ch: gort.Chan[int] = gort.Chan()
    await ch.send(1)


@scenario(mode="deadlock")
async def deadlock_many() -> None:
    a: gort.Chan[int] = gort.Chan()
    b: gort.Chan[int] = gort.Chan()

    async def receiver(ch: gort.Chan[int]) -> None:
        await ch.recv()

    async def sender() -> None:
        await b.send(1)

    async def selecting() -> None:
        await gort.select(c.recv(), c.send(2))

    c: gort.Chan[int] = gort.Chan()
    gort.go(receiver, a)
    gort.go(sender)
    gort.go(selecting)
    wg = WaitGroup()
    wg.add(1)
    await wg.wait()


@scenario(mode="deadlock", any_procs=True)
async def deadlock_after_work() -> None:
    ch: gort.Chan[int] = gort.Chan()

    async def sender() -> None:
        for i in range(3):
            await ch.send(i)

    gort.go(sender)
    async for v in ch:
        say(v)
        flush()


@scenario(mode="names", any_procs=True)
async def deadlock_names() -> None:
    await begins()


@scenario(mode="deadlock", any_procs=True)
async def goexit_in_main_deadlock() -> None:
    async def other() -> None:
        say("other ran")
        flush()

    gort.go(other)
    runtime.goexit()


@scenario(any_procs=True)
async def lock_os_thread() -> None:
    done: gort.Chan[bool] = gort.Chan()

    async def body() -> None:
        runtime.lock_os_thread()
        try:
            await settle()
            await done.send(True)
        finally:
            runtime.unlock_os_thread()

    gort.go(body)
    say(await done.recv())


async def main() -> None:
    await run_scenario()
