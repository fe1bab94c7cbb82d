"""`xray(path)`: the whole examination of one file, from its headers to the end of its emulated boot.

This is what the command, the benchmark and the tests call; it prints nothing. The static part (`examine`) and the
emulation (`follow`) are separate, because the static part works for every system and must be quick for large files.
"""

from __future__ import annotations

import os

from gort.xray.boot.stations import Event, Recorder, Station
from gort.xray.emulate.disasm import Disassembler
from gort.xray.emulate.machine import Machine
from gort.xray.emulate.native import preload
from gort.xray.errors import XrayError
from gort.xray.file.gobuild import BuildInfo, read_buildinfo, why_not_go
from gort.xray.file.image import Image
from gort.xray.file.open import load
from gort.xray.file.symbols import Symbols
from gort.xray.layout.globals import Globals, find_globals
from gort.xray.layout.layout import Layouts, find_layouts
from gort.xray.layout.state import Snapshot, StateReader
from gort.xray.record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

DEFAULT_STEPS = 200_000_000
DEFAULT_MEMORY = 512 << 20


@record
class Options:
    until: str = "main.main"
    steps: int = DEFAULT_STEPS
    argv: list[str] | None = None
    env: list[str] = field(default_factory=list)
    cpus: int | None = None
    memory: int = DEFAULT_MEMORY
    progress: Callable[[int, str], None] | None = None
    """Called now and then with the instructions done and the last station's name."""


@record
class Static:
    image: Image
    build: BuildInfo | None
    symbols: Symbols
    entry_name: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.image.close()


@record
class Boot:
    stations: list[Station]
    state: dict[str, Any]
    snapshot: Snapshot
    how: str
    status: int
    detail: str
    output: bytes
    instructions: int
    threads: int
    syscalls: int
    unknown_syscalls: dict[str, int]
    skipped_ns: int
    memory: int
    layouts: Layouts
    globals: Globals
    events: list[Event]


@record
class Report:
    static: Static
    boot: Boot | None = None
    why_no_boot: str = ""

    def close(self) -> None:
        self.static.image.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def examine(path: str | os.PathLike[str], bias: int | None = None) -> Static:
    """The static facts. Raises `XrayError` for what is not a 64-bit Go executable."""
    image = load(path, bias)
    try:
        build = read_buildinfo(image)
        try:
            symbols = Symbols(image)
        except XrayError as exc:
            if build is not None and "no pclntab" in str(exc):
                raise XrayError(
                    f"{image.path}: built by {build.version}, but its pclntab is missing: obfuscated or damaged"
                ) from None
            raise
        func = symbols.at(image.entry)
        if func is None and build is None:
            raise XrayError(why_not_go(image))
        return Static(image, build, symbols, func.name if func else "")
    except BaseException:
        image.close()
        raise


def follow(static: Static, options: Options) -> Boot:
    """Emulate the boot. Raises `XrayError` for options that do not fit the file; a program that misbehaves is a
    result.
    """
    from gort.xray.emulate.process import Process
    from gort.xray.systems.linux import Linux
    from gort.xray.systems.loader import setup

    image, symbols = static.image, static.symbols
    disasm = Disassembler(symbols)
    layouts = find_layouts(image, static.build)
    found = find_globals(symbols, layouts, disasm)
    machine = Machine(image.arch, disasm, options.memory)
    process = Process(machine, _cpus(options))
    name = os.path.basename(image.path)
    kernel = Linux(process, "/" + name)
    argv = options.argv if options.argv is not None else [name]
    reader = StateReader(machine, found, layouts)
    reader.on_m0 = lambda: process.current is process.threads[0]
    recorder = Recorder(process, symbols, disasm, reader, options.until)
    kernel.observer = recorder.syscall
    kernel.on_clone = recorder.cloned
    if options.progress is not None:
        report = options.progress

        def progress() -> None:
            report(machine.instructions, recorder.stations[-1].name if recorder.stations else "")

        process.progress = progress
    if image.os in ("darwin", "windows"):
        from gort.xray.systems.darwin import Darwin
        from gort.xray.systems.windows import Windows

        system = Darwin(process) if image.os == "darwin" else Windows(process)
        system.imports.observer = recorder.syscall
        system.on_clone = recorder.cloned
        system.setup(image, argv, options.env)
    else:
        setup(image, process, argv, options.env)
        if image.imports:  # a cgo program: no library is opened, the first call into one ends the run with its name
            from gort.xray.systems.imports import Libc

            Libc(process, image).bind(image)
    try:
        ended = process.run(options.steps)
        how, status, detail = ended.how, ended.status, ended.detail
    except XrayError as exc:
        how, status, detail = "bound", 0, str(exc)
    recorder.finish()
    snapshot = reader.snapshot()
    return Boot(
        recorder.stations,
        reader.nested(snapshot),
        snapshot,
        how,
        status,
        detail,
        bytes(process.files.order),
        machine.instructions,
        len(process.threads),
        kernel.calls,
        kernel.unknown,
        process.skipped,
        machine.memory.used,
        layouts,
        found,
        recorder.events,
    )


def _cpus(options: Options) -> int:
    if options.cpus is not None:
        if not 1 <= options.cpus <= 1024:
            raise XrayError(f"--cpus {options.cpus}: give a number from 1 to 1024")
        return options.cpus
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def xray(path: str | os.PathLike[str], options: Options | None = None, static_only: bool = False) -> Report:
    """Examine a file and follow its boot. Raises `XrayError`, whose text is one line, for files that cannot be read."""
    if not static_only:
        preload()
    static = examine(path)
    report = Report(static)
    if static_only:
        return report
    if static.image.os not in ("linux", "darwin", "windows"):
        report.why_no_boot = f"{static.image.os} programs are not emulated"
        return report
    try:
        report.boot = follow(static, options or Options())
    except BaseException:
        report.close()
        raise
    return report
