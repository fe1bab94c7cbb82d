"""`gort dump PID`: shows the goroutines of a running program, which goes on.

How the program is asked: watch/dumps.py. `gort view` and `gort top` ask in the same way. Where SIGURG is not caught,
because gort.run is not in the main thread, CPython 3.14 and later lets the main thread look for the question
(sys.remote_exec)."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NoReturn

import click

from gort._runtime.watch import dumps

REMOTE_EXEC: Any = getattr(sys, "remote_exec", None)  # from CPython 3.14 on
LOOK_S = 0.02  # seconds between two looks for the answer
AGAIN_S = 1.0  # and between two signals: the first may have come before the file was seen
MAIN_S = 3.0  # how long a main thread may take that does not catch the signal: most such processes are not gort's
LOOKS = """
import sys
if "gort._runtime.boot.main" in sys.modules:
    from gort._runtime.watch import dumps, signals
    if signals.running:
        dumps.answer(list(signals.running))
"""  # what the other process runs in its main thread


def fail(message: str, command: str = "dump") -> NoReturn:
    """One clear line on stderr, and status 1."""
    click.echo(f"gort {command}: {message}", err=True)
    sys.exit(1)


def catches(pid: int) -> bool:
    """False when the system tells that the process does not catch SIGURG: then its main thread runs no gort program."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            caught = next((line.split()[1] for line in f if line.startswith("SigCgt:")), None)
    except OSError:
        return True
    return caught is None or bool(int(caught, 16) >> (signal.SIGURG - 1) & 1)


def owner(pid: int) -> int:
    """The user of a process, as the system tells; else this user."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return os.geteuid()


def prepare(uid: int, command: str) -> str:
    """The folder of that user, made where it is not there."""
    path = dumps.folder(uid)
    try:
        os.mkdir(path, 0o700)
        if uid != os.geteuid():
            os.chown(path, uid, -1)
    except FileExistsError:
        pass
    if not dumps.is_private(path, uid):
        fail(f"{path} is not a folder of its user alone (mode 0700): remove it", command)
    return path


def by_signal(pid: int) -> None:
    """Lets the process see that it is asked. Raises OSError."""
    os.kill(pid, signal.SIGURG)


def by_debugger(pid: int) -> None:
    """The same where it does not catch the signal. It must run the same version of CPython, 3.14 or later. Raises OSError
    or RuntimeError."""
    with tempfile.NamedTemporaryFile("w", prefix="gort-", suffix=".py", delete=False) as script:
        script.write(LOOKS)
    _scripts.append(script.name)
    REMOTE_EXEC(pid, script.name)


_scripts: list[str] = []  # what by_debugger has left for the other process, which may not have read it yet


def ask(
    pid: int, how: bytes, patience: float, command: str = "dump", nudge: Callable[[int], None] = by_signal
) -> str | None:
    """Asks the process and returns its answer; None if none comes within `patience` seconds, or the process ends. nudge
    lets it see the question."""
    uid = owner(pid)
    path = f"{prepare(uid, command)}/{pid}.dump"
    wish = dumps.ask_file(uid, pid)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    dumps.write(wish, how)
    if uid != os.geteuid():
        os.chown(wish, uid, -1)
    end = time.monotonic() + patience
    again = 0.0
    try:
        while (now := time.monotonic()) < end:
            if now >= again:
                nudge(pid)
                again = now + AGAIN_S
            try:
                with open(path, encoding="utf-8", errors="backslashreplace") as f:
                    return f.read()
            except FileNotFoundError:
                time.sleep(LOOK_S)
    except ProcessLookupError:
        return None
    finally:
        for gone in (wish, path, *_scripts):
            try:
                os.unlink(gone)
            except OSError:
                pass
    return None


def answer(pid: int, how: bytes, patience: float, command: str) -> str:
    """What the process answers; ends this one, with a clear line, if that is nothing."""
    try:
        os.kill(pid, 0)
        caught = catches(pid)
        if not caught and REMOTE_EXEC is None:
            fail(f"process {pid} runs no gort program in its main thread", command)
        if caught:
            text = ask(pid, how, patience, command)
        else:
            text = ask(pid, how, min(patience, MAIN_S), command, by_debugger)
    except ProcessLookupError:
        fail(f"there is no process {pid}", command)
    except PermissionError:
        fail(f"process {pid} belongs to another user", command)
    except RuntimeError as e:  # no CPython, or another version, or it must not be debugged
        fail(f"process {pid} runs no gort program in its main thread, and cannot be asked otherwise: {e}", command)
    except OSError as e:
        fail(str(e), command)
    if text is None and not caught:
        fail(f"process {pid} runs no gort program in its main thread, and that has not answered either", command)
    if text is None:
        fail(
            f"process {pid} has not answered in {patience:g} s: its gort.run is over, or C code holds the GIL", command
        )
    return text


def page(pid: int, patience: float, command: str) -> str:
    """The address of the live page of the process, begun where there is none; ends this one if there can be none."""
    text = answer(pid, dumps.VIEW, patience, command)
    if not text.startswith("http://127.0.0.1:"):
        fail(f"process {pid} cannot show a page: {text.removeprefix('error: ').strip()}", command)
    return text.strip()


@click.command()
@click.option("--each", is_flag=True, help="Show every goroutine by itself, however many there are.")
@click.option("--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for the answer.")
@click.argument("pid", type=click.IntRange(min=1))
def command(pid: int, each: bool, timeout: float) -> None:
    """Show the goroutines of the running program PID, which goes on.

    Above 50 goroutines those that are equal are shown once, with their number, the longest wait and what they wait
    for."""
    click.echo(answer(pid, dumps.EACH if each else b"", timeout, "dump").rstrip("\n"))
