"""`gort top PID` on a terminal: what it shows, that it fits, and how it leaves the terminal.

What does not live here: `gort top --once`, and programs that cannot be watched (test_see.py).
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support import PATIENCE_S, command, environment
from test_see import PROGRAMS

pytestmark = pytest.mark.once

LEFT = "\x1b[?25h\x1b[?1049l"  # the cursor is shown again, and the screen is the one before


class Terminal:
    """A command on a terminal of its own.  `output` is all that it has written."""

    def __init__(self, *args: str, rows: int = 40, columns: int = 120) -> None:
        self._master, slave = os.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            command(*args),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(TERM="xterm"),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.output = ""

    def resize(self, rows: int, columns: int) -> None:
        """The window is of another size now."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self) -> bool:
        """Reads what comes next.  False if it has ended."""
        assert select.select([self._master], [], [], PATIENCE_S)[0], "nothing comes"
        try:
            part = os.read(self._master, 65536)
        except OSError:  # nobody has the terminal open any more
            return False
        self.output += part.decode(errors="replace")
        return bool(part)

    def screen(self) -> list[str]:
        """The lines of the last whole picture, without colours."""
        pictures = self.output.split("\x1b[H")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", pictures[-2] if len(pictures) > 1 else "")
        return [each.rstrip() for each in plain.split("\r\n")]

    def until(self, pattern: str, since: int = 0) -> re.Match[str]:
        """Reads until a picture has this pattern; only what comes after `since` characters counts."""
        end = time.monotonic() + PATIENCE_S
        while not (len(self.output) > since and (found := re.search(pattern, "\n".join(self.screen())))):
            assert time.monotonic() < end, self.screen()
            assert self.read(), self.output[-2000:]
        return found

    def shows(self, *patterns: str) -> None:
        """Reads until a picture has all of these; a line's end and several spaces are one space."""
        end = time.monotonic() + PATIENCE_S
        while True:
            text = " ".join(" ".join(self.screen()).split())
            if all(re.search(each, text) for each in patterns):
                return
            assert time.monotonic() < end, text
            assert self.read(), self.output[-2000:]

    def rest(self) -> int:
        """Reads all that comes, and returns the status."""
        while self.read():
            pass
        return self.process.wait()

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def watched(name: str) -> Iterator[tuple[subprocess.Popen[str], Terminal]]:
    """A program, and `gort top` of it."""
    code = f"""
import sys
import gort
sys.path.insert(0, {str(PROGRAMS)!r})
import {name}
async def main():
    print(flush=True)  # it can be asked from now on
    await {name}.main()
gort.run(main)
"""
    program = subprocess.Popen(
        [command()[0], "-c", code], stdout=subprocess.PIPE, text=True, env=environment(GOMAXPROCS="1")
    )
    try:
        assert program.stdout is not None
        program.stdout.readline()
        top = Terminal("top", "--timeout", "100", str(program.pid))
        try:
            yield program, top
        finally:
            top.close()
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def test_it_shows_what_is_wrong_and_fits_the_window() -> None:
    """Also when that becomes smaller; Ctrl-C leaves the terminal as it was."""
    with watched("convoy") as (program, top):
        top.until(r"Each time its holder")
        top.shows(  # in one picture: in some the mutex is just passed on
            rf"gort \S+ pid {program.pid} 51 goroutines",
            r"49 goroutines wait for Mutex .* at convoy\.cheap .* called by convoy\.lookup",
            r"P0 (idle|goroutine \d+) \d+ queued",
            r"45 .*sync\.Mutex\.Lock convoy\.cheap convoy\.py:\d+",
            r"49 \d+ taken Mutex 0x\w+, held by goroutine \d+ \[sleep\] convoy\.load",
        )
        assert len(top.screen()) <= 40
        assert max(map(len, top.screen())) <= 120
        top.resize(24, 70)
        before = len(top.output)
        os.kill(top.process.pid, signal.SIGWINCH)
        end = time.monotonic() + PATIENCE_S
        while len(top.screen()) > 25 or max(map(len, top.screen())) > 70 or len(top.output) < before + 2000:
            assert time.monotonic() < end, top.screen()
            assert top.read()
        top.shows("49 goroutines")
        top.press(b"\x03")
        assert top.rest() == -signal.SIGINT  # as a shell wants it
        assert top.output.endswith(LEFT)
        assert "Traceback" not in top.output


def test_it_ends_with_the_program() -> None:
    with watched("partial") as (program, top):
        top.until(r"wait for each other")
        program.kill()
        assert top.rest() == 0
        _, left, after = top.output.partition(LEFT)
        assert left
        assert after == f"the program of process {program.pid} has ended\r\n"
