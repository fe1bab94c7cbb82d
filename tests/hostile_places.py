"""The places where gort calls or touches something of the user's, for test_hostile.py: those of the core.
hostile_library.py has the others; hostile.py says what a place is.

Each is a function `await fn(evil)`, which runs in a main goroutine.  evil.boom raises; evil.obj() is an object whose
special methods raise.  A place that is handed the exception itself says so: evil.got.append(exc).
"""

from __future__ import annotations

import functools
import gc
import operator
import sys
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import gort
import gort.exec
import gort.net
import gort.signal
from gort import runtime
from gort.sync import Once, WaitGroup
from hostile import PATIENCE_S, Evil, place


async def nothing(*args: object, **kwargs: object) -> None:
    """A goroutine that does nothing."""


async def needs(one: object) -> None:
    """A goroutine that takes an argument."""


async def waits(*args: object) -> None:
    """A goroutine that waits for ever."""
    await gort.Chan[None]().recv()


async def caught(evil: Evil, call: Callable[[], Any]) -> None:
    """Calls, and awaits the result if it can be awaited; keeps what is raised."""
    try:
        result = call()
        if isinstance(result, (Awaitable, Coroutine)):
            await result
    except BaseException as e:
        evil.got.append(e)


async def ends(evil: Evil) -> None:
    """Waits for the end of the program, which what evil raises in a goroutine brings; a Cancelled ends only that."""
    await evil.raises()
    await gort.sleep(0.01 if evil.kind == "gort.Cancelled" else PATIENCE_S)


async def settle() -> None:
    """Lets what has been started come to its end or to a wait."""
    for _ in range(20):
        await gort.gosched()


def module(name: object, source: str, file: str = "odd.py", globals: dict[str, Any] | None = None) -> dict[str, Any]:
    """The names that a source defines, in a module whose __name__ is `name`."""
    names = {} if globals is None else globals
    names["__name__"] = name
    names["gort"] = gort
    exec(compile(source, file, "exec"), names)
    return names


# ---- goroutines: functions, arguments, coroutines ---------------------------------------------------------------------


@place()
async def main_raises(evil: Evil) -> None:
    await evil.aboom()


@place()
async def go_async(evil: Evil) -> None:
    gort.go(evil.aboom)
    await ends(evil)


@place()
async def go_plain(evil: Evil) -> None:
    gort.go(evil.boom)
    await ends(evil)


@place()
async def go_in_c(evil: Evil) -> None:
    gort.go(functools.partial(operator.call, evil.boom))
    await ends(evil)


@place()
async def go_callable_object(evil: Evil) -> None:
    await caught(evil, lambda: gort.go(evil.obj("__getattr__", "__eq__", "__hash__", "__repr__", __call__=evil.boom)))
    await ends(evil)


@place()
async def go_arguments(evil: Evil) -> None:
    gort.go(nothing, evil.obj(), key=evil.obj())
    gort.go(lambda *a, **k: None, evil.obj(), key=evil.obj())
    await settle()


@place()
async def go_odd_keywords(evil: Evil) -> None:
    key = evil.obj("__eq__", bases=(str,), __hash__=str.__hash__)
    await caught(evil, lambda: gort.go(nothing, **{key: 1}))
    await caught(evil, lambda: gort.go(lambda **k: None, **{key: 1}))
    await settle()


@place()
async def go_returns_hostile(evil: Evil) -> None:
    gort.go(lambda: evil.obj())
    await settle()


@place()
async def left_at_the_end(evil: Evil) -> None:
    async def left() -> None:
        try:
            await waits()
        finally:
            evil.boom()

    gort.go(left)
    await settle()


@place()
async def local_variables(evil: Evil) -> None:
    async def holds() -> None:
        held = evil.obj("__del__")
        await gort.gosched()
        assert held is not None

    for _ in range(5):
        gort.go(holds)
    await settle()


class Foreign:
    """An awaitable whose iterator does what is asked."""

    def __init__(self, evil: Evil, **methods: Callable[..., Any]) -> None:
        self.iterator = type("Iterator", (), {"__next__": lambda s: None, **methods})()
        type(self.iterator).__iter__ = lambda s: s

    def __await__(self) -> Any:
        return self.iterator


@place()
async def await_raises(evil: Evil) -> None:
    await evil.obj("__await__")


@place(TypeError)
async def await_next_raises(evil: Evil) -> None:
    await Foreign(evil, __next__=evil.boom)


@place(TypeError)
async def yields_hostile(evil: Evil) -> None:
    await Foreign(evil, __next__=lambda s: evil.obj("-__del__"))


@place(TypeError)
async def yields_none(evil: Evil) -> None:
    await Foreign(evil, throw=evil.boom)


async def _until_closed(evil: Evil, **methods: Any) -> None:
    """A goroutine waits through a hand-written awaitable, whose methods are the place."""

    class Through:
        def __init__(self) -> None:
            self.inner = gort.Chan[None]().recv().__await__()

        def __await__(self) -> Any:
            return self

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return next(self.inner)

    for name, method in methods.items():
        setattr(Through, name, method)

    async def goes() -> None:
        await Through()

    gort.go(goes)
    await settle()


@place()
async def throw_raises(evil: Evil) -> None:
    class Through:
        def __await__(self) -> Any:
            try:
                yield from gort.Chan[None]().recv().__await__()
            except BaseException:
                evil.boom()

    async def goes() -> None:
        await Through()

    async with gort.Group() as group:
        group.go(goes)
        await settle()
        group.cancel()


@place()
async def close_raises(evil: Evil) -> None:
    await _until_closed(evil, close=evil.boom)


@place()
async def odd_awaitable_in_a_dump(evil: Evil) -> None:
    await _until_closed(evil, __getattr__=evil.boom)
    runtime.stack(all=True)
    evil.got += evil.raised  # asking it for a frame is gort's own affair


@place()
async def coroutine_of_a_class(evil: Evil) -> None:
    class Own(Coroutine[Any, Any, None]):
        def send(self, value: Any) -> Any:
            evil.boom()

        def throw(self, *args: Any) -> Any:
            evil.boom()

        def close(self) -> None:
            evil.boom()

        def __await__(self) -> Any:
            evil.boom()

    gort.go(lambda: Own())
    await ends(evil)


@place()
async def async_generator_dropped(evil: Evil) -> None:
    async def numbers() -> Any:
        try:
            yield 1
        finally:
            evil.boom()

    async for _ in numbers():
        break
    await evil.raises()
    await settle()


@place()
async def async_generator_left(evil: Evil) -> None:
    async def numbers() -> Any:
        try:
            yield 1
        finally:
            await gort.gosched()
            evil.boom()

    global _kept
    _kept = numbers()
    await _kept.__anext__()


_kept: Any = None


@place()
async def async_generator_hooks(evil: Evil) -> None:
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(evil.boom, evil.boom)

    async def numbers() -> Any:
        yield 1

    try:
        await numbers().__anext__()
    except BaseException as e:
        evil.got.append(e)
    finally:
        sys.set_asyncgen_hooks(*hooks)


# ---- channels and select ----------------------------------------------------------------------------------------------


@place()
async def sent(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan(2)
    await ch.send(evil.obj())
    ch.try_send(evil.obj())
    ch.try_send(evil.obj())
    await ch.recv()
    ch.try_recv()


@place()
async def handed_over(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan()

    async def sends() -> None:
        for _ in range(5):
            await ch.send(evil.obj())
        ch.close()

    gort.go(sends)
    async for _ in ch:
        await gort.gosched()


@place()
async def left_in_a_buffer(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan(3)
    await ch.send_many([evil.obj(), evil.obj()])
    ch.close()


@place()
async def left_in_a_send(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan()

    async def sends() -> None:
        await ch.send(evil.obj())

    async with gort.Group() as group:
        group.go(sends)
        group.go(sends)
        await settle()
        group.cancel()


@place(gort.ChannelClosed, gort.Panic)
async def closed_under_a_send(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan()
    gort.go(ch.send, evil.obj())
    await settle()
    ch.close()
    await ends(evil)


@place()
async def many_values(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan(9)
    await caught(evil, lambda: ch.send_many(evil.obj("__iter__")))
    await caught(evil, lambda: ch.send_many(map(evil.boom, [1])))
    await caught(evil, lambda: ch.send_many(evil.obj("__iter__", "__len__", bases=(list,))))
    await caught(evil, lambda: ch.recv_many(evil.obj()))
    await caught(evil, lambda: ch.recv_many(evil.obj("__index__", "__lt__", "__int__", bases=(int,))))


@place(quiet="the argument is refused, or is a number all the same")
async def capacities(evil: Evil) -> None:
    await caught(evil, lambda: gort.Chan(evil.obj()))
    await caught(
        evil, lambda: gort.Chan(evil.obj("__index__", "__int__", "__lt__", "__gt__", "__repr__", bases=(int,)))
    )


@place()
async def finalizer_uses_its_channel(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan(2)

    def gone(self: Any) -> None:
        ch.try_send(None)
        ch.try_recv()
        evil.boom()

    for _ in range(3):
        await ch.send(evil.obj("__repr__", __del__=gone))
        await ch.recv()


@place()
async def weak_callbacks(evil: Evil) -> None:
    class Value:
        pass

    ch: gort.Chan[Any] = gort.Chan(1)
    value = Value()
    kept = weakref.ref(value, evil.boom)
    await ch.send(value)
    del value
    await ch.recv()
    assert kept() is None


@place()
async def collector_callbacks(evil: Evil) -> None:
    gc.callbacks.append(evil.boom)
    try:
        gc.collect()
        await settle()
    finally:
        gc.callbacks.remove(evil.boom)


@place()
async def select_cases(evil: Evil) -> None:
    ch: gort.Chan[int] = gort.Chan(5)

    class Case:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            evil.boom()

    class Armed:
        def _select_arm(self) -> Any:
            evil.boom()

    for case in (evil.obj(), Case(), Armed(), Once().do(evil.boom)):
        await caught(evil, lambda case=case: gort.select(ch.send(1), case, ch.recv()))  # type: ignore[misc]
    await caught(evil, lambda: gort.select(ch.send(1), default=evil.obj()))
    assert len(ch) <= 1


@place()
async def select_values(evil: Evil) -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    full: gort.Chan[Any] = gort.Chan()
    for _ in range(3):
        await gort.select(full.send(evil.obj()), ch.send(evil.obj()), named=full.recv())
        await gort.select(full.send(evil.obj()), ch.recv())


@place()
async def select_handles(evil: Evil) -> None:
    try:
        async with gort.Group() as group:
            h = group.go(evil.aboom)
            await caught(evil, lambda: gort.select(h, waited=gort.sleep(9)))
    except BaseException as e:
        evil.got.append(e)


# ---- groups -----------------------------------------------------------------------------------------------------------


@place()
async def member_raises(evil: Evil) -> None:
    try:
        async with gort.Group() as group:
            group.go(evil.aboom)
            group.go(evil.boom)
            group.go(waits)
            await settle()
            group.cancel()  # a Cancelled has not ended it
    except BaseException as e:
        evil.got.append(e)


@place()
async def member_and_body_raise(evil: Evil) -> None:
    async with gort.Group(limit=2) as group:
        for _ in range(4):
            group.go(evil.aboom)
        await evil.raises()
        evil.boom()


@place()
async def handle_raises(evil: Evil) -> None:
    try:
        async with gort.Group() as group:
            h = group.go(evil.aboom)
            await caught(evil, lambda: h)
    except BaseException as e:
        evil.got.append(e)
    await caught(evil, lambda: h.result())
    await caught(evil, lambda: h.exception())


@place()
async def hostile_result(evil: Evil) -> None:
    async with gort.Group() as group:
        h = group.go(lambda: evil.obj("-__await__"))
    repr(h)
    assert h.result() is not None


@place(quiet="the argument is refused, or is a number all the same")
async def group_limits(evil: Evil) -> None:
    await caught(evil, lambda: gort.Group(evil.obj()))
    limit = evil.obj("__index__", "__lt__", "__gt__", "__repr__", bases=(int,))
    await caught(evil, lambda: gort.Group(limit))


@place()
async def cleanup_of_a_member(evil: Evil) -> None:
    async def member() -> None:
        try:
            await waits()
        finally:
            evil.boom()

    async with gort.Group() as group:
        group.go(member)
        group.go(member)
        await settle()
        group.cancel()


@place()
async def finalizer_cancels_its_group(evil: Evil) -> None:
    async with gort.Group() as group:

        def gone(self: Any) -> None:
            group.cancel()
            evil.boom()

        group.go(lambda x: None, evil.obj("__repr__", __del__=gone))
        await waits()


@place()
async def wait_group_member(evil: Evil) -> None:
    wg = WaitGroup()
    wg.go(evil.aboom)
    await wg.wait()
    await ends(evil)


# ---- timers -----------------------------------------------------------------------------------------------------------


@place()
async def after_func_raises(evil: Evil) -> None:
    gort.after_func(0.001, evil.aboom)
    gort.after_func(0.001, evil.boom)
    await ends(evil)


@place(gort.Panic)
async def after_func_wrong_arguments(evil: Evil) -> None:
    gort.after_func(0.001, needs)
    await ends(evil)


@place(gort.Panic)
async def after_func_generator(evil: Evil) -> None:
    def generator() -> Any:
        yield 1

    gort.after_func(0.001, generator)
    await ends(evil)


@place()
async def after_func_argument(evil: Evil) -> None:
    gort.after_func(0.001, nothing, evil.obj())
    gort.after_func(9, nothing, evil.obj()).stop()
    await gort.sleep(0.005)


@place()
async def durations(evil: Evil) -> None:
    for number in (evil.obj(), evil.obj("__float__", "__index__", "__lt__", "__mul__", "__repr__", bases=(float,))):
        await caught(evil, lambda number=number: gort.sleep(number))  # type: ignore[misc]
        await caught(evil, lambda number=number: gort.Timer(number).stop())  # type: ignore[misc]
        await caught(evil, lambda number=number: gort.Ticker(number).stop())  # type: ignore[misc]
        await caught(evil, lambda number=number: gort.wait(gort.sleep(1), number))  # type: ignore[misc]
