"""The engine "local": the nodes are subprocesses on this machine.  For tests, for all processors of one machine under the
GIL, and for free-threaded Python, for which Ray has no wheels.

The record with which a node starts holds the cluster's secret.  It goes through the process's standard input, where
nobody else can read it, and not into its arguments or environment.

Each node leads a process group of its own: Ctrl-C reaches the driver alone, and the nodes end with it, after their
`finally` blocks.

The processes talk over Unix sockets.  A message costs a third less than over the loopback interface, and other users
cannot connect at all: the sockets lie in a folder that nobody else may open.

What is put by `c.put` lies in files in memory (/dev/shm, where there is one), which each node maps: a big array is there
once, however many nodes read it.  What does not live here: what runs in a node (gort/cluster/serve.py).
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import shutil
import signal
import struct
import sys
import tempfile
import time
import uuid
from pickle import loads
from typing import Any

import gort
from gort import exec as gexec
from gort.cluster import wire
from gort.cluster.engine import store_of

__all__ = ["Engine", "Store"]

_PROGRAM = (
    "import json, sys; boot = json.load(sys.stdin); sys.path[:] = boot['path']; "
    "from gort.cluster.engine.local import main; main(boot)"
)
_HEAD = struct.Struct("<QQ")  # bytes of the pickle, number of buffers
_PREFIX = "gort-cluster-"
_NEW_S = 60.0
_PATH = 108  # bytes of the path of a Unix socket, with a zero at the end
_LEAVE_S = 3.0  # for nodes that find that the driver is gone: their `finally` blocks have two seconds
_ALIGN = 64  # where a buffer begins: arrays are read fastest so


class Store:
    """Values in files that all nodes map.  driver: the driver's process."""

    def __init__(self, folder: str, driver: int) -> None:
        self.folder = folder
        self._driver = driver
        self._maps: dict[str, Any] = {}

    def orphaned(self) -> None:
        """As Store.orphaned of the interface."""
        if os.getppid() != self._driver:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def put(self, value: Any) -> str:
        """As Store.put of the interface."""
        return await gort.blocking(self._write, value)

    def _write(self, value: Any) -> str:
        data, buffers = wire.seal_apart(value)
        key = uuid.uuid4().hex
        sizes = [b.nbytes for b in buffers]
        at = _HEAD.size + 8 * len(sizes) + len(data)
        with open(os.path.join(self.folder, key + ".new"), "wb") as f:
            f.write(_HEAD.pack(len(data), len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes) + data)
            for b in buffers:
                f.write(bytes(-at % _ALIGN))
                f.write(b)
                at += -at % _ALIGN + b.nbytes
        os.rename(os.path.join(self.folder, key + ".new"), os.path.join(self.folder, key))
        return key

    async def get(self, key: str) -> Any:
        """As Store.get of the interface."""
        return await gort.blocking(self._read, key)

    def _read(self, key: str) -> Any:
        view = self._maps.get(key)
        if view is None:
            try:
                with open(os.path.join(self.folder, key), "rb") as f:
                    view = memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
            except FileNotFoundError:
                raise LookupError("a value of c.put is gone: its cluster has ended") from None
            view = self._maps.setdefault(key, view)
        size, n = _HEAD.unpack(view[: _HEAD.size])
        at = _HEAD.size
        sizes = struct.unpack(f"<{n}Q", view[at : at + 8 * n])
        at += 8 * n
        data = view[at : at + size]
        at += size
        buffers = []
        for s in sizes:
            at += -at % _ALIGN
            buffers.append(view[at : at + s])
            at += s
        return loads(data, buffers=buffers)


class Engine:
    """Subprocesses.  nodes: how many; one for each processor that this process may use, or a single one, with as many Ps,
    where Python has no GIL."""

    pickler: str = "cloudpickle"
    host: str = ""  # `nodes` makes a folder

    def __init__(self, nodes: int | None = None) -> None:
        count: Any = nodes
        if count is None:
            gil = getattr(sys, "_is_gil_enabled", lambda: True)()
            count = gort.runtime.num_cpu() if gil else 1
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"nodes is how many processes to start, not {nodes!r}")
        self._names = [f"n{i}" for i in range(count)]
        self._processes: dict[str, gexec.Cmd] = {}
        self._lock = -1
        self._folder = ""  # until `nodes`: what is never begun is never closed
        self.store: Any = None

    async def nodes(self) -> list[str]:
        """As Engine.nodes of the interface."""
        self._folder, self._lock = await gort.blocking(_new_folder, _memory())
        self.store = Store(self._folder, os.getpid())
        if not self.host:
            fits = all(len(os.fsencode(os.path.join(self._folder, name))) < _PATH for name in ("driver", *self._names))
            self.host = self._folder if fits else "127.0.0.1"
        return self._names

    async def start(self, name: str, boot: dict[str, Any]) -> None:
        """As Engine.start of the interface."""
        boot = {**boot, "path": list(map(str, sys.path)), "store": [__name__, self._folder, os.getpid()]}
        process = await gexec.start(sys.executable, "-P", "-c", _PROGRAM, stdin=gexec.PIPE, process_group=0)
        self._processes[name] = process
        assert process.stdin is not None
        try:
            await process.stdin.write(json.dumps(boot).encode())
        except BrokenPipeError:
            pass  # it has ended already, which `watch` tells
        finally:
            process.stdin.close()

    async def watch(self, name: str) -> str:
        """As Engine.watch of the interface."""
        status = await self._processes[name].wait()
        if status < 0:
            return f"its process was killed by {signal.Signals(-status).name}"
        return f"its process ended with status {status}"

    def kill(self, name: str) -> None:
        """As Engine.kill of the interface."""
        if name in self._processes:
            self._processes[name].kill(group=True)

    async def close(self) -> None:
        """As Engine.close of the interface."""
        for process in self._processes.values():
            process.kill(group=True)
            await process.wait()
        self._forget()

    def drop(self) -> None:
        """As Engine.drop of the interface.  This thread waits until the processes have ended, and kills them if they need
        too long: they are its children, and would stay as zombies while it goes on."""
        deadline = time.monotonic() + _LEAVE_S
        processes = [process._process for process in self._processes.values()]
        while not all(process.over() for process in processes) and time.monotonic() < deadline:
            time.sleep(0.002)
        for process in processes:
            process.end()
            process.reap_blocking()
        self._forget()

    def _forget(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            os.close(lock)


def main(boot: dict[str, Any]) -> None:
    """What runs in a node's process.  Where the driver was killed, it also takes away the values of c.put, which the
    driver would have done."""
    from gort.cluster import serve

    serve.main(boot)
    store_of(boot).orphaned()


def _memory() -> str:
    """Where files lie in memory, if that is so anywhere."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()


def _new_folder(where: str) -> tuple[str, int]:
    """A folder for the values of c.put, and the descriptor that holds it while this process lives.  Takes away those
    whose drivers were killed together with all their nodes."""
    for entry in list(os.scandir(where)):
        if entry.name.startswith(_PREFIX):
            _sweep(entry)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=where)
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def _sweep(entry: os.DirEntry[str]) -> None:
    """Takes a folder away if nobody holds it.  One that is new may be about to be held."""
    try:
        status = entry.stat(follow_symlinks=False)
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < _NEW_S:
            return
        lock = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
    except OSError:
        return  # it has gone meanwhile
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)
