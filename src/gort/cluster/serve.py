"""What runs in a process that an engine has started: a gort program that is a node until the driver is gone.

When the driver leaves the cluster, dies or falls silent, the node cancels the goroutines that it runs, gives them some
time to clean up, and ends its process.  It never goes on alone.

What does not live here: how the process was started (engine/).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import gort
from gort.cluster import wire
from gort.cluster.engine import store_of
from gort.cluster.peer import Peer

__all__ = ["main"]

GRACE_S = 2.0  # for the `finally` blocks of what still runs when the driver is gone


def main(boot: dict[str, Any]) -> None:
    """Serves, and returns or ends the process when the driver is gone.  boot: Cluster's record (client.py)."""
    wire.use(boot["pickler"])
    clean = gort.run(_serve, boot)
    if boot.get("exits", True):
        sys.stdout.flush()
        sys.stderr.flush()
        if not clean:
            os._exit(1)  # a thread is still in the middle of something


async def _serve(boot: dict[str, Any]) -> bool:
    peer = Peer(boot["session"], bytes.fromhex(boot["secret"]), boot["name"], boot["silence"], tuple(boot["context"]))
    peer.store = store_of(boot)
    over: gort.Chan[None] = gort.Chan(1)
    peer.on_end = lambda why: None if over.closed else over.close()
    await peer.begin(boot["host"])
    try:
        await peer.join(boot["driver"])
    except (OSError, EOFError, TimeoutError) as e:
        print(f"gort.cluster: node {boot['name']} cannot reach its driver: {e}", file=sys.stderr)
        peer.end()
        return True
    await over.recv_ok()
    for running in list(peer.running.values()):
        running.cancel()
    async with gort.move_on_after(GRACE_S):
        while peer.running:
            await gort.sleep(0.005)
    clean = not peer.running
    peer.end()
    if not clean:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # gort.run would wait for a plain function that does not end
    return clean
