"""What belongs to a thread and is held across an await: reported by line, an error on demand, explained where it fails.

GODEBUG=migration is read when gort is imported, so each program runs in a process of its own.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support import environment, gort_cli

HEAD = """\
import contextvars, os, sqlite3, threading, time, gort
from gort import runtime
from gort._runtime.watch import sysmon
if os.environ.get("KEEPS_P"):
    sysmon.retake = lambda s, seen, ousted: (0, False, False)
    sysmon.noticed = lambda s, watcher, ousted: False
lock = threading.RLock()
cond = threading.Condition()
mine = threading.local()
"""


def run(
    tmp_path: Path, body: str, mode: int, procs: int = 1, *, keeps_p: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs HEAD and body.  With keeps_p sysmon hands no P on: on a busy machine a thread that gets no processor looks
    blocked to it, and goroutines that this test has run on one thread would be on two."""
    file = tmp_path / "prog.py"
    file.write_text(HEAD + body)
    changes = {"GODEBUG": f"lockrank=1,migration={mode}", "GOMAXPROCS": str(procs), "KEEPS_P": "1" if keeps_p else None}
    env = environment(**changes)
    return gort_cli("run", str(file), env=env)


def line(body: str, text: str) -> int:
    """The number of the line that holds `text`."""
    lines = (HEAD + body).splitlines()
    (number,) = [n for n, found in enumerate(lines, 1) if text in found]
    return number


HELD = """\
async def waits(ch):
    with {}:  # taken
        await ch.recv()  # waits

async def main():
    ch = gort.Chan()
    async with gort.Group() as group:
        for _ in range(3):
            one = group.go(waits, ch)
            await gort.gosched()
            await ch.send(1)
            await one
"""


@pytest.mark.parametrize("what", ["lock", "cond"])
def test_held_across_an_await_is_reported(tmp_path: Path, what: str) -> None:
    """Once for each place, with the goroutine, both lines and the remedy; nothing need have gone wrong."""
    body = HELD.format(what)
    done = run(tmp_path, body, 1, keeps_p=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("^gort: goroutine ", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert re.match(r"gort: goroutine \d+ waits while it holds a threading\.RLock", done.stderr)
    assert f"\ttaken at {tmp_path}/prog.py:{line(body, '# taken')} (main.waits)\n" in done.stderr
    assert f"\twaits at {tmp_path}/prog.py:{line(body, '# waits')} (main.waits)\n" in done.stderr
    assert "gort.sync.Mutex" in done.stderr
    assert "lock_os_thread" in done.stderr


def test_held_across_an_await_is_an_error(tmp_path: Path) -> None:
    """migration=2: at that await, in that goroutine; the lock is released on the way out."""
    body = """
async def waits(ch):
    with lock:  # taken
        await ch.recv()

async def main():
    try:
        await waits(gort.Chan())
    except RuntimeError as exc:
        print(str(exc).splitlines()[1].strip().rsplit(":", 1)[1])
    print(lock.acquire(blocking=False))
    lock.release()
    await gort.sleep(0.001)
"""
    done = run(tmp_path, body, 2)
    assert (done.stdout, done.stderr) == (f"{line(body, '# taken')} (main.waits)\nTrue\n", "")


@pytest.mark.parametrize(
    "body",
    [
        "async def main():\n    runtime.lock_os_thread()\n    with lock, cond:\n        await gort.sleep(0.001)\n",
        "async def main():\n    with lock:\n        with lock:\n            pass\n    await gort.sleep(0.001)\n",
        "async def main():\n    lock.acquire()\n    lock.acquire()\n    lock.release()\n    lock.release()\n"
        "    await gort.sleep(0.001)\n",
        "def plain():\n    with lock:\n        gort.wait(gort.sleep(0.001))\n"
        "async def main():\n    async with gort.Group() as g:\n        g.go(plain)\n",
        "async def main():\n    def notifies():\n        with cond: cond.notify_all()\n"
        "    with cond:\n        gort.go(notifies)\n        assert cond.wait(200)\n    await gort.sleep(0.001)\n",
        "async def main():\n    async with gort.sync.Mutex():\n        await gort.sleep(0.001)\n",
        "async def main():\n    threading.local().x = 1\n    mine.x = 1\n    await gort.sleep(0.001)\n    mine.x\n"
        "    del mine.x\n    assert not hasattr(mine, 'x')\n",
        "class Own(threading.local):\n    def __init__(self): self.n = 5\n"
        "async def main():\n    own = Own()\n    assert own.n == 5\n    own.n += 1\n    assert own.n == 6\n",
    ],
    ids=["locked to its thread", "released before", "taken twice", "plain function", "condition", "mutex",
         "local on one thread", "subclass of local"],
)  # fmt: skip
def test_what_is_right_is_not_reported(tmp_path: Path, body: str) -> None:
    done = run(tmp_path, body, 2)
    assert (done.returncode, done.stderr) == (0, "")


SHARED = """\
async def first(ch):
    with lock:  # first
        await ch.recv()

async def second():
    lock.acquire()  # second
    print("both are inside")
    lock.release()

async def main():
    ch = gort.Chan()
    async with gort.Group() as group:
        group.go(first, ch)
        await gort.gosched()  # until it waits
        await group.go(second)
        await ch.send(1)
"""


def test_two_goroutines_in_one_rlock(tmp_path: Path) -> None:
    """To the lock they are one thread, so both get it; with migration=2 the second does not."""
    done = run(tmp_path, SHARED, 1, keeps_p=True)
    assert done.stdout == "both are inside\n", done.stderr
    assert re.search(r"goroutine \d+ takes a threading\.RLock that goroutine \d+ holds across an await", done.stderr)
    assert f"prog.py:{line(SHARED, '# first')} (main.first)\n" in done.stderr
    assert f"prog.py:{line(SHARED, '# second')} (main.second)\n" in done.stderr


MOVES = """\
async def moves():
    mine.x = "of moves"  # set
    {take}
    here = threading.get_ident()
    while threading.get_ident() == here:  # until it has moved
        gort.go(time.sleep, 0.01)
        await gort.gosched()
    {then}

async def main():
    async with gort.Group() as group:
        group.go(moves)
"""


@pytest.mark.parametrize("procs", [1, 4])
def test_a_local_that_stayed_behind(tmp_path: Path, procs: int) -> None:
    body = MOVES.format(take="pass", then="print(getattr(mine, 'x', 'nothing'))  # read")
    done = run(tmp_path, body, 1, procs)
    assert (done.returncode, done.stdout) == (0, "nothing\n"), done.stderr
    assert re.match(r"gort: goroutine \d+ reads 'x' of a threading\.local that it set before an await", done.stderr)
    assert f"\tset at {tmp_path}/prog.py:{line(body, '# set')} (main.moves)\n" in done.stderr
    assert f"\tread at {tmp_path}/prog.py:{line(body, '# read')} (main.moves)\n" in done.stderr
    assert "contextvars" in done.stderr


def test_a_local_that_another_goroutine_set(tmp_path: Path) -> None:
    body = """
async def one(ch):
    mine.x = 1
    await ch.recv()
    print(mine.x)

async def two():
    mine.x = 2

async def main():
    ch = gort.Chan()
    async with gort.Group() as group:
        group.go(one, ch)
        await gort.gosched()  # until it waits
        await group.go(two)
        await ch.send(1)
"""
    done = run(tmp_path, body, 1, keeps_p=True)
    assert done.stdout == "2\n", done.stderr
    assert "and another goroutine on this thread has set it since" in done.stderr
    done = run(tmp_path, body, 2, keeps_p=True)
    assert "RuntimeError: goroutine" in done.stderr


# --- without GODEBUG -----------------------------------------------------------------------------


def test_releasing_an_rlock_on_another_thread_is_explained(tmp_path: Path) -> None:
    """Python's error comes with a note; with GODEBUG=migration=1 also with the line where it was taken."""
    body = MOVES.format(take="lock.acquire()  # taken", then="lock.release()")
    done = run(tmp_path, body, 0)
    assert done.returncode == 2
    assert "cannot release un-acquired lock" in done.stderr
    assert "gort: goroutines may continue on another thread after an await" in done.stderr
    assert "GODEBUG=migration=1" in done.stderr
    done = run(tmp_path, body, 1)
    assert re.search(r"goroutine \d+ took this RLock on another thread", done.stderr)
    assert f"at {tmp_path}/prog.py:{line(body, '# taken')} (main.moves)" in done.stderr


def test_sqlite_on_another_thread_is_explained(tmp_path: Path) -> None:
    body = MOVES.format(take="db = sqlite3.connect(':memory:')", then="db.execute('select 1')")
    done = run(tmp_path, body, 0)
    assert done.returncode == 2
    assert "SQLite objects created in a thread can only be used in that same thread" in done.stderr
    assert "Call gort.runtime.lock_os_thread() before sqlite3.connect" in done.stderr


def test_off_it_replaces_nothing(tmp_path: Path) -> None:
    body = "import _thread as t\nasync def main():\n    print(type(lock) is t.RLock, threading.local is t._local)\n"
    assert run(tmp_path, body, 0).stdout == "True True\n"
