"""More places of test_hostile.py: the library (context, sync, signal, net, exec), dumps and reports, the interpreter's
hooks.  hostile_places.py has those of the core."""

from __future__ import annotations

import gc
import io
import operator
import os
import pickle
import resource
import signal
import sys
import threading
import time
import types
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import gort
import gort.exec
import gort.net
import gort.signal
from gort import context, runtime
from gort.sync import Cond, Mutex, Once, Pool, RWMutex, Semaphore
from hostile import Evil, place
from hostile_places import (
    Foreign,
    async_generator_dropped,
    caught,
    ends,
    left_at_the_end,
    module,
    needs,
    nothing,
    settle,
    waits,
)
from support import open_files

# ---- context ----------------------------------------------------------------------------------------------------------


def parent(evil: Evil, *names: str, done: gort.Chan[None] | None = None) -> context.Context:
    """A context of the user's whose methods of these names raise."""
    methods: dict[str, Any] = dict.fromkeys(names, evil.boom)
    if done is not None:
        methods["done"] = lambda self: done
    return type("Parent", (context.Context,), methods)()  # type: ignore[no-any-return]


@place()
async def context_parents(evil: Evil) -> None:
    for name in ("done", "err", "value", "deadline", "__repr__"):
        for done in (None, gort.Chan[None]()):
            if done is not None and name == "done":
                continue
            ctx = parent(evil, name, done=done)
            await caught(evil, lambda ctx=ctx: context.with_cancel(ctx).cancel())  # type: ignore[misc]
            await caught(evil, lambda ctx=ctx: context.with_timeout(ctx, 9).cancel())  # type: ignore[misc]
            await caught(evil, lambda ctx=ctx: context.with_value(ctx, 1, 2).value(3))  # type: ignore[misc]
            await caught(evil, lambda ctx=ctx: context.cause(ctx))  # type: ignore[misc]
            await caught(evil, lambda ctx=ctx: repr(context.with_value(ctx, 1, 2)))  # type: ignore[misc]
            await caught(evil, lambda ctx=ctx: context.after_func(ctx, nothing)())  # type: ignore[misc]
    await settle()


@place()
async def context_parent_ends(evil: Evil) -> None:
    done: gort.Chan[None] = gort.Chan()
    context.with_cancel(parent(evil, "err", done=done))
    done.close()
    await ends(evil)


@place()
async def context_timeout_of_hostile_parent(evil: Evil) -> None:
    ctx = parent(evil, "value", done=gort.Chan())
    try:
        child = context.with_timeout(ctx, 0.001)
    except BaseException as e:
        evil.got.append(e)
        return
    await child.ctx.done().recv_ok()


@place()
async def context_keys(evil: Evil) -> None:
    await caught(evil, lambda: context.with_value(context.background(), evil.obj("__hash__"), 1))
    ctx = context.with_value(context.background(), evil.obj("__eq__", "__repr__"), evil.obj())
    await caught(evil, lambda: ctx.value("key"))
    await caught(evil, lambda: repr(ctx))


@place()
async def context_causes(evil: Evil) -> None:
    ctx, cancel = context.with_cancel_cause(context.background())
    child, _ = context.with_cancel(ctx)
    evil.got.append(why := evil.make())
    await caught(evil, lambda: cancel(why))
    repr(child)
    assert child.err() is not None or evil.got


@place()
async def context_after_func(evil: Evil) -> None:
    ctx, cancel = context.with_cancel(context.background())
    context.after_func(ctx, evil.boom)
    cancel()
    await ends(evil)


@place(gort.Panic)
async def context_after_func_wrong_arguments(evil: Evil) -> None:
    ctx, cancel = context.with_cancel(context.background())
    context.after_func(ctx, needs)
    last, _ = context.with_cancel(ctx)
    cancel()
    assert last.err() is not None
    await ends(evil)


# ---- sync -------------------------------------------------------------------------------------------------------------


@place()
async def once(evil: Evil) -> None:
    o = Once()
    await caught(evil, lambda: o.do(evil.boom))
    await o.do(nothing)
    await caught(evil, lambda: Once().do(evil.aboom))
    await caught(evil, lambda: Once().do(lambda: evil.obj("-__del__")))


@place()
async def pool(evil: Evil) -> None:
    p: Pool[Any] = Pool(evil.boom)
    await caught(evil, p.get)
    p.put(evil.obj("-__eq__"))
    del p
    gc.collect()
    q: Pool[Any] = Pool()
    q.put(evil.obj("__del__"))
    gc.collect()
    gc.collect()
    assert q.get() is None


@place()
async def cond_lockers(evil: Evil) -> None:
    class Locker:
        def __init__(self, name: str) -> None:
            self.name = name

        async def lock(self) -> None:
            if self.name == "lock":
                evil.boom()

        def unlock(self) -> None:
            if self.name == "unlock":
                evil.boom()

    for name in ("lock", "unlock"):
        cond = Cond(Locker(name))  # type: ignore[arg-type]
        async with gort.Group() as group:
            group.go(caught, evil, cond.wait)
            await settle()
            cond.signal()
    await caught(evil, lambda: Cond(evil.obj("__getattr__")))


@place()
async def locks(evil: Evil) -> None:
    for lock in (Mutex(), RWMutex()):
        try:
            async with lock:  # type: ignore[attr-defined]
                evil.boom()
        except BaseException as e:
            evil.got.append(e)
        async with lock:  # type: ignore[attr-defined]
            pass
    await caught(evil, lambda: Semaphore(evil.obj()))
    await caught(evil, lambda: Semaphore(3).acquire(evil.obj("__index__", "__lt__", "__gt__", bases=(int,))))


# ---- the runtime: dumps, reports --------------------------------------------------------------------------------------


@place(gort.Deadlock)
async def dump_of_odd_modules(evil: Evil) -> None:
    class Globals(dict):  # type: ignore[type-arg]
        get = __getitem__ = __contains__ = evil.boom

    source = "async def f(): await gort.Chan().recv()\ndef stack(): return gort.runtime.stack(all=True)"
    text = evil.obj("__format__", "__str__", "__eq__", "__bool__", "startswith", bases=(str,), __hash__=str.__hash__)
    for name in (5, None, evil.obj(), text):
        names = module(name, source)
        gort.go(names["f"])
        await settle()
        await caught(evil, names["stack"])
    names = module("odd", source, globals=Globals())
    gort.go(dict.__getitem__(names, "f"))
    await settle()
    runtime.stack(all=True)
    evil.got += evil.raised


@place()
async def dump_of_odd_code(evil: Evil) -> None:
    async def f() -> None:
        await gort.Chan[None]().recv()

    names = ("__format__", "__str__", "__eq__", "__bool__", "startswith", "replace", "partition")
    for field in ("co_filename", "co_name", "co_qualname"):
        text = evil.obj(*names, bases=(str,), __hash__=str.__hash__)
        odd = types.FunctionType(f.__code__.replace(**{field: text}), globals(), closure=f.__closure__)
        gort.go(odd)
        await settle()
        runtime.stack(all=True)
    evil.got += evil.raised


@place()
async def dump_of_odd_functions(evil: Evil) -> None:
    class Function:
        def __getattr__(self, name: str) -> Any:
            evil.boom()

        def __call__(self) -> None:
            pass

    async with gort.Group(limit=1) as group:
        first = group.go(waits)
        await settle()
        group.go(Function())
        runtime.stack(all=True)
        evil.got += evil.raised
        first.cancel()


@place()
async def dump_with_odd_modules_loaded(evil: Evil) -> None:
    odd = types.ModuleType("odd")
    odd.__file__ = evil.obj("__eq__", "__ne__")
    sys.modules = dict(sys.modules)  # type: ignore[assignment]
    sys.modules["odd"] = odd
    try:
        names = module("elsewhere", "def start(f): gort.go(f)", "nowhere.py")
        names["start"](waits)
        await settle()
        runtime.stack(all=True)
    finally:
        del sys.modules["odd"]
    evil.got += evil.raised


@place(gort.Deadlock)
async def thread_of_a_class(evil: Evil) -> None:
    class Thread(threading.Thread):
        pass

    names = ("__hash__", "__eq__", "is_alive", "ident")

    def lives() -> None:
        for name in names:
            setattr(Thread, name, property(evil.boom) if name == "ident" else evil.boom)
        time.sleep(0.03)  # meanwhile every goroutine waits, and the deadlock check asks for threads
        for name in names:
            delattr(Thread, name)
        wake.close()

    evil.idle = wake = gort.Chan[None]()
    thread = Thread(target=lives)
    thread.start()
    await wake.recv_ok()
    await gort.blocking(thread.join)
    assert not evil.raised  # nobody has asked the thread's own methods


@place()
async def blocked_callback(evil: Evil) -> None:
    runtime.on_blocked(evil.boom, 0.0)
    runtime.gomaxprocs(1)
    gort.go(nothing)
    time.sleep(0.02)
    await gort.gosched()
    gort.go(waits)
    time.sleep(0.02)
    await evil.raises(0.1)
    runtime.on_blocked(None)


@place()
async def blocked_in_odd_code(evil: Evil) -> None:
    runtime.on_blocked(lambda *args: None, 0.0)
    names = module(evil.obj("__getattr__", "__format__", "__bool__"), "import time\ndef f(): time.sleep(0.02)")
    for _ in range(3):
        gort.go(nothing)
        names["f"]()
        await gort.gosched()
    await settle()
    evil.got += evil.raised


@place()
async def blocked_threshold(evil: Evil) -> None:
    await caught(evil, lambda: runtime.on_blocked(print, evil.obj()))
    await caught(evil, lambda: runtime.gomaxprocs(evil.obj("__index__", "__lt__", "__gt__", "__le__", bases=(int,))))
    await caught(evil, lambda: runtime.set_max_threads(evil.obj()))


# ---- hooks of the interpreter -----------------------------------------------------------------------------------------


@place(quiet="the hook that raises is the one that reports")
async def unraisable_hook(evil: Evil) -> None:
    sys.unraisablehook = evil.boom

    async def left() -> None:
        try:
            await waits()
        finally:
            raise ValueError("a finally block")

    gort.go(left)
    await settle()
    gort.Chan[int]().recv()  # never awaited
    evil.obj("__del__")


@place(quiet="nothing is left to tell it with")
async def standard_error(evil: Evil) -> None:
    sys.stderr = evil.obj("-__del__", write=evil.boom, flush=evil.boom)
    sys.unraisablehook = sys.__unraisablehook__
    await left_at_the_end(evil)
    await async_generator_dropped(evil)


_kept: Any = None


@place()
async def tuple_with_odd_metaclass(evil: Evil) -> None:
    class Meta(type):
        @property  # type: ignore[misc]
        def __name__(cls) -> Any:
            evil.boom()

    global _kept
    _kept = Meta("Odd", (tuple,), {})
    await left_at_the_end(evil)


@place()
async def never_awaited(evil: Evil) -> None:
    import warnings

    before = warnings.showwarning
    warnings.showwarning = evil.boom
    filters = warnings.filters[:]
    warnings.simplefilter("always")
    try:
        gort.Chan[int]().recv()
        gort.sleep(1)
        gort.select()
    finally:
        warnings.showwarning = before
        warnings.filters[:] = filters  # type: ignore[index]


@place()
async def thread_hook(evil: Evil) -> None:
    thread = threading.Thread(target=evil.boom)
    thread.start()
    await gort.blocking(thread.join)


# ---- signals ----------------------------------------------------------------------------------------------------------


async def _with_handler(evil: Evil, body: Callable[[], Awaitable[None]]) -> None:
    def handler(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        evil.boom()

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        await body()
    finally:
        signal.signal(signal.SIGUSR2, before)


@place()
async def handler_in_user_code(evil: Evil) -> None:
    async def body() -> None:
        signal.raise_signal(signal.SIGUSR2)
        await settle()

    await caught(evil, lambda: _with_handler(evil, body))


@place()
async def handler_in_gort_wait(evil: Evil) -> None:
    def plain() -> None:
        try:
            gort.wait(gort.sleep(0.02))
        except BaseException as e:
            evil.got.append(e)

    async def body() -> None:
        os.kill(os.getpid(), signal.SIGUSR2)
        await gort.blocking(plain)

    await caught(evil, lambda: _with_handler(evil, body))


@place()
async def signal_context(evil: Evil) -> None:
    ctx = parent(evil, "value", done=gort.Chan())
    try:
        child, _ = gort.signal.notify_context(ctx, signal.SIGUSR1)
    except BaseException as e:
        evil.got.append(e)
        return
    os.kill(os.getpid(), signal.SIGUSR1)
    await child.done().recv_ok()


class Late(context.Context):
    """A parent that raises only when the signal has come."""

    def __init__(self, evil: Evil) -> None:
        self.evil = evil
        self.armed = False
        self.end: gort.Chan[None] = gort.Chan()

    def done(self) -> gort.Chan[None]:
        return self.end

    def value(self, key: object) -> Any:
        if self.armed:
            self.evil.boom()
        return None


@place()
async def signal_context_late(evil: Evil) -> None:
    ctx = Late(evil)
    child, _ = gort.signal.notify_context(ctx, signal.SIGUSR1)
    other = gort.Chan[Any](1)
    gort.signal.notify(other, signal.SIGUSR1)
    ctx.armed = True
    os.kill(os.getpid(), signal.SIGUSR1)
    await child.done().recv_ok()
    await other.recv()
    ctx.armed = False
    gort.signal.reset(signal.SIGUSR1)


@place()
async def context_timer_late(evil: Evil) -> None:
    ctx = Late(evil)
    child, _ = context.with_timeout(ctx, 0.002)
    ctx.armed = True
    await child.done().recv_ok()
    await ends(evil)


# ---- gort.wait, blocking ----------------------------------------------------------------------------------------------


@place()
async def wait_in_a_thread(evil: Evil) -> None:
    def thread() -> None:
        for what in (evil.aboom(), evil.obj("__await__"), evil.obj("-__del__"), Foreign(evil, __next__=evil.boom)):
            try:
                gort.wait(what)
            except BaseException as e:
                evil.got.append(e)

    await gort.blocking(thread)
    outside = threading.Thread(target=thread)
    outside.start()
    await gort.blocking(outside.join)


@place()
async def blocking_calls(evil: Evil) -> None:
    await caught(evil, lambda: gort.blocking(evil.boom))
    await caught(evil, lambda: gort.blocking(evil.obj("__getattr__", "__eq__", __call__=evil.boom)))
    await caught(evil, lambda: gort.blocking(operator.call, evil.boom))
    await gort.blocking(lambda: evil.obj("-__await__"))


@place()
async def run_arguments(evil: Evil) -> None:
    class Wrapped:
        def __getattr__(self, name: str) -> Any:
            return self

        def __call__(self) -> None:
            pass

    def inside() -> None:
        for fn in (evil.obj("__getattr__", __call__=evil.boom), Wrapped()):
            try:
                gort.run(fn)
            except BaseException as e:
                evil.got.append(e)

    thread = threading.Thread(target=inside)
    thread.start()
    await gort.blocking(thread.join)


# ---- representations and pickles --------------------------------------------------------------------------------------


@place()
async def representations(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    await ch.send(evil.obj("-__del__"))
    for thing in (ch, ch.recv(), ch.send(evil.obj("-__del__")), Pool(), Once(), gort.Group(), gort.Panic(evil.obj())):
        await caught(evil, lambda thing=thing: repr(thing))  # type: ignore[misc]
        await caught(evil, lambda thing=thing: pickle.dumps(thing))  # type: ignore[misc]
    await ch.recv()


# ---- net and exec -----------------------------------------------------------------------------------------------------


async def _pair() -> tuple[Any, Any, Any]:
    listener = await gort.net.listen("tcp", "127.0.0.1:0")
    async with gort.Group() as group:
        h = group.go(gort.net.dial, "tcp", str(listener.addr))
        there = await listener.accept()
    return listener, h.result(), there


@place()
async def buffers(evil: Evil) -> None:
    listener, here, there = await _pair()
    try:
        for data in (
            evil.obj(),
            evil.obj("__len__", "__bool__", "__iter__", "__getitem__", "__buffer__", bases=(bytes,)),
        ):
            await caught(evil, lambda data=data: here.write(data))  # type: ignore[misc]
        await caught(evil, lambda: here.read(evil.obj()))
        await caught(evil, lambda: here.readinto(evil.obj()))
        await here.write(b"x")
        assert (await there.read(1)) in (b"x", b"")
    finally:
        listener.close()
        here.close()
        there.close()


@place()
async def sendfile_sources(evil: Evil) -> None:
    class Source(io.RawIOBase):
        fileno = read = readinto = readable = seek = tell = evil.boom  # type: ignore[assignment]

    listener, here, there = await _pair()
    try:
        if hasattr(here, "sendfile"):
            await caught(evil, lambda: here.sendfile(Source()))
            await caught(evil, lambda: here.sendfile(evil.obj()))
    finally:
        listener.close()
        here.close()
        there.close()


@place()
async def accept_errors(evil: Evil) -> None:
    listener = await gort.net.listen("tcp", "127.0.0.1:0")
    listener.on_error = evil.boom

    async def accept() -> None:
        (await listener.__anext__()).close()

    while not evil.raised:  # accept has a place where another thread, such as sysmon's, had a file open for a moment
        there = await gort.net.dial("tcp", f"127.0.0.1:{listener.addr.port}")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = open_files()
        free = min(set(range(len(files) + 1)).difference(files))
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))  # accept fails with EMFILE
        try:
            await caught(evil, accept)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            there.close()
    listener.close()


@place()
async def commands(evil: Evil) -> None:
    await caught(evil, lambda: gort.exec.run("true", evil.obj()))
    text = evil.obj("__str__", "__fspath__", "encode", "__eq__", "__len__", bases=(str,), __hash__=str.__hash__)
    await caught(evil, lambda: gort.exec.run("true", text))
    await caught(evil, lambda: gort.exec.run(evil.obj("__fspath__")))
    await caught(evil, lambda: gort.exec.run("true", input=evil.obj("__buffer__", "__len__", "__iter__")))


@place(TimeoutError)
async def command_cancel(evil: Evil) -> None:
    seconds = 0.01
    while not evil.raised:  # nothing is called where ctx ends before the process has begun
        r, w = os.pipe()
        with open(r, "rb"), open(w, "wb") as end, context.with_timeout(context.background(), seconds) as ctx:

            def cancel(cmd: gort.exec.Cmd, end: io.BufferedWriter = end) -> Any:
                end.close()  # only now the process ends
                return evil.boom(cmd)

            run = partial(gort.exec.run, "sh", "-c", f"read line <&{r}; exit 0", ctx=ctx, cancel=cancel, pass_fds=(r,))
            await caught(evil, run)
        seconds *= 2
