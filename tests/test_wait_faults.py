"""Faults of gort.wait and of threads that wait, each with the value that is right.  The names are those of the list of
faults: C6 (what ends a wait takes its operation back), C7 (a plain goroutine that waits can be cancelled), C17 (gort.wait
in gort.blocking)."""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import gort
from gort.sync import Mutex, Semaphore
from support import PATIENCE_S, ended, settles, until

Run = Callable[..., Any]
MAIN = threading.main_thread().ident or 0


class Interrupted(Exception):
    """What the signal handler raises."""


@contextlib.contextmanager
def interrupting(exc: BaseException) -> Iterator[None]:
    """Raises exc in the main thread, from a signal handler, once that thread sleeps in gort.wait."""
    raised = threading.Event()

    def handler(signum: int, frame: FrameType | None) -> None:
        # The compiled core's Note.sleep has no frame: the frame is then that of its caller.
        names = [frame.f_code.co_name, frame.f_back.f_code.co_name] if frame is not None and frame.f_back else []
        if "_sleep" in names and not raised.is_set():
            raised.set()
            raise exc

    def send() -> None:
        while not raised.is_set():
            signal.pthread_kill(MAIN, signal.SIGUSR1)
            raised.wait(0.005)

    before = signal.signal(signal.SIGUSR1, handler)
    sender = threading.Thread(target=send)
    try:
        sender.start()
        yield
    finally:
        raised.set()
        sender.join(PATIENCE_S)
        signal.signal(signal.SIGUSR1, before)


# ---- C6: whatever ends the wait takes the operation back -------------------------------------------------------------


@pytest.mark.parametrize("exc", [Interrupted(), SystemExit(3), KeyboardInterrupt(), TimeoutError("alarm")], ids=repr)
def test_c6_a_handler_that_raises_leaves_no_receiver(exc: BaseException) -> None:
    ch: gort.Chan[int] = gort.Chan()
    with pytest.raises(type(exc)), interrupting(exc):
        gort.wait(ch.recv())
    assert not ch.try_send(1), "a ghost waits for the value"


def test_c6_a_handler_that_raises_leaves_no_select() -> None:
    a: gort.Chan[int] = gort.Chan()
    b: gort.Chan[int] = gort.Chan()
    with pytest.raises(Interrupted), interrupting(Interrupted()):
        gort.wait(gort.select(a.recv(), b.send(1)))
    assert not a.try_send(1)
    assert b.try_recv() == (None, False)


def test_c6_a_handler_that_raises_leaves_no_sender() -> None:
    ch: gort.Chan[int] = gort.Chan()
    with pytest.raises(Interrupted), interrupting(Interrupted()):
        gort.wait(ch.send(1), timeout=PATIENCE_S)
    assert ch.try_recv() == (None, False)


def in_another_thread(main: Callable[..., Any]) -> threading.Thread:
    """Runs a program there, so that the main thread is outside it."""
    thread = threading.Thread(target=gort.run, args=(main,))
    thread.start()
    return thread


@pytest.mark.parametrize("what", ["Mutex", "Semaphore"])
def test_c6_a_handler_that_raises_leaves_nobody_before_a_lock(what: str) -> None:
    lock: Any = Mutex() if what == "Mutex" else Semaphore(1)
    held = threading.Event()
    go_on = threading.Event()
    got: list[str] = []

    async def main() -> None:
        await (lock.lock() if what == "Mutex" else lock.acquire())
        held.set()
        await gort.blocking(go_on.wait, PATIENCE_S)
        lock.unlock() if what == "Mutex" else lock.release()
        await (lock.lock() if what == "Mutex" else lock.acquire())
        got.append("the lock")

    thread = in_another_thread(main)
    try:
        assert held.wait(PATIENCE_S)
        with pytest.raises(Interrupted), interrupting(Interrupted()):
            gort.wait(lock.lock() if what == "Mutex" else lock.acquire())
    finally:
        go_on.set()
        thread.join(PATIENCE_S)
    assert got == ["the lock"]


@pytest.mark.parametrize("exc", [Interrupted(), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_c6_a_handler_that_raises_cancels_the_coroutine(exc: BaseException) -> None:
    started, log, go_on = threading.Event(), [], threading.Event()

    async def coroutine() -> None:
        started.set()
        try:
            await gort.Chan[int]().recv()
        except gort.Cancelled:
            log.append("cancelled")
            raise

    async def main() -> None:
        await gort.blocking(go_on.wait, PATIENCE_S)
        await until(lambda: log)

    thread = in_another_thread(main)
    try:
        assert settles(lambda: len(gort._runtime.boot.main._running) == 1)
        with pytest.raises(type(exc)), interrupting(exc):
            gort.wait(coroutine())
    finally:
        go_on.set()
        thread.join(PATIENCE_S)
    assert log == ["cancelled"]


def test_c6_what_a_coroutine_raises_after_it_was_left_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(args.exc_value))

    async def coroutine() -> None:
        try:
            await gort.Chan[int]().recv()
        finally:
            raise ValueError("cleanup")

    async def main() -> None:
        out: gort.Chan[bool] = gort.Chan(1)

        def plain() -> None:
            with pytest.raises(TimeoutError):
                gort.wait(coroutine(), timeout=0.01)
            out.try_send(True)

        gort.go(plain)
        await out.recv()
        await until(lambda: reported)

    run(main)
    assert [repr(e) for e in reported] == ["ValueError('cleanup')"]


def test_c6_a_wait_in_a_thread_ends_with_the_program() -> None:
    """A thread outside the runtime that waits for something of the runtime's is told of the end too."""
    mu = Mutex()
    raised: list[str] = []
    waiting = threading.Event()

    def outside() -> None:
        waiting.set()
        try:
            gort.wait(mu.lock())
        except RuntimeError as e:
            raised.append(str(e))

    async def main() -> None:
        await mu.lock()
        thread.start()
        await gort.blocking(waiting.wait, PATIENCE_S)

    thread = threading.Thread(target=outside)
    gort.run(main)
    thread.join(PATIENCE_S)
    assert len(raised) == 1
    assert "runtime" in raised[0]


def test_wait_of_a_blocking_call_returns(run: Run) -> None:
    """gort.wait(gort.blocking(fn)) in a plain goroutine, also when no P is idle after the call."""

    async def main() -> list[int]:
        out: gort.Chan[int] = gort.Chan(3)

        def plain() -> None:
            for i in range(3):
                out.try_send(gort.wait(gort.blocking(lambda i=i: (time.sleep(0.002), i)[1])))  # type: ignore[misc]
            out.close()

        async def busy() -> None:
            while not out.closed:
                await gort.gosched()

        gort.go(plain)
        for _ in range(4):
            gort.go(busy)
        return [v async for v in out]

    assert run(main) == [0, 1, 2]


# ---- C7: a plain goroutine that waits can be cancelled ---------------------------------------------------------------


def test_c7_a_plain_member_that_waits_is_cancelled(run: Run) -> None:
    """The group ends with the failure, not with a deadlock that hides it."""
    log: list[str] = []

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()

        def plain() -> None:
            try:
                gort.wait(ch.recv())
            except gort.Cancelled:
                log.append("cancelled")
                raise

        async def fail() -> None:
            await gort.gosched()
            raise ValueError("member")

        with pytest.raises(ExceptionGroup) as info:
            async with gort.Group() as group:
                group.go(plain)
                group.go(fail)
        assert [type(e) for e in info.value.exceptions] == [ValueError]
        assert not ch.try_send(1), "nobody waits any more"

    run(main)
    assert log == ["cancelled"]


def test_c7_a_cancelled_plain_goroutine_waits_no_more(run: Run) -> None:
    """A cancellation that came while it computed is raised where it waits next; it can go on after that."""
    log: list[str] = []
    cancelled = threading.Event()

    async def main() -> None:
        entered = threading.Event()
        ch: gort.Chan[int] = gort.Chan(1)

        def plain() -> None:
            entered.set()
            cancelled.wait(PATIENCE_S)
            try:
                gort.wait(gort.sleep(PATIENCE_S))
            except gort.Cancelled:
                log.append("cancelled")
            gort.wait(ch.send(1))

        async with gort.Group() as group:
            h = group.go(plain)
            await until(entered.is_set)
            assert h.cancel()
            cancelled.set()
            assert await ch.recv() == 1

    run(main)
    assert log == ["cancelled"]


@pytest.mark.parametrize("swallow", [False, True])
def test_c7_its_coroutine_is_cancelled_first(run: Run, swallow: bool) -> None:
    """As with `await coroutine()`: the cancellation is raised in the coroutine, and gort.wait ends when that has."""
    log: list[str] = []

    async def main() -> None:
        waiting: gort.Chan[None] = gort.Chan(1)

        async def coroutine() -> str:
            try:
                waiting.try_send(None)
                await gort.Chan[int]().recv()
            except gort.Cancelled:
                await gort.sleep(0.002)
                log.append("coroutine")
                if not swallow:
                    raise
            return "its value"

        def plain() -> str:
            try:
                return gort.wait(coroutine())
            finally:
                log.append("plain")

        async with gort.Group() as group:
            h = group.go(plain)
            await waiting.recv()
            h.cancel()
            await ended(h)
        if swallow:
            assert h.result() == "its value"
        else:
            assert isinstance(h.exception(), gort.Cancelled)

    run(main)
    assert log == ["coroutine", "plain"]


# ---- C17: gort.wait in gort.blocking ---------------------------------------------------------------------------------


def test_c17_wait_in_a_blocking_call(run: Run) -> None:
    """Operations, select, sleep, locks and coroutines, on the thread of the call."""

    async def main() -> list[Any]:
        ch: gort.Chan[int] = gort.Chan()
        mu = Mutex()

        async def feed() -> None:
            for i in range(3):
                await ch.send(i)

        async def coroutine(a: int) -> int:
            await gort.sleep(0.001)
            return a + 1

        def call() -> list[Any]:
            out: list[Any] = [gort.wait(ch.recv()), gort.wait(ch.recv())]
            out.append(gort.wait(gort.select(None, ch.recv())))
            gort.wait(gort.sleep(0.001))
            gort.wait(mu.lock())
            mu.unlock()
            out.append(gort.wait(coroutine(4)))
            out.append(gort.wait(gort.blocking(lambda: 6)))
            with pytest.raises(TimeoutError):
                gort.wait(ch.recv(), timeout=0.002)
            return out

        gort.go(feed)
        return await gort.blocking(call)

    assert run(main) == [0, 1, (1, 2, True), 5, 6]


def test_c17_its_goroutine_goes_on_after_the_call(run: Run) -> None:
    """The wait takes no P that the call has given up, and gives none back."""

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()

        async def one(n: int) -> int:
            total = 0
            for _ in range(n):
                total += await gort.blocking(lambda: gort.wait(ch.recv()))
                await gort.gosched()
            return total

        async with gort.Group() as group:
            hs = [group.go(one, 10) for _ in range(5)]
            for _ in range(50):
                await ch.send(1)
        assert gort.runtime.stats()["idle_threads"] >= 0
        return sum(h.result() for h in hs)

    assert run(main) == 50


def test_c17_a_coroutine_inherits_the_calls_contextvars(run: Run) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="none")

    async def coroutine() -> str:
        seen = var.get()
        var.set("changed")
        return seen

    def call() -> list[str]:
        var.set("in the call")
        return [gort.wait(coroutine()), var.get()]

    async def main() -> list[str]:
        var.set("in the goroutine")
        return await gort.blocking(call)

    assert run(main) == ["in the call", "in the call"]


def test_c17_a_cancelled_goroutines_call_is_cancelled_where_it_waits(run: Run) -> None:
    log: list[str] = []

    async def main() -> None:
        entered = threading.Event()

        def call() -> None:
            entered.set()
            try:
                gort.wait(gort.Chan[int]().recv())
            except gort.Cancelled:
                log.append("cancelled")
                raise

        async def member() -> None:
            await gort.blocking(call)

        async with gort.Group() as group:
            h = group.go(member)
            await until(entered.is_set)
            h.cancel()
        assert isinstance(h.exception(), gort.Cancelled)

    run(main)
    assert log == ["cancelled"]


def test_c17_a_deadlock_is_told(run: Run) -> None:
    """A call that waits for what nobody will send keeps no program alive."""
    told: list[str] = []

    def call() -> None:
        try:
            gort.wait(gort.Chan[int]().recv())
        except RuntimeError as e:
            told.append(str(e))
            raise

    async def main() -> None:
        await gort.blocking(call)

    with pytest.raises(gort.Deadlock):
        run(main)
    assert len(told) == 1
    assert "stopping" in told[0]


def test_c17_what_cannot_wait_is_refused(run: Run) -> None:
    """An async goroutine outside gort.blocking; a handler that has interrupted the scheduler."""
    refused: list[str] = []

    def handler(signum: int, frame: object) -> None:
        try:
            gort.wait(gort.sleep(0.001))
        except RuntimeError as e:
            refused.append(str(e))

    async def main() -> None:
        with pytest.raises(RuntimeError, match="use `await`"):
            gort.wait(gort.sleep(0))
        while not refused:
            await gort.sleep(0.005)

    before = signal.signal(signal.SIGALRM, handler)
    timer = signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        run(main)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)
    assert refused
    assert "block" in refused[0]
