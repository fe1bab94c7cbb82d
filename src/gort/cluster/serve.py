"""What runs in a process that an engine has started: a gort program that is a node until the driver is gone.

When the driver leaves the cluster, dies or falls silent, the node cancels the goroutines that it runs, gives them some
time to clean up, and ends its process.  It never goes on alone.

What does not live here: how the process was started (engine/).
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import gort
from gort._runtime.core import runtime2
from gort.cluster import peer as peers
from gort.cluster import wire
from gort.cluster.engine import store_of
from gort.cluster.peer import LEFT, Peer

__all__ = ["LEFT", "give_up", "main"]

TELL_S = 0.05  # for the news to be written: who does not get it sees the connection close
GRACE_S = 2.0  # for the `finally` blocks of what still runs when the driver is gone


def main(boot: dict[str, Any]) -> str:
    """Serves until the driver is gone, and returns why it is: LEFT, or what else has happened.  Ends the process if a
    goroutine does not end.  boot: the record that connect has made (client.py)."""
    wire.use(boot["pickler"])
    why = gort.run(_serve, boot)
    sys.stdout.flush()
    sys.stderr.flush()
    return why


def give_up(session: str, why: str) -> None:
    """Ends this process at once, because it cannot stay in its cluster, and tells the other processes why.  Called by a
    thread of the engine's."""
    try:
        peer = peers.of(session)
        for link in list(peer.links.values()):
            link.post(("gone", peer.name, why))
        time.sleep(TELL_S)
        peer.store.orphaned()
    except RuntimeError:
        pass  # it has not begun, or has left
    os._exit(1)


async def _serve(boot: dict[str, Any]) -> str:
    peer = Peer(boot["session"], bytes.fromhex(boot["secret"]), boot["name"], boot["silence"], tuple(boot["context"]))
    peer.store = store_of(boot)
    if boot["tls"] is not None:
        from gort.cluster import tls  # ssl is large

        peer.tls = tls.contexts(*boot["tls"])
    over: gort.Chan[str] = gort.Chan(1)

    def end(why: str) -> None:
        over.try_send(why)  # the first one counts

    peer.on_end = end
    await peer.begin(boot["host"])
    try:
        await peer.join(boot["driver"])
    except (OSError, EOFError, TimeoutError) as e:
        print(f"gort.cluster: node {boot['name']} cannot reach its driver: {e}", file=sys.stderr)
        peer.end()
        return str(e)
    peer.asleep.without = runtime2.getg()  # this goroutine
    why = await over.recv()
    for running in list(peer.running.values()):
        running.cancel()
    async with gort.move_on_after(GRACE_S):
        while peer.running:
            await gort.sleep(0.005)
    clean = not peer.running
    peer.end()
    peer.report_all()
    if not clean:  # gort.run would wait for a plain function that does not end
        sys.stdout.flush()
        sys.stderr.flush()
        peer.store.orphaned()
        os._exit(1)
    return why
