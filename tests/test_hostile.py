"""Nothing of the user's can break the scheduler: exceptions of every kind from every place where gort calls or touches
something of the user's.  The product of both, in an order that a seed decides.

GORT_HOSTILE_SECONDS: how long it goes on (the whole product takes some minutes); GORT_HOSTILE_SEED: another order.  A
case is repeated by its name: `python tests/hostile.py go_async/NoClass/4`.  What it has found is in
test_hostile_faults.py.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gort
import hostile
import hostile_library  # noqa: F401  (they fill hostile.PLACES)
import hostile_places  # noqa: F401
from support import FULL, PATIENCE_S, environment

SECONDS = float(os.environ.get("GORT_HOSTILE_SECONDS", "3" if FULL else "1"))
SEED = int(os.environ.get("GORT_HOSTILE_SEED", "1"))
BATCH = 60  # cases in one process: few enough that one which ends it is soon found
SHARDS = 4


def product() -> list[str]:
    """All cases: first one of each place, then the others."""
    rng = random.Random(SEED)
    cases = [[f"{place}/{kind}/{procs}" for kind in hostile.KINDS for procs in (1, 4)] for place in hostile.PLACES]
    for each in cases:
        rng.shuffle(each)
    rng.shuffle(cases)
    rest = [case for each in cases for case in each[1:]]
    rng.shuffle(rest)
    return [each[0] for each in cases] + rest


def run(cases: list[str]) -> list[str]:
    """Runs cases in a process of their own, and returns those that went wrong, each with what was wrong."""
    command = [sys.executable, str(Path(hostile.__file__)), *cases]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    wrong = []
    names = []
    for block in done.stdout.split("case ")[1:]:
        name, _, outcome = block.partition("\n")
        names.append(name)
        if outcome.strip() != "right":
            wrong.append(
                f"{name}: {outcome.strip() or f'the process ended ({done.returncode})'}\n{done.stderr[-4000:]}"
            )
    if not wrong and (done.returncode != 0 or names != cases):
        wrong.append(f"the process ended ({done.returncode}) after {names[-1:]}\n{done.stderr[-4000:]}")
    return wrong


@pytest.mark.parametrize("shard", range(SHARDS))
def test_each_place(shard: int) -> None:
    """Every place, with one kind of exception."""
    wrong = run(product()[: len(hostile.PLACES)][shard::SHARDS])
    assert not wrong, "\n".join(wrong)


def test_the_product() -> None:
    """As many of the other cases as there is time for."""
    rest = product()[len(hostile.PLACES) :]
    end = time.monotonic() + SECONDS
    while rest and time.monotonic() < end:
        batch, rest = rest[:BATCH], rest[BATCH:]
        wrong = run(batch)
        assert not wrong, "\n".join(wrong)


# --- the check itself: it sees what it is to see ---------------------------------------------------


async def loses(evil: hostile.Evil) -> None:
    """Swallows what is raised."""
    try:
        evil.boom()
    except hostile.Plain:
        pass


async def replaces(evil: hostile.Evil) -> None:
    """Raises something else."""
    raise LookupError("another")


async def disturbs(evil: hostile.Evil) -> None:
    """Takes a value of the canary's."""
    canary = sys._getframe(1).f_locals["canary"]
    await canary.there.recv_ok()
    canary.stop = True
    canary.over.close()


@pytest.mark.parametrize(
    ("place", "what"),
    [(loses, "is lost"), (replaces, "LookupError"), (disturbs, "the canary")],
    ids=lambda x: str(x)[:20],
)
def test_the_check_sees(place: object, what: str) -> None:
    wrong = hostile.check(hostile.Place(place, (), ""), "Exception", 1)  # type: ignore[arg-type]
    assert any(what in each for each in wrong), wrong


# --- memory ----------------------------------------------------------------------------------------

# The hooks are put in once, before there is a second thread, and never taken out; to end the failures is to name an
# allocation that does not come.  CPython changes an allocator's functions and their argument one after the other, and a
# thread that starts frees its argument without the GIL: between the two it would call a function with another's argument
# (a segmentation fault, in a program without gort too).  `*NEVER`: the call makes no tuple, so needs no memory.
NO_MEMORY = """
import faulthandler, sys
import _testcapi
NEVER = (1 << 30, 0)
_testcapi.set_nomemory(*NEVER)
import gort

async def nothing(): pass
async def recv_one(ch): await ch.recv()
async def send_one(ch): await ch.send(5)

async def spawn(window):
    window(); gort.go(nothing); await gort.gosched()
async def plain(window):
    window(); gort.go(id, 1); gort.go(lambda **k: None, key=1); await gort.gosched()
async def send(window):
    ch = gort.Chan(); gort.go(recv_one, ch); await gort.gosched()
    window(); await ch.send(1)
async def recv(window):
    ch = gort.Chan(); gort.go(send_one, ch)
    window(); await ch.recv()
async def buffered(window):
    ch = gort.Chan(3)
    window(); await ch.send(1); await ch.recv()
async def select(window):
    a, b = gort.Chan(), gort.Chan(); gort.go(send_one, a)
    window(); await gort.select(a.recv(), b.recv())
async def sleep(window):
    window(); await gort.sleep(0.001)
async def cancel(window):
    async with gort.Group() as group:
        group.go(recv_one, gort.Chan()); await gort.gosched()
        window(); group.cancel(); await gort.gosched()
async def mutex(window):
    mu = gort.sync.Mutex()
    window()
    async with mu: await gort.gosched()

def out_of_memory(exc):
    seen = [exc]
    for e in seen:
        seen += [x for x in (e.__cause__, e.__context__, *getattr(e, "exceptions", ())) if x and x not in seen]
    return any(isinstance(e, MemoryError) for e in seen)

def program(op, at):
    async def main():
        try:
            await op(lambda: _testcapi.set_nomemory(at, at + width))
        finally:
            _testcapi.set_nomemory(*NEVER)
    return main

async def warm(op): await op(lambda: None)

op, width, procs = globals()[sys.argv[1]], int(sys.argv[4]), int(sys.argv[5])
gort.run(warm, op)

def tries():  # a function: to enter the error's name among the globals may need memory, for their dict may be full
    for at in range(int(sys.argv[2]), int(sys.argv[3])):
        print(at, flush=True)
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            gort.run(program(op, at), procs=procs)
        except BaseException as e:
            _testcapi.set_nomemory(*NEVER)
            assert out_of_memory(e), e
        finally:
            _testcapi.set_nomemory(*NEVER)
        faulthandler.cancel_dump_traceback_later()
        gort.run(warm, op)
tries()
"""
AT_MOST = 30  # the allocations of an operation: later ones are the test's own


@pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="this Python has no test package")
@pytest.mark.skipif(not gort.runtime.compiled, reason="the uncompiled core allocates at every step, with locks held")
@pytest.mark.parametrize("procs", [1, 4])
@pytest.mark.parametrize("width", [1, 1000])
@pytest.mark.parametrize("op", ["spawn", "plain", "send", "recv", "buffered", "select", "sleep", "cancel", "mutex"])
def test_an_allocation_fails(op: str, width: int, procs: int) -> None:
    """Each allocation in turn, alone or with those that follow: MemoryError is raised or reported, and the next program
    runs.  Where the scheduler itself has no memory, the process may end with a report, as Go's does.  With several Ps it
    is often a thread that has just been started, or the start of one."""
    at = 0
    while at < AT_MOST:
        command = [sys.executable, "-c", NO_MEMORY, op, str(at), str(AT_MOST), str(width), str(procs)]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == 2, (op, done.stdout[-20:], done.returncode, done.stderr[-4000:])
        assert "fatal error: " in done.stderr, done.stderr
        assert "MemoryError" in done.stderr, done.stderr
        at = int(done.stdout.split()[-1]) + 1
