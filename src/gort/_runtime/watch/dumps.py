"""The dump that another process asks for (`gort dump PID`), and the live page (`gort view PID`,
`gort top PID`).  Go has no such command; its net/http/pprof serves the same text (/debug/pprof/goroutine?debug=2) where a
program has been prepared for it.

How the two talk.  The command makes a file `PID.ask` in a folder that belongs to the user alone, and sends the process
SIGURG.  That signal ends no process, whoever it is, and gort catches it already for its own use (signals.py).  So
nothing has to be prepared, and a mistaken PID does no harm.  sysmon learns from the signals' pipe that SIGURG has come,
also while the main thread is in a call, finds the file and writes the text to `PID.dump`.

Who asks for the page gets its address, in the same way.  The page is begun on a thread of its own.

Invariant: sysmon makes the dump, so it comes also when every P is busy, and no goroutine is disturbed.

Rejected: SIGUSR1 (it ends a process that does not expect it, and it is the program's); a socket (it needs a thread or a
goroutine that listens, in each program, for a question that nearly none is ever asked).

What does not live here: the text (core/traceback.py); the command (cli/dump.py).
"""

from __future__ import annotations

import os
import stat
from _thread import get_native_id, start_new_thread

from gort._runtime.core import traceback
from gort._runtime.watch import external, reports, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EACH = b"each"  # in the file: show every goroutine by itself
VIEW = b"view"  # the address of the live page is wanted
ASK_MAX = 64  # bytes


def folder(uid: int) -> str:
    """Where the processes of a user are asked.  The same for all environments, so not TMPDIR."""
    return f"/tmp/gort-{uid}"


def ask_file(uid: int, pid: int) -> str:
    """The file that asks a process."""
    return f"{folder(uid)}/{pid}.ask"


def is_private(path: str, uid: int) -> bool:
    """True when path is a folder that the user owns and that nobody else may enter: others cannot have made what is in
    it."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077


def write(path: str, data: bytes) -> None:
    """Makes a file that only the user may read; it appears under its name when it is whole.  Raises OSError."""
    part = path + ".part"
    try:
        os.unlink(part)
    except FileNotFoundError:
        pass
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
    os.rename(part, path)


def answer(running: list[Any]) -> None:
    """Writes the dump of the runtimes in `running` if this process has been asked for it.  Called by sysmon."""
    uid, pid = os.geteuid(), os.getpid()
    ask = ask_file(uid, pid)
    if not is_private(folder(uid), uid):
        return
    try:
        fd = os.open(ask, os.O_RDONLY | os.O_CLOEXEC)
        try:
            how = os.read(fd, ASK_MAX)
        finally:
            os.close(fd)
        os.unlink(ask)  # of several runtimes in one process, one answers
    except OSError:
        return
    if how == VIEW:
        try:
            start_new_thread(view, (uid, pid))
        except RuntimeError as e:  # the system gives no thread
            tell(uid, pid, f"error: {e}")
        return
    text = "\n".join(traceback.dump(s, None, group=how != EACH) + reports.places(s) for s in list(running))
    tell(uid, pid, text)


def view(uid: int, pid: int) -> None:
    """Begins the live page and answers with its address."""
    me = get_native_id()
    external.harmless.add(me)
    try:
        if signals.page is not None:
            tell(uid, pid, signals.page())
    except Exception as e:  # no thread, no descriptor, no memory: the command says it
        tell(uid, pid, f"error: {e}")
    finally:
        external.harmless.discard(me)


def tell(uid: int, pid: int, text: str) -> None:
    """Writes the answer."""
    try:
        write(f"{folder(uid)}/{pid}.dump", text.encode(errors="backslashreplace"))
    except OSError:
        pass  # the disk is full, or the folder has gone; the command says that nothing came
