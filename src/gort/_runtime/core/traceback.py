"""The stacks of goroutines as text, in the format of Go's dumps.  Follows Go's runtime/traceback.go.

The innermost frame comes first; gort's own frames are left out.  A dump of many goroutines counts those that are equal
(stacks.census).  The only lock taken here is a goroutine's own, which other threads hold for a few instructions: a dump
must work when everything else hangs.

Invariant: nobody runs a frame while we read it.  Without the GIL, CPython does not ensure that.  The compiled core
stops the world (gort_stacks.h), once for all goroutines of a dump.  The uncompiled core holds the lock of a parked
goroutine, so that it cannot resume, and reads its stack; of a goroutine that is not parked it shows only the function.

Invariant: nothing of the user's runs.  A dump is made on sysmon's thread and on g0 too, and in the uncompiled core under
a goroutine's lock.  So a name is taken only if it is a str, without its own methods (`plain`, `name_in`), and an object
is asked only for what its type in C has (`field`).

What does not live here: when a dump is printed (panic.py, signals.py).
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from gc import get_referents
from threading import Thread
from types import CodeType, FrameType, GetSetDescriptorType, MemberDescriptorType, MethodType

from gort._runtime.core import newosproc, runtime2
from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.core.errors import traceback_of
from gort._runtime.core.machine import nanotime
from gort._runtime.core.runtime2 import _Gdead, _Gidle, _Grunning, _Gsyscall, _Gwaiting, peek
from gort._runtime.core.op import WAIT_MUTEX, WAIT_RWMUTEX_R, WAIT_RWMUTEX_W, WAITREASON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType, TracebackType
    from typing import Any

    Entry = tuple[str, str, int]  # function, file, line
    Read = tuple[CodeType, int, str | None]  # a frame: its code, line, module
    Wait = tuple[Any, int, Any, int, tuple[tuple[int, int], ...]]  # an entry of stacks.holders
else:
    ModuleType = type(sys)

# The words for the states of a G and a P in dumps.
GSTATUS = {0: "idle", 1: "runnable", 2: "running", 3: "syscall", 4: "waiting", 6: "dead"}
PSTATUS = {0: "idle", 1: "running", 2: "syscall", 3: "gcstop", 4: "dead"}

PACKAGE = __file__[: -len(os.path.join("_runtime", "core", "traceback.py"))]
HIDDEN = os.path.abspath(PACKAGE) + os.sep  # a frame is gort's own if its code's file is below this folder
RUNS = os.path.join("_runtime", "boot", "main.py")
COMPILED = "gort."  # or if its function's name begins so: Cython puts the module's name before it
# Where a thread's own frames begin, outermost first.  The compiled core has no frame between them and the user's.
_threads: Any = Thread  # the type checker does not know its private functions
THREAD = [newosproc.Thread._bootstrap.__code__, _threads._bootstrap.__code__]
THREAD += [_threads._bootstrap_inner.__code__, newosproc.NoContext.run.__code__, _threads.run.__code__]
COROUTINES = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))
# What CPython puts between two of them, without an attribute for what it awaits: `async for`, `anext`, and the aclose of
# an async generator; the __await__ of a coroutine.  Each refers first to what it awaits.
WRAPPERS = frozenset(("async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"))
MADE_IN_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE, in a type's flags
IN_C = (GetSetDescriptorType, MemberDescriptorType)
_flags, _name = type.__dict__["__flags__"].__get__, type.__dict__["__name__"].__get__
_variables = type.__dict__["__dict__"].__get__  # a metaclass may have its own __dict__
WITHOUT_GIL = not gil_enabled()
STOPS_WORLD = WITHOUT_GIL and runtime2.COMPILED
LOCKS = (WAIT_MUTEX, WAIT_RWMUTEX_R, WAIT_RWMUTEX_W)
GROUP_ABOVE = 50  # a dump of more goroutines counts those that are equal
MINUTE_NS = 60_000_000_000
COARSE_NS = 100_000_000  # sched.coarsetime, by which waits are counted, may be as old as that
reader: Any = None  # the module stacks
if STOPS_WORLD or not runtime2.COMPILED:  # at the start: there every dump needs it
    from gort._runtime.core import stacks as reader


def plain(text: str) -> str:
    """The str itself for an object of a class derived from str, whose methods would be the user's."""
    return text if type(text) is str else str.__str__(text)


def name_of(kind: type) -> str:
    """The name of a type, whatever its metaclass says."""
    return plain(_name(kind))


def name_in(names: dict[str, Any]) -> str | None:
    """The `__name__` in a module's variables, which may be of any kind; None if it is no str."""
    try:
        name = dict.get(names, "__name__")
    except BaseException:  # another key with the same hash, whose __eq__ is the user's
        return None
    return plain(name) if issubclass(type(name), str) else None  # type: ignore[arg-type]


def field(obj: object, name: str) -> Any:
    """obj's attribute of this name, if its type has that in C; else None.  An object of a class of the user's has none,
    whatever its `__getattr__` would say."""
    found = _variables(type(obj)).get(name)
    return found.__get__(obj) if type(found) in IN_C else None


def wrapped(obj: object) -> object:
    """What one of WRAPPERS awaits; None for any other object."""
    kind = type(obj)
    if _flags(kind) & MADE_IN_PYTHON or _name(kind) not in WRAPPERS:
        return None
    refers = get_referents(obj)
    return refers[0] if refers else None


def hidden(code: CodeType) -> bool:
    """True when the code is gort's own."""
    return str.startswith(code.co_filename, HIDDEN) or str.startswith(code.co_name, COMPILED)


def line_of(code: CodeType, lasti: int) -> int:
    """The line number of an instruction offset in code."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            return number
    return line


def function_name(code: CodeType, module: str | None) -> str:
    """`package.function` as Go writes it; __main__ becomes main."""
    name = plain(code.co_qualname).replace(".<locals>", "")
    if module == "__main__":
        module = "main"
    return f"{module}.{name}" if module else name


_modules: dict[str, str] = {}  # file -> the module that module_of has found for it


def module_of(code: CodeType) -> str | None:
    """The name of the module whose code this is, for a place of which we keep no more.  None if it is unknown."""
    file = plain(code.co_filename)
    if file.startswith("<"):  # python -c, or the prompt
        return "__main__"
    if file not in _modules:
        kind: Any = ModuleType
        variables = kind.__dict__["__dict__"].__get__  # not vars(): a module may be lazy, and that would import it
        # A copy: list(items()) makes tuples, so a collection may begin in it, and a finalizer may import something.
        for name, module in sys.modules.copy().items():
            if not issubclass(type(module), ModuleType) or not issubclass(type(name), str):
                continue
            its = variables(module).get("__file__")
            if issubclass(type(its), str) and plain(its) == file:
                _modules[file] = plain(name)
                break
        else:
            return None
    return _modules[file]


def awaited(coro: Any) -> list[Entry]:
    """The user's frames of a suspended coroutine, as suspended() has them, innermost first."""
    return [_entry(*_read(frame)) for frame in suspended(coro) if not hidden(frame.f_code)]


def suspended(coro: Any) -> list[FrameType]:
    """The frames of a suspended coroutine, innermost first.  The caller ensures that nobody resumes it meanwhile."""
    frames: list[FrameType] = []
    seen = 0
    while coro is not None and seen < 1000:
        seen += 1
        frame, inner = None, None
        for kind in COROUTINES:
            frame = field(coro, kind[0]) if frame is None else frame
            inner = field(coro, kind[1]) if inner is None else inner
        if type(frame) is FrameType:
            frames.append(frame)
        coro = wrapped(coro) if inner is None else inner
    frames.reverse()
    return frames


def _entry(code: CodeType, line: int, module: str | None) -> Entry:
    return function_name(code, module), plain(code.co_filename), line


def _read(frame: FrameType) -> Read:
    return frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno, name_in(frame.f_globals)


def named(frames: list[tuple[CodeType, int, dict[str, Any]]]) -> Iterator[Read]:
    """Converts frames of stacks.stacks to the form that _read returns."""
    for code, lasti, names in frames:
        yield code, line_of(code, lasti), name_in(names)


def _walk(frame: FrameType | None) -> Iterator[Read]:
    while frame is not None:
        yield _read(frame)
        frame = frame.f_back


def to_scheduler(frames: Iterable[Read]) -> list[Entry]:
    """Of a thread's frames, innermost first, those of the goroutine it runs: the ones before the scheduler's frames."""
    found: list[Entry] = []
    whole = list(frames)
    for code in THREAD:
        if whole and whole[-1][0] is code:
            whole.pop()
    for code, line, module in whole:
        if module is not None and module.startswith("gort._runtime."):
            if module == "gort._runtime.watch.external":
                return []  # the scheduler looks for other threads, with functions of threading: it runs no goroutine
            if found or (plain(code.co_name) == "_run" and module == "gort._runtime.boot.main"):
                break  # what called gort.run is no goroutine's
        elif not hidden(code):
            found.append(_entry(code, line, module))
    return found


def places(words: tuple[Any, ...], known: dict[tuple[CodeType, int], Entry]) -> list[Entry]:
    """The user's frames of a stack that was kept as (code, offset, code, offset, …), innermost first.  `known` keeps what
    has been found, for the next stack."""
    found: list[Entry] = []
    for code, lasti in zip(words[::2], words[1::2], strict=True):
        if hidden(code):
            if code.co_name == "_run" and code.co_filename.endswith(RUNS):
                break  # what called gort.run is no goroutine's
        elif code not in THREAD:
            if (code, lasti) not in known:
                known[code, lasti] = _entry(code, line_of(code, lasti), module_of(code))
            found.append(known[code, lasti])
    return found


def here() -> list[Entry]:
    """The frames of the calling goroutine, innermost first."""
    return to_scheduler(_walk(sys._getframe(1)))


def running(ident: int) -> list[Entry]:
    """The frames of the goroutine that the thread `ident` runs now, innermost first; as for thread_frames."""
    return to_scheduler(thread_frames(ident))


def thread_frames(ident: int) -> list[Read]:
    """All frames of the thread `ident`, innermost first.  The uncompiled core without the GIL cannot stop that thread, so
    call this there only while the thread is in a blocking call."""
    if STOPS_WORLD:
        return list(named(reader.thread_frames(ident)))
    if sys.version_info >= (3, 12):
        return list(_walk(sys._current_frames().get(ident)))
    # CPython 3.11 makes the object of the next frame in f_back.  That may begin a collection, a finalizer gives the GIL
    # away, the other thread leaves the frame, and f_back returns an object of a frame that is gone.
    from gort._runtime.core import gcheld

    held = gcheld.hold()
    try:
        frames = sys._current_frames()
        if not runtime2.COMPILED:
            # Each thread's innermost frame has an object now.  When that frame returns, its caller's frame gets one.  In
            # a section that must not begin a collection, so all get theirs here.
            for frame in frames.values():
                for _ in _walk(frame):
                    pass
        return list(_walk(frames.get(ident)))
    finally:
        if held:
            gcheld.let_go()


def stacks(gs: list[Any]) -> list[list[Entry]]:
    """For each of the goroutines gs, all of one runtime: the frames that it runs or waits in, innermost first; an empty
    list if they cannot be read."""
    if not gs:
        return []
    if STOPS_WORLD:
        return [
            (to_scheduler(named(runs)) if runs else [])
            or [_entry(*frame) for frame in named(waits or []) if not hidden(frame[0])]
            for runs, waits in reader.stacks(gs, list(gs[0].sched.allm))
        ]
    return [_stack(g) for g in gs]


def _stack(g: Any) -> list[Entry]:
    m = None
    if g.status in (_Grunning, _Gsyscall) or (g.lockedm is not None and g.lockedm.curg is g):  # sched/inplace.py
        m = next((m for m in list(g.sched.allm) if m.curg is g), None)
        if m is not None and m.ident == get_ident():
            return here()
    if not WITHOUT_GIL:
        return (running(m.ident) if m is not None else []) or awaited(g.coro)
    # A parked goroutine cannot resume while we hold its lock.  The thread of a running one, or one that is about to
    # resume a runnable one, cannot be stopped.
    g.lock()
    try:
        if g.parked:
            return awaited(g.coro)
        code = getattr(g.coro, "cr_code", None)
    finally:
        g.unlock()
    if code is None:
        return []
    return [_entry(code, code.co_firstlineno, module_of(code))]


def trim(exc: BaseException) -> TracebackType | None:
    """Takes the scheduler's frames off the beginning of an exception's traceback, and returns the rest."""
    tb: TracebackType | None = traceback_of(exc)
    while tb is not None and hidden(tb.tb_frame.f_code):
        tb = tb.tb_next
    BaseException.with_traceback(exc, tb)
    return tb


def raised(tb: TracebackType | None) -> list[Entry]:
    """The frames of a traceback, innermost first."""
    frames: list[Entry] = []
    while tb is not None:
        code = tb.tb_frame.f_code
        if not hidden(code):
            frames.append(_entry(code, tb.tb_lineno, name_in(tb.tb_frame.f_globals)))
        tb = tb.tb_next
    frames.reverse()
    return frames


def render(frames: list[Entry]) -> str:
    """The text of frames as Go prints them."""
    return "".join(f"{name}(...)\n\t{file}:{line}\n" for name, file, line in frames)


def created_by(code: CodeType | None, lasti: int, parent: int) -> str:
    """The two lines that name the go statement which started a goroutine; empty if it is unknown, or gort's own."""
    if code is None or hidden(code):
        return ""
    name = function_name(code, module_of(code))
    by = f" in goroutine {parent}" if parent else ""
    return f"created by {name}{by}\n\t{plain(code.co_filename)}:{line_of(code, lasti)}\n"


def in_words(reason: int) -> str:
    """A wait reason in Go's words."""
    return WAITREASON.get(reason, "waiting") or "waiting"


def caller_place() -> str:
    """`file:line` of the innermost frame of this thread that is the user's; `?` if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and hidden(frame.f_code):
        frame = frame.f_back
    return "?" if frame is None else f"{plain(frame.f_code.co_filename)}:{frame.f_lineno}"


def wait_reason(g: Any, unknown: str) -> str:
    """Why the waiting goroutine g waits, in Go's words; `unknown` if it waits no more."""
    op = peek(g)[0]
    return unknown if op is None else in_words(reason_of(op))


def reason_of(op: Any) -> int:
    """Why a goroutine waits on op, one of WAIT_*; 0 if op has been completed meanwhile."""
    try:
        return int(op.reason())
    except Exception:  # it has dropped the fields that reason() reads
        return 0


def waited(since: int, now: int) -> str:
    """`, 5 minutes` for a wait since `since`, as Go writes it; empty below one."""
    minutes = (now - since) // MINUTE_NS if since else 0
    return f", {minutes} minutes" if minutes > 0 else ""


def about(op: Any) -> str:
    """What op waits for and who holds it, for a dump; empty if it says nothing."""
    try:
        return op.about()  # type: ignore[no-any-return]
    except Exception:  # as in reason_of; or a class of the user's has taken a name
        return ""


def owner(op: Any) -> int:
    """The number of the goroutine that holds what op waits for; 0 if none does, or it is unknown."""
    try:
        return int(op.owner())
    except Exception:  # as in about
        return 0


def _begins(fn: Any) -> list[Entry]:
    """The frame that the plain function fn will have, when it has not begun."""
    if type(fn) is MethodType:
        fn = fn.__func__
    if type(its := field(fn, "__code__")) is CodeType:
        module = name_in(field(fn, "__globals__") or {})
        return [_entry(its, its.co_firstlineno, module)]
    return []


def goroutine(g: Any, frames: list[Entry]) -> str:
    """The text of one goroutine in a dump: number, state, what it waits for, stack, creator."""
    status = g.status
    op, fn, code, done = peek(g)
    state = GSTATUS.get(status, str(status))
    waits = ""
    if status == _Gwaiting:
        state = wait_reason(g, state) + waited(g.waitsince, nanotime())
        waits = about(op) if op is not None and reason_of(op) in LOCKS else ""
    elif status == _Gsyscall:
        state += waited(g.waitsince, nanotime())
    if g.lockedm is not None:
        state += ", locked to thread"
    if not frames:
        frames = _begins(fn)
    label = f" {label}" if type(label := getattr(done, "label", "")) is str and label else ""
    head = f"goroutine {g.goid} [{state}]{label}:\n" + (f"waits for {waits}\n" if waits else "")
    return f"{head}{render(frames)}{created_by(code, g.golasti, g.parentgoid)}"


def loaded() -> Any:
    """The module stacks.  Raises ImportError, OSError or MemoryError if it cannot be loaded now."""
    global reader
    if reader is None:
        from gort._runtime.core import stacks

        reader = stacks
    return reader


def cycles(s: Any) -> list[list[tuple[Any, Any]]]:
    """The goroutines of the runtime s that wait for each other: each list has (goroutine, operation), and no goroutine
    that is not stuck itself can end the wait of one of them.  What counts is a Mutex, and an RWMutex that a writer has or
    waits for; with GODEBUG=deadlock=1 also the readers of an RWMutex, and the permits of a Semaphore that are taken with
    `async with`.

    What is read at different moments may look like a circle that never was.  So it is read twice: if no goroutine has run
    in between (G.nrun), they wait for each other at the end of the first time."""
    gs = list(s.allgs)
    held = loaded().owners(gs)
    found = _circles(loaded().holders([g for g in gs if g.goid in held])) if held else []
    if not found:
        return []
    again = {g.goid: (g, *rest) for g, *rest in loaded().holders([each[0] for circle in found for each in circle])}
    return [
        [(each[0], each[2]) for each in circle]
        for circle in found
        if all(again.get(each[0].goid) == each for each in circle)
    ]


def _circles(waits: list[Wait]) -> list[list[Wait]]:
    """The circles in what stacks.holders has found.

    First those are left out, again and again, who need no more than what others hold that are not stuck: these may give
    it back.  Whoever is left waits for ever, in a circle or for one."""
    stuck = {each[0].goid: each for each in waits}
    waiters: dict[int, list[int]] = {}
    for goid, (*_, held) in stuck.items():
        for who, _ in held:
            waiters.setdefault(who, []).append(goid)

    def goes_on(goid: int) -> bool:
        *_, needed, held = stuck[goid]
        return sum(n for who, n in held if who not in stuck) >= needed

    left = [goid for goid in stuck if goes_on(goid)]
    while left:
        goid = left.pop()
        if stuck.pop(goid, None) is not None:
            left += [each for each in waiters.get(goid, ()) if each in stuck and goes_on(each)]
    after = {goid: [who for who, _ in stuck[goid][4] if who in stuck] for goid in sorted(stuck)}
    return [[stuck[goid] for goid in part] for part in _components(after)]


def _components(after: dict[int, list[int]]) -> list[list[int]]:
    """The circles of a graph: its strongly connected components, but for single nodes without an edge to themselves.
    Tarjan's algorithm, without recursion."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    open_: dict[int, None] = {}
    found = []
    for start in after:
        if start in number:
            continue
        path = [(start, iter(after[start]))]
        number[start] = low[start] = len(number)
        open_[start] = None
        while path:
            node, rest = path[-1]
            for other in rest:
                if other not in number:
                    number[other] = low[other] = len(number)
                    open_[other] = None
                    path.append((other, iter(after[other])))
                    break
                if other in open_:
                    low[node] = min(low[node], number[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == number[node]:
                    part = list(open_)[list(open_).index(node) :]
                    for each in part:
                        del open_[each]
                    if len(part) > 1 or node in after[node]:
                        found.append(part)
    return found


def told(cycle: list[tuple[Any, Any]]) -> str:
    """A circle of goroutines in words."""
    lines = "".join(f"goroutine {g.goid} waits for {about(op)}\n" for g, op in cycle)
    if len(cycle) == 1:
        return f"deadlock: a goroutine waits for a lock that it holds itself\n{lines}"
    return f"deadlock: {len(cycle)} goroutines wait for each other\n{lines}"


def deadlocks(s: Any) -> str:
    """What a dump says of goroutines that wait for each other; empty if none do."""
    try:
        return "".join(told(cycle) + "\n" for cycle in cycles(s))
    except (ImportError, OSError, MemoryError):
        return ""


def dump(s: Any, without: Any = None, group: bool = False) -> str:
    """The text of every goroutine of the runtime s except `without`, dead ones and the runtime's own.  With `group`,
    those that are equal are counted, if there are more than GROUP_ABOVE in all."""
    if group:
        found = census(s, without)
        if sum(each.count for each in found) > GROUP_ABOVE:
            return deadlocks(s) + grouped(found)
    gs = [g for g in list(s.allgs) if g is not without and not g.system and g.status not in (_Gdead, _Gidle)]
    return deadlocks(s) + "\n".join(goroutine(g, frames) for g, frames in zip(gs, stacks(gs), strict=True))


def census(s: Any, without: Any = None, gs: list[Any] | None = None) -> list[Any]:
    """The goroutines of the runtime s, or those in gs, without the runtime's own and `without`, as groups (stacks.Group)
    of equal ones.  Empty where there is no memory, or no descriptor to read the module with."""
    try:
        found = loaded().census(list(s.allgs) if gs is None else gs, list(s.allm), without, _stack)
    except (ImportError, OSError, MemoryError):
        return []
    # An instruction has several places while the interpreter specialises it: what is equal as text is one group.
    merged: dict[Any, Any] = {}
    for each in found:
        frames = each.text = frames_of(each)
        key = frames and (*frames, each.status, each.reason, each.locked, created_by(each.code, each.lasti, 0))
        if not key:
            merged[id(each)] = each
        elif key in merged:
            merged[key].absorb(each)
        else:
            merged[key] = each
    return list(merged.values())


def grouped(groups: list[Any]) -> str:
    """The text of the groups of a census: those that run first, then the largest, then those that have waited longest."""
    now = nanotime()
    groups.sort(key=lambda each: (each.status == _Gwaiting, -each.count, each.since or now))
    total = sum(each.count for each in groups)
    head = f"{total} goroutines of {len(groups)} kinds:\n"
    return "\n".join([head, *(_group(each, now) for each in groups)])


def frames_of(group: Any) -> list[Entry]:
    """The frames of a census's group, innermost first."""
    if not runtime2.COMPILED:
        return list(group.frames)
    frames = named(group.frames or [])
    if group.runs:
        return to_scheduler(frames)
    return [_entry(*frame) for frame in frames if not hidden(frame[0])]


def _group(group: Any, now: int) -> str:
    """The text of one group."""
    frames = group.text
    if group.count == 1 and group.g.goid == group.goids[0]:
        return goroutine(group.g, frames)
    state = in_words(group.reason) if group.status == _Gwaiting else GSTATUS.get(group.status, str(group.status))
    if group.status in (_Gwaiting, _Gsyscall):
        state += waited(group.since, now)
    if group.locked:
        state += ", locked to thread"
    numbers = ", ".join(map(str, group.goids)) + (", …" if group.count > len(group.goids) else "")
    lines = [f"{group.count} goroutine{'s' * (group.count > 1)} [{state}]: {numbers}\n"]
    if group.status == _Gwaiting and group.since and now - group.since > COARSE_NS:
        lines.append(f"the longest has waited for {(now - group.since) / 1e9:.1f} s\n")
    rest = group.others
    for wanted in group.wanted:
        if wanted.count > 1 and wanted.count * 10 >= group.count and (text := about(wanted.op)):
            lines.append(f"{wanted.count} wait for {text}\n")
        else:
            rest += wanted.count
    if rest:
        lines.append(f"{rest} wait for various objects\n")
    by = created_by(group.code, group.lasti, group.parent if group.count == 1 else 0)
    return "".join(lines) + render(frames or _begins(peek(group.g)[1])) + by
