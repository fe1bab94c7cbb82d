"""What test_hostile.py has found, each as a test of its own: the scheduler meets an object of the user's whose methods
fail, or a function that cannot be called, and goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import pytest

import gort
import gort.signal
from gort import context, runtime
from support import parked, python, settles, until

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


# --- exceptions ------------------------------------------------------------------------------------


class NoClass(Exception):
    __class__ = property(fails)  # type: ignore[assignment]


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        fails()

    def __setattr__(self, name: str, value: Any) -> None:
        fails()


@pytest.mark.parametrize("kind", [NoClass, NoAttributes])
def test_an_exception_whose_own_code_fails(run: Run, kind: type[Exception]) -> None:
    """It comes out of main, of a goroutine and of a group as any other does."""
    error = kind()

    async def raises() -> None:
        raise error

    async def member() -> None:
        async with gort.Group() as group:
            group.go(raises)
            group.go(waits)

    async def started() -> None:
        gort.go(raises)
        await waits()

    with pytest.raises(BaseException) as told:
        run(raises)
    assert told.value is error
    with pytest.raises(ExceptionGroup) as together:
        run(member)
    assert together.value.exceptions[0] is error
    with pytest.raises(BaseException) as told:
        run(started)
    assert told.value is error or told.value.__cause__ is error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_without_a_traceback_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so it is where a class derived from tuple does not tell its name."""
    reported: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(args.exc_value))
    error = NoAttributes()
    odd = type("Meta", (type,), {"__name__": property(fails)})("Odd", (tuple,), {})

    async def left() -> None:
        try:
            await waits()
        finally:
            raise error

    async def main() -> int:
        gort.go(left)
        await until(lambda: runtime.num_goroutine() == 2)
        await gort.gosched()
        return 7

    assert run(main) == 7
    assert [e for e in reported if e is error] == [error]
    assert odd is not None


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt()])
def test_exit_in_a_finally_block_at_the_end(run: Run, exc: BaseException) -> None:
    """It ends the program, as sys.exit does everywhere: before, nobody heard of it."""

    async def left() -> None:
        try:
            await waits()
        finally:
            raise exc

    async def main() -> None:
        gort.go(left)
        await gort.gosched()
        await gort.gosched()

    with pytest.raises(type(exc)) as told:
        run(main)
    assert told.value is exc


# --- dumps -----------------------------------------------------------------------------------------

SOURCE = """
import gort, time
async def f(): await gort.Chan().recv()
def stack(): return gort.runtime.stack(all=True)
def sleep(): time.sleep(0.02)
"""


class Text(str):
    __slots__ = ()
    __str__ = __format__ = startswith = replace = __eq__ = __ne__ = fails
    __hash__ = str.__hash__


@pytest.mark.parametrize("name", [5, Text("odd")])
def test_a_dump_of_a_module_with_an_odd_name(run: Run, name: object) -> None:
    names: dict[str, Any] = {"__name__": name}
    exec(compile(SOURCE, "odd.py", "exec"), names)

    async def main() -> str:
        gort.go(names["f"])
        await gort.gosched()
        return str(names["stack"]())

    assert "stack(...)\n\todd.py:4" in run(main)


@pytest.mark.parametrize("field", ["co_filename", "co_name", "co_qualname"])
def test_a_dump_of_code_with_an_odd_name(run: Run, field: str) -> None:
    code = waits.__code__.replace(**{field: Text("odd")})  # type: ignore[arg-type]
    odd = types.FunctionType(code, globals())

    async def main() -> str:
        gort.go(odd)
        await parked(1, "chan receive")
        return runtime.stack(all=True)

    text = run(main)
    assert "[chan receive]" in text
    assert field == "co_name" or "odd" in text


def test_a_dump_asks_no_object_of_the_users(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a function object, nor a hand-written awaitable, nor a module."""
    asked: list[str] = []

    class Odd:
        def __init__(self) -> None:
            self.inner = gort.Chan[None]().recv().__await__()

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            if name not in ("throw", "close"):  # the interpreter asks for these itself, when it is cancelled
                fails()
            raise AttributeError(name)

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return next(self.inner)

    class Function:
        def __init__(self) -> None:
            self.__qualname__ = "Function"  # Group.go asks for it

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            fails()

        def __call__(self) -> None:
            pass

    class Awaited:
        def __await__(self) -> Any:
            return Odd()

    async def through() -> None:
        await Awaited()

    module = types.ModuleType("odd")
    module.__file__ = type("File", (), {"__eq__": fails, "__hash__": object.__hash__})()
    monkeypatch.setitem(sys.modules, "odd", module)
    names: dict[str, Any] = {"go": gort.go}
    exec(compile("def start(f): go(f)", "nowhere.py", "exec"), names)

    async def main() -> str:
        async with gort.Group() as group:
            group.go(through)
            names["start"](through)
            await gort.gosched()
            await gort.gosched()
            asked.clear()
            group.go(Function())
            text = runtime.stack(all=True)
            assert asked == []
            group.cancel()
        return text

    assert "created by start" in run(main)


def test_a_blocked_call_in_a_module_with_an_odd_name() -> None:
    """sysmon tells of it, and lives on: before, the process ended with "sysmon failed"."""
    code = f"""
import gort
names = {{"__name__": 5}}
exec(compile({SOURCE!r}, "odd.py", "exec"), names)
async def nothing(): pass
async def main():
    told = []
    gort.runtime.on_blocked(lambda *args: told.append(args))
    while not told:
        gort.go(nothing)
        names["sleep"]()
        await gort.gosched()
    return told[0][2]
print(gort.run(main, procs=1))
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "sleep(...)\n\todd.py:5" in done.stdout


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


# --- awaits ----------------------------------------------------------------------------------------


def test_a_yielded_object_that_cannot_be_looked_at(run: Run) -> None:
    """The TypeError has what its attributes have raised as its cause."""

    class Yields:
        def __await__(self) -> Any:
            yield type("Odd", (), {"__getattr__": fails})()

    async def main() -> None:
        await Yields()

    with pytest.raises(TypeError, match="cannot be looked at") as told:
        run(main)
    assert str(told.value.__cause__) == "the user's own"


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

        async def wakes() -> None:
            await parked(1, "sync.Cond.Wait")
            cond.broadcast()

        gort.go(wakes)
        await cond.wait()

    with pytest.raises(exc):
        run(main)
    assert len(tries) == 2


def test_a_cancel_that_fails_half_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, or the exception of a signal handler: the next cancel of the group begins anew.  It used to change
    nothing, so that the group waited for ever for members that nobody had cancelled."""
    from gort._runtime.core import handoff

    cancel = handoff.cancel
    failed: list[int] = []

    def fails_once(*args: Any) -> Any:
        if not failed:
            failed.append(1)
            raise MemoryError
        return cancel(*args)

    async def main() -> str:
        async with gort.Group() as group:
            group.go(waits)
            group.go(waits)
            await gort.gosched()
            monkeypatch.setattr(handoff, "cancel", fails_once)
            with pytest.raises(MemoryError):
                group.cancel()
            group.cancel()
        return "ended"

    assert run(main) == "ended"


@pytest.mark.skipif(runtime.compiled, reason="the compiled core has no frames there")
def test_no_handler_runs_between_the_scheduler_and_its_goroutine() -> None:
    """Just before the goroutine runs, or just after: what the handler raises would be raised in the scheduler."""
    from gort._runtime.sched import proc
    from gort._runtime.watch import sigdefer

    allowed: dict[str, bool] = {}

    def look() -> None:
        frame = sys._getframe(0)
        allowed["the user's"] = sigdefer.may_run(frame)
        while frame.f_code not in (proc.resume.__code__, proc.run.__code__):
            assert frame.f_back is not None
            frame = frame.f_back
        allowed[frame.f_code.co_name] = sigdefer.may_run(frame)

    async def main() -> None:
        look()
        gort.go(look)
        await gort.gosched()
        await gort.gosched()

    gort.run(main, procs=1)
    assert allowed == {"the user's": True, "resume": False, "run": False}


def test_sysmon_finds_no_memory() -> None:
    """It leaves the round out: before, the process ended with "sysmon failed"."""
    done = python("""
import gort
from gort._runtime.watch import sysmon
retake, rounds = sysmon.retake, []
def fails_first(*args):
    rounds.append(1)
    if len(rounds) < 4:
        raise MemoryError
    return retake(*args)
sysmon.retake = fails_first
async def main():
    while len(rounds) < 6:
        await gort.gosched()
    return "went on"
print(gort.run(main))
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "went on\n"


@pytest.mark.parametrize("where", ["Thread._bootstrap_inner", "get_native_id"])
def test_the_thread_of_an_m_finds_no_memory_to_begin(where: str) -> None:
    """In threading's steps, or in mstart's: its P goes to another thread, and sysmon tries again.  The P was lost, and
    the program hung."""
    done = python(f"""
import threading
import gort
failed = []
real = threading.{where}
main_ident = threading.get_ident()
def fails(*args):
    if threading.get_ident() != main_ident and len(failed) < 3:
        failed.append(1)
        raise MemoryError
    return real(*args)
threading.{where} = fails
async def main():
    event = threading.Event()
    async def sets(): event.set()
    gort.go(sets)
    event.wait()  # blocks this thread: another one must take the P
    return "went on"
print(gort.run(main, procs=2), len(failed), threading.enumerate() == [threading.main_thread()])
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "went on 3 True\n"
    assert done.stderr.count("gort: cannot start another thread (MemoryError); going on with") == 1


def test_sysmon_finds_no_memory_to_begin() -> None:
    """It tries again.  Its thread used to end, and a call that blocks would have stopped the program."""
    done = python("""
import threading
import gort
from gort._runtime.watch import sysmon
real, failed = sysmon.gil_enabled, []
def fails():
    if len(failed) < 3:
        failed.append(1)
        raise MemoryError
    return real()
sysmon.gil_enabled = fails
async def main():
    event = threading.Event()
    async def sets(): event.set()
    gort.go(sets)
    event.wait()
    return "went on"
print(gort.run(main, procs=1), len(failed))
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "went on 3\n"


def test_a_throw_finds_no_memory_for_the_stacks() -> None:
    """It tells the message all the same, and the process ends: the exception used to escape from throw."""
    done = python("""
from gort._runtime.core import lockrank
def stack(): raise MemoryError
lockrank.throw("the message", stack)
""")
    assert (done.returncode, done.stderr) == (2, "fatal error: the message\n")


@pytest.mark.parametrize("exc", ["SystemExit(3)", "ValueError('the hook')"])
def test_a_warning_that_raises(exc: str) -> None:
    """That of an operation which nobody awaits: it is reported.  A SystemExit used to end the process on the spot."""
    done = python(f"""
import sys, warnings
import gort
def show(*args): raise {exc}
warnings.showwarning = show
warnings.simplefilter("always")
told = []
sys.unraisablehook = lambda args: told.append(args.exc_value)
async def main():
    gort.Chan().recv()
    return "went on"
print(gort.run(main), *map(repr, told))
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"went on {exc}\n"


@pytest.mark.parametrize("procs", [1, 4])
def test_c9_an_audit_hook_that_refuses_a_thread_its_hooks_ends_the_program(procs: int) -> None:
    """Its exception comes out of gort.run.  The runtime started one thread after the other, for ever, and counted those
    that ended as still there."""
    done = python(
        """
import sys, threading, time
import gort
main_thread = threading.get_ident()
began = []
def hook(event, args):
    if event.startswith("sys.set_asyncgen") and threading.get_ident() != main_thread and armed:
        began.append(event)
        raise ValueError("refused")
armed = True
sys.addaudithook(hook)
async def main():
    while True:  # a goroutine waits while this thread is in the call: another thread is needed
        gort.go(lambda: None)
        await gort.blocking(time.sleep, 0.001)
try: gort.run(main, procs=int(sys.argv[1]))
except ValueError as e: print(e, len(began) < 100)
armed = False
async def again():
    await gort.blocking(time.sleep, 0.001)
    return "ends"
print(gort.run(again, procs=4))
""",
        str(procs),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused True\nends\n", "")


@pytest.mark.skipif(not runtime.compiled, reason="uncompiled, each statement may find no memory")
def test_no_memory_to_move_the_timers_of_ps_that_go() -> None:
    """`gomaxprocs(1)` moves the timers of the other Ps.  Where there is no memory for that it raises MemoryError, the
    world goes on, and each timer is still in a heap, so that it can be stopped: before, the process crashed."""
    pytest.importorskip("_testcapi", reason="the interpreter's own way to have no memory")
    done = python("""
import time, _testcapi
import gort
from gort import runtime

async def arms(timers):
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end:
        timers.append(gort.after_func(3600, print))
        await gort.gosched()

async def main(at):
    runtime.gomaxprocs(4)
    timers = []
    async with gort.Group() as group:
        for _ in range(4):
            group.go(arms, timers)
    said = "there was some"
    try:
        _testcapi.set_nomemory(at, at + 1)
        runtime.gomaxprocs(1)
    except MemoryError:
        said = "there was none"
    finally:
        _testcapi.remove_mem_hooks()
    runtime.gomaxprocs(2)
    await gort.sleep(0.001)
    assert all(timer.stop() for timer in timers)
    return said

print({gort.run(main, at) for at in range(1, 24)} == {"there was some", "there was none"})
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
