"""C9: a signal handler of the program's may call what any thread may call, wherever it interrupts the main thread.  It
may raise: the program goes on, or ends with that exception, and does not hang.  In the uncompiled core handlers wait
until the main thread is out of the runtime (watch/sigdefer.py)."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import gort
from support import PATIENCE_S, environment

# CPython 3.13 without the GIL: a signal that interrupts a thread's wait for a bucket of the parking lot leaves the thread
# in that bucket's queue twice, or after it has gone (_PyRawMutex_LockSlow in Python/lock.c goes on after EINTR). Whoever
# wakes it then writes to a stack that is no longer there: "The futex facility returned an unexpected error code". The
# uncompiled core waits there all the time, so a storm of signals meets it within a hundred runs. There a thread that
# waits for nothing of Python's takes the signal. Its handler runs in the main thread as ever.
ASIDE = """
import atexit, ctypes, os, signal, sys, threading, time
import gort

def take_aside(number):
    if gort.runtime.compiled or getattr(sys, "_is_gil_enabled", lambda: True)():
        return
    main = threading.main_thread().ident
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})

    def take():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        ctypes.CDLL(None).pthread_join(ctypes.c_ulong(main), None)

    threading.Thread(target=take, daemon=True).start()
    # One that came just now may reach that thread when Python has put the default back, which ends the process.
    atexit.register(signal.signal, number, signal.SIG_IGN)

take_aside(signal.SIGALRM)
"""


def program(text: str) -> subprocess.CompletedProcess[str]:
    code = ASIDE + textwrap.dedent(text)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, env=environment()
    )


@pytest.mark.parametrize("procs", [1, 4])
def test_c9_a_handler_sends_and_receives(procs: int) -> None:
    """While goroutines use the same channels without a pause, so that most signals come within the runtime."""
    done = program(f"""
        ch, back = gort.Chan(8), gort.Chan(8)
        ran = []

        def handler(signum, frame):
            ran.append(ch.try_send(None))
            back.try_recv()

        def install():
            assert signal.signal(signal.SIGALRM, handler) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGALRM) is handler
            assert signal.signal(signal.SIGALRM, handler) is handler

        if {procs} > 1:
            install()

        async def main():
            if {procs} == 1:  # within the program, in the main thread
                install()
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            while len(ran) < 300:
                await gort.select(ch.recv(), default=True)
                await gort.select(back.send(1), default=True)
                await gort.gosched()
                for _ in range(0 if gort.runtime.compiled else 300):
                    pass  # uncompiled, a handler that came within the runtime runs here: soon, and not by luck
            signal.setitimer(signal.ITIMER_REAL, 0)

        gort.run(main, procs={procs})
        assert signal.getsignal(signal.SIGALRM) is handler
        print("done")
    """)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_c9_a_handler_wakes_an_idle_program() -> None:
    done = program("""
        ch = gort.Chan()

        def rings(*ignored):  # again, if main does not wait yet
            if not ch.try_send("woken"):
                signal.setitimer(signal.ITIMER_REAL, 0.01)

        signal.signal(signal.SIGALRM, rings)
        before = signal.getsignal(signal.SIGALRM)

        async def main():
            assert signal.getsignal(signal.SIGALRM) is before
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            print(await ch.recv())

        gort.run(main)
        assert signal.signal(signal.SIGALRM, signal.SIG_DFL) is before
    """)
    assert (done.returncode, done.stdout) == (0, "woken\n"), done.stderr


def test_c9_a_handler_that_raises_leaves_nothing_locked() -> None:
    """The exception comes out of the user's code, or out of gort.run; the next program runs as if nothing had been."""
    done = program("""
        class Boom(Exception):
            pass

        armed = False
        raised = 0

        def handler(signum, frame):
            global armed, raised
            if armed:
                armed = False
                raised += 1
                raise Boom

        signal.signal(signal.SIGALRM, handler)

        async def worker(ch):
            while True:
                await ch.send(1)

        async def main():
            global armed
            ch = gort.Chan(2)
            gort.go(worker, ch)
            signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
            armed = True
            try:
                while armed:
                    await ch.recv()
                    await gort.gosched()
                    for _ in range(0 if gort.runtime.compiled else 300):
                        pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                armed = False
            return "went on"

        ends = set()
        while raised < 60:
            try:
                ends.add(gort.run(main))
            except Boom:
                ends.add("Boom")
            except gort.Panic as e:  # it was raised in worker
                assert isinstance(e.__cause__, Boom), e.dump
                ends.add("Panic")
            signal.setitimer(signal.ITIMER_REAL, 0)
        print("done")
    """)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_ctrl_c_while_the_import_system_drops_a_lock() -> None:
    """It does so in a callback of a weak reference, which swallowed KeyboardInterrupt: the program went on."""
    done = program("""
        def profile(frame, event, arg):
            if event == "call" and frame.f_code.co_name == "cb" and "importlib" in frame.f_code.co_filename:
                sys.setprofile(None)
                print("here", flush=True)
                signal.getsignal(signal.SIGINT)(signal.SIGINT, frame)  # as CPython calls it there

        async def main():
            sys.setprofile(profile)
            import colorsys
            await gort.sleep(30)
            print("went on")

        try:
            gort.run(main)
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert (done.stdout, done.stderr) == ("here\ninterrupted\n", "")


# A lock of the P is released by a function of the program's, called from the runtime, which does `then` before or after.
QUITS = """
    from gort._runtime.core import runtime2
    async def nothing(): pass
    async def main():
        p = runtime2.current_m().p
        real = p.unlock
        def unlock():
            p.unlock = real
            {}
        p.unlock = unlock
        gort.go(nothing)
        while True:
            await gort.sleep(0.001)
    gort.run(main, procs=1)
"""


@pytest.mark.skipif(gort.runtime.compiled, reason="no handler runs in a section of the compiled core")
def test_sigquit_waits_until_the_main_thread_holds_no_lock() -> None:
    """The dump takes the locks of goroutines, which come before that of a P: lockrank ended the process here."""
    done = program(QUITS.format("signal.raise_signal(signal.SIGQUIT); print('inside', flush=True); real()"))
    assert (done.returncode, done.stdout) == (2, "inside\n"), done.stderr
    assert "lock ordering" not in done.stderr
    assert "SIGQUIT: quit" in done.stderr
    assert "goroutine 1 [" in done.stderr


@pytest.mark.skipif(gort.runtime.compiled, reason="no handler runs in a section of the compiled core")
def test_a_second_sigquit_waits_for_nothing() -> None:
    """A runtime that hangs is what the dump is for."""
    done = program(
        QUITS.format(
            "real(); signal.raise_signal(signal.SIGQUIT); print('hangs', flush=True); "
            "time.sleep(0.05); signal.raise_signal(signal.SIGQUIT); time.sleep(3600)"
        )
    )
    assert (done.returncode, done.stdout) == (2, "hangs\n"), done.stderr
    assert "SIGQUIT: quit" in done.stderr
    assert "goroutine 1 [" in done.stderr


@pytest.mark.skipif(gort.runtime.compiled, reason="no handler runs in a section of the compiled core")
@pytest.mark.parametrize(("late", "how"), [("c.net", "epoll"), ("poll.levelpoll", "poll")])
def test_a_signal_while_the_poller_is_imported(late: str, how: str) -> None:
    """The module is in sys.modules and has no functions yet.  In a test of Ctrl-C sigdefer asked for one of them."""
    file = late.replace(".", "/") + ".py"
    done = program(f"""
        ran = []
        os.environ["GODEBUG"] = "netpoll={how},lockrank=1"

        def hook(event, args):  # called where a module's code is about to run
            if event == "exec" and args[0].co_name == "<module>" and args[0].co_filename.endswith({file!r}):
                assert "gort._runtime.{late}" in sys.modules
                signal.raise_signal(signal.SIGUSR1)
                ran.append("imported")

        async def main():
            signal.signal(signal.SIGUSR1, lambda signum, frame: ran.append("handled"))
            sys.addaudithook(hook)
            ln = await gort.net.listen("tcp", "127.0.0.1:0")
            gort.after_func(0.001, ln.close)
            try:
                await ln.accept()
            except OSError:
                pass
            while "handled" not in ran:
                await gort.sleep(0.001)
            print(ran)

        gort.run(main, procs=1)
    """)
    assert (done.returncode, done.stdout) == (0, "['imported', 'handled']\n"), done.stderr
