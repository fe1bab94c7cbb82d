"""The base of Linux, Darwin and Windows: what happens before a program's first instruction on each of them.

`setup` loads the segments and a stack, lets the system prepare memory and registers, and makes the first thread. What a
system does otherwise than the others is in its own file; what answers calls in general is in calls.py.
"""

from __future__ import annotations

from gort.xray.emulate.memory import EXEC, READ, WRITE
from gort.xray.emulate.process import Kernel, Process
from gort.xray.emulate.thread import Thread
from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.systems.calls import Calls, Observer

STACK_SIZE = 8 << 20
_PROTECTIONS = (("r", READ), ("w", WRITE), ("x", EXEC))


class System(Calls, Kernel):
    """An operating system that runs one program."""

    def __init__(self, process: Process, observer: Observer | None = None) -> None:
        super().__init__(process, observer if observer is not None else Observer())
        self.calls: int = 0
        """System calls that were made."""
        self.unknown: dict[str, int] = {}
        """System call that is not emulated -> how often it was made."""

    def setup(self, image: Image, argv: list[str], env: list[str]) -> Thread:
        """Load the program as the system would leave it, and make its first thread.

        Raises `XrayError` when the program, its arguments or its environment do not fit.
        """
        m = self.machine
        self._load(image)
        if not m.memory.map(m.arch.stack_top - STACK_SIZE, STACK_SIZE, READ | WRITE):
            raise XrayError(f"{image.path}: no room for a stack")
        self._prepare(image, argv, env)
        m.set_reg(m.arch.pc, self._start(image))
        return self.process.add_thread(m.context())

    def _start(self, image: Image) -> int:
        """Returns the address of the first instruction."""
        return image.entry

    def _count_call(self) -> int:
        """Count a system call. Returns the number of calls so far."""
        self.calls += 1
        return self.calls

    def _prepare(self, image: Image, argv: list[str], env: list[str]) -> None:
        """Put into memory and registers what a program finds on this system when it starts."""
        raise NotImplementedError

    def _load(self, image: Image, relocate: bool = True) -> None:
        """Map the segments; with `relocate` also apply the relocations that a loader would apply first."""
        memory = self.machine.memory
        for seg in image.segments:
            protection = sum(bit for c, bit in _PROTECTIONS if c in seg.perms)
            memory.load(seg.address, seg.size, protection, image.data[seg.offset : seg.offset + seg.file_size])
        if relocate and image.relocations is not None:
            for address, value in image.relocations():
                holder = image.segment_at(address)
                if holder is None or address + image.word > holder.end:
                    raise XrayError(
                        f"{image.path}: a relocation writes to {address:#x}, outside of its segments: corrupt or hostile"
                    )
                memory.store(address, value.to_bytes(image.word, "little"))
