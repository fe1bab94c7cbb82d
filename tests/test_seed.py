"""C21: what GODEBUG=seed repeats and changes: with one P the whole order of a program that does no I/O, timers included;
with more of them which case a select takes, and from whom a P steals. (docs/guide-go.md, GODEBUG)"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import PATIENCE_S, environment

CHOICES = """
    import gort

    async def main():
        chans = [gort.Chan(1) for _ in range(4)]
        sem = [gort.sync.Semaphore(1) for _ in range(4)]
        chosen = []
        for _ in range(40):
            for ch in chans:
                ch.try_send(None)
            {select}
            chosen.append(str(case))
        print(" ".join(chosen))

    gort.run(main, procs=1)
"""
SELECTS = {
    "channels": "case, _, _ = await gort.select(*(ch.recv() for ch in chans))",
    "duplicates": "case, _, _ = await gort.select(*(chans[0].recv() for _ in range(4)))",
    "names": "case, _, _ = await gort.select(**{f'c{i}': ch.recv() for i, ch in enumerate(chans)})",
    "locks": "case, _, _ = await gort.select(*(s.acquire() for s in sem)); sem[case].release()",
}

# What each program prints is the order in which its goroutines did something.
PROGRAMS = {
    # none of them ever waits: only a preemption changes the order
    "operations that need not wait": """
        async def member(n):
            for _ in range(6):
                print(n, end=" ")
                await room.send(None)

        room = gort.Chan(1000)
        async with gort.Group() as group:
            for n in range(4):
                group.go(member, n)
    """,
    "yields": """
        async def member(n):
            for _ in range(3):
                print(n, end=" ")
                await gort.gosched()

        async with gort.Group() as group:
            for n in range(8):
                group.go(member, n)
    """,
    # several of them are due at the same time, and goroutines run while others are
    "timers": """
        async def sleeper(n):
            for _ in range(3):
                await gort.sleep(0.002 * (n % 3))
                print("s", n, end=" ")
                for _ in range(n):
                    await gort.gosched()

        async def ticks():
            ticker = gort.Ticker(0.003)
            for _ in range(3):
                await ticker.c.recv()
                print("t", end=" ")
            ticker.stop()

        async def late(n):
            async with gort.move_on_after(0.004) as scope:
                await gort.Chan().recv()
            print("late", n, end=" ")

        async def cancelled(n):
            ctx, cancel = gort.context.with_timeout(gort.context.background(), 0.004)
            await ctx.done().recv_ok()
            print("ctx", n, end=" ")
            cancel()

        over = gort.Chan()
        gort.after_func(0.004, lambda: (print("f", end=" "), over.close()))
        async with gort.Group() as group:
            group.go(ticks)
            for n in range(5):
                group.go(sleeper, n)
                group.go(late, n)
                group.go(cancelled, n)
        await over.recv_ok()
    """,
    "locks and channels": """
        async def locker(n):
            for _ in range(3):
                async with mu:
                    print(n, end=" ")
                    await ch.send(n)

        async def reader():
            async for v in ch:
                print(f"<{v}", end=" ")

        mu, ch = gort.sync.Mutex(), gort.Chan()
        async with gort.Group() as group:
            group.go(reader)
            async with gort.Group() as lockers:
                for n in range(4):
                    lockers.go(locker, n)
            ch.close()
    """,
}


def run(code: str, seed: str | None) -> str:
    env = environment(GODEBUG="lockrank=1" if seed is None else f"lockrank=1,seed={seed}")
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def runs(code: str, seeds: list[str | None]) -> list[str]:
    """What it prints with each seed; two run at a time, for the machine to disturb them."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda seed: run(code, seed), seeds))


def program(name: str) -> str:
    body = textwrap.indent(textwrap.dedent(PROGRAMS[name]), "    ")
    return f"import gort\nasync def main():\n{body}\ngort.run(main, procs=1)\n"


@pytest.mark.parametrize("kind", SELECTS)
def test_c21_a_seed_repeats_the_choices_of_select_and_another_one_changes_them(kind: str) -> None:
    code = textwrap.dedent(CHOICES).replace("{select}", SELECTS[kind])
    first, again, other = runs(code, ["7", "7", "8"])
    assert first == again
    assert first != other
    assert len(set(first.split())) == 4


def test_c21_without_a_seed_each_run_chooses_anew() -> None:
    first, again = runs(textwrap.dedent(CHOICES).replace("{select}", SELECTS["channels"]), [None, None])
    assert first != again


@pytest.mark.parametrize("name", PROGRAMS)
def test_c21_with_one_p_a_seed_repeats_the_whole_order(name: str) -> None:
    """And five seeds give five orders."""
    orders = runs(program(name), ["1", "2", "3", "4", "5", "1", "2"])
    assert orders[:2] == orders[5:]
    assert len(set(orders)) == 5
    assert len({" ".join(sorted(order.split())) for order in orders}) == 1  # they all do the same, in another order


def test_c21_a_call_that_blocks_still_gives_its_p_away() -> None:
    """Later than without a seed, but it does: what it waits for comes from another goroutine."""
    code = """
import queue, gort

async def main():
    q = queue.Queue()
    def plain():
        over.try_send(q.get())
    over = gort.Chan(1)
    gort.go(plain)
    async def give():
        q.put(1)
    for _ in range(3):
        await gort.gosched()
    gort.go(give)
    print(await over.recv())

gort.run(main, procs=1)
"""
    assert run(code, "3") == "1\n"


def test_c21_time_passes_with_a_seed_too() -> None:
    """A sleep takes as long as it says, and a goroutine that never waits cannot hold a timeout off."""
    code = """
import time, gort

async def main():
    before = time.monotonic()
    await gort.sleep(0.2)
    assert time.monotonic() - before >= 0.2
    room = gort.Chan(1)
    try:
        async with gort.timeout(0.001):
            while True:
                await room.send(1)
                await room.recv()
    except TimeoutError:
        print("over")

gort.run(main, procs=1)
"""
    assert run(code, "3") == "over\n"
