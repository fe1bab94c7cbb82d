"""What starts the processes of a cluster: the interface of an engine, and which engine has which name.

An engine starts processes, tells of their end, and keeps big values.  It carries no goroutines and no values of channels:
gort's own links do.  So another engine is some fifty lines.

What does not live here: the engines (local.py, ray.py, dask.py); what runs in a process (gort/cluster/serve.py).
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

__all__ = ["Engine", "Store", "engine_of", "store_of"]

ENGINES = {
    "local": "gort.cluster.engine.local",
    "ray": "gort.cluster.engine.ray",
    "dask": "gort.cluster.engine.dask",
}


class Store(Protocol):
    """Keeps big values, for `c.put` and `await ref`, in each process of the cluster."""

    async def put(self, value: Any) -> Any:
        """Keeps a value and returns its key, which can be pickled."""

    async def get(self, key: Any) -> Any:
        """The value.  Raises LookupError if it is gone."""

    def orphaned(self) -> None:
        """In a node that ends: if the driver cannot, takes away what would stay for ever.  Never raises."""


class Engine(Protocol):
    """Starts and watches processes."""

    pickler: str  # the module that pickles what plain pickle cannot; one with the interface of cloudpickle
    # The address at which the driver listens, and which nodes can reach; known after `nodes`.  Where all processes are on
    # one machine it may be a folder, as an absolute path, for their Unix sockets: who may open it can connect.
    host: str
    store: Store  # known after `nodes`

    async def nodes(self) -> list[str]:
        """The names of the processes to start.  Called first: it connects to what it needs."""

    async def start(self, name: str, boot: dict[str, Any]) -> None:
        """Starts one, in which gort.cluster.serve.main(boot) runs.  Returns before it is up."""

    async def watch(self, name: str) -> str:
        """Waits until the process has ended, and tells why."""

    def kill(self, name: str) -> None:
        """Ends the process at once, if it lives.  Never waits, and may be called again."""

    async def close(self) -> None:
        """Ends all that is left, and gives up what the engine holds."""

    def drop(self) -> None:
        """In the place of `close`, when the program has ended in the middle (a panic, a deadlock): gives up what would
        stay behind.  The processes end by themselves, for their driver is gone.  Waits for no goroutine; never raises."""


def engine_of(name: str, options: dict[str, Any]) -> Engine:
    """The engine of that name, made with the user's options.  Raises ValueError, TypeError, ImportError."""
    if name not in ENGINES:
        raise ValueError(f"gort.cluster has the engines {', '.join(sorted(ENGINES))}, not {name!r}")
    return importlib.import_module(ENGINES[name]).Engine(**options)  # type: ignore[no-any-return]


def store_of(boot: dict[str, Any]) -> Store:
    """In a node: the engine's store, as the boot record names it."""
    return importlib.import_module(boot["store"][0]).Store(*boot["store"][1:])  # type: ignore[no-any-return]
