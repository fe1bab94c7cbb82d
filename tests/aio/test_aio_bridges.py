"""Goroutines and asyncio tasks wait for each other: gort.aio.call, Service, gort's operations in a task, futures in a
goroutine."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

import gort
import gort.aio
from gort import net, runtime
from gort._runtime.core.runtime2 import current_m
from support import parked, until

Run = Callable[..., Any]
ROUNDS = int(os.environ.get("GORT_AIO_ROUNDS", "300"))  # cancellations of a task that receives
var: ContextVar[str] = ContextVar("var", default="")


async def twice(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


async def boom() -> None:
    await asyncio.sleep(0)
    raise ValueError("boom")


def in_a_task(program: Callable[[], Coroutine[Any, Any, object]]) -> Callable[[], Coroutine[Any, Any, object]]:
    async def main() -> object:
        return await gort.aio.run(program())

    return main


async def cancel_when(begun: gort.Chan[None], scope: gort.CancelScope) -> None:
    await begun.recv()
    scope.cancel()


# ---- calls into a loop ------------------------------------------------------------------------------------------------


def test_call(run: Run) -> None:
    async def main() -> None:
        async with gort.aio.Service() as loop:
            assert await gort.aio.call(loop, twice(4)) == 8
            with pytest.raises(ValueError, match="boom") as raised:
                await gort.aio.call(loop, boom())
            assert "boom" in [frame.name for frame in raised.traceback]

    run(main)


@pytest.mark.skipif(
    not runtime.compiled or runtime.num_cpu() < 2 or sys.platform != "linux",
    reason="the compiled core looks before it sleeps, on two processors",
)
def test_the_threads_of_a_goroutine_and_a_loop_that_take_turns_look_before_they_sleep() -> None:
    """They take turns faster than a processor goes to sleep and wakes up."""

    async def main() -> None:
        s = current_m().sched
        async with gort.aio.Service() as loop:
            while not any(m.quick for m in s.allm):  # a busy machine may keep one of them from its turn
                for i in range(20):
                    assert await gort.aio.call(loop, twice(i)) == 2 * i

    gort.run(main, procs=1)


def test_calls_from_many_goroutines(run: Run) -> None:
    async def main() -> list[int]:
        async with gort.aio.Service() as loop, gort.Group() as group:

            async def one(n: int) -> int:
                return sum([await gort.aio.call(loop, twice(i)) for i in range(n)])

            handles = [group.go(one, n) for n in range(20)]
        return [h.result() for h in handles]

    assert run(main) == [n * (n - 1) for n in range(20)]


def test_calls_of_goroutines_that_are_ready_together_share_the_switches_of_threads() -> None:
    turns: list[None] = []

    class Counted(gort.aio.Loop):
        def _turn(self, m: Any) -> bool:
            turns.append(None)
            return super()._turn(m)

    async def main() -> None:
        async with gort.aio.Service(loop_factory=Counted) as loop:

            async def some() -> None:
                for n in range(20):
                    assert await gort.aio.call(loop, twice(n)) == 2 * n

            async with gort.Group() as group:
                for _ in range(20):
                    group.go(some)

    gort.run(main, procs=1)
    assert len(turns) < 100  # of 400 calls: about 25 turns, and more where sysmon makes the goroutines give way


@pytest.mark.parametrize("kind", ["plain", "blocking", "thread"])
def test_call_from_what_is_no_async_goroutine(run: Run, kind: str) -> None:
    async def main() -> int:
        async with gort.aio.Service() as loop:

            def fn() -> int:
                return gort.wait(gort.aio.call(loop, twice(5)))

            if kind == "blocking":
                return await gort.blocking(fn)
            if kind == "plain":
                async with gort.Group() as group:
                    h = group.go(fn)
                return h.result()
            out = gort.Chan[int](1)
            threading.Thread(target=lambda: out.try_send(fn())).start()
            return await out.recv()

    assert run(main) == 10


def test_call_of_one_loop_in_a_task_of_another(run: Run) -> None:
    async def main() -> int:
        async with gort.aio.Service() as loop:

            async def program() -> int:
                return await gort.aio.call(loop, twice(6))

            return await gort.aio.run(program())

    assert run(main) == 12


def test_call_has_a_copy_of_the_callers_contextvars(run: Run) -> None:
    async def reads() -> str:
        seen = var.get()
        var.set("the task's")
        return seen

    async def main() -> None:
        async with gort.aio.Service() as loop:
            var.set("mine")
            assert await gort.aio.call(loop, reads()) == "mine"
            assert var.get() == "mine"

    run(main)


def test_a_cancelled_call_cancels_the_task_and_waits_for_its_clean_up(run: Run) -> None:
    seen: list[object] = []
    begun = gort.Chan[None](1)

    async def slow() -> None:
        begun.try_send(None)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
            seen.append("cleaned up")
            raise

    async def main() -> None:
        async with gort.aio.Service() as loop:
            async with gort.move_on_after(None) as scope:
                gort.go(cancel_when, begun, scope)
                await gort.aio.call(loop, slow())
            seen.append(scope.cancelled_caught)

    run(main)
    assert seen == ["cleaned up", True]


def test_a_task_that_does_not_let_itself_be_cancelled_gives_its_result(run: Run) -> None:
    """The cancellation is raised at the goroutine's next operation."""

    begun = gort.Chan[None](1)

    async def stubborn() -> str:
        begun.try_send(None)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return "done all the same"

    async def main() -> None:
        async with gort.aio.Service() as loop:
            got = []
            async with gort.move_on_after(None) as scope:
                gort.go(cancel_when, begun, scope)
                got.append(await gort.aio.call(loop, stubborn()))
                await gort.Chan[None]().recv()
            assert got == ["done all the same"]
            assert scope.cancelled_caught

    run(main)


def test_a_cancellation_that_comes_when_a_call_is_over_has_no_effect(run: Run) -> None:
    """Whoever cancels, on another thread, may have found the caller waiting, and be that late."""

    async def main() -> None:
        async with gort.aio.Service() as loop:
            operation: Any = gort.aio.call(loop, twice(1))
            assert await operation == 2
            assert not operation.abort()
            assert await gort.aio.call(loop, twice(2)) == 4

    run(main)


def test_gort_wait_with_a_timeout_cancels_the_call(run: Run) -> None:
    begun, cancelled = [], []

    async def slow() -> None:
        begun.append(True)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    async def main() -> None:
        async with gort.aio.Service() as loop:

            def fn() -> None:
                with pytest.raises(TimeoutError):
                    gort.wait(gort.aio.call(loop, slow()), 0.01)

            await gort.blocking(fn)
            assert cancelled == begun  # on a busy machine it may be cancelled before it begins

    run(main)


def test_mistakes(run: Run) -> None:
    async def main() -> None:
        async with gort.aio.Service() as loop:
            with pytest.raises(TypeError, match="takes a coroutine, not function"):
                gort.aio.call(loop, twice)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            await gort.aio.call(loop, twice(1))

    run(main)


def test_the_end_of_a_service_cancels_what_is_left(run: Run) -> None:
    ended = []

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def spawn() -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(left())]

    async def main() -> None:
        async with gort.aio.Service() as loop:
            await gort.aio.call(loop, spawn())
            await gort.aio.call(loop, twice(1))
        assert ended == [True]
        assert loop.is_closed()

    run(main)


def test_a_service_whose_loop_cannot_be_made(run: Run) -> None:
    def factory() -> gort.aio.Loop:
        raise OSError("no loop")

    async def main() -> None:
        with pytest.raises(OSError, match="no loop"):
            async with gort.aio.Service(loop_factory=factory):
                raise AssertionError

    run(main)


# ---- gort's operations in a task --------------------------------------------------------------------------------------


def test_operations_in_a_task(run: Run) -> None:
    async def program() -> list[object]:
        got: list[object] = []
        ch = gort.Chan[int]()

        async def feed() -> None:
            for i in range(5):
                await ch.send(i)
            ch.close()

        gort.go(feed)
        got.append([v async for v in ch])
        i, _, _ = await gort.select(gort.Chan[int]().recv(), gort.after(0.001).recv())
        got.append(i)
        await gort.sleep(0.001)
        await gort.gosched()
        mutex, n = gort.sync.Mutex(), 0

        async def locks() -> None:
            nonlocal n
            for _ in range(10):
                async with mutex:
                    before = n
                    await asyncio.sleep(0)
                    n = before + 1

        await asyncio.gather(locks(), locks())
        got.append(n)
        rw = gort.sync.RWMutex()
        async with rw.reader():
            pass
        async with rw:
            pass
        wg = gort.sync.WaitGroup()
        wg.go(lambda: None)
        await wg.wait()
        got.append(await gort.blocking(lambda: var.get()))
        listener = await gort.net.listen("tcp", "127.0.0.1:0")

        async def echo() -> None:
            async for conn in listener:
                await conn.write(await conn.read(100))
                conn.close()

        gort.go(echo)
        conn = await gort.net.dial("tcp", str(listener.addr))
        await conn.write(b"line\nrest")
        got.append(await conn.read_until(b"\n"))
        conn.close()
        listener.close()
        with pytest.raises(gort.ChannelClosed):
            await ch.recv()
        return got

    async def main() -> object:
        var.set("mine")
        return await gort.aio.run(program())

    assert run(main) == [[0, 1, 2, 3, 4], 1, 20, "mine", b"line\n"]


def test_tasks_and_goroutines_meet_in_channels(run: Run) -> None:
    """Rendezvous in all four combinations, on one loop and between two."""

    async def main() -> None:
        async def send(ch: gort.Chan[int]) -> None:
            for i in range(100):
                await ch.send(i)
            ch.close()

        async def receive(ch: gort.Chan[int]) -> list[int]:
            return [v async for v in ch]

        async with gort.aio.Service() as a, gort.aio.Service() as b:
            for sender, receiver in [(a, a), (a, b), (a, None), (None, a)]:
                ch = gort.Chan[int]()
                async with gort.Group() as group:

                    async def do(loop: Any, coroutine: Coroutine[Any, Any, Any]) -> Any:
                        return await (gort.aio.call(loop, coroutine) if loop else coroutine)

                    group.go(do, sender, send(ch))
                    h = group.go(do, receiver, receive(ch))
                assert h.result() == list(range(100))

    run(main)


def test_the_loop_goes_on_while_a_task_waits_for_an_operation(run: Run) -> None:
    async def program() -> None:
        ch = gort.Chan[int]()
        waiting = asyncio.create_task(receive(ch))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert ch.try_send(1)
        assert await waiting == 1

    async def receive(ch: gort.Chan[int]) -> int:
        return await ch.recv()

    run(in_a_task(program))


def test_timeouts_of_asyncio_take_an_operation_back(run: Run) -> None:
    async def program() -> None:
        ch = gort.Chan[int]()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ch.recv(), 0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await ch.send(1)
        assert not ch.try_send(1)
        assert ch.try_recv() == (None, False)

    run(in_a_task(program))


def test_a_write_that_is_cancelled_tells_how_far_it_came(run: Run) -> None:
    async def program() -> None:
        listener = await gort.net.listen("tcp", "127.0.0.1:0")
        conn = await gort.net.dial("tcp", str(listener.addr))
        writes = asyncio.ensure_future(conn.write(b"x" * 50_000_000))
        await asyncio.sleep(0.01)
        writes.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await writes
        conn.close()
        listener.close()
        assert 0 < raised.value.written < 50_000_000  # type: ignore[attr-defined]

    run(in_a_task(program))


def test_a_cancellation_that_comes_too_late_is_raised_at_the_next_await(run: Run) -> None:
    async def program() -> None:
        ch = gort.Chan[int]()
        got: list[int] = []

        async def receives() -> None:
            got.append(await ch.recv())
            await asyncio.Event().wait()

        task = asyncio.create_task(receives())
        await asyncio.sleep(0)
        assert ch.try_send(7)  # from now on the value is the task's
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert got == [7]

    run(in_a_task(program))


def test_a_timeout_that_comes_too_late_and_whose_block_ends_has_no_effect(run: Run) -> None:
    async def program() -> None:
        ch = gort.Chan[int]()

        async def receives() -> int:
            try:
                async with asyncio.timeout(None) as scope:
                    scopes.append(scope)
                    value = await ch.recv()
            except TimeoutError:
                return -1
            await asyncio.sleep(0)  # nothing is left of it
            return value

        scopes: list[asyncio.Timeout] = []
        task = asyncio.create_task(receives())
        await asyncio.sleep(0)
        assert ch.try_send(7)
        scopes[0]._on_timeout()
        assert await task in (7, -1)
        assert task.cancelling() == 0

    run(in_a_task(program))


def test_no_value_is_lost_to_a_cancellation(run: Run) -> None:
    """A task that receives is cancelled at random moments, again and again, while goroutines send."""

    async def main() -> None:
        ch = gort.Chan[int]()
        got: list[int] = []
        sent = 0
        over = False

        async def feed() -> None:
            nonlocal sent
            while not over:
                i, _, _ = await gort.select(ch.send(sent), gort.after(0.01).recv())
                if i == 0:
                    sent += 1

        async def receives() -> None:
            while True:
                got.append(await ch.recv())

        async def chaos() -> None:
            rng = random.Random(7)
            for _ in range(ROUNDS):
                task = asyncio.create_task(receives())
                for _ in range(rng.randrange(5)):
                    await asyncio.sleep(0)
                if rng.random() < 0.3:
                    await asyncio.sleep(rng.random() * 0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        async with gort.aio.Service() as loop, gort.Group() as group:
            group.go(feed)
            await gort.aio.call(loop, chaos())
            over = True
        assert got == list(range(sent))

    run(main)


def test_no_lock_is_lost_to_a_cancellation(run: Run) -> None:
    async def main() -> None:
        mutex = gort.sync.Mutex()

        async def locks() -> None:
            while True:
                async with mutex:
                    await asyncio.sleep(0)

        async def chaos() -> None:
            rng = random.Random(3)
            for _ in range(ROUNDS // 3):
                tasks = [asyncio.create_task(locks()) for _ in range(3)]
                for _ in range(rng.randrange(8)):
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        async with gort.aio.Service() as loop:
            await gort.aio.call(loop, chaos())
        async with mutex:
            pass

    run(main)


def test_gorts_scopes_in_a_task(run: Run) -> None:
    """They are the task's, and not those of the goroutine that drives the loop."""

    async def program() -> list[object]:
        seen: list[object] = []
        with pytest.raises(TimeoutError):
            async with gort.timeout(0.001):
                await gort.Chan[int]().recv()
        async with gort.move_on_after(0.001) as scope:
            await gort.sleep(60)
        seen.append(scope.cancelled_caught)
        with pytest.raises(ExceptionGroup) as raised:
            async with gort.Group() as group:
                group.go(boom_of_gort)
                await gort.Chan[int]().recv()
        seen.append(str(raised.value.exceptions[0]))
        async with gort.Group() as group:
            handle = group.go(lambda: 7)
        seen.append(handle.result())

        async def other() -> str:
            await asyncio.sleep(0.002)
            return "the other goes on"

        task = asyncio.create_task(other())
        async with gort.move_on_after(0.001):
            await gort.Chan[int]().recv()
        seen.append(await task)
        return seen

    assert run(in_a_task(program)) == [True, "boom", 7, "the other goes on"]


def test_a_scope_ends_the_wait_that_follows_a_cancelled_one(run: Run) -> None:
    """What stood for the task still counted as waiting for the first operation: no cancellation found the second one."""

    async def program() -> None:
        scopes: list[gort.CancelScope] = []

        async def receives() -> None:
            async with gort.move_on_after(None) as scope:
                with pytest.raises(asyncio.CancelledError):
                    await gort.Chan[int]().recv()
                scopes.append(scope)
                await gort.Chan[int]().recv()

        task = asyncio.create_task(receives())
        await asyncio.sleep(0)
        task.cancel()
        while not scopes:
            await asyncio.sleep(0)
        scopes[0].cancel()
        await task

    run(in_a_task(program))


def test_a_cancellation_comes_after_that_of_a_scope_that_has_ended_the_wait(run: Run) -> None:
    """The receive has had no effect.  It said that its channel was closed."""

    async def program() -> list[str]:
        ends: list[str] = []
        scopes: list[gort.CancelScope] = []

        async def receives() -> None:
            async with gort.move_on_after(None) as scope:
                scopes.append(scope)
                try:
                    await gort.Chan[int]().recv()
                except gort.Cancelled:
                    ends.append("the scope's")
                    raise
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                ends.append("the task's")
                raise

        task = asyncio.create_task(receives())
        await asyncio.sleep(0)
        scopes[0].cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return ends

    assert run(in_a_task(program)) == ["the scope's", "the task's"]


async def boom_of_gort() -> None:
    await gort.gosched()
    raise ValueError("boom")


def test_an_operation_is_awaited_once_in_a_task_too(run: Run) -> None:
    async def program() -> None:
        op = gort.Chan[int](1).send(1)
        await op
        with pytest.raises(RuntimeError, match="already awaited"):
            await op

    run(in_a_task(program))


def test_nothing_is_kept(run: Run) -> None:
    class Value:
        pass

    async def program() -> None:
        ch = gort.Chan[Value]()
        tasks = [asyncio.ensure_future(ch.recv()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[10:]:
            task.cancel()
        for _ in range(10):
            assert ch.try_send(Value())
        await asyncio.gather(*tasks, return_exceptions=True)
        del tasks, task
        await asyncio.sleep(0)
        gc.collect()
        assert [o for o in gc.get_objects() if isinstance(o, Value)] == []

    run(in_a_task(program))


# ---- futures in a goroutine -------------------------------------------------------------------------------------------


async def started(coroutine: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(coroutine)]


def test_a_goroutine_awaits_a_task(run: Run) -> None:
    async def main() -> None:
        async with gort.aio.Service() as loop:
            (task,) = await gort.aio.call(loop, started(twice(21)))
            assert await task == 42
            assert await task == 42  # it is done now
            (task,) = await gort.aio.call(loop, started(boom()))
            with pytest.raises(ValueError, match="boom"):
                await task

    run(main)


def test_many_goroutines_await_futures(run: Run) -> None:
    async def main() -> list[int]:
        async with gort.aio.Service() as loop:
            futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(10)]

            async def waits(n: int) -> int:
                return await futures[n]

            async with gort.Group() as group:
                handles = [group.go(waits, n) for n in range(10)]
                await parked(10, "asyncio")
                for n, future in enumerate(futures):
                    loop.call_soon_threadsafe(future.set_result, n)
            return [h.result() for h in handles]

    assert run(main) == list(range(10))


def test_a_goroutine_that_is_cancelled_leaves_the_future_alone(run: Run) -> None:
    async def main() -> None:
        async with gort.aio.Service() as loop:
            future: asyncio.Future[str] = loop.create_future()
            async with gort.move_on_after(0.01) as scope:
                await future
            assert scope.cancelled_caught
            assert not future.cancelled()
            loop.call_soon_threadsafe(future.set_result, "later")
            assert await future == "later"
            await until(lambda: not future._callbacks)  # type: ignore[attr-defined]

    run(main)


def test_a_future_and_a_cancellation_race(run: Run) -> None:
    async def main() -> None:
        async with gort.aio.Service() as loop:
            for n in range(100):
                future: asyncio.Future[int] = loop.create_future()

                async def waits(future: asyncio.Future[int] = future) -> int:
                    return await future

                async with gort.Group() as group:
                    h = group.go(waits)
                    await gort.gosched()
                    loop.call_soon_threadsafe(future.set_result, n)
                    if n % 2:
                        await gort.gosched()
                    h.cancel()
                try:
                    assert h.result() == n
                except gort.Cancelled:
                    pass

    run(main)


def test_the_end_of_the_program_closes_a_goroutine_that_awaits_a_future(run: Run) -> None:
    ended = []

    async def main() -> None:
        up = gort.Chan[asyncio.Future[None]](1)

        async def serves() -> None:
            async with gort.aio.Service() as loop:
                up.try_send(loop.create_future())
                await gort.Chan[None]().recv()

        async def waits() -> None:
            try:
                await (await up.recv())
            finally:
                ended.append(True)

        gort.go(serves)
        gort.go(waits)
        await parked(1, "asyncio")

    run(main)
    assert ended == [True]


def test_a_future_of_a_loop_that_does_not_run_is_an_error(run: Run) -> None:
    async def main() -> None:
        loop = gort.aio.Loop()
        try:
            with pytest.raises(TypeError, match=r"gort\.aio"):
                await loop.create_future()
        finally:
            loop.close()

    run(main)


def test_a_goroutine_awaits_a_future_of_asyncios_own_loop(run: Run) -> None:
    async def main() -> str:
        up = gort.Chan[tuple[Any, Any]](1)

        async def program() -> None:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            over = asyncio.Event()
            up.try_send((future, lambda: loop.call_soon_threadsafe(over.set)))
            loop.call_later(0.01, future.set_result, "theirs")
            await over.wait()

        async with gort.Group() as group:
            group.go(lambda: asyncio.run(program()))
            future, stop = await up.recv()
            got = await future
            stop()
        return str(got)

    assert run(main) == "theirs"


def test_what_a_goroutine_cannot_await_says_what_to_write(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"await gort\.aio\.run"):
            await asyncio.sleep(0)

    run(main)


@pytest.mark.skipif(
    not runtime.compiled or not getattr(sys, "_is_gil_enabled", lambda: True)() or sys.platform != "linux",
    reason="counts how often threads wait for the GIL, by the kernel's count",
)
def test_a_lone_call_is_two_hand_overs() -> None:
    """A thread that is handed the P is woken when the GIL is free, and so it sleeps once for each hand-over."""
    calls = 2000

    async def nothing() -> None:
        pass

    async def main() -> float:
        async with gort.aio.Service() as loop:
            await gort.aio.call(loop, nothing())
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            for _ in range(calls):
                await gort.aio.call(loop, nothing())
            return (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before) / calls

    assert gort.run(main, procs=1) < 2.5  # 3.2 where it is woken before


@pytest.mark.parametrize("waits_for", ["a descriptor", "a timer"])
def test_a_loop_that_never_waits_looks_after_its_tasks_operations(waits_for: str) -> None:
    """sysmon had to take the loop's P each time, after 10 ms, and the thread that got it fought for the GIL."""
    times = 50

    async def busy() -> None:
        while not over:
            await asyncio.sleep(0)

    async def waits() -> None:
        for _ in range(times):
            if waits_for == "a timer":
                await gort.sleep(0.001)
            else:
                asyncio.get_running_loop().call_soon(there.send, b"x")  # while it waits
                assert await conn.read() == b"x"
        over.append(True)

    async def both() -> int:
        before = gort.runtime.stats()["preemptions"]
        await asyncio.gather(busy(), waits())
        return int(gort.runtime.stats()["preemptions"] - before)

    async def main() -> int:
        nonlocal conn
        conn = net.from_socket(here)
        return int(await gort.aio.run(both()))

    over: list[bool] = []
    here, there = socket.socketpair()
    conn: Any = None
    with there:
        assert gort.run(main, procs=1) < times // 2
        conn.close()


@pytest.mark.parametrize("drives", ["a coroutine", "a plain function"])
@pytest.mark.parametrize("busy_by", ["sleeps", "a reader", "a writer"])
def test_a_loop_that_never_waits_starves_nobody(drives: str, busy_by: str) -> None:
    """It goes round, finds nothing more to run, and is not to wait either: its slice must not begin anew with that."""

    async def busy() -> None:
        loop = asyncio.get_running_loop()
        turns = 0

        def again() -> None:
            nonlocal turns
            turns += 1
            if turns % 3 == 0:
                loop.call_soon(len, "")
            if over:
                loop.remove_reader(a)
                loop.remove_writer(a)
                ended.set()

        ended = asyncio.Event()
        if busy_by == "sleeps":
            while not over:
                await asyncio.sleep(1e-9)
            return
        b.send(b"x")
        (loop.add_reader if busy_by == "a reader" else loop.add_writer)(a, again)
        await ended.wait()

    def runs() -> None:
        loop = gort.aio.Loop()
        loop.run_until_complete(busy())
        loop.close()

    async def main() -> None:
        async with gort.Group() as group:
            if drives == "a coroutine":
                group.go(gort.aio.run, busy())
            else:
                group.go(runs)
            for _ in range(20):
                await gort.sleep(0.001)
            over.append(True)

    over: list[bool] = []
    a, b = socket.socketpair()
    with a, b:
        gort.run(main, procs=1)


def test_a_closed_loop_keeps_no_readers() -> None:
    loop = gort.aio.Loop()
    a, b = socket.socketpair()
    loop.add_reader(a, print)
    loop.add_writer(b, print)
    assert sorted(loop._selector.get_map()) == sorted([loop._ssock.fileno(), a.fileno(), b.fileno()])  # type: ignore[attr-defined]
    refs = [weakref.ref(a), weakref.ref(b)]
    a.close()
    b.close()
    loop.close()
    del a, b
    assert [ref() for ref in refs] == [None, None]
