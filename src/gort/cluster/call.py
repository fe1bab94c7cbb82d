"""A goroutine on another node: Call is what the caller holds, Running is it.

The result goes back as one message when the goroutine has ended.  A Call is also told when the link to the node ends:
then it fails, or, if the caller has allowed retries, starts once more on another node.

What does not live here: on which node a goroutine starts (client.py).
"""

from __future__ import annotations

from _collections_abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any

import gort
from gort._runtime.core import handoff
from gort._runtime.core.errors import Cancelled
from gort._runtime.sched.awaited import coroutine_of
from gort._runtime.sched.newproc import Done
from gort._runtime.wait.cases import ChanArm
from gort.cluster import errors, wire

if TYPE_CHECKING:
    from gort.cluster.peer import Peer

__all__ = ["Call", "Running"]

UNSET: Any = object()


class Call:
    """A goroutine on another node, as `c.go` gives it: `await h` gives its result, `h.cancel()` cancels it.

    It is a case of gort.select."""

    __slots__ = (
        "_cancelled",
        "_done",
        "_exc",
        "_looked",
        "_packed",
        "_sealed",
        "_unseen",
        "_value",
        "link",
        "node",
        "number",
        "peer",
        "retries",
    )

    def __init__(self, peer: Peer, sealed: Any, retries: int) -> None:
        self.peer: Peer = peer
        self.number: int = 0  # of this attempt: each has its own, so that news of an earlier one changes nothing
        self.retries: int = retries  # so many times it may start anew, when its node dies
        self.link: Any = None
        self.node: str = ""
        self._sealed = sealed
        self._cancelled = False
        self._done: gort.Chan[None] = gort.Chan()
        self._packed: tuple[bool, Any] | None = None  # as it came
        self._value: Any = UNSET
        self._exc: BaseException | None = None
        self._looked = False
        self._unseen: _Unseen | None = None

    def __repr__(self) -> str:
        return f"<gort.cluster goroutine {self.number} {'ended' if self.done else 'running'} on {self.node}>"

    @property
    def done(self) -> bool:
        """Whether it has ended, or its node is gone."""
        return self._done.closed

    def cancel(self) -> bool:
        """Cancels it: raises Cancelled at its await, on its node.  False if it has ended.  `await h` then raises
        Cancelled, when it has cleaned up.  Any thread, finalizer or signal handler may call it."""
        if self._done.closed:
            return False
        self._cancelled = True  # before the look at the link: `send` looks the other way round
        self.link.post(("cancel", self.number))
        return True

    def abandon(self) -> None:
        """Cancels it, and wants to hear nothing of it any more, not even that it failed."""
        self._looked = True  # before the look for it: `over` looks the other way round
        self.peer.failed.pop(self.number, None)
        self.cancel()

    def result(self) -> Any:
        """What it returned.  Raises what it raised, with the traceback there as the cause; Cancelled if it was cancelled;
        NodeDied if its node is gone; RuntimeError while it runs."""
        if not self._done.closed or self._packed is None:
            raise RuntimeError("the remote goroutine has not ended yet: `await h`")
        self._looked = True
        self.peer.failed.pop(self.number, None)
        if self._value is UNSET and self._exc is None:
            ok, what = self._packed
            if ok:
                try:
                    self._value = wire.unseal(what)
                except BaseException as e:
                    e.add_note(f"gort.cluster: the result from node {self.node} could not be unpickled here")
                    self._exc = e
            else:
                self._exc = errors.unpack(what)
        if self._exc is not None:
            raise self._exc.with_traceback(None)
        return self._value

    def _select_arm(self) -> Any:
        return ChanArm(self._done.recv_ok(), lambda value, ok: (self.result(), True))

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self._done.closed:
            yield from self._done.recv_ok().__await__()
        return self.result()

    # ---- what the peer calls ----

    def send(self, name: str) -> None:
        """Starts it on a node."""
        self.node = name
        self.peer.load[name] = self.peer.load.get(name, 0) + 1
        self.link = link = self.peer.link_to(name)
        self.number = number = next(self.peer.ids)
        self.peer.calls[number] = self  # once it has its link, by which Peer.lost finds it
        link.post(("go", number, self._sealed))
        if self._cancelled:
            link.post(("cancel", number))
        if link.dead is not None:
            self.lost(number, link.dead)  # the link ended before its end could look for us

    def over(self, ok: bool, what: Any) -> None:
        """It has ended."""
        self._packed = (ok, what)
        self._sealed = None
        if not ok and what[0] != "cancelled":
            self.peer.failed[self.number] = what
            if self._looked:
                self.peer.failed.pop(self.number, None)
            else:
                self._unseen = _Unseen(self.peer, self.number)
        self.peer.load[self.node] -= 1
        try:
            self._done.close()
        except gort.ChannelClosed:
            pass

    def lost(self, number: int, why: str) -> None:
        """The node of the attempt `number` is gone, or the link to it.  Two threads may tell the same news."""
        if self.peer.calls.pop(number, None) is not self:
            return
        others = [name for name in self.peer.nodes() if name != self.node]
        if self.retries > 0 and others and not self._cancelled and not self.peer.ended:
            self.retries -= 1
            self.peer.load[self.node] -= 1
            self.send(self.peer.least(others))
        else:
            self.over(False, ("died", self.node, why))


class _Unseen:
    """Goes with the Call of a goroutine that has failed: when that goes, nobody can ask any more why."""

    __slots__ = ("number", "peer")

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer: Peer = peer
        self.number: int = number

    def __del__(self) -> None:
        self.peer.loop.post(("unseen", self.number))  # a finalizer runs anywhere: another goroutine unpickles and tells


class Running(Done):
    """A goroutine that another process has started here."""

    __slots__ = ("_cancelled", "_g", "_goid", "link", "number", "peer")

    def __init__(self, peer: Peer, link: Any, number: int) -> None:
        self.peer: Peer = peer
        self.link: Any = link
        self.number: int = number
        self._g: Any = None
        self._goid = 0
        self._cancelled = False

    @property
    def label(self) -> str:
        """What a dump says of it."""
        return f"call {self.number} of {self.link.name}"

    def started(self, g: Any, goid: int) -> None:
        """It is on its way."""
        self._g, self._goid = g, goid
        if self._cancelled:
            handoff.cancel(g, goid, Cancelled())

    def cancel(self) -> None:
        """Cancels it."""
        self._cancelled = True
        if self._g is not None:
            handoff.cancel(self._g, self._goid, Cancelled())

    def begin(self, sealed: Any) -> Any:
        """The goroutine's function.  Gives the answer, or a coroutine that gives it: so a plain function of the user's is
        a plain goroutine, which may use gort.wait, and an async one is not."""
        task = None
        try:
            fn, args, kwargs, context = wire.unseal(sealed)
            if context:
                task = self.peer.enter(context)
            result = fn(*args, **kwargs)
            coro = coroutine_of(result)
            if coro is not None:
                drives, task = self._drive(coro, task), None
                return drives
            return True, wire.seal(result)
        except BaseException as e:
            return False, errors.pack(e, self.peer.name)
        finally:
            if task is not None:
                task.end()

    async def _drive(self, coro: Awaitable[Any], task: Any) -> tuple[bool, Any]:
        try:
            return True, wire.seal(await coro)
        except GeneratorExit:
            raise
        except BaseException as e:
            return False, errors.pack(e, self.peer.name)
        finally:
            if task is not None:
                task.end()

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """Called by the scheduler."""
        if exc is not None:  # it ended before it began, or by runtime.goexit
            cancelled = isinstance(exc, Cancelled)
            ended = ("raised", None, "gort.runtime.goexit ended the remote goroutine", "")
            value = False, ("cancelled",) if cancelled else ended
        self.link.post(("done", self.number, *value))
        self.peer.running.pop((self.link, self.number), None)  # after the message: asleep.py counts these

    def abandoned(self, goid: int) -> None:
        """Called by the scheduler: the program has ended first."""
