"""One process of a cluster: it runs goroutines and holds channels for the others, and uses theirs.

Every process is the same; the driver differs only in that it has started the others, and that they end with it.  A Peer
has a link to the driver, or the driver has one to each, and links to other nodes are dialled when they are needed first.

**Who watches.**  A killed process is seen at once, because the system closes its connections.  One that hangs, or has
been cut off, is seen by its silence: `_watch` counts the looks in a row at which nothing had come.  It counts looks and
not time, so that a process that was itself stopped for a while blames nobody.  But a *node* that finds that it was
stopped for longer than the cluster allows ends itself at once: the driver has given it up, and may have started its
goroutines elsewhere.

What does not live here: starting processes (engine/), what users call (client.py), channels (home.py, proxy.py).
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
import time
from _collections_abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import gort
from gort import net
from gort._runtime.boot import main
from gort._runtime.core import runtime2
from gort._runtime.core.mistakes import say
from gort._start.cython import lent
from gort.cluster import errors, own, wire
from gort.cluster.asleep import Asleep
from gort.cluster.call import Call, Running, running_key
from gort.cluster.home import Home
from gort.cluster.link import Link, Loop
from gort.cluster.proxy import Proxy

with lent():  # it is hot, and gort.net loads it later
    from gort._runtime.poll import netpoll

if TYPE_CHECKING:
    import ssl

    from gort.net import Listener

__all__ = ["DRIVER", "Peer", "of"]

DRIVER = "driver"
LOOKS = 12  # in the time of silence; at every second one a sign of life goes out
SILENT = LOOKS - 1  # so many in a row at which nothing has come: the last sign came before the first of these
HANDSHAKE_S = 10.0
UNPROVEN = 128  # connections at a time whose peers have not proved yet that they belong here
ACCEPT_S = 1.0  # between two tries, when none can be accepted
HASTE_S = 1.0  # where there are so many, and more come, these have so long
ENDED = "the cluster has been left"  # why what was under way here has failed
NOTHING: dict[str, Any] = {}  # never changed
TASK = "gort.trace"  # among the contextvars: a module alone, which none of these is
LEFT = "the driver has left the cluster"  # why a node ends in good order

_peers: dict[str, Peer] = {}  # the clusters that this process belongs to, by session


def of(session: str) -> Peer:
    """This process's part in a cluster.  Raises RuntimeError if it has none, or none any more."""
    peer = _peers.get(session)
    if peer is None:
        raise RuntimeError(
            "a channel or reference of gort.cluster is used in a process that is not in its cluster (now)"
        )
    return peer


def only() -> Peer:
    """The cluster of this process.  Raises RuntimeError if there is not exactly one."""
    if len(_peers) != 1:
        raise RuntimeError(f"gort.cluster.current() needs exactly one cluster, and this process is in {len(_peers)}")
    return next(iter(_peers.values()))


def network_of(address: str) -> str:
    """gort.net's name for the network of a peer's address, or of the host at which peers listen."""
    return "unix" if address.startswith("/") else "tcp"


class Peer:
    """This process's part in one cluster."""

    def __init__(self, session: str, secret: bytes, name: str, silence: float, context: tuple[str, ...]) -> None:
        self.session = session
        self.name = name
        self.silence = silence  # seconds
        self.variables: list[tuple[str, Any]] = [(key, _variable(key)) for key in context]
        self.links: dict[str, Link | Loop] = {}
        self.addresses: dict[str, str] = {}  # of the nodes that are up
        self.gone: dict[str, str] = {}  # the nodes that are not any more, and why
        self.ends: dict[str, gort.Chan[None]] = {}  # closed when the node is gone
        self.calls: dict[int, Call] = {}  # what this process has started elsewhere, and is not over
        self.failed: dict[int, Any] = {}  # how those have failed that nobody has awaited yet, packed
        self.load: dict[str, int] = {}  # how many of them on which node, for `least`
        self.waiting: threading.Lock = threading.Lock()  # for who begins to wait for one of them (Call.end)
        self.ids: itertools.count[int] = itertools.count(1)
        self.running: dict[int, Running] = {}  # by running_key
        self.homes: dict[str, Home] = {}
        self.proxies: dict[str, Proxy] = {}
        self.on_up: Callable[[str], None] | None = None  # the driver: a node has come up
        self.on_gone: Callable[[str], None] | None = None  # the driver: a node has been given up
        self.on_end: Callable[[str], None] | None = None  # a node: the driver is gone
        self.tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None  # of who is dialled, and of who dials
        self.store: Any = None  # the engine's, for put and get
        self.ended: bool = False
        self._over: gort.Chan[None] = gort.Chan()  # closed at the end
        self._secret = secret
        self._mu = threading.Lock()  # of `gone`: the engine and a link may tell of a death at the same time
        self._all: set[Link] = set()  # with those that have no name yet
        self._unproven: set[Any] = set()  # connections
        self._room: gort.Chan[None] = gort.Chan(UNPROVEN)  # holds one for each of these
        self._listener: Listener | None = None
        self._poller: Any = None
        self.clock: Any = None  # the timer of `_watch`
        self.asleep: Asleep = Asleep(self)
        self.loop: Loop = Loop(self, name)
        self.links[name] = self.loop

    # ---- its life ----

    async def begin(self, host: str) -> None:
        """Listens, and takes part.  host: an address of this machine, or a folder in which each process of the cluster
        has a Unix socket, with its name."""
        _peers[self.session] = self
        self._poller = netpoll.netpoll_of(runtime2.current_m().sched)
        netpoll.hurry(self._poller, 1)
        self.loop.start()
        where = os.path.join(host, self.name) if network_of(host) == "unix" else net.join_host_port(host, 0)
        self._listener = await net.listen(network_of(host), where)
        self.addresses[self.name] = str(self._listener.addr)
        own.go(self._serve, self._listener)
        own.go(self._watch)
        own.go(self.asleep.serve)

    def end(self) -> None:
        """Ends all links, and takes no part any more.  What others begin meanwhile looks at `_over` once it can be found
        here, so that one of both sides ends it."""
        self.ended = True
        if not _close(self._over):
            return
        if self._poller is not None:
            netpoll.hurry(self._poller, -1)
        if self._listener is not None:
            self._listener.close()
        for conn in list(self._unproven):
            conn.close()
        for link in list(self._all):
            link.end("this end was closed")
        self.loop.end("this end was closed")
        self.lost(self.loop, ENDED)
        for over in list(self.ends.values()):
            _close(over)
        _peers.pop(self.session, None)

    def end_of(self, name: str) -> gort.Chan[None]:
        """The channel that is closed when a node is gone, or this process has left the cluster."""
        over = self.ends.setdefault(name, gort.Chan())
        if self._over.closed or name in self.gone:  # both before the end looks for it
            _close(over)
        return over

    async def _serve(self, listener: Listener) -> None:
        while True:
            try:
                async for conn in listener:
                    await self._make_room()
                    self._unproven.add(conn)
                    own.go(self._accept, conn)
                return
            except OSError as e:  # what the listener itself takes for lasting: others may still get in
                if self._over.closed:
                    return
                say(f"gort.cluster: {self.name} cannot accept a connection ({e}); it tries again\n")
                await gort.sleep(ACCEPT_S)

    async def _make_room(self) -> None:
        """Who only connects, and proves nothing, must not fill this process, and keep others out.  The system lets these
        wait in turn."""
        if self._room.try_send(None):
            return
        which, _, _ = await gort.select(self._room.send(None), gort.sleep(HASTE_S))
        if which == 1:
            for late in list(self._unproven):
                late.close()
            await self._room.send(None)

    async def _accept(self, conn: Any) -> None:
        """Serves a connection whose peer proves that it belongs here; closes any other, and says nothing to it."""
        raw = conn
        try:
            async with gort.timeout(HANDSHAKE_S):
                if self.tls is not None:
                    conn = await net.tls_server(conn, self.tls[0])
                await wire.accept(conn, self._secret)
        except Exception:  # whatever a stranger sends
            conn.close()
            return
        finally:
            self._unproven.discard(raw)
            self._room.try_recv()
        self._proven(conn)
        link = Link(self, "", conn)
        self._all.add(link)
        if self._over.closed:
            link.end("this end was closed")
        else:
            link.start()

    def _proven(self, conn: Any) -> None:
        """The peer belongs here, so it passes no descriptors: one system call less for each read."""
        if self.tls is None and conn.network == "unix":
            conn.set_stream()

    async def join(self, address: str) -> None:
        """A node: dials the driver, and tells it who this is.  Raises OSError, EOFError, TimeoutError."""
        link = Link(self, DRIVER)
        self._all.add(link)
        self._named(link, DRIVER)
        await self._dial(link, address)

    async def _dial(self, link: Link, address: str) -> None:
        async with gort.timeout(HANDSHAKE_S):
            conn: Any = await net.dial(network_of(address), address)
            try:
                if self.tls is not None:
                    conn = await net.tls_client(conn, None, self.tls[1])
                await wire.prove(conn, self._secret)
            except BaseException:
                conn.close()
                raise
        self._proven(conn)
        link.conn = conn
        if link.dead is not None:
            conn.close()
            return
        # Before all that others have posted while it was dialled.
        link._out.appendleft(("hello", self.name, self.addresses[self.name], os.getpid(), socket.gethostname()))
        link.post(("beat", 0.0))
        link.start()

    def link_to(self, name: str) -> Link | Loop:
        """The link to a process.  It is there at once, and dialled meanwhile; a link to one that is gone is dead."""
        link = self.links.get(name)
        if link is not None:
            return link
        link = Link(self, name)
        why = self.gone.get(name)
        address = self.addresses.get(name)
        if why is None and address is None:
            why = "this process does not know it"
        if address is None or why is not None or self.ended:
            link._die(why or "this end was closed")
            link.close()
            return link
        first = self.links.setdefault(name, link)
        if first is link:
            self._all.add(link)
            if self._over.closed:
                link.end("this end was closed")
            else:
                own.go(self._dial_late, link, address)
        return first

    async def _dial_late(self, link: Link, address: str) -> None:
        try:
            await self._dial(link, address)
        except (OSError, EOFError, TimeoutError) as e:
            link.end(f"it cannot be reached ({str(e) or type(e).__name__})")

    def _named(self, link: Link, name: str) -> None:
        link.name = name
        self.links.setdefault(name, link)
        self.end_of(name)

    # ---- who is alive ----

    async def _watch(self) -> None:
        interval = self.silence / LOOKS
        last = time.monotonic()
        self.clock = gort.Timer(interval)
        beats, asleep = False, 0.0
        while not self.ended:
            which, _, _ = await gort.select(self._over.recv_ok(), self.clock.c.recv())
            if which == 0:
                return
            now = time.monotonic()
            self.clock.reset(interval)
            beats = not beats
            if beats:
                asleep = self.asleep.hint()
            if now - last > self.silence and self.name != DRIVER:
                self.store.orphaned()
                os._exit(70)  # this process was stopped, and has been given up: nothing of it may go on
            last = now
            for link in list(self._all):
                if link.conn is None:
                    continue
                if link.looks() >= SILENT:
                    link.end(f"nothing was heard from it for {self.silence:g} s")
                elif beats:
                    link.post(("beat", asleep))
            if beats and asleep and self.name == DRIVER:
                self.asleep.suspect()

    def lost(self, link: Link | Loop, why: str) -> None:
        """A link has ended."""
        if link is not self.loop:
            self._all.discard(link)
        for home in list(self.homes.values()):
            home.gone(link)
        for running in list(self.running.values()):
            if running.link is link:
                running.cancel()  # nobody is left who wants its result
        if self.ended:
            why = ENDED
        name = link.name
        if self.links.get(name) is link and link is not self.loop:
            del self.links[name]
            if self.name == DRIVER or name == DRIVER:
                self.node_gone(name, why)
        for proxy in list(self.proxies.values()):
            if proxy.link is link:
                proxy.lost(why)
        for number, call in list(self.calls.items()):
            if call.link is link:
                call.lost(number, why)

    def node_gone(self, name: str, why: str) -> None:
        """A node is gone for all: it does not come back.  The driver tells the others."""
        with self._mu:
            if name in self.gone:
                return
            self.gone[name] = why
        self.addresses.pop(name, None)
        link = self.links.get(name)
        if link is not None:
            link.end(why)
        self.end_of(name)
        if self.name == DRIVER:
            for other in list(self.links.values()):
                other.post(("gone", name, why))
            if self.on_gone is not None and not self.ended:
                self.on_gone(name)
        if name == DRIVER and self.on_end is not None:
            self.on_end(why)

    # ---- messages ----

    # What a message from a peer says, by its first word: verbs[word](peer, link, message).  Never waits, and runs no code
    # of the user's.
    verbs: ClassVar[dict[str, Callable[[Peer, Any, tuple[Any, ...]], None]]] = {}

    def _beat(self, link: Any, message: tuple[Any, ...]) -> None:
        """A sign of life, with whether all goroutines there wait (Asleep.hint)."""
        link.asleep = message[1]

    def _sleepers(self, link: Any, message: tuple[Any, ...]) -> None:
        self.asleep.inbox.try_send((link, message))  # where it is full, the question fails

    def _hello(self, link: Any, message: tuple[Any, ...]) -> None:
        _, name, address, pid, host = message
        if name in self.gone:  # such as a task of Dask's that has been started again
            link.end("it had been given up")
            return
        self._named(link, name)
        if self.name == DRIVER:
            self.addresses[name] = address
            link.pid, link.host = pid, host
            if (on_up := self.on_up) is not None:  # connect takes it away meanwhile
                on_up(name)

    def _book(self, link: Any, message: tuple[Any, ...]) -> None:
        for name, address in message[1].items():
            if name != self.name:
                self.addresses[name] = address
                self.end_of(name)

    def _gone(self, link: Any, message: tuple[Any, ...]) -> None:
        if message[1] != self.name:
            self.node_gone(message[1], message[2])

    def _leave(self, link: Any, message: tuple[Any, ...]) -> None:
        if self.on_end is not None:
            self.on_end(LEFT)

    def _go(self, link: Any, message: tuple[Any, ...]) -> None:
        _, number, sealed = message
        running = Running(link, number)
        self.running[running.key] = running
        running.start(sealed)
        if link.dead is not None:
            running.cancel()  # the link ended before its end could look for it

    def _done(self, link: Any, message: tuple[Any, ...]) -> None:
        call = self.calls.pop(message[1], None)
        if call is not None:
            call.over(message[2], message[3])

    def _unseen(self, link: Any, message: tuple[Any, ...]) -> None:
        gort.go(self.report, message[1])

    def _cancel(self, link: Any, message: tuple[Any, ...]) -> None:
        running = self.running.get(running_key(link, message[1]))
        if running is not None:
            running.cancel()

    def _to_home(self, link: Any, message: tuple[Any, ...]) -> None:
        home = self.homes.get(message[1])
        if home is None:
            home = self.homes.setdefault(message[1], Home(message[1], message[2]))
        home.on(link, message)

    def _to_proxy(self, link: Any, message: tuple[Any, ...]) -> None:
        proxy = self.proxies.get(message[1])
        if proxy is not None:
            proxy.on(message)

    # ---- channels ----

    def proxy(self, cid: str, home: str, capacity: int, prefetch: int) -> Proxy:
        """This process's end of a channel."""
        proxy = self.proxies.get(cid)
        if proxy is None:
            proxy = self.proxies.setdefault(cid, Proxy(self, cid, home, capacity, prefetch))
            if proxy.link.dead is not None:
                proxy.lost(proxy.link.dead)  # the link ended before its end could look for it
        return proxy

    # ---- goroutines ----

    def report(self, number: int) -> None:
        """Reports the failure of a goroutine that nobody can await any more.  Runs code of the user's."""
        packed = self.failed.pop(number, None)
        if packed is not None and packed[-1] != ENDED:
            main.unraisable(errors.unpack(packed), None, "a remote goroutine failed, and nobody awaited it")

    def report_all(self) -> None:
        """After the end: reports all failures that nobody has asked for."""
        for number in list(self.failed):
            self.report(number)

    def nodes(self) -> list[str]:
        """The names of the nodes that are up."""
        return [name for name in list(self.addresses) if name != DRIVER]  # a copy: nodes come and go meanwhile

    def least(self, names: list[str]) -> str:
        """The node on which this process has the fewest goroutines.  The counts are hints: two threads may lose one."""
        return min(names, key=lambda name: self.load.get(name, 0))

    def context(self) -> dict[str, Any]:
        """What goes along with a goroutine: the listed contextvars that are set here, by name, and the name of the
        trace's task."""
        if not self.variables and "gort.trace" not in sys.modules:
            return NOTHING  # as nearly always
        found: dict[str, Any] = {}
        trace = sys.modules.get("gort.trace")  # who has not loaded it is in no task
        if trace is not None and (name := trace._name_now()) is not None:
            found[TASK] = name
        for key, variable in self.variables:
            try:
                found[key] = variable.get()
            except LookupError:
                pass
        return found

    def enter(self, values: dict[str, Any]) -> Any:
        """Sets contextvars in the current goroutine.  Returns the task of the trace that begins here, or None: whoever
        runs the goroutine ends it."""
        for key, variable in self.variables:
            if key in values:
                variable.set(values[key])
        if TASK not in values:
            return None
        from gort import trace  # it is loaded where a program traces

        return trace.task(values[TASK]).__enter__()


Peer.verbs.update(
    {
        "beat": Peer._beat,
        "look": Peer._sleepers,
        "seen": Peer._sleepers,
        "show": Peer._sleepers,
        "shown": Peer._sleepers,
        "hello": Peer._hello,
        "book": Peer._book,
        "gone": Peer._gone,
        "leave": Peer._leave,
        "go": Peer._go,
        "done": Peer._done,
        "unseen": Peer._unseen,
        "cancel": Peer._cancel,
        "c": Peer._to_home,
        "h": Peer._to_proxy,
    }
)


def _close(over: gort.Chan[None]) -> bool:
    """Closes it; False if another thread was first."""
    try:
        over.close()
    except gort.ChannelClosed:
        return False
    return True


def _variable(key: str) -> Any:
    """The contextvar that "module:name" names.  Raises ValueError, ImportError, AttributeError, TypeError."""
    from contextvars import ContextVar
    from importlib import import_module

    module, colon, name = key.partition(":")
    if not colon or module == "__main__":
        raise ValueError(f"a contextvar is listed as 'module:name', with a module that nodes can import, not {key!r}")
    variable = getattr(import_module(module), name)
    if not isinstance(variable, ContextVar):
        raise TypeError(f"{key} is no contextvar, but a {type(variable).__name__}")
    return variable
