"""The boot, from top to bottom: entry, rt0_go, check, args, osinit, schedinit, newproc(main), mstart.  Follows
rt0_linux_amd64.s, asm_amd64.s (rt0_go), runtime1.go (check, args) and proc.go (schedinit) of Go's runtime.

The order of the steps is Go's.  Each step does its work, or says why there is none here (status "skipped").  Each is
timed, and writes what it found to the record that `gort boot` prints.

What does not live here: running and ending a program (main.py).
"""

from __future__ import annotations

import os
import sys
import threading

from gort._runtime.core import debugvars, handoff, lockrank, machine, runtime2, seed, traceback, tracing
from gort._runtime.sched import newproc, predict, proc, procresize
from gort._runtime.watch import sysmon
from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.core.lockrank import throw
from gort._runtime.core.mistakes import check_procs, say
from gort._runtime.core.machine import nanotime
from gort._start import verify
from gort.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAXMCOUNT = 10000  # Go's limit on threads: a program that needs more has most likely a bug


class Record:
    """The steps of one boot, as data: [{"name", "parent", "status", "ns", "detail"}]."""

    def __init__(self, echo: bool = False) -> None:
        self.steps: list[dict[str, Any]] = []
        self._open: list[str] = []
        self._echo = echo
        self._started = nanotime()

    def step(self, name: str) -> Step:
        """`with rec.step(name) as d:` times a step.  The body writes the details to d."""
        return Step(self, name)

    def began(self, name: str) -> dict[str, Any]:
        """Appends the entry of a step that begins, inside the innermost open one, and returns it."""
        entry: dict[str, Any] = {
            "name": name,
            "parent": self._open[-1] if self._open else None,
            "status": "ok",
            "ns": 0,
            "detail": {},
        }
        self.steps.append(entry)
        self._open.append(name)
        return entry

    def ended(self, entry: dict[str, Any], start: int) -> None:
        """Closes the innermost open step, whose entry this is; it began at `start`.  GODEBUG=inittrace=1 prints it, as Go
        prints the init of a package."""
        self._open.pop()
        if self._echo:
            at, took = (start - self._started) / 1e6, entry["ns"] / 1e6
            say(f"init {entry['name']} @{at:.3f} ms, {took:.3f} ms clock, {entry['detail']}\n")

    def skip(self, name: str, reason: str) -> None:
        """Records a step of Go's boot for which gort has nothing to do, and the reason."""
        parent = self._open[-1] if self._open else None
        self.steps.append({"name": name, "parent": parent, "status": "skipped", "ns": 0, "detail": {"reason": reason}})


class Step:
    """The context manager that times one step."""

    def __init__(self, record: Record, name: str) -> None:
        self.record = record
        self.name = name

    def __enter__(self) -> dict[str, Any]:
        self.entry = self.record.began(self.name)
        self.start = nanotime()
        detail: dict[str, Any] = self.entry["detail"]
        return detail

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        self.entry["ns"] = nanotime() - self.start
        if exc_type is not None:
            self.entry["status"] = "failed"
        self.record.ended(self.entry, self.start)


def rt0(procs: int | None = None) -> Any:
    """Boots a runtime and returns its sched.  The calling thread is then m0 and owns a P; nothing runs yet.

    Raises ValueError for an impossible number of Ps."""
    debug = debugvars.parse()
    rec = Record(echo=bool(debug["inittrace"]))
    s = runtime2.Sched()
    s.record = rec
    with rec.step("_rt0") as d:
        argv = list(getattr(sys, "orig_argv", sys.argv))
        d.update(argc=len(argv), argv=argv)
    m0 = runtime2.M()
    with rec.step("rt0_go") as d:
        rt0_go(s, m0, rec, d)
        rec.skip(
            "_cgo_init", "asking libc for the stack's bounds is a part of rt0_go here: every Python is linked to libc"
        )
        with rec.step("settls") as t:
            settls(m0, t)
        with rec.step("bind") as t:
            bind(s, m0, t)
        with rec.step("check") as t:
            check(t)
        with rec.step("args") as t:
            args(t)
        with rec.step("osinit") as t:
            osinit(s, t)
        with rec.step("schedinit"):
            schedinit(s, m0, rec, debug, procs)
    return s


def rt0_go(s: Any, m0: Any, rec: Record, d: dict[str, Any]) -> None:
    """Makes m0's g0 with this thread's real stack bounds, and identifies the processor."""
    m0.g0 = runtime2.G()
    m0.g0.system = True
    m0.g0.sched = s
    machine.set_bounds(m0)
    d.update(
        g0={
            "stack": {"lo": m0.stacklo, "hi": m0.stackhi},
            "stackguard0": m0.stackguard0,
            "stackguard1": m0.stackguard1,
        },
        guards="for comparison only: CPython bounds the depth of calls itself",
        cpu=machine.cpu_identity(),
    )


def settls(m0: Any, d: dict[str, Any]) -> None:
    """Checks thread-local storage, as Go does: stores 0x123 in this thread's slot, reads it back, and makes sure that
    another thread does not see it."""
    seen = machine.tls_check(0x123)
    if seen != (0x123, 0):
        throw(f"runtime: thread-local storage is broken: own thread reads {seen[0]:#x}, another reads {seen[1]:#x}")
    d.update(stored="0x123", read=hex(seen[0]), other_thread=hex(seen[1]), storage=machine.TLS_KIND)


def bind(s: Any, m0: Any, d: dict[str, Any]) -> None:
    """Links g0 and m0 to each other, and checks that getg() finds g0 through thread-local storage."""
    m0.sched = s
    machine.adopt(m0)
    if runtime2.getg() is not m0.g0:
        throw("runtime: getg() is not g0 after m0 was bound")
    s.m0 = m0
    d.update(getg="g0", m0_g0="g0", g0_m="m0", thread=m0.procid)


def check(d: dict[str, Any]) -> None:
    """Checks what the runtime relies on: the clock, locks, and coroutines.  Ends the process if one of them fails."""
    now = nanotime()
    for _ in range(3):
        later = nanotime()
        if later < now:
            throw("check: the monotonic clock runs backwards")
        now = later
    lock = threading.Lock()
    if not lock.acquire(False) or lock.acquire(False):
        throw("check: a lock can be taken twice")
    lock.release()

    async def probe() -> int:
        return 7

    coro = probe()
    try:
        coro.send(None)
        throw("check: a coroutine that does not wait has suspended")
    except StopIteration as e:
        if e.value != 7:
            throw("check: a coroutine lost its result")
    d.update(
        python=sys.version.split()[0],
        implementation=sys.implementation.name,
        gil=gil_enabled(),
        compiled=runtime2.COMPILED,
        clock="monotonic",
    )


def args(d: dict[str, Any]) -> None:
    """Records the executable and the auxiliary vector, which the kernel passes to the process besides argv."""
    d.update(executable=sys.executable, auxv=machine.auxv())


def osinit(s: Any, d: dict[str, Any]) -> None:
    """Reads the number of CPUs and the page sizes."""
    s.ncpu = debugvars.num_cpu()
    d.update(
        ncpu=s.ncpu,
        quota=debugvars.cpu_quota(),
        physPageSize=os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096,
        physHugePageSize=machine.huge_page_size(),
    )


def schedinit(s: Any, m0: Any, rec: Record, debug: dict[str, int], procs: int | None) -> None:
    """Makes the scheduler's global state, m0 and the Ps, in the order of Go's schedinit (proc.go)."""
    with rec.step("lockInit") as d:
        ranks = sorted(lockrank.LOCK_NAMES)
        d.update(ranks={lockrank.LOCK_NAMES[r]: r for r in ranks}, checked=lockrank.CHECKED)
    rec.skip("raceinit", "CPython has no race detector; a ThreadSanitizer build of the interpreter is one from outside")
    with rec.step("maxmcount") as d:
        s.maxmcount = MAXMCOUNT
        d.update(maxmcount=s.maxmcount)
    with rec.step("tracebackinit") as d:
        d.update(recursionlimit=sys.getrecursionlimit(), hidden="gort")
    with rec.step("moduledataverify") as d:
        d.update(moduledataverify())
    with rec.step("stackinit") as d:
        size = threading.stack_size()
        threading.stack_size(size)  # to ask for it has set it back to the system's
        d.update(thread_stack=size or "system default", goroutine_stack="frames on the heap")
    rec.skip("mallocinit", "the interpreter set up its allocator before gort's first instruction")
    with rec.step("fastrandinit") as d:
        s.seed = debug["seed"] or int.from_bytes(os.urandom(8), "little") >> 1 or 1
        d.update(seed=s.seed if debug["seed"] else "from the system", fixed=bool(debug["seed"]))
    with rec.step("mcommoninit") as d:
        mcommoninit(s, m0)
        d.update(id=0, procid=m0.procid, gsignal="made, never runs: handlers run on the main thread's own stack")
        d.update(mcount=len(s.allm))
    rec.skip("cpuinit", "no code path of gort depends on a feature of the processor")
    with rec.step("alginit") as d:
        d.update(hash=sys.hash_info.algorithm, randomized=bool(sys.flags.hash_randomization))
    rec.skip("modulesinit", "Python modules are found and initialised by import")
    rec.skip("typelinksinit", "types are Python objects; nothing to link")
    rec.skip("itabsinit", "methods are looked up by name; there are no interface tables")
    with rec.step("msigsave") as d:
        blocked = machine.signal_mask()
        m0.sigmask = blocked
        d.update(blocked=sorted(int(x) for x in blocked), use="for this record only: a new thread inherits the mask")
    with rec.step("goargs") as d:
        d.update(args=list(sys.argv))
    with rec.step("goenvs") as d:
        d.update(count=len(os.environ), GOMAXPROCS=os.environ.get("GOMAXPROCS"), GODEBUG=os.environ.get("GODEBUG"))
    with rec.step("parsedebugvars") as d:
        s.debug = debug
        s.predictor = predict.Predictor(s, debug["predict"], debug["blocked"] > 0)
        if debug["migration"] > 0 and "gort._runtime.sched.migration" in sys.modules:  # main.py imports it
            s.hooks = tracing.HOOK_MIGRATION
        d.update(debug)
    with rec.step("gcinit") as d:
        import gc

        d.update(collector="CPython's", enabled=gc.isenabled(), threshold=list(gc.get_threshold()))
    with rec.step("lastpoll") as d:
        s.lastpoll = nanotime()
        d.update(lastpoll=s.lastpoll)
    with rec.step("procs") as d:
        n, why = (procs, "procs= of gort.run") if procs is not None else debugvars.procs_wanted(s.ncpu)
        check_procs(n, "GOMAXPROCS" if procs is None else "procs")
        d.update(procs=n, source=why)
        if debug["seed"] and n == 1:
            s.hooks |= tracing.HOOK_SEED
            seed.begin(s)
    with rec.step("procresize") as d:
        if procresize.procresize(s, n, m0):
            throw("unknown runnable goroutine during bootstrap")
        d.update(allp=len(s.allp), acquired=0, idle=s.npidle, stealOrder=s.stealorder)
    rec.skip("writeBarrier", "CPython counts references; its collector needs no write barrier")
    with rec.step("buildVersion") as d:
        d.update(gort=__version__, python=sys.version.split("\n")[0])
    with rec.step("modinfo") as d:
        d.update(platform=sys.platform, core="compiled" if runtime2.COMPILED else "uncompiled")


def moduledataverify() -> dict[str, Any]:
    """Checks that either all hot modules that are loaded are compiled, or none.

    `gort/_start/verify.py` has checked, before any of them was loaded, that the compiled core is complete and fits its
    sources.  Raises RuntimeError if files have changed since then.
    """
    modules = sys.modules
    loaded = [name for name in verify.compiled if name in modules]
    odd = [verify.compiled[name] for name in loaded if (modules[name].__file__ or "").endswith(".py")]
    if odd or bool(loaded) != runtime2.COMPILED:
        raise RuntimeError(
            f"gort's core is half compiled (loaded from their .py: {', '.join(odd) or 'none'}; core/runtime2 is "
            f"{'compiled' if runtime2.COMPILED else 'not'}): files changed while this program started. Start it again"
        )
    return {
        "core": "compiled" if runtime2.COMPILED else "uncompiled",
        "extensions": f"{len(loaded)} of {len(verify.compiled)} loaded",
        "version": __version__,
    }


def mcommoninit(s: Any, m0: Any) -> None:
    """Gives m0 its id, note and gsignal and makes it the first entry of allm; makes the lists that every M and P
    needs."""
    s.allm = []
    s.allp = []
    s.oldallps = []
    s.allgs = []
    s.waiters = set()
    s.stoplock = threading.RLock()
    s.stealorder = [1]
    s.pollnote = runtime2.Note()
    s.sysmonnote = runtime2.Note()
    s.mstart = proc.mstart
    m0.park = runtime2.Note()
    m0.gsignal = runtime2.G()
    m0.gsignal.system = True
    m0.gsignal.sched = s
    m0.thread = threading.current_thread()
    m0.started = True
    m0.sched = s
    handoff.linkm(s, m0)
    handoff.checkmcount(s)


def newproc_main(s: Any, fn: Any, arguments: tuple[Any, ...], done: Any) -> None:
    """Makes the main goroutine, which runs fn(*arguments) (in Go, runtime.main around the program's main)."""
    with s.record.step("newproc") as d:
        s.maing, s.maingoid = newproc.make_from(s, fn, arguments, None, done, None, -1)
        newproc.start_main(s.maing)
        d.update(goid=s.maingoid, fn=getattr(fn, "__qualname__", repr(fn)))


def mstart0(s: Any) -> None:
    """Starts sysmon and runs the scheduler's loop on m0, until the runtime exits."""
    with s.record.step("mstart") as d:
        sysmon.start(s)
        d.update(m=0, sysmon="started")
    proc.loop(s.m0)


def state(s: Any) -> dict[str, Any]:
    """The state of the runtime as data: ncpu, GOMAXPROCS, every M and P.  `gort boot` prints it."""
    m0 = s.m0
    return {
        "ncpu": s.ncpu,
        "gomaxprocs": s.gomaxprocs,
        "maxmcount": s.maxmcount,
        "mcount": len(s.allm),
        "compiled": runtime2.COMPILED,
        "gil": gil_enabled(),
        "g0": {
            "stack": {"lo": m0.stacklo, "hi": m0.stackhi},
            "stackguard0": m0.stackguard0,
            "stackguard1": m0.stackguard1,
            "m": 0,
        },
        "m0": {"id": 0, "procid": m0.procid, "g0": True, "p": p0.id if (p0 := m0.p) is not None else None},
        "allm": [
            {
                "id": m.id - 1,
                "procid": m.procid,
                "p": p.id if (p := m.p) is not None else None,
                "spinning": bool(m.spinning),
                "curg": g.goid if (g := m.curg) is not None else None,
            }
            for m in list(s.allm)
        ],
        "allp": [
            {
                "id": p.id,
                "status": traceback.PSTATUS[p.status],
                "m": abs(p.mid) - 1 if p.mid else None,
                "runqsize": p.runqsize,
                "schedtick": p.schedtick,
            }
            for p in list(s.allp)
        ],
        "sched": {
            "nmidle": s.nmidle,
            "npidle": s.npidle,
            "nmspinning": s.nmspinning,
            "runqsize": s.runqsize,
            "lastpoll": s.lastpoll,
            "goidgen": s.goidgen,
        },
    }
