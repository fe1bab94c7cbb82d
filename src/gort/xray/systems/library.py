"""The base of Darwin and Windows: systems that programs reach through the functions of libraries.

Each thread has a block of memory at a place that the processor knows (darwin's pthread_self, windows' TEB), which holds
the thread's own error number and thread-local slots, and a stack that the system made.
"""

from __future__ import annotations

from gort.xray.emulate.memory import READ, WRITE
from gort.xray.emulate.process import Process
from gort.xray.emulate.thread import Thread
from gort.xray.file.image import Image
from gort.xray.record import frozen
from gort.xray.systems.calls import Observer
from gort.xray.systems.imports import Imports
from gort.xray.systems.system import STACK_SIZE, System

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gort.xray.systems.calls import Handler

FIRST_BLOCK = 0x7FFFF5000000
"""The first thread's block."""


@frozen
class Place:
    """A thread's memory."""

    block: int
    stack: int
    stack_size: int


@frozen
class Convention:
    """The way a system calls functions and lays out threads. Registers are given for each processor."""

    library: str
    """The name of the library in messages."""
    argument_registers: dict[str, tuple[str, ...]]
    """The registers of a function's first arguments."""
    block_registers: dict[str, str]
    """The register that holds the address of a thread's block."""
    block_size: int
    """Of the threads that the program makes, like `stack_size`."""
    stack_size: int
    stack_gap: int
    """Bytes above a new thread's stack pointer."""
    exit: str
    """The function to which a thread's first function returns."""


class LibrarySystem(System):
    """A system whose calls are functions of a library."""

    def __init__(self, process: Process, observer: Observer | None, convention: Convention) -> None:
        super().__init__(process, observer)
        self.imports: Imports = Imports(
            process,
            convention.library,
            self._functions(),
            convention.argument_registers[self.machine.arch.name],
            self.observer,
        )
        self._convention = convention
        self._block_register = convention.block_registers[self.machine.arch.name]
        self._places: dict[int, Place] = {}
        """Thread number -> its memory."""

    def setup(self, image: Image, argv: list[str], env: list[str]) -> Thread:
        """As `System.setup`; the first thread has its block at `FIRST_BLOCK`."""
        thread = super().setup(image, argv, env)
        self._places[thread.tid] = Place(FIRST_BLOCK, self.machine.arch.stack_top - STACK_SIZE, STACK_SIZE)
        return thread

    def _functions(self) -> dict[str, Handler]:
        """Returns the functions that are emulated, by the names that programs import."""
        raise NotImplementedError

    def syscall(self) -> None:
        """End the run: these systems do not promise the numbers of their system calls, and Go uses none."""
        number = self.machine.reg(self.machine.arch.syscall_number)
        self.process.end(
            "unsupported",
            0,
            f"system call {number:#x} was made without {self._convention.library}, which is not emulated",
        )

    @property
    def _block(self) -> int:
        """The address of the running thread's block."""
        return self._places[self.process.current.tid].block

    def _make_block(self, block: int, stack: int, stack_size: int) -> None:
        """Write what is in a new thread's block."""
        raise NotImplementedError

    def _new_thread(self, function: int, argument: int) -> Thread | None:
        """Make a thread that calls `function`. Returns None when there is no memory for it."""
        m, memory, how = self.machine, self.machine.memory, self._convention
        block, stack = memory.place(how.block_size), memory.place(how.stack_size)
        if not block or not stack:
            return None
        if not memory.map(block, how.block_size, READ | WRITE) or not memory.map(stack, how.stack_size, READ | WRITE):
            return None
        self._make_block(block, stack, how.stack_size)
        child = self.clone_thread()
        self._places[child.tid] = Place(block, stack, how.stack_size)
        sp = stack + how.stack_size - how.stack_gap
        leave = self.imports.place(how.exit)
        if m.arch.link:
            m.set_in(child.context, m.arch.link, leave)
        else:
            sp -= 8
            m.write_u64(sp, leave)
        m.set_in(child.context, self._block_register, block)
        m.set_in(child.context, m.arch.sp, sp)
        m.set_in(child.context, self.imports.registers[0], argument)
        m.set_in(child.context, m.arch.pc, function)
        return child
