"""Pipes to children, and what children get as their standard files.  Follows StdinPipe, StdoutPipe and the childStdin
family of Go's os/exec.

A pipe has two ends.  This program's is non-blocking, for the poller; the child's is not, and is closed here as soon as
the child has it.  O_NONBLOCK belongs to an end, not to a number, so a child that is given our end would meet EAGAIN:
such an end is made blocking, and is ours no more.
"""

from __future__ import annotations

import os
import subprocess
from types import TracebackType
from typing import IO, Any, Self, TypeAlias

from gort._compound import Compound
from gort._runtime.poll import fd as _fd

# PIPE, DEVNULL, STDOUT, a descriptor or a file; an end of gort's own, which moves to the child; None: inherited
File: TypeAlias = int | IO[Any] | _fd.FD | None


class Pipe(_fd.FD, Compound):
    """One end of a pipe to a child: `read`, `readinto`, `write`, `read_until`, `lines` and so on as a connection's."""

    noun = "pipe"

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(fd)
        self.name: str = name

    def describe(self) -> str:
        """How messages name it."""
        return self.name

    def __repr__(self) -> str:
        return f"<gort.exec.Pipe {self.name}{' closed' if self.closing else ''}>"

    def fileno(self) -> int:
        """The descriptor's number, -1 once closed.  It is non-blocking, and stays the pipe's own."""
        return self.fd

    def close(self) -> None:
        """Closes this end."""
        self.shut()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self.closing

    async def read_all(self) -> bytes:
        """Everything until the end."""
        parts = []
        while data := await self.read():
            parts.append(data)
        return b"".join(parts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class Files:
    """The standard files of a child that is about to start: the child's ends as Popen takes them (`given`), and ours."""

    def __init__(self, **wanted: File) -> None:
        self.given: dict[str, Any] = {}
        self.ours: dict[str, Pipe] = {}
        self._passed: list[int] = []  # descriptors to close once the child has them
        try:
            for name, file in wanted.items():
                self.given[name] = self._make(name, file)
        except BaseException:
            self.passed()
            self.drop()
            raise

    def _make(self, name: str, file: File) -> Any:
        if isinstance(file, _fd.FD):
            fd = file.detach()
            self._passed.append(fd)
            os.set_blocking(fd, True)
            return fd
        if file != subprocess.PIPE:
            return file
        r, w = os.pipe2(os.O_CLOEXEC)
        mine, theirs = (w, r) if name == "stdin" else (r, w)
        self._passed.append(theirs)
        self.ours[name] = Pipe(mine, name)
        os.set_blocking(mine, False)
        return theirs

    def passed(self) -> None:
        """The child has its ends, or never will: closes them here."""
        while self._passed:
            os.close(self._passed.pop())

    def drop(self) -> None:
        """There is no child: closes our ends."""
        for pipe in self.ours.values():
            pipe.close()
