"""The libraries of a program that is linked to libc, from this machine or from a copy of another system (a sysroot).

The program's own loader (ld.so) runs in the emulator like the rest of the program. It finds the libraries, as it does
natively, by opening paths. This module is what stands behind these paths. Nothing of a library is executed natively.

Invariants, whatever the emulated program asks for:
- Only libraries are opened, for reading: an absolute path below one of `_FOLDERS` whose name has ".so" in it, and which
  leads, through all symbolic links, to a regular ELF file of the program's processor in one of `_FOLDERS`.
- Symbolic links are followed inside of the sysroot: none of them leads out.
- What was read is listed in `read`, for the report; it is at most `_MAX_LIBRARIES` files.

Rejected: /etc/ld.so.cache. It lists what is installed on this machine, and ld.so finds the libraries without it.
Rejected: functions of libc written here. A cgo program calls hundreds of them, and its own loader and libc are there.
"""

from __future__ import annotations

import mmap
import os
import posixpath
import stat

from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
"""Where a loader looks for libraries, with what lies below."""
_MAX_LIBRARIES = 256
_MAX_SIZE = 512 << 20
_MAX_PATH = 1024
_MAX_LINKS = 40
"""Symbolic links in one path, as the kernel has it."""
_MACHINES = {"amd64": 62, "arm64": 183, "riscv64": 243}
"""ELF's numbers of the processors."""
_HEADER = b"\x7fELF\x02\x01"
"""A 64-bit little-endian ELF file."""


@frozen
class Library:
    """A library that was read."""

    path: str
    """As the program asked for it."""
    data: mmap.mmap
    size: int
    number: int
    """Tells it apart from the others, as an inode's number does: ld.so asks for that."""
    host_path: str


class Sysroot:
    """The libraries below `root`, for programs of one processor."""

    def __init__(self, root: str, arch: str) -> None:
        self.read: dict[str, Library] = {}
        """Path, as the program gave it -> the library."""
        self._root = os.path.realpath(root)
        self._machine = _MACHINES.get(arch, -1)
        self._by_file: dict[str, Library] = {}
        """Path on this machine -> the library: links to one file are one library."""

    def kind(self, path: str) -> Literal["folder", "library", ""]:
        """Returns what the program may know to be at a path; empty for nothing."""
        place = self._place(path)
        if place is None:
            return ""
        try:
            mode = os.lstat(place).st_mode
        except OSError:
            return ""
        if stat.S_ISDIR(mode):
            return "folder"
        return "library" if stat.S_ISREG(mode) and _is_library(path) else ""

    def open(self, path: str) -> Library | None:
        """Returns the library at a path; None for everything else."""
        known = self.read.get(path)
        if known is not None:
            return known
        place = self._place(path) if _is_library(path) else None
        if place is None:
            return None
        library = self._by_file.get(place)
        if library is None:
            if len(self._by_file) >= _MAX_LIBRARIES:
                return None
            got = self._map(place)
            if got is None:
                return None
            library = self._by_file[place] = Library(path, got, len(got), len(self._by_file) + 2, place)
        self.read[path] = library
        return library

    def libraries(self) -> list[Library]:
        """Returns the libraries that were read, in the order in which that happened."""
        return list(self._by_file.values())

    def close(self) -> None:
        """Unmap the libraries."""
        for library in self._by_file.values():
            library.data.close()

    def _place(self, path: str) -> str | None:
        """Follow the links of a path inside of the root. Returns the path on this machine; None where none may be."""
        if (
            not path.startswith("/")
            or len(path) > _MAX_PATH
            or "\0" in path
            or not _is_inside(posixpath.normpath(path))
        ):
            return None
        left = [p for p in path.split("/") if p not in ("", ".")][::-1]
        at: list[str] = []
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                del at[-1:]
                continue
            place = os.path.join(self._root, *at, part)
            try:
                target = os.readlink(place)
            except OSError:  # it is no link, or it is not there, which whoever opens it finds out
                at.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if target.startswith("/"):
                at.clear()
            left += [p for p in target.split("/") if p not in ("", ".")][::-1]
        if not _is_inside("/" + "/".join(at)):
            return None
        return os.path.join(self._root, *at)

    def _map(self, place: str) -> mmap.mmap | None:
        """Map a library read-only. Returns None for what is none."""
        try:
            # No link is left in the path. O_NONBLOCK: opening a pipe without a writer would wait for ever.
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode) or not len(_HEADER) < facts.st_size <= _MAX_SIZE:
                return None
            data = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None
        finally:
            os.close(fd)
        if data[: len(_HEADER)] != _HEADER or int.from_bytes(data[18:20], "little") != self._machine:
            data.close()
            return None
        return data


def _is_inside(path: str) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in _FOLDERS)


def _is_library(path: str) -> bool:
    name = posixpath.basename(path)
    return name.endswith(".so") or ".so." in name
