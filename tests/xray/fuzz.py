"""Fuzzing of `gort xray` over mutated executables: `python tests/xray/fuzz.py SECONDS FILE…`.

Every mutated file is read, its call tree and sizes taken, questions asked of it, and its boot emulated with small bounds,
in a child process. A finding is anything but a report or an `XrayError` of one line: another exception, a crash of the
child, more than `LIMIT_S` or `LIMIT_MB`. Mutations know where the structure is: headers, load commands, section tables,
pclntab, moduledata, DWARF, relocations, the code of rt0_go.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from gort.xray.ask.expression import Expression, Scope
from gort.xray.ask.places import find_place
from gort.xray.boot.calltree import call_tree
from gort.xray.boot.follow import Options, examine, follow
from gort.xray.emulate.disasm import Disassembler
from gort.xray.errors import XrayError
from gort.xray.show.listing import functions_data, packages_data, strings_data, types_data
from gort.xray.show.tojson import boot_data, static_data

WATCHED = ("runtime.sched.maxmcount", "runtime.gomaxprocs", "runtime.allp")
ASKED = (
    *WATCHED,
    "runtime.sched",
    "*runtime.m0.g0",
    "*runtime.allp[0]",
    "runtime.m0.curg.m.p",
    "runtime.buildVersion",
    "runtime.memstats",
    "runtime.g(0x10000).goid",
)
LIMIT_S = 20
"""Seconds of processor time."""
LIMIT_MB = 3000
EVIL = (
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)


def places(path: Path) -> list[tuple[int, int]]:
    """Ranges of the file that hold structure, as (start, end)."""
    out = [(0, 64), (0, 1024), (0, 4096)]
    with examine(path) as static:
        image = static.image
        if image.code_of is not None:  # WebAssembly: offsets are those of its memory
            return [*out, (0, path.stat().st_size), *((s.offset, s.offset + 512) for s in image.sections)]
        table = image.file_offset(static.symbols.tab.address)
        assert table is not None
        out += [(table, table + 72), (table, table + 4096)]
        module = image.file_offset(static.symbols.tab.module.address)
        if module is not None:
            out += [(module, module + 360)] * 2
        for s in image.sections:
            if s.file_size and any(
                k in s.name
                for k in (
                    "debug_info",
                    "debug_abbrev",
                    "rela",
                    "dyn",
                    "idata",
                    "symtab",
                    "strtab",
                    "buildinfo",
                    "go_module",
                    "interp",
                )
            ):
                out.append((s.offset, s.offset + s.file_size))
        for name in ("runtime.rt0_go", "runtime.schedinit", "runtime.osinit", "runtime.mallocinit"):
            func = static.symbols.func(name)
            at = image.file_offset(func.entry) if func else None
            if func is not None and at is not None:
                out.append((at, at + func.end - func.entry))
        if image.format == "ELF":
            shoff = int.from_bytes(image.data[40:48], "little")
            out.append((shoff, shoff + 64 * 30))
    return [(a, min(b, path.stat().st_size)) for a, b in out if a < path.stat().st_size]


def mutate(data: bytearray, ranges: list[tuple[int, int]], rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        a, b = rng.choice(ranges)
        at = rng.randrange(a, max(a + 1, b))
        kind = rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            width = rng.choice((2, 4, 8))
            at -= (at - a) % width
            data[at : at + width] = (rng.choice(EVIL) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
        elif kind == 3:
            n = rng.randrange(1, 64)
            data[at : at + n] = rng.randbytes(len(data[at : at + n]))
        elif kind == 4:
            n = rng.randrange(1, 256)
            src = rng.randrange(a, max(a + 1, b))
            chunk = data[src : src + n]
            data[at : at + len(chunk)] = chunk
        elif kind == 5 and rng.random() < 0.2:
            del data[rng.randrange(1, len(data)) :]
            break
    return data


def _accepted(question: Callable[[], object]) -> bool:
    """True when the file has an answer; an `XrayError` says that it has none."""
    try:
        question()
    except XrayError:
        return False
    return True


def examine_all(path: Path, steps: int) -> str:
    """One file, every part of it. Returns what came out; raises what should not have happened."""
    try:
        with examine(path) as static:
            static_data(static)
            call_tree(static.symbols, Disassembler(static.symbols))
            functions_data(static)
            packages_data(static)
            strings_data(static)
            types_data(static)
            for place in ("hello.go:11", "proc.go:1", "main.main+0x1"):
                _accepted(lambda place=place: find_place(place, static.symbols))  # type: ignore[misc]
            options = Options(until="exit", steps=steps, memory=64 << 20, inits=True, arguments=True)
            scope = Scope(static.symbols)
            options.prints = [t for t in ASKED if _accepted(lambda t=t: Expression(t, scope))]  # type: ignore[misc]
            options.watches = [t for t in WATCHED if t in options.prints]
            try:
                boot = follow(static, options)
            except XrayError:
                if not options.watches:
                    raise
                options.watches = []  # the variable's size is the file's word
                boot = follow(static, options)
            boot_data(boot)
            return boot.how
    except XrayError as exc:
        if not str(exc) or "\n" in str(exc):
            raise ValueError(f"not a message of one line: {exc!s}") from exc
        return "refused"


def in_child(path: Path, steps: int) -> str:
    """`examine_all` in a process of its own: what came out, or "FINDING: …"."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)  # of processor time: others may use the machine as well
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_MB << 20, LIMIT_MB << 20))
        try:
            text = examine_all(path, steps)
        except BaseException:
            text = "FINDING: " + traceback.format_exc()
        os.write(write, text.encode()[:60000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"FINDING: ended by signal {os.WTERMSIG(status)}"
    return text


def main() -> None:
    seconds, files = float(sys.argv[1]), [Path(f) for f in sys.argv[2:]]
    seed = int(os.environ.get("SEED", "1"))
    corpus = [(f.read_bytes(), places(f), f.name) for f in files]
    kept = Path(tempfile.mkdtemp(prefix="gort-xray-fuzz-"))
    counts: dict[str, int] = {}
    end = time.monotonic() + seconds
    n = 0
    while time.monotonic() < end:
        rng = random.Random(seed * 1_000_003 + n)
        data, ranges, name = rng.choice(corpus)
        path = kept / f"case-{seed}-{n}-{name}"
        path.write_bytes(mutate(bytearray(data), ranges, rng))
        result = in_child(path, 400_000)
        n += 1
        if result.startswith("FINDING"):
            print(path, result, flush=True)
            counts["FINDING"] = counts.get("FINDING", 0) + 1
        else:
            counts[result] = counts.get(result, 0) + 1
            path.unlink()
    print(n, "files,", counts)


if __name__ == "__main__":
    main()
