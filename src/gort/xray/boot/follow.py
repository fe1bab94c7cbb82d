"""`xray(path)`: the whole examination of one file, from its headers to the end of its emulated boot.

The command, the benchmark and the tests call this. It prints nothing. The static part (`examine`) and the emulation
(`follow`) are separate: the static part works for every system, and has to be quick for large files.
"""

from __future__ import annotations

import os

from gort.xray.ask.arguments import Arguments
from gort.xray.ask.expression import Expression, Scope, show
from gort.xray.ask.watch import Watched, watch
from gort.xray.boot.inits import Init, InitMeter, with_inittrace
from gort.xray.boot.recorder import Recorder
from gort.xray.boot.stations import Event, Station
from gort.xray.emulate.arch import ARCHES
from gort.xray.emulate.clock import Clock
from gort.xray.emulate.disasm import Disassembler
from gort.xray.emulate.machine import Machine
from gort.xray.emulate.native import preload
from gort.xray.emulate.process import Ended, Process
from gort.xray.errors import XrayError
from gort.xray.file.gobuild import BuildInfo, find_version, read_buildinfo, why_not_go
from gort.xray.file.image import Image
from gort.xray.file.open import load
from gort.xray.file.symbols import Symbols
from gort.xray.layout.globals import Globals, find_globals
from gort.xray.layout.layout import Layouts, find_layouts
from gort.xray.layout.state import Snapshot, StateReader
from gort.xray.record import field, frozen, record
from gort.xray.systems.sysroot import Sysroot
from gort.xray.systems.system import System

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from gort.xray.emulate.process import How

DEFAULT_STEPS = 1_000_000_000
DEFAULT_MEMORY = 512 << 20
EMULATED = ("linux", "darwin", "windows")
OLDEST_GO = 15
"""The oldest release (1.N) whose files are read."""
_MAX_CPUS = 1024


@record
class Options:
    """Options of `follow`."""

    until: str = "main.main"
    """Where to stop: a function, an address (0x…), a line (hello.go:10); "exit" runs to the end."""
    prints: list[str] = field(default_factory=list)
    """Expressions whose values are read where the run stops."""
    arguments: bool = False
    """Note the arguments of each station. Only files with DWARF tell them."""
    every_m: bool = False
    """Read all Ms where the structures are read, for the page; without it only m0."""
    inits: bool = False
    """Measure the packages' inits. The program's runtime then counts what they allocate (GODEBUG=inittrace=1)."""
    watches: list[str] = field(default_factory=list)
    """Variables of which every change is noted."""
    steps: int = DEFAULT_STEPS
    """The most instructions that may be executed."""
    argv: list[str] | None = None
    """The program's arguments, its name among them; None: only the name."""
    env: list[str] = field(default_factory=list)
    """Its environment, each as NAME=VALUE."""
    cpus: int | None = None
    """The number of processors that it sees; None: as many as this process may use."""
    memory: int = DEFAULT_MEMORY
    """Bytes of memory that it may touch."""
    go_version: str = ""
    """The Go version that built the file, as go1.16.2, where the file does not say it; it also overrides the file's."""
    arch: str = ""
    """The part of a universal Mach-O file; empty for the first that can be read."""
    sysroot: str = "/"
    """The folder whose lib and usr/lib have the libraries of a program that is linked to libc."""
    attach: Callable[[Process, StateReader, Layouts, Scope], None] | None = None
    """Called before the first instruction. The debugger gets hold of the run by it."""
    progress: Callable[[int, str], None] | None = None
    """Called now and then with the instructions done and the name of the last station."""


@record
class Static:
    """The facts about a file that need no emulation. `with` closes the file at the end."""

    image: Image
    build: BuildInfo | None
    symbols: Symbols
    entry_name: str
    """The function at the entry point."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.image.close()


@frozen
class Printed:
    """A value that somebody asked for, where the run stopped."""

    text: str
    type: str
    address: int | None
    value: str


@record
class Boot:
    """A boot as it was followed. Make it with keywords: there are too many fields to count."""

    stations: list[Station]
    events: list[Event]
    state: dict[str, Any]
    """`snapshot`, nested as the structures are."""
    snapshot: Snapshot
    """The runtime's structures at the end."""
    how: How
    """The kind of its end."""
    status: int
    """The program's exit status, where it has one."""
    detail: str
    """Its end in words."""
    output: bytes
    """The bytes that the program wrote."""
    instructions: int
    threads: int
    syscalls: int
    unknown_syscalls: dict[str, int]
    """System call that is not emulated -> how often it was made."""
    skipped_ns: int
    """Nanoseconds in which every thread waited."""
    memory: int
    """Bytes of memory that the program touched."""
    libraries: list[tuple[str, int]]
    """(path, size) of each library that was read for the program: its loader, libc, and what else it is linked to."""
    layouts: Layouts
    globals: Globals
    printed: list[Printed]
    watched: list[Watched]
    inits: list[Init]
    """The packages' inits in the order in which they ran, where they were measured."""


@record
class Report:
    """Everything about one file. `with` closes the file at the end."""

    static: Static
    boot: Boot | None = None
    why_no_boot: str = ""
    """Empty when nobody asked for a boot."""

    def close(self) -> None:
        """Unmap the file. Nothing may be read from it afterwards."""
        self.static.image.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def examine(path: str | os.PathLike[str], bias: int | None = None, go_version: str = "", arch: str = "") -> Static:
    """Read the static facts. `bias` places a position-independent ELF file. `go_version` counts for more than the file.
    `arch` chooses a part of a universal file.

    Raises `XrayError` for what is not a 64-bit Go executable, and for a Go older than 1.15.
    """
    image = load(path, bias, arch)
    try:
        build = read_buildinfo(image)
        try:
            symbols = Symbols(image)
        except XrayError as exc:
            if build is not None and "no pclntab" in str(exc):
                raise XrayError(
                    f"{image.path}: built by {build.version}, but its pclntab is missing: obfuscated or damaged"
                ) from None
            if build is not None:
                raise XrayError(f"{exc} (built by {build.version})") from None
            raise
        if image.format in ("ELF", "WebAssembly"):  # the other formats have one system each
            image.os = symbols.system() or image.os
        if image.library:
            start = symbols.library_start()
            image.entry = start.entry if start is not None else 0
        func = symbols.at(image.entry)
        if func is None and build is None and symbols.func("runtime.rt0_go") is None:
            raise XrayError(why_not_go(image))
        build = _version(image, build or find_version(image), go_version)
        return Static(image, build, symbols, func.name if func else _foreign_entry(symbols))
    except BaseException:
        image.close()
        raise


def _foreign_entry(symbols: Symbols) -> str:
    """Returns the name of an entry that is not Go's: C's startup code, as in every program that is linked to libc."""
    if symbols.image.library:
        return "none: a plugin, whose packages are begun by the program that opens it"
    return symbols.data_name(symbols.image.entry).removeprefix("&") or "C's startup code"


def _version(image: Image, build: BuildInfo | None, go_version: str) -> BuildInfo | None:
    """Returns the build information with the version that the user gave. Raises `XrayError` for one that is too old."""
    if go_version:
        given = BuildInfo(version="go" + go_version.removeprefix("go"), source="--go-version")
        if given.minor is None:
            raise XrayError(f"--go-version {go_version}: give a release, as 1.16 or go1.16.2")
        build = build.with_version(given) if build else given
    if build is not None and build.minor is not None and build.minor < OLDEST_GO:
        raise XrayError(f"{image.path}: built by {build.version}: gort xray reads Go 1.{OLDEST_GO} and newer")
    return build


def follow(static: Static, options: Options) -> Boot:
    """Emulate the boot. A program that misbehaves is a result.

    Raises `XrayError` for options that do not fit the file.
    """
    image, symbols = static.image, static.symbols
    if image.arch not in ARCHES:
        raise XrayError(f"{image.path}: {image.arch} programs are not emulated")
    disasm = Disassembler(symbols)
    layouts = find_layouts(image, static.build)
    found = find_globals(symbols, layouts, disasm)
    if layouts.source != "DWARF":
        from gort.xray.layout.learn import checked  # here, because files with DWARF need none of it

        layouts = checked(layouts, symbols, disasm, found)
    clock = Clock()
    machine = Machine(image.arch, options.memory, clock)
    process = Process(machine, symbols, _cpus(options))
    state = StateReader(process, found, layouts)
    state.every_m = options.every_m
    recorder = Recorder(process, symbols, disasm, state, options.until)
    scope, table = Scope(symbols, machine), None
    if options.arguments:
        recorder.arguments = Arguments(scope, static.build.minor if static.build else None)
    meter = recorder.inits = InitMeter(process, symbols) if options.inits else None
    env = with_inittrace(options.env) if options.inits else options.env
    sysroot = Sysroot(options.sysroot, image.arch)
    if (options.prints or options.watches or options.attach) and (symbols.stripped or layouts.source != "DWARF"):
        from gort.xray.ask.tabletypes import TableTypes, known_variables  # here, because few runs need it

        table = TableTypes(layouts, image.word)
        # Of several candidates the run shows which one is allp; until then any of them makes the name known.
        scope.know(table, known_variables(found, table, next(iter(found.allp), None)))
    prints = [Expression(text, scope) for text in options.prints]
    watched: list[Watched] = []
    try:
        system = _system(image, process, recorder, sysroot)
        name = os.path.basename(image.path)
        system.setup(image, options.argv if options.argv is not None else [name], env)
        if table is not None:
            scope.know(table, known_variables(found, table, state.allp))
        watched = [watch(Expression(text, scope), scope, process, state, layouts) for text in options.watches]
        if options.attach is not None:
            options.attach(process, state, layouts, scope)
        try:
            ended = process.run(system, options.steps, _progress(options, clock, recorder))
        except XrayError as exc:
            ended = Ended("bound", 0, str(exc))
        libraries = [(library.host_path, library.size) for library in sysroot.libraries()]
    finally:
        sysroot.close()
    if ended.how == "exit" and not recorder.entered:
        ended = _not_loaded(image, process, ended)
    elif ended.how == "exit" and options.until not in ("exit", ""):
        ended = Ended(ended.how, ended.status, f"{ended.detail}; {options.until} was not reached")
    if table is not None:
        scope.know(table, known_variables(found, table, state.allp))
    recorder.finish()
    snapshot = state.snapshot()
    output = bytes(process.files.output)
    if meter is not None:
        output = meter.finish(output)
    return Boot(
        stations=recorder.stations,
        events=recorder.events,
        state=state.nested(snapshot),
        snapshot=snapshot,
        how=ended.how,
        status=ended.status,
        detail=ended.detail,
        output=output,
        instructions=clock.instructions,
        threads=len(process.threads),
        syscalls=system.calls,
        unknown_syscalls=system.unknown,
        skipped_ns=clock.skipped,
        memory=machine.memory.used,
        libraries=libraries,
        layouts=layouts,
        globals=found,
        printed=[_printed(expression, scope) for expression in prints],
        watched=watched,
        inits=meter.inits if meter is not None else [],
    )


def _printed(expression: Expression, scope: Scope) -> Printed:
    """Returns the value of an expression; where it has none, the reason."""
    try:
        value = expression.value()
    except XrayError as exc:
        return Printed(expression.text, "", None, str(exc))
    return Printed(expression.text, value.type.name, value.address, show(scope, value))


def _not_loaded(image: Image, process: Process, ended: Ended) -> Ended:
    """Returns the end of a program that its loader gave up, with the loader's words."""
    words = bytes(process.files.output).decode("utf-8", "replace").strip()
    said = f": {words.splitlines()[0]}" if words else ""
    detail = f"{image.interpreter} did not load the program{said} (--sysroot DIR names a system that has its libraries)"
    return Ended("unsupported", ended.status, detail)


def _system(image: Image, process: Process, recorder: Recorder, sysroot: Sysroot) -> System:
    """Returns the file's operating system; a run needs one of them, so one is imported."""
    if image.os == "darwin":
        from gort.xray.systems.darwin import Darwin

        return Darwin(process, recorder)
    if image.os == "windows":
        from gort.xray.systems.windows import Windows

        return Windows(process, recorder)
    from gort.xray.systems.linux import Linux

    return Linux(process, "/" + os.path.basename(image.path), recorder, sysroot)


def _progress(options: Options, clock: Clock, recorder: Recorder) -> Callable[[], None] | None:
    report = options.progress
    if report is None:
        return None
    return lambda: report(clock.instructions, recorder.stations[-1].name if recorder.stations else "")


def _cpus(options: Options) -> int:
    if options.cpus is not None:
        if not 1 <= options.cpus <= _MAX_CPUS:
            raise XrayError(f"--cpus {options.cpus}: give a number from 1 to {_MAX_CPUS}")
        return options.cpus
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def xray(path: str | os.PathLike[str], options: Options | None = None, static_only: bool = False) -> Report:
    """Examine a file and follow its boot. Raises `XrayError`, whose text is one line, for files that cannot be read."""
    if not static_only:
        preload()
    asked = options or Options()
    static = examine(path, go_version=asked.go_version, arch=asked.arch)
    report = Report(static)
    if static_only:
        return report
    if static.image.library:
        report.why_no_boot = "a shared library does not start by itself: whoever loads it calls its entry function"
        return report
    if static.image.arch not in ARCHES:
        report.why_no_boot = f"{static.image.arch} programs are not emulated"
        return report
    if static.image.os not in EMULATED:
        report.why_no_boot = f"{static.image.os} programs are not emulated"
        return report
    try:
        report.boot = follow(static, asked)
    except BaseException:
        report.close()
        raise
    return report
