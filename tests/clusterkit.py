"""What the tests of gort.cluster run on nodes.  A module of its own: the nodes import it."""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import time
from typing import Any

import gort
from gort import cluster, net
from gort._runtime.core import runtime2
from gort.cluster.peer import network_of

ENGINE = os.environ.get("GORT_CLUSTER_ENGINE", "local")  # scripts/cluster_engines.py sets another


def connect(nodes: int, **options: Any) -> Any:
    """cluster.connect, with the engine under test.  A node that a busy machine holds up for seconds is not given up."""
    return cluster.connect(ENGINE, nodes=nodes, **{"silence": 60.0, **options})


def spinns() -> int:
    """For how many ns this process's poller looks before it sleeps."""
    return int(runtime2.current_m().sched.netpoll.spinns)


async def stranger(peer: Any) -> Any:
    """A connection to the driver that proves nothing."""
    address = peer.addresses["driver"]
    return await net.dial(network_of(address), address)


def killed_driver(program: str) -> list[bytes]:
    """The words that a program prints which connects, and then kills itself.  Its nodes have its pipe too: they have
    ended when this returns."""
    from support import ROOT  # here, for nodes have no use for it

    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", program], env=env, cwd=ROOT, stdout=subprocess.PIPE, timeout=120)
    assert done.returncode == -signal.SIGKILL
    return done.stdout.split()


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who")
UNLISTED: contextvars.ContextVar[str] = contextvars.ContextVar("unlisted")


class Bad:
    """Can be pickled, and not be unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("this value cannot be opened")


class Strange(Exception):
    """An exception that cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("not this one")


async def add(a: int, b: int = 0) -> int:
    return a + b


def plain(x: int) -> int:
    gort.wait(gort.sleep(0))
    return 2 * x


async def slow_double(x: int) -> int:
    await gort.sleep(0)
    return 2 * x


def pid() -> int:
    return os.getpid()


def who() -> str:
    return WHO.get("nobody")


def who_of(x: int) -> str:
    return WHO.get("nobody")


async def who_there() -> tuple[str, str]:
    """The listed variable and another one, on a node that this node chooses."""
    c = cluster.current()
    return await c.go(who, on="n1"), UNLISTED.get("nobody")


async def fails(what: str) -> None:
    if what == "strange":
        raise Strange("from afar")
    raise KeyError(what)


async def echo(value: Any) -> Any:
    return value


async def hangs(started: Any, ended: Any) -> None:
    try:
        await started.send(os.getpid())
        await gort.sleep(3600)
    finally:
        async with gort.shield():
            await ended.send("cleaned up")


def stuck(started: Any) -> None:
    """Cannot be cancelled."""
    gort.wait(started.send(os.getpid()))
    time.sleep(3600)


async def sends(ch: Any, values: list[Any]) -> int:
    for value in values:
        await ch.send(value)
    return len(values)


async def sends_and_tells(ch: Any, n: int, sent: Any) -> int:
    """Sends n values, and tells of each that has been sent."""
    for i in range(n):
        await ch.send(i)
        await sent.send(i)
    return n


async def receives(ch: Any) -> list[Any]:
    return [value async for value in ch]


async def passes(inward: Any, outward: Any) -> None:
    async for value in inward:
        await outward.send(value)


async def takes_and_dies(ch: Any) -> None:
    async with ch.take():
        os.kill(os.getpid(), signal.SIGKILL)


async def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def dies_once(mark: str) -> int:
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


async def relay(n: int) -> int:
    """Starts a goroutine from a node."""
    c = cluster.current()
    others = [node for node in c.nodes if node.pid != os.getpid()]
    return int(await c.go(add, n, 1, on=others[-1]))


async def restless(ch: Any, seed: int, seconds: float, out: Any) -> None:
    """Receives with waits that are cut short at random; tells what it has got."""
    import random

    rng = random.Random(seed)
    got: list[int] = []
    while True:
        async with gort.move_on_after(rng.random() * seconds):
            if rng.random() < 0.3:
                values = await ch.recv_many(3)
            else:
                value, ok = await ch.recv_ok()
                values = [value] if ok else []
            if not values:
                break
            got += values
    await out.send(got)


async def hasty(ch: Any, seed: int, values: list[int], seconds: float, out: Any) -> None:
    """Sends each value until that was not cut short; tells what it has sent."""
    import random

    rng = random.Random(seed)
    sent: list[int] = []
    for value in values:
        done = False
        while not done:
            async with gort.move_on_after(rng.random() * seconds):
                await ch.send(value)
                done = True
            if done:
                sent.append(value)
    await out.send(sent)


def sleeps(seconds: float) -> None:
    time.sleep(seconds)


async def array_sum(ref: Any) -> int:
    return sum(await ref)


async def passes_on(inward: Any, outward: Any, out: Any, seed: int) -> None:
    """Passes numbers on, one less each time, and a 0 out; some at once, some after others have run."""
    import random

    rng = random.Random(seed)
    async for value in inward:
        for _ in range(rng.choice((0, 0, 1, 3))):
            await gort.gosched()
        await (outward if value > 0 else out).send(value - 1)


def begin_trace(file: str) -> None:
    from gort import trace

    trace.start(file)


def end_trace() -> None:
    from gort import trace

    trace.stop()


async def steps(name: str) -> str:
    """Has a region of that name."""
    from gort import trace

    with trace.region(name):
        await gort.gosched()
    return name


def steps_plainly(name: str) -> str:
    """The same as a plain function."""
    from gort import trace

    with trace.region(name):
        return name
