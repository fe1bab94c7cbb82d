"""A goroutine on another node: Call is what the caller holds, Running is it.

The result goes back as one message when the goroutine has ended.  A Call is also told when the link to the node ends:
then it fails, or, if the caller has allowed retries, starts once more on another node.

What does not live here: on which node a goroutine starts (client.py).
"""

from __future__ import annotations

from _collections_abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any

import gort
from gort._runtime.core import handoff, mistakes, runtime2
from gort._runtime.core.errors import Cancelled, Goexit, is_a
from gort._runtime.sched import newproc
from gort._runtime.sched.awaited import coroutine_of
from gort._runtime.sched.newproc import Done
from gort._runtime.wait.cases import ChanArm
from gort.cluster import errors, wire

if TYPE_CHECKING:
    from gort.cluster.peer import Peer

__all__ = ["Call", "Running", "running_key"]

CANCELLED = ("cancelled",)  # what errors.pack makes of it
GOEXIT = ("raised", None, "gort.runtime.goexit ended the remote goroutine", "")
NUMBER_BITS = 40  # a process starts fewer goroutines than that
LAST_NUMBER = (1 << NUMBER_BITS) - 1
OPENED, RAISES = "opened", "raises"  # what a Call's outcome has become in this process


class Call:
    """A goroutine on another node, as `c.go` gives it: `await h` gives its result, `h.cancel()` cancels it.

    It is a case of gort.select."""

    __slots__ = (
        "_cancelled",
        "_ended",
        "_looked",
        "_outcome",
        "_sealed",
        "_unseen",
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
        # None while it runs.  Then (whether it has returned, what came over the wire), until somebody has asked for it:
        # then (OPENED, its result), or (RAISES, the exception).
        self._outcome: tuple[Any, Any] | None = None
        self._ended: gort.Chan[None] | None = None  # once somebody waits: closed at the end
        self._looked = False
        self._unseen: _Unseen | None = None

    def __repr__(self) -> str:
        return f"<gort.cluster goroutine {self.number} {'ended' if self.done else 'running'} on {self.node}>"

    @property
    def done(self) -> bool:
        """Whether it has ended, or its node is gone."""
        return self._outcome is not None

    def cancel(self) -> bool:
        """Cancels it: raises Cancelled at its await, on its node.  False if it has ended.  `await h` then raises
        Cancelled, when it has cleaned up.  Any thread, finalizer or signal handler may call it."""
        if self._outcome is not None:
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
        if self._outcome is None:
            raise RuntimeError("the remote goroutine has not ended yet: `await h`")
        how, what = self._outcome
        self._looked = True  # before the look for it: `over` looks the other way round
        if how is True:
            try:
                what = wire.unseal(what)
            except BaseException as e:
                e.add_note(f"gort.cluster: the result from node {self.node} could not be unpickled here")
                how, what = RAISES, e
            else:
                how = OPENED
            self._outcome = how, what
        elif how is False:
            self.peer.failed.pop(self.number, None)
            how, what = self._outcome = RAISES, errors.unpack(what)
        if how is OPENED:
            return what
        raise what.with_traceback(None)

    def end(self) -> gort.Chan[None]:
        """A channel that is closed when it has ended.  Made for the first who waits: most have ended by then."""
        if self._ended is None:
            with self.peer.waiting:  # two threads may begin to wait at the same time
                if self._ended is None:
                    self._ended = gort.Chan()
        if self._outcome is not None:  # after `_ended` is there: `over` looks the other way round
            _close(self._ended)
        return self._ended

    def _select_arm(self) -> Any:
        return ChanArm(self.end().recv_ok(), lambda value, ok: (self.result(), True))

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._outcome is None:
            yield from self.end().recv_ok().__await__()
        return self.result()

    # ---- what the peer calls ----

    def send(self, name: str) -> None:
        """Starts it on a node."""
        peer = self.peer
        self.node = name
        peer.load[name] = peer.load.get(name, 0) + 1
        self.link = link = peer.link_to(name)
        self.number = number = next(peer.ids)
        peer.calls[number] = self  # once it has its link, by which Peer.lost finds it
        link.post(("go", number, self._sealed))
        if self._cancelled:
            link.post(("cancel", number))
        if link.dead is not None:
            self.lost(number, link.dead)  # the link ended before its end could look for us

    def over(self, ok: bool, what: Any) -> None:
        """It has ended."""
        self._outcome = (ok, what)
        self._sealed = None
        if not ok and what[0] != "cancelled":
            self.peer.failed[self.number] = what
            if self._looked:
                self.peer.failed.pop(self.number, None)
            else:
                self._unseen = _Unseen(self.peer, self.number)
        self.peer.load[self.node] -= 1
        if self._ended is not None:  # after `_outcome` is there: `end` looks the other way round
            _close(self._ended)

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


def _close(ended: gort.Chan[None]) -> None:
    try:
        ended.close()
    except gort.ChannelClosed:
        pass  # by another thread


class _Unseen:
    """Goes with the Call of a goroutine that has failed: when that goes, nobody can ask any more why."""

    __slots__ = ("number", "peer")

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer: Peer = peer
        self.number: int = number

    def __del__(self) -> None:
        self.peer.loop.post(("unseen", self.number))  # a finalizer runs anywhere: another goroutine unpickles and tells


def _begin() -> Any:
    """The function of every goroutine here that has to open what it is to run: the method of its Running would be one
    more object for each."""
    running: Running = runtime2.peek(runtime2.getg())[3]
    return running.begin()


async def _within(coro: Awaitable[Any], task: Any) -> Any:
    """Awaits it, and ends the task of the trace in which it runs."""
    try:
        return await coro
    finally:
        task.end()


def running_key(link: Any, number: int) -> int:
    """Where a goroutine stands in Peer.running: its caller's number of it, and the caller's link, in one number.  A tuple
    of the two would take 80 bytes more for each."""
    return link.index << NUMBER_BITS | number  # type: ignore[no-any-return]


class Running(Done):
    """A goroutine that another process has started here.  The user's function, or its coroutine, is itself the goroutine:
    a coroutine of ours around it would take nearly as much memory and time as one that has little to do."""

    __slots__ = ("_cancelled", "_g", "_goid", "_sealed", "key", "link")

    def __init__(self, link: Any, number: int) -> None:
        self.link: Any = link
        self.key: int = link.index << NUMBER_BITS | number  # running_key(link, number), in Peer.running
        self._g: Any = None
        self._goid = 0
        self._sealed: Any = None
        self._cancelled = False

    @property
    def number(self) -> int:
        """The caller's number of it."""
        return self.key & LAST_NUMBER

    @property
    def label(self) -> str:
        """What a dump says of it."""
        return f"call {self.number} of {self.link.name}"

    def start(self, sealed: Any) -> None:
        """Puts it on its way.  Runs no code of the user's: an async function that needs no pickle to be opened, as most
        are, is called here, and makes its coroutine; all else is opened by the goroutine."""
        s = runtime2.current_m().sched
        fn = wire.here(sealed)
        if fn is None:
            self._sealed = sealed
            started = newproc.newproc_from(s, _begin, (), None, self, None, -1)
        else:
            try:
                started = newproc.newproc_from(s, fn, sealed[2], None, self, None, -1)
            except TypeError as e:  # the arguments do not fit
                late = (e.with_traceback(None),)
                started = newproc.newproc_from(s, mistakes.raise_late, late, None, self, None, -1)
        self._g, self._goid = started
        if self._cancelled:
            self.cancel()

    def cancel(self) -> None:
        """Cancels it."""
        self._cancelled = True  # before the look at `_g`: `start` looks the other way round
        if self._g is not None:
            handoff.cancel(self._g, self._goid, Cancelled())

    def begin(self) -> Any:
        """Calls the user's function.  A plain one runs in here, and may use gort.wait; the scheduler goes on with the
        coroutine of an async one."""
        sealed, self._sealed = self._sealed, None
        fn, args, kwargs, context = wire.unseal_call(sealed)
        task = self.link.peer.enter(context) if context else None
        if task is None:
            return fn(*args, **kwargs)
        try:
            result = fn(*args, **kwargs)
            if (coro := coroutine_of(result)) is not None:
                result, task = _within(coro, task), None
            return result
        finally:
            if task is not None:
                task.end()

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """Called by the scheduler, on whose stack nothing of the user's may run: what is to be pickled is pickled by
        another goroutine."""
        if exc is None:
            if wire.plain(value):
                self.answer(True, value)
                return
        elif is_a(exc, Cancelled, Goexit):
            self.answer(False, CANCELLED if is_a(exc, Cancelled) else GOEXIT)
            return
        newproc.newproc(runtime2.current_m().sched, self._pack, (value, exc), {}, None, False)

    async def _pack(self, value: Any, exc: BaseException | None) -> None:
        if exc is None:
            try:
                value = wire.seal(value)
            except BaseException as e:
                exc = e
        if exc is None:
            self.answer(True, value)
        else:
            self.answer(False, errors.pack(exc, self.link.peer.name))

    def answer(self, ok: bool, what: Any) -> None:
        """Tells who has started it how it has ended."""
        link, key = self.link, self.key
        link.post(("done", key & LAST_NUMBER, ok, what))
        link.peer.running.pop(key, None)  # after the message: asleep.py counts these

    def abandoned(self, goid: int) -> None:
        """Called by the scheduler: the program has ended first."""
