"""How a program dies, seen from gort.run: Panic with its cause, Deadlock with all stacks, what is no
deadlock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core import traceback
from support import PATIENCE_S, ROOT, command, environment, parked, until

Run = Callable[..., Any]


async def for_ever() -> None:
    await gort.Chan[int]().recv()


def test_panic_is_chained(run: Run) -> None:
    """gort.run raises Panic from the goroutine's exception, whose traceback is whole."""

    async def raises() -> None:
        await gort.gosched()
        raise ValueError("boom")

    async def main() -> None:
        gort.go(raises)
        await for_ever()

    with pytest.raises(gort.Panic) as info:
        run(main)
    cause = info.value.__cause__
    assert repr(cause) == "ValueError('boom')"
    assert cause is not None
    names = []
    tb = cause.__traceback__
    while tb:
        names.append(tb.tb_frame.f_code.co_name)
        tb = tb.tb_next
    assert names[-1] == "raises"
    assert "boom" in str(info.value)
    assert isinstance(info.value, RuntimeError)


def test_panic_in_a_plain_function(run: Run) -> None:
    def raises() -> None:
        raise ValueError("plain")

    async def main() -> None:
        gort.go(raises)
        await for_ever()

    with pytest.raises(gort.Panic) as info:
        run(main)
    assert repr(info.value.__cause__) == "ValueError('plain')"


def test_panic_closes_the_others(run: Run) -> None:
    """finally blocks of main and of the other goroutines run."""
    log: list[str] = []

    async def other() -> None:
        try:
            await for_ever()
        finally:
            log.append("other")

    async def raises() -> None:
        raise ValueError("boom")

    async def main() -> None:
        try:
            gort.go(other)
            await parked(1, "chan receive")
            gort.go(raises)
            await for_ever()
        finally:
            log.append("main")

    with pytest.raises(gort.Panic):
        run(main)
    assert sorted(log) == ["main", "other"]


def test_first_of_many_panics_wins(run: Run) -> None:
    """A hundred goroutines that fail at once: one Panic, no hang, nothing else raised."""

    async def raises(i: int) -> None:
        raise ValueError(i)

    async def main() -> None:
        for i in range(100):
            gort.go(raises, i)
        await for_ever()

    for _ in range(20):
        with pytest.raises(gort.Panic) as info:
            run(main)
        assert isinstance(info.value.__cause__, ValueError)


def test_error_in_main_comes_as_it_is(run: Run) -> None:
    class Special(Exception):
        pass

    error = Special("mine")

    async def main() -> None:
        await gort.gosched()
        raise error

    with pytest.raises(Special) as info:
        run(main)
    assert info.value is error


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt()])
def test_exits_come_through(run: Run, exc: BaseException) -> None:
    """SystemExit and KeyboardInterrupt raised in main leave run unchanged."""

    async def main() -> None:
        raise exc

    with pytest.raises(type(exc)) as info:
        run(main)
    assert info.value is exc


def test_goexit_ends_only_its_goroutine(run: Run) -> None:
    async def main() -> list[str]:
        log: list[str] = []

        async def leaves() -> None:
            try:
                runtime.goexit()
            finally:
                log.append("finally")

        def plain() -> None:
            try:
                runtime.goexit()
            finally:
                log.append("plain finally")

        gort.go(leaves)
        gort.go(plain)
        await until(lambda: len(log) == 2)
        await until(lambda: runtime.num_goroutine() == 1)
        return sorted(log)

    assert run(main) == ["finally", "plain finally"]


def test_deadlock_tells_every_goroutine(run: Run) -> None:
    async def waiter(ch: gort.Chan[int]) -> None:
        await ch.recv()

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        for _ in range(3):
            gort.go(waiter, ch)
        await gort.select(ch.recv(), None)

    with pytest.raises(gort.Deadlock) as info:
        run(main)
    assert str(info.value).startswith("all goroutines are asleep - deadlock!")
    text = info.value.dump
    assert len(re.findall(r"^goroutine \d+ \[chan receive\]:", text, re.MULTILINE)) == 3
    assert len(re.findall(r"^goroutine 1 \[select\]:", text, re.MULTILINE)) == 1
    assert "in waiter" in text or "waiter(" in text


def test_deadlock_runs_finally(run: Run) -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            await for_ever()
        finally:
            log.append("finally")

    with pytest.raises(gort.Deadlock):
        run(main)
    assert log == ["finally"]


def test_deadlock_after_much_work_on_many_ps() -> None:
    """The check counts right when threads come and go: it is found every time."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()

        async def sender(i: int) -> None:
            for _ in range(10):
                await gort.gosched()
            await ch.send(i)

        for i in range(20):
            gort.go(sender, i)
        for _ in range(20):
            await ch.recv()
        await ch.recv()

    for _ in range(50):
        with pytest.raises(gort.Deadlock):
            gort.run(main, procs=4)


def test_a_timer_is_no_deadlock(run: Run) -> None:
    async def main() -> str:
        await gort.after(0.02).recv()
        return "woken"

    for _ in range(20):
        assert run(main) == "woken"


def test_a_running_plain_function_is_no_deadlock(run: Run) -> None:
    """It may still send: only when it has returned can the program be stuck."""

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()
        event = threading.Event()

        def plain() -> None:
            event.wait(0.05)  # nothing else runs meanwhile
            gort.wait(ch.send(3))

        gort.go(plain)
        return await ch.recv()

    assert run(main) == 3


def test_a_foreign_thread_in_wait_is_no_deadlock(run: Run) -> None:
    """A thread that is inside gort.wait can wake a goroutine; the program waits for it."""

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()
        inside = threading.Event()

        def foreign() -> None:
            inside.set()
            gort.wait(gort.sleep(0.03))
            gort.wait(ch.send(4))

        thread = threading.Thread(target=foreign)
        thread.start()
        await gort.blocking(inside.wait, PATIENCE_S)
        value = await ch.recv()
        thread.join(PATIENCE_S)
        return value

    assert run(main) == 4


def test_self_deadlock_of_a_mutex_in_one_of_many(run: Run) -> None:
    """While others still run, a stuck goroutine is no error; when main ends, it is closed."""

    async def main() -> str:
        mu = gort.sync.Mutex()

        async def stuck() -> None:
            await mu.lock()
            await mu.lock()

        gort.go(stuck)
        await parked(1, "sync.Mutex.Lock")
        return "main goes on"

    assert run(main) == "main goes on"


def test_g4_a_dump_shows_the_users_frames_alone(run: Run) -> None:
    """Frames of the scheduler and of the library (Group, Once, …) between the user's are left out."""

    async def main() -> str:
        once = gort.sync.Once()

        async def waits() -> None:
            await gort.Chan[int]().recv()

        async with gort.Group() as group:
            h = group.go(once.do, waits)
            await parked(1, "chan receive")
            text = gort.runtime.stack(all=True)
            h.cancel()
        return text

    text = run(main)
    assert "waits" in text
    assert "/gort/" not in text.replace(str(ROOT), "")


def creators(text: str) -> set[str]:
    """Who created the goroutines of a dump, with the line."""
    return set(re.findall(r"^created by (.*\n\t.*)$", text, re.MULTILINE))


async def closes_and_sends() -> None:
    ch = gort.Chan[int](1)
    ch.close()
    await ch.send(1)


async def selects() -> None:
    ch = gort.Chan[int]()
    ch.close()
    await gort.select(ch.send(1))


async def unlocks() -> None:
    gort.sync.Mutex().unlock()


async def divides() -> None:
    await gort.blocking(divmod, 1, 0)


def plain() -> None:
    gort.wait(gort.Chan[int](-1).recv())


@pytest.mark.parametrize("fails", [closes_and_sends, selects, unlocks, divides, plain])
def test_g4_a_panic_shows_the_users_frames_alone(run: Run, fails: Callable[..., Any]) -> None:
    """gort's own are left out: those of the compiled core too, which Cython makes up for the traceback."""

    async def main() -> None:
        gort.go(fails)
        await for_ever()

    with pytest.raises(gort.Panic) as info:
        run(main)
    goroutine = info.value.dump.partition("[running]:\n")[2]
    functions = re.findall(r"^(\S+)\(\.\.\.\)$", goroutine, re.MULTILINE)
    assert functions == [f"test_panic.{fails.__name__}"]
    assert "gort/" not in goroutine.replace(str(ROOT), "")


def test_a_panic_with_a_group_shows_the_users_frames_alone(run: Run) -> None:
    """The members' tracebacks have no frames of gort either, and say where each member failed."""

    async def main() -> None:
        async def group() -> None:
            async with gort.Group() as g:
                g.go(closes_and_sends)

        gort.go(group)
        await for_ever()

    with pytest.raises(gort.Panic) as info:
        run(main)
    text = info.value.dump
    assert "in closes_and_sends" in text
    assert "ChannelClosed: send on closed channel" in text
    assert "gort/" not in text.replace(str(ROOT), "")


def test_a_dump_has_no_frames_of_a_thread(run: Run) -> None:
    """A plain function on another thread than the main thread: its own frames, and none of threading's."""

    async def main() -> str:
        runtime.lock_os_thread()  # so that what follows runs on another thread
        texts: gort.Chan[str] = gort.Chan(1)

        def plain() -> None:
            assert threading.current_thread() is not threading.main_thread()
            texts.try_send(runtime.stack(all=True))

        gort.go(plain)
        return await texts.recv()

    text = run(main)
    assert "plain(...)" in text
    assert "threading" not in text
    assert "_bootstrap" not in text


def test_created_by_names_the_users_line(run: Run) -> None:
    """Function and line of the go statement, whichever it was; as in Go with the package before the name."""

    async def main() -> str:
        async with gort.Group() as g:
            gort.go(for_ever)
            gort.sync.WaitGroup().go(for_ever)
            h = g.go(for_ever)
            gort.after_func(0, for_ever)
            await parked(4, "chan receive")
            text = runtime.stack(all=True)
            h.cancel()
        return text

    text = run(main)
    first = main.__code__.co_firstlineno
    name = "test_panic.test_created_by_names_the_users_line.main in goroutine 1"
    assert creators(text) == {f"{name}\n\t{__file__}:{first + n}" for n in (2, 3, 4, 5)}


def test_created_by_of_a_panic_of_after_func(run: Run) -> None:
    """The goroutine that called after_func, and where."""

    def fails() -> None:
        raise ValueError("late")

    async def starts() -> None:
        gort.after_func(0.001, fails)

    async def main() -> None:
        gort.go(starts)
        await for_ever()

    with pytest.raises(gort.Panic) as info:
        run(main)
    (creator,) = creators(info.value.dump)
    assert re.match(r"test_panic\.test_created\S+\.starts in goroutine (?!1$)\d+\n", creator)
    assert creator.endswith(f":{starts.__code__.co_firstlineno + 1}")


def test_created_by_survives_a_module_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for the module of a file runs no code of a module's, which may be lazy or broken."""

    class Broken(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise ValueError(name)

    class Other:
        @property
        def __file__(self) -> str:
            raise ValueError("__file__")

    code = compile("def starts(gort, fn): gort.go(fn)\n", "/no/such/file.py", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    monkeypatch.setitem(sys.modules, "broken", Broken("broken"))
    monkeypatch.setitem(sys.modules, "other", Other())  # type: ignore[arg-type]

    async def main() -> str:
        names["starts"](gort, for_ever)
        await parked(1, "chan receive")
        return runtime.stack(all=True)

    assert creators(gort.run(main)) == {"starts in goroutine 1\n\t/no/such/file.py:1"}


@pytest.mark.skipif(
    traceback.WITHOUT_GIL and not traceback.STOPS_WORLD, reason="its frames cannot be read while it runs"
)
def test_a_thread_that_schedules_runs_no_goroutine() -> None:
    """The frames of gort.run's caller are nobody's, while the thread is in the scheduler."""

    me = "test_panic.test_a_thread_that_schedules_runs_no_goroutine"

    async def main() -> list[Any]:
        found: gort.Chan[list[Any]] = gort.Chan(1)

        def look() -> None:
            while f"{me}.main" in [name for name, _, _ in traceback.running(home)]:
                pass
            found.try_send(traceback.running(home))

        await gort.gosched()
        thread = threading.Thread(target=look)
        thread.start()
        frames = await found.recv()
        thread.join()
        return frames

    home = threading.get_ident()
    assert gort.run(main, procs=1) == []


def test_a_thread_that_looks_for_other_threads_runs_no_goroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler asks threading whether a thread outside is alive, before it reports a deadlock."""
    found: list[Any] = []
    enumerate_threads = threading.enumerate

    def looks() -> list[threading.Thread]:
        if sys._getframe(1).f_globals["__name__"] == "gort._runtime.watch.external":
            found.append(traceback.running(threading.get_ident()))
        return enumerate_threads()

    async def main() -> None:
        await gort.Chan[None]().recv()

    monkeypatch.setattr(threading, "enumerate", looks)
    with pytest.raises(gort.Deadlock):
        gort.run(main, procs=1)
    assert found
    assert all(frames == [] for frames in found)


@pytest.mark.parametrize("main_raises", [False, True])
def test_main_returns_while_another_goroutine_panics(main_raises: bool) -> None:
    """As in Go: the dump of a panic takes a while, here because of the exception's text, and main returns meanwhile.
    The program ended without the panic."""
    panicking, returned = threading.Event(), threading.Event()

    class Slow(Exception):
        def __str__(self) -> str:
            panicking.set()
            assert returned.wait(PATIENCE_S)
            return "slow"

    async def panics() -> None:
        raise Slow

    async def main() -> None:
        gort.go(panics)
        while not panicking.is_set():
            await gort.gosched()
        gort.go(returns)  # runs at the earliest when main has returned, or at the same time
        if main_raises:
            raise ValueError("of main")

    async def returns() -> None:
        for _ in range(100):
            await gort.gosched()
        returned.set()

    with pytest.raises(gort.Panic, match="slow"):
        gort.run(main, procs=4)


PANICS = """\
import gort


async def divides(by):
    return 1 / by


async def waits():
    await gort.Chan().recv()


async def main():
    gort.go(waits)
    await gort.gosched()
    await divides(0)
"""


@pytest.mark.once
@pytest.mark.parametrize("terminal", [True, False])
def test_gort_run_shows_the_source_at_a_terminal(terminal: bool, tmp_path: Path) -> None:
    """Of the goroutine that has panicked alone; and a dump that goes elsewhere is as Go's."""
    program = tmp_path / "panics.py"
    program.write_text(PANICS)
    ours, theirs = os.openpty() if terminal else os.pipe()
    try:
        process = subprocess.Popen(command("run", str(program)), stderr=theirs, env=environment())
        os.close(theirs)
        text = b""
        try:
            while read := os.read(ours, 1 << 16):
                text += read
        except OSError:  # a terminal that nobody has open any more
            pass
        assert process.wait(PATIENCE_S) == 2
    finally:
        os.close(ours)
    dump = text.decode().replace("\r\n", "\n")
    first, second = f"main.divides(...)\n\t{program}:5\n", f"main.main(...)\n\t{program}:15\n"
    if terminal:
        first += "\t    return 1 / by\n"
        second += "\t    await divides(0)\n"
    assert f"goroutine 1 [running]:\n{first}{second}" in dump
    assert "Chan().recv()" not in dump
