"""The calls that are open on a thread's stack: from the frame sizes that pclntab has for each instruction.

Follows runtime/traceback.go. On amd64 the return address is behind the frame; on arm64 it is at the frame's beginning, or
in R30 while a function has none. Where a goroutine called `systemstack`, its own stack goes on at `g.sched`.

Invariant: each frame lies above the one before, and there are at most `_MAX_FRAMES`; so a damaged stack ends the list.
"""

from __future__ import annotations

from gort.xray.emulate.machine import Machine
from gort.xray.file.symbols import Symbols
from gort.xray.layout.layout import Layouts

_MAX_FRAMES = 100
_MAX_FRAME_SIZE = 1 << 28
_TOP = ("runtime.goexit", "runtime.mstart", "runtime.rt0_go", "runtime.mcall", "_rt0_amd64", "_rt0_arm64")
"""Functions that nothing called, or that do not say who did."""


def callers(symbols: Symbols, machine: Machine, layouts: Layouts, g: int, pc: int) -> list[int]:
    """Returns where each open call is, the innermost first. `g` is the goroutine whose user code called the system stack.

    The first one is `pc`, at which the thread is. The others are addresses behind the calls.
    """
    arch, sp = machine.arch, machine.reg(machine.arch.sp)
    out = [pc]
    link = machine.reg(arch.link) if arch.link else 0
    while len(out) < _MAX_FRAMES:
        func = symbols.at(pc if len(out) == 1 else pc - 1)
        if func is None or func.name in _TOP:
            break
        if func.name == "runtime.systemstack" and g:
            user_sp, user_pc = _switched(machine, layouts, g)
            if not user_sp or not user_pc:
                break
            # The goroutine's stack was left in systemstack_switch, below the function that called it.
            size, g, link = symbols.tab.frame_size(user_pc) or 0, 0, 0
            pc = machine.pointer(user_sp if arch.link else user_sp + size) or 0
            sp = user_sp + size + (0 if arch.link else arch.word)
            if symbols.at(pc - 1) is None:
                break
            out.append(pc)
            continue
        frame = symbols.tab.frame_size(pc if len(out) == 1 else pc - 1)
        if frame is None or not 0 <= frame < _MAX_FRAME_SIZE:
            break
        if not arch.link:
            pc = machine.pointer(sp + frame) or 0
            sp += frame + arch.word
        else:
            pc = (machine.pointer(sp) or 0) if frame else link
            sp, link = sp + frame, 0
        if not pc or symbols.at(pc - 1) is None:
            break
        out.append(pc)
    return out


def _switched(machine: Machine, layouts: Layouts, g: int) -> tuple[int, int]:
    """Returns the stack pointer and pc that a goroutine had when its thread left its stack; 0 where it is not known."""
    sp, pc = layouts.offset("runtime.g", "sched.sp"), layouts.offset("runtime.g", "sched.pc")
    if sp is None or pc is None:
        return 0, 0
    return machine.pointer(g + sp) or 0, machine.pointer(g + pc) or 0
