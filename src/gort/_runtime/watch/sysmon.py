"""sysmon: the thread that watches the others.  Follows sysmon and retake in Go's runtime/proc.go.

It needs no P.  It sleeps 20 µs at first and doubles that up to 10 ms while there is nothing to do.  Once every P has
been idle for a while it sleeps deeply, and whoever takes a P then wakes it.

Go's runtime knows when a goroutine enters a system call; ours does not.  sysmon notices a goroutine that keeps its P
only when it looks twice and sees no step in between.  So when work waits for a P, a look is followed by a second one
AGAIN_NS later, and by more of them until it is clear what that goroutine does.  If an M has run the same goroutine for
longer than BLOCKED_NS, the CPU clock of its thread decides:

- The thread has used no CPU and sleeps in a system call, so it is blocked.  sysmon hands its P to another M at once.
- The thread computes.  sysmon asks the goroutine to yield at its next operation.  If work waits for a P, it also hands
  the P off, unless computing_max threads already compute without one.

The goroutine itself runs on, without a P, until it next reaches the scheduler.  Then its M takes an idle P, or the
goroutine goes to a queue.

sysmon has four more duties.  It delivers Ctrl-C to the main goroutine, because a signal handler must not take locks
and so only sets a flag.  It makes sure that no signal waits for the end of a call (signals.look).  It repeats the
check for a deadlock, which cannot decide while threads outside the runtime are alive.  And it keeps the time limits of
tests (ring).

Between its rounds sysmon sleeps in watcher.py, which may find a blocked thread sooner; then sysmon takes its P at once
(noticed).

What does not live here: the handoff of a P (core/handoff.py), the signal handlers (signals.py), the reports
(reports.py).
"""

from __future__ import annotations

import sys
import time
from _thread import allocate_lock, get_native_id, start_new_thread

from gort._runtime.core import handoff
from gort._runtime.core.idle import endidle
from gort._runtime.sched import timers
from gort._runtime.watch import signals
from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.watch.ousted import Ousted
from gort._runtime.watch.watcher import WATCHING, Watcher
from gort._runtime.core.machine import WAITS_INSIDE, blocks, cpu_clock, doing, nanotime
from gort._runtime.core.runtime2 import SLICE_NS, _Gwaiting
from gort._runtime.core.tracing import HOOK_SEED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MIN_DELAY_NS = 20_000
MAX_DELAY_NS = 10_000_000
QUIET_ROUNDS = 50  # after so many rounds without work the delay doubles
BLOCKED_NS = 1_000_000  # a thread that uses no CPU for this long is blocked
SEEDED_BLOCKED_NS = 1_000_000_000  # the same with GODEBUG=seed
MEMORY_S = 0.001  # seconds until sysmon, which found no memory to begin, tries again
RECENT_NS = 100_000  # what the watcher has seen a thread do is true for so long
AGAIN_NS = 1_100_000  # the time from a look to the second look
IDLE_NS = 100_000_000  # the length of a deep sleep, after which the deadlock check is repeated
CYCLES_NS = 500_000_000  # the time between two looks for goroutines that wait for each other
QUICK_SWITCH_S = 0.001  # see quicken
KEPT = 4  # so many idle threads more than there are Ps are kept
ENDED = 16  # so many end in a round
EXIT_GRACE_NS = 100_000_000  # the time given to each step of a Ctrl-C, and to m0 when its program has ended


def computing_max(s: Any) -> int:
    """The number of threads that may compute without a P.  When it is reached, a computing goroutine keeps its P."""
    return int(s.gomaxprocs) + 4


def computing(s: Any, ousted: Ousted) -> int:
    """The number of threads that run a goroutine without a P and may compute: those that sysmon has seen compute, and
    those that have handed their P on and have not been seen blocked yet."""
    return ousted.count() + len(s.predictor.fresh)


def quicken(s: Any) -> None:
    """Makes the interpreter hand the GIL on every QUICK_SWITCH_S instead of every 5 ms, until this runtime ends.  Each
    thread that computes without a P delays the scheduler's thread by one such interval."""
    if s.switchinterval == 0 and gil_enabled():
        s.switchinterval = sys.getswitchinterval()
        if s.switchinterval > QUICK_SWITCH_S:
            sys.setswitchinterval(QUICK_SWITCH_S)


def unquicken(s: Any) -> None:
    """Restores the interpreter's own switch interval, unless other code has changed it since."""
    if s.switchinterval > QUICK_SWITCH_S and abs(sys.getswitchinterval() - QUICK_SWITCH_S) < 1e-6:
        sys.setswitchinterval(s.switchinterval)


class Watch:
    """sysmon's thread of one runtime.  threading.Thread would wait until the thread runs and so delay every start."""

    def __init__(self, s: Any) -> None:
        self.over = allocate_lock()
        self.over.acquire()
        self.procid = 0  # the kernel's number, once the thread runs
        self.ident = start_new_thread(self.live, (s,))

    def live(self, s: Any) -> None:
        """The thread's function: runs sysmon until the runtime exits."""
        try:
            while True:
                try:
                    self.procid = get_native_id()
                    return sysmon(s)
                except MemoryError:  # before its first round; it may find some later, as in the others
                    time.sleep(MEMORY_S)
        finally:
            self.over.release()

    def join(self) -> None:
        """Waits until the thread has ended.  May be called once."""
        self.over.acquire()


def start(s: Any) -> None:
    """Starts sysmon's thread.  Raises RuntimeError when the system refuses one, because without sysmon a call that
    blocks would stop the program."""
    s.coarsetime = nanotime()
    if s.debug["schedtrace"] > 0:
        reporting()  # now, so that the first line tells of the start
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
    """Watches the Ms of s until the runtime exits, then waits for m0 to leave its loop."""
    idle = 0
    delay = MIN_DELAY_NS
    # Under the GIL each round costs the others a switch; and where the watcher looks, rounds need not be frequent.
    floor = 1_000_000 if gil_enabled() or WATCHING else MIN_DELAY_NS
    seen: dict[int, Seen] = {}
    ousted = Ousted()
    idle_threads = IdleThreads(s)
    watcher = Watcher()
    again = False
    steps = 0
    started = traced = looked = checked = nanotime()
    trace_every = s.debug["schedtrace"] * 1_000_000
    circles = reporting().Cycles() if s.debug["deadlock"] > 0 and reporting() else None
    try:
        if s.debug["blocked"] > 0 and (reports := reporting()):
            reports.begin(s)
        if trace_every > 0 and (reports := reporting()):
            reports.schedtrace(s, started, started)
        while not s.exiting:
            try:
                if idle == 0:
                    delay = floor
                elif idle > QUIET_ROUNDS:
                    delay = min(delay * 2, MAX_DELAY_NS)
                quiet = s.npidle == s.gomaxprocs and not s.npolling
                deep = False
                if s.npidle == s.gomaxprocs and not s.interrupted and not trace_every:
                    steps, before = sum(p.schedtick for p in s.allp), steps
                    deep = steps == before and handoff.sysmon_may_sleep(s)  # not in a short pause of a busy program
                quick = again and not deep
                watcher.sleep(s, IDLE_NS if deep else AGAIN_NS if quick else delay)
                s.sysmonwait = False
                if s.exiting:
                    break
                seen_blocked = noticed(s, watcher, ousted)  # first of all: work waits for that P
                if s.interrupted:
                    s.nexternal += 1  # we are no M: the deadlock check learns that we will wake a goroutine
                    try:
                        interrupt_main_goroutine(s)
                    finally:
                        s.nexternal -= 1
                if s.npidle == s.gomaxprocs:
                    wake_stale_poller(s)
                if quiet:
                    recheck_dead(s)
                if s.nmstartfailed and handoff.stranded(s):
                    handoff.startm(s)
                s.coarsetime = nanotime()
                if s.alarm is not None:
                    ring(s)
                if s.agens is not None and s.agens.late:
                    s.agens.begin_late()
                if s.caninterrupt and (s.coarsetime - looked >= SLICE_NS or signals.deferred()):
                    looked = s.coarsetime
                    signals.look(s)
                s.predictor.look_after(s, s.coarsetime)
                idle_threads.look(s, s.coarsetime)
                if s.blockedcalls and (reports := reporting()):
                    reports.settle(s, cpu_clock)
                if trace_every > 0 and s.coarsetime - traced >= trace_every and (reports := reporting()):
                    traced = s.coarsetime
                    reports.schedtrace(s, traced, started)
                if circles is not None and s.coarsetime - checked >= CYCLES_NS:
                    checked = s.coarsetime
                    circles.look(s)
                netpoll = s.netpoll
                if (
                    netpoll is not None
                    and not s.npolling
                    and s.coarsetime - s.lastpoll > SLICE_NS
                    and netpoll.waiters()
                ):
                    s.nexternal += 1
                    try:
                        netpoll.poll(0)
                    finally:
                        s.nexternal -= 1
                if overdue(s):
                    handoff.startm(s)
                ousted.look(cpu_clock)
                n, stuck, fresh = (1, True, False) if seen_blocked else retake(s, seen, ousted)
                again = stuck or (fresh and not quick)
                if n:
                    idle = 0
                elif not quick:
                    idle += 1
            except MemoryError:
                idle = 0  # the next round may find some; without sysmon a call that blocks would stop the program
        if s.blockedcalls and (reports := reporting()):
            reports.finish(s)
        unquicken(s)
        wait_for_m0(s)
    except Exception:
        from gort._runtime.core.lockrank import throw, trace_of_error

        throw("sysmon failed", trace_of_error)


def ring(s: Any) -> None:
    """Calls the function of sched.alarm, if its time has come."""
    alarm = s.alarm  # read once, because other threads replace it
    if alarm is None or s.coarsetime < alarm[0]:
        return
    s.alarm = None
    try:
        alarm[1]()
    except BaseException as e:
        from gort._runtime.core import panic

        panic.unraisable(e, alarm[1], "the function of an alarm raised")


def reporting() -> Any:
    """Returns the module reports, imported at the first call.  None when the import fails: the process may have no
    descriptor left to read the file with, and sysmon must survive that."""
    try:
        from gort._runtime.watch import reports
    except (ImportError, OSError):
        return None
    return reports


def interrupt_main_goroutine(s: Any) -> None:
    """Delivers Ctrl-C in up to three steps, EXIT_GRACE_NS and more apart.  First cancels the main goroutine with
    KeyboardInterrupt.  If it has not ended and computes on a thread other than m0's, raises KeyboardInterrupt in that
    thread.  If it still has not ended (it is in a call), ends the program without it."""
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
            if m.curg is s.maing and m is not s.m0 and s.maing.status != _Gwaiting:  # sched/inplace.py
                raise_in_thread(m.ident, KeyboardInterrupt)
    elif nanotime() - s.interruptedat > 5 * EXIT_GRACE_NS:
        handoff.fatal(s, KeyboardInterrupt())


def raise_in_thread(ident: int, exc: type[BaseException]) -> None:
    """Raises exc in the Python code of another thread, at its next bytecode.  Does nothing where there is no ctypes: then
    what computes goes on, until interrupt_main_goroutine gives up."""
    try:
        import ctypes
    except ImportError:
        return
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(exc))


def wait_for_m0(s: Any) -> None:
    """Waits for m0 to leave its loop after the program has ended.  m0 may be in user code, and then run() cannot
    return.  If m0 is the main thread, a signal interrupts the call that it is in (signals.Interrupts.kicked raises
    there)."""
    if s.m0note.sleep(-1.0 if s.hosting else EXIT_GRACE_NS / 1e9) or s.m0left:
        return
    while s.caninterrupt and not s.m0left:
        signals.break_call(s)
        if s.m0note.sleep(EXIT_GRACE_NS / 1e9):
            return


def wake_stale_poller(s: Any) -> None:
    """Wakes the poller if it sleeps for a timer that has been stopped since.  It then looks again, and may find a
    deadlock."""
    if s.npolling and s.polluntil and timers.earliest(s) != s.polluntil:
        handoff.wake_poller(s)


def recheck_dead(s: Any) -> None:
    """Repeats the deadlock check while everything sleeps: the threads outside the runtime that might have sent
    something may have ended."""
    if handoff.is_dead(s):
        handoff.found_dead(s)


class IdleThreads:
    """Ends threads that nothing has needed for a while (GODEBUG=idlethreads=SECONDS), as Java's pools and tokio's do.  Go
    keeps its threads."""

    def __init__(self, s: Any) -> None:
        self.keep = s.gomaxprocs + KEPT
        self.ns = s.debug["idlethreads"] * 1_000_000_000  # 0: never
        self.since = s.coarsetime
        self.least = 0  # the fewest idle threads since then: so many have not been needed

    def look(self, s: Any, now: int) -> None:
        """sysmon's part in each round: ends a few, once they have been idle for that long."""
        self.least = min(self.least, s.nmidle)
        if not self.ns or now - self.since < self.ns:
            return
        surplus = self.least - self.keep
        if surplus > 0:
            self.least -= endidle(s, min(surplus, ENDED))
        else:
            self.since, self.least = now, s.nmidle


class Seen:
    """The state of a P at sysmon's last look."""

    __slots__ = ("clock", "cpu", "mid", "since", "slice", "slicesince", "tick")

    def __init__(self) -> None:
        self.tick = -1
        self.slice = -1
        self.slicesince = 0
        self.mid = 0
        self.since = 0
        self.clock: int | None = None
        self.cpu = 0


def watched(s: Any, p: Any, mid: int) -> tuple[Any, int | None]:
    """Returns the M number `mid`, which owns p, and its CPU time; (None, None) if that M runs no goroutine."""
    m = m_of(s.allm, mid)
    if m is None or m.curg is None:
        return None, None
    return m, cpu_clock(m)


def m_of(allm: list[Any], mid: int) -> Any:
    """The M number `mid`, or None.  The list has them in the order of their numbers, so a few looks will do, of however
    many.  Another thread may take one out meanwhile; then this look may find none, and the next one does."""
    low, high = 0, len(allm)
    try:
        while low < high:
            middle = (low + high) // 2
            m = allm[middle]
            if m.id == mid:
                return m
            if m.id < mid:
                low = middle + 1
            else:
                high = middle
    except IndexError:  # it has become shorter
        pass
    return None


def retake(s: Any, seen: dict[int, Seen], ousted: Ousted) -> tuple[int, bool, bool]:
    """Looks at each P and hands off those whose threads are blocked or have computed for too long.

    Returns (n, stuck, fresh).  n: the number of Ps handed off.  stuck: work waits for a P whose goroutine has made no
    step since the last look.  fresh: work waits for a P whose CPU clock has just been read for the first time."""
    n = 0
    stuck = fresh = False
    by_seed = seeded(s)
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
        elif now - last.slicesince >= SLICE_NS and not by_seed:
            p.preempt = True  # goroutines that ready each other through runnext have used up the slice that they share
        tick = p.schedtick + p.switchtick + p.looptick
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
        if age < (SEEDED_BLOCKED_NS if by_seed else BLOCKED_NS):
            continue
        m, cpu = watched(s, p, mid)
        if m is None:
            continue
        if last.clock is None or cpu is None:
            last.clock, last.cpu = now, cpu or 0
            if cpu is not None or age < SLICE_NS:
                continue
        blocked = cpu is not None and (cpu - last.cpu) * 10 < now - last.clock
        if blocked and now - last.clock >= BLOCKED_NS and blocks(does := doing(m.procid), now - last.clock):
            inside = does == WAITS_INSIDE
            place = 0 if inside else place_of(m)
            g = m.curg
            if wanted and take(s, p, m, mid, tick):
                n += 1
                s.nhandoff += 1
                ousted.add(m, g, cpu, True)
                if reports := reporting():
                    reports.blocked(s, m, last.clock if inside else last.since, cpu, place, inside)
        elif age >= SLICE_NS and not by_seed:
            m.preempt = True
            g = m.curg
            if wanted and computing(s, ousted) < computing_max(s) and take(s, p, m, mid, tick):
                n += 1
                s.npreempt += 1
                ousted.add(m, g, cpu, False)
                quicken(s)
        if now - (last.clock or now) >= SLICE_NS:
            last.clock, last.cpu = now, cpu or 0
    return n, stuck, fresh


def seeded(s: Any) -> bool:
    """True where GODEBUG=seed decides the order: nobody is preempted, and a thread must have been blocked for long before
    its P is taken.  A thread that the machine gives no processor for a moment looks blocked too."""
    return bool(s.hooks & HOOK_SEED)


def noticed(s: Any, watcher: Any, ousted: Ousted) -> bool:
    """Hands off the P whose thread the watcher has found blocked.  False when it has not, or the P is not wanted any
    more, or the thread only waits for a processor, the GIL or a lock."""
    p = watcher.found
    if p is None or seeded(s) or not waiting_work(s, p):
        return False
    m, cpu = watched(s, p, watcher.mid)
    if m is None:
        return False
    now = nanotime()
    does = watcher.does if now - watcher.looked < RECENT_NS else doing(m.procid)
    if not blocks(does, now - watcher.rests):
        return False
    inside = does == WAITS_INSIDE
    place = 0 if inside else place_of(m)
    g = m.curg
    if not take(s, p, m, watcher.mid, watcher.tick):
        return False
    s.nhandoff += 1
    ousted.add(m, g, cpu, True)
    if reports := reporting():
        reports.blocked(s, m, watcher.rests if inside else watcher.since, cpu, place, inside)
    return True


def place_of(m: Any) -> int:
    """Where the stretch of m's goroutine has begun (sched/predict.py); 0 where nobody has asked."""
    stretch = m.stretch
    return 0 if stretch is None else int(stretch.place)


def waiting_work(s: Any, p: Any) -> bool:
    """True when another M could use p: goroutines are in its queue or the global one, or no M watches its timers or the
    descriptors."""
    if p.runqsize or p.runnext is not None or s.runqsize:
        return True
    if s.npolling or s.npidle:
        return False
    return bool(p.timer0when or (s.netpoll is not None and s.netpoll.waiters()))


def overdue(s: Any) -> bool:
    """True when a timer is due, and nobody watches it though a P is idle: a thread that was the poller runs a goroutine,
    and has woken nobody for that (sched/inplace.py).  Go's sysmon starts an M for such a timer too."""
    if not s.npidle or s.npolling or s.nmspinning or s.vnow:
        return False
    return any(0 < p.timer0when <= s.coarsetime for p in s.allp)


def take(s: Any, p: Any, m: Any, mid: int, tick: int) -> bool:
    """Hands p off, unless its M has been in the scheduler since we looked.  True when it did."""
    if p.schedtick + p.switchtick + p.looptick != tick:
        return False
    return bool(handoff.handoffp(s, p, mid))
