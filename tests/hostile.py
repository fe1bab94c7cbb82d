"""What test_hostile.py throws at gort: the exceptions, as data, and the check of one case.  hostile_places.py and
hostile_library.py have the places.  Run as a program, it takes the cases from the command line, prints each one before it
begins and what was wrong with it after: so whoever started it knows in which case the process has ended or hangs.

A case is a place, a kind of exception and a number of Ps.  It runs in a gort.run of its own, beside a canary: two
goroutines that play ping-pong.  What the place raises must end the program, as itself or as the cause of what ends it,
or be reported (sys.unraisablehook, stderr), or come to the place itself.  Then the canary's count is exact, no thread,
goroutine or descriptor is left, and another program runs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import io
import os
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import gort
from gort._runtime.boot import rt0
from support import gort_threads, open_files, settles

LIMIT_S = 60.0  # a case that takes longer hangs
PATIENCE_S = 2.0  # so long a place waits for something that may never be raised
ROUNDS = 10  # of the canary, at least

# ---- the exceptions ---------------------------------------------------------------------------------------------------


class Plain(Exception):
    """An exception of the user's."""


class Base(BaseException):
    """One that `except Exception` does not catch."""


class Unhashable(Exception):
    """Neither compared nor hashed."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("__eq__ of an exception")

    def __hash__(self) -> int:
        raise ValueError("__hash__ of an exception")

    def __bool__(self) -> bool:
        raise ValueError("__bool__ of an exception")


class Unshowable(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise KeyboardInterrupt("__str__ of an exception")

    def __repr__(self) -> str:
        raise SystemExit("__repr__ of an exception")


class NoText(Exception):
    """Its texts are no texts."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]

    __repr__ = __str__
    __notes__ = 7


class NoClass(Exception):
    """isinstance runs its code, which fails."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ValueError("__class__ of an exception")


class NoAttributes(Exception):
    """None of its attributes can be read or set."""

    def __getattribute__(self, name: str) -> Any:
        raise ValueError(f"{name} of an exception")

    def __setattr__(self, name: str, value: Any) -> None:
        raise ValueError(f"{name} of an exception")


class NoTraceback(Exception):
    """Its traceback, cause and context are the class's own."""

    @property
    def _none(self) -> Any:
        raise ValueError("__traceback__ of an exception")

    __traceback__ = __cause__ = __context__ = __suppress_context__ = args = _none  # type: ignore[assignment]

    def with_traceback(self, tb: Any) -> Any:
        raise ValueError("with_traceback of an exception")


class Dying(Exception):
    """Its finalizer raises."""

    def __del__(self) -> None:
        raise ValueError("__del__ of an exception")


def circular() -> BaseException:
    """Two exceptions that are each other's cause."""
    exc, other = Plain("one"), Plain("two")
    exc.__cause__, other.__cause__ = other, exc
    return exc


KINDS: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: Plain("evil"),
    "BaseException": lambda: Base("evil"),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("evil"),
    "SystemExit": lambda: SystemExit(3),
    "RecursionError": lambda: RecursionError("evil"),
    "MemoryError": lambda: MemoryError(),
    "StopIteration": lambda: StopIteration(5),
    "StopAsyncIteration": lambda: StopAsyncIteration(),
    "GeneratorExit": lambda: GeneratorExit(),
    "asyncio.CancelledError": lambda: asyncio.CancelledError(),
    "gort.Cancelled": lambda: gort.Cancelled("evil"),
    "AttributeError": lambda: AttributeError("evil"),
    "group": lambda: ExceptionGroup("evil", [Plain("a"), Unshowable("b")]),
    "Unhashable": lambda: Unhashable("evil"),
    "Unshowable": lambda: Unshowable("evil"),
    "NoText": lambda: NoText("evil"),
    "NoClass": lambda: NoClass("evil"),
    "NoAttributes": lambda: NoAttributes("evil"),
    "NoTraceback": lambda: NoTraceback("evil"),
    "Dying": lambda: Dying("evil"),
    "circular": circular,
}

# What is the end of a goroutine, of an iteration or of a program that closes its goroutines, or the answer of a
# __getattr__, and needs no report.
ENDS = (gort.Cancelled, GeneratorExit, StopIteration, StopAsyncIteration, AttributeError)


class Evil:
    """Raises an exception of one kind, and keeps account of what it has raised and of who has got it."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.kind = kind
        self.make = KINDS[kind]
        self.raised: list[BaseException] = []
        self.got: list[BaseException] = []  # by the place itself
        self.idle: gort.Chan[None] | None = None  # the canary rests until it is closed

    def boom(self, *args: object, **kwargs: object) -> Any:
        """Raises."""
        exc = self.make()
        self.raised.append(exc)
        raise exc

    async def aboom(self, *args: object) -> Any:
        """Raises after a wait."""
        await gort.gosched()
        self.boom()

    def obj(self, *names: str, **more: Any) -> Any:
        """An object whose special methods of these names raise: all there are, except those that are said to be let
        alone (`-__del__`)."""
        chosen = [n for n in names if not n.startswith("-")] or [n for n in SPECIAL if f"-{n}" not in names]
        methods: dict[str, Any] = {name: lambda *a, **k: self.boom() for name in chosen}
        if "__hash__" not in methods:
            methods["__hash__"] = object.__hash__
        return type("Hostile", more.pop("bases", (object,)), methods | more)()

    async def raises(self, patience: float = PATIENCE_S) -> None:
        """Waits until something has been raised."""
        end = time.monotonic() + patience
        while not self.raised and time.monotonic() < end:
            await gort.gosched()


SPECIAL = [
    "__str__",
    "__repr__",
    "__format__",
    "__bytes__",
    "__eq__",
    "__ne__",
    "__lt__",
    "__hash__",
    "__bool__",
    "__len__",
    "__iter__",
    "__next__",
    "__contains__",
    "__getitem__",
    "__getattr__",
    "__setattr__",
    "__index__",
    "__int__",
    "__float__",
    "__fspath__",
    "__enter__",
    "__exit__",
    "__reduce_ex__",
    "__dir__",
    "__del__",
    "__await__",
    "__aiter__",
    "__anext__",
    "__sizeof__",
    "__buffer__",
    "__get__",
    "__set_name__",
]


# ---- one case ---------------------------------------------------------------------------------------------------------


class Place:
    """Where gort calls or touches something of the user's: `await fn(evil)` in the main goroutine."""

    def __init__(self, fn: Callable[[Evil], Awaitable[None]], may: tuple[type[BaseException], ...], quiet: str) -> None:
        self.name = fn.__name__
        self.fn = fn
        self.may = may  # what else may end the program here
        self.quiet = quiet  # why what is raised here need not be told of


PLACES: dict[str, Place] = {}


def place(*may: type[BaseException], quiet: str = "") -> Callable[[Any], Any]:
    """Enters a function into PLACES."""

    def enter(fn: Any) -> Any:
        PLACES[fn.__name__] = Place(fn, may, quiet)
        return fn

    return enter


class Canary:
    """Two goroutines that play ping-pong."""

    def __init__(self, evil: Evil) -> None:
        self.evil = evil
        self.there: gort.Chan[int] = gort.Chan()
        self.back: gort.Chan[int] = gort.Chan()
        self.sent = self.answered = 0
        self.stop = False
        self.over: gort.Chan[None] = gort.Chan()

    def start(self) -> None:
        gort.go(self.ping)
        gort.go(self.pong)

    async def ping(self) -> None:
        while not self.stop or self.sent < ROUNDS:
            self.sent += 1
            await self.there.send(self.sent)
            assert await self.back.recv() == -self.sent
            await gort.gosched()
            if self.evil.idle is not None:
                await self.evil.idle.recv_ok()
        self.there.close()

    async def pong(self) -> None:
        async for n in self.there:
            assert n == self.answered + 1
            self.answered = n
            await self.back.send(-n)
        self.over.close()

    async def finish(self) -> None:
        self.stop = True
        await self.over.recv_ok()


def tree(exc: BaseException | None) -> list[BaseException]:
    """exc, and what it was raised from, with, and because of.  Runs nothing of the exceptions' own."""
    found: list[BaseException] = []
    rest = [exc]
    while rest:
        each = rest.pop()
        if each is None or any(each is e for e in found):
            continue
        found.append(each)
        base: Any = BaseException
        rest.append(base.__dict__["__cause__"].__get__(each))
        rest.append(base.__dict__["__context__"].__get__(each))
        if issubclass(type(each), BaseExceptionGroup):
            rest += BaseExceptionGroup.exceptions.__get__(each)  # type: ignore[attr-defined]
    return found


def kind_of(exc: BaseException) -> str:
    """The name of an exception's class, and its text where that can be had."""
    try:
        return f"{type(exc).__name__}: {exc}".partition("\n")[0]
    except BaseException:
        return type(exc).__name__


def check(place: Place, kind: str, procs: int) -> list[str]:
    """Runs one case and returns what was wrong."""
    evil = Evil(kind)
    canary = Canary(evil)
    wrong: list[str] = []
    reported: list[BaseException] = []
    texts = io.StringIO()
    files = open_files()

    async def main() -> str:
        canary.start()
        await place.fn(evil)
        await canary.finish()
        return "went on"

    def hook(args: Any) -> None:
        reported.append(args.exc_value)

    def begin(s: Any) -> None:
        try:
            mstart0(s)
        except BaseException as e:
            wrong.append(f"on the scheduler's stack: {kind_of(e)}\n" + "".join(traceback.format_tb(e.__traceback__)))
            raise

    mstart0, rt0.mstart0 = rt0.mstart0, begin
    before = sys.stderr, sys.unraisablehook, threading.excepthook, sys.get_asyncgen_hooks()
    sys.stderr, sys.unraisablehook, threading.excepthook = texts, hook, hook
    outcome: Any = None
    end: BaseException | None = None
    try:
        outcome = gort.run(main, procs=procs)
    except BaseException as e:
        end = e
    finally:
        gc.collect()
        rt0.mstart0 = mstart0
        sys.stderr, sys.unraisablehook, threading.excepthook = before[:3]
    known = [e for exc in (end, *reported, *evil.got) for e in tree(exc)]
    if end is None:
        if outcome != "went on":
            wrong.append(f"main's result is lost: {outcome!r}")
        if canary.sent != canary.answered:
            wrong.append(f"the canary sent {canary.sent} and had {canary.answered} answers")
    else:
        if not any(e is r for e in tree(end) for r in evil.raised) and not issubclass(type(end), place.may):
            text = "".join(traceback.format_tb(end.__traceback__))
            wrong.append(f"ended with what is not the place's: {kind_of(end)}\n{text}")
        if not canary.sent - 1 <= canary.answered <= canary.sent:
            wrong.append(f"the canary sent {canary.sent} and had {canary.answered} answers")
    told = any(k is r for k in known for r in evil.raised) or "evil" in texts.getvalue() or kind in texts.getvalue()
    if evil.raised and not told and not place.quiet and not issubclass(type(evil.raised[0]), ENDS):
        wrong.append("what was raised is lost")
    if "fatal error: scheduler failed" in texts.getvalue():
        wrong.append(texts.getvalue())
    del end, known, reported[:], evil.raised[:], evil.got[:]
    if sys.get_asyncgen_hooks() != before[3]:
        wrong.append("the hooks of async generators are not those of before")
    if not settles(lambda: not gort_threads()):
        wrong.append(f"threads are left: {gort_threads()}")
    gc.collect()
    if gort.runtime.num_goroutine() != 0:
        wrong.append("goroutines are left")
    if not settles(lambda: set(open_files()) <= set(files)):
        wrong.append(f"descriptors are left: { {k: v for k, v in open_files().items() if k not in files} }")
    try:
        if gort.run(_next, procs=procs) != 7:
            wrong.append("the next program has another result")
    except BaseException as e:
        wrong.append(f"the next program ends with {kind_of(e)}")
    return wrong


async def _next() -> int:
    ch: gort.Chan[int] = gort.Chan()
    gort.go(_send, ch)
    return await ch.recv()


async def _send(ch: gort.Chan[int]) -> None:
    await ch.send(7)


def main(cases: list[str]) -> None:
    """Runs the cases, each `place/kind/procs`, and prints one line before and one after each."""
    import hostile_library  # noqa: F401  (they fill PLACES)
    import hostile_places  # noqa: F401

    for case in cases:
        name, kind, procs = case.split("/")
        print(f"case {case}", flush=True)
        faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=sys.__stderr__)
        wrong = check(PLACES[name], kind, int(procs))
        faulthandler.cancel_dump_traceback_later()
        print("WRONG " + "; ".join(wrong).replace("\n", "\n    ") if wrong else "right", flush=True)


if __name__ == "__main__":
    sys.modules["hostile"] = sys.modules["__main__"]
    main(sys.argv[1:])
