"""G1: a function written in C that blocks the main thread holds up no end of a program: not its result, nor a panic,
sys.exit, an exception of main or Ctrl-C.  It has no frame of Python's, in which a signal handler could raise."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from support import PATIENCE_S, environment

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


def program(call: str, end: str) -> subprocess.Popen[str]:
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

        try:
            print("result", gort.run(main))
        except gort.Panic as e:
            print(e.dump, file=sys.stderr)
            os._exit(2)
        except SystemExit as e:
            os._exit(e.code)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    """)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


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
