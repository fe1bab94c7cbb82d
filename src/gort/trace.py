"""gort.trace: the execution trace and the flight recorder, for `go tool trace` and `gort trace`.  Follows Go's package
runtime/trace (trace.go, annotation.go, flightrecorder.go).

    gort.trace.start("run.trace")
    ...
    gort.trace.stop()

`gort run --trace FILE` does the same for a whole program.  Tasks, regions and logs mark what the program does:

    with gort.trace.task("request"):
        with gort.trace.region("parse"):
            ...
        gort.trace.log("url", url)

What does not live here: what is recorded (_runtime/core/tracing.py), and the file (_runtime/watch/tracemodel.py).
"""

from __future__ import annotations

import contextvars as _contextvars
import itertools as _itertools
import os as _os
from typing import IO, TYPE_CHECKING, Self

from gort._runtime.core import traceback as _traceback
from gort._runtime.core import tracing as _tracing
from gort._runtime.core.mistakes import say as _say
from gort._runtime.core.public import publish as _publish
from gort._runtime.core.runtime2 import COMPILED as _COMPILED
from gort._runtime.core.runtime2 import _Gdead, _Gidle, _Grunnable, _Grunning, _Gsyscall
from gort._runtime.watch import gotrace as _go
from gort._runtime.watch import signals as _signals

if TYPE_CHECKING:
    from typing import Any

    from gort._runtime.watch.tracemodel import Silent

__all__ = ["FlightRecorder", "Region", "Task", "is_enabled", "log", "region", "start", "stop", "task"]

_FRAMES_MAX = 1000  # of so many goroutines that do nothing while a trace is made, the stacks are read
_PRUNE = 4096  # so many tasks, regions and logs come before those are dropped that the flight recorder has forgotten
_STATES = {_Grunnable: _go.GO_RUNNABLE, _Grunning: _go.GO_RUNNING, _Gsyscall: _go.GO_SYSCALL}

_ids = _itertools.count(1)
_current: _contextvars.ContextVar[Task | None] = _contextvars.ContextVar("gort.trace task", default=None)
_said: dict[int, tuple[Any, ...]] = {}  # the tasks, regions and logs of what is recorded, by number
_left: list[Silent] = []  # the goroutines of programs that have ended meanwhile
_trace: _Destination | None = None  # the trace that is being made
_writing = False  # one of the two is being written: a handler or a finalizer that wants another has to wait
_recorder: FlightRecorder | None = None  # and the flight recorder that is on
# Of the trace that was written last: how often its events did not fit, and how many there were of each kind; for tests.
_last: tuple[int, dict[int, int]] = (0, {})


class _Destination:
    """Where a trace goes, since when it is made, and the file for full chunks."""

    def __init__(self, file: IO[bytes], path: str, spool: IO[bytes] | None, lent: bool) -> None:
        self.file = file
        self.path = path  # empty: the file is the user's
        self.spool = spool
        self.lent = lent  # the live page's: it gives way to one of the program's
        self.since = 0

    def close(self) -> None:
        """Closes what is ours."""
        if self.spool is not None:
            self.spool.close()
        if self.path:
            self.file.close()


def _opened(file: str | _os.PathLike[str] | IO[bytes], what: str) -> tuple[IO[bytes], str]:
    if isinstance(file, (str, _os.PathLike)):
        path = _os.fspath(file)
        return open(path, "wb"), path
    if not callable(getattr(file, "write", None)):
        raise TypeError(f"{what}: file is a path or a binary file, not {type(file).__name__}")
    return file, ""


def _silent(running: list[Any]) -> list[Silent]:
    """The goroutines of these runtimes as they are now, for those of them that have no event."""
    from gort._runtime.watch.tracemodel import Silent

    found = []
    now = _tracing.now()
    for s in running:
        ms = {m.curg: m for m in list(s.allm) if m.curg is not None}
        for g in list(s.allgs):
            goid, status = g.goid, g.status
            if not goid or status in (_Gdead, _Gidle):
                continue
            m = ms.get(g)
            p = m.p if m is not None else None
            held = p.id if p is not None and m is not None and p.mid == m.id else -1
            state = _STATES.get(status, _go.GO_WAITING)
            found.append(Silent(s.traceid, now, goid, state, m.procid if m is not None else 0, held, g))
    return found


def _frames(silent: Silent) -> tuple[Any, ...]:
    """Where such a goroutine is."""
    g = silent.g
    if g is None or g.goid != silent.goid:
        return ()
    return tuple(_traceback.stacks([g])[0])[:128]


def _remember(s: Any) -> None:
    """A program ends: its goroutines are asked while they are there."""
    for silent in _silent([s]):
        if len(_left) < _FRAMES_MAX:
            silent.frames = _frames(silent)
        silent.g = None
        _left.append(silent)


def _write(out: IO[bytes], spool: IO[bytes] | None, since: int, close: bool) -> None:
    """Writes what has been recorded since then.  close: nothing more goes to the spool."""
    global _last, _writing
    _writing = True
    try:
        from gort._runtime.watch import tracebuffers, tracemodel

        silent = [*_left, *_silent(list(_signals.running))]
        until, chunks = _tracing.recorded()
        if close:
            _tracing.close_spool()
        stacks = _tracing.stacks()
        spooled = _tracing.facts()[2] if spool is not None else 0
        recorded = tracebuffers.buffers(chunks, spool, spooled)
        model = tracemodel.Model(out, recorded, spool, stacks, since, until, _tracing.clock(), _said.get)
        model.write(silent, _frames, _FRAMES_MAX)
    finally:
        _writing = False
    _last = model.repairs, model.seen


def _over() -> None:
    """Ends the recording if nothing wants it any more."""
    if _recorder is None:
        _tracing.drop_ring()
    if _trace is None and _recorder is None:
        _tracing.end(_signals.running)
        _said.clear()
        _left.clear()
        if _remember in _signals.at_end:
            _signals.at_end.remove(_remember)


def _begin(fd: int, max_bytes: int, min_age: int, keep: bool) -> int:
    if _remember not in _signals.at_end:
        _signals.at_end.append(_remember)
    return int(_tracing.begin(_signals.running, fd, max_bytes, min_age, keep))


def start(file: str | _os.PathLike[str] | IO[bytes]) -> None:
    """Begins an execution trace of all programs of this process; stop() writes it to a path or a binary file.  Follows
    Go's trace.Start.

    Any thread may call it, before gort.run too.  What is recorded meanwhile goes to a file without a name beside `file`,
    32 bytes an event, or one in the folder for temporary files; the uncompiled core keeps it in memory.

    A trace that the live page makes ends without being written.  Raises RuntimeError while another is being made,
    TypeError for a file that is none, and what opening raises."""
    _start(file, False)


def _start(file: str | _os.PathLike[str] | IO[bytes], lent: bool) -> _Destination:
    """start().  lent: it is the live page's; so the program's own start() ends it unwritten, and its stop() leaves it."""
    global _trace
    with _tracing.state.mu:
        if _writing or (_trace is not None and (lent or not _trace.lent)):
            raise RuntimeError("gort.trace.start: a trace is being made already")
        opened, path = _opened(file, "gort.trace.start")
        try:
            spool = _spool(_os.path.dirname(path) or "." if path else None)
        except BaseException:
            if path:
                opened.close()
            raise
        if _trace is not None:  # to write it would keep the program waiting
            page, _trace = _trace, None
            _tracing.close_spool()
            _over()
            page.close()
        made = _Destination(opened, path, spool, lent)
        made.since = _begin(-1 if spool is None else spool.fileno(), 0, 0, False)
        _trace = made
        return made


def _spool(folder: str | None) -> IO[bytes] | None:
    if not _COMPILED:
        return None
    import tempfile

    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        if folder is None:
            raise
        return tempfile.TemporaryFile()  # `file` may be /dev/stdout, or in a folder where nothing can be made


def stop() -> None:
    """Ends the program's trace and writes it; does nothing if none is being made.  Follows Go's trace.Stop.

    It takes some time: about three seconds for a million events.  Raises what writing raises, and OSError if the disk was
    full meanwhile."""
    with _tracing.state.mu:
        if _trace is not None and not _trace.lent:
            _stop(_trace)


def _stop(made: _Destination) -> bool:
    """Ends this trace and writes it.  False if it is not on any more."""
    global _trace
    with _tracing.state.mu:
        if _trace is not made or _writing:
            return False
        _trace = None
        try:
            _write(made.file, made.spool, made.since, True)
            lost, _, _, error = _tracing.facts()
        finally:
            _over()
            made.close()
    if error:
        raise OSError(error, f"gort.trace: {_os.strerror(error)}: events are missing in the trace")
    if lost:
        _say(f"gort.trace: {lost} events are missing in the trace: there was no memory for them\n")
    return True


def is_enabled() -> bool:
    """True while a trace is being made or a flight recorder is on.  Follows Go's trace.IsEnabled."""
    return bool(_tracing.state.live)


# ---- what the program says --------------------------------------------------------------------------------------------


def _say_event(*what: Any) -> None:
    """Records a task, a region or a log of the running goroutine."""
    if not _tracing.state.live:
        return
    index = next(_ids)
    _said[index] = (_tracing.now(), *what)
    if not _tracing.user(index):
        _said.pop(index, None)
    elif index % _PRUNE == 0 and _trace is None:
        oldest = _tracing.facts()[1]
        for old, (when, *_) in list(_said.copy().items()):
            if when < oldest:
                _said.pop(old, None)


def _task_now() -> int:
    """The number of the current task; 0 outside all."""
    current = _current.get()
    return 0 if current is None else current._id


def _name_now() -> str | None:
    """The name of the current task; None outside all.  gort.cluster asks: the goroutines that it starts in other
    processes belong to a task of that name."""
    current = _current.get()
    return None if current is None else current._name


class Task:
    """A logical operation, such as a request, that may span several goroutines; task() makes it.  Go's trace.Task."""

    def __init__(self, name: str) -> None:
        """The task begins now, and belongs to the current one.  name: of its kind."""
        self._id = next(_ids)
        self._name = name
        self._token: _contextvars.Token[Task | None] | None = None
        _say_event("task", self._id, _task_now(), name)

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._token is not None:
            try:
                _current.reset(self._token)
            except ValueError:
                pass  # an async generator has been closed in another context
            self._token = None
        self.end()

    def end(self) -> None:
        """Ends the task.  The `with` statement does it.  Follows Go's trace.Task.End."""
        _say_event("end task", self._id, None, None)


def task(name: str) -> Task:
    """Begins a task: `with gort.trace.task("request"):`.  Goroutines that are started in the block belong to it, too: it
    is in their contextvars.  Follows Go's trace.NewTask.

    name: of its kind; `go tool trace` shows the latencies of each kind.  Raises TypeError if it is no str."""
    _check(name, "task")
    return Task(name)


class Region:
    """A part of what one goroutine does; region() makes it.  Go's trace.Region."""

    def __init__(self, name: str) -> None:
        """name: of its kind."""
        self._name = name
        self._task = 0

    def __enter__(self) -> Self:
        self._task = _task_now()
        _say_event("region", self._task, self._name, None)
        return self

    def __exit__(self, *exc: object) -> None:
        _say_event("end region", self._task, self._name, None)


def region(name: str) -> Region:
    """Marks a part of what the goroutine does: `with gort.trace.region("parse"):`.  Follows Go's trace.WithRegion.

    Raises TypeError if the name is no str."""
    _check(name, "region")
    return Region(name)


def log(category: str, message: str) -> None:
    """Records a message with its time, in the current task.  Does nothing outside a goroutine.  Follows Go's
    trace.Log.

    Raises TypeError if one of the two is no str."""
    _check(category, "log")
    _check(message, "log")
    _say_event("log", _task_now(), category, message)


def _check(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"gort.trace.{what}: expected a str, not {type(text).__name__}")


# ---- the flight recorder ----------------------------------------------------------------------------------------------


class FlightRecorder:
    """Records all the time and keeps only the newest, so that a program can write a trace of what was before an event.
    Follows Go's trace.FlightRecorder.  One may be on at a time; a trace may be made meanwhile.

        recorder = gort.trace.FlightRecorder()
        recorder.start()
        ...
        if slow:
            recorder.write_to("slow.trace")"""

    def __init__(self, min_age: float = 10.0, max_bytes: int = 10 << 20) -> None:
        """min_age: what is younger is kept, in seconds.  max_bytes: but no more than that; an event takes 32, and each
        thread has a chunk of 64 KiB besides.  Raises ValueError unless both are positive."""
        if not min_age > 0 or not max_bytes > 0:
            raise ValueError("FlightRecorder: min_age and max_bytes must be positive")
        self._age = int(min_age * 1e9)
        self._bytes = int(max_bytes)
        self._since = 0
        self._lent = False  # the live page's: it ends when the program begins one of its own

    @property
    def enabled(self) -> bool:
        """True between start() and stop()."""
        return _recorder is self

    def start(self) -> None:
        """Begins to record.  Raises RuntimeError if a flight recorder of the program's is on; the live page's ends."""
        global _recorder
        with _tracing.state.mu:
            if _recorder is not None and (self._lent or not _recorder._lent):
                raise RuntimeError("FlightRecorder.start: a flight recorder is on already")
            if _writing:
                raise RuntimeError("FlightRecorder.start: a trace is being written")
            if _recorder is not None:
                _recorder = None
                _over()
            self._since = _begin(-1, self._bytes, self._age, True)
            _recorder = self

    def stop(self) -> None:
        """Ends the recording and drops what has been recorded.  Does nothing if it is not on."""
        global _recorder
        with _tracing.state.mu:
            if _recorder is self:
                _recorder = None
                if not _writing:  # else who writes does it
                    _over()

    def write_to(self, file: str | _os.PathLike[str] | IO[bytes]) -> None:
        """Writes what is recorded now, as a trace, to a path or a binary file.  The recording goes on.

        Raises RuntimeError if it is not on, TypeError for a file that is none, and what writing raises."""
        with _tracing.state.mu:
            if _recorder is not self:
                raise RuntimeError("FlightRecorder.write_to: it is not on, call start() before")
            if _writing:
                raise RuntimeError("FlightRecorder.write_to: a trace is being written")
            opened, path = _opened(file, "FlightRecorder.write_to")
            try:
                _write(opened, None, max(self._since, _tracing.facts()[1]), False)
            finally:
                _over()  # in case that the file's write() has stopped it
                if path:
                    opened.close()


def _forked() -> None:
    """In a forked child nothing is recorded: its parent has it all."""
    global _trace, _recorder, _writing
    _writing = False
    _tracing.forked()
    made, _trace, _recorder = _trace, None, None
    _said.clear()
    _left.clear()
    if made is not None and made.spool is not None:
        made.spool.close()


_signals.at_fork.append(_forked)
_publish(globals())
