"""A connection between two processes of a cluster, seen from one end.

`post` queues a message and never waits; any thread, finalizer or handler may call it.  A writer sends all that has
gathered as one frame, so that batches come by themselves: while one is written, the next one gathers.  A proxy of a
channel posts itself, and says what it has to say only when the writer comes to it (Proxy.flush).

A link ends once, for one of three reasons: the peer closed the connection (its process has ended), nothing was heard
from it for the time that the cluster allows, or this end was closed.

What does not live here: what the messages mean (peer.py); frames and the handshake (wire.py).
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import gort
from gort._runtime.core import mistakes
from gort.cluster import own, wire

if TYPE_CHECKING:
    from gort.cluster.peer import Peer
    from gort.net import Conn

__all__ = ["Link", "Loop"]

BATCH = 4096  # messages in a frame, so that a long queue does not keep the peer waiting for its first message
BATCH_BYTES = 1 << 20
STILL = frozenset(("beat", "look", "seen", "show", "shown"))  # messages that make nothing runnable (asleep.py)


def moves(batch: list[Any]) -> bool:
    """Whether a frame may make something runnable at its other end.  Both ends ask, and get the same answer."""
    return any(message[0] not in STILL for message in batch)


_indexes = itertools.count(1)


class Outbox:
    """Messages that wait for a writer."""

    def __init__(self, peer: Peer, name: str) -> None:
        self.peer = peer
        self.index: int = next(_indexes)  # no two links of a process have the same
        self.name = name  # of the process at the other end; "" until it has said so
        self.dead: str | None = None  # why it has ended
        self._out: deque[Any] = deque()
        self._kick: gort.Chan[None] = gort.Chan(1)
        self._kicked = False  # the writer has been told, and has not written all
        self._end = threading.Lock()  # whoever gets it ends the link; it is never released
        self.sent: int = 0  # frames that `moves`, counted before one is written: for asleep.py

    def quiet(self) -> bool:
        """Whether nothing waits here to be written.  Looks in the order in which a message passes through, so that none
        slips by: what the writer has taken out of `_out` is written before `_kicked` is cleared."""
        return not self._out and not self._kicked

    def post(self, message: Any) -> None:
        """Queues a message: a tuple, or a Proxy that has something to say.  After the link's end it does nothing."""
        if self.dead is not None:
            return  # nobody would take it out
        self._out.append(message)
        if not self._kicked:
            self._kicked = True
            try:
                self._kick.try_send(None)
            except gort.ChannelClosed:
                self._out.clear()

    def _batch(self) -> list[Any] | None:
        """The next batch of what has gathered, for whoever writes.  None when there is nothing more: then the next post
        wakes the writer."""
        out = self._out
        while True:
            batch: list[Any] = []
            size = 0
            while out:
                try:
                    message = out.popleft()
                except IndexError:
                    break  # close() has emptied it since the look
                if type(message) is not tuple:
                    message, more = message.flush()
                    size += more
                    if message is None:
                        continue
                batch.append(message)
                if size >= BATCH_BYTES or len(batch) >= BATCH:
                    break
            if batch:
                if batch[0][0] not in STILL or moves(batch):  # the first look spares most of them a call
                    self.sent += 1
                return batch
            self._kicked = False
            if not out:
                return None
            self._kicked = True  # what came before the line above has kicked nobody; what comes after it kicks again

    def _die(self, why: str) -> bool:
        """True for the first who ends it: its reader, its writer and the watch may come at the same time."""
        if not self._end.acquire(blocking=False):
            return False
        self.dead = why
        return True

    def close(self) -> None:
        """Ends it, and drops what has not been written."""
        if not self._kick.closed:
            self._kick.close()
        self._out.clear()


class Link(Outbox):
    """A link over gort.net."""

    def __init__(self, peer: Peer, name: str, conn: Conn | None = None) -> None:
        super().__init__(peer, name)
        self.conn = conn
        self.heard: bool = True  # since the last look of the peer's watch
        self.pid = 0
        self.host = ""
        self._silent = 0  # looks in a row at which nothing had been heard
        self.received: int = 0  # frames that `moves`, counted after all in one has been done
        self.asleep: float = 0.0  # not 0.0: all goroutines of the peer wait, said its last sign of life (Asleep.hint)

    def _hear(self) -> None:
        self.heard = True

    def looks(self) -> int:
        """The peer's watch looks: at how many looks in a row nothing had been heard, this one included."""
        self._silent = 0 if self.heard else self._silent + 1
        self.heard = False
        return self._silent

    def start(self) -> None:
        """Starts the writer and the reader."""
        own.go(self._write)
        own.go(self._read)

    async def _write(self) -> None:
        assert self.conn is not None
        conn, kick = self.conn, self._kick
        try:
            while (await kick.recv_ok())[1]:
                await gort.gosched()  # whoever can run now may have something to add
                while (batch := self._batch()) is not None:
                    frame = wire.encode(batch)
                    if isinstance(frame, bytes):
                        await conn.write(frame)
                    else:
                        await conn.writev(frame)
        except OSError as e:
            self.end(f"the connection broke ({e})")
        except Exception as e:  # such as MemoryError: what is lost was promised, so the link cannot go on
            self.end(f"a message to it could not be written ({type(e).__name__}: {e})")

    async def _read(self) -> None:
        assert self.conn is not None
        why = "it closed the connection"
        conn, peer = self.conn, self.peer
        verbs, loop = peer.verbs, peer.loop
        try:
            while data := await conn.read(wire.READ_SIZE):
                self.heard = True
                at = 0
                while at < len(data):
                    batch, at = wire.whole(data, at)
                    if batch is None:
                        batch, data, at = await wire.rest(conn, data, at, self._hear)
                    held = batch[0][0] == "c" and loop.hold()  # what a home is told is nearly all that leads to more
                    try:
                        for message in batch:
                            verbs[message[0]](peer, self, message)
                    finally:
                        if held:
                            loop.release()
                    if batch[0][0] not in STILL or moves(batch):
                        self.received += 1
        except (OSError, EOFError) as e:
            why = f"the connection broke ({e})"
        except Exception as e:
            why = f"it sent what cannot be understood ({type(e).__name__}: {e})"
        finally:
            self.end(why)

    def end(self, why: str) -> None:
        """Ends the link, once, and tells the peer."""
        if not self._die(why):
            return
        self.close()
        if self.conn is not None:
            self.conn.close()
        self.peer.lost(self, why)


class Loop(Outbox):
    """The link of a process to itself: messages go through a goroutine of their own, so that posting one never runs what
    it means, whose locks the caller may hold.

    A link's reader, which holds no lock between two messages, passes on by itself what a frame has led to (`hold` and
    `release`): most of what a channel's home has to say to its own process comes so, and costs no goroutine a turn."""

    def __init__(self, peer: Peer, name: str) -> None:
        super().__init__(peer, name)
        self._turn = threading.Lock()  # of whoever passes messages on: they go one after another, in their order

    def start(self) -> None:
        """Starts the goroutine."""
        own.go(self._pass)

    def hold(self) -> bool:
        """If True, what is posted now wakes nobody until the caller calls `release`, which it does without waiting.
        False if the goroutine has been told already."""
        if self._kicked:
            return False
        self._kicked = True  # two threads may both come here: then both release
        return True

    def release(self) -> None:
        """Passes on what has been posted since `hold`.  An error of this ends the program, as in the goroutine: it is
        not the fault of the link whose reader calls this."""
        if not self._out:  # as for most frames; then as in _batch
            self._kicked = False
            if not self._out:
                return
            self._kicked = True
        try:
            self._pass_all()
        except Exception as e:
            own.go(mistakes.raise_late, e)

    async def _pass(self) -> None:
        kick = self._kick
        while (await kick.recv_ok())[1]:
            await gort.gosched()  # whoever can run now may have something to add
            self._pass_all()

    def _pass_all(self) -> None:
        peer = self.peer
        with self._turn:
            while (batch := self._batch()) is not None:
                for message in batch:
                    peer.verbs[message[0]](peer, self, message)

    def end(self, why: str) -> None:
        """Ends it."""
        if self._die(why):
            self.close()
