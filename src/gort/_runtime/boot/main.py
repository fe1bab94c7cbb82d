"""Runs a program and ends it.  Follows main in Go's runtime/proc.go.

The end, in order.  Main returns, or a goroutine panics, or nothing can run any more; `gort run` prints the dump now.
request_exit tells every M, and each leaves its loop at its next scheduling point.  The remaining goroutines are closed,
so that their `finally` blocks run, and then the async generators.  Last, the runtime's structures are freed.  A thread
that is in a blocking call when the program ends is awaited for at most GRACE.  It ends by itself when its call does; its
goroutine gets Cancelled at its next operation.  The interpreter's end waits once more, for threads in gort's own code.

What does not live here: the boot (rt0.py); the scheduler's loop (sched/proc.py); the signal handlers
(watch/signals.py).
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from _collections_abc import Callable, Coroutine
from _weakref import ref
from types import CoroutineType, FunctionType

from gort._runtime.boot import rt0
from gort._runtime.core import debugvars, handoff, lockrank, machine, newosproc, runq, runtime2, traceback, tracing
from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.sched import newproc, proc, timers
from gort._runtime.sched.blocking import CO_COROUTINE
from gort._runtime.watch import signals
from gort._runtime.watch.external import External
from gort._runtime.sched.newproc import Done
from gort._runtime.core.errors import Cancelled, Deadlock, Goexit, Stopping, is_a
from gort._runtime.core.op import unpark
from gort._runtime.wait.sema import WaitGroup
from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if debugvars.parse()["migration"] > 0:
    from gort._runtime.sched import migration  # noqa: F401  (replaces threading.RLock and threading.local)

UNCOMPILED_WITHOUT_GIL = not runtime2.COMPILED and not gil_enabled()

GRACE = 0.25  # seconds that the other threads have to reach a scheduling point before the program ends without them
INSIDE_S = 1.0  # the same at the interpreter's end, for threads that compute in a call of gort's
COMPUTES = (machine.RUNS, machine.WAITS_FOR_GIL, machine.WAITS_INSIDE)

_running = signals.running  # the runtimes that run now, for gort.wait and for a dump when a test exceeds its time limit
_last: Any = None  # the boot record of the newest runtime
launcher: Any = None  # `gort run` while it executes a file: it wants to know of each run (gort/cli/_program.py)


class MainDone(Done):
    """The Done of the main goroutine: ends the program, except after goexit."""

    def __init__(self, s: Any) -> None:
        self.s = s

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """Keeps main's result or exception and ends the runtime, after the async generators that are left."""
        s = self.s
        gone = is_a(exc, Goexit)
        if s.bubble is not None and (exc is None or gone):
            s.result = value
            s.bubble.done = True  # the others may end; then, or when they cannot, the bubble ends the program
            return
        if gone:
            s.maingone = True
            return
        s.result, s.exc = value, exc
        if s.panicking and not s.exiting:
            return  # another goroutine has panicked, and its M ends the program when it has made the dump, as in Go
        if exc is not None and s.report is not None and not s.exiting:
            from gort._runtime.core import panic

            panic.report(s, exc)
        end(s)


def end(s: Any) -> None:
    """Ends a runtime whose main has ended, after the async generators that are left."""
    if not s.exiting and (s.agens.live or s.agens.closing.count or s.agens.late):
        newproc.newproc(s, s.agens.close_all, (), None, AgensDone(s), True)
    else:
        handoff.request_exit(s)


class AgensDone(Done):
    """The Done of the goroutine that closes the async generators that were left: ends the program."""

    def __init__(self, s: Any) -> None:
        self.s = s

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """Ends the runtime."""
        handoff.request_exit(self.s)


def is_async(fn: Any) -> bool:
    """True when a call of fn returns a coroutine: an async function or method, a partial of one, a decorated one, a
    function of types.coroutine, or an object with an async __call__."""
    if type(fn) is FunctionType and fn.__code__.co_flags & CO_COROUTINE:  # nearly every program takes this path
        return True
    import functools
    import inspect

    while True:
        call = getattr(type(fn), "__call__", None)  # noqa: B004  (needed itself, so callable() is not enough)
        if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(call):
            return True
        if getattr(getattr(fn, "__code__", None), "co_flags", 0) & 0x100:  # types.coroutine
            return True
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif hasattr(fn, "__wrapped__"):  # decorated
            fn = fn.__wrapped__
        else:
            return False


def check_main(main: Any, procs: Any) -> None:
    """Raises TypeError or ValueError if the arguments of run are wrong.  The message says how to write the call."""
    if isinstance(main, CoroutineType):
        main.close()
        raise TypeError("gort.run takes the function, not a coroutine: write gort.run(main), not gort.run(main())")
    if not callable(main):
        raise TypeError(f"gort.run takes an async function, not {type(main).__name__}: gort.run(main)")
    if not is_async(main):
        name = getattr(main, "__qualname__", type(main).__name__)
        raise TypeError(f"gort.run takes an async function: write `async def {name}(...)`")
    if procs is not None:
        if isinstance(procs, bool) or not isinstance(procs, int):
            raise TypeError(f"procs is the number of Ps, an int, not {type(procs).__name__}")
        if procs < 1:
            raise ValueError(f"procs must be at least 1, not {procs}")


def run(main: Callable[[*t.Ts], Coroutine[t.Any, t.Any, t.T]], *args: *t.Ts, procs: int | None = None) -> t.T:
    """Boots the runtime, runs `await main(*args)` as the main goroutine and returns its result.  Follows main (Go's
    runtime/proc.go).

    procs: the number of Ps (default: GOMAXPROCS in the environment; else 1 under the GIL, the usable CPUs without it).
    When main returns, the remaining goroutines are closed (GeneratorExit at their await).  Any thread may call run, any
    number of times.

    Raises what main raises; Panic, with the original exception as __cause__, when another goroutine ends with an
    uncaught exception; Deadlock when nothing can run any more; RuntimeError inside a goroutine, or if the system
    refuses a thread for sysmon; TypeError or ValueError for wrong arguments."""
    return start(main, args, procs, None)  # type: ignore[no-any-return]


def start(
    main: Any,
    args: tuple[Any, ...],
    procs: int | None,
    report: Callable[[BaseException], None] | None,
    prepare: Callable[[Any], None] | None = None,
) -> Any:
    """run for `gort run` and gort.testing too.  report(exc) is called with the error that ends the program, at once, on
    any thread; prepare(s) with the runtime that has been booted, before its first goroutine."""
    check_main(main, procs)
    if runtime2.current_m() is not None:
        raise RuntimeError("gort.run inside a running gort runtime: await the function, or start it with gort.go")
    if launcher is not None:
        launcher.starts()
        procs = launcher.procs if procs is None else procs
    try:
        return _run(main, args, procs, report, prepare)
    finally:
        # A signal handler may raise at any moment of what is above, the boot and the end included.  A thread that stayed
        # bound would refer to an M that is freed.
        runtime2.bind_thread(None)


def _run(main: Any, args: tuple[Any, ...], procs: int | None, report: Any, prepare: Any) -> Any:
    """start, but for the checks and for unbinding the thread."""
    global _last
    s = rt0.rt0(procs)
    _last = s.record
    s.external = External(s)
    s.m0note = runtime2.Note()
    s.report = report
    s.agens = agens = AsyncGenerators(s)
    s.agenhooks = (agens.firstiter, agens.finalizer)
    hooks = sys.get_asyncgen_hooks()
    interrupts = signals.Interrupts(s)
    unprofiled = profiled_by(s) if profiler_is_on() else None
    try:
        sys.set_asyncgen_hooks(*s.agenhooks)
        _running.append(s)
        tracing.attach(s)
        interrupts.install()
        if prepare is not None:
            prepare(s)
        rt0.newproc_main(s, main, args, MainDone(s))
        rt0.mstart0(s)
    finally:
        try:
            signals.ended(s)
        finally:
            try:
                shutdown(s, agens)
            finally:
                try:
                    sys.set_asyncgen_hooks(*hooks)
                    if s in _running:
                        _running.remove(s)
                    release(s)
                finally:
                    interrupts.restore()
                    if unprofiled is not None:
                        unprofiled()
    return outcome(s)


if sys.version_info >= (3, 12):

    def profiler_is_on() -> bool:
        """True when cProfile may be on, or another that the program has."""
        return sys.monitoring.get_tool(sys.monitoring.PROFILER_ID) is not None

else:

    def profiler_is_on() -> bool:
        """True when cProfile may be on in this thread, or another that the program has."""
        return sys.getprofile() is not None


def profiled_by(s: Any) -> Callable[[], None]:
    """Lets cProfile count all threads of this runtime, if it is on.  Returns what ends that."""
    from gort._runtime.watch import cprofiles

    return cprofiles.begin(s)


def outcome(s: Any) -> Any:
    """Returns the program's result, or raises the exception that ended it."""
    result, exc, fatal = s.result, s.exc, s.fatal
    s.result = s.exc = s.fatal = None
    try:
        if fatal is not None:
            raise fatal
        if exc is not None:
            raise exc
    finally:
        del exc, fatal
    return result


def shutdown(s: Any, agens: AsyncGenerators) -> None:
    """Ends a runtime.  Runs on m0's thread after its loop has returned."""
    m0 = s.m0
    s.m0left = True
    handoff.request_exit(s)
    s.m0note.wakeup()
    deadline = time.monotonic_ns() + int(GRACE * 1e9)
    if s.sysmon is not None:
        s.sysmon.join()  # first, because sysmon may just be starting an M for a P that it has taken
    for m in list(s.allm):
        if m is not m0 and m.started:
            # Another M may have marked this one as started and not yet started its thread, or be failing to.
            while (m.thread is None or m.thread.ident is None) and m in s.allm and time.monotonic_ns() < deadline:
                time.sleep(0.0005)
            if m.thread is not None and m.thread.ident is not None:
                newosproc.join(m.thread, deadline)
    if isinstance(s.fatal, Deadlock):
        from gort._runtime.core import panic

        panic.deadlock(s, s.fatal)
    s.ending = True
    s.hooks &= ~(tracing.HOOK_TRACE | tracing.HOOK_WAITS)  # the goroutines that are closed now are run by nobody
    if m0.p is None or m0.p.mid != m0.id:
        m0.p = None
        handoff.acquire_idle(s, m0)
    # Goroutines on threads that did not leave.  Reads m.curg once, because those threads may change it.
    stuck = {g.goid for m in list(s.allm) if m is not m0 and (g := m.curg) is not None}
    for g in list(s.allgs):
        if g.goid and g.goid not in stuck:
            close(s, m0, g)
    agens.close(m0)


def inside(ident: int) -> bool:
    """True when the thread executes gort's own code: in a call of the program's, or the scheduler's.  True where its
    frames cannot be read."""
    if UNCOMPILED_WITHOUT_GIL:
        return True
    own = [code in traceback.THREAD or traceback.hidden(code) for code, _, _ in traceback.thread_frames(ident)]
    while own and own[-1]:  # what calls the goroutine
        own.pop()
    return not own or any(own)


def leave() -> None:
    """The interpreter ends: waits for the Ms' threads that compute in gort's code, for INSIDE_S at most.

    The end freezes the other threads where they are.  One that holds a lock of gort's may be at it for long, because the
    collector runs finalizers there; once it is frozen, a finalizer that asks for the lock would never return."""
    end = time.monotonic_ns() + int(INSIDE_S * 1e9)
    for thread in threading.enumerate():
        if type(thread) is newosproc.Thread:
            ident, number = thread.ident or 0, thread.native_id or 0
            while newosproc.left(end) and thread.is_alive() and machine.doing(number) in COMPUTES and inside(ident):
                time.sleep(newosproc.LOOK_S)


atexit.register(leave)


def close(s: Any, m: Any, g: Any) -> None:
    """Closes the goroutine g: dequeues it from what it waits for and raises GeneratorExit at its await."""
    unpark(g)
    coro = g.coro
    done, goid = g.done, g.goid
    if type(coro) is CoroutineType:
        m.curg = g
        try:
            proc.in_context(g, lambda: exit_coroutine(m, g, coro))
        except BaseException as e:
            if is_a(e, SystemExit, KeyboardInterrupt) and s.fatal is None and s.exc is None:
                s.fatal = e  # sys.exit ends the program with its status here too
            elif not is_a(e, Goexit, Stopping):
                unraisable(e, coro, "a goroutine's finally block raised while the program ended")
        finally:
            m.curg = None
            m.mcall = runtime2.MCALL_NONE
            m.parkop = None
    if not g.system:
        m.ngs -= 1
    newproc.forget(g)
    if done is not None:
        done.abandoned(goid)


def exit_coroutine(m: Any, g: Any, coro: Any) -> None:
    """Raises GeneratorExit at the await of the goroutine g, in its operation.

    coro.close() would raise it too, but not within an async generator that the goroutine iterates: CPython 3.11 leaves
    such a one suspended for ever, and its `finally` blocks would not run."""
    asks = g.throw is None or isinstance(g.throw, Cancelled)  # else it awaits what is not gort's
    if coro.cr_suspended and asks and not g.foreign:
        m.mcall = runtime2.MCALL_EXIT
        try:
            coro.send(None)
        except (GeneratorExit, StopIteration):
            return
    coro.close()


def unraisable(exc: BaseException, obj: Any, what: str) -> None:
    """Reports an exception that cannot be raised anywhere (panic.unraisable); never raises."""
    from gort._runtime.core import panic

    panic.unraisable(exc, obj, what)


def release(s: Any) -> None:
    """Breaks the reference cycles between the structures, so that they are freed now and not by the collector later."""
    m0 = s.m0
    runtime2.bind_thread(None)
    m0.p = None
    for p in s.allp:
        timers.cleartimers(p)
    runq.release_queues(s)
    if all(m is m0 for m in s.allm):
        runq.release_idle(s)
    s.netpoll_close()
    newproc.disown(s)
    s.maing = None
    s.external = None
    if s.bubble is not None:
        s.bubble.leave()
    s.agenhooks = (None, None)
    s.agens = None
    m0.sched = m0.g0.sched = m0.gsignal.sched = None
    m0.schedlink = None  # m0 may have been idle: the next idle M refers to s


class AsyncGenerators:
    """The async generators that goroutines have begun.  One that is dropped half-way is closed in a goroutine; the
    others are closed at the program's end."""

    def __init__(self, s: Any) -> None:
        self.s = s
        # Weak references to those that have begun.  The hooks run in finalizers, so there is no lock that this thread
        # could hold already: each use of the set is one operation, which the interpreter keeps whole.
        self.live: set[ref[Any]] = set()
        self.dropped: list[Any] = []  # while the program ends: close() closes them
        self.late: list[Any] = []  # in the uncompiled core without the GIL: begin_late() closes them
        self.beginning: list[None] = []  # threads in begin_late: until they are done there is no deadlock
        self.over = False  # close() has ended: what is dropped now is nobody's
        self.closing: Any = WaitGroup()

    def firstiter(self, agen: Any) -> None:
        """The interpreter's firstiter hook: records a generator at its first iteration."""
        self.live.add(ref(agen, self.live.discard))

    def finalizer(self, agen: Any) -> None:
        """The interpreter's finalizer hook: runs aclose() of a generator that was dropped half-way, in a goroutine."""
        if self.over:
            pass
        elif self.s.exiting:
            self.dropped.append(agen)
        elif UNCOMPILED_WITHOUT_GIL and self.s.sysmon is not None:
            # The interpreter drops what another thread has let go between any two bytecodes, also where this thread holds
            # locks of the runtime's: sysmon goes on with it.
            self.late.append(agen)
            self.s.sysmonnote.wakeup()
        else:
            self.closing.add(1)
            newproc.newproc(self.s, _aclose, (agen,), None, Quiet(self), True)

    def begin_late(self) -> None:
        """The same for those that were dropped where no goroutine could be made.  On sysmon's thread, and at the end."""
        self.beginning.append(None)
        try:
            self._begin_late()
        finally:
            self.beginning.pop()

    def _begin_late(self) -> None:
        while self.late:
            self.closing.add(1)  # before it leaves `late`, so that the program's end sees one of the two
            try:
                agen = self.late.pop()
            except IndexError:  # the other one of the two has been quicker
                self.closing.done()
                return
            if self.s.exiting:
                self.dropped.append(agen)
                self.closing.done()
            else:
                newproc.newproc(self.s, _aclose, (agen,), None, Quiet(self), True)

    def take(self) -> list[Any]:
        """The generators that are left, which are then no longer in `live`.  Not those in which a goroutine waits: to
        close that goroutine ends them."""
        taken = []
        for weak in list(self.live):
            agen = weak()
            if agen is not None and not agen.ag_running:
                self.live.discard(weak)
                taken.append(agen)
        return taken

    async def close_all(self) -> None:
        """Closes every generator that is left, and those that begin meanwhile.  Runs as a goroutine, so that their
        `finally` blocks can wait."""
        while (batch := self.take()) or self.closing.count or self.late:
            self.begin_late()
            for agen in batch:
                try:
                    await agen.aclose()
                except BaseException as e:
                    if not is_a(e, GeneratorExit, Goexit, StopAsyncIteration):  # the last: it was closed before
                        unraisable(e, agen, "an async generator raised while the program ended")
            await self.closing.wait()

    def close(self, m: Any) -> None:
        """Closes the generators that are left, on m0's thread m, without a scheduler.  An await that would have to wait
        raises Stopping there, a RuntimeError."""
        while True:
            self.dropped += self.take()
            while self.late:
                self.dropped.append(self.late.pop())
            if not self.dropped:
                break
            agen = self.dropped.pop()
            g = runtime2.G()
            g.sched, g.system = self.s, True
            m.curg = g
            try:
                agen.aclose().send(None)
            except (StopIteration, StopAsyncIteration):  # the second: it was closed before, and would not end
                pass
            except BaseException as e:
                unraisable(e, agen, "an async generator raised while the program ended")
            finally:
                m.curg = None
                agen = None
        self.over = True


async def _aclose(agen: Any) -> None:
    await agen.aclose()


class Quiet(Done):
    """The Done of a goroutine that closes an async generator: an exception is reported, and the program goes on."""

    def __init__(self, agens: AsyncGenerators) -> None:
        self.agens = agens

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """Reports an exception through sys.unraisablehook, as Python does for finalizers."""
        if exc is not None and not is_a(exc, GeneratorExit, Goexit):
            unraisable(exc, None, "an async generator's finalizer raised")
        self.agens.closing.done()


def _after_fork() -> None:
    """Gives every runtime up in a forked child, where only this thread goes on."""
    if _running:
        lockrank.free_locks()  # first: what follows takes them
    for s in _running:
        s.exiting = True
        s.sysmon = None  # its thread is gone, so its lock would never be released
        s.fatal = RuntimeError("gort: a runtime does not survive os.fork; in the child call gort.run anew, or os._exit")
        if s.netpoll is not None:
            s.netpoll.forget()
    _running.clear()
    runtime2.bind_thread(None)
    signals.after_fork()


def _page() -> str:
    """Begins the live page of this process and returns its address."""
    from gort._runtime.see import server

    return server.serve().url


signals.page = _page
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def current(what: str) -> Any:
    """The sched of the running goroutine.  Raises RuntimeError outside a goroutine, with `what` as the caller's
    name."""
    m = runtime2.current_m()
    if m is None or m.curg is None:
        raise RuntimeError(f"{what} outside a running gort runtime: start one with gort.run(main)")
    return m.sched
