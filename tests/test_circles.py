"""Goroutines that wait for each other's locks while others run: found by their holders, in dumps and with
GODEBUG=deadlock=1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core import runtime2, traceback
from gort._runtime.watch import reports
from gort.sync import Mutex, RWMutex
from support import parked, program, until

Run = Callable[..., Any]


def sched() -> Any:
    return runtime2.current_m().sched


class Cross:
    """Goroutine i holds locks[i] and then wants locks[i + 1]; the last wants the first."""

    def __init__(self, locks: list[Any]) -> None:
        self.locks = locks
        self.inside = 0
        self.handles: list[Any] = []

    async def transfer(self, i: int) -> None:
        async with self.locks[i]:
            self.inside += 1
            await until(lambda: self.inside == len(self.locks))
            async with self.locks[(i + 1) % len(self.locks)]:
                pass  # only once the one before has been cancelled

    async def main(self, reason: str) -> tuple[list[list[int]], str]:
        async with gort.Group() as group:
            self.handles = [group.go(self.transfer, i) for i in range(len(self.locks))]
            await parked(len(self.locks), reason)
            found = [sorted(g.goid for g, _ in circle) for circle in traceback.cycles(sched())]
            text = traceback.dump(sched())
            group.cancel()
        assert traceback.cycles(sched()) == []
        return found, text


@pytest.mark.parametrize("n", [1, 2, 3, 10])
@pytest.mark.parametrize("kind", [Mutex, RWMutex])
def test_a_circle_is_found_by_the_holders(run: Run, kind: type, n: int) -> None:
    """Of one goroutine that locks twice, of two, of more; writers of an RWMutex too.  A dump begins with it."""
    cross = Cross([kind() for _ in range(n)])
    found, text = run(cross.main, "sync.Mutex.Lock")
    assert len(found) == 1
    assert len(found[0]) == n
    head = f"{n} goroutines wait for each other" if n > 1 else "a goroutine waits for a lock that it holds itself"
    lines = text.splitlines()
    assert lines[0] == f"deadlock: {head}"
    waits = dict(line.removeprefix("goroutine ").split(" waits for ") for line in lines[1 : n + 1])
    for goid, what in waits.items():
        holder = what.rpartition("held by goroutine ")[2]
        assert holder in waits
        assert (holder == goid) == (n == 1)


def test_those_who_wait_for_a_circle_are_not_in_it(run: Run) -> None:
    """Nor those who wait for a lock whose holder goes on."""

    async def main() -> list[list[int]]:
        locks = [Mutex(), Mutex()]
        cross = Cross(locks)
        free = Mutex()
        await free.lock()

        async def waits(mu: Mutex) -> None:
            async with mu:
                pass

        async with gort.Group() as group:
            for i in range(2):
                group.go(cross.transfer, i)
            await parked(2, "sync.Mutex.Lock")
            for mu in (*locks, free):
                group.go(waits, mu)
            await parked(5, "sync.Mutex.Lock")
            found = [sorted(g.goid for g, _ in circle) for circle in traceback.cycles(sched())]
            group.cancel()
        free.unlock()
        return found

    found = run(main)
    assert [len(circle) for circle in found] == [2]


@pytest.mark.parametrize("rounds", [1000])
def test_a_thousand_fine_crossings_are_no_circle(run: Run, monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    """Locks taken in both orders, under a third one that keeps the two apart: at every moment somebody goes on.  What is
    looked at again and again meanwhile is never told as a circle."""
    said: list[str] = []
    monkeypatch.setattr(reports, "say", said.append)

    async def main() -> int:
        a, b, gate = Mutex(), Mutex(), Mutex()
        left = 8
        looks = 0

        async def crosses(first: Mutex, second: Mutex) -> None:
            nonlocal left
            for _ in range(rounds // 8):
                async with gate, first:
                    await gort.gosched()
                    async with second:
                        await gort.gosched()
            left -= 1

        async def takes(mu: Mutex) -> None:
            while left:
                async with mu:
                    await gort.gosched()
                await gort.gosched()

        async with gort.Group() as group:
            for i in range(8):
                group.go(crosses, *((a, b) if i % 2 else (b, a)))
            group.go(takes, a)
            group.go(takes, b)
            circles = reports.Cycles()
            while left:
                circles.look(sched())
                looks += 1
                await gort.gosched()
        return looks

    assert run(main) > 10
    assert said == []


REPORT = """
    from gort.sync import Mutex
    import io
    class Err(io.StringIO):
        def write(self, text):
            real.write(text); real.flush()
            heard.append(text)
            return len(text)
    heard = []
    real, sys.stderr = sys.stderr, Err()
    a, b = Mutex(), Mutex()
    async def transfer(first, second):
        async with first:  # line 14
            await gort.sleep(0.01)
            async with second:
                return "done"
    async def ticker():
        t = gort.Ticker(0.05)
        while True: await t.c.recv()
    async def main():
        ln = None
        gort.go(ticker)
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        gort.go(transfer, a, b)
        gort.go(transfer, b, a)
        start = time.monotonic()
        while not any("deadlock" in text for text in heard): await gort.sleep(0.01)
        for _ in range(20): await gort.sleep(0.1)  # four more looks
        print("over")
    gort.run(main)
"""


@pytest.mark.parametrize("on", [True, False])
def test_godebug_deadlock_reports_once_and_where_the_locks_were_taken(on: bool) -> None:
    """A ticker and an idle thread, which keep the deadlock of everything from being told, do not matter."""
    text = REPORT if on else REPORT.replace('while not any("deadlock" in text for text in heard)', "for _ in range(99)")
    done = program(text, GODEBUG="deadlock=1" if on else None)
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr
    if not on:
        assert done.stderr == ""
        return
    assert done.stderr.count("wait for each other") == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "gort: deadlock: 2 goroutines wait for each other"
    numbers = {int(line.removeprefix("goroutine ").partition(" waits")[0]) for line in lines[1:3]}
    assert len(numbers) == 2
    assert all(line.endswith(" since <string>:14") for line in lines[1:3]), lines
    assert done.stderr.count("main.transfer(...)") == 2


def test_a_class_of_the_users_with_such_names_harms_nobody(run: Run) -> None:
    """A lock whose methods the program has replaced is told of without its holder."""

    class Odd(Mutex):
        def _owner(self) -> Any:
            raise ZeroDivisionError

        def _words(self) -> Any:
            raise ZeroDivisionError

    async def main() -> str:
        mu = Odd()
        await mu.lock()

        async def waits() -> None:
            async with mu:
                pass

        gort.go(waits)
        await parked(1, "sync.Mutex.Lock")
        text = runtime.stack(all=True, group=True)
        mu.unlock()
        return text

    assert "[sync.Mutex.Lock]" in run(main)
