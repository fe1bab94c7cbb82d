"""sysmon's reports: calls that blocked a thread, and GODEBUG=schedtrace.  Follows schedtrace in Go's runtime/proc.go.
Go has no report of blocking calls, because there they do no harm.

Everything here runs on sysmon's thread.  What does not live here: how sysmon finds a blocked thread (sysmon.py).
"""

from __future__ import annotations

from gort._runtime.core import traceback
from gort._runtime.core.machine import nanotime
from gort._runtime.core.mistakes import say
from gort._runtime.core.runtime2 import _Gdead, _Gwaiting, _Pgcstop

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
            say(f"gort: goroutine {goid} blocked its thread for {ns / 1e6:.1f} ms in\n{text}")
        if s.onblocked is not None:
            callback, threshold = s.onblocked
            if ns >= threshold * 1e9:
                try:
                    callback(goid, ns / 1e9, text)
                except BaseException as e:
                    from gort._runtime.core import panic

                    panic.unraisable(e, callback, "the callback of gort.runtime.on_blocked raised")


def schedtrace(s: Any, now: int, started: int) -> None:
    """Writes the scheduler's state to stderr, in the format of Go's schedtrace (runtime/proc.go): one line, and with
    scheddetail=1 a line for each P, M and G.  `started`: the time of the first line, ns.

    Of Go's fields, CPython has no counterpart to mallocing, throwing, preemptoff, locks and dying, and gort none to
    needspinning: they are 0 or empty.  sysmon counts among the threads but is no M.  Dead goroutines are left out,
    because their Gs have no number any more."""
    allp = list(s.allp)[: s.gomaxprocs]
    detail = s.debug["scheddetail"] > 0
    head = (
        f"SCHED {(now - started) // 1_000_000}ms: gomaxprocs={s.gomaxprocs} idleprocs={s.npidle} "
        f"threads={len(s.allm) + s.nmsys} spinningthreads={s.nmspinning} needspinning=0 idlethreads={s.nmidle} "
        f"runqueue={s.runqsize} "
    )
    if not detail:
        queues = " ".join(str(p.runqsize) for p in allp)  # without runnext, as in Go
        ticks = " ".join(str(p.schedtick) for p in allp)
        say(f"{head}[ {queues} ] schedticks=[ {ticks} ]\n")
        return
    stopwait = sum(p.status != _Pgcstop for p in allp) if s.gcwaiting else 0
    lines = [
        f"{head}gcwaiting={_bool(s.gcwaiting)} nmidlelocked={s.nmidlelocked} stopwait={stopwait} "
        f"sysmonwait={_bool(s.sysmonwait)}"
    ]
    for p in allp:
        lines.append(
            f"  P{p.id}: status={p.status} schedtick={p.schedtick} syscalltick={p.syscalltick} m={_number(p.mid)} "
            f"runqsize={p.runqsize} gfreecnt={p.ngfree} timerslen={len(p.timers)}"
        )
    where: dict[int, int] = {}  # goroutine -> the M that runs it
    for m in reversed(list(s.allm)):  # the newest first, as in Go
        p, g, locked = m.p, m.curg, m.lockedg  # read once, because m's thread may change them
        if p is not None and p.mid != m.id:
            p = None
        if g is not None:
            where[g.goid] = m.id
        asleep = p is None and g is None and not m.spinning
        lines.append(
            f"  M{m.id - 1}: p={'nil' if p is None else p.id} curg={'nil' if g is None else g.goid} mallocing=0 "
            f"throwing=0 preemptoff= locks=0 dying=0 spinning={_bool(m.spinning)} blocked={_bool(asleep)} "
            f"lockedg={'nil' if locked is None else locked.goid}"
        )
    for g in list(s.allgs):
        status, goid, lockedm = g.status, g.goid, g.lockedm
        if goid != 0 and status != _Gdead:
            reason = traceback.wait_reason(g, "") if status == _Gwaiting else ""
            lines.append(
                f"  G{goid}: status={status}({reason}) m={_number(where.get(goid, 0))} "
                f"lockedm={_number(0 if lockedm is None else lockedm.id)}"
            )
    say("\n".join(lines) + "\n")


def _bool(value: object) -> str:
    return "true" if value else "false"


def _number(mid: int) -> str:
    """The number of an M as dumps have it, from an M's id; nil for 0."""
    return str(mid - 1) if mid else "nil"
