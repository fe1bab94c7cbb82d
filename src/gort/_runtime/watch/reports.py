"""sysmon's reports: calls that blocked a thread, and GODEBUG=schedtrace.  Follows schedtrace in Go's runtime/proc.go.
Go has no report of blocking calls, because there they do no harm.

Everything here runs on sysmon's thread.  What does not live here: how sysmon finds a blocked thread (sysmon.py).
"""

from __future__ import annotations

import sys

from gort._runtime.core import traceback
from gort._runtime.core.machine import nanotime
from gort._runtime.core.runtime2 import _Gdead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def blocked(s: Any, m: Any, since: int) -> None:
    """Records that m's goroutine has blocked its thread and lost the P.  settle reports it when the call is over."""
    g = m.curg
    if g is None:
        return
    wanted = s.debug["blocked"] or s.onblocked is not None
    text = traceback.render(traceback.running(m.ident)) if wanted else ""
    if s.blockedcalls is None:
        s.blockedcalls = {}
    s.blockedcalls[m.id] = (m, g, g.goid, since, text)


def settle(s: Any) -> None:
    """Reports the recorded calls that are over, on stderr (GODEBUG=blocked=1) and to on_blocked's callback."""
    for mid, (m, g, goid, since, text) in list(s.blockedcalls.items()):
        p = m.p  # read once, because m's thread may change it
        if m.curg is g and g.goid == goid and (p is None or p.mid != m.id):
            continue  # the call still runs, without a P
        del s.blockedcalls[mid]
        ns = nanotime() - since
        s.blockedns += ns
        if s.debug["blocked"]:
            sys.stderr.write(f"gort: goroutine {goid} blocked its thread for {ns / 1e6:.1f} ms in\n{text}")
        if s.onblocked is not None:
            callback, threshold = s.onblocked
            if ns >= threshold * 1e9:
                try:
                    callback(goid, ns / 1e9, text)
                except BaseException as e:
                    from gort._runtime.core import panic

                    panic.unraisable(e, callback, "the callback of gort.runtime.on_blocked raised")


def schedtrace(s: Any, started: int) -> None:
    """Writes the scheduler's state to stderr: one line in Go's form, and with scheddetail=1 a line for each P, M and G.
    started: the time of the start, ns."""
    allp = list(s.allp)[: s.gomaxprocs]
    queues = " ".join(str(p.runqsize + (p.runnext is not None)) for p in allp)
    lines = [
        f"SCHED {(nanotime() - started) // 1_000_000}ms: gomaxprocs={s.gomaxprocs} idleprocs={s.npidle} "
        f"threads={len(s.allm)} spinningthreads={s.nmspinning} needspinning=0 idlethreads={s.nmidle} "
        f"runqueue={s.runqsize} [{queues}]"
    ]
    if s.debug["scheddetail"]:
        for p in allp:
            lines.append(f"  P{p.id}: status={p.status} schedtick={p.schedtick} m={p.mid - 1} runqsize={p.runqsize}")
        for m in list(s.allm):
            g = m.curg
            lines.append(f"  M{m.id - 1}: curg={g.goid if g is not None else 'nil'} spinning={bool(m.spinning)}")
        for g in list(s.allgs):
            if g.status != _Gdead:
                lines.append(f"  G{g.goid}: status={g.status}")
    sys.stderr.write("\n".join(lines) + "\n")
