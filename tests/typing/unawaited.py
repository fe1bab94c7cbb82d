"""Operations without their `await`, a mistake a line.  Never run.

A coroutine without its `await` is an error for both checkers as they are (mistakes.py).  gort's operations are no
coroutines, and to find these needs a setting, which users may want too: mypy's `unused-awaitable` or pyright's
reportUnusedCallResult, which are on in this file.  (Both also complain of a `group.go(fn)` whose handle nobody wants.)
At run time an operation that is dropped warns.
"""

# mypy: enable-error-code="unused-awaitable"
# pyright: reportUnusedCallResult=true

from __future__ import annotations

import gort
from gort import net
from gort.sync import Mutex, Semaphore, WaitGroup


async def operations(ch: gort.Chan[int], conn: net.Conn) -> None:
    ch.send(1)  # type: ignore[unused-awaitable]
    ch.recv()  # type: ignore[unused-awaitable]
    gort.sleep(1)  # type: ignore[unused-awaitable]
    gort.gosched()  # type: ignore[unused-awaitable]
    gort.select(ch.recv())  # type: ignore[unused-awaitable]
    gort.blocking(print)  # type: ignore[unused-awaitable]
    Mutex().lock()  # type: ignore[unused-awaitable]
    Semaphore().acquire()  # type: ignore[unused-awaitable]
    WaitGroup().wait()  # type: ignore[unused-awaitable]
    conn.read()  # type: ignore[unused-awaitable]
    conn.write(b"x")  # type: ignore[unused-awaitable]
    conn.read_exactly(4)  # type: ignore[unused-coroutine]
