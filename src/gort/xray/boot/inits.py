"""What each package's init costs: instructions, allocations, bytes, system calls; measured where runtime.main runs them.

The linker makes a record for each package that has something to initialize (runtime.initTask): its state, and the
addresses of its functions, the first of which initializes the package's variables. runtime.doInit1 calls them, in Go 1.20
and older runtime.doInit, which initializes a package's imports first (runtime/proc.go). Each of these functions is
measured from its entry to its return, so what lies between them counts for nobody.

Instructions are those of the thread on which main runs; it is locked to that thread while the inits run. What other
threads do meanwhile (the collector) does not count. Allocations and bytes are the runtime's own numbers, those of
GODEBUG=inittrace=1, which Go has since 1.16: the run has that set, and its lines are taken out of the output.

Invariant: two runs with the same file, arguments and environment give the same numbers.

Rejected: counting calls of mallocgc. The compiler inlines it, calls it by other names, and each release by others.
"""

from __future__ import annotations

from gort.xray.emulate.process import Process
from gort.xray.file.pclntab import Func
from gort.xray.file.symbols import Symbols, package_of
from gort.xray.record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_FUNCTIONS = 100_000
_MAX_IMPORTS = 100_000
_LINE = rb"init (\S+) @[\d.]+ ms, [\d.]+ ms clock, (\d+) bytes, (\d+) allocs\n"


@record
class InitFunction:
    """One of a package's init functions, as it ran."""

    name: str
    instructions: int = 0
    syscalls: int = 0
    waited_ns: int = 0
    """Nanoseconds in which no thread had anything to do, until this one went on."""
    returned: bool = False


@record
class Init:
    """A package's init."""

    package: str
    functions: list[InitFunction] = field(default_factory=list)
    allocations: int | None = None
    """None where the Go that built the program does not count them."""
    bytes: int | None = None

    @property
    def instructions(self) -> int:
        """Instructions of all its functions."""
        return sum(f.instructions for f in self.functions)

    @property
    def syscalls(self) -> int:
        """System calls of all its functions."""
        return sum(f.syscalls for f in self.functions)

    @property
    def waited_ns(self) -> int:
        """Nanoseconds in which its functions waited."""
        return sum(f.waited_ns for f in self.functions)

    @property
    def returned(self) -> bool:
        """True when all its functions ran to their end."""
        return all(f.returned for f in self.functions)


@record
class _Running:
    """An init function that has not returned."""

    of: InitFunction
    thread: int
    sp: int
    instructions: int
    skipped: int


class InitMeter:
    """Measures the inits of one process."""

    def __init__(self, process: Process, symbols: Symbols) -> None:
        self.inits: list[Init] = []
        """In the order in which they ran."""
        self._process = process
        self._machine = process.machine
        self._symbols = symbols
        self._running: list[_Running] = []
        self._watched: set[int] = set()
        found = symbols.bodies("runtime.doInit1")
        self._deps = not found
        """True for the older record, which lists the package's imports."""
        self._runners = found or symbols.bodies("runtime.doInit")
        for func in self._runners:
            self._watch(func.entry, self._package)

    def _watch(self, address: int, callback: Callable[[int], None]) -> None:
        """Have `callback` called at an address, after what watches it already."""
        before = self._machine.watched_at(address)

        def both(at: int) -> None:
            if before is not None:
                before(at)
            callback(at)

        self._machine.watch_at(address, both)

    def _package(self, _address: int) -> None:
        """doInit is entered: its argument is in a register since Go 1.17 (amd64) or 1.18 (arm64), before on the stack."""
        m = self._machine
        register = m.arch.first_argument
        for task in (m.reg(register) if register else 0, m.pointer(m.reg(m.arch.sp) + m.arch.word)):
            functions = self._functions(task) if task else []
            if functions:
                init = Init(package_of(functions[0].name))
                self._begin(init, functions)
                return

    def _functions(self, task: int) -> list[Func]:
        """Returns the functions in a record; none where there is no record, or where it was initialized before."""
        m = self._machine
        word = m.arch.word
        raw = m.read(task, 24)
        if raw is None:
            return []
        if self._deps:
            state, imports, count = (int.from_bytes(raw[word * i : word * (i + 1)], "little") for i in range(3))
            first = task + word * (3 + imports)
        else:
            state, count, imports = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:8], "little"), 0
            first = task + 8
        if state or not 0 < count <= _MAX_FUNCTIONS or imports > _MAX_IMPORTS:
            return []
        out = []
        for i in range(count):
            pc = m.pointer(first + word * i)
            func = self._symbols.at(pc) if pc else None
            if func is None or func.entry != pc:
                return []
            out.append(func)
        return out

    def _begin(self, init: Init, functions: list[Func]) -> None:
        for func in functions:
            of = InitFunction(func.name)
            init.functions.append(of)
            if func.entry not in self._watched:
                self._watched.add(func.entry)
                self._watch(func.entry, lambda _at, init=init, of=of: self._enter(init, of))  # type: ignore[misc]

    def _enter(self, init: Init, of: InitFunction) -> None:
        """An init function is entered. The first entry from doInit counts: its stack may grow, and it may recurse."""
        m = self._machine
        sp = m.reg(m.arch.sp)
        back = m.reg(m.arch.link) if m.arch.link else m.pointer(sp) or 0
        caller = self._symbols.at(back)
        if of.returned or any(r.of is of for r in self._running) or caller is None:
            return
        if all(caller.entry != r.entry for r in self._runners):
            return
        if init not in self.inits:
            self.inits.append(init)
        skipped = self._process.clock.skipped
        top = sp if m.arch.link else sp + m.arch.word
        self._running.append(_Running(of, self._process.current.tid, top, self._process.own_instructions, skipped))
        if back not in self._watched:
            self._watched.add(back)
            self._watch(back, self._return)

    def _return(self, _address: int) -> None:
        """The code behind the call in doInit is reached."""
        if self._running and self._running[-1].thread == self._process.current.tid:
            self._leave(self._running.pop()).returned = True

    def _leave(self, running: _Running) -> InitFunction:
        of = running.of
        of.instructions = self._process.own_instructions - running.instructions
        of.waited_ns = self._process.clock.skipped - running.skipped
        return of

    def syscall(self) -> None:
        """The running thread makes a system call."""
        if self._running and self._running[-1].thread == self._process.current.tid:
            self._running[-1].of.syscalls += 1

    def finish(self, output: bytes) -> bytes:
        """End what is still open, and take the runtime's numbers out of the output. Returns the program's own output."""
        import re  # here, because only few runs need it

        for running in self._running:
            if running.thread == self._process.current.tid:
                self._leave(running)
            else:
                running.of.waited_ns = self._process.clock.skipped - running.skipped
        self._running.clear()
        waiting = {init.package: init for init in reversed(self.inits)}
        for m in re.finditer(_LINE, output):
            init = waiting.get(m[1].decode("utf-8", "replace"))
            if init is not None and init.allocations is None:
                init.bytes, init.allocations = int(m[2]), int(m[3])
        return re.sub(_LINE, b"", output)


def with_inittrace(env: list[str]) -> list[str]:
    """Returns an environment in which the runtime counts what the inits allocate."""
    before = [e.partition("=")[2] for e in env if e.startswith("GODEBUG=")]
    others = [e for e in env if not e.startswith("GODEBUG=")]
    return [*others, "GODEBUG=" + ",".join([*filter(None, before[-1:]), "inittrace=1"])]
