"""Checks at each start that the compiled core is complete and was built from the sources beside it.

`gort/__init__.py` calls `check` before it imports the first extension, so that no code of a wrong extension runs.  An
import that fails half-way gives no useful message, and loading a truncated file kills the process with a signal.

setup.py writes a record of each build into the package, one for each interpreter (`_build_cpython-311.marshal`).  The
record lists the extensions, each with its stamp and its modules (an extension is a library of several: loader.py), and
the sources (the .py and .pxd of the hot modules, the headers), each with its length, modification time and hash.  A
stamp is a digest of the C text, the headers and the flags from which an extension was compiled.  The linker writes it
into the extension as its build id, and `strip` keeps it.

The check finds
- An extension that is missing, truncated, of another build, or of a build from before there were records.
- A source that has changed since the build.  It reads a source only if its time differs from the recorded one (in a
  wheel: if it is more than a minute younger than the record).  So a start costs one stat of each file, some 0.2 ms in
  all.
- Extensions without a record.
- A build that did not finish.

The check does not find
- A byte that has changed inside an extension, behind its head.
- A source that has changed but has the recorded length and time; in a wheel, one that changed within a minute after the
  installation and kept its length.
- Outside Linux, where the linker writes no build id: an extension of another build, or a truncated one.

Rejected: a digest that each module exports (Python would have to load an extension to find out that it must not);
comparing nothing but lengths of extensions (they come in pages, so a small change keeps the length; `strip` changes it);
reading all sources at each start (0.8 ms); a record that people can read (parsing it takes as long as half of the rest).

setup.py runs this file by itself, to write what `check` reads; so it imports nothing of gort.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    # extensions: name, stamp, length, modules; sources: name, length, time in ns, hash; facts of the build
    Record = tuple[list[tuple[str, bytes, int, list[str]]], list[tuple[str, int, int, bytes]], dict[str, str]]

HEAD = 1024  # so many bytes are read of an extension; the linker puts the build id right behind the program headers
NO_STAMP = b""  # the record's stamp on a platform whose extensions have none
SLACK_NS = 60_000_000_000  # an installer unpacks a wheel's files within a minute
O_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

# The record while a build is under way, and after one that failed: nothing that it has left may run, compiled or not.
UNFINISHED = marshal.dumps(([("the rest of a build that did not finish", NO_STAMP, 0, [])], [], {}))

# The compiled modules that `check` has accepted: the full name of each, and the short one, as "wait/chan".  Empty for the
# uncompiled core.
compiled: dict[str, str] = {}


def record_name() -> str:
    """The file name of this interpreter's record."""
    return f"_build_{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}.marshal"


def read(path: str) -> bytes:
    """Reads a whole file. Raises OSError."""
    fd = os.open(path, O_FLAGS)
    try:
        return os.read(fd, os.fstat(fd).st_size)  # not more: a buffer of megabytes takes longer than all the rest
    finally:
        os.close(fd)


def read_record(package: str) -> Record | None:
    """Reads the record of the build for this interpreter; None if nothing was compiled."""
    try:
        record: Record = marshal.loads(read(f"{package}/{record_name()}"))
    except (FileNotFoundError, NotADirectoryError):  # the second: gort is in a zip file
        return None
    return record


def source_hash(path: str) -> bytes:
    """The hash of a source as the record has it: the one that Python itself uses in its bytecode files."""
    return _imp.source_hash(0, read(path))


def fault_of(path: str, stamp: bytes, length: int) -> str:
    """Returns what is wrong with an extension that must have this stamp, as the end of a sentence; "" if it is right.

    An extension whose length differs from the recorded one can still be right, because `strip` makes it shorter, and
    patchelf longer (conda, Nix and auditwheel use it). patchelf also moves the stamp, which is then looked for in the
    whole file.
    """
    try:
        fd = os.open(path, O_FLAGS)
    except OSError as error:
        return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    try:
        head = os.read(fd, HEAD)
        found = os.lseek(fd, 0, 2)
    finally:
        os.close(fd)
    if stamp in head and (found == length or stamp == NO_STAMP):
        return ""
    # An ELF file ends with its table of sections.  The head says where that begins and how many entries it has.
    if head[4:5] == b"\2":
        begin, number, size = head[0x28:0x30], head[0x3C:0x3E], 64
    else:
        begin, number, size = head[0x20:0x24], head[0x30:0x32], 40
    end = int.from_bytes(begin, sys.byteorder) + int.from_bytes(number, sys.byteorder) * size
    if len(head) < HEAD or found < end:
        return "is truncated"
    return "" if stamp in head or stamp in read(path) else "is of another build"


def check(package: str) -> dict[str, str]:
    """Raises ImportError if the compiled core in this package is incomplete or was not built from its sources.

    Returns the full name of each compiled module, with the extension that it is in.  If nothing was compiled there are
    none, and the uncompiled core runs.
    """
    runtime = f"{package}/_runtime"
    record = read_record(package)
    if record is None:
        if strays := stray_extensions(runtime):
            refuse([f"{name}: no record of a build has it" for name in strays])
        return {}
    built, sources, _ = record
    stat = os.stat
    faults = []
    libraries = {}
    for name, stamp, length, modules in built:
        path = f"{runtime}/{name}"
        if fault := fault_of(path, stamp, length):
            faults.append(f"{name} {fault}")
        for module in modules:
            full = f"gort._runtime.{module.replace('/', '.')}"
            libraries[full] = path
            compiled[full] = module
    for name, length, time, digest in sources:
        path = f"{runtime}/{name}"
        try:
            now = stat(path)
        except OSError:
            faults.append(f"{name} is missing")
            continue
        if now.st_size != length or (now.st_mtime_ns != time and changed(package, path, now, time, digest)):
            faults.append(f"{name} has changed since the core was compiled")
    if faults:
        refuse(faults)
    return libraries


def changed(package: str, path: str, now: os.stat_result, time: int, digest: bytes) -> bool:
    """True when a source of the recorded length has changed. A wheel's record has no times (0); then the
    time of the record itself is compared."""
    if not time and now.st_mtime_ns <= os.stat(f"{package}/{record_name()}").st_mtime_ns + SLACK_NS:
        return False
    return source_hash(path) != digest


def stray_extensions(runtime: str) -> list[str]:
    """The extensions for this interpreter in the runtime and its rooms, whoever has left them there."""
    suffixes = _imp.extension_suffixes()
    found = []
    if not os.path.isdir(runtime):
        return []  # in a zip file
    rooms = [name for name in os.listdir(runtime) if "." not in name and name != "__pycache__"]
    for folder in ("", *(f"{room}/" for room in rooms)):
        for name in os.listdir(f"{runtime}/{folder}"):
            _, dot, rest = name.partition(".")
            if dot + rest in suffixes:
                found.append(f"{folder}{name}")
    return sorted(found)


def refuse(faults: list[str]) -> NoReturn:
    """Raises the ImportError that lists the faults and says what to do."""
    shown = faults[:5]
    if len(faults) > len(shown):
        shown.append(f"and {len(faults) - len(shown)} more")
    raise ImportError(
        "gort: the compiled core does not fit its sources:\n  "
        + "\n  ".join(shown)
        + "\nBuild it again (in a checkout: make build; otherwise: pip install --force-reinstall gort), "
        "or set GORT_PURE=1 for the uncompiled core"
    )
