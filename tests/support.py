"""Helpers of the tests: waiting without sleeping, running the command line, looking at threads, files
and memory.

No test sleeps to let something happen. `until` gives way until a condition holds, `parked` until
goroutines wait for a given reason, as the runtime's own dump tells. Both fail with that dump when their
time is over.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gort

if TYPE_CHECKING:
    import ssl

    import pytest

# A libffi that was built with static trampolines opens its own file at the first callback and keeps it open. ctypes
# makes one when it is imported, which the uncompiled core does in its first program. Here it is made before anybody
# counts descriptors.
ctypes.CFUNCTYPE(None)(lambda: None)

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
TESTS = Path(__file__).parent
ROOT = TESTS.parent
SOURCE = ROOT / "src" / "gort"

# Whether tests do all that they can. By hand they do a fifth of what is only more of the same (connections, rounds, drawn
# examples), so that `make test` ends within minutes. CI is what hosts of continuous integration set.
FULL = os.environ.get("CI", "").lower() not in ("", "0", "false")


def dose(number: int) -> int:
    """So many of what more of can only find what is rare."""
    return number if FULL else max(1, number // 5)


# How long anything is waited for before it counts as hanging: a condition, a thread's end, a process of its own. No test
# measures with it. It only ends what would never end, so it is far longer than anything takes on a machine that is busy
# with other things.
PATIENCE_S = 300.0
BUSY_S = 0.02  # so long a wait for a condition only gives way; then it sleeps between its looks


# How a program begins in which goroutines send and receive while it is looked at.  `main` goes on in the test.
TRAFFIC = """
import gort, sys

async def main():
    over = []

    async def waits(depth, ch):
        return await (waits(depth - 1, ch) if depth else ch.recv_ok())

    async def receiver(ch):
        while (await waits(3, ch))[1]:
            pass

    async def sender(ch):
        while not over:
            await ch.send(None)
        ch.close()
"""


async def until(condition: Callable[[], object], what: str = "", patience: float = PATIENCE_S) -> None:
    """Gives way to other goroutines until `condition()` is true; AssertionError with all stacks if it
    never is."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited > patience:
            what = what or getattr(condition, "__name__", "condition")
            raise AssertionError(f"{what}: not true after {patience} s\n{gort.runtime.stack(all=True)}")
        if waited < BUSY_S:
            await gort.gosched()
        else:  # no longer: what is waited for may need the processor
            await gort.sleep(0.001)


async def ended(*handles: Any) -> None:
    """Gives way until the members of a group that these handles stand for have ended."""
    await until(lambda: all(h.done for h in handles), "the goroutines end")


def let_go() -> None:
    """Frees what nobody refers to any more.

    Without the GIL an object is freed by the thread that has made it, when that one next runs Python, if another thread
    drops it last.  A thread of the runtime's that is idle may not do that for ever, and a collection does it instead."""
    if not GIL:
        gc.collect()


def freed(*refs: Callable[[], object]) -> bool:
    """Whether all objects are gone to which these weak references were made."""
    if any(ref() is not None for ref in refs):
        let_go()
    return all(ref() is None for ref in refs)


def keeps_its_p(monkeypatch: pytest.MonkeyPatch) -> None:
    """sysmon takes no P during the test: on a busy machine a thread that gets no processor would look blocked."""
    from gort._runtime.watch import sysmon

    monkeypatch.setattr(sysmon, "retake", lambda s, seen, ousted: (0, False, False))
    monkeypatch.setattr(sysmon, "noticed", lambda s, watcher, ousted: False)


def wait_reasons() -> Counter[str]:
    """How many goroutines are in each state or wait for each reason, as the dump of all goroutines says."""
    heads = re.findall(r"^goroutine \d+(?: [^\[\n]*)?\[([^\],]+)", gort.runtime.stack(all=True), re.MULTILINE)
    return Counter(heads)


def lives(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ends as its file is read
        return False


async def parked(count: int, reason: str) -> None:
    """Gives way until at least `count` goroutines wait for `reason` (Go's words: "chan receive",
    "select", ...)."""
    await until(lambda: wait_reasons()[reason] >= count, f"{count} goroutines in [{reason}]")


async def recv(ch: gort.Chan[Any]) -> Any:
    """`ch.recv()` as a function for `go`: the go statement takes functions, not operations."""
    return await ch.recv()


async def send(ch: gort.Chan[Any], value: Any) -> None:
    """`ch.send(value)` as a function for `go`."""
    await ch.send(value)


async def lock(mutex: Any) -> None:
    """`mutex.lock()` as a function for `go`."""
    await mutex.lock()


async def acquire(semaphore: Any, k: int = 1) -> None:
    """`semaphore.acquire(k)` as a function for `go`."""
    await semaphore.acquire(k)


def gort_threads() -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("gort"))


def open_files() -> dict[int, str]:
    """Open descriptors and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the listing's own descriptor
    return found


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def os_threads() -> int:
    """Threads as the kernel counts them, started by Python or not."""
    return len(os.listdir("/proc/self/task"))


LOOKS = 5000
SETTLES_S = 10.0


def settles(condition: Callable[[], bool]) -> bool:
    """For use outside of a runtime: whether `condition` comes true. A thread that has nothing left to do still needs the
    processor for its last steps, and tells nobody of its end.

    It gives up after LOOKS looks and SETTLES_S, whichever comes later. Each look sleeps, so it lasts at least until this
    thread has been given the processor once more: where others get it rarely, so do we.
    """
    end = time.monotonic() + SETTLES_S
    looks = 0
    while not condition():
        looks += 1
        if looks > LOOKS and time.monotonic() > end:
            return False
        if looks % 100 == 1:
            gc.collect()
        time.sleep(0.001)
    return True


def script(name: str) -> Any:
    """A file of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "gort", *args]


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment with changes; None takes a variable out."""
    env = dict(os.environ)
    for key, value in changes.items():
        if value is None:
            env.pop(key, None)
        else:
            env[key] = value
    return env


def gort_cli(*args: str, env: dict[str, str] | None = None, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Runs `gort ARGS` in a process of its own."""
    options = {"capture_output": True, "text": True, "timeout": PATIENCE_S} | kwargs
    return subprocess.run(command(*args), env=env or environment(), **options)


def python(code: str, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a piece of Python in a process of its own."""
    full = [sys.executable, "-c", code, *args]
    return subprocess.run(full, env=env or environment(), capture_output=True, text=True, timeout=PATIENCE_S)


async def fail(exc: BaseException) -> None:
    """A goroutine that fails."""
    raise exc


async def for_ever() -> None:
    """Waits for what never comes."""
    await gort.Chan[None]().recv()


def program(text: str, **env: str | None) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own; gort, sys, time and threading are imported for it."""
    code = "import gort, sys, time, threading\n" + textwrap.dedent(text)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, env=environment(**env)
    )


def sockets_of(pid: int) -> int:
    """How many sockets a process has open."""
    n = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            n += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
        except OSError:
            pass  # it has just been closed
    return n


def make_certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate of a name, with its key beside it."""
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name}"),
        ],
        check=True,
        capture_output=True,
    )
    return cert


def contexts(cert: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's) contexts of a certificate."""
    import ssl

    s = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    s.load_cert_chain(cert, cert.with_suffix(".key"))
    c = ssl.create_default_context(cafile=str(cert))
    return s, c
