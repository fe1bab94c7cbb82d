"""Watched variables: every write that changes one, with the instruction, the function and the thread that made it.

The emulator calls back at each store into the variable's memory, before it is made. What the system writes for the
program (into a buffer of `read`) is no store, and is not seen.

Invariant: `_MAX_WRITES` writes are kept of each variable, and all are counted.
"""

from __future__ import annotations

from gort.xray.ask.expression import Expression, Scope, Value
from gort.xray.ask.frames import callers
from gort.xray.emulate.process import Process
from gort.xray.errors import XrayError
from gort.xray.layout.layout import Layouts
from gort.xray.layout.state import StateReader
from gort.xray.record import field, frozen, record

_MAX_WRITES = 1000
_MAX_SIZE = 256
_MAX_CALLERS = 6
_WIDEST_STORE = 64


@frozen
class Write:
    """A store that changed the variable."""

    instructions: int
    """Instructions that the process had executed when the store's block was entered."""
    thread: int
    goroutine: int
    """Its number; 0 where there was none."""
    pc: int
    callers: list[str]
    """The function that stored, then those that called it."""
    old: int
    new: int


@record
class Watched:
    """A variable, and what was written into it."""

    text: str
    type: str
    address: int
    size: int
    writes: list[Write] = field(default_factory=list)
    changes: int = 0
    """Stores that changed it, those beyond `writes` among them."""
    unchanged: int = 0
    """Stores that wrote what was there."""


def watch(expression: Expression, scope: Scope, process: Process, state: StateReader, layouts: Layouts) -> Watched:
    """Have every write into a variable noted. Raises `XrayError` when the expression has no address yet."""
    try:
        value = expression.value()
    except XrayError as exc:
        raise XrayError(f"--watch {expression.text}: {exc}: watch a variable that is there from the start") from None
    size = value.type.size
    if value.address is None or not 0 < size <= _MAX_SIZE:
        raise XrayError(f"--watch {expression.text}: {_why_not(value)}")
    out = Watched(expression.text, value.type.name, value.address, size)
    start, end = value.address, value.address + size
    machine, symbols = process.machine, scope.symbols
    goid = layouts.offset("runtime.g", "goid")

    def store(address: int, length: int, number: int) -> None:
        lo, hi = max(address, start), min(address + length, end)
        if lo >= hi:
            return
        before = machine.read(start, size) or bytes(size)
        data = (number & (1 << 8 * length) - 1).to_bytes(length, "little")
        after = before[: lo - start] + data[lo - address : hi - address] + before[hi - start :]
        if before == after:
            out.unchanged += 1
            return
        out.changes += 1
        if len(out.writes) >= _MAX_WRITES:
            return
        g = state.current_g()
        user = state.goroutine(g)
        pc = machine.reg(machine.arch.pc)
        who = [symbols.describe(a) for a in callers(symbols, machine, layouts, user, pc)[:_MAX_CALLERS]]
        number_of = (machine.u64(user + goid) or 0) if user and goid is not None else 0
        old, new = int.from_bytes(before, "little"), int.from_bytes(after, "little")
        out.writes.append(Write(machine.instructions, process.current.tid, number_of, pc, who, old, new))

    machine.store_hook(store, start - _WIDEST_STORE, end - 1)
    return out


def _why_not(value: Value) -> str:
    if value.address is None:
        return "it is no variable, so nothing can be written into it"
    return f"{value.type.name} has {value.type.size} bytes, of which {_MAX_SIZE} can be watched: name a part of it"
