"""Finds deadlocks over several processes: all goroutines of all processes of a cluster wait, and nothing that could wake
one is under way.  Follows checkdead in Go's runtime/proc.go, and for messages the four counters of F. Mattern (Algorithms
for distributed termination detection, 1987).

**One process** is *asleep* when each of its goroutines waits, and what it waits for cannot come from outside: no timer is
set, none waits for a descriptor, no thread lives that could send (watch/external.py), and none waits on `node.done()`,
since a death comes from outside.  The cluster's own goroutines (own.py) and their timers do not count.  A process that is
asleep is woken by a message and by nothing else.  One that belongs to a second cluster is not asleep: that one's
messages, which no view here counts, may wake it.

It is not seen at one moment: other threads run meanwhile.  So a look goes over all goroutines twice.  A goroutine that
waits both times, on the same operation, and has not run in between, has waited all the time; so at the end of the first
time all did.  A thread that runs no goroutine may be about to make one runnable: none may be busy (newproc.busy).  For
the same reason a look need not be in one piece: between slices of it others run, above all Peer._watch, which must not
wait for it.

**All of them.**  With each sign of life a node tells whether it seems to be asleep, and how long it took to look.  When
all do, the driver asks them twice, and waits for the answers as long as the slowest needs.  Each answers with the frames
that it has sent and received, for each process.  If all were asleep both times, with the same numbers, and each had
received what the other had sent, then between the two nothing was under way and nothing ran.  Then nothing ever will.

Messages that make nothing runnable (link.STILL) are not counted, or the question would change its own answer.

In doubt there is no deadlock: one that is found a second later does no harm, one that is none ends a program that works.
What does not live here: counting frames (link.py); how the program ends (boot/main.py).
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import gort
from gort._runtime.core import handoff, op, runtime2, traceback
from gort._runtime.core.errors import Deadlock
from gort._runtime.core.runtime2 import _Gdead, _Gidle, _Gsyscall, _Gwaiting, peek
from gort._runtime.sched import newproc
from gort._runtime.sched.timers import only
from gort.cluster.call import Running
from gort.cluster.own import Own

if TYPE_CHECKING:
    from gort.cluster.peer import Peer

__all__ = ["Asleep", "View"]

PASSIVE = frozenset((
    op.WAIT_CHAN_RECEIVE, op.WAIT_CHAN_SEND, op.WAIT_SELECT, op.WAIT_SELECT_NO_CASES, op.WAIT_SEMACQUIRE, op.WAIT_MUTEX,
    op.WAIT_RWMUTEX_R, op.WAIT_RWMUTEX_W, op.WAIT_WAITGROUP, op.WAIT_COND,
))  # fmt: skip  # reasons to wait that only another goroutine ends
SLICE = 1000  # goroutines; then a look lets others run
SHARE = 20  # looks take at most so small a part of the time, however many goroutines there are
LOOKS = 4  # a node may take for its answer so many times as long as for the look at its last sign of life
LEAST_S = 1e-9  # a look takes some time, whatever the clock says
TOLD = 5  # so many goroutines that wait for the same are told by number
LINES = 1000  # for so many channels and calls of a process the report tells who waits for them
SETTLES, SETTLE_S = 40, 0.001  # so many looks, and the time between two, until it is quiet

View = dict[str, tuple[int, int]]  # frames sent to a process, and received from it


def agree(views: dict[str, View]) -> bool:
    """Whether each process has received what each other has sent to it."""
    return all(
        other in views and views[other].get(name) == (received, sent)
        for name, view in views.items()
        for other, (sent, received) in view.items()
    )


class Asleep:
    """A process's part in it."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.inbox: gort.Chan[Any] = gort.Chan(1 << 12)  # (link, message): questions; at the driver, answers
        self.without: Any = None  # the goroutine that serves a node: it is the cluster's own
        self._suspected: gort.Chan[None] = gort.Chan(1)
        self._number = 0  # of the last question
        self._wanted: gort.Chan[None] = gort.Chan(1)  # a sign of life asks for a look
        self._moved = -1  # frames in all, at the last sign of life
        self._slept = -1  # frames in all, when a look for a sign of life last found this process asleep
        self._witness: tuple[Any, int] | None = None  # the goroutine that was not asleep at the last look, and its goid
        self._took = 0.0  # seconds that this look took
        self._looking = False  # `serve` has been asked for it, and is not done
        self._next = 0.0  # no look for a sign of life before
        self._next_question = 0.0  # the driver asks nobody before
        self._patience = (
            peer.silence
        )  # seconds in which all nodes must have answered: who has more goroutines needs longer
        self._passes = False  # that the last look has found nothing will pass soon

    # ---- one process ----

    def view(self) -> View | None:
        """The frames that this process has sent and received.  None if something waits to be written, or a connection is
        only being made."""
        peer = self.peer
        found: View = {}
        if not peer.loop.quiet():
            return None
        found[peer.name] = (peer.loop.sent, peer.loop.sent)  # `quiet` says that all has been received
        for link in list(peer._all):
            if link.dead is None:
                if not link.name or link.conn is None or not link.quiet():
                    return None
                sent, received = found.get(link.name, (0, 0))
                found[link.name] = (sent + link.sent, received + link.received)
        return found

    async def look(self) -> View | None:
        """The frames, if this process is asleep.  A goroutine of the cluster's own awaits it."""
        s = runtime2.current_m().sched
        self._passes = False
        if (
            self._elsewhere()
            or self.peer.ended
            or s.exiting
            or s.bubble is not None
            or s.chooser is not None
            or not self._no_timer(s)
        ):
            return None
        before = self.view()
        if before is None or newproc.busy(s) != 1:
            self._passes = True
            return None
        waits = await self._waits(s)
        if waits is None or await self._waits(s) != waits:
            return None
        if self._elsewhere() or not self._no_timer(s) or s.external is None or s.external():
            return None
        if newproc.busy(s) != 1 or self.view() != before:
            self._passes = True
            return None
        return before

    async def settled(self) -> View | None:
        """look, until what the cluster itself does is done: what has just been posted is written, and its goroutines on
        other threads wait again."""
        for _ in range(SETTLES):
            found = await self.look()
            if found is not None or not self._passes:
                return found
            await gort.sleep(SETTLE_S)
        return None

    def _elsewhere(self) -> bool:
        """Whether this process belongs to another cluster, too."""
        from gort.cluster import peer as peers

        return any(peer is not self.peer for peer in list(peers._peers.values()))

    def _no_timer(self, s: Any) -> bool:
        """Whether no timer is set but those of clusters."""
        from gort.cluster import peer as peers

        clocks = [peer.clock for peer in list(peers._peers.values())]
        return all(only(p, clocks) for p in list(s.allp))

    async def _waits(self, s: Any) -> tuple[int, int, list[Any]] | None:
        """How many goroutines wait; a digest of their numbers and how often each has run; and what the threads wait on
        that are in gort.wait.  None if one is not asleep.

        Two looks give the same exactly if the same goroutines have waited on the same operations: who waits on another
        one has run in between.  A thread in gort.wait runs without being counted, so its operations are kept, and
        compared.  A list of all goroutines would take 200 bytes for each."""
        ends = {id(over) for over in list(self.peer.ends.values())}
        if self._witness is not None and self._witness[0].goid == self._witness[1]:
            if self._wait(self._witness[0], peek(self._witness[0])[0], ends) is None:
                return None
        found = digest = running = 0
        outside: list[Any] = []
        for i, g in enumerate(list(s.allgs)):
            if i % SLICE == SLICE - 1:
                await gort.gosched()
            goid, status = g.goid, g.status
            if status in (_Gdead, _Gidle) or g is self.without:
                continue
            op, _, _, done = peek(g)
            if type(done) is Own:
                continue
            wait = self._wait(g, op, ends)
            if wait is None:
                self._witness = (g, goid)
                return None
            running += type(done) is Running and done.link.peer is self.peer
            found += 1
            digest += hash((goid, g.nrun))
            if wait is not op:
                outside.append(wait)
        # One that has ended is still in `running` until its result has been posted.
        return (found, digest, outside) if running == len(self.peer.running) else None

    def _wait(self, g: Any, op: Any, ends: set[int]) -> Any:
        """The operation that g waits on; op: the one that it is parked on.  None if it does not wait, or something from
        outside may wake it."""
        status = g.status
        if status == _Gsyscall:  # it may be in gort.wait
            stands = g.standin
            op = stands.waitop if stands is not None and stands.counted else None
        elif status != _Gwaiting:
            return None
        if op is None or traceback.reason_of(op) not in PASSIVE:
            return None
        c = op.c
        if isinstance(c, tuple):
            return None if any(id(c) in ends for c in channels(op)) else op
        return None if id(c) in ends else op

    def hint(self) -> float:
        """At a sign of life: whether this process seems to be asleep, as the seconds that it took to look; 0.0 if not.

        It looks at no goroutine, since Peer._watch calls it: `serve` does, and the next sign tells what was found.  Who
        is busy is not asked again and again: no look while frames come and go."""
        moved = self._frames()
        if moved == self._slept:
            return self._took
        if moved == self._moved and not self._looking:
            self._looking = True
            self._wanted.try_send(None)
        self._moved = moved
        return 0.0

    def _frames(self) -> int:
        peer = self.peer
        return peer.loop.sent + sum(link.sent + link.received for link in list(peer._all))

    async def _look_for_hint(self) -> None:
        began = time.monotonic()
        if began >= self._next:
            moved = self._frames()
            found = await self.settled()  # the sign of life itself may still be on its way out
            ended = time.monotonic()
            self._next = ended + SHARE * (ended - began)
            if found is not None:
                self._took = max(ended - began, LEAST_S)  # before it is told
                self._slept = moved
        self._looking = False

    # ---- questions and answers ----

    def suspect(self) -> None:
        """The driver seems to be asleep.  If all nodes do, too, it asks."""
        peer = self.peer
        slowest = 0.0
        for name in peer.nodes():
            took = getattr(peer.links.get(name), "asleep", 0.0)
            if not took:
                return
            slowest = max(slowest, took)
        self._patience = peer.silence + LOOKS * slowest
        if time.monotonic() >= self._next_question:
            self._suspected.try_send(None)

    async def serve(self) -> None:
        """Answers, and asks; a goroutine of each process."""
        while True:
            which, value, _ = await gort.select(
                self.peer._over.recv_ok(), self.inbox.recv(), self._suspected.recv(), self._wanted.recv()
            )
            if which == 0:
                return
            if which == 3:
                await self._look_for_hint()
            elif which == 2:
                await self._ask_all()
            elif value[1][0] == "look":
                value[0].post(("seen", value[1][1], self.peer.name, await self.settled()))
            elif value[1][0] == "show":
                value[0].post(("shown", value[1][1], self.peer.name, self.show()))

    async def _ask_all(self) -> None:
        """Ends the program if all processes are asleep.  The driver."""
        began = time.monotonic()
        try:
            await self._ask_twice()
        finally:
            ended = time.monotonic()
            self._next_question = ended + SHARE * (ended - began)

    async def _ask_twice(self) -> None:
        first = await self._views()
        if first is None or not agree(first) or await self._views() != first:
            return
        texts = await self._ask("show")
        if texts is None:
            return
        error = Deadlock()
        gone = "".join(f"node {name} is gone: {why}\n" for name, why in list(self.peer.gone.items()))
        error.elsewhere = self._told() + (gone and gone + "\n") + "\n".join(texts[name] for name in sorted(texts))
        self.report(error)

    def report(self, error: Deadlock) -> None:
        """Ends the program."""
        handoff.fatal(runtime2.current_m().sched, error)

    async def _views(self) -> dict[str, View] | None:
        """The views of all processes; None if one of them is not asleep, or does not answer."""
        mine = await self.settled()
        views = None if mine is None else await self._ask("look")
        if views is None or None in views.values():
            return None
        return {self.peer.name: mine, **views}

    async def _ask(self, question: str) -> dict[str, Any] | None:
        """What all nodes answer.  None if one does not, in time: a node may have died, or dropped the question."""
        peer = self.peer
        self._number += 1
        waiting = set(peer.nodes())
        answers: dict[str, Any] = {}
        for name in waiting:
            peer.link_to(name).post((question, self._number))
        async with gort.move_on_after(self._patience):
            while waiting:
                which, value, _ = await gort.select(peer._over.recv_ok(), self.inbox.recv())
                if which == 0:
                    return None
                _, number, name, answer = value[1]
                if number == self._number and name in waiting:
                    waiting.discard(name)
                    answers[name] = answer
        return None if waiting or answers.keys() != set(peer.nodes()) else answers

    # ---- the report ----

    def show(self) -> str:
        """This process's goroutines as text: which of them wait for other processes, and their stacks."""
        s = runtime2.current_m().sched
        head = f"node {self.peer.name} (process {os.getpid()} on {socket.gethostname()}):\n\n"
        text = traceback.dump(s, self.without, group=True)
        return head + self._told() + (text or "it runs no goroutine\n")

    def _told(self) -> str:
        """A line for each thing that goroutines of this process wait for and that may come from another; no line for each
        goroutine, of which there may be a million."""
        peer = self.peer
        names: dict[int, Any] = {}  # of the channels of this process on which they wait: a text, or a Call
        for proxy in list(peer.proxies.values()):
            where = f"channel {proxy.cid[:8]} of {proxy.capacity} on {proxy.home}"
            names[id(proxy.tx.ch)] = f"to send on {where}"
            for side in proxy.rx:
                names[id(side.ch)] = f"to receive from {where}"
        for call in list(peer.calls.values()):
            if call._ended is not None:  # else nobody waits for it
                names[id(call._ended)] = call
        who: dict[str, list[int]] = {}  # the numbers of the first goroutines that wait for it
        more: dict[str, int] = {}  # how many others there are
        left = 0
        for g in list(runtime2.current_m().sched.allgs):
            waits = self._wait(g, peek(g)[0], set()) if g.goid and g is not self.without else None
            if waits is None:
                continue
            found = [names[id(c)] for c in channels(waits) if id(c) in names]
            if not found:
                continue
            what = ", or ".join(
                one if isinstance(one, str) else f"for call {one.number} of {peer.name} on {one.node}" for one in found
            )
            if what not in who:
                if len(who) == LINES:
                    left += 1
                    continue
                who[what] = []
            if len(who[what]) < TOLD:
                who[what].append(g.goid)
            else:
                more[what] = more.get(what, 0) + 1
        lines = sorted((min(goids), _line(goids, more.get(what, 0), peer.name, what)) for what, goids in who.items())
        last = f"{left:,} other goroutines on {peer.name} wait for other processes\n" if left else ""
        return "".join(line for _, line in lines) + last + ("\n" if lines else "")


def _line(goids: list[int], more: int, name: str, what: str) -> str:
    if len(goids) == 1:
        return f"goroutine {goids[0]} on {name} waits {what}\n"
    others = f", and {more:,} others," if more else ""
    return f"goroutines {', '.join(map(str, sorted(goids)))}{others} on {name} wait {what}\n"


def channels(waits: Any) -> list[Any]:
    """The channels that an operation waits on."""
    c = waits.c
    if isinstance(c, tuple):  # a select
        return [case.c for case in c if case is not None]
    return [c]
