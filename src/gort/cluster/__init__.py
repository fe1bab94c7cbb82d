"""gort.cluster: goroutines and channels over several processes and machines.

    async with cluster.connect("local") as c:
        jobs, out = c.Chan(64), c.Chan(64)
        async with c.Group() as g:
            for _ in c.nodes:
                g.go(worker, jobs, out)
            ...

This file only re-exports.  docs/cluster.md is the guide: what is promised, what is refused, and what it costs.
"""

from gort._runtime.core.public import publish as _publish
from gort.cluster.call import Call
from gort.cluster.chan import Chan
from gort.cluster.client import Cluster, Group, Node, Ref, connect, current
from gort.cluster.errors import ClusterError, NodeDied, RemoteError, RemoteTraceback

__all__ = [
    "Call",
    "Chan",
    "Cluster",
    "ClusterError",
    "Group",
    "Node",
    "NodeDied",
    "Ref",
    "RemoteError",
    "RemoteTraceback",
    "connect",
    "current",
]

_publish(globals())
