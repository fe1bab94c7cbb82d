"""Channels whose ends are in several processes.  Follows Go's channels, with what the distance costs said aloud.

    ch = c.Chan(64)                       # its home is this process; on=node: another
    await ch.send(job)                    # waits while 64 values are on their way
    async for job in ch: ...              # on any node
    async with ch.take() as job: ...      # handed out again if the block fails, or its node dies

`ch.send(v)`, `ch.recv()` and `ch.recv_ok()` are cases of gort.select, and gort.wait takes them.  docs/cluster.md has the
table of what is promised and what is not.

What does not live here: how values travel (proxy.py, home.py).
"""

from __future__ import annotations

import uuid
from _collections_abc import Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import gort
from gort._runtime.wait.cases import ChanArm
from gort.cluster import peer as peers
from gort.cluster import wire
from gort.cluster.home import RECV, TAKE

if TYPE_CHECKING:
    from gort.cluster.proxy import Proxy

__all__ = ["Chan", "Operation", "SendMany", "Take"]

GONE = "gort.cluster: a value that was received could not be unpickled here; it is gone"

T = TypeVar("T")


class _Arm(ChanArm):
    """An operation as a case of gort.select: it waits on a channel of this process, and says that it does."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.side.ch.recv_ok(), operation.done)
        self.operation = operation
        self.waits = False

    def begin_wait(self, s: Any, wake: Any) -> None:
        if not self.waits:
            self.waits = True
            self.operation.proxy.enter(self.operation.side, self.operation.most)

    def leave(self, won: bool) -> None:
        if self.waits:
            self.waits = False
            self.operation.proxy.leave(self.operation.side, self.operation.most)


class Operation:
    """A send or a receive: `await` it once, or give it to gort.select."""

    __slots__ = ("proxy", "side", "used")
    most: int = 1  # values or slots that it takes

    def __init__(self, proxy: Proxy, side: Any) -> None:
        self.proxy: Proxy = proxy
        self.side: Any = side
        self.used: bool = False

    def done(self, value: Any, ok: bool) -> tuple[Any, bool]:
        """What has come from this process's channel becomes the operation's outcome."""
        raise NotImplementedError

    def result(self, value: Any, ok: bool) -> Any:
        """What `await` gives."""
        return value

    def _begin(self) -> None:
        if self.used:
            raise RuntimeError("an operation on a channel is awaited once: make a new one, as in ch.recv()")
        self.used = True

    def _select_arm(self) -> _Arm:
        self._begin()
        return _Arm(self)

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.used:
            self._begin()
        self.used = True
        ch = self.side.ch
        got, ok = ch.try_recv()
        if not ok:
            self.proxy.enter(self.side, self.most)
            try:
                got, ok = yield from ch.recv_ok().__await__()
            finally:
                self.proxy.leave(self.side, self.most)
        return self.result(*self.done(got, ok))


class _Send(Operation):
    """`yield from` and calls of methods are most of what an operation costs that need not wait: so each has its own short
    way, which does what Operation.__await__ does."""

    __slots__ = ("sealed",)

    def __init__(self, proxy: Proxy, sealed: Any) -> None:
        self.proxy = proxy
        self.side = proxy.tx
        self.used = False
        self.sealed = sealed

    def done(self, value: Any, ok: bool) -> tuple[Any, bool]:
        if self.proxy.died is not None:  # also with a slot in hand: it is one of a channel that is no more
            raise self.proxy.died
        if self.side.ch.closed:
            if ok:
                self.proxy.unsent(1)
            raise gort.ChannelClosed("send on closed channel")
        self.proxy.sent(self.sealed)
        return None, True

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.used:
            self._begin()
        self.used = True
        got = self.side.ch.try_recv()
        if got[1]:
            if self.side.ch.closed or self.proxy.died is not None:
                self.done(None, True)  # raises
            self.proxy.sent(self.sealed)
            return
        self.proxy.enter(self.side, 1)
        try:
            got = yield from self.side.ch.recv_ok().__await__()
        finally:
            if not got[1]:
                self.proxy.leave(self.side, 1)
        if not got[1]:
            self.done(None, False)  # raises
        if self.side.ch.closed or self.proxy.died is not None:
            self.proxy.leave(self.side, 1)
            self.done(None, True)  # raises
        self.proxy.sent_late(self.sealed)


class SendMany(Operation):
    """A send of many values, each with a slot of its own: it takes as many slots as there are, and then waits for more.
    Other senders' values may come between."""

    __slots__ = ("_sealed", "sent")

    def __init__(self, proxy: Proxy, sealed: list[Any]) -> None:
        super().__init__(proxy, proxy.tx)
        self._sealed = sealed
        self.sent: int = 0  # how many values have been sent: the first ones.  Final once the wait is over

    def _select_arm(self) -> _Arm:
        raise TypeError(
            "ch.send_many() cannot be a case of gort.select: it may send some of its values and then wait, and a case "
            "that does not run must have had no effect; use ch.send(v)"
        )

    def __await__(self) -> Generator[Any, Any, int]:
        self._begin()
        proxy, ch, values = self.proxy, self.side.ch, self._sealed
        while self.sent < len(values):
            most = min(len(values) - self.sent, ch.capacity)
            slots = 0
            while slots < most and ch.try_recv()[1]:
                slots += 1
            if not slots:
                proxy.enter(self.side, most)
                try:
                    slots = len((yield from ch.recv_many(most).__await__()))
                except gort.Cancelled as e:  # it has taken no slot
                    e.sent = self.sent  # type: ignore[attr-defined]
                    raise
                finally:
                    proxy.leave(self.side, most)
            if proxy.died is not None:  # also with slots in hand: they are of a channel that is no more
                raise proxy.died
            if ch.closed:
                proxy.unsent(slots)
                closed = gort.ChannelClosed("send on closed channel")
                closed.sent = self.sent
                raise closed
            proxy.sent(*values[self.sent : self.sent + slots])
            self.sent += slots
        return self.sent


class _Receive(Operation):
    __slots__ = ()
    lane: int = RECV

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.side = proxy.rx[self.lane]
        self.used = False

    def done(self, value: Any, ok: bool) -> tuple[Any, bool]:
        if not ok:
            value = self._kept()
            if value is None:
                return None, False
        return self._opened(value, 0), True

    def __await__(self) -> Generator[Any, Any, Any]:
        """As _Send's.  Few local variables: each takes eight bytes of every goroutine that waits here."""
        if self.used:
            self._begin()
        self.used = True
        got = self.side.ch.try_recv()
        if got[1]:
            return self.result(self._opened(got[0], 0), True)
        self.proxy.enter(self.side, 1)
        try:
            got = yield from self.side.ch.recv_ok().__await__()
        finally:
            if not got[1]:
                self.proxy.leave(self.side, 1)
        if got[1]:
            return self.result(self._opened(got[0], 1), True)
        return self.result(*self.done(None, False))

    def _opened(self, entry: tuple[int, Any], waited: int) -> Any:
        """The value of an entry that has been taken out.  waited: as Proxy.received's."""
        number, sealed = entry
        self.proxy.received(self.lane, number, waited)
        try:
            return wire.unseal(sealed)
        except BaseException as e:
            if self.lane == TAKE:
                self.proxy.ack(number)  # the next one could not open it either
            e.add_note(GONE)
            raise

    def _kept(self) -> Any:
        """What a receive has put back, at the end of the channel.  None if there is nothing; then raises NodeDied if the
        home is gone."""
        entry = self.proxy.kept()
        if entry is None and self.proxy.died is not None:
            raise self.proxy.died
        return entry


class _RecvOk(_Receive):
    __slots__ = ()

    def result(self, value: Any, ok: bool) -> Any:
        return value, ok


class _Recv(_Receive):
    __slots__ = ()

    def result(self, value: Any, ok: bool) -> Any:
        if not ok:
            raise gort.ChannelClosed("receive on closed channel")
        return value


class _Taken(_Recv):
    """The receive of a block ch.take()."""

    __slots__ = ("number",)
    lane = TAKE

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        self.number: int = -1  # of the entry, once there is one

    def _opened(self, entry: tuple[int, Any], waited: int) -> Any:
        self.number = entry[0]
        return super()._opened(entry, waited)


class _Next(_Receive):
    __slots__ = ()

    def result(self, value: Any, ok: bool) -> Any:
        if not ok:
            raise StopAsyncIteration
        return value


class _RecvMany(_Receive):
    """Waits for one value, and takes what else is there: so it orders as many as it may take."""

    __slots__ = ("most",)

    def __init__(self, proxy: Proxy, most: int) -> None:
        super().__init__(proxy)
        self.most = min(most, self.side.ch.capacity)

    __await__ = Operation.__await__  # it takes more than one

    def done(self, value: Any, ok: bool) -> tuple[Any, bool]:
        entry = value if ok else self._kept()
        proxy = self.proxy
        numbers: list[int] = []
        out: list[Any] = []
        while entry is not None:
            try:
                out.append(wire.unseal(entry[1]))
            except Exception as e:
                if not numbers:
                    proxy.received(RECV, entry[0])
                    e.add_note(GONE)
                    raise
                proxy.put_back([(entry[0], wire.Opened(None, e))])  # it fails the next receive
                break
            except BaseException:  # an interrupt is no fault of the value's: all are received again
                proxy.put_back([*((n, wire.Opened(v)) for n, v in zip(numbers, out, strict=True)), entry])
                raise
            numbers.append(entry[0])
            if len(out) == self.most:
                break
            entry, ok = self.side.ch.try_recv()
            if not ok:
                entry = proxy.kept()
        for number in numbers:
            proxy.received(RECV, number)
        return out, bool(out)


class Chan(Generic[T]):
    """A channel that goroutines of every process of the cluster may use; `c.Chan(…)` makes one.  Sent to another process,
    as an argument or as a value, it is the same channel there.

    capacity: what was sent and not yet received, exactly and wherever it lies, is at most this.  prefetch: so many values
    may lie ready in each receiving process, which makes receiving fast; they are lost with that process."""

    __slots__ = ("_made", "_proxy")

    def __init__(self, proxy: Proxy, made: tuple[str, str, str, int, int]) -> None:
        self._made = made
        self._proxy = proxy

    def __reduce__(self) -> tuple[Any, ...]:
        return _chan, self._made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chan) and other._made[1] == self._made[1]

    def __hash__(self) -> int:
        return hash(self._made[1])

    def __repr__(self) -> str:
        return f"<gort.cluster.Chan {self._made[1]} of {self.capacity} on {self.home}>"

    @property
    def capacity(self) -> int:
        """How many values are on their way at most."""
        return self._proxy.capacity

    @property
    def home(self) -> str:
        """The name of the node that holds it.  With that node it dies."""
        return self._proxy.home

    @property
    def closed(self) -> bool:
        """True once this process knows that it is closed, or that its home is gone."""
        return self._proxy.tx.ch.closed

    def send(self, value: T, /) -> Operation:
        """`await ch.send(v)` sends a copy of v, as v is now, and waits while the channel is full.

        Raises what pickling v raises, here; ChannelClosed when the channel is closed, NodeDied when its home is gone;
        then v has not been sent."""
        return _Send(self._proxy, wire.seal(value))

    def send_many(self, values: Iterable[T], /) -> SendMany:
        """`n = await ch.send_many(values)` sends copies of all values, in order, as they are now, waits while the channel
        is full, and gives their number.  Other senders' values may come between them.  Else as gort.Chan.send_many, and
        like that no case of gort.select.

        Raises what the iterable and pickling the values raise, here, and nothing has been sent; ChannelClosed, whose
        `sent` says how many values were sent before; NodeDied when the channel's home is gone.  After a cancellation
        Cancelled.sent says it.  Whatever ends the wait, the operation knows: `sending = ch.send_many(values)`, then
        `sending.sent`."""
        return SendMany(self._proxy, [wire.seal(value) for value in values])

    def recv(self) -> Operation:
        """`v = await ch.recv()` receives.  Raises ChannelClosed when the channel is closed and drained, NodeDied when its
        home is gone, and what unpickling the value raises; then the value is gone, and the channel goes on."""
        return _Recv(self._proxy)

    def recv_ok(self) -> Operation:
        """`v, ok = await ch.recv_ok()`: (None, False) when the channel is closed and drained.  Else raises as recv."""
        return _RecvOk(self._proxy)

    def recv_many(self, max: int, /) -> Operation:
        """`values = await ch.recv_many(64)` waits for one value, and gives a list of at most `max`: what else has come to
        this process, too.  The empty list when the channel is closed and drained.  As gort.Chan.recv_many.

        Else raises as recv; a value that cannot be unpickled fails the receive that has it as the first.  TypeError,
        ValueError for a wrong max."""
        if isinstance(max, bool) or not isinstance(max, int):
            raise TypeError(f"recv_many takes a number of values, not {type(max).__name__}")
        if max < 1:
            raise ValueError(f"recv_many takes a positive number of values, not {max}")
        return _RecvMany(self._proxy, max)

    def __aiter__(self) -> Chan[T]:
        """`async for v in ch` receives until the channel is closed and drained."""
        return self

    def __anext__(self) -> Operation:
        return _Next(self._proxy)

    def take(self) -> Take[T]:
        """`async with ch.take() as v:` receives v, and is done with it at the end of the block.  If the block raises, or
        its node dies in it, the channel hands v out again: each value at least once.  Raises as recv does."""
        return Take(self._proxy)

    def close(self) -> None:
        """Closes the channel.  Values that were sent are still received; who waits to send gets ChannelClosed.

        Raises ChannelClosed if this process knows that it is closed, NodeDied if its home is gone.  Any thread may call
        it."""
        if not self._proxy.close():
            raise self._proxy.died or gort.ChannelClosed("close of closed channel")


def _chan(session: str, cid: str, home: str, capacity: int, prefetch: int) -> Chan[Any]:
    """The channel in this process.  There is one object for it, however often it comes: a million goroutines that get it
    as an argument share it."""
    proxy = peers.of(session).proxy(cid, home, capacity, prefetch)
    if proxy.chan is None:  # two threads may make one each: they are equal
        proxy.chan = Chan(proxy, (session, cid, home, capacity, prefetch))
    return proxy.chan  # type: ignore[no-any-return]


class Take(Generic[T]):
    """The block of ch.take()."""

    def __init__(self, proxy: Proxy) -> None:
        self._operation = _Taken(proxy)

    async def __aenter__(self) -> T:
        value: T = await self._operation
        return value

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        proxy, number = self._operation.proxy, self._operation.number
        if exc_type is None:
            proxy.ack(number)
        else:
            proxy.back(number)


def new(session: str, home: str, capacity: Any, prefetch: Any) -> Chan[Any]:
    """Cluster.Chan."""
    if isinstance(capacity, bool) or not isinstance(capacity, int):
        raise TypeError(f"a channel's capacity is an int, not {type(capacity).__name__}: c.Chan(8)")
    if capacity < 1:
        raise ValueError(
            "a channel between processes holds at least one value: to meet without one costs two journeys for each "
            "value, and two processes that both send first would wait for each other"
        )
    if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 0:
        raise ValueError(f"prefetch is a number of values, not {prefetch!r}")
    return _chan(session, uuid.uuid4().hex, home, capacity, prefetch)
