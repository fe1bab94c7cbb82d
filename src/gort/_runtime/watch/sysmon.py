"""sysmon: the thread that watches the others.  Follows sysmon and retake in Go's runtime/proc.go.

It needs no P.  It sleeps 20 µs at first, doubling up to 10 ms while there is nothing to do, and deeply once every P has
been idle for a while: whoever takes one then wakes it.  Go is told when a goroutine enters a call; here only a second
look tells that one has made no step since the first, so where others wait for the P each look is followed by a second,
BLOCKED_NS later, and by more of them until it is clear what that goroutine does.  A P whose M has run one goroutine for
longer than that is judged by the thread's CPU clock:

- The thread used no CPU: it is blocked in a call.  Its P is handed to another M at once.
- It computes: it is asked to make way at its next operation, and when others wait for a P, the P is handed on as well,
  as long as no more than COMPUTING_MAX threads compute without one.

The goroutine itself runs on, without a P, until it next reaches the scheduler; its M then takes an idle P or queues.

Also here: delivering Ctrl-C to the main goroutine (a signal handler must not take locks, so it only leaves word), seeing
to it that no signal waits for the end of a call (signals.look), and looking again for a deadlock that could not be told
while threads outside the runtime were alive.
"""

from __future__ import annotations

import sys
import time
from _thread import allocate_lock, start_new_thread

from gort._runtime.core import handoff
from gort._runtime.sched import timers
from gort._runtime.watch import signals
from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.core.machine import nanotime
from gort._runtime.core.runtime2 import SLICE_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MIN_DELAY_NS = 20_000
MAX_DELAY_NS = 10_000_000
QUIET_ROUNDS = 50  # rounds without work after which the delay doubles
BLOCKED_NS = 1_000_000  # a thread that uses no CPU for this long is blocked
AGAIN_NS = 1_100_000  # when the second look follows
IDLE_NS = 100_000_000  # how often a sleeping runtime is looked at for a deadlock that could not be told before
QUICK_SWITCH_S = 0.001
EXIT_GRACE_NS = 100_000_000


def computing_max(s: Any) -> int:
    """How many threads may compute without a P: past that, a computing goroutine keeps its P."""
    return int(s.gomaxprocs) + 4


def computing(s: Any) -> int:
    """How many threads run a goroutine without a P and are in no call made by gort.blocking."""
    n = 0
    for m in list(s.allm):
        p = m.p
        if m.curg is not None and not m.insyscall and (p is None or p.mid != m.id):
            n += 1
    return n


def quicken(s: Any) -> None:
    """From now on, until this runtime ends, threads take turns at the GIL every QUICK_SWITCH_S instead of every 5 ms:
    each computing thread that is left without a P delays the scheduler's by one such turn."""
    if s.switchinterval == 0 and gil_enabled():
        s.switchinterval = sys.getswitchinterval()
        if s.switchinterval > QUICK_SWITCH_S:
            sys.setswitchinterval(QUICK_SWITCH_S)


def unquicken(s: Any) -> None:
    """Gives the interpreter its own interval back, unless somebody else has set another since."""
    if s.switchinterval > QUICK_SWITCH_S and abs(sys.getswitchinterval() - QUICK_SWITCH_S) < 1e-6:
        sys.setswitchinterval(s.switchinterval)


class Watch:
    """The thread of one runtime.  threading.Thread would wait until it runs, and every start with it."""

    def __init__(self, s: Any) -> None:
        self.over = allocate_lock()
        self.over.acquire()
        self.ident = start_new_thread(self.live, (s,))

    def live(self, s: Any) -> None:
        """Watches until the runtime exits."""
        try:
            sysmon(s)
        finally:
            self.over.release()

    def join(self) -> None:
        """Waits for the thread's end.  Once."""
        self.over.acquire()


def start(s: Any) -> None:
    """Starts the thread.  RuntimeError when the system gives none: without it nothing would hold gort's promises."""
    try:
        s.sysmon = Watch(s)
    except (RuntimeError, MemoryError) as e:
        raise RuntimeError(
            f"gort.run: cannot start a thread for sysmon ({str(e) or type(e).__name__}): "
            "the process or the user has reached a limit, see `ulimit -u`, and `ulimit -v` for memory"
        ) from e
    s.nmsys = 1
    handoff.checkmcount(s)


def sysmon(s: Any) -> None:
    """The thread's life: until the runtime exits."""
    idle = 0
    delay = MIN_DELAY_NS
    floor = 1_000_000 if gil_enabled() else MIN_DELAY_NS  # under the GIL each round costs the others a switch
    seen: dict[int, Seen] = {}
    again = False
    steps = 0
    started = traced = looked = nanotime()
    trace_every = s.debug["schedtrace"] * 1_000_000
    try:
        while not s.exiting:
            if idle == 0:
                delay = floor
            elif idle > QUIET_ROUNDS:
                delay = min(delay * 2, MAX_DELAY_NS)
            quiet = s.npidle == s.gomaxprocs and not s.npolling
            deep = False
            if s.npidle == s.gomaxprocs and not s.interrupted and not trace_every:
                steps, before = sum(p.schedtick for p in s.allp), steps
                deep = steps == before and handoff.sysmon_may_sleep(s)  # not in the gaps of a program that works
            quick = again and not deep
            s.sysmonnote.sleep((IDLE_NS if deep else AGAIN_NS if quick else delay) / 1e9)
            s.sysmonwait = False
            if s.exiting:
                break
            if s.interrupted:
                s.nexternal += 1  # we are no M: what we are about to make runnable keeps the others from a deadlock
                interrupt_main_goroutine(s)
                s.nexternal -= 1
            if s.npidle == s.gomaxprocs:
                wake_stale_poller(s)
            if quiet:
                recheck_dead(s)
            if s.nmstartfailed and handoff.stranded(s):
                handoff.startm(s)
            s.coarsetime = nanotime()
            if s.caninterrupt and s.coarsetime - looked >= SLICE_NS:
                looked = s.coarsetime
                signals.look(s)
            if s.blockedcalls and (reports := reporting()):
                reports.settle(s)
            if trace_every and s.coarsetime - traced >= trace_every and (reports := reporting()):
                traced = s.coarsetime
                reports.schedtrace(s, started)
            netpoll = s.netpoll
            if netpoll is not None and not s.npolling and s.coarsetime - s.lastpoll > SLICE_NS and netpoll.waiters():
                s.nexternal += 1
                netpoll.poll(0)
                s.nexternal -= 1
            n, stuck, fresh = retake(s, seen)
            again = stuck or (fresh and not quick)
            if n:
                idle = 0
            elif not quick:
                idle += 1
        unquicken(s)
        wait_for_m0(s)
    except Exception:
        import traceback

        from gort._runtime.core.lockrank import throw

        throw("sysmon failed", traceback.format_exc())


def reporting() -> Any:
    """reports.py, imported when first needed.  None where it cannot be: the process may have no descriptor left to read
    it with, and sysmon must not die of that."""
    try:
        from gort._runtime.watch import reports
    except (ImportError, OSError):
        return None
    return reports


def interrupt_main_goroutine(s: Any) -> None:
    """Ctrl-C: KeyboardInterrupt at the main goroutine's await; into its code, if it computes on another thread; and if
    it still has not ended after a while (it sits in a call), the program ends without it."""
    if not s.interruptsent:
        s.interruptsent = True
        s.interruptedat = nanotime()
        handoff.cancel(s.maing, s.maingoid, KeyboardInterrupt())
        return
    if not s.interruptedat or nanotime() - s.interruptedat < EXIT_GRACE_NS:
        return
    if s.asyncsent == 0:
        s.asyncsent = 1
        for m in list(s.allm):
            if m.curg is s.maing and m is not s.m0:
                raise_in_thread(m.ident, KeyboardInterrupt)
    elif nanotime() - s.interruptedat > 5 * EXIT_GRACE_NS:
        handoff.fatal(s, KeyboardInterrupt())


def raise_in_thread(ident: int, exc: type[BaseException]) -> None:
    """Raises exc in the Python code that a thread runs, at its next bytecode."""
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(exc))


def wait_for_m0(s: Any) -> None:
    """The program has ended, but m0 may still run or sit in user code, which would keep run() from returning.  If it is
    the main thread, a signal breaks the call (signals.Interrupts raises there)."""
    if s.m0note.sleep(EXIT_GRACE_NS / 1e9) or s.m0left:
        return
    while s.caninterrupt and not s.m0left:
        signals.break_call(s)
        if s.m0note.sleep(EXIT_GRACE_NS / 1e9):
            return


def wake_stale_poller(s: Any) -> None:
    """The poller may sleep for a timer that has been stopped since: it looks again, and finds a deadlock if it is one."""
    if s.npolling and s.polluntil and timers.earliest(s) != s.polluntil:
        handoff.wake_poller(s)


def recheck_dead(s: Any) -> None:
    """Everything sleeps: if the threads outside that might have sent something are gone, it is a deadlock after all."""
    if handoff.is_dead(s):
        handoff.found_dead(s)


class Seen:
    """What sysmon knew of a P when it last looked."""

    __slots__ = ("clock", "cpu", "mid", "since", "slice", "slicesince", "tick")

    def __init__(self) -> None:
        self.tick = -1
        self.slice = -1
        self.slicesince = 0
        self.mid = 0
        self.since = 0
        self.clock: int | None = None
        self.cpu = 0


def cpu_clock(m: Any) -> int | None:
    """The CPU time that m's thread has used, in ns; None where the system does not tell."""
    try:
        return time.clock_gettime_ns(time.pthread_getcpuclockid(m.ident))
    except (AttributeError, OSError, OverflowError):
        return None


def watched(s: Any, p: Any, mid: int) -> tuple[Any, int | None]:
    """The M that runs a goroutine on p, and its CPU time; (None, None) where it runs none."""
    m = next((m for m in list(s.allm) if m.id == mid), None)
    if m is None or m.curg is None:
        return None, None
    return m, cpu_clock(m)


def retake(s: Any, seen: dict[int, Seen]) -> tuple[int, bool, bool]:
    """Looks at each P; hands on those whose threads are blocked, or compute for too long.  Returns how many, and whether
    others wait for one whose goroutine has made no step since the last look, or for one that has just been noted."""
    n = 0
    stuck = fresh = False
    now = nanotime()
    for p in list(s.allp):
        mid = p.mid
        if mid == 0:
            continue
        last = seen.get(p.id)
        if last is None:
            last = seen[p.id] = Seen()
        if last.slice != p.schedtick:
            last.slice, last.slicesince = p.schedtick, now
        elif now - last.slicesince >= SLICE_NS:
            p.preempt = True  # goroutines that wake each other through runnext share one slice, and it is over
        tick = p.schedtick + p.switchtick
        if last.tick != tick or last.mid != mid:
            last.tick, last.mid, last.since = tick, mid, now
            last.clock = None
            if waiting_work(s, p):
                m, cpu = watched(s, p, mid)
                if cpu is not None:
                    last.clock, last.cpu = now, cpu
                    fresh = True
            continue
        age = now - last.since
        wanted = waiting_work(s, p)
        stuck = stuck or wanted
        if age < BLOCKED_NS:
            continue
        m, cpu = watched(s, p, mid)
        if m is None:
            continue
        if last.clock is None or cpu is None:
            last.clock, last.cpu = now, cpu or 0
            if cpu is not None or age < SLICE_NS:
                continue
        blocked = cpu is not None and (cpu - last.cpu) * 10 < now - last.clock
        if blocked and now - last.clock >= BLOCKED_NS:
            if wanted and take(s, p, m, mid, tick):
                n += 1
                s.nhandoff += 1
                if reports := reporting():
                    reports.blocked(s, m, last.since)
        elif age >= SLICE_NS:
            m.preempt = True
            if wanted and computing(s) < computing_max(s) and take(s, p, m, mid, tick):
                n += 1
                s.npreempt += 1
                quicken(s)
        if now - (last.clock or now) >= SLICE_NS:
            last.clock, last.cpu = now, cpu or 0
    return n, stuck, fresh


def waiting_work(s: Any, p: Any) -> bool:
    """Whether anybody would use p: goroutines queue on it, or a timer or descriptor has nobody to watch it."""
    if p.runqsize or p.runnext is not None or s.runqsize:
        return True
    if s.npolling or s.npidle:
        return False
    return bool(p.timer0when or (s.netpoll is not None and s.netpoll.waiters()))


def take(s: Any, p: Any, m: Any, mid: int, tick: int) -> bool:
    """Hands p on, unless its M has come to the scheduler since we looked."""
    if p.schedtick + p.switchtick != tick:
        return False
    return bool(handoff.handoffp(s, p, mid))
