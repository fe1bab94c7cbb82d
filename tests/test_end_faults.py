"""G1: a function written in C that blocks the main thread holds up no end of a program: not its result, nor a panic,
sys.exit, an exception of main or Ctrl-C.  It has no frame of Python's, in which a signal handler could raise.

Nor does one in a program that another thread than the main one runs, where no signal handler runs at all."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import gort
import support
from support import GIL, PATIENCE_S, dose, environment, parked

CALLS = {
    "os.read": "gort.go(os.read, r, 1)",
    "time.sleep": "gort.go(time.sleep, 3600)",
    "lock.acquire": "gort.go(lock.acquire)",
    "a partial": "gort.go(functools.partial(os.read, r), 1)",
    "a class": "gort.go(Blocks)",
    "after_func": "gort.after_func(0.001, lock.acquire)",
    "WaitGroup.go": "gort.sync.WaitGroup().go(os.read, r, 1)",
    "blocking": "gort.go(block)",
    "gort.wait": "gort.go(lambda: gort.wait(gort.blocking(os.read, r, 1)))",
}
# How the program ends -> the status, and what is printed.
ENDS: dict[str, tuple[str, int, str, str]] = {
    "result": ("return 42", 0, "result 42\n", ""),
    "panic": ("gort.go(lambda: 1 / 0); await gort.Chan().recv()", 2, "", "panic: ZeroDivisionError"),
    "sys.exit": ("sys.exit(3)", 3, "", ""),
    "exception": ("raise KeyError('of main')", 1, "", "KeyError: 'of main'"),
    "Ctrl-C": ("print('ready', flush=True); await gort.Chan().recv()", 1, "ready\n", "KeyboardInterrupt"),
}


def program(call: str, end: str, thread: bool = False) -> subprocess.Popen[str]:
    code = textwrap.dedent(f"""
        import functools, os, sys, threading, time, traceback
        import gort, gort.sync
        r, w = os.pipe()
        lock = threading.Lock()
        lock.acquire()

        class Reader(type):
            __call__ = staticmethod(functools.partial(os.read, r, 1))

        class Blocks(metaclass=Reader):
            pass

        async def block():
            await gort.blocking(os.read, r, 1)

        async def main():
            {call}
            # The call blocks the main thread, and another thread runs this, once there are two.
            while gort.runtime.stats()["threads"] < 2:
                await gort.sleep(0.002)
            {end}

        def run():
            try:
                print("result", gort.run(main), flush=True)
            except gort.Panic as e:
                print(e.dump, file=sys.stderr, flush=True)
                os._exit(2)
            except SystemExit as e:
                os._exit(e.code)
            except BaseException:
                traceback.print_exc()
                os._exit(1)

        if {thread}:
            t = threading.Thread(target=run)
            t.start()
            t.join()
        else:
            run()
    """)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


@pytest.mark.parametrize("end", [end for end in ENDS if end != "Ctrl-C"])
@pytest.mark.parametrize("call", CALLS)
def test_g1_nor_in_another_thread_than_the_main_one(call: str, end: str) -> None:
    how, status, out, err = ENDS[end]
    process = program(CALLS[call], how, thread=True)
    try:
        printed, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (process.returncode, printed) == (status, out), errors
    assert err in errors


# The signal must come when the main thread is in its `try`: so it is that thread which says "ready".  It waits for locks,
# because in 3.11 an exception in Thread.is_alive or Thread.join can mark a thread that runs as ended.
IN_A_THREAD = """
    import os, signal, threading
    import gort
    from gort import context

    ctx, cancel = context.with_cancel(context.background())
    r, w = os.pipe()
    waits, over = threading.Lock(), threading.Lock()
    waits.acquire()
    over.acquire()

    async def main():
        gort.go(os.read, r, 1)
        async with gort.Group() as g:
            member = g.go(gort.sleep, 3600)
            waits.release()
            await ctx.done().recv_ok()
            member.cancel()
        return "cancelled"

    def run():
        print(gort.run(main), flush=True)
        over.release()

    threading.Thread(target=run, daemon=True).start()
    try:
        waits.acquire()
        print("ready", flush=True)
        while not over.acquire(timeout=0.1):
            pass  # free-threaded CPython 3.13 goes to sleep in acquire() with a signal that came just before
    except KeyboardInterrupt:
        cancel()
    over.acquire()
"""


def test_g1_ctrl_c_is_the_main_threads_which_cancels_a_program_in_another_one() -> None:
    """As with asyncio.run in a thread: the KeyboardInterrupt is raised in the main thread.  That cancels a context, and
    the program ends though one of its goroutines is in a call that nothing ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(IN_A_THREAD)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        read: Any = process.stdout
        assert read.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (process.returncode, printed, errors) == (0, "cancelled\n", "")


def test_g1_a_locked_goroutine_keeps_its_thread() -> None:
    """lock_os_thread comes before the rule that the calling thread stays free: the call is made in the locked thread."""
    seen: list[int] = []

    async def main() -> None:
        gort.runtime.lock_os_thread()
        seen.append(threading.get_ident())
        seen.append(await gort.blocking(threading.get_ident))

    thread = threading.Thread(target=gort.run, args=(main,))
    thread.start()
    thread.join(PATIENCE_S)
    assert len(seen) == 2
    assert seen[0] == seen[1]  # not thread.ident: another M may have stolen main before it began


def test_g1_a_finally_block_makes_its_call_at_the_end_too() -> None:
    """No other M is left then, so the calling thread makes it, as the main thread does in a program of its own."""
    called: list[str] = []

    async def member() -> None:
        try:
            await gort.sleep(3600)
        finally:
            called.append("begins")
            await gort.blocking(called.append, "called")

    async def main() -> None:
        gort.go(member)
        await parked(1, "sleep")

    thread = threading.Thread(target=gort.run, args=(main,))
    thread.start()
    thread.join(PATIENCE_S)
    assert called == ["begins", "called"]


def test_g1_a_finally_block_makes_its_call_where_a_stuck_thread_has_the_only_p() -> None:
    """Its thread finds no P after the call, and nobody is there who could wake its goroutine."""
    done = support.program("""
        hogs, over = [], []

        def hog():
            hogs.append(None)
            while not over:
                pass

        async def member():
            try:
                await gort.sleep(3600)
            finally:
                await gort.blocking(print, "called", flush=True)
                print("goes on", flush=True)

        async def main():
            gort.go(member)
            await gort.gosched()
            gort.go(hog)
            while not hogs:
                time.sleep(0.001)  # without an await: sysmon gives the P to a thread that runs the other goroutine

        gort.run(main, procs=1)
        over.append(None)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "called\ngoes on\n", "")


def test_a_thread_from_outside_wakes_goroutines_while_the_program_ends() -> None:
    """The end asked twice what a goroutine waits for.  If a thread woke it in between, gort.run raised AttributeError,
    one time in 150."""
    for _ in range(dose(50)):
        channels = [gort.Chan[int]() for _ in range(60)]
        ends, over = threading.Event(), threading.Event()

        def outside(channels: Any = channels, ends: Any = ends, over: Any = over) -> None:
            ends.wait(PATIENCE_S)
            while not over.is_set():
                for ch in channels:
                    ch.try_send(1)

        async def receives(ch: gort.Chan[int]) -> None:
            try:
                while True:
                    await ch.recv()
            finally:
                await gort.sleep(0)

        async def main(channels: Any = channels, ends: Any = ends) -> None:
            for ch in channels:
                gort.go(receives, ch)
            await parked(len(channels), "chan receive")
            ends.set()

        thread = threading.Thread(target=outside)
        thread.start()
        try:
            gort.run(main, procs=2)
        finally:
            ends.set()
            over.set()
            thread.join()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("call", CALLS)
def test_g1_a_call_of_c_holds_up_no_end(call: str, end: str) -> None:
    how, status, out, err = ENDS[end]
    process = program(CALLS[call], how)
    try:
        read: Any = process.stdout
        assert read is not None
        first = ""
        if end == "Ctrl-C":
            first = read.readline()
            process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (process.returncode, first + printed) == (status, out), errors
    assert err in errors


UNREADABLE = pytest.mark.skipif(not gort.runtime.compiled and not GIL, reason="no frames of other threads can be read")


@pytest.mark.parametrize("own", [False, pytest.param(True, marks=UNREADABLE)])
def test_the_end_freezes_no_thread_that_holds_a_lock_of_ours(own: bool) -> None:
    """A thread that is at a call of gort's for long: its lock would stay taken, and a finalizer would wait for it.  One
    that computes for ever in the program's own code is not waited for."""
    done = support.program(f"""
        import gort._runtime.boot.main as boot
        boot.INSIDE_S = 1000  # or it were a question of time
        own, lock, begun, ended = {own}, threading.RLock(), [], []
        lines = ["def section():", " with lock:", "  begun.append(1)", "  end = time.monotonic() + 1"]
        lines += ["  while own or time.monotonic() < end: pass", "  ended.append(1)"]
        of_thread = dict(globals())  # the end runs no finalizer of a module whose dict a frozen thread refers to
        exec(compile(chr(10).join(lines), "own.py" if own else gort.__path__[0] + "/as_if.py", "exec"), of_thread)
        section = of_thread.pop("section")

        class Last:
            def __del__(self, lock=lock, own=own, ended=ended, print=print):
                print(own or lock.acquire(), bool(ended))

        async def main():
            gort.go(section)
            while not begun:
                pass  # so another thread runs it

        last = Last()
        gort.run(main, procs=2)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"True {not own}\n", "")
