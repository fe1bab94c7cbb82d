"""A network in memory: Network.  gort.net.listen and gort.net.dial use it in place of the system's, so that servers and
clients are tested without ports, in virtual time.

    async def main():
        with gort.testing.Network(latency=0.05) as network:
            gort.go(serve)          # a program on gort.net, as it is
            ...
            network.partition()

A connection is a stream: nothing is lost for good, and nothing overtakes, as with TCP.  A lost piece comes later, by the
time that it takes to notice the loss.  A partition holds everything back until it is healed; only deadlines see it.

What does not live here: the connections (wire.py).
"""

from __future__ import annotations

import contextlib
import errno
import random
import threading
from _collections_abc import Generator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import gort
from gort import _networks, net
from gort._runtime.core.runtime2 import current_m
from gort.testing.wire import Conn, Link, Wire, connected

ANY = ("", "0.0.0.0", "::")
HERE = "127.0.0.1"
WINDOW = 1 << 16
FIRST_PORT = 49152  # the ports that listeners and dialers get which ask for none

_host: ContextVar[str] = ContextVar("gort.testing.host", default=HERE)
_networks_of: dict[int, Network] = {}  # by the runtime's id; each operation on it is atomic


def _current() -> Network | None:
    """The network of this goroutine's program."""
    m: Any = current_m()
    return _networks_of.get(id(m.sched)) if m is not None else None


class Way(Link):
    """The way from one host to another."""

    def __init__(self, network: Network, near: str, far: str) -> None:
        self.network: Network = network
        self.hosts: frozenset[str] = frozenset((near, far))

    def delay(self) -> float:
        """The latency, with jitter and losses."""
        network = self.network
        seconds = network.latency
        with network._mu:
            if network.jitter:
                seconds += network.random.uniform(0, network.jitter)
            while network.loss and network.random.random() < network.loss:
                seconds += network.resend
        return seconds

    def cut(self) -> bool:
        """True while a partition lies between the two hosts."""
        return self.network._is_cut(self.hosts)


class Network:
    """A network in memory for the program that makes it: `with gort.testing.Network(latency=0.05) as network:`.

    latency: seconds from one host to another; jitter: up to so many more, at random; loss: the share of pieces that are
    lost and come `resend` seconds later, from 0 to below 1; window: bytes that may be on the way or unread before a write
    waits; seed: of the random choices.  They may be changed at any time.

    Inside, gort.net.dial, gort.net.Dialer and gort.net.listen use it.  Every name is a host; `with network.host("a"):`
    says on which one this goroutine, and those that it starts, listen and dial.  Without it that is 127.0.0.1.

    Raises ValueError for a loss that leaves nothing, RuntimeError outside a goroutine or inside another network."""

    def __init__(
        self,
        *,
        latency: float = 0.0,
        jitter: float = 0.0,
        loss: float = 0.0,
        resend: float = 0.2,
        window: int = WINDOW,
        seed: int = 1,
    ) -> None:
        if not 0 <= loss < 1:
            raise ValueError(f"loss is a share from 0 to below 1, not {loss!r}")
        self.latency: float = latency
        self.jitter: float = jitter
        self.loss: float = loss
        self.resend: float = resend
        self.window: int = window
        self.random: random.Random = random.Random(seed)
        self._mu: threading.RLock = threading.RLock()
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._port: int = FIRST_PORT
        self._cut_all: bool = False
        self._cuts: set[frozenset[str]] = set()
        self._healed: gort.Chan[None] = gort.Chan()
        self._wires: WeakSet[Wire] = WeakSet()
        self._key: int = 0

    def __enter__(self) -> Self:
        m: Any = current_m()
        if m is None or m.curg is None:
            raise RuntimeError("gort.testing.Network is entered in a goroutine: its program uses it")
        if id(m.sched) in _networks_of:
            raise RuntimeError("this program is in a gort.testing.Network already")
        self._healed = gort.Chan()  # one of this program: the network may be made outside its bubble
        _networks.current = _current
        self._key = id(m.sched)
        _networks_of[self._key] = self
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        _networks_of.pop(self._key, None)

    @contextlib.contextmanager
    def host(self, name: str) -> Generator[None]:
        """While in it, this goroutine and those that it starts are on the host of that name."""
        token = _host.set(name)
        try:
            yield
        finally:
            _host.reset(token)

    def partition(self, *hosts: str) -> None:
        """Cuts two hosts from each other, or all of them: `network.partition("a", "b")`, `network.partition()`.
        Raises TypeError for one host, or more than two."""
        if len(hosts) not in (0, 2):
            raise TypeError("partition takes two hosts, or none to cut all")
        with self._mu:
            if hosts:
                self._cuts.add(frozenset(hosts))
            else:
                self._cut_all = True

    def heal(self) -> None:
        """Ends all partitions: what was held back arrives."""
        with self._mu:
            self._cuts.clear()
            self._cut_all = False
            healed, self._healed = self._healed, gort.Chan()
            wires = list(self._wires)
        healed.close()
        for wire in wires:
            wire.deliver()

    def _is_cut(self, hosts: frozenset[str]) -> bool:
        with self._mu:
            return self._cut_all or hosts in self._cuts

    def _next_port(self) -> int:
        with self._mu:
            self._port += 1
            return self._port - 1

    async def listen(self, network: str, address: str) -> Listener:
        """gort.net.listen here.  Raises OSError (EADDRINUSE) if somebody listens there."""
        if network == "unix":
            host, port = address, 0
        else:
            host, text = net.split_host_port(address)
            host, port = _named(host) if host not in ANY else _host.get(), int(text)
        with self._mu:
            if network != "unix" and port == 0:
                port = self._next_port()
            if (host, port) in self._listeners:
                raise OSError(errno.EADDRINUSE, f"listen {network} {address}: Address already in use")
            listener = Listener(self, net.Addr(network, host, port))
            self._listeners[host, port] = listener
        return listener

    async def dial(self, network: str, address: str) -> Conn:
        """gort.net.dial here: takes a round trip, and waits while a partition lies between.  Raises
        ConnectionRefusedError where nobody listens."""
        near = _host.get()
        if network == "unix":
            host, port = address, 0
        else:
            host, text = net.split_host_port(address)
            host, port = _named(host) if host not in ANY else near, int(text)
        way, back = Way(self, near, host), Way(self, host, near)
        await gort.sleep(way.delay())
        while way.cut():
            await self._healed.recv_ok()
        with self._mu:
            listener = self._listeners.get((host, port))
        if listener is None:
            await gort.sleep(back.delay())
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"dial {network} {address}: Connection refused")
        local = net.Addr(network, near if network != "unix" else "", 0 if network == "unix" else self._next_port())
        ours, theirs = connected(local, listener.addr, self.window, lambda: (way, back))
        with self._mu:
            self._wires.update((ours._reads, ours._writes))
        if not listener.offer(theirs):
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"dial {network} {address}: Connection refused")
        await gort.sleep(back.delay())
        return ours


class Listener:
    """A listener of a network in memory, with the methods of gort.net.Listener."""

    def __init__(self, network: Network, addr: net.Addr) -> None:
        self._network: Network = network
        self._queue: gort.Chan[Conn] = gort.Chan(1024)
        self.addr: net.Addr = addr
        self.local_addr: net.Addr = addr
        self.network: str = addr.network
        self.closed: bool = False

    def __repr__(self) -> str:
        return f"<gort.testing listener {self.network} {self.addr}{' closed' if self.closed else ''}>"

    def offer(self, conn: Conn) -> bool:
        """Adds a connection to those that wait to be accepted; False when there is no room, or it is closed."""
        try:
            return self._queue.try_send(conn)
        except gort.ChannelClosed:
            return False

    async def accept(self) -> Conn:
        """As gort.net.Listener.accept."""
        conn, ok = await self._queue.recv_ok()
        if conn is not None and self.closed:
            conn.reset()  # it was handed over before the listener was closed
        if conn is None or not ok or self.closed:
            raise net.Closed(f"accept {self.network} {self.addr}: use of closed listener")
        return conn

    def close(self) -> None:
        """Stops listening; waiting accepts raise Closed, `async for` ends.  Connections stay."""
        if self.closed:
            return
        self.closed = True
        with self._network._mu:
            self._network._listeners.pop((self.addr.host, self.addr.port), None)
        self._queue.close()
        while (waiting := self._queue.try_recv())[1] and waiting[0] is not None:
            waiting[0].reset()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Conn:
        try:
            return await self.accept()
        except net.Closed:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _named(host: str) -> str:
    """A host's name: localhost is 127.0.0.1."""
    return HERE if host == "localhost" else host
