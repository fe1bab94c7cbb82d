"""gort.testing.run: a program whose time goes on only when all of its goroutines wait."""

from __future__ import annotations

import datetime
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from time import monotonic, perf_counter, time_ns
from time import time as wall
from typing import Any

import pytest

import gort
from gort import context, net, testing
from gort._runtime.boot.main import _running
from gort.sync import Cond, Mutex, RWMutex, Semaphore, WaitGroup
from support import PATIENCE_S, python, recv, resident_bytes, send, settles

MIDNIGHT = 946684800  # 2000-01-01 00:00 UTC


@pytest.fixture
def bubble(procs: int) -> Callable[..., Any]:
    """gort.testing.run with one P and with several."""

    def run(main: Callable[..., Any], *args: Any) -> Any:
        return testing.run(main, *args, procs=procs)

    return run


def test_time_begins_at_midnight_and_goes_on_when_all_wait(bubble: Callable[..., Any]) -> None:
    async def main(name: str) -> str:
        start = monotonic()
        assert wall() == MIDNIGHT
        await gort.sleep(36_000)
        assert monotonic() - start == 36_000
        assert wall() == MIDNIGHT + 36_000
        return f"hello {name}"

    real = time.time()
    assert bubble(main, "you") == "hello you"
    assert 0 <= time.time() - real < PATIENCE_S


def test_time_stands_still_while_a_goroutine_can_run(bubble: Callable[..., Any]) -> None:
    async def main() -> None:
        start = time_ns()
        for _ in range(3000):
            await gort.gosched()
        assert time_ns() == start

    bubble(main)


def test_goroutines_wake_in_the_order_of_their_times(bubble: Callable[..., Any]) -> None:
    async def sleeper(seconds: float) -> None:
        await gort.sleep(seconds)
        woken.append((seconds, monotonic() - start))

    async def main() -> None:
        nonlocal start
        start = monotonic()
        for seconds in (3.5, 1, 86_400, 2, 0.25):
            gort.go(sleeper, seconds)
        await gort.sleep(100_000)

    start, woken = 0.0, list[tuple[float, float]]()
    bubble(main)
    assert woken == [(s, s) for s in (0.25, 1, 2, 3.5, 86_400)]


def test_all_clocks_agree() -> None:
    """Also those that were imported by name before the bubble began."""

    class Mine(datetime.datetime):
        pass

    async def main() -> None:
        await gort.sleep(1.25)
        utc, stamp = datetime.UTC, MIDNIGHT + 1.25
        assert wall() == time.time() == stamp
        assert time.time_ns() == time_ns() == int(stamp * 1e9)
        assert monotonic() == time.monotonic() == time.monotonic_ns() / 1e9 == perf_counter()
        assert datetime.datetime.now() == datetime.datetime.fromtimestamp(stamp)
        assert datetime.datetime.now(utc) == datetime.datetime.fromtimestamp(stamp, utc) == Mine.now(tz=utc)
        assert type(Mine.now()) is Mine
        assert datetime.datetime.today() == datetime.datetime.fromtimestamp(stamp)
        assert datetime.date.today() == datetime.date.fromtimestamp(stamp)
        assert time.localtime() == time.localtime(None) == time.localtime(stamp)
        assert time.gmtime()[:6] == (2000, 1, 1, 0, 0, 1)
        assert time.ctime() == time.ctime(stamp) == time.asctime()
        assert time.strftime("%c") == time.ctime(stamp)
        assert time.strftime("%Y", time.gmtime(0)) == "1970"
        with pytest.raises(TypeError):
            datetime.datetime.now("nowhere")  # type: ignore[arg-type]
        with pytest.raises((OverflowError, ValueError)):
            time.localtime(1e30)

    testing.run(main)


@pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")
def test_utcnow() -> None:
    async def main() -> None:
        assert datetime.datetime.utcnow() == datetime.datetime(2000, 1, 1)

    testing.run(main)
    assert datetime.datetime.utcnow().year > 2000


def test_only_goroutines_of_the_bubble_see_its_time() -> None:
    """Other threads and the code after it have the real clocks; a plain function in a goroutine has the bubble's."""

    async def main() -> None:
        seen.append(await gort.blocking(wall))
        gort.go(lambda: seen.append(wall()))
        thread = threading.Thread(
            target=lambda: real.append((wall(), datetime.datetime.now().year, time.localtime()[0]))
        )
        thread.start()
        await gort.blocking(thread.join)

    seen, real = list[float](), list[tuple[float, int, int]]()
    methods = datetime.datetime.now, time.localtime, time.strftime
    testing.run(main)
    assert seen == [MIDNIGHT, MIDNIGHT]
    assert min(real[0]) > 2000
    assert real[0][0] > MIDNIGHT + 10 * 365 * 86_400
    assert (datetime.datetime.now, time.localtime, time.strftime) == methods
    assert wall() > MIDNIGHT + 10 * 365 * 86_400


def test_two_bubbles_at_once() -> None:
    """Each has its own time."""

    async def main(seconds: float) -> float:
        start = monotonic()
        await gort.sleep(seconds)
        await gort.blocking(both.wait, PATIENCE_S)
        return monotonic() - start

    both = threading.Barrier(2)
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(testing.run(main, 10)))
    thread.start()
    assert testing.run(main, 7200) == 7200
    thread.join(PATIENCE_S)
    assert found == [10]


def test_timers_tickers_and_after() -> None:
    async def main() -> None:
        assert await gort.after(5).recv() == MIDNIGHT + 5
        timer = gort.Timer(60)
        assert timer.stop()
        assert not timer.reset(120)
        assert await timer.c.recv() == MIDNIGHT + 125
        ticker = gort.Ticker(600)
        ticks = [await ticker.c.recv() for _ in range(60)]
        assert ticks == [MIDNIGHT + 125 + 600 * n for n in range(1, 61)]
        ticker.stop()
        called = gort.Chan[float](1)
        gort.after_func(3, lambda: called.try_send(wall()))
        assert await called.recv() == ticks[-1] + 3
        which, _, _ = await gort.select(gort.Chan().recv(), gort.sleep(30))
        assert which == 1
        assert wall() == ticks[-1] + 33

    testing.run(main)


def test_contexts_timeouts_and_deadlines_agree(bubble: Callable[..., Any]) -> None:
    async def main() -> None:
        start = monotonic()
        ctx, cancel = context.with_timeout(context.background(), 3600)
        assert ctx.deadline() == start + 3600
        await gort.sleep(3600 - 1e-9)
        await testing.wait()
        assert ctx.err() is None
        await gort.sleep(1e-9)
        await testing.wait()
        assert isinstance(ctx.err(), context.DeadlineExceeded)
        cancel()
        with pytest.raises(TimeoutError):
            async with gort.timeout(7200):
                await gort.Chan().recv()
        assert monotonic() - start == 3600 + 7200
        later, cancel = context.with_deadline(
            context.background(), datetime.datetime.now() + datetime.timedelta(days=2)
        )
        await later.done().recv_ok()
        assert monotonic() - start == 3600 + 7200 + 2 * 86_400
        cancel()

    bubble(main)


def test_wait_lets_the_others_run_first(bubble: Callable[..., Any]) -> None:
    async def worker() -> None:
        for step in range(3):
            await ch.recv()
            done.append(step)
        await gort.sleep(1)
        done.append("slept")

    async def main() -> None:
        nonlocal ch
        ch = gort.Chan()
        gort.go(worker)
        for step in range(3):
            await ch.send(None)
            await testing.wait()
            assert done == list(range(step + 1))
        await gort.sleep(1)
        await testing.wait()
        assert done[-1] == "slept"

    ch: gort.Chan[None] = gort.Chan()
    done: list[object] = []
    bubble(main)


def test_wait_waits_once_and_only_in_a_bubble() -> None:
    async def main() -> None:
        async def again() -> None:
            with pytest.raises(RuntimeError, match="another goroutine waits there already"):
                await testing.wait()
            told.append(True)

        gort.go(again)
        await testing.wait()
        assert told == [True]

    async def outside() -> None:
        with pytest.raises(RuntimeError, match="outside a bubble"):
            await testing.wait()

    told: list[bool] = []
    testing.run(main)
    gort.run(outside)


def test_wait_can_be_cancelled() -> None:
    async def main() -> None:
        async def spin() -> None:
            while not over:
                await gort.gosched()

        over: list[bool] = []
        gort.go(spin)  # all others never wait
        async with gort.Group() as group:
            handle = group.go(testing.wait)
            await gort.gosched()
            handle.cancel()
        over.append(True)
        await testing.wait()

    testing.run(main)


@pytest.mark.parametrize("leave", [lambda: None, gort.runtime.goexit], ids=["returns", "goexit"])
def test_goroutines_that_are_left_waiting_are_a_deadlock(leave: Callable[[], None], bubble: Callable[..., Any]) -> None:
    async def main() -> None:
        gort.go(recv, gort.Chan())
        gort.go(gort_sleep, 5.0)  # time stands still
        leave()

    async def gort_sleep(seconds: float) -> None:
        await gort.sleep(seconds)

    with pytest.raises(gort.Deadlock, match="main bubble goroutine has exited but blocked goroutines remain") as told:
        bubble(main)
    assert "[chan receive]" in told.value.dump
    assert "[sleep]" in told.value.dump


def test_run_waits_for_goroutines_that_can_end(bubble: Callable[..., Any]) -> None:
    async def main() -> str:
        async def slow() -> None:
            for _ in range(100):
                await gort.gosched()
            ended.append(True)

        gort.go(slow)
        return "result"

    ended: list[bool] = []
    assert bubble(main) == "result"
    assert ended == [True]


def test_a_deadlock_is_found_though_other_threads_are_alive(bubble: Callable[..., Any]) -> None:
    """They cannot wake anybody in the bubble."""

    async def main() -> None:
        await gort.Chan().recv()

    over = threading.Event()
    thread = threading.Thread(target=over.wait, args=(PATIENCE_S,))
    thread.start()
    try:
        with pytest.raises(gort.Deadlock, match="all goroutines in bubble are blocked") as told:
            bubble(main)
    finally:
        over.set()
        thread.join()
    assert "[chan receive]" in told.value.dump


def test_an_exception_ends_the_bubble_at_once() -> None:
    async def main() -> None:
        async def other() -> None:
            try:
                await gort.Chan().recv()
            finally:
                closed.append(True)

        gort.go(other)
        await testing.wait()
        raise KeyError("mine")

    async def panics() -> None:
        async def other() -> None:
            raise KeyError("other")

        gort.go(other)
        await gort.sleep(1)

    closed: list[bool] = []
    with pytest.raises(KeyError, match="mine"):
        testing.run(main)
    assert closed == [True]
    with pytest.raises(gort.Panic, match="other"):
        testing.run(panics)


def test_async_generators_are_closed_in_the_bubble() -> None:
    async def numbers() -> Any:
        try:
            yield 1
        finally:
            await gort.sleep(5)  # main has returned, and yet time goes on here
            closed.append(wall())

    async def main() -> None:
        kept.append(numbers())
        assert await anext(kept[0]) == 1

    async def waits() -> Any:
        try:
            yield 1
        finally:
            await gort.Chan().recv()

    async def waits_for_ever() -> None:
        kept.append(waits())
        assert await anext(kept[-1]) == 1

    kept, closed = list[Any](), list[float]()
    with pytest.raises(gort.Deadlock, match="main bubble goroutine has exited"):
        testing.run(waits_for_ever)
    kept.clear()
    testing.run(main)
    assert closed == [MIDNIGHT + 5]


def test_locks_from_outside_count_as_blocked(bubble: Callable[..., Any]) -> None:
    """Modules have locks of their own, which tests must not have to replace."""
    mutex, rw, semaphore, cond, group = Mutex(), RWMutex(), Semaphore(1), Cond(Mutex()), WaitGroup()

    async def main() -> None:
        async def waits(lock: Callable[[], Any], unlock: Callable[[], None]) -> None:
            await lock()
            seen.append(monotonic() - start)
            unlock()

        async def waits_for_signal() -> None:
            async with cond:
                await cond.wait()
            seen.append(monotonic() - start)

        start = monotonic()
        group.add(1)
        await mutex.lock()
        await rw.lock()
        await semaphore.acquire()
        gort.go(waits, mutex.lock, mutex.unlock)
        gort.go(waits, rw.rlock, rw.runlock)
        gort.go(waits, semaphore.acquire, semaphore.release)
        gort.go(waits, group.wait, lambda: None)
        gort.go(waits_for_signal)
        await gort.sleep(60)
        mutex.unlock()
        rw.unlock()
        semaphore.release()
        group.done()
        cond.signal()
        await testing.wait()

    seen: list[float] = []
    bubble(main)
    assert seen == [60] * 5


def test_a_wait_on_a_channel_from_outside_is_an_error() -> None:
    async def main() -> None:
        assert await full.recv() == 1  # which need not wait
        for op in (full.recv(), full.recv_many(2), gort.select(full.recv()), gort.select(inside.recv(), full.recv())):
            with pytest.raises(RuntimeError, match="was made outside it: make the channel in the bubble"):
                await op
        with pytest.raises(RuntimeError, match="was made outside it"):
            await empty.send(1)
        with pytest.raises(RuntimeError, match="was made outside it"):
            await empty.send_many([1, 2])
        assert (await gort.select(full.recv(), default=True))[0] == -1
        with pytest.raises(RuntimeError, match="a timer that was made outside a bubble"):
            await timer.c.recv()
        with pytest.raises(RuntimeError, match="a timer that was made outside a bubble"):
            timer.reset(1)

    full, empty, timer = gort.Chan[int](1), gort.Chan[int](), gort.Timer(5)
    inside: Any = None

    async def begin() -> None:
        nonlocal inside
        inside = gort.Chan()
        await main()

    full.try_send(1)
    testing.run(begin)
    assert not full.try_recv()[1]  # nobody is left in a queue
    assert not full.closed
    assert full.try_send(2)
    assert not empty.try_recv()[1]
    timer.stop()


def test_the_channels_of_a_bubble_are_an_error_outside() -> None:
    async def main() -> tuple[gort.Chan[int], gort.Timer]:
        ch, timer = gort.Chan[int](2), gort.Timer(5)
        await ch.send(1)
        assert (ch.capacity, len(ch)) == (2, 1)

        def uses() -> None:
            try:
                ch.try_send(1)
            except RuntimeError as e:
                told.append(e)

        thread = threading.Thread(target=uses)
        thread.start()
        await gort.blocking(thread.join)
        assert len(told) == 1
        return ch, timer

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="used outside it"):
            await ch.recv()
        with pytest.raises(RuntimeError, match="used outside it"):
            await gort.select(ch.recv())

    told: list[RuntimeError] = []
    ch, timer = testing.run(main)
    for use in (
        ch.close,
        ch.try_recv,
        lambda: ch.try_send(1),
        lambda: gort.wait(ch.recv()),
        timer.stop,
        timer.c.try_recv,
    ):
        with pytest.raises(RuntimeError, match="used outside it"):
            use()
    gort.run(elsewhere)
    testing.run(elsewhere)  # another bubble is outside too


def sleeps() -> bool:
    """True when main sleeps; for another thread."""
    return bool(_running) and "[sleep]" in gort.runtime.stack(all=True)


def test_a_blocking_call_holds_time_still(bubble: Callable[..., Any]) -> None:
    def call() -> None:
        assert settles(sleeps)
        calls.append(wall())

    async def main() -> None:
        start = wall()
        gort.go(gort.blocking, call)
        await gort.sleep(1)
        assert calls == [start]

    calls: list[float] = []
    bubble(main)


def test_a_thread_that_the_bubble_starts_holds_time_still() -> None:
    def call() -> None:
        assert settles(sleeps)
        calls.append(True)

    async def main() -> None:
        thread = threading.Thread(target=call)
        thread.start()
        await gort.sleep(1)
        assert calls == [True]
        thread.join()

    calls: list[bool] = []
    testing.run(main)


def test_a_wait_for_a_descriptor_holds_time_still(bubble: Callable[..., Any]) -> None:
    a, b = socket.socketpair()
    thread = threading.Thread(target=lambda: (settles(sleeps), a.send(b"x")))

    async def main() -> None:
        async def reader() -> None:
            async with net.from_socket(b) as conn:
                seen.append((await conn.read(1), monotonic() - start))

        start = monotonic()
        gort.go(reader)
        await gort.sleep(1)
        assert monotonic() - start == 1

    seen: list[tuple[bytes, float]] = []
    thread.start()
    bubble(main)
    thread.join()
    a.close()
    assert seen == [(b"x", 0.0)]


def test_run_refuses_what_gort_run_refuses() -> None:
    async def main() -> None:
        testing.run(main)

    with pytest.raises(RuntimeError, match="inside a running gort runtime"):
        testing.run(main)
    with pytest.raises(RuntimeError, match="inside a running gort runtime"):
        gort.run(main)
    with pytest.raises(TypeError, match="async function"):
        testing.run(len, [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="procs"):
        testing.run(main, procs=0)


def test_a_plain_goroutine_may_wait_in_the_bubble() -> None:
    def plain() -> None:
        seen.append(gort.wait(ch.recv()))
        gort.wait(gort.sleep(60))
        seen.append(monotonic())

    async def main() -> None:
        nonlocal ch
        ch = gort.Chan()
        start = monotonic()
        gort.go(plain)
        gort.go(send, ch, start)
        await gort.sleep(3600)
        assert seen == [start, start + 60]

    ch: gort.Chan[float] = gort.Chan()
    seen: list[float] = []
    testing.run(main)


def test_asking_for_the_time_keeps_nothing() -> None:
    """The functions in the place of time.time and the like count references right."""

    async def main() -> int:
        for _ in range(2000):
            time.time(), time.monotonic_ns(), datetime.datetime.now()
        before = resident_bytes()
        for _ in range(20_000):
            time.time(), time.monotonic_ns(), datetime.datetime.now()
        return resident_bytes() - before

    assert testing.run(main) < 1 << 20


def test_a_seed_does_not_let_real_time_into_a_bubble() -> None:
    """While a goroutine waits for a descriptor the thread really sleeps; the bubble's time stands still."""
    program = """
import time, gort
from gort import net, testing

async def main():
    ln = await net.listen("tcp", "127.0.0.1:0")

    async def serve():
        conn = await ln.accept()
        await gort.blocking(time.sleep, 0.05)
        await conn.write(b"x")
        conn.close()

    gort.go(serve)
    start = time.monotonic()
    async with await net.dial("tcp", str(ln.addr)) as conn:
        await conn.read(1)
    ln.close()
    print(time.monotonic() - start)

testing.run(main)
"""
    env = {**os.environ, "GODEBUG": "seed=3"}
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    assert run.stdout == "0.0\n", run.stderr


def test_wrong_arguments_of_the_clocks_are_told_as_outside() -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            time.strftime()  # type: ignore[call-arg]

    testing.run(main)


@pytest.mark.skipif(not gort.runtime.compiled, reason="a Python frame that C calls may lose it: bubble.Clock")
def test_an_exception_of_a_handler_comes_through_a_clock() -> None:
    """What C calls for the time while a bubble is open begins no Python frame, in which the exception would be lost."""
    code = """
import signal, time
import gort
from gort import testing
class Up(Exception): pass
def up(*_): raise Up
signal.signal(signal.SIGALRM, up)
got = 0
async def main():
    global got
    while got < 30:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            while True: time.time()
        except Up:
            got += 1
testing.run(main)
print(got)
"""
    done = python(code)
    assert done.stdout == "30\n", done.stderr


def test_timeouts_in_blocking_calls_are_real() -> None:
    async def main() -> None:
        with pytest.raises(queue.Empty):
            await gort.blocking(queue.Queue[int]().get, True, 0.01)

    testing.run(main)


def test_signals_are_refused_in_a_bubble() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="real time"):
            gort.signal.notify(gort.Chan(1), gort.signal.SIGUSR1)

    testing.run(main)
