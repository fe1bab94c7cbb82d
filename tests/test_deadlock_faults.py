"""C12: a deadlock is reported only when nothing outside the runtime could wake a goroutine: no signal handler of the
program's, no thread of anybody's.  Each program runs in a process of its own, where no handler of the tests' is set."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from support import PATIENCE_S, environment

BEGIN = """
import _thread, ctypes, os, signal, sys, threading, time
import gort, gort.signal
ch = gort.Chan()

def wake(*ignored):
    while not ch.try_send("woken"):
        time.sleep(0.001)

def rings(*ignored):  # in the main thread, so it must not wait for main: it comes again until main waits
    if not ch.try_send("woken"):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
"""
# What wakes main, or not.
WAKES = {
    "signal.signal": """
        signal.signal(signal.SIGALRM, rings)
        signal.setitimer(signal.ITIMER_REAL, 0.25)
    """,
    "signal.signal, set before": """
        signal.setitimer(signal.ITIMER_REAL, 0.25)
    """,
    "_thread.start_new_thread": """
        _thread.start_new_thread(lambda: (time.sleep(0.25), wake()), ())
    """,
    "a C library's thread": """
        libc = ctypes.CDLL(None)
        # First the C library sleeps, in a thread that Python does not know; then it calls back.
        entry = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda arg: (time.sleep(0.25), wake())[1])
        keep.append(entry)
        number = ctypes.c_ulong()
        assert libc.pthread_create(ctypes.byref(number), None, entry, None) == 0
    """,
    "a timer of the C library": """
        # timer_create with SIGEV_THREAD: a thread of the C library's own, which calls back when the time has come.
        librt = ctypes.CDLL("librt.so.1")
        class Event(ctypes.Structure):
            _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int),
                        ("function", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("pad", ctypes.c_char * 32)]
        callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(wake)
        keep.append(callback)
        event = Event(None, 0, 2, ctypes.cast(callback, ctypes.c_void_p), None, b"")
        timer = ctypes.c_void_p()
        assert librt.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0
        spec = (ctypes.c_long * 4)(0, 0, 0, 250_000_000)
        assert librt.timer_settime(timer, 0, ctypes.byref(spec), None) == 0
    """,
    "threading.Thread": """
        threading.Thread(target=lambda: (time.sleep(0.25), wake())).start()
    """,
    "gort.signal": """
        gort.signal.notify(ch2 := gort.Chan(1), signal.SIGALRM)
        async def pass_on():
            await ch2.recv()
            await ch.send("woken")
        gort.go(pass_on)
        signal.setitimer(signal.ITIMER_REAL, 0.25)
    """,
}


def program(begin: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{BEGIN}\nkeep = []\n{before}\nasync def main():\n{textwrap.indent(textwrap.dedent(begin), '    ')}\n"
    code += "    print(await ch.recv())\n\ntry:\n    gort.run(main)\nexcept gort.Deadlock:\n    print('deadlock')\n"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, env=environment()
    )


@pytest.mark.parametrize("what", WAKES)
def test_c12_what_may_wake_a_goroutine_is_no_deadlock(what: str) -> None:
    done = program(WAKES[what], "signal.signal(signal.SIGALRM, rings)" if "before" in what else "")
    assert (done.returncode, done.stdout) == (0, "woken\n"), done.stderr


QUIET = {
    "nothing": "pass",
    "a handler that is taken back": """
        old = signal.signal(signal.SIGALRM, wake)
        signal.signal(signal.SIGALRM, old)
    """,
    "a handler of C's": "import faulthandler; faulthandler.enable(); faulthandler.register(signal.SIGUSR1)",
    "a thread that ends": "_thread.start_new_thread(time.sleep, (0.05,))",
    "a thread of the C library's that ends": """
        libc = ctypes.CDLL(None)
        entry = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda arg: time.sleep(0.05))
        keep.append(entry)
        number = ctypes.c_ulong()
        assert libc.pthread_create(ctypes.byref(number), None, entry, None) == 0
    """,
    "another thread of the runtime's": """
        await gort.blocking(time.sleep, 0.01)
        gort.go(time.sleep, 0.01)
    """,
    "sysmon has called back": """
        gort.runtime.on_blocked(lambda *report: None)
        time.sleep(0.02)
    """,
}


@pytest.mark.parametrize("what", QUIET)
def test_c12_a_deadlock_is_reported(what: str) -> None:
    done = program(QUIET[what])
    assert (done.returncode, done.stdout) == (0, "deadlock\n"), done.stderr
