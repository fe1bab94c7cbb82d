"""An emulated process: its threads, taken in turn on one processor.

The threads run round-robin in slices of `QUANTUM` instructions. When every thread waits, the clock jumps to the first
timeout. So two runs of one program are the same, instruction by instruction.

What differs between operating systems is in systems/: a `Kernel` answers the program's calls. It blocks and wakes
threads through this module.

Invariants:
- Exactly one thread's registers are in the processor; the others are in their `context`.
- A thread has `wait` set while it waits, and only then. `wake` writes the result of its system call into its context,
  exactly once.
- The process has ended when `ended` is set; nothing runs after that.

Rejected: one unicorn per thread with shared memory: every mapping would have to be made in all of them, and each
translates the code anew. Real threads: their order would differ from run to run.
"""

from __future__ import annotations

from gort.xray.emulate.clock import NS_PER_INSTRUCTION, Clock
from gort.xray.emulate.errno import EINTR
from gort.xray.emulate.machine import Fault, Machine
from gort.xray.emulate.signals import NAMES, SEGV_MAPERR, SIGFPE, SIGILL, SIGKILL, SIGSEGV, Killed, Signals
from gort.xray.emulate.thread import Signal, Thread, Wait
from gort.xray.emulate.vfs import Files
from gort.xray.file.symbols import Symbols
from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from gort.xray.emulate.native import Context

    How = Literal["until", "exit", "killed", "fault", "steps", "deadlock", "unsupported", "bound"]
    """The ends of an emulation: a function was reached, the program ended or was ended, a bound was reached."""

QUANTUM = 20_000
"""Instructions in a slice."""

_MAX_THREADS = 512
_MAX_PENDING = 128
_FIRST_TID = 1000
_SIGNAL_OF_FAULT = {"memory": SIGSEGV, "division": SIGFPE, "instruction": SIGILL}


@frozen
class Ended:
    """The end of a process: how it came, the exit status where there is one, and the reason in words."""

    how: How
    status: int
    detail: str


class Kernel:
    """An operating system, as the process's loop needs it; systems/ has them."""

    def syscall(self) -> None:
        """Answer the system call whose instruction the processor has just executed."""
        raise NotImplementedError

    def before_slice(self) -> None:
        """Bring up to date what the program reads without asking. Called before a thread runs."""


class Process:
    """The threads, files and signals of one program. `symbols` name the places of its faults."""

    def __init__(self, machine: Machine, symbols: Symbols, cpus: int, max_threads: int = _MAX_THREADS) -> None:
        self.machine: Machine = machine
        self.clock: Clock = machine.clock
        self.cpus: int = cpus
        self.max_threads: int = max_threads
        self.files: Files = Files()
        self.signals: Signals = Signals(machine)
        self.threads: list[Thread] = []
        self.current: Thread
        """The thread whose registers are in the processor; there is none before the first `add_thread`."""
        self.ended: Ended | None = None
        self.before_switch: Callable[[], None] | None = None
        """Called before another thread than `current` has its turn, with the registers of `current` in the processor."""
        self._symbols = symbols
        self._replaced = False
        """True when the current thread's context was replaced while it ran: its registers must not be kept."""
        self._next_tid = _FIRST_TID
        self._turn = 0
        self._slice_began = 0
        """Instructions that the process had executed when the running thread's slice began."""

    # -- threads ---------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The number of the process: its first thread's."""
        return self.threads[0].tid if self.threads else _FIRST_TID

    def add_thread(self, context: Context) -> Thread:
        """Make a thread that goes on with these registers."""
        thread = Thread(self._next_tid, context)
        self._next_tid += 1
        if not self.threads:
            self.current = thread
        self.threads.append(thread)
        return thread

    @property
    def own_instructions(self) -> int:
        """Instructions that the running thread has executed."""
        return self.current.instructions + self.machine.instructions - self._slice_began

    def thread(self, tid: int) -> Thread | None:
        """Returns the living thread of that number."""
        for t in self.threads:
            if t.tid == tid and t.state != "dead":
                return t
        return None

    def is_full(self) -> bool:
        """True when the process may have no further thread."""
        return sum(t.state != "dead" for t in self.threads) >= self.max_threads

    def waiting(self, kind: str) -> list[tuple[Thread, tuple[int, ...]]]:
        """Returns the threads that wait for this kind of thing, the oldest first, each with what identifies it."""
        return [(t, t.wait.on) for t in self.threads if t.wait is not None and t.wait.kind == kind]

    def block(self, wait: Wait, timeout: int | None, timeout_result: int) -> None:
        """Make the running thread wait. After `timeout` ns (None: never) it goes on with `timeout_result`."""
        t = self.current
        t.state, t.wait = "waiting", wait
        t.wake_at = None if timeout is None else self.clock.now + max(0, timeout)
        t.timeout_result = timeout_result
        self.machine.stop()

    def wake(self, thread: Thread, result: int) -> None:
        """Let a waiting thread go on; its call returns `result`."""
        thread.state, thread.wait, thread.wake_at = "runnable", None, None
        self.machine.set_in(thread.context, self.machine.arch.result, result)

    def end(self, how: How, status: int, detail: str) -> None:
        """End the process. The first end counts."""
        if self.ended is None:
            self.ended = Ended(how, status, detail)
        self.machine.stop()

    # -- signals ---------------------------------------------------------------------------------------------

    def send(self, thread: Thread, signal: Signal) -> None:
        """Queue a signal for a thread, and interrupt its wait when the program has a handler."""
        if len(thread.pending) < _MAX_PENDING:
            thread.pending.append(signal)
        if thread is self.current:
            self.machine.stop()
        elif thread.state == "waiting" and not thread.blocks(signal.number):
            if self.signals.action(signal.number).is_handled:
                self.wake(thread, -EINTR)

    def sigreturn(self) -> None:
        """Leave the running thread's signal handler."""
        killed = self.signals.sigreturn(self.current)
        self._replaced = killed is None
        if killed is not None:
            self._kill(killed)
        self.machine.stop()

    def _kill(self, killed: Killed) -> None:
        self.end("killed", killed.status, killed.detail)

    def _deliver(self, thread: Thread) -> None:
        """Deliver the first pending signal that the thread's mask lets through."""
        for i, signal in enumerate(thread.pending):
            if not thread.blocks(signal.number) or signal.number == SIGKILL:
                del thread.pending[i]
                killed = self.signals.deliver(thread, signal)
                if killed is not None:
                    self._kill(killed)
                return

    # -- the loop --------------------------------------------------------------------------------------------

    def run(self, kernel: Kernel, steps: int, progress: Callable[[], None] | None = None) -> Ended:
        """Run until the process ends or `steps` instructions are done. `progress` is called after every slice.

        Raises `XrayError` when the program takes more memory than it may.
        """
        m = self.machine
        limit = m.instructions + steps
        while self.ended is None:
            thread = self._pick()
            if thread is None:
                self._idle()
                continue
            if self.before_switch is not None and thread is not self.current:
                self.before_switch()
            if thread.pending:
                self._deliver(thread)
            if m.instructions >= limit:
                self.end("steps", 0, f"the bound of {steps:,} instructions was reached (--steps)")
            if self._is_running():
                self._slice_began = m.instructions
                self._slice(kernel, thread, limit)
                thread.instructions += m.instructions - self._slice_began
                self._slice_began = m.instructions
                if progress is not None:
                    progress()
        return self.ended

    def _is_running(self) -> bool:
        return self.ended is None

    def _pick(self) -> Thread | None:
        """The next thread whose turn it is, after waking those whose time has come."""
        now = self.clock.now
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

    def _idle(self) -> None:
        """Every thread waits: go to the first timeout, or end."""
        times = [t.wake_at for t in self.threads if t.wake_at is not None]
        if times:
            self.clock.skipped += max(0, min(times) - self.clock.now)
            return
        alive = [t for t in self.threads if t.state != "dead"]
        if not alive:
            self.end("exit", 0, "every thread has ended")
            return
        waits = ", ".join(f"thread {t.tid}: {t.wait.kind}" for t in alive[:8] if t.wait is not None)
        self.end("deadlock", 0, f"every thread waits for another, without a timeout ({waits})")

    def _slice(self, kernel: Kernel, thread: Thread, limit: int) -> None:
        """Run a thread until its slice is over, it waits, or another thread's timeout has come."""
        m = self.machine
        self.current = thread
        kernel.before_slice()
        until = m.instructions + QUANTUM
        for t in self.threads:
            if t.wake_at is not None:
                until = min(until, m.instructions + max(1, (t.wake_at - self.clock.now) // NS_PER_INSTRUCTION))
        while True:
            self._replaced = False
            m.restore(thread.context)
            try:
                m.run(m.reg(m.arch.pc), min(until, limit), kernel.syscall)
            except Fault as fault:
                self._keep(thread)
                self._fault(thread, fault)
                return
            if not self._replaced:
                self._keep(thread)
                return
            # It has left a signal handler. The slice goes on, else a thread that is signaled in each turn of another
            # one would never come further than its handler: Go's suspendG sends again until the goroutine stops.
            if self.ended is not None or thread.state != "runnable" or m.instructions >= min(until, limit):
                return

    def _keep(self, thread: Thread) -> None:
        if thread.state != "dead":
            self.machine.save(thread.context)

    def _fault(self, thread: Thread, fault: Fault) -> None:
        """Do what the kernel does: send the thread a signal, or end the program when it has no handler for it."""
        signo = _SIGNAL_OF_FAULT[fault.kind]
        if not self.signals.action(signo).is_handled or thread.blocks(signo):
            where = self._symbols.describe(fault.pc)
            self.end("fault", 128 + signo, f"{fault.what} {fault.address:#x} in {where} ({NAMES[signo]})")
            return
        self.send(thread, Signal(signo, fault.address, SEGV_MAPERR if signo == SIGSEGV else 0))
