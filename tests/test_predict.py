"""The predictor: who has blocked a thread hands its P on by itself the next time (sched/predict.py).

No test here measures a time: each waits until the runtime's own counts show what it is about.
"""

from __future__ import annotations

import os
import threading
import time
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core import machine
from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.core.runtime2 import current_m
from gort._runtime.sched import predict
from gort._runtime.watch import sysmon
from support import environment, python, until

MS = 0.001
EVERYWHERE = environment(GODEBUG="predict=2,lockrank=1")  # every stretch is expected to block


GIL = gil_enabled()


def predictor() -> Any:
    return current_m().sched.predictor


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Worker:
    """A goroutine that awaits and then calls what it is told, again and again, while main always has work for the P."""

    def __init__(self) -> None:
        self.call: Any = lambda: time.sleep(2 * MS)
        self.over = False

    async def work(self) -> None:
        while not self.over:
            await gort.gosched()
            self.call()


def with_a_worker(body: Any) -> None:
    async def main() -> None:
        worker = Worker()
        async with gort.Group() as group:
            group.go(worker.work)
            await until(lambda: runtime.stats()["predicted"] >= 5)
            await body(worker)
            worker.over = True

    gort.run(main, procs=1)


def test_calls_from_one_place_are_expected() -> None:
    """sysmon takes the P once or twice, and then nobody has to."""

    async def body(worker: Worker) -> None:
        before = runtime.stats()
        await until(lambda: runtime.stats()["predicted"] >= before["predicted"] + 50)
        after = runtime.stats()
        assert after["handoffs"] - before["handoffs"] < 50
        assert after["blocked_ns"] - before["blocked_ns"] > 50 * 2_000_000

    with_a_worker(body)


def test_a_place_that_computes_is_forgotten() -> None:
    async def body(worker: Worker) -> None:
        before = runtime.stats()["mispredicted"]
        worker.call = lambda: compute(3 * MS)
        await until(lambda: runtime.stats()["mispredicted"] > before)
        await until(lambda: not predictor().places)

    with_a_worker(body)


def test_a_place_that_does_not_block_any_more_is_forgotten() -> None:
    async def body(worker: Worker) -> None:
        before = runtime.stats()["mispredicted"]
        worker.call = lambda: None
        await until(lambda: runtime.stats()["mispredicted"] > before)
        await until(lambda: max(predictor().places.values(), default=0) < predict.LIKELY)

    with_a_worker(body)


def test_an_announced_call_is_none_that_was_expected() -> None:
    """A goroutine that has handed its P on, and then calls gort.blocking, has not blocked."""

    async def main() -> None:
        over = False
        announce = False

        async def work() -> None:
            while not over:
                await gort.gosched()
                if announce:
                    await gort.blocking(time.sleep, 2 * MS)
                else:
                    time.sleep(2 * MS)

        async with gort.Group() as group:
            group.go(work)
            await until(lambda: runtime.stats()["predicted"] >= 5)
            before = runtime.stats()
            announce = True
            await until(lambda: runtime.stats()["mispredicted"] > before["mispredicted"])
            await until(lambda: runtime.stats()["blocking_calls"] >= before["blocking_calls"] + 10)
            over = True

    gort.run(main, procs=1)


def test_goroutines_that_start_where_others_have_blocked() -> None:
    """Each sits down in a call as soon as it starts: the first few have their P taken, the others hand it on."""
    n = 30
    there, there_too = os.pipe()

    async def main() -> None:
        inside = []

        async def work() -> None:
            inside.append(1)
            os.read(there, 1)

        def plain() -> None:
            inside.append(1)
            os.read(there, 1)

        async with gort.Group() as group:
            for _ in range(n):
                group.go(work)
            await until(lambda: len(inside) == n)
            for _ in range(n):
                group.go(plain)
            await until(lambda: len(inside) == 2 * n)
            handoffs = runtime.stats()["handoffs"]
            os.write(there_too, bytes(2 * n))
        assert handoffs < 2 * n
        assert runtime.stats()["predicted"] >= 2

    try:
        gort.run(main, procs=1)
    finally:
        os.close(there)
        os.close(there_too)


@pytest.mark.parametrize("does", [machine.WAITS_INSIDE, machine.WAITS_FOR_LOCK])
def test_who_waits_for_a_lock_inside_stays_fresh(monkeypatch: pytest.MonkeyPatch, does: int) -> None:
    """So only a few threads are made for such a place, however many goroutines come to it."""
    p = predict.Predictor(SimpleNamespace(predicting=0), 1, False)
    st = predict.Stretch()
    st.away = st.fresh = True
    p.fresh.append(st)
    begun, over = threading.Event(), threading.Event()

    def waits() -> None:
        st.procid = threading.get_native_id()
        st.cpu = time.thread_time_ns()
        st.since = time.monotonic_ns() - 1_000_000_000
        begun.set()
        over.wait()

    thread = threading.Thread(target=waits)
    thread.start()
    begun.wait()
    monkeypatch.setattr(predict, "doing", lambda procid: does)
    p.settle(True)
    over.set()
    thread.join()
    assert (st.fresh, st.locked, p.fresh) == (
        (False, False, []) if does == machine.WAITS_FOR_LOCK else (True, True, [st])
    )


@pytest.mark.skipif(GIL, reason="there each wait for a lock counts as a call that blocks")
def test_a_place_that_waits_for_locks_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the GIL threads that run at the same time wait for each other's locks."""

    async def body(worker: Worker) -> None:
        monkeypatch.setattr(machine, "LOCK_NS", 1 << 60)
        monkeypatch.setattr(sysmon, "RECENT_NS", 0)  # the watcher's own look is not ours
        for module in (predict, sysmon):
            monkeypatch.setattr(module, "doing", lambda procid: machine.WAITS_INSIDE)
        await until(lambda: max(predictor().places.values()) < predict.LIKELY)

    with_a_worker(body)


def test_no_wait_for_a_lock_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOCK_NS", 1 << 60)
    monkeypatch.setattr(sysmon, "RECENT_NS", 0)  # the watcher's own look is not ours
    monkeypatch.setattr(sysmon, "doing", lambda procid: machine.WAITS_INSIDE)

    async def main() -> None:
        calls = 0

        async def work() -> None:
            nonlocal calls
            for _ in range(50):
                await gort.gosched()
                time.sleep(2 * MS)
                calls += 1

        async with gort.Group() as group:
            group.go(work)
            await until(lambda: calls == 50)
        stats = runtime.stats()
        assert (stats["handoffs"], stats["predicted"], stats["mispredicted"]) == (0, 0, 0)

    gort.run(main, procs=1)


def test_the_table_is_bounded() -> None:
    s = SimpleNamespace(predicting=0)
    p = predict.Predictor(s, 1, False)
    for place in range(1, 10 * predict.PLACES):
        p.learn(s, place)
    assert len(p.places) == predict.PLACES
    assert place in p.places
    assert p.places[place] == predict.LIKELY
    for _ in range(100):
        p.learn(s, place)
    assert p.places[place] == predict.SURE
    assert s.predicting


@pytest.mark.skipif(gort.runtime.compiled, reason="may_begin is a C method of the compiled core")
def test_a_list_of_threads_that_becomes_shorter_is_no_error() -> None:
    """Without the GIL list[-1] can find the list shorter than when it took its length: as if it were empty."""
    s = SimpleNamespace(predicting=0, gomaxprocs=1, midle=None, allm=[])
    p = predict.Predictor(s, 1, False)
    assert not p.may_begin(s, 7, predict.SURE)


def test_what_is_long_past_is_forgotten() -> None:
    s = gort._runtime.core.runtime2.Sched()
    p = predict.Predictor(s, 1, False)
    p.learn(s, 7)
    p.look_after(s, p.recent + predict.FORGET_NS - 1)
    assert s.predicting
    assert p.places
    p.look_after(s, p.recent + predict.FORGET_NS)
    assert not s.predicting
    assert not p.places


def test_it_can_be_turned_off() -> None:
    code = """
    import time, gort
    async def main():
        over = []
        async def other():
            while not over:
                await gort.gosched()
        gort.go(other)
        while gort.runtime.stats()["handoffs"] < 5:
            await gort.gosched()
            time.sleep(0.003)
        over.append(1)
        print(gort.runtime.stats()["predicted"], gort.runtime.stats()["mispredicted"])
    gort.run(main, procs=1)
    """
    done = python(dedent(code), env=environment(GODEBUG="predict=0"))
    assert (done.stdout, done.stderr) == ("0 0\n", "")


EVERYTHING = """
import asyncio, time, gort

async def main():
    a, b = gort.Chan(), gort.Chan(2)
    async def ping():
        async for v in a:
            await b.send(v + 1)
        b.close()
    gort.go(ping)
    for v in range(20):
        await a.send(v)
        time.sleep(0)
        if await b.recv() != v + 1:
            raise AssertionError(v)
    i, v, ok = await gort.select(a.recv(), b.recv(), default=True)
    print(i)
    a.close()

    mutex, total = gort.sync.Mutex(), 0
    async def add():
        nonlocal total
        for _ in range(10):
            async with mutex:
                before = total
                await gort.gosched()
                total = before + 1
    async with gort.Group() as group:
        for _ in range(10):
            group.go(add)
        group.go(time.sleep, 0.001)
        group.go(lambda: gort.wait(gort.sleep(0.001)))
        group.go(lambda: gort.sleep(0.001))
    print(total, await gort.blocking(lambda: 7))

    async def foreign():
        await asyncio.sleep(0)
    try:
        await foreign()
    except TypeError as e:
        print("TypeError")
    except RuntimeError as e:
        print(e)

    begun = []
    async def sleeper():
        try:
            begun.append(1)
            await gort.sleep(1000)
        finally:
            print("closed")
    try:
        async with gort.Group() as group:
            group.go(sleeper)
            while not begun:
                await gort.gosched()
            raise ValueError
    except* ValueError:
        print("ValueError")
    cond = gort.sync.Cond(mutex)
    async def waits():
        async with mutex:
            await cond.wait()
            print("signalled")
    async with gort.Group() as group:
        waiter = group.go(waits)
        while not waiter.done:
            await gort.gosched()
            async with mutex:
                cond.broadcast()

for procs in (1, 2):
    gort.run(main, procs=procs)
"""


def test_everything_else_goes_on_where_each_stretch_hands_its_p_on() -> None:
    """Channels, select, locks, groups, plain functions, gort.wait, gort.blocking, cancellation, what is not gort's."""
    expected = python(EVERYTHING, env=environment(GODEBUG="predict=0,lockrank=1"))
    assert expected.stderr == ""
    found = python(EVERYTHING, env=EVERYWHERE)
    assert (found.stdout, found.stderr, found.returncode) == (expected.stdout, "", 0)


@pytest.mark.parametrize("how", ["raises", "ends", "deadlock"])
def test_how_a_program_ends_where_each_stretch_hands_its_p_on(how: str) -> None:
    code = f"""
    import time, gort
    async def blocks():
        await gort.gosched()
        time.sleep(0.01)
        if "{how}" == "raises":
            raise KeyError("mine")
    async def main():
        gort.go(blocks)
        await gort.sleep(0.001)
        if "{how}" != "ends":
            await gort.Chan().recv()
    gort.run(main, procs=1)
    """
    done = python(dedent(code), env=EVERYWHERE)
    if how == "ends":
        assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    else:
        assert ("KeyError: 'mine'" if how == "raises" else "all goroutines are asleep - deadlock!") in done.stderr
        assert done.returncode != 0
