"""What gort.cluster does when a cable is cut: two network namespaces with a node in each, and the link between them goes
down.  `python scripts/cluster_partition.py`, as root, on Linux with the command `ip`.

The driver and the node n0 are in one namespace, n1 is in the other; connections are encrypted, as between machines.  What
the far side sees it writes to a file.  The script fails if one of these does not hold:

- each of the three processes names the one that it waits for, within the six seconds of silence (and half of one for the
  machine), though no engine tells it;
- nothing hangs: the program ends, and the node that was cut off ends itself;
- what was not to be started anew has run once, and what was, twice: the second time on the node that was left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gort
from gort import cluster
from gort import exec as gexec
from gort.cluster.engine import local

NEAR, FAR = "gort-near", "gort-far"
HOSTS = {"driver": "10.213.0.1", "n0": "10.213.0.1", "n1": "10.213.0.2"}
LIMIT_S = 6.5


def ip(*words: str) -> None:
    """The command ip."""
    subprocess.run(["ip", *words], check=True)


class Engine(local.Engine):
    """Subprocesses, of which n1 runs in the other namespace."""

    host = HOSTS["driver"]

    async def start(self, name: str, boot: dict[str, Any]) -> None:
        """As Engine.start of the interface."""
        execute = gexec.start

        async def start(*command: str, **options: Any) -> Any:
            return await execute(*(["ip", "netns", "exec", FAR] if name == "n1" else []), *command, **options)

        gexec.start = start  # type: ignore[assignment]
        try:
            await super().start(name, {**boot, "host": HOSTS[name]})
        finally:
            gexec.start = execute

    async def watch(self, name: str) -> str:
        """As Engine.watch of the interface, but n1 is out of reach."""
        if name == "n1":
            await gort.sleep(3600)
        return await super().watch(name)

    def kill(self, name: str) -> None:
        """As Engine.kill of the interface, but n1 is out of reach."""
        if name != "n1":
            super().kill(name)


def note(file: str, what: str) -> None:
    """Writes a line with the time: what happens on the far side reaches nobody otherwise."""
    with open(file, "a") as f:
        f.write(f"{time.monotonic():.6f} {os.getpid()} {what}\n")


async def waits(ch: Any, file: str, who: str) -> None:
    """Waits for a value that never comes, and notes who is gone."""
    try:
        await ch.recv()
    except cluster.NodeDied as e:
        note(file, f"{who} was told: {e}")


async def stays(here: Any, between: Any, file: str) -> None:
    """On the far side: goroutines that nobody cancels, but with the process."""
    gort.go(waits, here, file, "n1")
    gort.go(waits, between, file, "n1")


async def runs(file: str, what: str) -> str:
    """Notes that it has started; on the far side it goes on until it is cancelled."""
    note(file, f"{what} started")
    if cluster.current()._peer.name == "n1":
        await gort.sleep(3600)
    return what


def notes(file: str) -> list[tuple[float, int, str]]:
    """The lines of the file."""
    lines = [line.split(" ", 2) for line in Path(file).read_text().splitlines()]
    return [(float(at), int(pid), what) for at, pid, what in lines]


async def main(file: str) -> None:
    """The driver, in the near namespace."""
    async with cluster.connect(Engine(nodes=2)) as c:
        far = next(n for n in c.nodes if n.name == "n1")
        inside = await c.go(os.getpid, on=far)
        here, there, between = c.Chan(1), c.Chan(1, on="n1"), c.Chan(1, on="n0")
        await c.go(stays, here, between, file, on=far)
        near = c.go(waits, there, file, "n0", on="n0")
        once = c.go(runs, file, "once", on=far)
        anew = c.go(runs, file, "anew", on=far, retries=1)
        await gort.sleep(2)
        ip("link", "set", "gort-cable", "down")
        cut = time.monotonic()
        which, _, _ = await gort.select(far.done().recv_ok(), gort.sleep(3 * LIMIT_S))
        told = time.monotonic() - cut
        assert which == 0, "nobody has told the driver"
        failed = None
        try:
            await once
        except cluster.NodeDied as e:
            failed = e
        print(f"{told:.2f} s: the driver was told: {failed}")
        assert failed is not None
        assert failed.node == "n1"
        assert await anew == "anew"
        await near
        while (
            Path(f"/proc/{inside}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        ):  # nobody has reaped it
            await gort.sleep(0.01)
        ended = time.monotonic() - cut
    print(f"{ended:.2f} s: the node that was cut off had ended")
    seen = {what: at - cut for at, _, what in notes(file)}
    print(*(f"{at:.2f} s: {what}" for what, at in sorted(seen.items(), key=lambda each: each[1]) if at > 0), sep="\n")
    starts = [what for _, _, what in notes(file) if "started" in what]
    assert sorted(starts) == ["anew started", "anew started", "once started"], starts
    for who in ("n0 was told: node n1 is gone", "n1 was told: node "):  # n1 ends with the driver, or hears of n0 before
        assert any(what.startswith(who) for what in seen), who
    assert max(told, ended, *seen.values()) <= LIMIT_S


def outside() -> int:
    """Makes the namespaces, and runs the driver in one.  Its exit status."""
    folder = tempfile.mkdtemp()
    for name in (NEAR, FAR):
        ip("netns", "add", name)
    try:
        ip("-n", NEAR, "link", "add", "gort-cable", "type", "veth", "peer", "name", "gort-end", "netns", FAR)
        for name, device, host in ((NEAR, "gort-cable", HOSTS["driver"]), (FAR, "gort-end", HOSTS["n1"])):
            ip("-n", name, "address", "add", f"{host}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")
        command = [sys.executable, __file__, os.path.join(folder, "notes")]
        return subprocess.run(["ip", "netns", "exec", NEAR, *command], timeout=120).returncode
    finally:
        for name in (NEAR, FAR):
            ip("netns", "delete", name)
        shutil.rmtree(folder)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(outside())
    gort.run(main, sys.argv[1])
