"""The deterministic scheduler of threads: real threads, of which exactly one runs at a time.

Each controlled thread has a baton (an OS lock) and runs only while it holds it.  Wherever the code under test could
meet another thread - it takes or releases a lock, sleeps, starts or joins a thread, waits for a descriptor, or, if
wanted, reaches the next line - it comes here, to a *switch point*; the strategy (strategy.py) then says who goes on.
A thread that has to wait blocks here, not in the operating system, so who could go on is always known: if nobody can,
that is a deadlock.  Time is virtual: it stands still while anybody can run, unless the strategy lets it pass, and then
jumps to the next instant somebody sleeps for.

Invariants
- `Controller.current` is the thread that runs; all fields of the controller are touched by it alone.
- The same code and the same choices give the same schedule, point for point.  So nothing here or in what is put under
  the runtime (install.py) may depend on addresses, on hashes of objects, on the clock or on the collector.
- A schedule that has failed is unwound: each thread in turn gets the baton and Abandon raised where it waits.  Locks
  are not taken any more then.

Rejected: greenlets in place of threads (the core binds its Ms to threads through thread-locals, and that is part of
what is tested); leaving the threads of a failed schedule behind as daemons (they hold descriptors and memory, and
thousands of planted bugs are found).  OS threads are used again and again: starting one takes longer than a schedule.
"""

from __future__ import annotations

import _thread
import contextvars
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

START_NS = 1_000_000_000_000  # the virtual clock at the beginning of a schedule
HORIZON_NS = 3_000_000_000  # no scenario takes so long: somebody waits for what will not happen
QUANTUM_NS = 1_000_000  # how much time passes at most while somebody could run
NEVER_NS = 1_000_000_000_000  # sleeps for longer than this are for ever
OURS = ("control.py", "standins.py", "install.py")  # frames that say nothing
STUCK_S = 300.0  # real time without an end: a thread waits in the operating system instead of here


class Abandon(BaseException):
    """Unwinds a thread whose schedule has been given up."""


class Failure(Exception):
    """What went wrong in a schedule; `kind` is a word, the text says more."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Worker:
    """An OS thread, used for one task after another."""

    def __init__(self, number: int) -> None:
        self.baton = _thread.allocate_lock()
        self.baton.acquire()
        self.task: Task | None = None
        self.quit = False
        self.thread = threading.Thread(target=self.work, name=f"explore-{number}", daemon=True)
        self.thread.start()

    def work(self) -> None:
        while True:
            self.baton.acquire()
            if self.quit:
                return
            task = self.task
            assert task is not None
            task.controller.life(task)


class Task:
    """One controlled thread in one schedule."""

    __slots__ = (
        "cond", "controller", "cpu", "deadline", "done", "held",
        "id", "name", "priority", "switching", "thread", "worker",
    )  # fmt: skip

    def __init__(self, controller: Controller, thread: Any, id: int, worker: Worker) -> None:
        self.controller = controller
        self.thread = thread
        self.id = id
        self.name = thread.name
        self.worker = worker
        self.done = False
        self.switching = False  # in the controller, between the choice who goes on and its own next turn
        self.cond: Callable[[], Any] | None = None  # what it waits for; None: it can run
        self.deadline = 0  # when it goes on without; 0: never
        self.held: list[Any] = []  # the ranked locks it has taken
        self.cpu = 0
        self.priority = 0.0


class Controller:
    """One schedule."""

    def __init__(
        self,
        strategy: Any,
        pool: list[Worker],
        fresh: Callable[[], None],
        check: Callable[[], None] | None = None,
        tracer: Callable[..., Any] | None = None,
        record: bool = False,
        max_steps: int = 40_000,
    ) -> None:
        self.strategy = strategy
        self.pool = pool
        self.fresh = fresh  # called at the beginning of each thread: OS threads are used again
        self.check = check
        self.tracer = tracer
        self.record: list[tuple[str, str, str]] | None = [] if record else None
        self.max_steps = max_steps
        self.now = START_NS
        self.tasks: list[Task] = []  # alive, in the order of their ids
        self.nexttask = 0
        self.current: Task | None = None
        self.choices: list[tuple[int, bool, bool, int]] = []  # (threads ready, clock, current one ready, chosen)
        self.steps = 0
        self.locks = 0
        self.failure: Failure | None = None
        self.aborting = False
        self.over = _thread.allocate_lock()
        self.over.acquire()

    # ---- the life of a schedule and of its threads --------------------------------------------------------------------

    def run(self, first: Any) -> None:
        """Starts the first controlled thread; returns when every thread has ended.  The outcome is in `failure`."""
        global active
        assert active is None
        active = self
        try:
            first.task = self.spawn(first)
            self.hand_to(first.task)
            if not self.over.acquire(timeout=STUCK_S):
                self.pool.clear()  # the threads are lost, and with them whatever they hold
                raise RuntimeError(
                    "explore: a thread waits in the operating system instead of in the controller; "
                    f"put what it waits for under control in install.py\n{self.describe(8)}"
                )
        finally:
            active = None

    def spawn(self, thread: Any) -> Task:
        worker = self.pool.pop() if self.pool else Worker(self.nexttask)
        task = Task(self, thread, self.nexttask, worker)
        self.nexttask += 1
        worker.task = task
        self.tasks.append(task)
        self.strategy.spawned(task)
        return task

    def hand_to(self, task: Task) -> None:
        self.current = task
        task.worker.baton.release()

    def life(self, task: Task) -> None:
        """What a worker does with a task: called with the baton."""
        try:
            if not self.aborting:
                self.fresh()
                if self.tracer is not None:
                    sys.settrace(self.tracer)
                try:
                    contextvars.Context().run(task.thread.run)
                finally:
                    sys.settrace(None)
        except Abandon:
            pass
        except Failure as e:
            self.fail_quietly(e)
        except BaseException as e:
            where = traceback.format_exc() if not isinstance(e, AssertionError) else short(e)
            self.fail_quietly(Failure(type(e).__name__, f"in {task.name}: {e}\n{where}"))
        self.end(task)

    def end(self, task: Task) -> None:
        """task is over: somebody else goes on."""
        task.done = True
        self.tasks.remove(task)
        worker = task.worker
        if self.record is not None:
            self.record.append((task.name, "ends", ""))
        following: Task | None = None
        if self.tasks:
            try:
                following = self.tasks[0] if self.aborting else self.pick(task)
            except Abandon:
                following = self.tasks[0]
        self.pool.append(worker)
        if following is None:
            self.over.release()
        else:
            self.hand_to(following)

    def fail_quietly(self, failure: Failure) -> None:
        if self.failure is None:
            self.failure = failure
        self.aborting = True

    def fail(self, kind: str, text: str) -> NoReturn:
        """The schedule is a failure and ends here."""
        self.fail_quietly(Failure(kind, text))
        raise Abandon

    # ---- switch points ------------------------------------------------------------------------------------------------

    def point(self, what: str, on: object = "") -> None:
        """The running thread can be interrupted here.

        Not where a finalizer runs in the middle of a switch: the collector, and without the GIL the release of what other
        threads let go of, come between any two instructions, also of a thread that has just handed over."""
        me = self.current
        assert me is not None
        if me.switching or me.worker.thread.ident != _thread.get_ident():
            return
        if self.aborting:
            raise Abandon
        if self.record is not None:
            self.record.append((me.name, f"{what} {on}" if on else what, place()))
        self.steps += 1
        if self.steps > self.max_steps:
            self.fail("livelock", f"no end after {self.max_steps} switch points\n{self.describe()}")
        if len(self.tasks) > 1:
            self.switch(me)

    def block(self, what: str, on: object, cond: Callable[[], Any], deadline: int = 0) -> bool:
        """The running thread waits until cond() is true, or until `deadline` (0: for ever).  True for the former."""
        if self.aborting:
            raise Abandon
        me = self.current
        assert me is not None
        if self.record is not None:
            self.record.append((me.name, f"waits for {what} {on}", place()))
        me.cond = cond
        me.deadline = 0 if deadline > START_NS + NEVER_NS else deadline
        try:
            self.switch(me)
        finally:
            me.cond = None
            me.deadline = 0
        return bool(cond())

    def pick(self, me: Task) -> Task:
        """Whoever is to run now."""
        while True:
            ready: list[Task] = []
            clock = False
            before: list[Task] = []
            into = before
            for task in self.tasks:
                if task.id >= me.id:
                    into = ready  # the running one first, then the others in a circle
                if task.cond is None or task.cond():
                    into.append(task)
                elif task.deadline:
                    if task.deadline <= self.now:
                        into.append(task)
                    else:
                        clock = True
            ready += before
            if not ready:
                if not any(t.deadline for t in self.tasks):
                    self.fail("deadlock", f"no thread can go on\n{self.describe()}")
                self.tick()
                continue
            if self.now - START_NS > HORIZON_NS // 2:
                clock = False  # time passes by itself from now on, or everything would be seen as a hang
            k = 0
            if len(ready) + clock > 1:
                mine = ready[0] is me
                k = self.strategy.choose(len(self.choices), mine, ready, clock)
                self.choices.append((len(ready), clock, mine, k))
                if k == len(ready):
                    self.tick(QUANTUM_NS)
                    continue
            return ready[k]

    def tick(self, most: int = NEVER_NS) -> None:
        """Time passes, to the next instant that somebody sleeps for."""
        until = min(t.deadline for t in self.tasks if t.deadline > self.now)
        until = min(until, self.now + most)
        if self.record is not None:
            how = "by itself" if most == NEVER_NS else "by choice"
            self.record.append(("clock", f"passes {(until - self.now) / 1e6:g} ms {how}", ""))
        if until - START_NS > HORIZON_NS:
            self.fail("hang", f"not over after {HORIZON_NS / 1e9:g} s\n{self.describe()}")
        for task in self.tasks:
            if task.cond is None:
                task.cpu += until - self.now
        self.now = until

    def switch(self, me: Task) -> None:
        """Lets whoever is picked go on, and waits for the next turn of `me`."""
        me.switching = True
        try:
            to = self.pick(me)
            if to is me:
                return
            if self.record is not None:
                self.record.append((to.name, "goes on", ""))
            self.hand_to(to)
            me.worker.baton.acquire()
        finally:
            me.switching = False
        if self.aborting:
            raise Abandon

    def describe(self, depth: int = 4) -> str:
        """What every thread waits for, and what the runtime thinks."""
        from explore import check

        lines = []
        frames = sys._current_frames()
        for task in self.tasks:
            frame = frames.get(task.worker.thread.ident or 0)
            lines.append(f"  {task.name}: {'ready' if task.cond is None else 'waits'} in {where(frame, depth)}")
        return "\n".join(lines) + "\n" + check.state()


active: Controller | None = None


def short(e: BaseException) -> str:
    frames = traceback.extract_tb(e.__traceback__)
    return f"  at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def where(frame: Any, depth: int) -> str:
    """The innermost frames outside this package, as one line."""
    parts = []
    while frame is not None and len(parts) < depth:
        code = frame.f_code
        if os.path.basename(code.co_filename) not in OURS:
            parts.append(f"{os.path.basename(code.co_filename)}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(parts)


def place() -> str:
    frame: Any = sys._getframe(2)
    while frame is not None and os.path.basename(frame.f_code.co_filename) in OURS:
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}"


def close_pool(pool: list[Worker]) -> None:
    """Ends the OS threads."""
    while pool:
        worker = pool.pop()
        worker.quit = True
        worker.baton.release()
        worker.thread.join()
