"""What takes the place of threading and time under the runtime: the same names, but every wait is the controller's.

Without a schedule (between two, or in a finalizer after one) locks are taken without a question and nothing waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from explore import control

BRIEF_S = 20e-6  # a sleep so short only gives way


class Lock:
    """threading.Lock, or, with a rank, a lock of the runtime whose order is checked (lockrank.py)."""

    def __init__(self, rank: int = 0, name: str = "lock") -> None:
        self.taken = False
        self.rank = rank
        self.number = 0
        if control.active is not None:
            control.active.locks += 1
            self.number = control.active.locks
        self.name = name
        self.by: control.Task | None = None
        self.guards = False  # whether the invariants are looked at whenever it is released

    def __repr__(self) -> str:
        return f"{self.name}#{self.number}"

    def _free(self) -> bool:
        return not self.taken

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        c = control.active
        if c is None:
            self.taken = True
            return True
        c.point("before", self)
        if self.taken:
            if not blocking:
                return False
            if not c.block("", self, self._free, 0 if timeout < 0 else c.now + round(timeout * 1e9)):
                return False
        self.taken = True
        if self.rank:
            me = self.by = c.current
            assert me is not None
            for other in me.held:
                if other.rank > self.rank or (other.rank == self.rank and other.number >= self.number):
                    c.fail("lock order", f"{me.name} took {self} while holding {other} at {control.place()}")
            me.held.append(self)
        return True

    def release(self) -> None:
        c = control.active
        if c is None or c.aborting:
            self.taken = False
            return
        if not self.taken:
            raise RuntimeError("release unlocked lock")
        self.taken = False
        if self.rank:
            me = c.current
            assert me is not None
            if self.by is not me:
                c.fail("lock", f"{me.name} released {self}, which {self.by.name if self.by else 'nobody'} holds")
            self.by = None
            me.held.remove(self)
            if self.guards and c.check is not None:
                c.check()
        c.point("after", self)

    def locked(self) -> bool:
        return self.taken

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


class RLock(Lock):
    """threading.RLock."""

    def __init__(self) -> None:
        super().__init__(name="rlock")
        self.owner: control.Task | None = None
        self.depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if control.active is not None and self.owner is control.active.current and self.depth:
            self.depth += 1
            return True
        if not super().acquire(blocking, timeout):
            return False
        self.owner = control.active.current if control.active is not None else None
        self.depth = 1
        return True

    def release(self) -> None:
        self.depth -= 1
        if self.depth <= 0:
            self.depth = 0
            self.owner = None
            super().release()


class Event:
    """threading.Event."""

    def __init__(self) -> None:
        self.flag = False

    def is_set(self) -> bool:
        return self.flag

    def set(self) -> None:
        if control.active is not None:
            control.active.point("before", "event.set")
        self.flag = True

    def wait(self, timeout: float | None = None) -> bool:
        c = control.active
        if c is None or self.flag:
            return self.flag
        if timeout is None:
            return c.block("", "event", self.is_set)
        pause(c, timeout, self.is_set)
        return self.flag


class Thread:
    """threading.Thread."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] | None = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self.target, self.args, self.kwargs = target, args, kwargs or {}
        self.name = (name or "thread").removeprefix("gort-")
        self.daemon = daemon
        self.listed = True  # in threading.enumerate()
        self.task: control.Task | None = None

    @property
    def ident(self) -> int | None:
        return None if self.task is None else self.task.worker.thread.ident

    @property
    def native_id(self) -> int | None:
        return self.ident  # as Threading.get_native_id says it

    def run(self) -> None:
        if self.target is not None:
            self.target(*self.args, **self.kwargs)

    def start(self) -> None:
        assert control.active is not None
        self.task = control.active.spawn(self)
        control.active.point("starts", self.name)

    def is_alive(self) -> bool:
        return self.task is not None and not self.task.done

    def join(self, timeout: float | None = None) -> None:
        c = control.active
        if c is None or not self.is_alive():
            return
        deadline = 0 if timeout is None else c.now + round(timeout * 1e9)
        c.block("the end of", self.name, lambda: not self.is_alive(), deadline)


class ThreadOfM(Thread):
    """newosproc.Thread, which is derived from the real one as it is imported.  Here it always has memory to begin."""

    failed = False
    left = False
    native_id = 0

    def __init__(self, m: Any, unlaunch: Any, context: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def current_thread() -> Any:
    if control.active is None or control.active.current is None:
        return threading.current_thread()
    return control.active.current.thread


def enumerate_threads() -> list[Any]:
    return [] if control.active is None else [t.thread for t in control.active.tasks if t.thread.listed]


def start_new_thread(function: Callable[..., Any], args: tuple[Any, ...]) -> int:
    """_thread.start_new_thread: a thread that threading does not know."""
    thread = Thread(target=function, args=args, name=function.__qualname__.partition(".")[0].lower())
    thread.listed = False
    thread.start()
    assert thread.ident is not None
    return thread.ident


class Threading:
    """The module threading."""

    Lock = Lock
    RLock = RLock
    Event = Event
    Thread = Thread
    local = threading.local
    current_thread = staticmethod(current_thread)
    enumerate = staticmethod(enumerate_threads)
    main_thread = staticmethod(threading.main_thread)
    get_ident = staticmethod(threading.get_ident)
    get_native_id = staticmethod(threading.get_ident)
    stack_size = staticmethod(threading.stack_size)


def nanotime() -> int:
    """The virtual clock."""
    return time.monotonic_ns() if control.active is None else control.active.now


def sleep(seconds: float) -> None:
    """Blocks the thread, as time.sleep does: it uses no CPU meanwhile."""
    if control.active is not None:
        pause(control.active, seconds, lambda: False)


def pause(c: control.Controller, seconds: float, cond: Callable[[], bool]) -> None:
    """Blocks until cond() or for so long.  A thread that only gives way for some microseconds is back as soon as another
    one has done anything: it must not wait until everybody sleeps and time passes, nor keep the others from running."""
    steps = c.steps
    brief = seconds <= BRIEF_S
    c.block(
        "time", f"{seconds:g} s", lambda: cond() or (brief and c.steps > steps), c.now + max(1, round(seconds * 1e9))
    )


class Time:
    """The module time."""

    monotonic_ns = staticmethod(nanotime)
    monotonic = staticmethod(lambda: nanotime() / 1e9)
    time = staticmethod(lambda: nanotime() / 1e9)
    sleep = staticmethod(sleep)


def cpu_clock(m: Any) -> int | None:
    """The CPU time of an M's thread: all the time that passed while it could run.  m: an M, or its Stretch."""
    tasks = [] if control.active is None else control.active.tasks
    return next((t.cpu for t in reversed(tasks) if t.worker.thread.ident == m.procid), None)


def rt_cputime() -> int:
    """That of the calling thread."""
    task = None if control.active is None else control.active.current
    return 0 if task is None else task.cpu
