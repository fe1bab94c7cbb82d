"""The peers of `gort bench xray`: a program run to main.main by unicorn with nothing watched, and by qiling.

unicorn gets what the program needs to come that far, and this is gort's: the segments, the stack, the answers to
system calls, memory when it is touched, the threads. It does not get the block hook, so the code of a block goes on to
the next without a call. No station is followed, no structure read, no call tree taken, nothing printed; unicorn itself
stops at main.main. So the difference to `gort xray` is what gort's looking costs.

Without the block hook nobody counts instructions. So a thread runs until it waits or yields, where gort ends its slice
after 20,000 instructions, and the clock moves with system calls and when all threads wait. The instructions up to
main.main are the same but for what the runtime's threads do beside it.

qiling is unicorn with an emulated Linux of its own. It is none of gort's dependencies; who has installed it gets its row.

`python -m gort.xray.show.peer unicorn|qiling FILE CPUS` runs one program.
"""

from __future__ import annotations

import os
import sys

from gort.xray.boot.follow import DEFAULT_MEMORY, DEFAULT_STEPS, examine
from gort.xray.emulate.clock import Clock
from gort.xray.emulate.machine import Machine
from gort.xray.emulate.process import Process
from gort.xray.errors import XrayError
from gort.xray.systems.calls import Observer
from gort.xray.systems.sysroot import Sysroot

_CALL = 1000
"""Instructions by which the clock moves with each system call. Go refuses to run where it stands still."""


_MAPPINGS = "0x7f0000000000"
"""Where qiling begins to map memory. Its own choice is so high that Go's first arena would lie above 2^47: Go refuses."""


class _Ticking(Observer):
    """Moves the clock, which nothing else does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clock.counter[0] = _CALL

    def syscall(self, name: str, args: tuple[int, ...], result: int) -> None:
        """A system call was answered."""
        self._clock.counter[0] += _CALL


def plain(path: str, cpus: int) -> str:
    """Run a Linux program to main.main. Returns how the run ended: "until" when it got there.

    Raises `XrayError` for a file that cannot be read or is not Linux's.
    """
    from gort.xray.systems.linux import Linux

    with examine(path) as static:
        main = static.symbols.func("main.main")
        if static.image.os != "linux" or main is None:
            raise XrayError(f"{path}: no Linux program with a main.main")
        machine = Machine(static.image.arch, DEFAULT_MEMORY, Clock(), counts=False)
        machine.last_address = main.entry
        process = Process(machine, static.symbols, cpus)

        def arrived() -> None:
            if machine.reg(machine.arch.pc) == main.entry:
                process.end("until", 0, "main.main was reached")

        sysroot = Sysroot("/", static.image.arch)
        try:
            system = Linux(process, "/" + os.path.basename(path), _Ticking(machine.clock), sysroot)
            system.setup(static.image, [os.path.basename(path)], [])
            return process.run(system, DEFAULT_STEPS, arrived).how
        finally:
            sysroot.close()


def qiling(path: str) -> str:
    """Run a Linux program to main.main with qiling. Returns "until" when it got there.

    Raises `XrayError` when qiling gives up.
    """
    from qiling import Qiling  # type: ignore[import-not-found,unused-ignore]
    from qiling.const import QL_VERBOSE  # type: ignore[import-not-found,unused-ignore]

    with examine(path) as static:
        main = static.symbols.func("main.main")
    if main is None:
        raise XrayError(f"{path}: no main.main")
    profile = {"OS64": {"mmap_address": _MAPPINGS}}
    ql = Qiling([path], "/", verbose=QL_VERBOSE.DISABLED, multithread=True, profile=profile)
    try:
        ql.run(end=main.entry)
    except Exception as exc:  # whatever it is: it becomes the row's text
        said = (str(exc).splitlines() or [""])[0]
        raise XrayError(f"qiling does not get to main.main: {type(exc).__name__}: {said}") from exc
    return "until" if ql.arch.regs.arch_pc == main.entry else "elsewhere"


def main() -> None:
    """Run the peer that the command line names. The last line on standard error says why it did not get there."""
    peer, file, cpus = sys.argv[1:]
    try:
        ended = plain(file, int(cpus)) if peer == "unicorn" else qiling(file)
    except XrayError as exc:
        sys.exit(str(exc))
    if ended != "until":
        sys.exit(f"main.main was not reached: {ended}")


if __name__ == "__main__":
    main()
