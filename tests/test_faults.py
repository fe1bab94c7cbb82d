"""Faults that users of other runtimes have reported, each with the value that is right.  The names are those of the list
of faults (C1, C2, …); one test or more for each.

Programs whose fault is in an error path run in a process of their own: pytest puts hooks of its own in place
(sys.unraisablehook), under which such a path looks sound.
"""

from __future__ import annotations

import functools
import textwrap
import types
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import gort
from support import gort_cli, program, recv, until

Run = Callable[..., Any]


# ---- C1: what cannot be raised is reported, whatever hook is in place ----------------------------------------------


def test_c1_a_cleanup_that_raises_at_the_end_loses_no_result() -> None:
    done = program("""
        async def left():
            try: await gort.Chan().recv()
            finally: raise ValueError("cleanup fails")
        async def main():
            gort.go(left)
            await gort.sleep(.01)
            return 42
        print(gort.run(main))
    """)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert "ValueError: cleanup fails" in done.stderr
    assert "a goroutine's finally block raised" in done.stderr


def test_c1_a_cleanup_that_raises_at_the_end_hides_no_panic() -> None:
    done = program("""
        async def left():
            try: await gort.Chan().recv()
            finally: raise ValueError("cleanup fails")
        def bad():
            raise KeyError("the panic")
        async def main():
            gort.go(left)
            await gort.sleep(.01)
            gort.go(bad)
            await gort.Chan().recv()
        try:
            gort.run(main)
        except gort.Panic as e:
            print(repr(e.__cause__))
    """)
    assert done.stdout == "KeyError('the panic')\n", done.stderr


@pytest.mark.parametrize("procs", [1, 4])
def test_c1_an_async_generator_whose_cleanup_raises_ends_nothing(procs: int) -> None:
    done = program(f"""
        async def numbers():
            try: yield 1
            finally: raise ValueError("fin")
        async def one():
            async for n in numbers(): break
        async def main():
            async with gort.Group() as group:
                for _ in range(4): group.go(one)
            await gort.sleep(.02)
            print("goes on")
        gort.run(main, procs={procs})
    """)
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr
    # Several threads write at once, so only one P's text is whole.
    assert done.stderr.count("ValueError: fin") == 4 if procs == 1 else "fin" in done.stderr


@pytest.mark.parametrize("raises", ["ValueError('hook')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_c1_a_hook_that_raises_ends_nothing(raises: str) -> None:
    done = program(f"""
        def hook(args): raise {raises}
        sys.unraisablehook = hook
        async def left():
            try: await gort.Chan().recv()
            finally: raise ValueError("cleanup fails")
        async def numbers():
            try: yield 1
            finally: raise ValueError("fin")
        async def main():
            async for n in numbers(): break
            gort.go(left)
            await gort.sleep(.02)
            return 42
        print(gort.run(main))
    """)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


# ---- C2: every way out of gort.run unbinds the thread --------------------------------------------------------------


def test_c2_a_boot_that_fails_leaves_the_thread_as_it_was() -> None:
    done = program("""
        import gc
        async def main(): return "runs"
        for _ in range(3):
            try: gort.run(main, procs=70000)
            except ValueError as e: print("refused")
            gc.collect(); x = [[i] * 10 for i in range(100000)]
            print(gort.run(main))
    """)
    assert done.stdout == "refused\nruns\n" * 3, done.stderr


def test_c2_gomaxprocs_that_is_too_large() -> None:
    done = program(
        """
        async def main(): return "runs"
        for _ in range(2):
            try: gort.run(main)
            except ValueError: print("refused")
        print(gort.run(main, procs=1))
        """,
        GOMAXPROCS="9999999",
    )
    assert done.stdout == "refused\nrefused\nruns\n", done.stderr


@pytest.mark.skipif(
    not gort.runtime.compiled, reason="the uncompiled scheduler is Python: it may be raised in anywhere"
)
def test_c2_a_handler_that_raises_at_any_moment_of_a_run() -> None:
    """A timer's signal comes every few hundred microseconds: during the boot, the program, its end, and between."""
    done = program("""
        import signal
        class Alarm(Exception): pass
        def handler(signum, frame): raise Alarm
        signal.signal(signal.SIGALRM, handler)
        async def main():
            await gort.sleep(0.0005)
            return 1
        ran = raised = 0
        for n in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 * (n % 40 + 1))
                ran += gort.run(main)
            except Alarm: raised += 1
            except BaseException as e:
                if not isinstance(e.__cause__ or e.__context__, Alarm): raise
                raised += 1
            finally:
                try: signal.setitimer(signal.ITIMER_REAL, 0)
                except Alarm: pass
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        print(gort.run(main), ran + raised, raised > 0)
    """)
    assert done.stdout == "1 150 True\n", (done.returncode, done.stderr)


# ---- C8: nothing of the user's breaks the scheduler ----------------------------------------------------------------

BAD = """
class Bad(Exception):
    def __str__(self): raise ZeroDivisionError("str")
    __repr__ = __str__
"""


@pytest.mark.parametrize("procs", [1, 4])
def test_c8_an_exception_that_cannot_be_shown_is_a_panic(procs: int) -> None:
    done = program(f"""
{textwrap.indent(BAD, "        ")}
        async def bad(): raise Bad
        async def main():
            gort.go(bad)
            await gort.Chan().recv()
        try: gort.run(main, procs={procs})
        except gort.Panic as e: print(type(e.__cause__).__name__, "goroutine" in e.dump)
    """)
    assert done.stdout == "Bad True\n", (done.returncode, done.stderr)


def test_c8_main_may_raise_what_cannot_be_shown() -> None:
    done = program(f"""
{textwrap.indent(BAD, "        ")}
        async def main(): raise Bad
        try: gort.run(main)
        except Bad: print("Bad")
    """)
    assert done.stdout == "Bad\n", done.stderr


def test_c8_a_runtime_error_with_an_argument_that_cannot_be_shown() -> None:
    done = program(f"""
{textwrap.indent(BAD, "        ")}
        async def main(): raise RuntimeError(Bad())
        try: gort.run(main)
        except RuntimeError as e: print(type(e.args[0]).__name__)
    """)
    assert done.stdout == "Bad\n", done.stderr


@pytest.mark.parametrize("where", ["__getattr__", "__getattribute__"])
def test_c8_an_awaited_object_that_answers_nothing(where: str) -> None:
    done = program(f"""
        class Odd:
            def {where}(self, name): raise ZeroDivisionError(name)
        class Awaited:
            def __await__(self): yield Odd()
        async def main():
            try: await Awaited()
            except TypeError as e: print("TypeError")
        gort.run(main)
    """)
    assert done.stdout == "TypeError\n", (done.returncode, done.stderr)


def test_c8_a_callback_for_blocked_calls_that_raises() -> None:
    done = program("""
        calls = []
        def told(goid, seconds, stack):
            calls.append(goid)
            raise ZeroDivisionError("callback")
        async def main():
            gort.runtime.on_blocked(told)
            async def blocks(): time.sleep(0.1)
            while not calls:  # on a busy machine none of them may be noticed
                async with gort.Group() as group:
                    for _ in range(3): group.go(blocks)
                await gort.sleep(0.05)
            print("goes on")
        gort.run(main, procs=1)
    """)
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr
    assert "ZeroDivisionError: callback" in done.stderr


# ---- C16: sys.exit ends the program with its status ----------------------------------------------------------------


@pytest.mark.parametrize("start", ["gort.go(leaves)", "gort.sync.WaitGroup().go(leaves)", "gort.after_func(0, leaves)"])
@pytest.mark.parametrize("status", [0, 7])
def test_c16_g2_sys_exit_in_a_goroutine(start: str, status: int) -> None:
    done = program(f"""
        def leaves(): sys.exit({status})
        async def main():
            {start}
            await gort.Chan().recv()
        gort.run(main)
    """)
    assert (done.returncode, done.stderr) == (status, "")


# ---- C14: what is raised in a goroutine that the program's end closes ----------------------------------------------


def test_c14_the_end_of_a_program_is_no_exception_of_the_users(run: Run) -> None:
    """`except Exception` around an await in a cleanup does not see the program's end."""
    seen = []

    async def left() -> None:
        try:
            async with gort.Group() as group:
                group.go(recv, gort.Chan[int]())
                await gort.Chan[int]().recv()
        except Exception as e:
            seen.append(e)

    async def main() -> None:
        gort.go(left)
        await gort.sleep(0.01)

    run(main)
    assert seen == []


# ---- C3: what is async is run, whatever kind of async it is --------------------------------------------------------


@types.coroutine
def old_style(told: list[str]) -> Any:
    yield from gort.gosched().__await__()
    told.append("ran")
    return 7


class Like(Coroutine[Any, Any, int]):
    """A coroutine that is none of Python's own type, as Cython's are."""

    def __init__(self, told: list[str]) -> None:
        self.inner = native(told)

    def send(self, value: Any) -> Any:
        return self.inner.send(value)

    def throw(self, *args: Any) -> Any:
        return self.inner.throw(*args)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Any:
        return (yield from self.inner.__await__())


async def native(told: list[str]) -> int:
    await gort.gosched()
    told.append("ran")
    return 7


def undeclared(told: list[str]) -> Any:
    """As a decorator without functools.wraps leaves it."""
    return native(told)


@pytest.mark.parametrize("fn", [old_style, Like, native, undeclared, functools.partial(old_style)])
def test_c3_every_kind_of_coroutine_is_run(run: Run, fn: Any) -> None:
    told: list[str] = []

    async def main() -> int:
        gort.go(fn, told)
        wg = gort.sync.WaitGroup()
        wg.go(fn, told)
        async with gort.Group() as group:
            h = group.go(fn, told)
        await wg.wait()
        await until(lambda: len(told) == 3, "all have run")
        return h.result()

    assert run(main) == 7


def test_c3_an_operation_that_a_goroutine_returns_is_run(run: Run) -> None:
    """As Go's `go conn.Write(b)`."""

    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan()
        gort.go(ch.send, 1)
        async with gort.Group() as group:
            group.go(ch.send, 2)
            got = [await ch.recv(), await ch.recv()]
            slept = group.go(gort.sleep, 0.001)
        assert slept.result() is None
        return sorted(got)

    assert run(main) == [1, 2]


@pytest.mark.parametrize("start", ["gort.go(f)", "gort.sync.WaitGroup().go(f)", "g.go(f)"])
@pytest.mark.parametrize("kind", ["async def f(): yield 1", "def f(): yield 1"])
def test_c3_a_generator_function_is_refused(start: str, kind: str) -> None:
    done = program(f"""
        {kind}
        async def main():
            async with gort.Group() as g:
                try: {start}
                except TypeError as e: print(e)
        gort.run(main)
    """)
    assert "f is a" in done.stdout, done.stderr
    assert "generator function" in done.stdout


def test_c3_a_generator_that_a_partial_returns_is_an_error(run: Run) -> None:
    def f() -> Any:
        yield 1

    async def main() -> None:
        async with gort.Group() as g:
            g.go(functools.partial(f))

    with pytest.raises(ExceptionGroup) as e:
        run(main)
    assert "has returned a generator" in str(e.value.exceptions[0])


def test_c3_run_takes_a_decorated_main() -> None:
    def decorated(fn: Any) -> Any:
        @functools.wraps(fn)
        def wrapper(*args: Any) -> Any:
            return fn(*args)

        return wrapper

    @decorated
    async def main(n: int) -> int:
        await gort.gosched()
        return n

    assert gort.run(main, 3) == 3
    assert gort.run(old_style, []) == 7


@pytest.mark.parametrize(
    "text",
    [
        "import functools\ndef d(f):\n @functools.wraps(f)\n def w(*a): return f(*a)\n return w\n"
        "@d\nasync def main(): print('ran')\n",
        "class M:\n async def __call__(self): print('ran')\nmain = M()\n",
    ],
)
def test_c3_gort_run_takes_what_gort_dot_run_takes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "program.py"
    file.write_text(text)
    done = gort_cli("run", str(file))
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
