"""Whose turn it is: a connection whose client sends without end makes way for the others.

What does not live here: how much a connection does before it makes way (h1.py, ws.py).
"""

from __future__ import annotations

import time
from typing import Any

from gort._runtime.core.op import gosched
from gort._runtime.core.runtime2 import current_m


async def make_way(adapter: Any) -> None:
    """Everything else that can run has its turn; in a loop (Asgi.pause), its other callbacks.

    gosched alone would not do: where some connections always have something to do, the scheduler does not look for what
    has come on the others until sysmon does, after 10 ms."""
    pause = adapter.pause
    if pause is not None:
        await pause()
        return
    netpoll = current_m().sched.netpoll
    if netpoll is not None:
        netpoll.poll_late(time.monotonic_ns())
    await gosched()
