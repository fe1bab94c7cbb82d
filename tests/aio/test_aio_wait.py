"""A loop that waits in place (sched/inplace.py): whatever may want it, or its P, gets it at once.  The uncompiled core
never waits so, and the same must hold there."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import gort
import gort.aio
from gort import runtime
from gort._runtime.core import traceback
from gort._runtime.core.runtime2 import current_m
from support import python

LONG = 30.0  # no test waits so long


class Held(gort.aio.Loop):
    """Counts how often it has left its rounds to wait otherwise than in place."""

    left = 0

    def _advance(self, m: Any) -> Any:
        self.left += 1
        return super()._advance(m)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def connected() -> tuple[asyncio.Transport, socket.socket]:
    """A connection of this loop that answers, and its other end."""
    here, there = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(Echo, sock=here)
    return transport, there


def beat(there: socket.socket, n: int = 1) -> None:
    for _ in range(n):
        there.sendall(b"x")
        assert there.recv(10) == b"x"


def in_place(loop: Any) -> bool:
    return bool(loop._inplace) or not runtime.compiled


def until(there: socket.socket, loop: Any) -> None:
    """Has the loop wait in place: it does so after a message, if nothing else is to be done."""
    end = time.monotonic() + LONG
    while True:
        beat(there)
        for _ in range(20):
            if in_place(loop):
                return
            time.sleep(0.001)
        assert time.monotonic() < end, "the loop does not wait in place"


def with_service(outside: Callable[[Any, socket.socket], None]) -> None:
    """Runs outside(loop, the other end of its connection) in gort.blocking, beside the loop of a Service, on one P."""

    async def main() -> None:
        async with gort.aio.Service(loop_factory=Held) as loop:
            transport, there = await gort.aio.call(loop, connected())
            await gort.blocking(outside, loop, there)
            loop.call_soon_threadsafe(transport.close)
            there.close()

    gort.run(main, procs=1)


def with_loop(outside: Callable[[Any, socket.socket], None], *goroutines: Callable[[], Awaitable[None]]) -> None:
    """Runs a loop with a connection, outside(loop, its other end) in a thread, and goroutines, until all are done."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        transport, there = await connected()
        over = loop.create_future()
        failed: list[BaseException] = []

        def thread() -> None:
            try:
                outside(loop, there)
            except BaseException as e:
                failed.append(e)
            finally:
                loop.call_soon_threadsafe(over.set_result, None)

        threading.Thread(target=thread).start()
        await over
        transport.close()
        there.close()
        if failed:
            raise failed[0]

    async def main() -> None:
        async with gort.Group() as group:
            for goroutine in goroutines:
                group.go(goroutine)
            await gort.aio.run(serve(), loop_factory=Held)

    gort.run(main, procs=1)


@pytest.mark.skipif(not runtime.compiled, reason="the uncompiled core never waits in place")
def test_messages_do_not_take_a_loop_out_of_its_rounds() -> None:
    def outside(loop: Any, there: socket.socket) -> None:
        until(there, loop)
        before = loop.left
        beat(there, 100)
        assert loop.left - before < 50  # one that is not seen at once may wait otherwise

    with_loop(outside)


def test_a_callback_from_a_thread_ends_the_wait() -> None:
    def outside(loop: Any, there: socket.socket) -> None:
        for _ in range(20):
            until(there, loop)
            came = threading.Event()
            loop.call_soon_threadsafe(came.set)
            assert came.wait(LONG)

    with_loop(outside)


def test_many_threads_wake_a_loop_that_also_gets_messages() -> None:
    def outside(loop: Any, there: socket.socket) -> None:
        def wake() -> None:
            for _ in range(300):
                came = threading.Event()
                loop.call_soon_threadsafe(came.set)
                assert came.wait(LONG)
            done.append(None)

        done: list[None] = []
        threads = [threading.Thread(target=wake) for _ in range(3)]
        for thread in threads:
            thread.start()
        while len(done) < 3 and any(thread.is_alive() for thread in threads):
            beat(there)
        for thread in threads:
            thread.join()
        assert len(done) == 3

    with_loop(outside)


def test_timers_of_the_loop_end_the_wait() -> None:
    def outside(loop: Any, there: socket.socket) -> None:
        until(there, loop)
        came = threading.Event()
        loop.call_soon_threadsafe(loop.call_later, 0.02, came.set)
        loop.call_soon_threadsafe(loop.call_at, float("inf"), came.set)
        beat(there)
        assert came.wait(LONG)

    with_loop(outside)


def test_a_timer_of_another_goroutine_is_not_late() -> None:
    slept: list[float] = []

    async def sleeper() -> None:
        for _ in range(10):
            before = time.monotonic()
            await gort.sleep(0.01)
            slept.append(time.monotonic() - before)

    def outside(loop: Any, there: socket.socket) -> None:
        while len(slept) < 10:
            until(there, loop)

    with_loop(outside, sleeper)
    assert min(slept) >= 0.01
    assert sorted(slept)[5] < 0.2


def test_a_timer_that_a_thread_arms_during_the_wait_fires() -> None:
    def outside(loop: Any, there: socket.socket) -> None:
        until(there, loop)
        came = threading.Event()
        gort.after_func(0.01, came.set)  # in the heap of the P that the loop has given up
        assert came.wait(LONG)

    with_service(outside)


def test_a_goroutine_gets_the_p_of_a_loop_that_waits() -> None:
    def outside(loop: Any, there: socket.socket) -> None:
        until(there, loop)
        for i in range(20):  # a call that comes back, and a value from outside
            gort.wait(values.send(i), timeout=LONG)
            assert gort.wait(values.recv(), timeout=LONG) == i + 1
            beat(there)

    async def answer() -> None:
        for _ in range(20):
            v = await values.recv()
            await gort.blocking(time.sleep, 0.001)
            await values.send(v + 1)

    values: gort.Chan[int] = gort.Chan()
    with_loop(outside, answer)


def test_a_goroutine_that_computes_and_a_loop_that_waits_share_the_p() -> None:
    stop = False
    rounds = 0

    async def busy() -> None:
        nonlocal rounds
        while not stop:
            rounds += 1
            await gort.gosched()

    def outside(loop: Any, there: socket.socket) -> None:
        nonlocal stop
        try:
            beat(there, 50)
        finally:
            stop = True

    with_loop(outside, busy)
    assert rounds > 50


def test_a_cancellation_ends_the_wait() -> None:
    ended: list[str] = []

    async def forever(up: gort.Chan[Any]) -> None:
        transport, there = await connected()
        up.try_send((asyncio.get_running_loop(), there))
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("task")
            raise
        finally:
            transport.close()
            there.close()

    async def main() -> None:
        for _ in range(5):
            up: gort.Chan[Any] = gort.Chan(1)
            async with gort.Group() as group:
                handle = group.go(gort.aio.run, forever(up))
                loop, there = await up.recv()
                await gort.blocking(until, there, loop)
                handle.cancel()
        assert len(ended) == 5

    gort.run(main, procs=1)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_world_may_stop_during_the_wait(n: int) -> None:
    def outside(loop: Any, there: socket.socket) -> None:
        until(there, loop)
        runtime.gomaxprocs(n)
        beat(there, 5)
        runtime.gomaxprocs(1)
        beat(there, 5)

    with_service(outside)


def test_a_program_ends_during_the_wait() -> None:
    closed: list[None] = []

    async def forever(up: gort.Chan[Any]) -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        loop.add_reader(here, lambda: here.send(here.recv(10)))
        up.try_send((loop, there))
        try:
            await loop.create_future()
        finally:
            loop.remove_reader(here)
            here.close()
            there.close()
            closed.append(None)

    async def main() -> None:
        up: gort.Chan[Any] = gort.Chan(1)
        gort.go(gort.aio.run, forever(up), loop_factory=Held)
        loop, there = await up.recv()
        await gort.blocking(until, there, loop)

    gort.run(main, procs=1)
    assert closed == [None]


def test_a_dump_shows_a_loop_that_waits_in_place_as_one_that_waits() -> None:
    texts: list[str] = []

    async def main() -> None:
        s = current_m().sched
        async with gort.aio.Service(loop_factory=Held) as loop:
            transport, there = await gort.aio.call(loop, connected())

            def outside() -> None:
                until(there, loop)
                end = time.monotonic() + LONG
                while not texts or ("IO wait" not in texts[0] and time.monotonic() < end):  # it is about to sleep
                    texts[:] = [traceback.dump(s, None)]

            await gort.blocking(outside)
            loop.call_soon_threadsafe(transport.close)
            there.close()

    gort.run(main, procs=1)
    (stanza,) = [each for each in texts[0].split("\n\n") if "IO wait" in each.splitlines()[0]]
    assert "locked to thread" in stanza.splitlines()[0]


@pytest.mark.parametrize("how", ["call_later", "add_reader", "call_soon_threadsafe"])
def test_a_loop_whose_waits_end_at_once_starves_no_timer(how: str) -> None:
    """On one P, nobody else runs the timers of goroutines; and sysmon sees a P that is in use."""
    ticks: list[float] = []

    async def main() -> None:
        async with gort.aio.Service(loop_factory=Held) as loop:
            here, there = socket.socketpair()
            there.sendall(b"x")  # nobody reads it
            over = threading.Event()

            def again() -> None:
                if not over.is_set():
                    loop.call_later(0, again)

            def flood() -> None:
                while not over.is_set():
                    loop.call_soon_threadsafe(lambda: None)

            thread = threading.Thread(target=flood)
            if how == "call_later":
                loop.call_soon_threadsafe(again)
            elif how == "add_reader":
                loop.call_soon_threadsafe(loop.add_reader, here, lambda: None)
            else:
                thread.start()
            end = time.monotonic() + LONG
            while len(ticks) < 20 and time.monotonic() < end:
                await gort.sleep(0.001)
                ticks.append(time.monotonic())
            over.set()
            if how == "add_reader":
                loop.call_soon_threadsafe(loop.remove_reader, here)
            if thread.ident is not None:
                await gort.blocking(thread.join)
            here.close()
            there.close()

    gort.run(main, procs=1)
    assert len(ticks) == 20
    assert ticks[-1] - ticks[0] < 5  # a timer is some milliseconds late, not for ever


@pytest.mark.parametrize("what", ["time.monotonic", "loop.time"])
def test_timers_go_by_the_time_that_the_program_has_put_in_place(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        fired: list[None] = []
        loop.call_later(10, fired.append, None)
        await asyncio.sleep(0)
        true = time.monotonic
        target = time if what == "time.monotonic" else loop
        monkeypatch.setattr(target, what.partition(".")[2], lambda: true() + 100)
        for _ in range(5):
            await asyncio.sleep(0)
        monkeypatch.undo()
        return bool(fired)

    with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
        assert runner.run(main())


INTERRUPTED = """
import asyncio, os, signal, socket, sys, threading, time
import gort, gort.aio

async def serve():
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    await loop.create_connection(asyncio.Protocol, sock=here)
    there.sendall(b"x")
    await asyncio.sleep(0.01)
    def later():
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=later, daemon=True).start()
    await loop.create_future()

async def main():
    await gort.aio.run(serve())

began = time.monotonic()
try:
    if sys.argv[1:] == ["own"]:
        with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
            runner.run(serve())
    else:
        gort.run(main)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began < 5)
"""


@pytest.mark.skipif(os.name != "posix" or not hasattr(signal, "SIGINT"), reason="signals")
@pytest.mark.parametrize("how", ["own", "goroutine"])
def test_ctrl_c_ends_the_wait(how: str) -> None:
    done = python(f"import sys; sys.argv[1:] = [{how!r}]\n" + INTERRUPTED)
    assert done.stdout == "interrupted True\n", done.stderr


def test_a_reader_is_called_as_long_as_there_is_something_to_read() -> None:
    """What add_reader watches is ready until it is read: the loop need not look before it waits in place."""

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        got: list[bytes] = []
        full = loop.create_future()

        def read() -> None:
            got.append(here.recv(1))
            if len(got) == 60:
                full.set_result(None)

        loop.add_reader(here, read)
        for _ in range(20):
            there.sendall(b"abc")
            await asyncio.sleep(0.001)
        await full
        loop.remove_reader(here)
        here.close()
        there.close()
        return got

    with asyncio.Runner(loop_factory=Held) as runner:
        assert b"".join(runner.run(main())) == b"abc" * 20
