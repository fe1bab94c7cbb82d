"""C9: a finalizer may call what any thread may call, wherever the collector or a last reference runs it.  In the
uncompiled core, whose sections are Python, none runs where its thread holds a lock of the runtime (core/gcheld.py)."""

from __future__ import annotations

import dis
import sys
import textwrap
from collections.abc import Iterator
from types import CodeType

import pytest

import gort
from support import environment, python
from test_sections import HOT, LOCKS, RUNTIME

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()

# Everything that does not wait, from a finalizer, while goroutines do everything that waits.  `Value` and `Cycle` call
# `told` in their finalizers.
WORLD = """
import gc, sys, threading, warnings
import gort, gort.sync, gort.context
warnings.simplefilter("ignore")
procs, rounds = int(sys.argv[1]), int(sys.argv[2])

class Value:
    def __del__(self): told()
class Cycle(Value):
    def __init__(self): self.me = self
def value():
    Cycle()
    return Value()

async def sender(ch):
    for _ in range(10): await ch.send(value())
async def receiver(ch):
    for _ in range(10): await ch.recv()
async def locks(lock):
    for _ in range(3):
        async with lock: await gort.gosched()
async def waits_for(cond):
    async with cond.locker:
        with_timeout = gort.move_on_after(0.001)
        async with with_timeout: await cond.wait()
async def selects(a, b):
    for _ in range(5): await gort.select(a.recv(), b.send(value()), gort.sleep(0.0001))
def plain(x, **k):
    gort.wait(gort.sleep(0.0001))
    return value()
async def arguments(x, **k):
    await gort.gosched()
    return value()
async def sleeps(): await gort.sleep(60)
async def numbers():
    for i in range(3): yield value()

async def one_round():
    async with gort.Group(limit=30) as group:
        for capacity in (0, 1, 3):
            ch = gort.Chan(capacity)
            group.go(sender, ch)
            group.go(receiver, ch)
        for lock in (gort.sync.Mutex(), gort.sync.RWMutex(), gort.sync.Semaphore(2)):
            for _ in range(3): group.go(locks, lock)
        a, b = gort.Chan(), gort.Chan(1)
        group.go(selects, a, b)
        for _ in range(5):
            a.try_send(value())
            b.try_recv()
            await gort.gosched()
        for fn in (plain, arguments):
            group.go(fn, value(), k=value())
            gort.go(fn, value(), k=value())
        handles = [group.go(sleeps) for _ in range(3)]
        ctx, cancel = gort.context.with_cancel(gort.context.background())
        ctx = gort.context.with_value(ctx, value(), value())
        late, _ = gort.context.with_timeout(ctx, 60)
        gort.context.after_func(late, lambda x=value(): x)
        gort.after_func(60, lambda x=value(): x).stop()
        gort.after_func(0.0001, lambda x=value(): x)
        timer = gort.Timer(60)
        timer.reset(0.0005)
        await timer.c.recv()
        await gort.blocking(plain, value())
        many = gort.Chan(4)
        await many.send_many([value(), value(), value()])
        await many.recv_many(2)
        many.close()
        left = gort.Chan(2)
        await left.send(value())
        del left
        async for _ in numbers(): break
        wg = gort.sync.WaitGroup()
        wg.go(arguments, value())
        await wg.wait()
        gort.runtime.stack(all=True)
        gort.runtime.gomaxprocs(procs + 1)
        gort.runtime.num_goroutine()
        gort.runtime.gomaxprocs(procs)
        for h in handles: h.cancel()
        cancel()

async def main():
    for _ in range(rounds): await one_round()
"""

AUDIT = (
    """
import _thread, gc, sys, threading, types
import gort
from gort._runtime.core import lockrank
held, found, told = {}, [], lambda: note("a finalizer")
real, ident = threading.Lock, _thread.get_ident

class Lock:  # counts, and makes nothing that the collector tracks
    __slots__ = ("acquire", "release")
    def __init__(self):
        lock = real()
        take, give = lock.acquire, lock.release
        def acquire(*args):
            take(*args)
            me = ident()
            held[me] = held.get(me, 0) + 1
            return True
        def release():
            held[ident()] -= 1
            give()
        self.acquire, self.release = acquire, release

def note(what):
    if held.get(ident()):
        frame = sys._getframe(0).f_back.f_back
        found.append((what, frame and f"{frame.f_code.co_filename}:{frame.f_lineno}"))

collections = []
def begins(phase, info):
    if phase == "start":
        collections.append(1)
        note("a collection")

stand_in = types.SimpleNamespace(Lock=Lock)
lockrank.threading = stand_in
if lockrank.HELD: lockrank.gcheld.threading = stand_in
"""
    + WORLD
    + """
if sys.argv[3] == "plants":  # the audit sees what it is to see
    lock = lockrank.make_lock(10)
    gc.callbacks.append(begins)
    gc.set_threshold(1, 0)
    lock.acquire()
    Value()
    if not lockrank.HELD: kept = [[] for _ in range(5000)]
    lock.release()
    print(*sorted({what for what, _ in found}), sep=", ")
    sys.exit()
gc.callbacks.append(begins)
gc.set_threshold(1, 0) if sys.argv[3] == "free" else gc.set_threshold(1)
gort.run(main, procs=procs)
gc.callbacks.remove(begins)
assert len(collections) > (2 if sys.argv[3] == "free" else 100), len(collections)
if sys.argv[3] == "free": found = [f for f in found if f[0] != "a finalizer"]
print(found)
"""
)


@pytest.mark.skipif(gort.runtime.compiled, reason="asks the uncompiled core's locks")
def test_c9_a_field_that_a_section_sets_needs_no_dict() -> None:
    """The first operations of a class need few fields; one that comes after them waits, and sets another field."""
    code = """
        import gc
        import gort
        from gort._runtime.core.runtime2 import Op
        assert [c for c in Op.__subclasses__()]
        def made(op):
            gc.collect()
            before = gc.get_count()[0]
            op.index = op.success = op.elem = op.next = op.prev = op.g = 7
            return gc.get_count()[0] - before
        for cls in Op.__subclasses__():
            for _ in range(100):
                object.__new__(cls).state = -1
            op = object.__new__(cls)
            op.state = -1
            first, second = made(op), made(op)
            assert first == second, (cls, first, second)
        print("none")
    """
    done = python(textwrap.dedent(code))
    assert done.stdout == "none\n", done.stderr


@pytest.mark.skipif(gort.runtime.compiled, reason="asks the uncompiled core's locks")
@pytest.mark.parametrize("procs", [1, 4])
def test_c9_nothing_collects_or_finalizes_in_a_section(procs: int) -> None:
    """With a collection wherever one may begin.  Without the GIL, what other threads let go is left out: gcheld.py."""
    done = python(AUDIT, str(procs), "2", "free" if FREE_THREADED else "", env=environment(GODEBUG=""))
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stdout + done.stderr


@pytest.mark.skipif(gort.runtime.compiled, reason="asks the uncompiled core's locks")
def test_the_audit_sees_a_collection_and_a_finalizer() -> None:
    done = python(AUDIT, "1", "1", "plants", env=environment(GODEBUG=""))
    expected = "a finalizer\n" if sys.version_info[:2] == (3, 12) else "a collection, a finalizer\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


# Opcodes that make an object which the collector tracks, and those at which the interpreter checks whether to collect.
MAKES = {
    "BUILD_LIST", "BUILD_TUPLE", "BUILD_SET", "BUILD_MAP", "BUILD_CONST_KEY_MAP", "BUILD_SLICE", "BINARY_SLICE",
    "STORE_SLICE", "LIST_EXTEND", "GET_ITER", "MAKE_FUNCTION", "UNPACK_EX", "DICT_UPDATE", "DICT_MERGE", "SET_UPDATE",
}  # fmt: skip
CHECKS = ("CALL", "RESUME", "JUMP_BACKWARD")
LEAVES = ("RETURN_", "RAISE_", "RERAISE")


def made_near_locks(code: CodeType) -> Iterator[str]:
    """Where such an object is made in a section, or before a lock's call with no check in between."""
    made = method = None
    held = 0
    ranges = False  # the iterator of a range is none
    for ins in dis.get_instructions(code):
        name = ins.opname
        if name in MAKES and not (ranges and name == "GET_ITER"):
            made = name
            if held:
                yield f"{code.co_qualname}: {made} while locked"
        elif name.startswith("LOAD_") and (ins.argval in LOCKS or ins.argval in LOCKS.values()):
            method = ins.argval
        elif name.startswith(CHECKS):
            if method in LOCKS:
                held += 1
                if made:
                    yield f"{code.co_qualname}: {made} before {method}()"
            elif method is not None:
                held = max(0, held - 1)
            made = method = None
        elif name.startswith(LEAVES):
            made = None
        if name == "LOAD_GLOBAL" and ins.argval == "range":
            ranges = True
        elif name == "GET_ITER" or name.startswith("STORE_"):
            ranges = False
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from made_near_locks(inner)


def test_c9_a_collection_that_is_due_begins_before_the_lock() -> None:
    """A section makes no object that the collector tracks.  CPython 3.12 and later begin a collection at the next check
    after such an object; that must not be the one of the lock's own call, because the lock is held by then."""
    hot = [f for f in HOT if f.name != "lockrank.py"]  # the checked lock itself
    found = [
        f"{f.relative_to(RUNTIME)}: {one}"
        for f in hot
        for one in made_near_locks(compile(f.read_text(), str(f), "exec", dont_inherit=True))
    ]
    assert found == []


def test_the_look_at_bytecodes_sees_what_it_is_to_see() -> None:
    text = (
        "def f(c):\n pair = [c, c]\n c.lock()\n"
        "def g(c):\n pair = [c, c]\n h()\n c.lock()\n c.unlock()\n pair = (c, h)\n h()\n"
        "def i(c):\n c.lock()\n for x in c.all: h()\n"
        "def j(c):\n c.lock()\n for x in range(3): h()\n"
    )
    found = list(made_near_locks(compile(text, "x", "exec")))
    assert found == ["f: BUILD_LIST before lock()", "i: GET_ITER while locked"]


OPERATIONS = """
def told():
    global n
    n += 1
    ch, full, h, group, cancel, timer, mu, rw, sem, cond, wg, scope = things
    ch.try_send(1)
    ch.try_recv()
    full.try_send(1)
    gort.Chan(1).close()
    h.cancel()
    group.cancel()
    scope.cancel()
    cancel()
    timer.reset(60)
    timer.stop()
    if mu.try_lock(): mu.unlock()
    if rw.try_lock(): rw.unlock()
    if sem.try_acquire(): sem.release()
    cond.signal()
    cond.broadcast()
    wg.add(1)
    wg.done()
    gort.after_func(60, print).stop()
    if n % 50 == 0:
        gort.go(nothing)
        gort.runtime.stack(all=True)
    gort.runtime.num_goroutine()
    len(ch), ch.closed
n = 0
async def nothing(): pass
async def begin():
    global things
    ch, full, mu = gort.Chan(2), gort.Chan(1), gort.sync.Mutex()
    full.try_send(1)
    async with gort.Group() as group, gort.move_on_after(3600) as scope:
        h = group.go(nothing)
        _, cancel = gort.context.with_cancel(gort.context.background())
        timer = gort.Timer(3600)
        things = (ch, full, h, group, cancel, timer, mu, gort.sync.RWMutex(), gort.sync.Semaphore(1),
                  gort.sync.Cond(mu), gort.sync.WaitGroup(), scope)
    await main()
gc.set_threshold(1, 0) if sys.argv[3] == "free" else gc.set_threshold(1)
gort.run(begin, procs=procs)
assert n > 100
print("ends")
"""


@pytest.mark.parametrize("procs", [1, 4])
@pytest.mark.parametrize("checked", [True, False], ids=["lockrank", "plain"])
def test_c9_a_finalizer_does_whatever_does_not_wait(procs: int, checked: bool) -> None:
    """Hundreds of finalizers, of the collector and of last references; each makes every call that does not wait."""
    # With one P too: gort.blocking, gort.wait and sysmon give it to another thread.
    if FREE_THREADED and not gort.runtime.compiled:
        pytest.skip("the interpreter runs finalizers of what another thread has let go at any bytecode: gcheld.py")
    env = environment() if checked else environment(GODEBUG="")
    done = python(WORLD + OPERATIONS, str(procs), "2", "free" if FREE_THREADED else "", env=env)
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


def test_c9_a_finalizer_of_a_timer_that_is_left_at_the_end() -> None:
    """The end of a program let go of the functions of armed timers under the lock of the timers."""
    done = python("""
import gort
class Function:
    def __call__(self): pass
    def __del__(self):
        kept.stop()
        print("finalized", ch.try_send(1))
async def main():
    global kept, ch
    ch = gort.Chan(1)
    kept = gort.after_func(60, print)
    gort.after_func(60, Function())
    gort.after_func(61, print)
gort.run(main, procs=1)
print("ends")
""")
    assert (done.returncode, done.stdout) == (0, "finalized True\nends\n"), done.stderr


def test_c9_an_unclosed_connection_is_collected_while_another_is_registered() -> None:
    """The collector may find it in the middle of the poller's own work.  Its finalizer waited for the poller's lock, in
    the compiled core too."""
    # Without the GIL a finalizer may run in a section of the uncompiled core (gcheld.py): ranks are not checked.
    done = python(
        """
import gc, sys, warnings, weakref
import gort
from gort import net
warnings.simplefilter("ignore")

class Cycle:
    def __init__(self, conn): self.conn, self.me = conn, self

real = weakref.ref
def collects():  # as a collection by itself would, which may begin anywhere there
    if not busy:
        busy.append(1)
        if gc.collect(): found.append(1)
        busy.clear()
class List(list):
    def __len__(self):
        collects()
        return super().__len__()
class Weakref:
    @staticmethod
    def ref(obj):
        collects()
        return real(obj)
found, busy = [], []

async def main():
    ln = await net.listen("tcp", "127.0.0.1:0")
    async def accepts():
        async for conn in ln: Cycle(conn)
    gort.go(accepts)
    i = 0
    while i < 20 or not found:  # without the GIL one collection can outlast twenty connections
        Cycle(await net.dial("tcp", str(ln.addr)))
        if i == 0:
            sys.modules["gort._runtime.poll.netpoll"].weakref = Weakref
            if not gort.runtime.compiled:
                poller = gort._runtime.core.runtime2.current_m().sched.netpoll
                poller.descs = List(poller.descs)
        i += 1
    ln.close()
    return "ends"
gc.disable()
print(gort.run(main))
""",
        env=environment() if not FREE_THREADED or gort.runtime.compiled else environment(GODEBUG="lockrank=0"),
    )
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


def test_c9_an_import_by_the_collector_while_a_dump_looks_for_a_module() -> None:
    """A dump names the module of the code that began a goroutine.  `list(sys.modules.items())` may collect in the middle,
    and what a finalizer imports there made the dump fail."""
    done = python("""
import gc, itertools, sys
import gort
numbers = itertools.count()
def imports(phase, info): sys.modules[f"imported{next(numbers)}"] = sys
async def waits(): await gort.sleep(60)
async def main():
    for i in range(20):
        space = {"gort": gort, "waits": waits}
        exec(compile("gort.go(waits)", f"/nowhere/{i}.py", "exec"), space)
    gc.callbacks.append(imports)
    gc.set_threshold(1, 0)
    text = gort.runtime.stack(all=True)
    gc.callbacks.remove(imports)
    assert text.count("created by") == 20, text
    print("ends")
gort.run(main, procs=1)
""")
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


@pytest.mark.skipif(FREE_THREADED, reason="there the world stops, or no frame of another thread is read")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there the making of an object begins no collection")
def test_no_collection_begins_while_a_dump_reads_the_frames_of_another_thread() -> None:
    """On CPython 3.11 a finalizer in the middle gave the GIL away, the thread left a frame whose object was just being
    made, and the dump ended with a segmentation fault (one of 1,200 runs of the audit)."""
    done = python("""
import gc, sys, threading
import gort
enough, found = threading.Event(), []
def begins(phase, info):
    frame, names = sys._getframe(1), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    if "_walk" in names and "here" not in names: found.append(names)
def waits(n):  # CPython makes an object for a frame when somebody first looks at it
    if n: waits(n - 1)
    else: enough.wait()
async def main():
    gc.callbacks.append(begins)
    gc.set_threshold(1)
    for i in range(10):
        gort.go(waits, 50)
        while gort.runtime.stack(all=True).count("main.waits") <= i * 51: await gort.gosched()
    gc.callbacks.remove(begins)
    enough.set()
gort.run(main, procs=1)
print(found)
""")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stdout + done.stderr


GUARDED = """
import threading
from gort._runtime.core import gcheld

gcheld.GUARD_S = 0.05
others, waits, gone_on = threading.Lock(), threading.Event(), threading.Event()


def finalizer():  # as it begins in gcheld.hold
    with gcheld._guard:
        waits.set()
        with others:
            pass
    gone_on.set()


early, late = gcheld.Lock(), gcheld.Lock()
early.acquire()
with others:
    threading.Thread(target=finalizer, daemon=True).start()
    assert waits.wait(60)
    late.acquire()
    late.release()
    early.release()
assert gone_on.wait(60)
late.acquire()
assert (gcheld._held, gcheld._isenabled()) == (1, False)
late.release()
assert (gcheld._held, gcheld._isenabled(), len(gcheld._debts)) == (0, True, 0)
print("done")
"""


def test_a_finalizer_under_the_collectors_guard_waits_for_nobody_who_waits_for_it() -> None:
    """Seen without the GIL, once in 240 runs: a finalizer began in gcheld.hold and waited for a group's lock, whose
    holder started a goroutine, and so took a lock of the runtime."""
    done = python(GUARDED)
    assert (done.stdout, done.stderr) == ("done\n", "")
