"""The arguments of a function where it is entered, as `nprocs=3`: names and types from DWARF, values as Go passes them.

Follows internal/abi: since Go 1.17 (amd64) and 1.18 (arm64) arguments are in registers, in the order of their words; one
that does not fit into the registers that are left is on the stack. Functions in assembly, and the wrappers by which they
are called, take them on the stack, as all did before.

Invariant: an argument whose place is not known (a floating-point number, a part of an array) is left out.
"""

from __future__ import annotations

from gort.xray.ask.expression import Scope, Value, show
from gort.xray.errors import XrayError
from gort.xray.file.gotypes import BROKEN, Type

_REGISTERS = {
    "amd64": ("rax", "rbx", "rcx", "rdi", "rsi", "r8", "r9", "r10", "r11"),
    "arm64": tuple(f"x{i}" for i in range(16)),
    "riscv64": (*(f"a{i}" for i in range(8)), "s0", "s1", *(f"s{i}" for i in range(2, 8))),
}
_SINCE = {"amd64": 17, "arm64": 18, "riscv64": 19}
"""Processor -> the release (1.N) since which arguments are in registers; on 386 they never are."""
_WORDS = {"string": 2, "slice": 3, "interface": 2, "float": 0, "complex": 0}
"""Kind -> registers that a value takes; 0 where it takes another kind of register. All others take one."""
_MAX_TEXT = 200


class Arguments:
    """Reads the arguments of the function that is being entered."""

    def __init__(self, scope: Scope, minor: int | None) -> None:
        self._scope = scope
        arch = scope.symbols.image.arch
        self._registers = _REGISTERS.get(arch, ()) if minor is None or minor >= _SINCE.get(arch, 0) else ()
        self._word = scope.symbols.image.word
        self._parameters: dict[str, list[tuple[str, Type]]] = {}

    def text(self, address: int) -> str:
        """Returns the arguments of the function that begins at this address; empty without any, or without DWARF."""
        symbols = self._scope.symbols
        func = symbols.at(address)
        machine = self._scope.machine
        if func is None or machine is None:
            return ""
        try:
            parameters = self._parameters.get(func.name)
            if parameters is None:
                parameters = self._parameters[func.name] = self._scope.types.parameters(func.name)
            body = symbols.func(func.name)
            in_registers = body is not None and body.entry == address and not symbols.tab.is_assembly(func)
            free = list(self._registers) if in_registers else []
            at = (
                machine.reg(machine.arch.sp) + self._word
            )  # behind the return address, or the place for the link register
            out = []
            for name, kind in parameters:
                words = self._count(kind)
                if words is not None and 0 < words <= len(free):
                    numbers = [machine.reg(r) for r in free[:words]]
                    del free[:words]
                    out.append(f"{name}={self._from_registers(kind, numbers)}")
                elif words == 0 and free:
                    continue  # a floating-point register
                else:
                    align = min(self._word, max(1, kind.size & -kind.size))
                    at = -(-at // align) * align
                    out.append(f"{name}={show(self._scope, Value(kind, at), 1)}")
                    at += kind.size
        except (XrayError, *BROKEN):
            return ""
        return ", ".join(t if len(t) <= _MAX_TEXT else t[:_MAX_TEXT] + "…" for t in out)

    def _count(self, kind: Type) -> int | None:
        """Returns how many registers a value takes; None where it is passed on the stack, 0 for other registers."""
        if kind.kind == "struct":
            counts = [self._count(f.type) for f in self._scope.types.fields(kind) if f.type.size]
            return None if any(not c for c in counts) else sum(c or 0 for c in counts)
        if kind.kind == "array":
            return 0 if not kind.size else self._count(self._scope.types.element(kind)) if self._is_one(kind) else None
        return _WORDS.get(kind.kind, 1)

    def _is_one(self, kind: Type) -> bool:
        return self._scope.types.length(kind) == 1

    def _from_registers(self, kind: Type, numbers: list[int]) -> str:
        if kind.kind == "string":
            size = min(numbers[1], _MAX_TEXT)
            text = self._scope.read(numbers[0], size) if size else b""
            return repr(text.decode("utf-8", "replace"))
        if kind.kind == "slice":
            return f"len {numbers[1]} cap {numbers[2]} at {numbers[0]:#x}"
        texts = [show(self._scope, Value(kind if len(numbers) == 1 else _ANY, None, n)) for n in numbers]
        return texts[0] if len(texts) == 1 else "{" + ", ".join(texts) + "}"


_ANY = Type("uintptr", "uint", 8)
