"""C21: what GODEBUG=seed repeats and changes: which case a select takes. With one P the order of goroutines is fixed,
whatever the seed. (docs/guide-go.md, GODEBUG)"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from support import PATIENCE_S, environment

# sysmon takes the P from nobody: a thread that the machine gives no processor for a millisecond looks blocked, and then
# another thread, with random numbers of its own, would go on.
CHOICES = """
    import gort
    from gort._runtime.watch import sysmon

    sysmon.retake, sysmon.noticed = lambda s, seen, ousted: (0, False, False), lambda s, watcher, ousted: False

    async def member(n):
        order.append(n)
        await gort.gosched()
        order.append(n)

    order = []

    async def main():
        chans = [gort.Chan(1) for _ in range(4)]
        sem = [gort.sync.Semaphore(1) for _ in range(4)]
        chosen = []
        for _ in range(40):
            for ch in chans:
                ch.try_send(None)
            {select}
            chosen.append(str(case))
        async with gort.Group() as group:
            for n in range(8):
                group.go(member, n)
        print(" ".join(chosen))
        print(*order)

    gort.run(main, procs=1)
"""
SELECTS = {
    "channels": "case, _, _ = await gort.select(*(ch.recv() for ch in chans))",
    "duplicates": "case, _, _ = await gort.select(*(chans[0].recv() for _ in range(4)))",
    "names": "case, _, _ = await gort.select(**{f'c{i}': ch.recv() for i, ch in enumerate(chans)})",
    "locks": "case, _, _ = await gort.select(*(s.acquire() for s in sem)); sem[case].release()",
}


def run(select: str, seed: str | None) -> list[str]:
    """The cases that were taken, and the order of the goroutines."""
    env = environment(GODEBUG="lockrank=1" if seed is None else f"lockrank=1,seed={seed}")
    code = textwrap.dedent(CHOICES).replace("{select}", select)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", SELECTS)
def test_c21_a_seed_repeats_the_choices_of_select_and_another_one_changes_them(kind: str) -> None:
    first, again, other = (run(SELECTS[kind], seed) for seed in ("7", "7", "8"))
    assert first == again
    assert first[0] != other[0]
    assert len(set(first[0].split())) == 4
    assert first[1] == other[1]


def test_c21_without_a_seed_each_run_chooses_anew() -> None:
    assert run(SELECTS["channels"], None)[0] != run(SELECTS["channels"], None)[0]
