"""Lets CPython's cProfile count the goroutines of all threads.  Go has nothing like it.

A cProfile.Profile that is on when gort.run is called, in its thread, keeps one stack of calls.  Before CPython 3.12 it
watches that thread alone.  From 3.12 on it is told of the calls of all threads and takes them for one stack, so the
times are wrong.  Here each thread gets a profiler of its own, and the one that the program has gives the sums of all.

Invariants
- The program's profiler is the starting thread's own; its `getstats` and `clear` are replaced once, and before CPython
  3.12 its `enable` and `disable`, which else would switch one thread only.
- A profiler is used by its own thread alone, and read when the program asks for the sums; what a thread calls just then
  is left out.  When its thread has ended, its sums are kept and it is dropped.

Rejected: to switch the program's own profiler on in each thread (one stack again); to begin when a profiler is switched
on in a goroutine (nobody is told of it).

What does not live here: when it is looked for a profiler (boot/main.py).
"""

from __future__ import annotations

import sys
import threading
import weakref
from _thread import _local
from types import SimpleNamespace

from gort._runtime.core.newosproc import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

FIELDS = ("callcount", "reccallcount", "totaltime", "inlinetime")


def summed(entries: Iterable[Any]) -> list[Any]:
    """The entries of several profilers, as Profiler.getstats gives them, with those of one function added up."""
    found: dict[Any, Any] = {}
    inner: dict[Any, dict[Any, Any]] = {}
    for entry in entries:
        add(found, entry)
        for each in entry.calls or ():
            add(inner.setdefault(key_of(entry.code), {}), each)
    for key, entry in found.items():
        calls = list(inner.get(key, {}).values())
        for each in calls:  # cProfile compares codes by their identity
            own = found.get(key_of(each.code))
            each.code = each.code if own is None else own.code
        entry.calls = calls or None
    return list(found.values())


def key_of(code: Any) -> Any:
    """What tells one function from another: a function in C has its name in place of a code."""
    return code if type(code) is str else id(code)


def add(found: dict[Any, Any], entry: Any) -> None:
    """Adds an entry to that of the same function."""
    own = found.get(key_of(entry.code))
    if own is None:
        values = {name: getattr(entry, name) for name in FIELDS}
        found[key_of(entry.code)] = SimpleNamespace(code=entry.code, calls=None, **values)
        return
    for name in FIELDS:
        setattr(own, name, getattr(own, name) + getattr(entry, name))


class Alive:
    """A thread has one, which is gone when the thread has ended."""


class Sums:
    """What `getstats` of the program's profiler calls: the profilers of all threads, added up.

    `mu` guards `others`, `kept`, `on` and `left`.  It is reentrant: a finalizer may ask for the sums, too."""

    def __init__(self, profiler: Any, kind: Any) -> None:
        self.profiler = profiler
        self.kind = kind  # _lsprof.Profiler
        self.mu = threading.RLock()
        self.others: list[tuple[Any, weakref.ref[Alive]]] = []  # a thread's profiler, and whether that thread lives
        self.kept: list[Any] = []  # the sums of what is not in a profiler any more
        self.on = True  # before CPython 3.12 False between disable() and enable()
        self.left = False  # switched off by another thread, so that the program's own still counts in its thread
        self.local = _local()
        self.starts = 0  # before CPython 3.12 the thread that has called gort.run, while that lasts

    def __call__(self) -> list[Any]:
        with self.mu:
            self.fold()
            return summed([*self.kept, *self.entries()])

    def entries(self) -> Iterable[Any]:
        """What all profilers have counted that are on.  The program's own may be without `on`: by super().enable()."""
        counting = self.profilers() if self.on else [self.profiler][self.left :]
        return (entry for each in counting for entry in self.kind.getstats(each))

    def profilers(self) -> list[Any]:
        """That of the program first."""
        return [self.profiler, *(each for each, _ in self.others)]

    def fold(self) -> None:
        """Drops the profilers of threads that have ended, and keeps their sums.  The caller holds mu."""
        ended = [each for each, alive in self.others if alive() is None]
        if not ended:
            return
        if self.on:
            self.kept = summed([*self.kept, *(entry for each in ended for entry in self.kind.getstats(each))])
        gone = {id(each) for each in ended}
        self.others = [(each, alive) for each, alive in self.others if id(each) not in gone]

    def clear(self) -> None:
        """Profiler.clear, of all of them."""
        with self.mu:
            self.kept = []
            for each in self.profilers():
                self.kind.clear(each)

    def another(self) -> Any:
        """A profiler for the calling thread."""
        profiler = self.kind()
        self.local.alive = alive = Alive()
        with self.mu:
            self.fold()
            self.others.append((profiler, weakref.ref(alive)))
        return profiler

    def disable(self) -> None:
        """Profiler.disable.  It cannot switch other threads off: what they count from now on is dropped."""
        foreign = self.foreign()
        if not foreign:
            type(self.profiler).disable(self.profiler)
        with self.mu:
            self.fold()
            self.kept = summed([*self.kept, *self.entries()])
            self.on, self.left = False, foreign
            self.drop()

    def enable(self, *args: Any, **kwargs: Any) -> None:
        """Profiler.enable."""
        self.resume()
        if not self.foreign():
            type(self.profiler).enable(self.profiler, *args, **kwargs)
        elif sys.getprofile() is None:
            self.another().enable(*args, **kwargs)

    def resume(self) -> None:
        """What is counted from now on is not dropped."""
        with self.mu:
            if not self.on:
                self.kept = summed([*self.kept, *self.entries()])
                self.drop()
                self.on, self.left = True, False

    def drop(self) -> None:
        """Forgets what the profilers have now.  The caller holds mu."""
        for each in self.profilers():
            self.kind.clear(each)

    def foreign(self) -> bool:
        """True in a goroutine on another thread than that which has called gort.run."""
        return self.starts not in (0, threading.get_ident())


def sums_of(profiler: Any) -> Sums | None:
    """The Sums of a profiler, made where there are none; None if it is no cProfile.Profile."""
    from _lsprof import Profiler

    if not issubclass(type(profiler), Profiler):
        return None
    names = getattr(profiler, "__dict__", None)
    if type(names) is not dict:
        return None
    sums = names.get("getstats")
    if type(sums) is not Sums:
        sums = names["getstats"] = Sums(profiler, Profiler)
        names["clear"] = sums.clear
        if sys.version_info < (3, 12):
            names["enable"], names["disable"] = sums.enable, sums.disable
    return sums


def nothing() -> None:
    """What ends a watch that has not begun."""


if sys.version_info >= (3, 12):

    def begin(s: Any) -> Callable[[], None]:
        """Lets the profiler that is on count all threads from now on, also those of other runtimes than s.  Returns what
        ends that."""
        tool = sys.monitoring.PROFILER_ID
        register = sys.monitoring.register_callback
        before: dict[int, Any] = {}
        for event in [value for value in vars(sys.monitoring.events).values() if type(value) is int and value]:
            callback = register(tool, event, None)
            if callback is not None:
                before[event] = callback
                register(tool, event, callback)
        owners = {
            id(owner): owner for each in before.values() if (owner := getattr(each, "__self__", None)) is not None
        }
        sums = sums_of(*owners.values()) if len(owners) == 1 else None
        if sums is None:
            return nothing
        starts, local = threading.get_ident(), _local()

        def divided(name: str) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                try:
                    callback = getattr(local, name)
                except AttributeError:
                    if not hasattr(local, "profiler"):
                        mine = threading.get_ident() == starts
                        local.profiler = sums.profiler if mine else sums.another()
                    callback = getattr(local.profiler, name)
                    setattr(local, name, callback)
                return callback(*args)

            return call

        ours = {event: divided(callback.__name__) for event, callback in before.items()}
        for event, callback in ours.items():
            register(tool, event, callback)

        def end() -> None:
            if sys.monitoring.get_tool(tool) is None:
                return  # it has been switched off
            for event, callback in ours.items():
                now = register(tool, event, None)
                register(tool, event, before[event] if now is callback else now)

        return end

else:
    _runs: dict[int, Sums] = {}  # id of a runtime -> who counts its threads

    def _begins(frame: Any, event: str, arg: Any) -> None:
        """The profile function of a new thread, until its first call."""
        sys.setprofile(None)
        thread = threading.current_thread()
        if type(thread) is Thread:
            sums = _runs.get(thread.run_of)
            if sums is not None and sums.on:
                sums.another().enable()

    def begin(s: Any) -> Callable[[], None]:
        """Lets the profiler that is on in this thread count the threads of the Ms of s, which begin after this.  Returns
        what ends that."""
        sums = sums_of(sys.getprofile())
        if sums is None or threading.getprofile() not in (None, _begins):
            return nothing
        sums.resume()
        _runs[id(s)] = sums
        sums.starts = threading.get_ident()
        threading.setprofile(_begins)

        def end() -> None:
            del _runs[id(s)]
            sums.starts = 0
            if sums.left and sys.getprofile() is sums.profiler:
                sums.disable()
            if not _runs and threading.getprofile() is _begins:
                threading.setprofile(None)

        return end
