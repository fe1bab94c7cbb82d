"""blocking and wait: calls that block a thread, from goroutines, plain functions and foreign threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort._runtime.core.runtime2 import current_m
from gort.sync import Mutex, WaitGroup
from support import PATIENCE_S, program, until

Run = Callable[..., Any]


# --- blocking -----------------------------------------------------------------------------------


def test_blocking_gives_result_and_error(run: Run) -> None:
    def divide(a: int, b: int) -> float:
        return a / b

    async def main() -> float:
        with pytest.raises(ZeroDivisionError) as info:
            await gort.blocking(divide, 1, 0)
        tb = info.value.__traceback__
        while tb and tb.tb_next:
            tb = tb.tb_next
        assert tb is not None
        assert tb.tb_frame.f_code.co_name == "divide"
        return await gort.blocking(divide, 6, b=3)

    assert run(main) == 2.0


def test_blocking_does_not_stall_the_others(run: Run) -> None:
    """While a call waits for an event that only another goroutine sets, that goroutine runs."""
    event = threading.Event()

    async def main() -> bool:
        async def setter() -> None:
            for _ in range(10):
                await gort.gosched()
            event.set()

        gort.go(setter)
        return await gort.blocking(event.wait, PATIENCE_S)

    assert run(main) is True


def test_blocking_calls_run_side_by_side(run: Run) -> None:
    """Twenty calls that all wait for each other: only together can they end."""
    n = 20
    barrier = threading.Barrier(n)

    async def main() -> int:
        async def call() -> None:
            await gort.blocking(barrier.wait, PATIENCE_S)

        async with gort.Group() as group:
            handles = [group.go(call) for _ in range(n)]
        return sum(h.done for h in handles)

    assert run(main) == n


def test_blocking_may_send_from_its_thread(run: Run) -> None:
    """A program whose only hope is a blocking call is not deadlocked: try_send wakes the receiver."""

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()
        gate = threading.Event()

        def send_later() -> bool:
            gate.wait(PATIENCE_S)
            end = time.monotonic() + PATIENCE_S
            while time.monotonic() < end:
                if ch.try_send(9):
                    return True
            return False

        async def call() -> None:
            assert await gort.blocking(send_later)

        gort.go(call)
        gort.after_func(0.005, gate.set)
        return await ch.recv()

    assert run(main) == 9


def test_cancelling_a_blocking_call_is_delivered_when_it_ends(run: Run) -> None:
    """The call is not interrupted; the goroutine gets Cancelled after it."""
    release = threading.Event()
    entered = threading.Event()

    def call() -> None:
        entered.set()
        release.wait(PATIENCE_S)

    async def main() -> list[str]:
        log: list[str] = []

        async def member() -> None:
            try:
                await gort.blocking(call)
                await gort.gosched()
                log.append("went on")
            except gort.Cancelled:
                log.append(f"cancelled, released={release.is_set()}")
                raise

        async with gort.Group() as group:
            handle = group.go(member)
            await until(entered.is_set)
            handle.cancel()
            for _ in range(5):
                await gort.gosched()
            log.append(f"done={handle.done}")
            release.set()
        return log

    assert run(main) == ["done=False", "cancelled, released=True"]


def test_blocking_needs_a_plain_function(run: Run) -> None:
    async def coro() -> None:
        pass

    async def main() -> None:
        with pytest.raises(TypeError, match=r"(?i)async def|coroutine|await"):
            await gort.blocking(coro)

    run(main)


# --- plain functions ----------------------------------------------------------------------------


def test_a_plain_function_that_blocks_does_not_stall_the_others(run: Run) -> None:
    """It sits on its thread until another goroutine sets the event: its P must have been handed on."""
    event = threading.Event()

    async def main() -> list[bool]:
        got: list[bool] = []
        gort.go(lambda: got.append(event.wait(PATIENCE_S)))
        await gort.gosched()

        async def setter() -> None:
            event.set()

        gort.go(setter)
        await until(lambda: got)
        return got

    assert run(main) == [True]


# --- wait ---------------------------------------------------------------------------------------


def test_wait_in_a_plain_function(run: Run) -> None:
    """A plain function blocks on channel operations, select, sleep, locks and coroutines with wait."""

    async def main() -> list[Any]:
        ch: gort.Chan[int] = gort.Chan()
        back: gort.Chan[Any] = gort.Chan()
        mu = Mutex()

        async def coro(a: int) -> int:
            await gort.gosched()
            return a + 1

        def plain() -> None:
            total = 0
            for _ in range(3):
                total += gort.wait(ch.recv())
            gort.wait(gort.sleep(0.001))
            gort.wait(mu.lock())
            mu.unlock()
            index, value, ok = gort.wait(gort.select(None, ch.recv()))
            gort.wait(back.send([total, index, value, ok, gort.wait(coro(1))]))

        gort.go(plain)
        for i in range(4):
            await ch.send(i)
        result: list[Any] = await back.recv()
        return result

    assert run(main) == [3, 1, 3, True, 2]


def test_wait_from_a_foreign_thread(run: Run) -> None:
    """A thread that gort did not start sends to and receives from goroutines."""
    results: list[Any] = []

    async def main() -> None:
        ask: gort.Chan[int] = gort.Chan()
        answer: gort.Chan[int] = gort.Chan()

        def foreign() -> None:
            for i in range(50):
                gort.wait(ask.send(i))
                results.append(gort.wait(answer.recv()))

        thread = threading.Thread(target=foreign, name="foreign")
        thread.start()
        for _ in range(50):
            await answer.send(10 * await ask.recv())
        await gort.blocking(thread.join, PATIENCE_S)

    run(main)
    assert results == [10 * i for i in range(50)]


def test_wait_raises_what_the_operation_raises(run: Run) -> None:
    async def main() -> list[str]:
        ch: gort.Chan[int] = gort.Chan()
        ch.close()
        out: gort.Chan[str] = gort.Chan(1)

        def plain() -> None:
            try:
                gort.wait(ch.recv())
            except gort.ChannelClosed:
                out.try_send("closed")

        gort.go(plain)
        return [await out.recv()]

    assert run(main) == ["closed"]


def test_wait_timeout_takes_nothing(run: Run) -> None:
    """TimeoutError, not earlier than asked, and the value that comes later is still there."""

    async def main() -> list[Any]:
        ch: gort.Chan[int] = gort.Chan()
        out: gort.Chan[Any] = gort.Chan()

        def plain() -> None:
            start = time.monotonic()
            try:
                gort.wait(ch.recv(), timeout=0.02)
            except TimeoutError:
                gort.wait(out.send(time.monotonic() - start >= 0.02))
            else:
                gort.wait(out.send("a value from nowhere"))

        gort.go(plain)
        timed_out = await out.recv()
        return [timed_out, ch.try_send(1)]

    assert run(main) == [True, False]


def test_wait_timeout_raced_with_a_value_loses_nothing(run: Run) -> None:
    """Whichever comes first: the value arrived, or it is still with the sender."""

    async def main() -> None:
        for n in range(40):
            ch: gort.Chan[int] = gort.Chan(1)
            out: gort.Chan[bool] = gort.Chan(1)

            def plain(ch: gort.Chan[int] = ch, out: gort.Chan[bool] = out, n: int = n) -> None:
                try:
                    out.try_send(gort.wait(ch.recv(), timeout=0.002) == n)
                except TimeoutError:
                    out.try_send(False)

            gort.go(plain)
            await gort.sleep(0.002)
            await ch.send(n)
            if not await out.recv():
                assert await ch.recv() == n
            assert len(ch) == 0

    run(main)


def test_wait_in_a_coroutine_is_refused(run: Run) -> None:
    """It would block the thread under the goroutine: the message says await."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(1)
        op = ch.send(1)
        with pytest.raises(RuntimeError, match="await"):
            gort.wait(op)
        await gort.gosched()
        if len(ch) == 0:
            await ch.send(1)

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        run(main)


def test_wait_between_threads_without_a_runtime() -> None:
    """Two plain threads may use a channel where no runtime runs; a timeout bounds what nobody will answer."""
    ch: gort.Chan[int] = gort.Chan()
    got: list[int] = []

    def receiver() -> None:
        for _ in range(20):
            got.append(gort.wait(ch.recv(), timeout=PATIENCE_S))

    thread = threading.Thread(target=receiver)
    thread.start()
    for i in range(20):
        gort.wait(ch.send(i), timeout=PATIENCE_S)
    thread.join(PATIENCE_S)
    assert got == list(range(20))
    with pytest.raises(TimeoutError):
        gort.wait(ch.recv(), timeout=0.01)
    assert not ch.try_send(1)


def test_wait_of_something_else(run: Run) -> None:
    async def main() -> None:
        errors: gort.Chan[str] = gort.Chan(1)

        def plain() -> None:
            try:
                gort.wait(5)  # type: ignore[arg-type]
            except TypeError as exc:
                errors.try_send(str(exc))

        gort.go(plain)
        assert "int" in await errors.recv()

    run(main)


def test_try_operations_from_any_thread_without_a_runtime() -> None:
    """A channel is a thread-safe queue even where no runtime runs."""
    ch: gort.Chan[int] = gort.Chan(10_000)
    got: list[int] = []

    def producer(base: int) -> None:
        for i in range(1000):
            assert ch.try_send(base + i)

    threads = [threading.Thread(target=producer, args=(1000 * k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE_S)
    while (item := ch.try_recv())[1]:
        got.append(item[0])
    assert sorted(got) == list(range(8000))


def test_foreign_threads_and_goroutines_share_channels(run: Run) -> None:
    """Four threads and four goroutines produce; four of each consume; every value arrives once."""

    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan(3)
        out: gort.Chan[int] = gort.Chan(10_000)
        producers, consumers = WaitGroup(), WaitGroup()

        def produce_blocking(base: int) -> None:
            for i in range(50):
                gort.wait(ch.send(base + i))

        async def produce(base: int) -> None:
            for i in range(50):
                await ch.send(base + i)

        def consume_blocking() -> None:
            while True:
                v, ok = gort.wait(ch.recv_ok())
                if not ok:
                    return
                assert out.try_send(v)

        async def consume() -> None:
            async for v in ch:
                assert out.try_send(v)

        def threaded(fn: Callable[..., None], *args: Any) -> Callable[[], Any]:
            async def body() -> None:
                thread = threading.Thread(target=fn, args=args)
                thread.start()
                await gort.blocking(thread.join, PATIENCE_S)
                assert not thread.is_alive()

            return body

        for k in range(4):
            producers.go(threaded(produce_blocking, 1000 * k))
            producers.go(produce, 1000 * k + 500)
            consumers.go(threaded(consume_blocking))
            consumers.go(consume)
        await producers.wait()
        ch.close()
        await consumers.wait()
        return [out.try_recv()[0] for _ in range(len(out))]

    expected = sorted(1000 * k + 500 * h + i for k in range(4) for h in range(2) for i in range(50))
    assert sorted(run(main)) == expected


@pytest.mark.parametrize("what", ["an operation", "a coroutine"])
def test_a_wait_that_begins_as_the_program_ends(run: Run, what: str) -> None:
    """A plain function's wait that begins when the runtime has already woken all that wait, for the last time: it raises
    as theirs do, and its thread does not stay for ever."""
    raised: list[str] = []
    left = threading.Event()

    async def coroutine() -> None:
        await gort.Chan[int]().recv()

    async def main() -> None:
        started = gort.Chan[None](1)
        m: Any = current_m()
        s = m.sched

        def plain() -> None:
            started.try_send(None)
            while not s.exiting:
                time.sleep(0)
            time.sleep(0)
            try:
                gort.wait(gort.Chan[int]().recv() if what == "an operation" else coroutine())
            except RuntimeError as e:
                raised.append(str(e))
            finally:
                left.set()

        gort.go(plain)
        await started.recv()

    run(main)
    assert left.wait(PATIENCE_S)
    assert len(raised) == 1
    assert "stop" in raised[0]


def test_a_coroutine_that_was_left_before_it_began_makes_no_noise() -> None:
    """The timeout is over, and then the program, before a P was free for the coroutine: nothing of it is left to tell."""
    done = program("""
        from gort._runtime.watch import sysmon

        # On a busy machine main would look blocked.
        sysmon.retake, sysmon.noticed = lambda s, seen, ousted: (0, False, False), lambda s, watcher, ousted: False

        async def never():
            print("began")

        def outside():
            try:
                gort.wait(never(), 0)
            except TimeoutError:
                print("late")

        async def main():
            thread = threading.Thread(target=outside)
            thread.start()
            while thread.is_alive():  # holds the only P
                pass

        gort.run(main, procs=1)
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("late\n", "", 0)
