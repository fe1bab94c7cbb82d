"""The engine "ray": the nodes are actors of Ray (https://ray.io), which starts and places them, also on other machines,
restarts none, and holds what `c.put` gives it.

Ray's own calls carry only what starts a node and the references of big values; all else goes over gort's connections,
which take a tenth of the time.  Each node is a *threaded* actor: one of its threads runs gort, and one waits in `alive`
for its end, so that a call that Ray fails is the news of its death.  (In an asyncio actor Ray warns about each blocking
call.)

A reference of Ray's must travel through a call of Ray's, or Ray does not know who holds it and frees the value.  So an
actor, the *keeper*, hands references out by key.

What does not live here: what runs in a node (gort/cluster/serve.py).
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import uuid
from _collections_abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import gort
from gort._runtime.core import machine
from gort._runtime.watch import external, signals
from gort.cluster import serve

__all__ = ["Engine", "Store"]


async def _get(ref: Any) -> Any:
    """ray.get without a thread for each wait.  Raises what it raises."""
    works = object()
    external.awaited.add(works)  # Ray's thread will wake this goroutine: no deadlock yet
    try:
        return await _end_of(ref)
    finally:
        external.awaited.discard(works)


async def _end_of(ref: Any) -> Any:
    """_get for what is no reason to wait: a death.  Raises what ray.get raises."""
    done: gort.Chan[Any] = gort.Chan(1)
    ref.future().add_done_callback(done.try_send)
    future = await done.recv()
    try:
        return future.result()
    except asyncio.CancelledError as e:  # Ray's future was cancelled: no cancellation of ours
        raise ConnectionError("Ray has cancelled the call") from e


class Keeper:
    """The actor that knows the references of big values."""

    def __init__(self) -> None:
        self._refs: dict[str, Any] = {}

    def keep(self, key: str, held: list[Any]) -> None:
        """In a list, because Ray gives a bare reference's value."""
        self._refs[key] = held[0]

    def find(self, key: str) -> list[Any]:
        """Raises LookupError."""
        return [self._refs[key]]


class Host:
    """The actor that is a node."""

    def __init__(self, boot: dict[str, Any]) -> None:
        self._boot = boot
        self._left = threading.Event()

    def alive(self) -> str:
        """Runs the node, and answers when it has left the cluster in good order."""
        raylet = threading.Thread(target=_watch_raylet, args=(self._boot["session"],), name="gort-raylet", daemon=True)
        raylet.start()
        # All threads that live now are Ray's, or ours, and wake no goroutine; this one, too.
        rays = _that_live()
        external.tellers.append(lambda: rays() | _threads())
        _handlers()
        threading.Thread(target=self._serve, name="gort-cluster", daemon=True).start()
        self._left.wait()
        return "it has left the cluster"

    def _serve(self) -> None:
        why = "it failed"
        try:
            why = serve.main(self._boot)
        finally:
            if why != serve.LEFT:
                os._exit(1)  # whether Ray lets it live or not: the driver has given it up
            self._left.set()


def _watch_raylet(session: str) -> None:
    """Ends this node when its raylet has ended.  Ray's workers go on without, for Ray counts on the whole machine being
    gone, and tells so after 14 s: then what this node runs may have been started elsewhere."""
    pid = int(os.environ.get("RAY_RAYLET_PID") or os.getppid())
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        pass
    except OSError:
        return  # an old kernel: then the driver learns it from Ray
    else:
        ended = select.poll()
        ended.register(fd, select.POLLIN)
        ended.poll()
        os.close(fd)
    serve.give_up(session, "its raylet has ended")


class Store:
    """Values in Ray's object store."""

    def __init__(self, keeper: str) -> None:
        self._name = keeper
        self._keeper: Any = None
        self._refs: dict[str, Any] = {}

    def _find(self) -> Any:
        if self._keeper is None:
            self._keeper = ray.get_actor(self._name)
        return self._keeper

    def orphaned(self) -> None:
        """As Store.orphaned of the interface: what Ray holds goes with the driver's job."""

    async def put(self, value: Any) -> str:
        """As Store.put of the interface."""
        key = uuid.uuid4().hex
        self._refs[key] = ref = await gort.blocking(ray.put, value)
        keeper = await gort.blocking(self._find)
        await _get(keeper.keep.remote(key, [ref]))
        return key

    async def get(self, key: str) -> Any:
        """As Store.get of the interface."""
        ref = self._refs.get(key)
        if ref is None:
            keeper = await gort.blocking(self._find)
            try:
                (ref,) = await _get(keeper.find.remote(key))
            except ray.exceptions.RayError as e:
                raise LookupError("a value of c.put is gone") from e
            self._refs[key] = ref
        return await gort.blocking(ray.get, ref)


_RAYS = ("PythonGCThread", "ray_listen_error_messages", "ray_print_logs")  # its threads that are threading's
_RAYS_NATIVE = (  # and those that are not, by the first letters of their names
    "client.poll", "default-executo", "event_engine", "gcs_client", "global.accessor", "grpc", "nexting_thread",
    "resolver-execut", "server.poll", "task_event_buff", "timer_manager", "worker.",
)  # fmt: skip


def _threads() -> set[int]:
    """The kernel's numbers of Ray's threads.  They wake a goroutine only for a call that `_get` has made, which counts by
    itself."""
    found = {t.native_id for t in threading.enumerate() if t.name in _RAYS}
    for number in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{number}/comm") as f:
                if f.read().startswith(_RAYS_NATIVE):
                    found.add(int(number))
        except OSError:
            pass  # it has just ended
    return {n for n in found if n is not None}


def _that_live() -> Callable[[], set[int]]:
    """Tells the kernel's numbers of those threads that live now, as long as they do: the kernel gives the number of one
    that has ended to another, later, so it is known by its start, too."""
    numbers = machine.os_threads()
    if numbers is None:
        threads = threading.enumerate()
        return lambda: {t.native_id for t in threads if t.native_id and t.is_alive()}
    starts = {n: _start_of(n) for n in numbers}
    return lambda: {n for n, at in starts.items() if at is not None and _start_of(n) == at}


def _start_of(number: int) -> str | None:
    """When this thread of the process has started, in the kernel's ticks since it booted.  None if it has ended."""
    try:
        with open(f"/proc/self/task/{number}/stat") as f:
            return f.read().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _handlers() -> None:
    """Ray's own signal handler ends the process, and wakes no goroutine."""
    handler = signal.getsignal(signal.SIGTERM)
    if (getattr(handler, "__module__", None) or "").startswith("ray.") and handler not in signals.harmless:
        signals.harmless.append(handler)


class Engine:
    """Actors on a Ray cluster.

    address: that of the cluster, as for ray.init, which is called unless that has been done; None starts one on this
    machine.  nodes: how many processes, on Ray's nodes in turn; as many as these have CPUs otherwise.  Other arguments go
    to the actors' `options` (num_cpus, runtime_env, …)."""

    pickler = "ray.cloudpickle"

    def __init__(self, address: str | None = None, nodes: int | None = None, **options: Any) -> None:
        self._address = address
        self._nodes = nodes
        self._options = {"num_cpus": 1, **options}
        self._where: dict[str, Any] = {}  # Ray's node, for each of ours
        self._hosts: dict[str, Any] = {}
        self._alive: dict[str, Any] = {}  # the calls that end with them
        self._mine = False  # Ray was started here
        self._keeper: Any = None
        self._keeper_name = f"gort-cluster-{uuid.uuid4().hex}"
        self.host: str = "127.0.0.1"
        self.store: Any = Store(self._keeper_name)

    async def nodes(self) -> list[str]:
        """As Engine.nodes of the interface."""
        await gort.blocking(self._open)
        return list(self._where)

    def _open(self) -> None:
        if not ray.is_initialized():
            self._mine = True
            ray.init(address=self._address, log_to_driver=True, configure_logging=False)
        api: Any = ray  # which has no types for these
        self.host = api.util.get_node_ip_address()
        alive = sorted((n for n in api.nodes() if n["Alive"]), key=lambda n: str(n["NodeID"]))
        slots = [int(n["Resources"].get("CPU", 0)) for n in alive]
        count = sum(slots) if self._nodes is None else self._nodes
        while len(self._where) < count:
            for i, node in enumerate(alive):
                if len(self._where) < count and (slots[i] > 0 or self._nodes is not None):
                    slots[i] -= 1
                    self._where[f"n{len(self._where)}"] = node
        self._keeper = ray.remote(Keeper).options(name=self._keeper_name, num_cpus=0).remote()
        if _threads not in external.tellers:
            external.tellers.append(_threads)
        _handlers()

    async def start(self, name: str, boot: dict[str, Any]) -> None:
        """As Engine.start of the interface."""
        node = self._where[name]
        boot = {**boot, "store": [__name__, self._keeper_name], "host": node["NodeManagerAddress"]}
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = {"max_concurrency": 4, "max_restarts": 0, "scheduling_strategy": there, **self._options}
        host: Any = await gort.blocking(lambda: ray.remote(Host).options(**options).remote(boot))
        self._hosts[name], self._alive[name] = host, host.alive.remote()

    async def watch(self, name: str) -> str:
        """As Engine.watch of the interface."""
        try:
            return str(await _end_of(self._alive[name]))
        except (ray.exceptions.RayError, ConnectionError) as e:
            return f"Ray says: {str(e).splitlines()[0]}"

    def kill(self, name: str) -> None:
        """As Engine.kill of the interface."""
        host = self._hosts.get(name)
        if host is not None and ray.is_initialized():
            ray.kill(host)

    async def close(self) -> None:
        """As Engine.close of the interface."""
        await gort.blocking(self._close)

    def drop(self) -> None:
        """As Engine.drop of the interface."""
        try:
            if ray.is_initialized() and self._keeper is not None:
                ray.kill(self._keeper)
        except Exception:
            pass  # Ray is gone, and with it what it held

    def _close(self) -> None:
        if ray.is_initialized():
            for name in self._hosts:
                self.kill(name)
            if self._keeper is not None:
                ray.kill(self._keeper)
            if self._mine:
                ray.shutdown()
