"""The clocks of Python's modules time and datetime in a bubble.

Programs ask for the time by time.time(), time.monotonic() or datetime.now(), and many have imported the functions by
name.  So it is not enough to replace them in their modules.  CPython keeps in each built-in function a pointer to an
entry with the address of its C function.  While a bubble is open, the entries of the functions that tell the time hold
the address of a function of ours.  It gives a goroutine of a bubble the bubble's time, and asks the real function for all
others: the pytest that runs the test, other threads, the scheduler itself.

What takes arguments may raise, which a function of ours at such an address cannot.  So datetime.now and utcnow are
replaced in their class, and time.localtime and its like in their module.  So is date.today: from CPython 3.15 on it asks
the system's clock, and not time.time.

Invariants
- Everything is replaced and restored under _lock, and restored once no bubble is open.
- What is called through an entry is never freed, since a thread may be about to call it.  It takes no lock.

Rejected: to replace names in all loaded modules, as freezegun does (it takes a tenth of a second for each test, and
misses references in objects); a subclass of datetime (isinstance and pickles see it).

What does not live here: when time goes on, and what a function of ours answers (_runtime/wait/bubble.py).  What blocks a
thread, such as time.sleep, takes real time in a bubble too.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import gc
import threading
import time
from _collections_abc import Callable, Iterator
from typing import Any

from gort._runtime.core.runtime2 import current_m
from gort._start.cython import lent

with lent():
    from gort._runtime.wait.bubble import Clock

NOARGS = 0x4  # CPython's METH_NOARGS
_lock = threading.Lock()
_open = 0  # how many bubbles are open
_redirections: list[Redirection] = []  # made at the first bubble


class MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("meth", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


_Function: Any = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)


def virtual() -> tuple[int, int] | None:
    """What the clocks of this goroutine's bubble show, in ns: the monotonic one, and the time of day since 1970.  None
    for who is no goroutine of a bubble."""
    m: Any = current_m()
    if m is None or m.curg is None:
        return None
    s = m.sched
    bubble = s.bubble
    if bubble is None:
        return None
    return s.vnow, s.vnow + bubble.epoch


class Redirection:
    """A replacement that can be made and taken back."""

    def make(self) -> None:
        """Puts ours in the place of the real one."""

    def take_back(self) -> None:
        """Puts the real one back."""


class Entry(Redirection):
    """The table entry of a function without arguments.  wall: it tells the time of day."""

    def __init__(self, name: str, wall: bool = False) -> None:
        function = getattr(time, name)
        pointer = ctypes.c_void_p.from_address(id(function) + object.__basicsize__)
        self.entry: MethodDef = MethodDef.from_address(pointer.value or 0)
        if self.entry.name != name.encode() or self.entry.flags != NOARGS:
            raise RuntimeError(f"gort.testing: this Python keeps time.{name} in another way: no bubble can be made")
        self.address: int | None = self.entry.meth
        self.kept: Any = _Function(Clock(_Function(self.address), wall, name.endswith("_ns")))

    def make(self) -> None:
        self.entry.meth = ctypes.cast(self.kept, ctypes.c_void_p).value

    def take_back(self) -> None:
        self.entry.meth = self.address


class Attribute(Redirection):
    """An attribute of the module time."""

    def __init__(self, name: str, ours: Callable[..., Any]) -> None:
        self.name: str = name
        self.ours: Callable[..., Any] = ours
        self.real: Any = getattr(time, name)

    def make(self) -> None:
        setattr(time, self.name, self.ours)

    def take_back(self) -> None:
        if getattr(time, self.name) is self.ours:  # else somebody else has replaced it meanwhile, and keeps it
            setattr(time, self.name, self.real)


class Method(Redirection):
    """A class method of the module datetime, which Python code cannot set: its class is C's."""

    def __init__(self, cls: type[datetime.date], name: str, ours: Callable[..., Any]) -> None:
        self.cls: type[datetime.date] = cls
        self.name: str = name
        self.table: dict[str, Any] = gc.get_referents(cls.__dict__)[0]
        self.real: Any = self.table[name]
        self.ours: Any = classmethod(ours)

    def make(self) -> None:
        self.put(self.ours)

    def take_back(self) -> None:
        self.put(self.real)

    def put(self, value: Any) -> None:
        """Enters it, and tells the interpreter, which remembers what it has found in a class."""
        self.table[self.name] = value
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(self.cls))


def at(real: Callable[..., Any], places: int) -> Callable[..., Any]:
    """A function of the module time which tells the present when its argument number `places` is missing."""

    def ours(*args: Any) -> Any:
        now = virtual()
        if now is not None and (len(args) == places or (len(args) > places and args[places] is None)):
            return real(*args[:places], _present(real, now))
        return real(*args)

    return ours


_localtime, _gmtime = time.localtime, time.gmtime


def _present(real: Callable[..., Any], now: tuple[int, int]) -> Any:
    """The present as such a function takes it."""
    seconds = now[1] / 1e9
    return _localtime(seconds) if real.__name__ in ("asctime", "strftime") else seconds


def redirections() -> list[Redirection]:
    """All of them."""
    methods: list[Method] = []

    def now(cls: Any, tz: Any = None) -> Any:
        present = virtual()
        if present is None:
            return methods[0].real.__get__(None, cls)(tz)
        return cls.fromtimestamp(present[1] / 1e9, tz)

    def utcnow(cls: Any) -> Any:
        present = virtual()
        if present is None:
            return methods[1].real.__get__(None, cls)()
        return cls.fromtimestamp(present[1] / 1e9, datetime.UTC).replace(tzinfo=None)

    def today(cls: Any) -> Any:
        present = virtual()
        if present is None:
            return methods[2].real.__get__(None, cls)()
        return cls.fromtimestamp(present[1] / 1e9)

    found: list[Redirection] = [
        Entry("time", wall=True),
        Entry("time_ns", wall=True),
        *(Entry(name) for name in ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")),
        *(Attribute(name, at(getattr(time, name), 0)) for name in ("localtime", "gmtime", "ctime", "asctime")),
        Attribute("strftime", at(time.strftime, 1)),
    ]
    methods += [
        Method(datetime.datetime, "now", now),
        Method(datetime.datetime, "utcnow", utcnow),
        Method(datetime.date, "today", today),
    ]
    return [*found, *methods]


@contextlib.contextmanager
def redirected() -> Iterator[None]:
    """While in it, goroutines of bubbles see their bubble's time."""
    global _open
    with _lock:
        if not _redirections:
            _redirections.extend(redirections())
        _open += 1
        if _open == 1:
            for each in _redirections:
                each.make()
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if _open == 0:
                for each in _redirections:
                    each.take_back()
