"""A process's end of a channel: what its goroutines wait on, and what it tells the channel's home.

Goroutines wait on ordinary channels of this process: `rx` gives the values that the home has handed out (one for each
lane), `tx` gives credits, each a slot for one value.  So a send, too, waits in a receive, and both are native cases of
gort.select; a cancelled wait takes nothing, as with any channel.  Both channels have room for all that the home may hand
out, so putting something into them never waits.

A proxy says nothing at once.  It marks itself, and the link's writer asks it (`flush`) when all who can run have run: so
what many goroutines want becomes one message.

The counters are under `_lock`.  For each lane, `wanted` values are on order, and `given` have come and were not yet
picked up by a goroutine; the same for credits.  What more to order, or to call off, follows from these and from how many
wait.  No code of the user's runs under the lock.

What does not live here: who gets what (home.py); the operations that users see (chan.py).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import gort
from gort.cluster.errors import NodeDied
from gort.cluster.home import ALL_CLOSED, CREDITS, RECV, TAKE, VALUES
from gort.cluster.wire import PLAIN, size

if TYPE_CHECKING:
    from gort.cluster.link import Outbox
    from gort.cluster.peer import Peer

__all__ = ["Proxy"]

ROOM = 1 << 12  # values or credits that may lie in one process at a time
NO_ORDERS = (0, 0)
NONE: Any = ()


class _Side:
    """One lane of values, or the credits: what is waited for, on order, and there."""

    __slots__ = ("active", "ahead", "ch", "given", "leaving", "used", "wait", "wanted")

    def __init__(self, room: int, ahead: int) -> None:
        self.ch: gort.Chan[Any] = gort.Chan(room)
        self.wait: int = 0  # for so many goroutines wait
        self.wanted: int = 0  # on order
        self.leaving: int = 0  # called off, and the home has not answered yet
        self.given: int = 0  # have come and are in no goroutine's hands
        self.ahead: int = ahead  # so many are ordered before anybody waits, while the side is in use
        self.used: bool = False  # ever: else there is nothing to order
        self.active: bool = False  # it has been used since the last recall

    def order(self) -> int:
        """How many more to order (below zero: to call off).  The proxy's lock is held."""
        n = self.wait - self.wanted - self.given
        if self.active:
            n += self.ahead
        if n == 0:
            return 0
        if n > 0:
            n = min(n, self.ch.capacity - self.wanted - self.given)
            if self.wait <= self.wanted + self.given and 2 * n < self.ahead:
                return 0  # a few at a time would be a message for each
            n = max(n, 0)
            self.wanted += n
            return n
        n = max(n, self.leaving - self.wanted)  # what is called off already is not called off again
        if n >= 0:
            return 0
        self.leaving -= n
        return n

    def called_off(self, asked: int, done: int) -> None:
        """The home's answer.  The proxy's lock is held."""
        self.leaving -= asked
        self.wanted -= done

    def give(self, what: Any) -> bool:
        """What was on order has come.  False if the channel is closed.  The proxy's lock is held."""
        self.wanted -= 1
        try:
            self.ch.try_send(what)
        except gort.ChannelClosed:
            return False
        self.given += 1
        return True

    def drain(self) -> list[Any]:
        """Takes out what nobody has picked up, for a recall.  The proxy's lock is held."""
        self.active = False
        out: list[Any] = []
        while True:
            what, ok = self.ch.try_recv()
            if not ok:
                self.given -= len(out)
                return out
            out.append(what)


class Proxy:
    """This process's end of channel `cid`."""

    def __init__(self, peer: Peer, cid: str, home: str, capacity: int, prefetch: int) -> None:
        self.cid = cid
        self.home = home
        self.capacity = capacity
        self.died: NodeDied | None = None  # the home, or the link to it
        self.chan: Any = None  # what users have of it here (chan.py)
        room = min(capacity, ROOM)
        self.rx: tuple[_Side, _Side] = (_Side(room, min(prefetch, room)), _Side(room, 0))  # for the lanes RECV and TAKE
        self.tx: _Side = _Side(room, min(capacity // 2, 256))
        self._lock = threading.Lock()
        self._marked = False
        self._puts: list[Any] = []
        self._size = 0  # bytes of these
        self._kept: deque[Any] = deque()  # entries that were put back once `rx` was closed
        self._acks: list[int] = []
        self._backs: list[int] = []
        self._returned = 0  # credits
        self._close = False
        self._told_closed = False
        self.link: Outbox = peer.link_to(home)
        if self.link.dead is not None:
            self.lost(self.link.dead)

    def _mark(self) -> None:
        if not self._marked:
            self._marked = True
            self.link.post(self)

    def flush(self) -> tuple[tuple[Any, ...] | None, int]:
        """What this process has to say to the home now, for the link's writer: a message or None, and its size."""
        with self._lock:
            self._marked = False  # before all looks: what comes after one marks again
            closing = self._close  # one look: close() takes no lock
            if closing:
                self._returned += len(self.tx.drain())
            received, taken = self.rx
            wants = None
            if received.used or taken.used:
                orders = received.order() if received.used else 0, taken.order() if taken.used else 0
                if orders != NO_ORDERS:
                    wants = orders
            credits = self.tx.order() if self.tx.used else 0
            # What goes into the message is not touched again here: other threads go on with lists of their own.
            puts, acks, backs = NONE, NONE, NONE
            size = 0
            if self._puts:
                puts, self._puts = self._puts, []
                size, self._size = self._size, 0
            if self._acks:
                acks, self._acks = self._acks, []
            if self._backs:
                backs, self._backs = self._backs, []
            returned, self._returned = self._returned, 0
            close = closing and not self._told_closed
            self._told_closed = closing
        if not (puts or acks or backs or wants or credits or returned or close):
            return None, 0
        return ("c", self.cid, self.capacity, puts, acks, backs, wants, credits, returned, close), size

    def on(self, message: tuple[Any, ...]) -> None:
        """The home's message (Home._post)."""
        _, _, received, taken, credits, unwanted, unasked, recall, closed = message
        with self._lock:
            if received:
                side = self.rx[RECV]
                for entry in received:
                    side.give(entry)
            if taken:
                side = self.rx[TAKE]
                for entry in taken:
                    side.give(entry)
            if credits:
                side = self.tx
                for _ in range(credits):
                    if not side.give(None):  # this process has closed the channel, and the home did not know yet
                        self._returned += 1
            # What has been given came off what was wanted: there is nothing more to order or to call off, and nothing
            # to say.
            if unwanted is None and unasked is None and not (recall or closed or self._returned):
                return
            if unwanted is not None:
                for side, off in zip(self.rx, unwanted, strict=True):
                    side.called_off(*off)
            if unasked is not None:
                self.tx.called_off(*unasked)
            if recall & VALUES:
                for side in self.rx:
                    self._backs += [number for number, _ in side.drain()]
            if closed:
                self._shut(self.tx)
            if recall & CREDITS or closed:
                self._returned += len(self.tx.drain())
            if closed == ALL_CLOSED:
                self._end()
            self._mark()  # flush finds out whether there is anything to say

    def lost(self, why: str) -> None:
        """The home's process has died, or the link to it."""
        with self._lock:
            if not self.rx[RECV].ch.closed:
                self.died = NodeDied(self.home, why)
                self._end()
                self.tx.drain()  # slots of a channel that is no more

    def _end(self) -> None:
        """Ends all waits.  The lock is held."""
        for side in (*self.rx, self.tx):
            self._shut(side)

    @staticmethod
    def _shut(side: _Side) -> None:
        try:
            side.ch.close()
        except gort.ChannelClosed:
            pass

    # ---- what goroutines do ----

    def enter(self, side: _Side, n: int) -> None:
        """A goroutine begins to wait, for up to n values or slots."""
        with self._lock:
            side.wait += n
            side.used = True
            if not self._marked:  # here and below as _mark: a call less
                self._marked = True
                self.link.post(self)

    def leave(self, side: _Side, n: int) -> None:
        """A goroutine waits no more, whether it has got something or not."""
        with self._lock:
            side.wait -= n
            if not self._marked and side.wanted + side.given > side.wait:
                self._marked = True
                self.link.post(self)

    def sent(self, *sealed: Any) -> None:
        """A goroutine has got credits, and sends a value with each."""
        tx = self.tx
        with self._lock:
            tx.given -= len(sealed)
            tx.active = True
            for value in sealed:
                self._puts.append(value)
                self._size += PLAIN if type(value) is int else size(value)
            if not self._marked:
                self._marked = True
                self.link.post(self)

    def sent_late(self, sealed: Any) -> None:
        """A goroutine that has entered has got a credit, and sends a value: `leave` and `sent` in one."""
        tx = self.tx
        with self._lock:
            tx.wait -= 1
            tx.given -= 1
            tx.active = True
            self._puts.append(sealed)
            self._size += PLAIN if type(sealed) is int else size(sealed)
            if not self._marked:
                self._marked = True
                self.link.post(self)

    def unsent(self, n: int) -> None:
        """A goroutine has got n credits of a channel that is closed meanwhile: they go back to the home."""
        with self._lock:
            self.tx.given -= n
            self._returned += n
            self._mark()

    def received(self, lane: int, number: int, waited: int = 0) -> None:
        """A goroutine has received a value.  In the lane TAKE it stays leased, until `ack` or `back`.  waited: 1 if the
        goroutine has entered; this is its `leave` too."""
        with self._lock:
            side = self.rx[lane]
            side.wait -= waited
            side.given -= 1
            side.active = True
            if lane == RECV:
                self._acks.append(number)
            if not self._marked:
                self._marked = True
                self.link.post(self)

    def put_back(self, entries: list[Any]) -> None:
        """A goroutine has taken entries of the lane RECV out, and has not called `received`: they are the next ones that
        are received here.  No entry comes meanwhile (`on` has the lock), and there is room for what was there before."""
        with self._lock:
            ch = self.rx[RECV].ch
            entries = list(entries)
            while True:
                entry, ok = ch.try_recv()
                if not ok:
                    break
                entries.append(entry)
            if ch.closed:
                self._kept.extend(entries)
            else:
                for entry in entries:
                    ch.try_send(entry)

    def kept(self) -> Any:
        """The next entry that was put back after the home's death.  None if there is none."""
        try:
            return self._kept.popleft()
        except IndexError:
            return None

    def ack(self, number: int) -> None:
        """Who has taken a value is done with it."""
        with self._lock:
            self._acks.append(number)
            self._mark()

    def back(self, number: int) -> None:
        """Who has taken a value was not done with it: the channel hands it out again."""
        with self._lock:
            self._backs.append(number)
            self._mark()

    def close(self) -> bool:
        """Closes the channel; False if it was known to be closed.  Takes no lock: a finalizer may call it, in the middle
        of any other method here."""
        try:
            self.tx.ch.close()
        except gort.ChannelClosed:
            return False
        self._close = (
            True  # before the look in _mark: a flush that has begun may miss it, and then clears the mark first
        )
        self._mark()
        return True
