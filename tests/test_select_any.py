"""gort.select with cases that are no channel operations, and with names: one case runs, the others have had no effect."""

from __future__ import annotations

import random
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import gort
import gort.exec as processes
from gort import net, sync
from gort._runtime.core import handoff, runtime2
from gort._runtime.core.runtime2 import Op
from support import PATIENCE_S, ended, parked, until

Run = Callable[..., Any]


async def send_later(ch: gort.Chan[Any], value: Any) -> None:
    await parked(1, "select")
    await ch.send(value)


# ---- names ------------------------------------------------------------------------------------------------------------


def test_names(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(1)
        quit_: gort.Chan[None] = gort.Chan()
        ch.try_send(7)
        match await gort.select(result=ch.recv(), quit=quit_.recv(), timeout=gort.sleep(3600)):
            case ("result", value, ok):
                assert (value, ok) == (7, True)
            case other:
                raise AssertionError(other)
        assert await gort.select(never=None, sent=ch.send(1)) == ("sent", None, True)
        assert await gort.select(ch.recv(), quit=quit_.recv()) == (0, 1, True)
        quit_.close()
        assert await gort.select(ch.recv(), quit=quit_.recv()) == ("quit", None, False)
        assert await gort.select(a=ch.recv(), default=True) == (-1, None, False)

    run(main)


def test_a_select_with_names_parks_and_is_woken(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        gort.go(send_later, ch, 5)
        assert await gort.select(a=gort.Chan[int]().recv(), b=ch.recv(), c=gort.sleep(3600)) == ("b", 5, True)
        gort.go(send_later, ch, 6)
        assert await gort.select(a=None, b=ch.recv_ok()) == ("b", 6, True)

    run(main)


# ---- each kind --------------------------------------------------------------------------------------------------------


def test_sleep(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        assert await gort.select(ch.recv(), gort.sleep(0.001)) == (1, None, True)
        assert await gort.select(ch.recv(), gort.sleep(0)) == (1, None, True)
        assert not ch.try_send(1)

    run(main)


def test_the_losing_sleep_leaves_no_timer(run: Run) -> None:
    """With a timer left, main would wait for an hour instead of being told of the deadlock."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(1)
        ch.try_send(1)
        await gort.select(ch.recv(), gort.sleep(3600))
        await ch.recv()

    with pytest.raises(gort.Deadlock):
        run(main)


def test_the_end_of_a_member(run: Run) -> None:
    async def give(ch: gort.Chan[int]) -> int:
        return await ch.recv()

    async def bad() -> None:
        raise ValueError("bad")

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            one, two = group.go(give, ch), group.go(give, ch)
            gort.go(send_later, ch, 3)
            i, value, ok = await gort.select(one, two)
            assert (i in (0, 1), value, ok) == (True, 3, True)
            group.cancel()
        with pytest.raises(BaseExceptionGroup):
            async with gort.Group() as group:
                h = group.go(bad)
                with pytest.raises(ValueError, match="bad"):
                    await gort.select(h, gort.sleep(3600))

    run(main)


def _mutex() -> Any:
    mu = sync.Mutex()
    return mu.lock, mu.try_lock, mu.unlock


def _semaphore() -> Any:
    sem = sync.Semaphore(3)
    return lambda: sem.acquire(2), lambda: sem.try_acquire(2), lambda: sem.release(2)


def _writer() -> Any:
    rw = sync.RWMutex()
    return rw.lock, rw.try_lock, rw.unlock


@pytest.mark.parametrize("make", [_mutex, _semaphore, _writer], ids=["mutex", "semaphore", "rwmutex"])
def test_locks(run: Run, make: Callable[[], Any]) -> None:
    async def main() -> None:
        lock, try_lock, unlock = make()
        assert await gort.select(lock(), gort.sleep(3600)) == (0, None, True)
        assert not try_lock()

        async def free() -> None:
            await parked(1, "select")
            unlock()

        gort.go(free)
        assert await gort.select(other=gort.Chan[int]().recv(), lock=lock()) == ("lock", None, True)
        assert not try_lock()
        assert await gort.select(lock=lock(), time=gort.sleep(0.001)) == ("time", None, True)
        unlock()
        assert try_lock(), "the losing case has kept the lock, or stands in its queue"
        unlock()

    run(main)


def test_rlock_and_wait_group(run: Run) -> None:
    async def main() -> None:
        rw = sync.RWMutex()
        await rw.lock()
        assert await gort.select(r=rw.rlock(), time=gort.sleep(0.001)) == ("time", None, True)
        rw.unlock()
        assert await gort.select(r=rw.rlock(), time=gort.sleep(3600)) == ("r", None, True)
        assert rw.try_rlock()
        rw.runlock()
        rw.runlock()
        wg = sync.WaitGroup()
        wg.add(1)
        assert await gort.select(wg.wait(), gort.sleep(0.001)) == (1, None, True)
        gort.go(wg.done)
        assert await gort.select(wg.wait(), gort.Chan[int]().recv()) == (0, None, True)

    run(main)


def test_a_try_for_the_writers_lock_holds_back_no_reader(run: Run) -> None:
    """A select tries its locks before it waits; the try has no effect, not even for a moment."""
    readers: list[bool] = []

    class Spied(sync.RWMutex):
        def enter(self, op: Any) -> int:
            state: int = super().enter(op)
            if self.looks:
                readers.append(self.try_rlock())  # as another thread might, at this moment
            return state

        looks = False

    async def main() -> None:
        rw = Spied()
        await rw.rlock()
        rw.looks = True
        assert await gort.select(w=rw.lock(), default=True) == (-1, None, False)
        assert rw.try_rlock()
        rw.looks = False
        rw.runlock()
        rw.runlock()
        assert await gort.select(w=rw.lock(), default=True) == ("w", None, True)
        rw.unlock()

    run(main)
    assert False not in readers


def test_a_select_waits_for_a_lock_in_its_turn(run1: Run) -> None:
    """First come, first served: it overtakes nobody and nobody overtakes it."""
    order: list[str] = []

    async def plain(mu: sync.Mutex, name: str) -> None:
        async with mu:
            order.append(name)

    async def selecting(mu: sync.Mutex, name: str) -> None:
        await gort.select(mu.lock(), gort.Chan[int]().recv())
        order.append(name)
        mu.unlock()

    async def main() -> None:
        mu = sync.Mutex()
        await mu.lock()
        async with gort.Group() as group:
            for fn, name in ((plain, "1"), (selecting, "2"), (plain, "3"), (selecting, "4")):
                group.go(fn, mu, name)
                for _ in range(5):
                    await gort.gosched()
            mu.unlock()

    run1(main)
    assert order == ["1", "2", "3", "4"]


def test_a_select_that_never_waits_asks_the_system(run: Run) -> None:
    """What has come since the last look is found, although a loop of such selects lets the poller look at nothing."""

    async def main() -> None:
        async with await net.listen("tcp", "127.0.0.1:0") as ln:
            assert (await gort.select(ln.accept(), default=True))[0] == -1
            with socket.create_connection((ln.addr.host, ln.addr.port)) as client:
                found, server, _ = await gort.select(ln.accept(), default=True)
                assert found == 0
                async with server:
                    for _ in range(20):
                        assert (await gort.select(server.read(), default=True))[0] == -1
                        client.send(b"x")
                        assert await gort.select(server.read(), default=True) == (0, b"x", True)

    run(main)


def test_read_and_accept(run: Run) -> None:
    async def main() -> None:
        async with await net.listen("tcp", "127.0.0.1:0") as ln:
            assert await gort.select(conn=ln.accept(), time=gort.sleep(0.001)) == ("time", None, True)
            client = await net.dial("tcp", str(ln.addr))
            name, server, ok = await gort.select(conn=ln.accept(), time=gort.sleep(3600))
            assert (name, ok) == ("conn", True)
            async with client, server:
                assert await gort.select(client.read(10), gort.sleep(0.001)) == (1, None, True)
                await server.write(b"one")
                assert await gort.select(client.read(2), gort.sleep(3600)) == (0, b"on", True)
                assert await client.read() == b"e"  # the losing reads have taken nothing
                client.unread(b"kept")
                assert await gort.select(client.read(), gort.Chan[int]().recv()) == (0, b"kept", True)
                buffer = bytearray(8)

                async def answer() -> None:
                    await parked(1, "select")
                    await server.write(b"two")

                gort.go(answer)
                assert await gort.select(n=client.readinto(buffer), t=gort.sleep(3600)) == ("n", 3, True)
                assert buffer[:3] == b"two"
                server.close_write()
                assert await gort.select(client.read(), gort.sleep(3600)) == (0, b"", True)
                client.close()
                with pytest.raises(net.Closed):
                    await gort.select(client.read(), gort.sleep(3600))

    run(main)


def test_close_ends_a_waiting_select(run: Run) -> None:
    async def main() -> None:
        ln = await net.listen("tcp", "127.0.0.1:0")

        async def close() -> None:
            await parked(1, "select")
            ln.close()

        gort.go(close)
        with pytest.raises(net.Closed):
            await gort.select(ln.accept(), gort.Chan[int]().recv())

    run(main)


def test_accept_is_still_a_coroutine(run: Run) -> None:
    async def main() -> None:
        async with await net.listen("tcp", "127.0.0.1:0") as ln, gort.Group() as group:
            h = group.go(ln.accept)
            async with await net.dial("tcp", str(ln.addr)):
                (await h).close()

    run(main)


def test_the_end_of_a_process(run: Run) -> None:
    async def main() -> None:
        cmd = await processes.start(sys.executable, "-c", "input(); raise SystemExit(3)", stdin=processes.PIPE)
        assert await gort.select(cmd.wait(), gort.sleep(0.001)) == (1, None, True)
        assert cmd.stdin is not None
        await cmd.stdin.write(b"\n")
        assert await gort.select(cmd.wait(), gort.Chan[int]().recv()) == (0, 3, True)
        assert await gort.select(cmd.wait(), gort.Chan[int]().recv()) == (0, 3, True)
        cmd.close()

    run(main)


def test_a_select_in_a_select(run: Run) -> None:
    async def main() -> None:
        a: gort.Chan[int] = gort.Chan(1)
        b: gort.Chan[int] = gort.Chan(1)
        a.try_send(1)
        assert await gort.select(gort.select(b.recv(), a.recv()), b.recv()) == (0, (1, 1, True), True)
        b.try_send(2)
        inner = gort.select(x=a.recv(), t=gort.sleep(3600))
        assert await gort.select(inner=inner, b=b.recv()) == ("b", 2, True)
        assert await gort.select(gort.select(gort.select(a.recv(), t=gort.sleep(0.001)))) == (
            0,
            (0, ("t", None, True), True),
            True,
        )

    run(main)


# ---- the promise ------------------------------------------------------------------------------------------------------


def test_the_choice_is_uniform(run1: Run) -> None:
    """Three cases of three kinds that can all run.  3,000 draws: a share below 800 or above 1,200 comes once in 10^14."""

    async def main() -> Counter[Any]:
        ch: gort.Chan[int] = gort.Chan(1)
        mu = sync.Mutex()
        seen: Counter[Any] = Counter()
        for _ in range(3000):
            ch.try_send(1)
            name, _, _ = await gort.select(ch=ch.recv(), mu=mu.lock(), now=gort.sleep(0))
            seen[name] += 1
            if name == "mu":
                mu.unlock()
            assert mu.try_lock()
            mu.unlock()
        return seen

    for count in run1(main).values():
        assert 800 < count < 1200


def test_losers_have_no_effect_in_a_storm(run: Run) -> None:
    """Values, a lock and bytes come while many selects wait for all of them: nothing is lost, nothing is there twice."""

    async def main() -> None:
        rng = random.Random(1)
        ch: gort.Chan[int] = gort.Chan()
        mu = sync.Mutex()
        await mu.lock()
        got: list[int] = []
        locks: list[int] = []
        data: list[bytes] = []
        async with await net.listen("tcp", "127.0.0.1:0") as ln:
            client = await net.dial("tcp", str(ln.addr))
            server = await ln.accept()
            stop: gort.Chan[None] = gort.Chan()

            async def selects() -> None:
                while True:
                    name, value, _ = await gort.select(
                        v=ch.recv(), lock=mu.lock(), data=client.read(4), stop=stop.recv(), t=gort.sleep(0.05)
                    )
                    if name == "v":
                        got.append(value)
                    elif name == "lock":
                        locks.append(1)
                        if rng.random() < 0.5:
                            await gort.gosched()
                        mu.unlock()
                    elif name == "data":
                        data.append(value)
                    elif name == "stop":
                        return

            async with client, server, gort.Group() as group:
                for _ in range(6):
                    group.go(selects)
                mu.unlock()
                for i in range(200):
                    await ch.send(i)
                    if i % 3 == 0:
                        await server.write(b"abcd")
                    if i % 5 == 0:
                        await mu.lock()
                        await gort.gosched()
                        mu.unlock()
                await until(lambda: sum(map(len, data)) == 4 * 67, "all bytes are read")
                stop.close()
        assert sorted(got) == list(range(200))
        assert b"".join(data).count(b"a") == 67
        await until(mu.try_lock, "nobody has kept the lock")

    run(main)


class LateWaker(Op):
    """An operation that another thread has completed when it is taken back, and whose goroutine that thread wakes late:
    once the result is taken, or after a tenth of a second.  `c`: the goroutine found then, or None."""

    def begin(self, g: Any) -> int:
        self.g = g
        self.success = 1
        self.elem = threading.Event()
        self.sel = threading.Thread(target=self.wake)
        return runtime2.PARK

    def wake(self) -> None:
        self.elem.wait(0.1)
        self.c.append(self.g)
        if self.g is not None:
            handoff.ready(self.g)

    def abort(self) -> bool:
        self.sel.start()
        return False

    def finish(self) -> str:
        self.g = None
        self.elem.set()
        self.sel.join()
        return "done"

    def refusal(self) -> str:
        return ""

    def readiness(self) -> Any:
        raise AssertionError("it is ready at once")


def late_waker(found: list[Any]) -> Any:
    op = LateWaker()
    op.c = found
    return op


def test_who_completes_an_operation_as_a_select_takes_it_back_finds_its_goroutine(run: Run) -> None:
    async def main() -> list[Any]:
        found: list[Any] = []
        assert await gort.select(late_waker(found), gort.Chan[int]().recv()) == (0, "done", True)
        return found

    (g,) = run(main)
    assert g is not None


def test_who_completes_an_operation_as_the_end_of_the_program_takes_it_back_finds_its_goroutine(run: Run) -> None:
    found: list[Any] = []

    async def waits() -> None:
        try:
            await gort.Chan[int]().recv()
        finally:
            await late_waker(found)

    async def main() -> None:
        gort.go(waits)
        await parked(1, "chan receive")

    run(main)
    assert found[0] is not None


def test_a_cancelled_select_has_had_no_effect(run: Run) -> None:
    async def main() -> None:
        mu = sync.Mutex()
        ch: gort.Chan[int] = gort.Chan()
        await mu.lock()

        async def waits() -> None:
            await gort.select(mu.lock(), ch.recv(), gort.sleep(3600))

        async with gort.Group() as group:
            h = group.go(waits)
            await parked(1, "select")
            h.cancel()
            mu.unlock()
            await ended(h)
        await until(mu.try_lock)
        assert not ch.try_send(1)

    run(main)


def test_gort_wait(run: Run) -> None:
    def plain() -> Any:
        return gort.wait(gort.select(t=gort.sleep(0.001), never=None))

    async def main() -> None:
        assert await gort.blocking(plain) == ("t", None, True)

    run(main)


# ---- what is refused --------------------------------------------------------------------------------------------------


async def coroutine() -> None: ...


def test_refused(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        mu = sync.Mutex()
        await mu.lock()
        cond = sync.Cond(mu)
        for bad, why in (
            (
                lambda: gort.blocking(print),
                "has an effect before it is over; start it in a gort.Group, and select on h",
            ),
            (coroutine, "start it in a gort.Group, and select on h, or give it its time with gort.move_on_after"),
            (cond.wait, "coroutine"),
            (lambda: ch, "not the channel"),
            (lambda: 3, "not a int"),
            (lambda: gort.select(ch.recv(), default=True), "never waits"),
            (gort.gosched, "effect"),
        ):
            with pytest.raises(TypeError, match=why):
                gort.select(ch.recv(), bad())  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=why):
                gort.select(a=ch.recv(), b=bad())  # type: ignore[arg-type]
        op = gort.sleep(0)
        with pytest.raises(RuntimeError, match="already awaited"):
            gort.select(op, op)
        assert mu.locked
        async with await net.listen("tcp", "127.0.0.1:0") as ln, await net.dial("tcp", str(ln.addr)) as conn:
            with pytest.raises(
                TypeError, match=r"half done .*; start it in a gort.Group, and select on h, or .* gort.move_on_after"
            ):
                gort.select(conn.write(b"x"), gort.sleep(1))

    run(main)


@pytest.mark.parametrize("wins", [True, False])
def test_the_helper_of_a_case_is_no_goroutine_of_the_program(run: Run, wins: bool) -> None:
    """Neither while it waits nor once it has ended.  A thread unlocks: a goroutine might still be there then."""

    async def main() -> list[int]:
        mu = sync.Mutex()
        counts = [gort.runtime.num_goroutine()]
        for _ in range(5):
            await mu.lock()
            unlocks = threading.Timer(0.001, mu.unlock)
            if wins:
                unlocks.start()
            chosen, _, _ = await gort.select(mu.lock(), gort.sleep(PATIENCE_S if wins else 0.0005))
            counts.append(gort.runtime.num_goroutine())
            assert chosen == (0 if wins else 1)
            if wins:
                unlocks.join()
            mu.unlock()
        assert mu.try_lock()
        return counts

    counts = run(main)
    assert counts == [counts[0]] * 6
