"""Goroutines that wait for each other's locks while others run: found by their holders, in dumps and with
GODEBUG=deadlock=1."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core import runtime2, traceback
from gort._runtime.watch import reports
from gort.sync import Mutex, RWMutex
from support import GIL, ROOT, SOURCE, parked, program, until

Run = Callable[..., Any]


def sched() -> Any:
    return runtime2.current_m().sched


class Cross:
    """Goroutine i holds locks[i] and then wants locks[i + 1]; the last wants the first."""

    def __init__(self, locks: list[Any]) -> None:
        self.locks = locks
        self.inside: list[int] = []  # not a number: without the GIL two goroutines may add to it at once
        self.handles: list[Any] = []

    async def transfer(self, i: int) -> None:
        async with self.locks[i]:
            self.inside.append(i)
            await until(lambda: len(self.inside) == len(self.locks))
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


def test_only_those_who_hold_something_are_looked_at(run: Run) -> None:
    """Many wait for one lock: the search for a circle makes nothing for each of them, and so no collection."""

    async def waits(mu: Mutex) -> None:
        async with mu:
            pass

    async def main() -> tuple[set[int], list[Any], int]:
        mu = Mutex()
        async with gort.Group() as group, mu:
            for _ in range(500):
                group.go(waits, mu)
            await parked(500, "sync.Mutex.Lock")
            gc.disable()  # counts what is made that a collector tracks, and collects nothing
            try:
                before = gc.get_count()[0]
                found = traceback.cycles(sched())
                made = gc.get_count()[0] - before
            finally:
                gc.enable()
            owners = traceback.loaded().owners(list(sched().allgs))
            return owners, found, made

    owners, found, made = run(main)
    assert owners == {1}
    assert found == []
    if GIL:  # else the collector counts for each thread
        assert made < 100


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


def test_a_writer_that_waits_for_readers_is_no_circle(run: Run) -> None:
    """It has the turn among the writers itself, but that is not what it waits for."""

    async def main() -> tuple[list[Any], str]:
        rw = RWMutex()

        async def writes() -> None:
            async with rw:
                pass

        async with gort.Group() as group:
            async with rw.reader():
                group.go(writes)
                await parked(1, "sync.RWMutex.Lock")
                found = traceback.cycles(sched()), traceback.dump(sched())
        return found

    circles, text = run(main)
    assert circles == []
    assert not text.startswith("deadlock")


CIRCLE = """
    from gort.sync import Mutex, RWMutex, Semaphore
    from gort._runtime.core import runtime2, traceback
    from support import parked
    def circles():
        return [sorted(g.goid for g, _ in circle) for circle in traceback.cycles(runtime2.current_m().sched)]
    class Meets:
        def __init__(self, n): self.left, self.all = n, gort.Chan()
        async def __call__(self):
            self.left -= 1
            if self.left: await self.all.recv_ok()
            else: self.all.close()
    async def crosses(meet, first, second, then=None):
        async with first:
            await meet()
            async with second:
                pass
    async def stuck(waits, *pairs):
        meet = Meets(len(pairs))
        async with gort.Group() as group:
            for pair in pairs: group.go(crosses, meet, *pair)
            for reason, n in waits.items(): await parked(n, reason)
            print(len(circles()), *map(len, circles()))
            print(*traceback.deadlocks(runtime2.current_m().sched).splitlines(), sep="\\n")
            group.cancel()
        print("and then", circles())
    async def main():
        BODY
    gort.run(main, procs=PROCS)
"""


def circle(body: str, procs: int) -> list[list[str]]:
    """What the program prints with GODEBUG=deadlock=1, for each call of stuck: how many circles, of how many; what a dump
    says of them.  When all have been cancelled there are none."""
    text = CIRCLE.replace("BODY", body).replace("PROCS", str(procs))
    done = program(text, GODEBUG="deadlock=1", PYTHONPATH=os.pathsep.join([str(SOURCE.parent), str(ROOT / "tests")]))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    *parts, last = done.stdout.split("and then []\n")
    return [part.splitlines() for part in parts] or [last.splitlines()]


def test_readers_and_permits_are_held_too(procs: int) -> None:
    """Two who read and want to write each other's lock; two with the only permits of two semaphores; three who have a
    mutex, a reader's lock and a permit.  Of a semaphore with more permits all who have one must be stuck."""
    body = """
        a, b, c = RWMutex(), RWMutex(), Semaphore(1)
        await stuck({"sync.RWMutex.Lock": 2}, (a.reader(), b), (b.reader(), a))
        a, b = Semaphore(1), Semaphore(1)
        await stuck({"semacquire": 2}, (a, b), (b, a))
        a, b = Mutex(), RWMutex()
        await stuck({"semacquire": 1, "sync.RWMutex.Lock": 1, "sync.Mutex.Lock": 1}, (a, b), (b.reader(), c), (c, a))
        a = Semaphore(2)
        await stuck({"semacquire": 2}, (a, a), (a, a))
        a = Semaphore(3)
        await a.acquire()  # its permit may be given back by anybody
        await stuck({"semacquire": 2}, (a, a), (a, a))
        a = Semaphore(3)
        async with a:
            await stuck({"semacquire": 2}, (a, a), (a, a))
"""
    readers, permits, three, all_permits, anybodys, somebodys = circle(body.strip(), procs)
    head = "deadlock: 2 goroutines wait for each other"
    assert readers[:2] == permits[:2] == all_permits[:2] == ["1 2", head]
    assert all("held by 1 reader (goroutine " in line for line in readers[2:4])
    assert all("0 of 1 permits free, held by goroutine " in line for line in permits[2:4])
    assert three[:2] == ["1 3", head.replace("2", "3")]
    assert anybodys == somebodys == ["0", ""]


def test_a_permit_that_another_gives_back_is_nobodys(procs: int) -> None:
    """The usual limit for goroutines: who starts them takes the permits, and they give them back.  It waits for a permit
    that it has taken itself, and no circle is told."""
    body = """
        sem, go_on = Semaphore(2), gort.Chan()
        async def works():
            await go_on.recv_ok()
            sem.release()
        async def starts():
            for _ in range(4):
                await sem.acquire()
                gort.go(works)
        gort.go(starts)
        await parked(1, "semacquire")
        print(circles())
        go_on.close()
        await parked(0, "semacquire")
        rw = RWMutex()
        async def reads():
            await rw.rlock()
            await gort.Chan().recv()
        async def writes(): await rw.lock()
        gort.go(reads)
        await parked(1, "chan receive")
        rw.runlock()  # another unlocks: from now on its readers are not known
        async with rw.reader():
            gort.go(writes)
            await parked(1, "sync.RWMutex.Lock")
            print(circles())
        print(circles())
"""
    assert circle(body.strip(), procs) == [["[]", "[]", "[]"]]


def test_a_reader_that_another_unlocks_is_nobodys(procs: int) -> None:
    """Who has locked with rlock() waits for a mutex whose holder waits to write: it is no circle, for a third unlocks it.
    Within `async with` it is one, also after a thread has read, and after a reader was unlocked in another goroutine."""
    body = """
        a, b, go_on, meet = RWMutex(), Mutex(), gort.Chan(), Meets(2)
        async def reads():
            await a.rlock()
            await meet()
            async with b: print("reads on")
        async def writes():
            async with b:
                await meet()
                async with a: print("writes")
        async def unlocks():
            await go_on.recv_ok()
            a.runlock()
        async with gort.Group() as group:
            for each in (reads, writes, unlocks): group.go(each)
            await parked(1, "sync.Mutex.Lock")
            await parked(1, "sync.RWMutex.Lock")
            print(circles())
            go_on.close()
        def thread():
            gort.wait(a.rlock())
            a.runlock()
        await gort.blocking(thread)
        reader, left, other = a.reader(), gort.Chan(), a.reader()
        async def enters():
            async with other:
                await reader.__aenter__()
                await left.recv_ok()
        gort.go(enters)
        await parked(1, "chan receive")
        reader.__aexit__(None, None, None)
        left.close()
        while a._words().find("held by") >= 0: await gort.gosched()
        await stuck({"sync.Mutex.Lock": 1, "sync.RWMutex.Lock": 1}, (a.reader(), b), (b, a))
"""
    [lines] = circle(body.strip(), procs)
    assert lines[:3] == ["[]", "writes", "reads on"]
    assert lines[3:5] == ["1 2", "deadlock: 2 goroutines wait for each other"]


def test_a_thousand_fine_crossings_with_readers_and_permits(procs: int) -> None:
    """As above, with GODEBUG=deadlock=1: who takes the second lock is alone, because of a gate."""
    body = """
        from gort._runtime.watch import reports
        a, b, gate = RWMutex(), Semaphore(1), Semaphore(1)
        left = 8
        async def fine(i):
            nonlocal left
            for k in range(125):
                async with gate:
                    first, second = (a.reader() if k % 3 else a, b) if i % 2 else (b, a.reader() if k % 3 else a)
                    async with first:
                        await gort.gosched()
                        async with second:
                            await gort.gosched()
            left -= 1
        looks = reports.Cycles()
        async with gort.Group() as group:
            for i in range(8): group.go(fine, i)
            while left:
                looks.look(runtime2.current_m().sched)
                await gort.gosched()
        print(circles())
"""
    assert circle(body.strip(), procs) == [["[]"]]
