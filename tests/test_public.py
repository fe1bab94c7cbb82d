"""What every public name says of itself, on the core that runs: where it lives, what it takes, what dir() lists; and that
public exceptions come whole out of a pickle."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import traceback
import typing
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import gort

MODULES = [
    importlib.import_module(name)
    for name in (
        *(
            "gort",
            "gort.bufio",
            "gort.context",
            "gort.debug",
            "gort.exec",
            "gort.http",
            "gort.net",
            "gort.os",
            "gort.runtime",
            "gort.signal",
        ),
        "gort.sync",
    )
]
# Offered again: the standard library's own, and exceptions of gort.bufio.
BORROWED = {("gort.signal", "Signals"), ("gort.net", "IncompleteRead"), ("gort.net", "LimitExceeded")}


def offered() -> Iterator[tuple[ModuleType, str, Any]]:
    """Every class and function that gort offers."""
    for module in MODULES:
        for name in module.__all__:
            value = getattr(module, name)
            if (module.__name__, name) not in BORROWED and (isinstance(value, type) or inspect.isroutine(value)):
                yield module, name, value


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The functions of a class that are gort's: methods of its own, and of its bases where they are public."""
    for base in cls.__mro__:
        if not (getattr(base, "__module__", None) or "").startswith("gort"):
            continue  # object, Exception, Generic, tuple
        for name, value in vars(base).items():
            if name == "__del__" or (name.startswith("_") and not name.startswith("__")):
                continue  # nobody calls it by its name
            if isinstance(value, property):
                value = value.fget
            if inspect.isroutine(value) and not isinstance(value, classmethod | staticmethod):
                yield f"{base.__name__}.{name}", value


OFFERED = [pytest.param(*o, id=f"{o[0].__name__}.{o[1]}") for o in offered()]
CALLABLES = [pytest.param(v, id=f"{m.__name__}.{n}") for m, n, v in offered()] + [
    pytest.param(value, id=f"{m.__name__}.{n}: {member}")
    for m, n, v in offered()
    if isinstance(v, type)
    for member, value in members(v)
    if value.__qualname__ not in ("NamedTuple", "type.__call__")
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_dir_lists_what_is_public(module: ModuleType) -> None:
    lazy = (
        {
            "aio",
            "bufio",
            "context",
            "debug",
            "exec",
            "http",
            "metrics",
            "net",
            "notebook",
            "os",
            "signal",
            "sync",
            "testing",
            "trace",
        }
        if module is gort
        else set()
    )
    assert dir(module) == sorted({*module.__all__, *lazy})
    assert [n for n in dir(module) if n.startswith("_")] == (["__version__"] if module is gort else [])
    for name in dir(module):
        assert hasattr(module, name), name


@pytest.mark.parametrize(("module", "name", "value"), OFFERED)
def test_everything_lives_where_it_is_offered(module: ModuleType, name: str, value: Any) -> None:
    assert value.__module__ == module.__name__
    assert value.__name__ == value.__qualname__ == name
    assert pickle.loads(pickle.dumps(value)) is value
    if isinstance(value, type):
        assert repr(value) == f"<class '{module.__name__}.{name}'>"


@pytest.mark.parametrize("value", CALLABLES)
def test_signatures_and_hints_can_be_had(value: Any) -> None:
    """Every annotation of a signature becomes an object; what is compiled has a signature without annotations."""
    signature = inspect.signature(value)
    hints = typing.get_type_hints(value if not isinstance(value, type) else value.__init__)
    annotated = {p.name for p in signature.parameters.values() if p.annotation is not p.empty}
    if not isinstance(value, type) or value.__init__ is not object.__init__:
        assert annotated <= set(hints)
    assert not any(isinstance(hint, str) for hint in hints.values())
    typing.get_type_hints(value)


def test_hints_are_typings_own() -> None:
    """Not stand-ins: another library can work with them."""
    run = typing.get_type_hints(gort.run)
    assert run["procs"] == int | None
    assert isinstance(run["return"], typing.TypeVar)
    assert typing.get_type_hints(gort.runtime.goexit) == {"return": typing.NoReturn}
    assert typing.get_type_hints(gort.runtime.boot) == {"return": dict[str, Any]}
    assert typing.get_type_hints(gort.wait)["what"].__origin__ is typing.Awaitable[int].__origin__  # type: ignore[attr-defined]
    assert typing.get_type_hints(gort.Group.go)["return"].__origin__ is gort.Handle
    assert typing.get_type_hints(gort.sync.Cond.__aenter__) == {"return": typing.Self}
    assert typing.get_type_hints(gort.net.dial)["return"] is gort.net.Conn


def test_signatures_are_what_a_user_would_write() -> None:
    def plain(value: Any) -> str:
        signature = inspect.signature(value)
        bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        return str(signature.replace(parameters=bare, return_annotation=signature.empty))

    assert plain(gort.Chan) == "(capacity=0)"
    assert plain(gort.go) == "(fn, /, *args, **kwargs)"
    assert plain(gort.select) == "(*cases, default=False, **named)"
    assert plain(gort.run) == "(main, *args, procs=None)"
    assert plain(gort.after_func) == "(seconds, fn, *args)"
    assert plain(gort.sync.Semaphore) == "(n=1)"
    assert plain(gort.sync.WaitGroup) == plain(gort.sync.Mutex) == "()"
    assert plain(gort.net.Conn.read).replace("/, ", "") == "(self, n=65536)"


def exceptions() -> list[BaseException]:
    """One of each public exception, with its attributes set."""
    panic = gort.Panic("goroutine 7: ValueError: x")
    panic.goroutine, panic.dump = 7, "panic: ValueError: x\n\ngoroutine 7 [running]:"
    deadlock = gort.Deadlock()
    deadlock.dump = "fatal error: all goroutines are asleep - deadlock!"
    closed = gort.net.Closed("write tcp: use of closed network connection")
    closed.written = 17  # type: ignore[attr-defined]
    return [
        gort.Cancelled("why", 3),
        gort.ChannelClosed("send on closed channel"),
        panic,
        deadlock,
        gort.context.Canceled(),
        gort.context.DeadlineExceeded(),
        closed,
        gort.http.ProtocolError("no HTTP", "GET", "http://x/"),
        gort.http.RequestError("the request has failed", "GET", "http://x/"),
        gort.http.RequestTimeout("nothing for 3 s", "GET", "http://x/", "connect"),
        gort.http.StatusError("404 Not Found", "GET", "http://x/"),
        gort.http.TooManyRedirects("more than 20", "GET", "http://x/"),
        gort.net.DeadlineExceeded("dial tcp: timed out"),
        gort.net.IncompleteRead("the stream ended after 3 of 4 bytes", b"abc"),
        gort.net.LimitExceeded("no b'\\n' in the first 9 bytes"),
        gort.signal.SignalReceived(2),
        gort.exec.ExitError(["git", "log"], 128, b"out", b"fatal: not a git repository\n"),
        gort.exec.WaitDelayExceeded(["sh", "-c", "daemon &"], 0.5, b"out", b""),
    ]


def test_every_public_exception_is_looked_at() -> None:
    every = {v for _, _, v in offered() if isinstance(v, type) and issubclass(v, BaseException)}
    assert {type(e) for e in exceptions()} == every


@pytest.mark.parametrize("way", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy], ids=["pickle", "copy"])
@pytest.mark.parametrize("exc", exceptions(), ids=lambda e: f"{type(e).__module__}.{type(e).__name__}")
def test_exceptions_come_whole_out_of_a_pickle(
    exc: BaseException, way: Callable[[BaseException], BaseException]
) -> None:
    exc.add_note("a note")
    again = way(exc)
    assert type(again) is type(exc)
    assert (again.args, str(again), vars(again)) == (exc.args, str(exc), vars(exc))
    if isinstance(exc, OSError):
        assert isinstance(again, OSError)
        assert (again.errno, again.strerror) == (exc.errno, exc.strerror)
    (line,) = traceback.format_exception_only(exc)[:1]
    assert line.startswith(f"{type(exc).__module__}.{type(exc).__qualname__}: ")


def test_what_an_operation_is_shows() -> None:
    """`ch.recv()` at a prompt, or in the message of an error, names what a user wrote, not the runtime's class."""
    ch: gort.Chan[int] = gort.Chan(1)
    for op, what in ((ch.send(1), "ch.send()"), (ch.recv_ok(), "ch.recv_ok()"), (gort.gosched(), "gort.gosched()")):
        assert repr(op).startswith(f"<operation {what} at 0x")
        gort.wait(op)


def test_messages_of_the_interpreter_name_no_private_module() -> None:
    values = [gort.Chan(), gort.sync.Mutex(), gort.sync.RWMutex().reader(), gort.sync.WaitGroup(), gort.Timer(1)]
    for value in values:
        with pytest.raises(TypeError) as caught:
            value + 1  # type: ignore[operator]
        assert "_runtime" not in str(caught.value)
        assert "_runtime" not in repr(value)
