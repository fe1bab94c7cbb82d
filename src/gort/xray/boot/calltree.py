"""The boot as the code tells it, without running anything: which functions rt0_go, schedinit and their like call.

Used for `--static` and for systems that are not emulated. Calls are found by disassembly, in the order of the code.
Calls that the compiler inlined are taken from the inline tables of pclntab, and are marked. Where an indirect call leads
is not known, so it is left out.

Invariant: a function is opened once, and no deeper than `_DEPTH`. So recursion and shared callees cannot make the tree
large.
"""

from __future__ import annotations

from gort.xray.emulate.disasm import Disassembler
from gort.xray.file.pclntab import Func
from gort.xray.file.symbols import Symbols
from gort.xray.record import field, record

_DEPTH = 6
_NOISE = (
    "runtime.morestack",
    "runtime.panic",
    "runtime.goPanic",
    "runtime.gcWriteBarrier",
    "runtime.duff",
    "runtime.throw",
    "runtime.deferreturn",
    "runtime.sigpanic",
    "runtime.fatal",
    "runtime.badsystemstack",
)
"""Prefixes of callees that are left out."""

_OPENED = (
    "_rt0_amd64",
    "_rt0_arm64",
    "_rt0_riscv64",
    "_rt0_386",
    "main",
    "runtime.rt0_go",
    "runtime.osinit",
    "runtime.schedinit",
    "runtime.mcommoninit",
    "runtime.procresize",
    "runtime.newproc",
    "runtime.newproc1",
    "runtime.newproc.func1",
    "runtime.mstart",
    "runtime.mstart0",
    "runtime.mstart1",
    "runtime.main",
    "runtime.main.func1",
    "wasm_export_run",
    "runtime.wintls",
    "runtime.libpreinit",
    "runtime.mstart_stub",
    "runtime.libInit",
    "runtime.rt0_lib_go",
)
"""Functions whose calls are shown."""


@record
class Node:
    """A function that is called, and what it calls."""

    name: str
    address: int
    """Of the function, or of the first instruction of an inlined call."""
    where: str = ""
    """Its place in the source."""
    inlined: bool = False
    times: int = 1
    children: list[Node] = field(default_factory=list)


def call_tree(symbols: Symbols, disasm: Disassembler, root: Func | None = None) -> Node | None:
    """Returns the tree below `root`, or below the entry point; None when no function is there. Raises `XrayError`.

    Where C's startup code is the entry, the tree begins with rt0_go, to which that code comes.
    """
    func = root or symbols.at(symbols.image.entry) or symbols.func("runtime.rt0_go")
    if func is None:
        return None
    opened: set[str] = set()
    return _node(func, symbols, disasm, opened, 0)


def _node(func: Func, symbols: Symbols, disasm: Disassembler, opened: set[str], depth: int) -> Node:
    body = symbols.func(func.name) or func
    node = Node(func.name, body.entry, symbols.where(body.entry))
    wanted = depth == 0 or func.name in _OPENED or func.name.startswith("_rt0")
    if depth >= _DEPTH or func.name in opened or not wanted:
        return node
    opened.add(func.name)
    items: list[tuple[int, Node]] = []
    for candidate in symbols.bodies(func.name):
        for call in disasm.calls(candidate):
            callee = symbols.at(call.target) if call.target is not None else None
            if callee is None or callee.name.startswith(_NOISE) or callee.name == func.name:
                continue
            items.append((call.address, _node(callee, symbols, disasm, opened, depth + 1)))
        for ref in disasm.refs(candidate):
            # newproc hands its work to systemstack as a closure: the closure's code belongs into the tree. So does the
            # function in which a shared library's own thread begins.
            closure = symbols.at(ref.target) if ref.mnemonic == "lea" else None
            started = ("_rt0_", "runtime.rt0_go", "runtime.rt0_lib_go", func.name + ".func")
            if closure is not None and closure.entry == ref.target and closure.name.startswith(started):
                items.append((ref.address, _node(closure, symbols, disasm, opened, depth + 1)))
    for name, address in symbols.tab.inlined(body):
        items.append((address, Node(name, address, inlined=True)))
    for _, child in sorted(items, key=lambda i: i[0]):
        same = next((c for c in node.children if c.name == child.name and c.inlined == child.inlined), None)
        if same is None:
            node.children.append(child)
        else:
            same.times += 1
            same.children = same.children or child.children
    return node
