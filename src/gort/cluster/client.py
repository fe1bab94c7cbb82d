"""What users call: connect, and the Cluster that it gives.

    async with cluster.connect("local") as c:
        h = c.go(fn, 1)
        print(await h)

What does not live here: what a process does in a cluster (peer.py), how processes are started (engine/).
"""

from __future__ import annotations

import secrets
import uuid
from _collections_abc import Callable, Generator, Iterable, Iterator
from collections import deque
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import gort
from gort._runtime.core import runtime2
from gort._runtime.watch import external
from gort.cluster import chan, own, peer, wire
from gort.cluster.call import Call
from gort.cluster.engine import Engine, engine_of
from gort.cluster.errors import ClusterError, NodeDied
from gort.cluster.peer import DRIVER, Peer

__all__ = ["Cluster", "Group", "Node", "Ref", "connect", "current"]

START_S = 120.0  # how long nodes may take to come up
LEAVE_S = 3.0  # and to end, before they are killed


class Node:
    """A process of the cluster."""

    def __init__(self, peer: Peer, name: str) -> None:
        self._peer = peer
        self.name: str = name

    def __repr__(self) -> str:
        return f"<gort.cluster.Node {self.name}{'' if self.alive else ' gone'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and (other.name, other._peer) == (self.name, self._peer)

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _node, (self._peer.session, self.name)

    @property
    def alive(self) -> bool:
        """False once this process knows that it is gone."""
        return self.name not in self._peer.gone

    @property
    def pid(self) -> int:
        """Its process's number, on its machine; 0 where this process has no link to it."""
        return getattr(self._peer.links.get(self.name), "pid", 0)

    def done(self) -> gort.Chan[None]:
        """A channel that is closed when the node is gone."""
        return self._peer.end_of(self.name)


def _node(session: str, name: str) -> Node:
    return Node(peer.of(session), name)


class Ref:
    """A value that the engine keeps, as `c.put` gives it: `await ref` gives the value, on any node.  Over the wire go a
    few bytes."""

    def __init__(self, session: str, key: Any) -> None:
        self._made = (session, key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Ref, self._made

    async def _get(self) -> Any:
        return await peer.of(self._made[0]).store.get(self._made[1])

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._get().__await__()


class Group(gort.Group):
    """`async with c.Group(limit=n) as g: g.go(fn, *args)`: as gort.Group, with goroutines on the nodes.  When one fails,
    or its node dies, the others are cancelled where they run, and the group ends when all have cleaned up."""

    def __init__(self, cluster: Cluster, limit: int | None = None, name: str | None = None) -> None:
        super().__init__(limit, name)
        self._cluster = cluster

    def go(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Starts fn(*args, **kwargs) on a node, once the limit allows it.  The arguments are as they are now.  Returns a
        gort.Handle.  Raises what pickling raises, and as gort.Group.go."""
        sealed = self._cluster._seal(fn, args, kwargs)
        handle = super().go(_member, self._cluster, sealed)
        handle.name = getattr(fn, "__name__", type(fn).__name__)
        return handle


async def _member(cluster: Cluster, sealed: Any) -> Any:
    call = cluster._start(sealed, None, 0)
    try:
        return await call
    except gort.Cancelled:
        if call.cancel():
            async with gort.shield():
                try:
                    await call
                except gort.Cancelled:
                    pass
        raise


class Cluster:
    """The cluster, seen from one of its processes: `connect` gives it in the driver, `current` in a node."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    @property
    def nodes(self) -> list[Node]:
        """The nodes that are up, in the order of their names."""
        names = sorted(self._peer.nodes(), key=lambda name: (len(name), name))
        return [Node(self._peer, name) for name in names]

    def node(self, name: str) -> Node:
        """The node of that name; "driver" is the process that has called connect."""
        return Node(self._peer, name)

    def go(
        self, fn: Callable[..., Any], /, *args: Any, on: Node | str | None = None, retries: int = 0, **kwargs: Any
    ) -> Call:
        """Starts fn(*args, **kwargs) as a goroutine on a node, and returns at once; `await h` gives its result.

        on: the node; otherwise one on which this process has few.  retries: so many times it is started anew on another
        node if its node dies; then it may have run in part, or to its end, more than once.  fn is an async function or a
        plain one.  The function and its arguments are copied, as they are now.

        Raises what pickling them raises.  `await h` raises what fn raises, with the remote traceback as the cause, and
        NodeDied."""
        return self._start(self._seal(fn, args, kwargs), on, retries)

    def _seal(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not callable(fn):
            raise TypeError(f"c.go(fn, *args): fn must be callable, not {type(fn).__name__}")
        return wire.seal_call(fn, args, kwargs, self._peer.context())

    def _start(self, sealed: Any, on: Node | str | None, retries: int) -> Call:
        if on is not None:
            name = on.name if isinstance(on, Node) else on
        else:
            names = self._peer.nodes()
            if not names:
                raise NodeDied("*", "no node is left")
            name = self._peer.least(names)
        call = Call(self._peer, sealed, retries)
        call.send(name)
        return call

    def Chan(self, capacity: int, *, on: Node | str | None = None, prefetch: int = 0) -> chan.Chan[Any]:
        """Makes a channel whose ends may be in any process.  on: the node that holds it; this process otherwise.

        capacity: at most so many values are on their way, exactly.  prefetch: so many may lie ready in each receiving
        process, for speed; they are lost with it.  Raises ValueError for a capacity below 1, TypeError for no int."""
        home = self._peer.name if on is None else on.name if isinstance(on, Node) else on
        return chan.new(self._peer.session, home, capacity, prefetch)

    def Group(self, limit: int | None = None, name: str | None = None) -> Group:
        """A gort.Group whose goroutines run on the nodes, at most `limit` at a time."""
        return Group(self, limit, name)

    async def map(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int | None = None, retries: int = 3
    ) -> list[Any]:
        """[fn(x) for x in items] on all nodes, in order.  fn is an async function or a plain one.

        The items go out in chunks of `chunk`, as nodes become free.  A chunk whose node dies is done again elsewhere, up
        to `retries` times.  Raises what fn raises first, and cancels the rest.  Raises NodeDied if no node is left,
        ValueError for a chunk below 1."""
        items = list(items)
        size = chunk if chunk is not None else max(1, len(items) // (max(1, len(self._peer.nodes())) * 32))
        if size < 1:
            raise ValueError(f"a chunk has at least one item: {chunk}")
        out: list[Any] = [None] * len(items)
        starts = deque(range(0, len(items), size))
        failed: list[BaseException] = []

        async def feed() -> None:
            while True:
                try:
                    i = starts.popleft()  # an iterator may give one twice to threads that run in parallel
                except IndexError:
                    return
                part = items[i : i + size]
                call = self._start(self._seal(_chunk, (fn, part), {}), None, retries)
                try:
                    out[i : i + len(part)] = await call
                except BaseException as e:
                    call.abandon()
                    if not isinstance(e, gort.Cancelled):
                        failed.append(e)
                        feeders.cancel()
                    raise

        feeders = gort.Group()
        try:
            async with feeders:
                for _ in range(2 * max(1, len(self._peer.nodes()))):  # two on each node: none waits for its next chunk
                    feeders.go(feed)
        except* Exception:
            if not failed:
                raise
        if failed:
            raise failed[0]
        return out

    async def put(self, value: Any) -> Ref:
        """Gives a big value to the engine, which keeps it until the cluster ends, and returns a reference: `await ref`
        gives the value on any node.  Arrays lie in shared memory, and are read-only."""
        return Ref(self._peer.session, await self._peer.store.put(value))


def _chunk(fn: Callable[[Any], Any], part: list[Any]) -> Any:
    """fn of each item.  A plain function, so that fn, if it is one too, may use gort.wait."""
    out: list[Any] = []
    for i, x in enumerate(part):
        r = fn(x)
        if hasattr(r, "__await__"):
            return _chunk_async(fn, out, r, part[i + 1 :])
        out.append(r)
    return out


async def _chunk_async(fn: Callable[[Any], Any], out: list[Any], first: Any, rest: list[Any]) -> list[Any]:
    out.append(await first)
    for x in rest:
        r = fn(x)
        out.append(await r if hasattr(r, "__await__") else r)
    return out


class connect:
    """`async with cluster.connect("local") as c:` starts a cluster, whose driver this process is.  It ends with the
    block: what still runs on the nodes is cancelled.

    engine: "local" (subprocesses), "ray" (actors on a Ray cluster), "dask" (the workers of one of Dask).  silence: a node
    from which nothing has come for so many seconds is gone.  context: the contextvars that go along with each goroutine,
    as "module:name".  tls: whether connections are encrypted; None: if they leave this machine's loopback.  Other
    arguments are the engine's.

    Raises ClusterError if a node does not come up; ImportError if the extra gort[cluster] is not installed."""

    def __init__(
        self,
        engine: str | Engine = "local",
        *,
        silence: float = 6.0,
        context: Iterable[str] = (),
        tls: bool | None = None,
        **options: Any,
    ) -> None:
        if not silence > 0:
            raise ValueError(f"silence is a number of seconds above 0, not {silence!r}")
        self._engine = engine
        self._options = options
        self._silence = silence
        self._context = tuple(context)
        self._tls = tls

    async def __aenter__(self) -> Cluster:
        with _engine_works():
            return await self._begin()

    async def _begin(self) -> Cluster:
        engine = engine_of(self._engine, self._options) if isinstance(self._engine, str) else self._engine
        self._running = engine
        wire.use(engine.pickler)
        session, secret = uuid.uuid4().hex, secrets.token_bytes(32)
        self._peer = mine = Peer(session, secret, DRIVER, self._silence, self._context)
        mine.on_gone = engine.kill
        try:
            names = await engine.nodes()
            mine.store = engine.store
            made = None
            if self._tls if self._tls is not None else not engine.host.startswith(("/", "127.")):
                from gort.cluster import tls  # ssl is large

                made = await gort.blocking(tls.make)
                mine.tls = tls.contexts(*made)
            await mine.begin(engine.host)
            boot = {
                "session": session, "secret": secret.hex(), "driver": mine.addresses[DRIVER], "host": engine.host,
                "silence": self._silence, "context": list(self._context), "pickler": engine.pickler,
                "tls": made,
            }  # fmt: skip
            news: gort.Chan[tuple[str, str]] = gort.Chan(2 * len(names))

            def up(name: str) -> None:
                news.try_send((name, ""))

            mine.on_up = up
            async with gort.Group() as group:
                for name in names:
                    group.go(engine.start, name, {**boot, "name": name})
            for name in names:
                own.go(self._watch, name, news)
            await _all_up(names, news)
            mine.on_up = None
            for name in names:
                mine.link_to(name).post(("book", dict(mine.addresses)))  # one may have died since
        except BaseException:
            async with gort.shield():
                await self._end()
            raise
        return Cluster(mine)

    async def _watch(self, name: str, news: gort.Chan[tuple[str, str]]) -> None:
        """Tells of the end of a node's process, which the engine sees even if there is no link yet."""
        why = await self._running.watch(name)
        news.try_send((name, why))
        self._peer.node_gone(name, why)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if runtime2.current_m().sched.ending:  # the program has ended first, and nothing can wait any more
            self._drop()
        else:
            async with gort.shield():
                await self._end()

    def _drop(self) -> None:
        self._peer.end()
        self._running.drop()

    async def _end(self) -> None:
        try:
            with _engine_works():
                await self._leave()
        except GeneratorExit:  # the program has ended meanwhile
            self._drop()
            raise

    async def _leave(self) -> None:
        mine, engine = self._peer, self._running
        names = mine.nodes()
        mine.ended = True
        for name in names:
            mine.link_to(name).post(("leave",))
        async with gort.move_on_after(LEAVE_S), gort.Group() as group:
            for name in names:
                group.go(engine.watch, name)
        mine.end()
        await engine.close()
        mine.report_all()


@contextmanager
def _engine_works() -> Iterator[None]:
    """While a cluster begins or ends, goroutines wait for the engine, and for the cluster's own: that is no deadlock."""
    works = object()
    external.awaited.add(works)
    try:
        yield
    finally:
        external.awaited.discard(works)


async def _all_up(names: list[str], news: gort.Chan[tuple[str, str]]) -> None:
    waiting = set(names)
    try:
        async with gort.timeout(START_S):
            while waiting:
                name, why = await news.recv()
                if why:
                    raise ClusterError(f"node {name} did not come up: {why}")
                waiting.discard(name)
    except TimeoutError:
        raise ClusterError(f"{', '.join(sorted(waiting))} did not come up within {START_S:g} s") from None


def current() -> Cluster:
    """The cluster that this process belongs to, in a goroutine that `c.go` has started, or in the driver.  Raises
    RuntimeError if it belongs to none, or to several."""
    return Cluster(peer.only())
