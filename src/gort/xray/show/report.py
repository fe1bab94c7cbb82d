"""The report for a terminal: the static facts, then the boot as a tree of stations.

Below a station: what it changed in the runtime's structures (pointers by name where they point at g0, m0 or a P), its
system calls, the calls the compiler inlined into it. Callees that say nothing of the boot (locks, allocation) are
gathered in one dim line, so that the tree can be read; `full` shows them all.
"""

from __future__ import annotations

from gort.xray.boot.calltree import Node, call_tree
from gort.xray.boot.follow import Boot, Report, Static
from gort.xray.boot.stations import Station
from gort.xray.emulate.disasm import Disassembler
from gort.xray.layout.layout import g_status, p_status
from gort.xray.show.paper import Paper, Tree, blue, bold, cyan, dim, green, italic, magenta, plain, yellow
from gort.xray.systems.calls import BLOCKED, REPLACED

_MAX_CHANGES = 12
_HIDDEN = ("register ",)
_INTERESTING = ("register rsp", "register sp", "register fs_base", "register tpidr_el0", "register r14", "register x28")


class Namer:
    """Writes a value as a reader would say it: a pointer by what it points at, a status by its name."""

    def __init__(self, boot: Boot) -> None:
        self.names: dict[int, str] = {}
        g = boot.globals
        for address, name in ((g.g0, "&g0"), (g.m0, "&m0"), (g.sched, "&sched")):
            if address:
                self.names[address] = name
        for i, p in enumerate(boot.state.get("allp", [])):
            if p.get("address"):
                self.names.setdefault(p["address"], f"allp[{i}]")
        tls = (boot.state.get("m0", {}).get("tls") or {}).get("address")
        if tls:
            self.names[tls] = "&m0.tls"
            self.names[tls + 8] = "&m0.tls+8"
        gsignal = boot.snapshot.get("m0.gsignal")
        if gsignal:
            self.names[gsignal] = "gsignal of m0"

    def value(self, key: str, value: int | None) -> str:
        if value is None:
            return "–"
        if key.endswith("atomicstatus"):
            return g_status(value)
        if key.endswith("].status"):
            return p_status(value)
        name = self.names.get(value)
        if name is not None:
            return f"{value:#x} ({name})"
        if key.startswith("register ") or "tls" in key or value >= 1 << 16:
            return f"{value:#x}"
        return str(value)


def _size(n: int) -> str:
    return f"{n:,} bytes" if n < 1 << 20 else f"{n / (1 << 20):.1f} MiB"


def static_text(static: Static, console: Paper) -> None:
    image, build, tab = static.image, static.build, static.symbols.tab
    dwarf = any("debug_info" in s.name for s in image.sections)
    rows = [
        ("file", f"{image.path}, {_size(image.size)}"),
        ("format", f"{image.format}, {image.os}/{image.arch}" + (", position-independent" if image.pie else "")),
        (
            "Go",
            (build.version if build else "version unknown")
            + (f", module {build.module}" if build and build.module else ""),
        ),
    ]
    if build and build.settings:
        rows.append(("built with", " ".join(f"{k}={v}" for k, v in build.settings.items() if v)))
    if build and build.dependencies:
        rows.append(
            (
                "needs",
                ", ".join(build.dependencies[:8])
                + (f" and {len(build.dependencies) - 8} more" if len(build.dependencies) > 8 else ""),
            )
        )
    if image.interpreter or image.libraries:
        rows.append(("loaded by", ", ".join(filter(None, (image.interpreter, *image.libraries)))))
    rows.append(
        (
            "functions",
            f"{tab.nfuncs:,} in pclntab at {tab.address - image.bias:#x}; "
            f"{'no symbol table (stripped)' if static.symbols.stripped else 'symbol table'}, "
            f"{'DWARF' if dwarf else 'no DWARF'}",
        )
    )
    for key, value in rows:
        console.print(f"{bold(f'{key:>11}')}  {plain(value)}", wrap=False)
    console.print(
        f"{bold('      entry')}  {image.entry - image.bias:#x} {plain(static.entry_name)}"
        + (f" (loaded {image.bias:#x} higher)" if image.bias else ""),
    )
    for s in image.sections:
        if "A" in s.flags and s.size:
            start = s.address - image.bias
            console.print(f"             {start:#018x} - {start + s.size:#018x} is {plain(s.name)}")


def calls_text(static: Static, console: Paper) -> None:
    root = call_tree(static.symbols, Disassembler(static.symbols))
    if root is None:
        console.print(f"no function is known at the entry point {static.image.entry:#x}")
        return

    def add(tree: Tree, node: Node) -> None:
        for child in node.children:
            times = f" ×{child.times}" if child.times > 1 else ""
            if child.inlined:
                tree.add(dim(f"{plain(child.name)}{times} (inlined)"))
            else:
                add(tree.add(f"{plain(child.name)}{times} {dim(f'{child.address:#x} {plain(child.where)}')}"), child)

    title = "the boot's calls, from the code"
    tree = Tree(f"{bold(title)}: {plain(root.name)} {dim(f'{root.address:#x} {plain(root.where)}')}")
    add(tree, root)
    console.tree(tree)


def syscall_text(name: str, args: tuple[int, ...], result: int) -> str:
    shown = ", ".join(str(a) if a < 4096 else f"{a:#x}" for a in args[: _ARGS.get(name, 3)])
    value = (
        "waits"
        if result == BLOCKED
        else ""
        if result == REPLACED
        else f" = {result}"
        if -4096 < result < 1 << 16
        else f" = {result:#x}"
    )
    return f"{name}({shown}){' ' + value if value == 'waits' else value}"


_ARGS = {
    "arch_prctl": 2,
    "mmap": 6,
    "munmap": 2,
    "gettid": 0,
    "getpid": 0,
    "futex": 4,
    "clone": 5,
    "rt_sigaction": 4,
    "rt_sigprocmask": 4,
    "exit_group": 1,
    "exit": 1,
    "sched_yield": 0,
    "sigaltstack": 2,
    "clock_gettime": 2,
    "nanosleep": 1,
    "close": 1,
}


def _label(s: Station) -> str:
    times = f" ×{s.times}" if s.times > 1 else ""
    open_ = "" if s.returned or s.end is None else " " + dim("(did not return)")
    facts = f"{s.address:#x} {plain(s.where)} · {s.instructions:,} instructions · thread {s.thread}"
    head = f"{bold(plain(s.name))}{times} {dim(facts)}{open_}"
    return head + ("\n" + italic(plain(s.story)) if s.story else "")


def _details(s: Station, namer: Namer, leaf: bool) -> list[str]:
    out = []
    if s.note:
        out.append(yellow(plain(s.note)))
    # What did not return changed everything that happened since: that is told below it.
    told = s.changed if s.returned or leaf else s.early
    changes = [(k, v) for k, v in told.items() if not k.startswith(_HIDDEN) or k in _INTERESTING]
    if s.returned:  # the return address was popped: true of every call
        changes = [(k, (old, new)) for k, (old, new) in changes if k != "register rsp" or new != (old or 0) + 8]
    changes = [c for c in changes if not c[0].startswith("register")] + [
        c for c in changes if c[0].startswith("register")
    ]
    for key, (old, new) in changes[:_MAX_CHANGES]:
        out.append(f"{green(plain(key))}: {plain(namer.value(key, old))} → {plain(namer.value(key, new))}")
    if len(changes) > _MAX_CHANGES:
        out.append(dim(f"and {len(changes) - _MAX_CHANGES} changes more"))
    for call in s.syscalls[:3]:
        out.append(cyan(plain(syscall_text(*call))))
    if s.syscall_count > 3:
        kinds: dict[str, int] = {}
        for name, _, _ in s.syscalls[3:]:
            kinds[name] = kinds.get(name, 0) + 1
        rest = ", ".join(f"{n} ×{c}" if c > 1 else n for n, c in kinds.items())
        out.append(cyan(f"and {s.syscall_count - 3} system calls more: {plain(rest)}"))
    if s.inlined:
        out.append(dim("inlined into it: " + plain(", ".join(n.removeprefix("runtime.") for n in s.inlined))))
    return out


def boot_text(report: Report, boot: Boot, console: Paper, disasm: bool = False, full: bool = False) -> None:
    namer = Namer(boot)
    children: dict[int | None, list[Station]] = {}
    for s in boot.stations:
        children.setdefault(s.parent, []).append(s)
    code = Disassembler(report.static.symbols) if disasm else None
    tree = Tree(bold("the boot") + ", as emulated")
    apart: list[Station] = []

    def quiet(s: Station) -> bool:
        return not (full or s.story or s.note or children.get(s.index) or not s.function)

    def add(parent: Tree, items: list[Station]) -> None:
        small: list[str] = []

        def flush() -> None:
            if small:
                parent.add(dim(plain(", ".join(small))))
                small.clear()

        for s in items:
            if s.parent is not None and _begins(s, boot.stations[s.parent]):
                flush()
                parent.add(magenta(f"{_beginning(s)} goes on below"))
                apart.append(s)
                continue
            if quiet(s):
                small.append(s.name.removeprefix("runtime.") + (f" ×{s.times}" if s.times > 1 else ""))
                continue
            flush()
            node = parent.add(_label(s))
            for line in _details(s, namer, not children.get(s.index)):
                node.add(line)
            if code is not None and s.function:
                func = report.static.symbols.at(s.address)
                if func is not None:
                    _code(
                        node, code.text(func, 200 if s.name in ("runtime.rt0_go", "runtime.settls") else 16), func.end
                    )
            add(node, children.get(s.index, []))
        flush()

    add(tree, children.get(None, []))
    for s in apart:  # grows while it is read
        s_node = tree.add(magenta(_beginning(s)))
        node = s_node.add(_label(s))
        for line in _details(s, namer, not children.get(s.index)):
            node.add(line)
        add(node, children.get(s.index, []))
    console.tree(tree)
    summary(boot, console)


def _begins(s: Station, parent: Station) -> bool:
    """Whether a thread or a goroutine begins in this station: nothing called it."""
    return s.thread != parent.thread or parent.name == "runtime.gogo"


def _beginning(s: Station) -> str:
    return (
        f"thread {s.thread}"
        if s.name == "runtime.mstart"
        else f"the goroutine of {plain(s.name)}, on thread {s.thread},"
    )


def _code(node: Tree, lines: list[tuple[int, str, str]], end: int) -> None:
    text = "\n".join(f"{a:#x}  {insn}" + (f"  ; {comment}" if comment else "") for a, insn, comment in lines)
    node.add(blue(plain(text)))


def summary(boot: Boot, console: Paper) -> None:
    n = boot.snapshot
    how = {
        "until": "stopped",
        "exit": f"the program ended with status {boot.status}",
        "steps": "stopped",
        "deadlock": "stuck",
        "fault": "crashed",
        "killed": "killed",
        "unsupported": "stopped",
        "bound": "stopped",
    }.get(boot.how, boot.how)
    console.print(
        f"{bold(how)}: {plain(boot.detail)}; {boot.instructions:,} instructions, {boot.syscalls} system calls, "
        f"{boot.threads} threads, {_size(boot.memory)} of memory"
        + (f", {boot.skipped_ns / 1e6:.3f} ms of waiting skipped" if boot.skipped_ns else ""),
        wrap=False,
    )
    if boot.unknown_syscalls:
        console.print(
            yellow(f"system calls that were refused (ENOSYS): {plain(', '.join(boot.unknown_syscalls))}"),
        )
    console.print(
        dim(f"layouts: {plain(boot.layouts.source)}; addresses of g0, m0, sched: {plain(boot.globals.source)}"),
        wrap=False,
    )
    if "g0.stack.lo" in n:
        lo, hi = n["g0.stack.lo"], n["g0.stack.hi"]
        console.print(
            f"g0.stack {lo:#x} to {hi:#x} ({hi - lo:,} bytes), stackguard0 = lo + {n.get('g0.stackguard0', lo) - lo}",
        )
    facts = [
        f"{label} {n[key]}"
        for label, key in (
            ("ncpu", "ncpu"),
            ("GOMAXPROCS", "gomaxprocs"),
            ("Ps in allp:", "len(allp)"),
            ("maxmcount", "sched.maxmcount"),
        )
        if key in n
    ]
    if facts:
        console.print(", ".join(facts))
    if boot.output:
        text = boot.output.decode("utf-8", "replace")
        console.print(f"{bold('it wrote')}: {plain(text[:4000].rstrip())}", wrap=False)


def print_report(report: Report, console: Paper, disasm: bool = False, full: bool = False) -> None:
    static_text(report.static, console)
    console.print()
    if report.boot is None:
        if report.why_no_boot:
            console.print(yellow(plain(report.why_no_boot)))
        calls_text(report.static, console)
        return
    boot_text(report, report.boot, console, disasm, full)
