"""What the live page records on demand: profiles, also as the data of a flame graph; execution traces; the flight
recorder.

A profile of the processor and a trace tell of the seconds that follow.  So do the block and the mutex profile here, of
which gort.debug gives what was counted since the process began; if the program has not switched them on, they are on for
these seconds, and what is counted then is not in the program's own.  The page's flight recorder is on while somebody
watches, and ends when nobody does any more.

Invariants
- One of each kind at a time.  `_busy` guards that; nobody waits for it.
- What the program itself has switched on is left as it is, and what it switches on meanwhile takes the page's place.

What does not live here: the profiles (watch/profiles.py), the traces (gort/trace.py), who may ask (server.py).
"""

from __future__ import annotations

import io
import threading
import time
from _thread import allocate_lock
from contextlib import contextmanager

from gort._runtime.core import runtime2, traceback, tracing
from gort._runtime.core.machine import LINUX
from gort._runtime.see.request import Refused
from gort._runtime.wait import sema
from gort._runtime.watch import profiles, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gort._runtime.watch.pprof import Profile

SECONDS = 5.0
SECONDS_MIN, SECONDS_MAX = 0.1, 60.0
WAIT_RATE_NS = 1_009  # of shorter waits some are counted
MUTEX_FRACTION = 1  # each release is counted
FLIGHT_S = 10.0  # the page's flight recorder keeps what is younger,
FLIGHT_BYTES = 16 << 20  # and no more than this
SMALL = 1000  # a part of a flame graph that is smaller than the whole divided by this is left out
DEPTH_MAX = 100

_busy: dict[str, Any] = {}  # kind -> a lock
# Of the two profiles of waits, by whether it is the mutex profile; both under tracing.state.mu.  What had been counted
# when the page switched it on, while the program has not; and what was counted in such times.
_begun: dict[bool, dict[Any, tuple[float, float]]] = {}
_pages: dict[bool, dict[Any, tuple[float, float]]] = {False: {}, True: {}}


def forget() -> None:
    """In a forked child: what was being recorded is its parent's, and so is what was counted."""
    _busy.clear()
    tracing.state.mu = threading.RLock()  # another thread may have held it, and gort.trace may not be loaded
    for mutexes in list(_begun):
        _set(mutexes, 0)
    _begun.clear()
    for pages in _pages.values():
        pages.clear()


@contextmanager
def alone(kind: str, what: str) -> Iterator[None]:
    """Refuses who comes while another records the same."""
    lock = _busy.setdefault(kind, allocate_lock())
    if not lock.acquire(blocking=False):
        raise Refused(503, f"{what} is being made already")
    try:
        yield
    finally:
        lock.release()


def seconds(query: dict[str, str]) -> float:
    """For how long a request wants to record."""
    try:
        found = float(query.get("seconds", SECONDS))
    except ValueError:
        found = 0.0
    if not SECONDS_MIN <= found <= SECONDS_MAX:  # nan is refused too
        raise Refused(400, f"seconds: {SECONDS_MIN} to {SECONDS_MAX:.0f}")
    return found


# ---- profiles ---------------------------------------------------------------------------------------------------------


def profile(kind: str, lasts: float) -> Profile:
    """A profile: of this moment, or of the seconds that follow."""
    try:
        if kind in ("goroutine", "goroutineleak"):
            return profiles.goroutines(list(signals.running), kind == "goroutineleak")
        if kind == "frames":
            return profiles.frames(list(signals.running))
        if kind == "cpu":
            return cpu(lasts)
        if kind in ("block", "mutex"):
            return waits(kind == "mutex", lasts)
    except (RuntimeError, ValueError) as e:
        raise Refused(503, str(e)) from None
    raise Refused(404, "there are goroutine, goroutineleak, frames, cpu, block and mutex")


def cpu(lasts: float) -> Profile:
    """What uses the processor in the next `lasts` seconds."""
    if not LINUX:
        raise Refused(503, "only Linux tells the CPU time of threads")
    if traceback.WITHOUT_GIL and not runtime2.COMPILED:
        raise Refused(503, "the uncompiled core without the GIL cannot read running stacks")
    with alone("cpu", "a CPU profile"):
        recorder = profiles.CPU()
        time.sleep(lasts)
        made = recorder.stop()
        if made is None:
            raise Refused(503, "the process has forked")
        return made


def set_rate(mutexes: bool, rate: int) -> int:
    """The program sets the rate of one of the two profiles of waits, 0 for off.  Returns what it has set before.  If only
    the page wants the profile, it stays on for the page."""
    with tracing.state.mu:
        if mutexes not in _begun:
            return _set(mutexes, rate)
        if rate:
            _over(mutexes)
            _set(mutexes, rate)
        return 0


def rate(mutexes: bool) -> int:
    """What the program has set; 0 while only the page wants the profile."""
    with tracing.state.mu:
        return 0 if mutexes in _begun else _now(mutexes)


def _now(mutexes: bool) -> int:
    """The rate, whoever has set it."""
    return profiles.contention().fraction() if mutexes else profiles.block_rate()


def _set(mutexes: bool, rate: int) -> int:
    """Sets the rate.  Returns what it was.  The caller holds tracing.state.mu."""
    before = _now(mutexes)
    if not mutexes:
        profiles.profile_waits(rate)
        return before
    counts = profiles.contention()
    counts.set_fraction(rate)
    if (before == 0) != (rate == 0):
        sema.profile(counts if rate else None)
    return before


def waits(mutexes: bool, lasts: float) -> Profile:
    """The waits that end in the next `lasts` seconds, or who has let others wait."""
    kind = "mutex" if mutexes else "block"
    with alone(kind, f"a {kind} profile"):
        begin(mutexes)
        try:
            before = profiles.counted(mutexes)
            time.sleep(lasts)
            return profiles.waits(mutexes, before)
        finally:
            end(mutexes)


def begin(mutexes: bool) -> None:
    """Switches one of the two profiles on, unless the program has done so."""
    with tracing.state.mu:
        if _now(mutexes) == 0:
            _begun[mutexes] = profiles.counted(mutexes)
            _set(mutexes, MUTEX_FRACTION if mutexes else WAIT_RATE_NS)


def end(mutexes: bool) -> None:
    """Switches it off again, unless the program has set it meanwhile."""
    with tracing.state.mu:
        if mutexes in _begun:
            _set(mutexes, 0)
            _over(mutexes)


def _over(mutexes: bool) -> None:
    """What has been counted up to now is the page's alone.  The caller holds tracing.state.mu."""
    before, pages = _begun.pop(mutexes), _pages[mutexes]
    for key, (count, ns) in profiles.counted(mutexes).items():
        count_before, ns_before = before.get(key, (0, 0))
        if count > count_before:
            count_page, ns_page = pages.get(key, (0, 0))
            pages[key] = count_page + count - count_before, ns_page + ns - ns_before


def program_waits(mutexes: bool) -> Profile:
    """One of the two profiles as the program has asked for it: without what was counted for the page alone."""
    with tracing.state.mu:
        return profiles.waits(mutexes, _pages[mutexes], _begun.get(mutexes))


def flame(found: Profile) -> dict[str, Any]:
    """A profile as the data of a flame graph: {"unit", "total", "root"}.  A part is [function, file, line, value, [the
    parts in it]]; the line is where it was seen first, the largest part comes first."""
    which = len(found.types) - 1  # of two values the second is a time or a size
    root: list[Any] = ["all", "", 0, 0, {}]
    for stack, values in found.stacks():
        at = root
        root[3] += values[which]
        for name, file, line in stack[: -DEPTH_MAX - 1 : -1]:
            at = at[4].setdefault((name, file), [name, file, line, 0, {}])
            at[3] += values[which]
    trim(root, root[3] / SMALL)
    return {"unit": found.types[which][1], "total": root[3], "root": root}


def trim(part: list[Any], least: float) -> None:
    """Makes lists of the dicts of a flame graph's parts, without the small ones."""
    part[4] = sorted((each for each in part[4].values() if each[3] >= least), key=lambda each: -int(each[3]))
    for each in part[4]:
        trim(each, least)


# ---- traces -----------------------------------------------------------------------------------------------------------


def trace(lasts: float) -> bytes:
    """An execution trace of the next `lasts` seconds."""
    out = io.BytesIO()
    with alone("trace", "a trace"):
        try:
            made = signals.tracer._start(out, True)
        except (RuntimeError, OSError) as e:
            raise Refused(503, str(e)) from None
        try:
            time.sleep(lasts)
        finally:
            written = signals.tracer._stop(made)
    if not written:
        raise Refused(503, "the program has begun a trace of its own meanwhile")
    return out.getvalue()


class Recorder:
    """The page's flight recorder."""

    def __init__(self) -> None:
        self.mine: Any = None  # gort.trace.FlightRecorder, while it is on

    def state(self) -> str:
        """Whose flight recorder is on: "page", "program", or "" for none."""
        if self.mine is not None and self.mine.enabled:
            return "page"
        return "program" if tracing.state.live and signals.tracer._recorder is not None else ""

    def switch(self, on: bool) -> dict[str, str]:
        """Begins it, or ends it.  One that the program has begun stays."""
        if not on:
            self.end()
        elif self.state() == "":
            made = signals.tracer.FlightRecorder(min_age=FLIGHT_S, max_bytes=FLIGHT_BYTES)
            made._lent = True
            try:
                made.start()
            except RuntimeError as e:
                raise Refused(503, str(e)) from None
            self.mine = made
        return {"flight": self.state()}

    def end(self) -> None:
        """Ends it, if it is on."""
        made, self.mine = self.mine, None
        if made is not None:
            made.stop()

    def written(self) -> bytes:
        """What the flight recorder has now, the page's or the program's, as a trace."""
        its = signals.tracer._recorder
        if its is None:
            raise Refused(503, "no flight recorder is on")
        out = io.BytesIO()
        try:
            its.write_to(out)
        except RuntimeError as e:
            raise Refused(503, str(e)) from None
        return out.getvalue()
