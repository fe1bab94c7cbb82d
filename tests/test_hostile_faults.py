"""What test_hostile.py has found, each as a test of its own: the scheduler meets an object of the user's whose methods
fail, or a function that cannot be called, and goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import gort
import gort.signal
from gort import context
from support import settles

Run = Callable[..., Any]


def fails(*args: object) -> Any:
    """A method that fails."""
    raise ValueError("the user's own")


async def waits() -> None:
    await gort.Chan[None]().recv()


async def needs(one: object) -> None:
    raise AssertionError("must not be called")


# --- functions that were given earlier -------------------------------------------------------------


def test_a_timer_whose_function_cannot_be_called(run: Run) -> None:
    """Wrong arguments show when the timer fires, on g0: a panic, with the TypeError as its cause."""

    async def main() -> None:
        gort.after_func(0.001, needs)
        await waits()

    with pytest.raises(gort.Panic) as told:
        run(main)
    assert isinstance(told.value.__cause__, TypeError)
    assert "needs() missing 1 required" in str(told.value)


def test_a_function_of_a_context_that_cannot_be_called(run: Run) -> None:
    """The TypeError is not the canceller's, and every other descendant is cancelled."""
    errors: list[Exception | None] = []

    async def main() -> None:
        ctx, cancel = context.with_cancel(context.background())
        context.after_func(ctx, needs)
        later, _ = context.with_cancel(ctx)
        cancel()
        errors.append(later.err())
        await waits()

    with pytest.raises(gort.Panic) as told:
        run(main)
    assert isinstance(told.value.__cause__, TypeError)
    assert isinstance(errors[0], context.Canceled)


# --- threads, signals ------------------------------------------------------------------------------


def test_the_deadlock_check_asks_no_thread_of_the_users(run: Run) -> None:
    """It runs on g0 and on sysmon's thread: a Thread's own is_alive, ident, __eq__ and __hash__ are not called."""

    class Thread(threading.Thread):
        pass

    names = ("__hash__", "__eq__", "is_alive", "ident")
    wake: gort.Chan[int] = gort.Chan(1)

    def lives() -> None:
        for name in names:
            setattr(Thread, name, property(fails) if name == "ident" else fails)
        time.sleep(0.05)  # meanwhile every goroutine waits, and the check runs
        for name in names:
            delattr(Thread, name)
        wake.try_send(7)

    async def main() -> int:
        thread = Thread(target=lives)
        thread.start()
        value = await wake.recv()
        await gort.blocking(thread.join)
        return value

    assert run(main) == 7


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_cancels_a_context_whose_parent_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported; the other channels get the signal, and so does everybody later."""
    reported: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(args.exc_value))

    class Parent(context.Context):
        armed = False
        end: gort.Chan[None] = gort.Chan()

        def done(self) -> gort.Chan[None]:
            return self.end

        def value(self, key: object) -> Any:
            return fails() if self.armed else None

    async def main() -> None:
        parent = Parent()
        gort.signal.notify_context(parent, signal.SIGUSR1)
        other = gort.Chan[Any](1)
        gort.signal.notify(other, signal.SIGUSR1)
        parent.armed = True
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
            await other.recv()
        parent.armed = False

    gort.run(main)
    assert settles(lambda: [str(e) for e in reported] == ["the user's own"])


@pytest.mark.parametrize("exc", [gort.Cancelled, KeyboardInterrupt])
def test_a_locker_that_always_raises_a_cancellation(run: Run, exc: type[BaseException]) -> None:
    """Cond.wait tries to lock once more, and then passes it on: it used to try for ever, without a wait."""
    tries: list[int] = []

    class Locker:
        async def lock(self) -> None:
            tries.append(1)
            raise exc

        def unlock(self) -> None:
            pass

    async def main() -> None:
        cond = gort.sync.Cond(Locker())  # type: ignore[arg-type]
        gort.after_func(0.001, cond.broadcast)
        await cond.wait()

    with pytest.raises(exc):
        run(main)
    assert len(tries) == 2
