"""The report for a terminal: the static facts, then the boot as a tree of stations.

Below a station is what it changed in the runtime's structures (pointers by name where they point at g0, m0 or a P), its
system calls, and the calls that the compiler inlined into it. Callees that say nothing about the boot (locks, allocation)
are gathered in one dim line, so that the tree can be read; `full` shows them all.
"""

from __future__ import annotations

from gort.xray.ask.watch import Watched
from gort.xray.boot.calltree import Node, call_tree
from gort.xray.boot.follow import Boot, Report, Static
from gort.xray.boot.stations import Station
from gort.xray.emulate.disasm import Disassembler
from gort.xray.errors import XrayError
from gort.xray.layout.globals import named
from gort.xray.layout.layout import g_status, p_status
from gort.xray.show.paper import Paper, Tree, blue, bold, cyan, dim, green, italic, magenta, plain, yellow
from gort.xray.systems.calls import BLOCKED, REPLACED

_MAX_CHANGES = 12
_MAX_REPEATS = 6
"""Further calls of a station that are shown."""
_MAX_CHANGES_OF_REPEAT = 6
_MAX_SYSCALLS = 3
_MAX_DEPENDENCIES = 8
_MAX_OUTPUT = 4000
_WORD = 8
_MAX_WRITES = 100
"""Changes of a watched variable that are shown."""
_REGISTER = "register "
"""Precedes a register's name among a station's changes."""
_SHOWN_REGISTERS = {_REGISTER + name for name in ("rsp", "sp", "fs_base", "tpidr_el0", "r14", "x28")}
_CODE_LINES = 16
_ALL_CODE_LINES = 200
_ALL_CODE_OF = ("runtime.rt0_go", "runtime.settls")
"""Functions whose code `--disasm` shows as a whole."""
_SMALL = 1 << 16
"""Numbers from here on are shown in hexadecimal."""
_ARGUMENTS = {
    "arch_prctl": 2,
    "mmap": 6,
    "mmap2": 6,
    "munmap": 2,
    "gettid": 0,
    "getpid": 0,
    "futex": 4,
    "futex_time64": 4,
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
"""System call -> how many arguments are shown, where it is not three."""
_ENDS = {
    "until": "stopped",
    "steps": "stopped",
    "deadlock": "stuck",
    "fault": "crashed",
    "killed": "killed",
    "unsupported": "stopped",
    "bound": "stopped",
}
"""The end of a boot -> the word for it."""


class Namer:
    """Writes values of one boot so that a reader knows them: a pointer by what it points at, a status by its name."""

    def __init__(self, boot: Boot) -> None:
        self._names: dict[int, str] = {}
        g = boot.globals
        for address, name in ((g.g0, "&g0"), (g.m0, "&m0"), (g.sched, "&sched")):
            if address:
                self._names[address] = name
        for i, p in enumerate(boot.state.get("allp", [])):
            if p.get("address"):
                self._names.setdefault(p["address"], f"allp[{i}]")
        tls = (boot.state.get("m0", {}).get("tls") or {}).get("address")
        if tls:
            self._names[tls] = "&m0.tls"
            self._names[tls + 8] = "&m0.tls+8"
        gsignal = boot.snapshot.get("m0.gsignal")
        if gsignal:
            self._names[gsignal] = "gsignal of m0"

    def value(self, key: str, value: int | None) -> str:
        """Returns the text for the value of a field or register."""
        if value is None:
            return "–"
        if key.endswith("atomicstatus"):
            return g_status(value)
        if key.endswith("].status"):
            return p_status(value)
        name = self._names.get(value)
        if name is not None:
            return f"{value:#x} ({name})"
        if key.startswith(_REGISTER) or "tls" in key or value >= _SMALL:
            return f"{value:#x}"
        return str(value)


def _size(n: int) -> str:
    return f"{n:,} bytes" if n < 1 << 20 else f"{n / (1 << 20):.1f} MiB"


def static_text(static: Static, console: Paper) -> None:
    """Print the static facts."""
    image = static.image
    for key, value in _facts(static):
        console.print(f"{bold(f'{key:>11}')}  {plain(value)}", wrap=False)
    console.print(
        f"{bold('      entry')}  {f'{image.entry - image.bias:#x} ' if image.entry else ''}{plain(static.entry_name)}"
        + (f" (loaded {image.bias:#x} higher)" if image.bias else ""),
    )
    for s in image.sections:
        if "A" in s.flags and s.size:
            start = s.address - image.bias
            console.print(f"             {start:#018x} - {start + s.size:#018x} is {plain(s.name)}")


def _facts(static: Static) -> list[tuple[str, str]]:
    image, build, tab = static.image, static.build, static.symbols.tab
    if build is None:
        version = f"{tab.shape.releases}, by its pclntab; --go-version says which"
    else:
        version = build.version + (f" (from {build.source})" if build.source else "")
    rows = [
        ("file", f"{image.path}, {_size(image.file_size or image.size)}"),
        ("format", f"{image.format}, {image.os}/{image.arch}" + (", position-independent" if image.pie else "")),
        ("Go", version + (f", module {build.module}" if build and build.module else "")),
    ]
    if build and build.settings:
        rows.append(("built with", " ".join(f"{k}={v}" for k, v in build.settings.items() if v)))
    if build and build.dependencies:
        shown, rest = build.dependencies[:_MAX_DEPENDENCIES], len(build.dependencies) - _MAX_DEPENDENCIES
        rows.append(("needs", ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")))
    if image.interpreter or image.libraries:
        rows.append(("loaded by", ", ".join(filter(None, (image.interpreter, *image.libraries)))))
    table = "no symbol table (stripped)" if static.symbols.stripped else "symbol table"
    dwarf = "DWARF" if any("debug_info" in s.name for s in image.sections) else "no DWARF"
    if image.others:
        rows.append(("also for", f"{', '.join(image.others)} (--arch)"))
    rows.append(("functions", f"{tab.nfuncs:,} in pclntab at {tab.address - image.bias:#x}; {table}, {dwarf}"))
    return rows


def calls_text(static: Static, console: Paper) -> None:
    """Print the boot's calls as the code has them; where it cannot be read, the reason."""
    try:
        root = call_tree(static.symbols, Disassembler(static.symbols))
    except XrayError as exc:
        console.print(yellow(plain(str(exc))))
        return
    if root is None:
        console.print(
            "nothing in it starts a program"
            if static.image.library
            else f"no function is known at the entry point {static.image.entry:#x}"
        )
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
    """Returns a system call as `arch_prctl(0x1002, 0x577448) = 0`."""
    shown = ", ".join(str(a) if a < 4096 else f"{a:#x}" for a in args[: _ARGUMENTS.get(name, 3)])
    call = f"{name}({shown})"
    if result == BLOCKED:
        return f"{call} waits"
    if result == REPLACED:
        return call
    return f"{call} = {result}" if -4096 < result < _SMALL else f"{call} = {result:#x}"


def _label(s: Station) -> str:
    times = f" ×{s.times}" if s.times > 1 else ""
    left = "" if s.returned or s.end is None else " " + dim("(did not return)")
    facts = f"{s.address:#x} {plain(s.where)} · {s.instructions:,} instructions · thread {s.thread}"
    head = f"{bold(plain(s.name))}{times} {dim(facts)}{left}"
    return head + ("\n" + italic(plain(s.story)) if s.story else "")


def _details(s: Station, namer: Namer, leaf: bool, full: bool) -> list[str]:
    """Returns the lines below a station; a `leaf` has no station below it. `full` leaves no change out."""
    out = []
    if s.arguments:
        out.append(cyan(plain(f"({s.arguments})")))
    if s.note:
        out.append(yellow(plain(s.note)))
    out += _changes(s, namer, leaf, full)
    out += _repeats(s, namer, full)
    for call in s.syscalls[:_MAX_SYSCALLS]:
        out.append(cyan(plain(syscall_text(*call))))
    if s.syscall_count > _MAX_SYSCALLS:
        kinds: dict[str, int] = {}
        for name, _, _ in s.syscalls[_MAX_SYSCALLS:]:
            kinds[name] = kinds.get(name, 0) + 1
        rest = ", ".join(f"{n} ×{c}" if c > 1 else n for n, c in kinds.items())
        out.append(cyan(f"and {s.syscall_count - _MAX_SYSCALLS} system calls more: {plain(rest)}"))
    if s.inlined:
        out.append(dim("inlined into it: " + plain(", ".join(n.removeprefix("runtime.") for n in s.inlined))))
    return out


def _repeats(s: Station, namer: Namer, full: bool) -> list[str]:
    """Returns a line for each further call that changed something."""
    shown = s.repeats if full else s.repeats[:_MAX_REPEATS]
    out = []
    for visit in shown:
        fields = [f"{k}: {namer.value(k, old)} → {namer.value(k, new)}" for k, (old, new) in visit.changed.items()]
        kept = fields if full else fields[:_MAX_CHANGES_OF_REPEAT]
        more = f", and {len(fields) - len(kept)} more" if len(fields) > len(kept) else ""
        out.append(green(f"call {visit.number}: ") + plain(", ".join(kept) + more))
    left = len(s.repeats) - len(shown) + s.repeats_left_out
    if left:
        out.append(dim(f"and {left} further calls that changed something"))
    return out


def _changes(s: Station, namer: Namer, leaf: bool, full: bool) -> list[str]:
    # A function that did not return counts all changes since as its own; the stations below it show them.
    told = s.changed if s.returned or leaf else s.early
    fields = [(k, v) for k, v in told.items() if not k.startswith(_REGISTER)]
    registers = [(k, v) for k, v in told.items() if k in _SHOWN_REGISTERS]
    if s.returned:  # the return address was popped, which every call does
        registers = [(k, (old, new)) for k, (old, new) in registers if k != "register rsp" or new != (old or 0) + 8]
    changes = fields + registers
    out = []
    limit = len(changes) if full else _MAX_CHANGES
    for key, (old, new) in changes[:limit]:
        out.append(f"{green(plain(key))}: {plain(namer.value(key, old))} → {plain(namer.value(key, new))}")
    if len(changes) > limit:
        out.append(dim(f"and {len(changes) - limit} changes more (--full shows them)"))
    return out


class _BootTree:
    """Makes the tree of stations."""

    def __init__(self, report: Report, boot: Boot, disasm: bool, full: bool) -> None:
        self._boot = boot
        self._symbols = report.static.symbols
        self._code = Disassembler(self._symbols) if disasm else None
        self._full = full
        self._namer = Namer(boot)
        self._variables = named(boot.globals, boot.layouts)
        self._children: dict[int | None, list[Station]] = {}
        for s in boot.stations:
            self._children.setdefault(s.parent, []).append(s)
        self._apart: list[Station] = []
        """Stations in which a thread or a goroutine begins: they are shown at the end, each by itself."""

    def tree(self) -> Tree:
        """Returns the whole tree."""
        root = Tree(bold("the boot") + ", as emulated")
        self._add(root, self._children.get(None, []))
        for s in self._apart:  # grows while it is read
            node = root.add(magenta(_beginning(s))).add(_label(s))
            self._fill(node, s)
        return root

    def _is_quiet(self, s: Station) -> bool:
        """True when the station is shown with its name alone."""
        return not (self._full or s.story or s.note or self._children.get(s.index) or not s.function)

    def _add(self, parent: Tree, stations: list[Station]) -> None:
        """Hang stations below a node; quiet ones that follow each other share a line."""
        quiet: list[str] = []

        def flush() -> None:
            if quiet:
                parent.add(dim(plain(", ".join(quiet))))
                quiet.clear()

        for s in stations:
            if s.parent is not None and _begins(s, self._boot.stations[s.parent]):
                flush()
                parent.add(magenta(f"{_beginning(s)} goes on below"))
                self._apart.append(s)
            elif self._is_quiet(s):
                quiet.append(s.name.removeprefix("runtime.") + (f" ×{s.times}" if s.times > 1 else ""))
            else:
                flush()
                node = parent.add(_label(s))
                self._fill(node, s, code=True)
        flush()

    def _fill(self, node: Tree, s: Station, code: bool = False) -> None:
        """Hang below a station's node what there is to say about it, and the stations below it."""
        children = self._children.get(s.index, [])
        for line in _details(s, self._namer, not children, self._full):
            node.add(line)
        func = self._symbols.at(s.address) if code and self._code is not None and s.function else None
        if func is not None and self._code is not None:
            limit = _ALL_CODE_LINES if s.name in _ALL_CODE_OF else _CODE_LINES
            lines: list[str] = []
            last = ""
            for address, instruction, name in self._code.text(func, limit, self._variables):
                where = self._symbols.where(address)
                if where and where != last:
                    lines.append(f"{where}:")
                last = where
                lines.append(f"{address:#x}  {instruction}" + (f"  ; {name}" if name else ""))
            node.add(blue(plain("\n".join(lines))))
        self._add(node, children)


def _begins(s: Station, parent: Station) -> bool:
    """True when a thread or a goroutine begins in this station, and nothing called it."""
    return s.thread != parent.thread or parent.name == "runtime.gogo"


def _beginning(s: Station) -> str:
    if s.name == "runtime.mstart":
        return f"thread {s.thread}"
    return f"the goroutine of {plain(s.name)}, on thread {s.thread},"


def boot_text(report: Report, boot: Boot, console: Paper, disasm: bool = False, full: bool = False) -> None:
    """Print the boot: with `disasm` each station's code, with `full` every call as a station of its own."""
    console.tree(_BootTree(report, boot, disasm, full).tree())
    summary(boot, console)


def summary(boot: Boot, console: Paper) -> None:
    """Print how the run ended, what it took, and what was asked of it."""
    how = f"the program ended with status {boot.status}" if boot.how == "exit" else _ENDS[boot.how]
    console.print(
        f"{bold(how)}: {plain(boot.detail)}; {boot.instructions:,} instructions, {boot.syscalls} system calls, "
        f"{boot.threads} threads, {_size(boot.memory)} of memory"
        + (f", {boot.skipped_ns / 1e6:.3f} ms of waiting skipped" if boot.skipped_ns else ""),
        wrap=False,
    )
    if boot.libraries:
        console.print(dim(f"libraries that were read: {plain(', '.join(path for path, _ in boot.libraries))}"))
    if boot.unknown_syscalls:
        console.print(
            yellow(f"system calls that were refused (ENOSYS): {plain(', '.join(boot.unknown_syscalls))}"),
        )
    console.print(
        dim(f"layouts: {plain(boot.layouts.source)}; addresses of g0, m0, sched: {plain(boot.globals.source)}"),
        wrap=False,
    )
    n = boot.snapshot
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
    for p in boot.printed:
        console.print(
            f"{bold(plain(p.text))} = {plain(p.value)}" + (f" {dim(plain(p.type))}" if p.type else ""), wrap=False
        )
    for watched in boot.watched:
        _writes(watched, Namer(boot), console)
    if boot.output:
        text = boot.output.decode("utf-8", "replace")
        console.print(f"{bold('it wrote')}: {plain(text[:_MAX_OUTPUT].rstrip())}", wrap=False)


def _words(w: Watched, namer: Namer, old: int, new: int) -> list[str]:
    """Returns the change of a watched variable, word by word where it has several."""
    if w.size <= _WORD:
        signed = 1 << 8 * w.size - 1 if w.type.startswith("int") else 0
        values = [v - 2 * signed if signed and v >= signed else v for v in (old, new)]
        return [f"{namer.value(w.text, values[0])} → {namer.value(w.text, values[1])}"]
    mask, out = (1 << 8 * _WORD) - 1, []
    for i in range(0, w.size, _WORD):
        a, b = old >> 8 * i & mask, new >> 8 * i & mask
        if a != b:
            out.append(f"+{i}: {namer.value(w.text, a)} → {namer.value(w.text, b)}")
    return out


def _writes(w: Watched, namer: Namer, console: Paper) -> None:
    """Print who wrote a watched variable."""
    title = f"{bold(plain(w.text))} {dim(plain(f'{w.type}, at {w.address:#x}'))}: {w.changes:,} changes"
    console.print(title + (f", and {w.unchanged:,} writes of what was there" if w.unchanged else ""))
    for x in w.writes[:_MAX_WRITES]:
        values = ", ".join(_words(w, namer, x.old, x.new))
        who = f"goroutine {x.goroutine} on thread {x.thread}" if x.goroutine else f"thread {x.thread}"
        console.print(
            f"  {x.instructions:>12,}  {green(plain(values))}  {plain(x.callers[0])} {dim(plain(f'on {who}'))}"
            + dim("".join(f", called by {c}" if i == 0 else f", {c}" for i, c in enumerate(map(plain, x.callers[1:])))),
            wrap=False,
        )
    if w.changes > _MAX_WRITES:
        console.print(dim(f"  and {w.changes - _MAX_WRITES:,} changes more"))


def print_report(report: Report, console: Paper, disasm: bool = False, full: bool = False) -> None:
    """Print everything: static facts, then the boot, or the calls in the code where nothing was emulated."""
    static_text(report.static, console)
    console.print()
    if report.boot is None:
        if report.why_no_boot:
            console.print(yellow(plain(report.why_no_boot)))
        calls_text(report.static, console)
        return
    boot_text(report, report.boot, console, disasm, full)
