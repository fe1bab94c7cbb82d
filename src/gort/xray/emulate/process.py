"""An emulated Linux process: its threads, taken in turn on one processor, and a virtual clock.

The threads run round-robin in slices of `QUANTUM` instructions. Time is virtual: an instruction takes 4 ns,
and when every thread waits, the clock jumps to the first timeout. So a program that sleeps an hour takes no time, and
two runs of one program are the same, instruction by instruction.

Invariants:
- Exactly one thread's registers are in the processor; the others are in their `context`.
- A thread that waits has `wait` set, and gets the result of its system call written into its context when it is
  woken, exactly once (`wake`).
- The process has ended when `ended` is set; nothing runs after that.

Rejected: one unicorn per thread with shared memory (every mapping would have to be made in all of them, and
translated code is per instance); real threads (the order would differ from run to run).
"""

from __future__ import annotations

from gort.xray.emulate import signals
from gort.xray.emulate.machine import Fault, Machine
from gort.xray.emulate.vfs import Files
from gort.xray.record import field, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

QUANTUM = 20_000
"""Instructions in a slice."""

NS_PER_INSTRUCTION = 4
"""How long an instruction takes on the virtual clock: longer than on a real processor, so that a program that waits for
time to pass by computing (Go's preemption needs 10 ms of it) gets there in fewer emulated instructions."""

_MAX_THREADS = 512
EPOCH = 1_700_000_000_000_000_000
"""The wall clock at the start, in nanoseconds."""


@record
class Thread:
    tid: int
    context: Any = None
    state: str = "runnable"
    """runnable, waiting, dead"""
    wait: tuple[Any, ...] = ()
    wake_at: int | None = None
    timeout_result: int = 0
    sigmask: int = 0
    altstack: tuple[int, int] = (0, 0)
    pending: list[tuple[int, int, int]] = field(default_factory=list)
    frames: list[tuple[int, Any]] = field(default_factory=list)
    clear_tid: int = 0
    parent: int = 0
    started: int = 0
    slices: int = 0

    def copy_context(self, machine: Machine) -> Any:
        """A second copy of the context: pushed into the processor and taken out again, the binding cannot copy it."""
        machine.restore(self.context)
        return machine.context()


@frozen
class Ended:
    how: str
    """until, exit, killed, fault, steps, deadlock, unsupported"""
    status: int
    detail: str


class Process:
    def __init__(self, machine: Machine, cpus: int, max_threads: int = _MAX_THREADS) -> None:
        self.machine = machine
        machine.ticks = lambda: self.now
        self.cpus = cpus
        self.files = Files()
        self.threads: list[Thread] = []
        self.current: Thread = Thread(0)
        self.actions: dict[int, tuple[int, int, int, int]] = {}
        """signal -> (handler, flags, restorer, mask)"""
        self.ended: Ended | None = None
        self.skipped = 0
        """Virtual nanoseconds in which every thread waited."""
        self.trampoline = 0
        self.max_threads = max_threads
        self.replaced = False
        self._next_tid = 1000
        self._turn = 0
        self.before_slice: Callable[[], None] | None = None
        """What a system keeps up to date for its programs, called before a thread runs."""
        self.progress: Callable[[], None] | None = None

    # -- clock -----------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Nanoseconds since the start."""
        return self.machine.instructions * NS_PER_INSTRUCTION + self.skipped

    # -- threads ---------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self.threads[0].tid if self.threads else 1000

    def add_thread(self, context: Any, parent: int = 0) -> Thread:
        thread = Thread(self._next_tid, context, parent=parent, started=self.machine.instructions)
        self._next_tid += 1
        self.threads.append(thread)
        return thread

    def thread(self, tid: int) -> Thread | None:
        for t in self.threads:
            if t.tid == tid and t.state != "dead":
                return t
        return None

    def block(self, what: tuple[Any, ...], timeout: int | None, timeout_result: int) -> None:
        """The running thread waits for `what`; after `timeout` ns it goes on with `timeout_result`."""
        t = self.current
        t.state, t.wait = "waiting", what
        t.wake_at = None if timeout is None else self.now + max(0, timeout)
        t.timeout_result = timeout_result
        self.machine.stop()

    def wake(self, thread: Thread, result: int) -> None:
        thread.state, thread.wait, thread.wake_at = "runnable", (), None
        self.machine.set_in(thread.context, self.machine.arch.ret, result)

    def wake_waiting(self, match: Callable[[tuple[Any, ...]], bool], limit: int, result: int = 0) -> int:
        n = 0
        for t in self.threads:
            if n >= limit:
                break
            if t.state == "waiting" and match(t.wait):
                self.wake(t, result)
                n += 1
        return n

    def end(self, how: str, status: int, detail: str) -> None:
        if self.ended is None:
            self.ended = Ended(how, status, detail)
        self.machine.stop()

    # -- signals ---------------------------------------------------------------------------------------------

    def send(self, thread: Thread, signo: int, address: int = 0, code: int = 0) -> None:
        if len(thread.pending) < 128:
            thread.pending.append((signo, address, code))
        if thread is self.current:
            self.machine.stop()
        elif thread.state == "waiting" and not thread.sigmask >> (signo - 1) & 1:
            handler = self.actions.get(signo, (0, 0, 0, 0))[0]
            if handler > 1:
                self.wake(thread, -4)  # EINTR

    def _deliver(self, thread: Thread) -> None:
        for i, (signo, address, code) in enumerate(thread.pending):
            if not thread.sigmask >> (signo - 1) & 1 or signo == signals.SIGKILL:
                del thread.pending[i]
                signals.deliver(self, thread, signo, address, code)
                return

    # -- the loop --------------------------------------------------------------------------------------------

    def _pick(self) -> Thread | None:
        now = self.now
        n = len(self.threads)
        for t in self.threads:
            if t.wake_at is not None and t.wake_at <= now:
                self.wake(t, t.timeout_result)
        for i in range(n):
            t = self.threads[(self._turn + i) % n]
            if t.state == "runnable":
                self._turn = (self._turn + i + 1) % n
                return t
        return None

    def _idle(self) -> bool:
        times = [t.wake_at for t in self.threads if t.wake_at is not None]
        if not times:
            alive = [t for t in self.threads if t.state != "dead"]
            if not alive:
                self.end("exit", 0, "every thread has ended")
            else:
                waits = ", ".join(f"thread {t.tid}: {t.wait[0]}" for t in alive[:8])
                self.end("deadlock", 0, f"every thread waits for another, without a timeout ({waits})")
            return False
        self.skipped += max(0, min(times) - self.now)
        return True

    def run(self, steps: int) -> Ended:
        """Run until the process ends or `steps` instructions are done."""
        m = self.machine
        limit = m.instructions + steps
        while self.ended is None:
            thread = self._pick()
            if thread is None:
                if not self._idle():
                    break
                continue
            if thread.pending:
                self._deliver(thread)
                if self._over():
                    break
            if m.instructions >= limit:
                self.end("steps", 0, f"the bound of {steps:,} instructions was reached (--steps)")
                break
            self._slice(thread, limit)
            if self.progress is not None:
                self.progress()
        assert self.ended is not None
        return self.ended

    def _over(self) -> bool:
        return self.ended is not None

    def _slice(self, thread: Thread, limit: int) -> None:
        m = self.machine
        self.current, self.replaced = thread, False
        thread.slices += 1
        if self.before_slice is not None:
            self.before_slice()
        until = m.instructions + QUANTUM
        for t in self.threads:
            if t.wake_at is not None:
                until = min(until, m.instructions + max(1, (t.wake_at - self.now) // NS_PER_INSTRUCTION))
        m.restore(thread.context)
        try:
            m.run(m.reg(m.arch.pc), min(until, limit))
        except Fault as fault:
            self._keep(thread)
            self._fault(thread, fault)
            return
        if not self.replaced:
            self._keep(thread)

    def _keep(self, thread: Thread) -> None:
        if thread.state != "dead":
            self.machine.uc.save(thread.context)

    def _fault(self, thread: Thread, fault: Fault) -> None:
        """What the kernel makes of it: a signal to the thread, or the end where there is no handler for it."""
        memory = "memory" in fault.kind or "not allowed" in fault.kind
        signo = signals.SIGSEGV if memory else signals.SIGFPE if "exception 0" in fault.kind else signals.SIGILL
        handler = self.actions.get(signo, (0, 0, 0, 0))[0]
        name = signals.NAMES[signo]
        if handler <= 1 or thread.sigmask >> (signo - 1) & 1:
            where = self.machine.disasm.symbols.describe(fault.pc)
            self.end("fault", 128 + signo, f"{fault.kind} {fault.address:#x} in {where} ({name})")
            return
        self.send(thread, signo, fault.address, 1 if memory else 0)
