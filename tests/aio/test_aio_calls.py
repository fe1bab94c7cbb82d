"""What each request to a server on gort.aio.Loop calls: call_soon, create_task, time, add_reader.  They are compiled, and
do what asyncio's own do: most tests run on both loops, and compare."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import socket
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import gort.aio

Loop = asyncio.AbstractEventLoop
VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="outside")


@contextmanager
def a_loop(make: Callable[[], Loop]) -> Iterator[Any]:
    loop = make()
    try:
        yield loop
    finally:
        loop.close()


def both(what: Callable[[Any], Any]) -> Any:
    """what(loop) on gort's loop, which is what it is on asyncio's."""
    seen = []
    for make in asyncio.SelectorEventLoop, gort.aio.Loop:
        with a_loop(make) as loop:
            seen.append(what(loop))
    assert seen[0] == seen[1]
    return seen[1]


def raised(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[type, str]:
    """The type and the text of what fn raises; the names of both loops' classes count as one."""
    with pytest.raises(Exception) as caught:
        fn(*args, **kwargs)
    text = (
        str(caught.value).replace("LoopCore.", "").replace("BaseEventLoop.", "").replace("BaseSelectorEventLoop.", "")
    )
    return caught.type, text


async def named() -> tuple[str, str]:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name(), VAR.get()


def context_with(value: str) -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(VAR.set, value)
    return context


# ---- create_task ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True])
def test_a_task_has_its_name_and_its_context(debug: bool) -> None:
    def what(loop: Any) -> Any:
        loop.set_debug(debug)
        tasks = [
            loop.create_task(named(), name="one"),
            loop.create_task(named(), name="two", context=context_with("inside")),
            loop.create_task(named(), name=3, context=None),
            loop.create_task(coro=named(), name="four"),
        ]
        assert all(type(t) is asyncio.Task and t.get_loop() is loop for t in tasks)
        return [loop.run_until_complete(t) for t in tasks]

    assert both(what) == [("one", "outside"), ("two", "inside"), ("3", "outside"), ("four", "outside")]


def test_a_task_without_a_name_gets_one() -> None:
    with a_loop(gort.aio.Loop) as loop:
        names = [loop.run_until_complete(loop.create_task(named(), **given))[0] for given in ({}, {"name": None})]
    assert all(name.startswith("Task-") for name in names)
    assert names[0] != names[1]


def test_in_debug_mode_a_task_knows_where_it_was_made() -> None:
    def what(loop: Any) -> Any:
        loop.set_debug(True)
        task = loop.create_task(named())
        loop.run_until_complete(task)
        return task._source_traceback[-1].name

    assert both(what) == "what"


@pytest.mark.parametrize("coro", [None, 1, named], ids=["None", "an int", "a function"])
def test_what_is_no_coroutine_is_no_task(coro: Any) -> None:
    kind, text = both(lambda loop: raised(loop.create_task, coro))
    assert kind is TypeError
    assert "a coroutine was expected" in text


def test_what_create_task_does_not_take() -> None:
    coro = named()
    for args, kwargs in ((), {}), ((coro,), {"unheard_of": 1}), ((coro,), {"loop": None}), ((coro, "a name"), {}):
        assert both(lambda loop, a=args, k=kwargs: raised(loop.create_task, *a, **k)[0]) is TypeError
    coro.close()


def test_a_closed_loop_takes_no_task() -> None:
    def what(loop: Any) -> Any:
        loop.close()
        coro = named()
        try:
            return raised(loop.create_task, coro), raised(loop.call_soon, print), raised(loop.call_later, 1, print)
        finally:
            coro.close()

    assert set(both(what)) == {(RuntimeError, "Event loop is closed")}


def test_a_task_factory_gets_what_asyncios_loop_gives_it() -> None:
    def what(loop: Any) -> Any:
        given: list[Any] = []

        def factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
            given.append(sorted(kwargs))
            return asyncio.Task(coro, loop=loop, **kwargs)

        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        got = [
            loop.run_until_complete(loop.create_task(named(), **kwargs))
            for kwargs in ({"name": "one"}, {"name": "two", "context": context_with("inside")})
        ]
        loop.set_task_factory(None)
        got.append(loop.run_until_complete(loop.create_task(named(), name="three")))
        return got, given

    assert both(what)[0] == [("one", "outside"), ("two", "inside"), ("three", "outside")]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_an_eager_task_runs_at_once() -> None:
    def what(loop: Any) -> Any:
        async def main() -> Any:
            loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009  # mypy reads 3.11's asyncio
            task = loop.create_task(named(), name="eager")
            return task.done(), task.get_name(), (await task)[1]  # as it ran it had no name yet, in CPython 3.13

        return loop.run_until_complete(main())

    assert both(what) == (True, "eager", "outside")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="eager_start is new in 3.14")
@pytest.mark.parametrize("eager", [True, False])
def test_a_task_may_be_eager_alone(eager: bool) -> None:
    def what(loop: Any) -> Any:
        async def main() -> Any:
            task = loop.create_task(named(), name="one", eager_start=eager)
            return task.done(), await task

        return loop.run_until_complete(main())

    assert both(what) == (eager, ("one", "outside"))


def test_the_class_of_tasks_may_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As libraries do that follow each task."""

    class Task(asyncio.Task):  # type: ignore[type-arg]
        pass

    monkeypatch.setattr(asyncio.tasks, "Task", Task)

    def what(loop: Any) -> Any:
        task = loop.create_task(named(), name="one")
        loop.run_until_complete(task)
        return type(task)

    assert both(what) is Task


def test_a_coroutine_that_no_task_takes_is_reported() -> None:
    with a_loop(gort.aio.Loop) as loop:
        loop.close()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with pytest.raises(RuntimeError):
                loop.create_task(named())
            gc.collect()
    assert [str(w.message) for w in told if "never awaited" in str(w.message)]


# ---- call_soon, call_later, time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True])
def test_call_soon_passes_arguments_and_context(debug: bool) -> None:
    def what(loop: Any) -> Any:
        loop.set_debug(debug)
        got: list[Any] = []

        def note(*args: Any) -> None:
            got.append((args, VAR.get()))

        loop.call_soon(note)
        loop.call_soon(note, 1)
        loop.call_soon(note, 1, 2, 3, context=context_with("inside"))
        loop.call_soon(note, context=None)
        loop.call_soon(callback=note)
        loop.call_soon(context=context_with("there"), callback=note)
        loop.call_soon(note, 4).cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
        return got

    outside = "outside"
    assert both(what) == [
        ((), outside),
        ((1,), outside),
        ((1, 2, 3), "inside"),
        ((), outside),
        ((), outside),
        ((), "there"),
    ]


def test_mistakes_in_call_soon() -> None:
    for args, kwargs in (
        ((), {}),
        ((), {"context": None}),
        ((print,), {"unheard_of": 1}),
        ((print,), {"context": None, "unheard_of": 1}),
        ((print,), {"callback": print}),
    ):
        assert both(lambda loop, a=args, k=kwargs: raised(loop.call_soon, *a, **k)[0]) is TypeError


def test_a_subclass_may_have_its_own_call_soon() -> None:
    class Mine(gort.aio.Loop):
        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
            got.append(args)
            return super().call_soon(callback, *args, context=context)

    got: list[Any] = []
    with a_loop(Mine) as loop:
        loop.call_soon(print.__class__, 1)
        loop.run_until_complete(asyncio.sleep(0))
    assert got[0] == (1,)
    assert len(got) > 1  # the task's steps too


def test_the_loop_works_with_another_queue() -> None:
    """A program that looks into asyncio's queue may have put its own there."""

    class Queue(deque[Any]):
        def append(self, item: Any) -> None:
            got.append(item)
            super().append(item)

    got: list[Any] = []
    with a_loop(gort.aio.Loop) as loop:
        loop._ready = Queue(loop._ready)
        assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    assert got


def test_the_clock_is_times_monotonic(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_loop(gort.aio.Loop) as loop:
        before = time.monotonic()
        now = loop.time()
        assert type(now) is float
        assert before <= now <= time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: 12.5)  # as libraries do that let a test say what time it is
        assert loop.time() == 12.5
        monkeypatch.undo()


# ---- add_reader -------------------------------------------------------------------------------------------------------


class File:
    def __init__(self, fd: object) -> None:
        self.fd = fd

    def fileno(self) -> object:
        return self.fd


class Sub(socket.socket):
    def fileno(self) -> int:
        return super().fileno()


@pytest.mark.parametrize("kind", ["an int", "a socket", "a subclass of socket", "a file object"])
def test_a_reader_of_any_kind_is_added_and_removed(kind: str) -> None:
    def what(loop: Any) -> Any:
        here, there = socket.socketpair()
        with here, there:
            sub = Sub(fileno=os.dup(here.fileno()))
            of: Any = {"an int": here.fileno(), "a socket": here, "a subclass of socket": sub}.get(
                kind, File(here.fileno())
            )
            number = of if isinstance(of, int) else of.fileno()
            got: list[int] = []
            loop.add_reader(of, got.append, 1)
            loop.add_reader(of, got.append, 2)
            loop.add_writer(of, loop.stop)
            there.send(b"x")
            loop.run_forever()
            gone = (
                loop.remove_reader(number),
                loop.remove_reader(of),
                loop.remove_writer(of),
                loop.remove_writer(number),
            )
            sub.close()
            return set(got), gone

    assert both(what) == ({2}, (True, False, True, False))


@pytest.mark.parametrize(
    "of",
    [-1, "x", None, 1.5, File("x"), File(-1), File(None)],
    ids=["-1", "str", "None", "float", "text", "minus", "none"],
)
def test_what_cannot_be_watched(of: Any) -> None:
    assert both(lambda loop: raised(loop.add_reader, of, print))[0] is ValueError
    assert both(lambda loop: raised(loop.remove_writer, of))[0] is ValueError


def test_a_closed_socket_cannot_be_watched() -> None:
    def what(loop: Any) -> Any:
        here, there = socket.socketpair()
        here.close()
        there.close()
        return raised(loop.add_reader, here, print), raised(loop.remove_writer, there)

    assert {kind for kind, _ in both(what)} == {ValueError}


def test_a_socket_that_is_closed_under_its_reader_is_found_again() -> None:
    def what(loop: Any) -> Any:
        here, there = socket.socketpair()
        loop.add_reader(here, print)
        number = here.fileno()
        here.close()
        there.close()
        return raised(loop.add_writer, here, print)[0], loop.remove_reader(number)

    assert both(what)[0] is OSError


def test_a_transports_descriptor_is_its_own() -> None:
    def what(loop: Any) -> Any:
        here, there = socket.socketpair()
        here.setblocking(False)

        async def main() -> Any:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
            number = here.fileno()
            told = []
            for of in number, here, File(number):
                for mistake in (
                    lambda of=of: loop.add_reader(of, print),
                    lambda of=of: loop.remove_reader(of),
                    lambda of=of: loop.add_writer(of, print),
                    lambda of=of: loop.remove_writer(of),
                ):
                    with pytest.raises(RuntimeError, match="is used by transport"):
                        mistake()
                    told.append(1)
            transport.close()
            await asyncio.sleep(0)
            return len(told)

        with there:
            return loop.run_until_complete(main())

    assert both(what) == 12
