"""Data races in an explored program: watch.  Follows Go's race detector, by vector clocks (FastTrack: Flanagan and
Freund, PLDI 2009).

Each goroutine has a clock: for each goroutine, up to which of its steps it knows what that one has done.  What
synchronises passes clocks on: an operation or a call that *releases* adds its goroutine's clock to that of the object,
one that *acquires* adds the object's clock to its goroutine's.  Two accesses to one watched place, one of them a write,
of which neither knows the other, are a race, whether or not it has done harm in this schedule.

Operations are told of by the chooser.  Calls that are no operations (`go`, `unlock`, `close`, `done`, `try_send`) are
seen by a profile function (sys.setprofile), so the core pays nothing for them.  Where it is not known which of two
clocks passes, both do: then a race may not be seen in this schedule, but none is reported that is not there.

What does not live here: the schedules (schedule.py, search.py).
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from gort._runtime.core.traceback import HIDDEN
from gort.sync import Once
from gort.testing.interleaving import where

T = TypeVar("T")
Clock = dict[int, int]  # goroutine -> steps

HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class made in Python, which can be exchanged
ONCE = Once.do.__code__
RUNTIME = os.path.join(HIDDEN, "_runtime") + os.sep
GOES = frozenset(("go", "make_from", "newproc", "newproc_from", "go_fast"))
RELEASES = frozenset(
    ("close", "unlock", "runlock", "done", "add", "release", "notify", "try_send", "stop", "reset", "__aexit__")
)
ACQUIRES = frozenset(("try_recv", "try_lock", "try_rlock", "try_acquire"))
# They wake goroutines, but a profile function is not told which: what they release everybody acquires.
TO_ALL = frozenset(("cancel", "cancel_scope", "close_chan", "wake", "ready"))

current: Races | None = None  # of the schedule that runs now; one thread explores at a time
wanted: bool = False  # watch was called in a schedule without one


class DataRace(AssertionError):
    """Two goroutines have accessed one watched place without synchronisation, and one of them has written: the cause of a
    ScheduleFailure."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Access:
    """The last access of one kind to a place."""

    __slots__ = ("goid", "step", "where")

    def __init__(self, goid: int, step: int, at: str) -> None:
        self.goid: int = goid
        self.step: int = step
        self.where: str = at


class Races:
    """The clocks of one schedule.  It is the chooser's observer, and passes on what another observer wants to know."""

    def __init__(self, sched: Any, other: Any = None) -> None:
        self.s = sched
        self.other = other
        self.found: str | None = None
        self.goid: int = 0  # the goroutine that runs, or has run last: what the scheduler then does is counted as its
        self.clocks: dict[int, Clock] = {}
        self.begins: dict[int, Clock] = {}  # of goroutines that have not run yet: the clock of their go statement
        self.objects: dict[int, tuple[object, Clock]] = {}  # keeps them alive, so that no other gets their id
        self.everybody: Clock = {}
        self.holders: dict[int, set[int]] = {}  # locks: who has asked for it, and was not seen to release it
        self.slots: dict[int, Clock] = {}  # channels: what those know who have received, for those who send
        self.waits: dict[int, list[tuple[object, bool]]] = {}  # a goroutine's last operation: objects, and if it sends
        self.writes: dict[tuple[int, object], Access] = {}
        self.reads: dict[tuple[int, object], dict[int, Access]] = {}
        self.profile: Any = None
        self.names: dict[int, str] = {}  # by the id of what is watched, which `objects` keeps alive
        self.changed: list[tuple[object, type]] = []  # the objects whose class was exchanged, and their own class

    # ---- clocks --------------------------------------------------------------------------------------------------

    def clock(self) -> Clock:
        return self.clocks.setdefault(self.goid, {self.goid: 1})

    def release(self, obj: object) -> None:
        """obj learns what the goroutine has done, whose next step begins."""
        obj = getattr(obj, "rw", obj)
        mine = self.clock()
        _, clock = self.objects.setdefault(id(obj), (obj, {}))
        join(clock, mine)
        mine[self.goid] += 1
        self.holders.get(id(obj), set()).discard(self.goid)

    def acquire(self, obj: object) -> None:
        """The goroutine learns what obj knows."""
        obj = getattr(obj, "rw", obj)  # the lock of an RWMutex's reader
        mine = self.clock()
        join(mine, self.everybody)
        found = self.objects.get(id(obj))
        if found is not None:
            join(mine, found[1])
        for holder in self.holders.get(id(obj), ()):  # those who have released it where no profile function is called
            join(mine, self.clocks.get(holder, {}))

    # ---- the chooser's observer ----------------------------------------------------------------------------------

    def operation(self, goid: int, op: Any) -> None:
        """The goroutine that runs begins op."""
        if self.other is not None:
            self.other.operation(goid, op)
        self.waits[goid] = waits = []
        for each in op.c if type(op.c) is tuple else (op,):
            obj = getattr(each, "c", None)
            if obj is None:
                continue
            what = str(getattr(each, "what", ""))
            receives, sends = what.startswith(("ch.recv", "async for")), what.startswith("ch.send")
            if receives:
                join(self.slots.setdefault(id(obj), {}), self.clock())
            elif not what.startswith(("Mutex.lock", "RWMutex.rlock", "WaitGroup.wait")):
                self.release(obj)
            if what.startswith("Cond.wait") and each.sel is not None:
                self.release(each.sel)  # its locker: the core unlocks it, where no profile function is called
            waits.append((obj, sends))
            if "lock()" in what:
                self.holders.setdefault(id(obj), set()).add(goid)
        self.acquire_all(waits)

    def acquire_all(self, waits: list[tuple[object, bool]]) -> None:
        """What the goroutine's operation acquires; once more when it goes on, since others may have released since."""
        for obj, sends in waits:
            if sends:
                join(self.clock(), self.slots.get(id(obj), {}))  # a receive that has made room
            else:
                self.acquire(obj)

    def runs(self, g: Any) -> None:
        """g runs from now on."""
        if self.other is not None:
            self.other.runs(g)
        goid: int = g.goid
        self.goid = goid
        if goid not in self.clocks:
            begin = self.begins.pop(goid, None)
            mine = dict(self.clocks.get(g.parentgoid, {}) if begin is None else begin)
            mine[goid] = 1
            self.clocks[goid] = mine
        self.acquire_all(self.waits.get(goid, []))

    def stopped(self, g: Any) -> None:
        """g, which has run, does not run any more."""
        if self.other is not None:
            self.other.stopped(g)

    def over(self, exc: BaseException | None) -> None:
        """The schedule is over."""
        if self.other is not None:
            self.other.over(exc)

    # ---- calls that are no operations -----------------------------------------------------------------------------

    def called(self, frame: FrameType, event: str, arg: Any) -> None:
        """The profile function."""
        if frame.f_code is ONCE and event in ("call", "return"):  # who finds that it has run does no operation
            (self.acquire if event == "call" else self.release)(frame.f_locals["self"])
            return
        if event == "c_call":
            name = getattr(arg, "__name__", "")
            obj = getattr(arg, "__self__", None)
        elif event == "call" and frame.f_code.co_filename.startswith(HIDDEN):
            name = frame.f_code.co_name
            if "cancel" in name or "fire" in name:
                name = "cancel"
            elif not frame.f_code.co_filename.startswith(RUNTIME):
                return
            obj = frame.f_locals.get("self")  # of the uncompiled core
        else:
            return
        if name in GOES:
            self.begin()
        elif name in TO_ALL:
            mine = self.clock()
            join(self.everybody, mine)
            mine[self.goid] += 1
        elif obj is None or not type(obj).__module__.startswith("gort"):
            return
        elif name in RELEASES:
            if name == "try_send":
                join(self.clock(), self.slots.get(id(obj), {}))
            self.release(obj)
        elif name in ACQUIRES:
            self.acquire(obj)
            join(self.slots.setdefault(id(obj), {}), self.clock())

    def begin(self) -> None:
        """A go statement: the goroutine with the next number knows what this one has done."""
        p = self.s.m0.p
        goid = p.goidcache if p.goidcache != p.goidcacheend else self.s.goidgen + 1
        mine = self.clock()
        if goid not in self.begins:
            self.begins[goid] = dict(mine)
            mine[self.goid] += 1

    def __enter__(self) -> Races:
        global current
        current = self
        self.profile = sys.getprofile()
        sys.setprofile(self.called)
        return self

    def __exit__(self, *exc: object) -> None:
        global current
        sys.setprofile(self.profile)
        current = None
        for obj, kind in self.changed:  # one that outlives the schedule is watched anew in the next
            set_class(obj, kind)

    # ---- accesses ------------------------------------------------------------------------------------------------

    def access(self, obj: object, name: str, place: object, write: bool) -> None:
        """The goroutine reads or writes a place of obj."""
        if self.found is not None:
            return
        key = (id(obj), place)
        self.objects.setdefault(id(obj), (obj, {}))
        mine = self.clock()
        at, source = where(sys._getframe(2))
        now = Access(self.goid, mine[self.goid], f"{at}  {source}")
        last = self.writes.get(key)
        if last is not None and last.step > mine.get(last.goid, 0) and last.goid != self.goid:
            self.race(name, "write" if write else "read", now, "write", last)
        if not write:
            self.reads.setdefault(key, {})[self.goid] = now
            return
        for read in self.reads.pop(key, {}).values():
            if read.goid != self.goid and read.step > mine.get(read.goid, 0):
                self.race(name, "write", now, "read", read)
        self.writes[key] = now

    def race(self, name: str, how: str, now: Access, was: str, last: Access) -> None:
        """Keeps the first race."""
        if self.found is None:
            self.found = (
                f"data race on {name}: goroutine {now.goid} has a {how} at {now.where}, and goroutine {last.goid} had a "
                f"{was} at {last.where}, and nothing orders the two"
            )


def join(clock: Clock, other: Clock) -> None:
    """Adds to clock what other knows."""
    for goid, step in other.items():
        if step > clock.get(goid, 0):
            clock[goid] = step


# ---- what is watched ---------------------------------------------------------------------------------------------------


def watch(obj: T, name: str = "") -> T:
    """Names a dict, a list or an object whose unsynchronised use by two goroutines is a failure in explore: `self.pages =
    testing.watch({})`, `account = testing.watch(Account())`.  `name` is for the report.

    A dict's keys and a list as a whole are watched, and the attributes that an object has in its `__dict__`.  Returns
    what is to be used in the place of obj: a dict or list of a subclass with the same contents, or the object itself.
    Outside explore and replay it returns obj as it is.  Raises TypeError for an object of a built-in class, of a
    subclass of dict, list or set, or with slots.  Follows Go's race detector."""
    global wanted
    kind = type(obj)
    if kind in (WatchedDict, WatchedList) or classes.get(id(kind.__base__)) is kind:
        return obj  # it is watched already
    if kind not in (dict, list) and (
        not hasattr(obj, "__dict__") or isinstance(obj, (type, dict, list, set)) or not kind.__flags__ & HEAP
    ):
        raise TypeError(f"gort.testing.watch takes a dict, a list or an object with a __dict__, not {kind.__name__}")
    if current is None:
        wanted = True
        return obj
    if kind is dict:
        found: Any = WatchedDict(obj)  # type: ignore[call-overload]
    elif kind is list:
        found = WatchedList(obj)  # type: ignore[call-overload]
    else:
        set_class(obj, watched_class(kind))
        current.changed.append((obj, kind))
        found = obj
    current.names[id(found)] = name or f"a {kind.__name__}"
    current.objects[id(found)] = (found, {})
    return found  # type: ignore[no-any-return]


# By the id of the class, which its subclass here keeps alive.
classes: WeakValueDictionary[int, Any] = WeakValueDictionary()
set_class: Any = object.__dict__["__class__"].__set__  # not the class's own __setattr__


def touch(obj: Any, place: object, write: bool, text: str) -> None:
    """obj is accessed."""
    races = current
    if races is not None and id(obj) in races.objects:
        races.access(obj, f"{races.names.get(id(obj), 'an object')}{text}", place, write)


def watched_class(kind: Any) -> Any:
    """The subclass that an object of this class gets."""
    found = classes.get(id(kind))
    if found is None:

        def read(self: Any, name: str) -> Any:
            if name in object.__getattribute__(self, "__dict__"):
                touch(self, name, False, f".{name}")
            return kind.__getattribute__(self, name)

        def write(self: Any, name: str, value: Any) -> None:
            touch(self, name, True, f".{name}")
            kind.__setattr__(self, name, value)

        def delete(self: Any, name: str) -> None:
            touch(self, name, True, f".{name}")
            kind.__delattr__(self, name)

        body = {
            "__getattribute__": read,
            "__setattr__": write,
            "__delattr__": delete,
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "__class__": property(lambda self: kind),  # a dataclass compares it
        }
        found = classes[id(kind)] = type(kind.__name__, (kind,), body)
    return found


class WatchedDict(dict[Any, Any]):
    """A dict that tells of its accesses, key by key; None stands for all keys."""


class WatchedList(list[Any]):
    """A list that tells of its accesses."""


WHOLE = object()  # what changes with the keys of a dict, or the items of a list


def _watch_methods(cls: type, base: Any, keyed: bool) -> None:
    reads = (
        "__contains__ __getitem__ __iter__ __len__ __reversed__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __add__ "
        "__mul__ __rmul__ __or__ __ror__ copy count get index items keys values"
    )
    writes = (
        "__delitem__ __setitem__ __iadd__ __imul__ __ior__ append clear extend insert pop popitem remove reverse "
        "setdefault"
    )

    def method(name: str, write: bool) -> Any:
        real = getattr(base, name)
        one = keyed and name in (
            "__contains__",
            "__getitem__",
            "get",
            "__setitem__",
            "__delitem__",
            "pop",
            "setdefault",
        )

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if one:
                there = base.__contains__(self, args[0])
                touch(self, ("key", args[0]), write, f"[{args[0]!r}]")
                if write and (name != "__setitem__" or not there):
                    touch(self, WHOLE, True, "")
            else:
                touch(self, WHOLE, write, "")
            return real(self, *args, **kwargs)

        call.__name__ = name
        return call

    for name in reads.split():
        if hasattr(base, name):
            setattr(cls, name, method(name, False))
    for name in f"{writes} sort update".split():
        if hasattr(base, name):
            setattr(cls, name, method(name, True))


_watch_methods(WatchedDict, dict, True)
_watch_methods(WatchedList, list, False)
DataRace.__module__ = "gort.testing"  # a traceback names it as users import it
