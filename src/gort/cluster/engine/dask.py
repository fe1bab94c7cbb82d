"""The engine "dask": the nodes run in the workers of a Dask cluster (https://www.dask.org), one in each.  Dask starts and
places the workers, and holds what `c.put` gives it.

A node is a task that ends when the driver has left.  It occupies one of its worker's threads.  A node that must end
otherwise ends the worker's process, which Dask's nanny starts anew.  The task is bound to that worker's address, and is
cancelled when the node is given up.  Where it runs again all the same, no process of the cluster takes it in.

What does not live here: what runs in a node (gort/cluster/serve.py).
"""

from __future__ import annotations

import os
import threading
import traceback
import urllib.parse
import uuid
from typing import Any

from distributed import Client, LocalCluster
from distributed.client import FutureCancelledError
from distributed.utils import get_ip

import gort
from gort._runtime.watch import external
from gort.cluster import serve

__all__ = ["Engine", "Store"]

LOOK_S = 1.0  # between two looks whether a worker is still there

_clients: dict[str, Any] = {}  # of the stores of the nodes that this process is, by their names


def _node(boot: dict[str, Any]) -> str:
    """The task that is a node."""
    why = "it failed"
    try:
        why = serve.main(boot)
    except BaseException:
        traceback.print_exc()  # Dask would not tell why the process ends
    finally:
        if why != serve.LEFT:
            os._exit(1)  # the driver has given it up, or is gone
    client = _clients.pop(boot["store"][2], None)
    if client is not None:
        client.close()  # the worker goes on: it would keep one, with a thread, for each cluster that there was
    return "it has left the cluster"


class Store:
    """Values in the memory of Dask's workers, published under names that begin with `names`.  scheduler: its address."""

    def __init__(self, scheduler: str, names: str, client: Any = None) -> None:
        self._scheduler = scheduler
        self._names = names
        self._client = client
        self._mu = threading.Lock()  # of _client

    def orphaned(self) -> None:
        """As Store.orphaned of the interface: Dask frees what its client held."""

    def _find(self) -> Any:
        with self._mu:
            if self._client is None:
                self._client = _clients[self._names] = Client(self._scheduler, set_as_default=False)
            return self._client

    def _put(self, value: Any) -> str:
        key = f"{self._names}-{uuid.uuid4().hex}"
        client = self._find()
        client.publish_dataset(**{key: client.scatter({key: value})[key]})
        return key

    def _get(self, key: str) -> Any:
        try:
            return self._find().get_dataset(key).result()
        except (KeyError, FutureCancelledError) as e:
            raise LookupError("a value of c.put is gone") from e

    def clear(self) -> None:
        """In the driver, at the end: gives up all values."""
        for key in self._client.list_datasets():
            if key.startswith(self._names):
                self._client.unpublish_dataset(key)

    async def put(self, value: Any) -> str:
        """As Store.put of the interface."""
        return await gort.blocking(self._put, value)

    async def get(self, key: str) -> Any:
        """As Store.get of the interface."""
        return await gort.blocking(self._get, key)


def _threads() -> set[int]:
    """The kernel's numbers of Dask's threads.  They wake a goroutine only for what `watch` awaits, which counts by
    itself.  Threads that may be the program's own, such as those of a ThreadPoolExecutor, are not among them."""
    names = ("IO loop", "Profile", "AsyncProcess", "Dask", "Nanny", "Tornado")
    return {t.native_id for t in threading.enumerate() if t.name.startswith(names) and t.native_id is not None}


class Engine:
    """Workers of a Dask cluster.

    address: that of its scheduler, as for distributed.Client; None: as Dask's configuration says, which else means one
    started on this machine.  nodes: in how many workers; in all otherwise.  Other arguments are LocalCluster's.  `nodes`
    raises ValueError for workers in this process, such as those of processes=False."""

    pickler = "cloudpickle"

    def __init__(self, address: str | None = None, nodes: int | None = None, **options: Any) -> None:
        self._address = address
        self._count = nodes
        self._options = options
        self._where: dict[str, str] = {}  # the worker's address, for each node
        self._tasks: dict[str, Any] = {}
        self._local: Any = None
        self._client: Any = None
        self._names = ""
        self.host: str = "127.0.0.1"
        self.store: Any = None

    async def nodes(self) -> list[str]:
        """As Engine.nodes of the interface."""
        await gort.blocking(self._open)
        return list(self._where)

    def _open(self) -> None:
        import dask

        address = self._address or dask.config.get("scheduler-address", None)
        if address is None:
            options = {"n_workers": self._count, "dashboard_address": None, **self._options}
            self._local = LocalCluster(**options)
            address = self._local.scheduler_address
        self._client = client = Client(address, set_as_default=False)
        if self._count is not None:
            client.wait_for_workers(self._count, timeout=60)
        workers = sorted(self._workers())[: self._count]
        if any(worker.startswith("inproc:") for worker in workers):
            raise ValueError(
                "a node ends its process when it is given up: leave out processes=False, and Dask's Worker here"
            )
        self._where = {f"n{i}": worker for i, worker in enumerate(workers)}
        self._names = f"gort-{uuid.uuid4().hex}"
        self.store = Store(address, self._names, client)
        scheduler = urllib.parse.urlsplit(address).hostname or "127.0.0.1"
        self.host = scheduler if scheduler.startswith("127.") else get_ip(scheduler)
        if _threads not in external.tellers:
            external.tellers.append(_threads)

    def _workers(self) -> set[str]:
        return set(self._client.scheduler_info(n_workers=-1)["workers"])

    async def start(self, name: str, boot: dict[str, Any]) -> None:
        """As Engine.start of the interface."""
        worker = self._where[name]
        boot = {**boot, "store": [__name__, self._client.scheduler.address, self._names]}
        boot["host"] = urllib.parse.urlsplit(worker).hostname
        self._tasks[name] = await gort.blocking(
            lambda: self._client.submit(_node, boot, workers=[worker], pure=False, key=f"gort-node-{uuid.uuid4().hex}")
        )

    async def watch(self, name: str) -> str:
        """As Engine.watch of the interface."""
        task = self._tasks[name]
        done: gort.Chan[Any] = gort.Chan(1)
        external.awaited.add(done)  # Dask's thread will wake this goroutine: no deadlock yet
        try:
            task.add_done_callback(done.try_send)
            while (await gort.select(done.recv(), gort.sleep(LOOK_S)))[0] == 1:
                if self._where[name] not in await gort.blocking(self._workers):
                    return "Dask says: its worker is gone"
        finally:
            external.awaited.discard(done)
        return str(task.result()) if task.status == "finished" else f"Dask says: its task has ended ({task.status})"

    def kill(self, name: str) -> None:
        """As Engine.kill of the interface: Dask's nanny ends the process, and starts another worker."""
        if self._client is not None and name in self._where:
            threading.Thread(target=self._restart, args=(name,), name="Dask-kill", daemon=True).start()

    def _restart(self, name: str) -> None:
        worker, task = self._where[name], self._tasks.get(name)
        try:
            if task is not None:
                task.cancel()
            self._client.restart_workers([worker], timeout=10, raise_for_error=False)
        except Exception:
            pass  # it has gone already, or has no nanny: then it ends itself, if it ever wakes up

    async def close(self) -> None:
        """As Engine.close of the interface."""
        await gort.blocking(self._close)

    def drop(self) -> None:
        """As Engine.drop of the interface."""
        try:
            self._close()
        except Exception:
            pass  # Dask is gone, and with it what it held

    def _close(self) -> None:
        if self._client is not None:
            for task in self._tasks.values():
                task.release()
            if self.store is not None:
                self.store.clear()
            self._client.close()
        if self._local is not None:
            self._local.close()
